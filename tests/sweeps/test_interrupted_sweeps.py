"""Sweeps that are killed, that run out of disk, and that share a folder: the table is the same."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tqdm import tqdm

import painters_interp as painters
from painters_interp.errors import OutputError
from painters_interp.storage import files
from painters_interp.sweeps import Swept, workers

_ROOM = 40_000  # bytes that are left on the small disk


@pytest.fixture(scope="module")
def asked(checkpoint: Path) -> dict[str, Any]:
    """Three shards of a tiny model."""
    given = {"models": str(checkpoint), "tasks": "probe_facts", "plans": "0-2 5", "limits": 20}
    return {**given, "items_per_shard": 8}


@pytest.fixture(scope="module")
def once() -> Any:
    return lru_cache(painters.load_model)


@pytest.fixture(autouse=True)
def _loaded_once(once: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "load_model", once)


@pytest.fixture(scope="module")
def whole(asked: dict[str, Any], once: Any, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """What an undisturbed sweep finds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(workers, "load_model", once)
        return painters.sweep(asked, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of 2 MB, nearly all of it taken by the file `ballast`.

    Where none can be mounted, writing fails as it does there.
    """
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            (place / "ballast").write_bytes(bytes(2 * 2**20 - _ROOM))
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)
        return
    (place / "ballast").write_bytes(b"")
    write = files._write_through

    def watched(path: Path, content: bytes) -> None:
        taken = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
        if (place / "ballast").exists() and taken + len(content) > _ROOM:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "_write_through", watched)
    yield place


def same(one: Swept, other: Swept) -> None:
    pd.testing.assert_frame_equal(one.results, other.results, check_exact=True)
    pd.testing.assert_frame_equal(one.items, other.items, check_exact=True)


def forked(asked: dict[str, Any], folder: Path) -> int:
    """The process of a sweep that runs beside this one.

    Its bars have a lock of their own: one that it shared, and held when it was killed, would never
    be free again here.
    """
    child = os.fork()
    if child == 0:
        try:
            tqdm.set_lock(threading.RLock())
            painters.sweep(asked, folder)
            os._exit(0)
        finally:
            os._exit(1)
    return child


def ended(child: int) -> int:
    """The exit status of a process; one that does not end is killed, which is a status, too."""
    for _ in range(600):
        if (found := os.waitpid(child, os.WNOHANG))[0]:
            return found[1]
        time.sleep(0.2)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def test_killed_at_random_moments_it_ends_with_the_table_of_one_that_was_not(
    asked: dict[str, Any], whole: Swept, tmp_path: Path
) -> None:
    rng = random.Random(0)
    for _ in range(4):
        child = forked(asked, tmp_path)
        time.sleep(rng.uniform(0, 0.6))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    same(painters.sweep(asked, tmp_path), whole)
    parts = [*(tmp_path / "parts").rglob("*.parquet")]
    assert len(parts) == 3
    assert sum(len(pd.read_parquet(path)) for path in parts) == len(whole.items)


def test_two_sweeps_share_a_folder(asked: dict[str, Any], whole: Swept, tmp_path: Path) -> None:
    child = forked(asked, tmp_path)
    same(painters.sweep(asked, tmp_path), whole)
    assert ended(child) == 0
    same(painters.sweep(asked, tmp_path, collect=True), whole)
    assert len([*(tmp_path / "parts").rglob("*.parquet")]) == 3


def test_a_full_disk_is_said_and_with_room_the_same_call_goes_on(
    asked: dict[str, Any], whole: Swept, small_disk: Path
) -> None:
    with pytest.raises(OutputError, match="No space left on device"):
        painters.sweep(asked, small_disk / "out")
    assert not [path for path in small_disk.rglob(".*") if path.suffix == ".part"]
    for path in (small_disk / "out" / "parts").rglob("*.parquet"):
        pd.read_parquet(path)  # what is there is whole
    (small_disk / "ballast").unlink()
    same(painters.sweep(asked, small_disk / "out"), whole)
