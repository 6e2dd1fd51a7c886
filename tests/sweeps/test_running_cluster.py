"""Clusters of Ray on loopback: the table is the same, tokens are shown, lost work is done again."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import painters_interp as painters
from painters_interp.errors import PaintersError
from painters_interp.sweeps.connection import connected
from painters_interp.sweeps.journal import notes

_PATIENCE = 300  # seconds for what takes ten where nothing else runs
_TOKEN = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user who has no token and no settings of Ray."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        yield home


@dataclass(frozen=True)
class Head:
    """Where a cluster answers, and the folder in which its files lie."""

    address: str
    folder: str

    @property
    def processes(self) -> set[psutil.Process]:
        """Its own, and those of its workers."""
        own = [p for p in psutil.process_iter() if self.folder in " ".join(words_of(p))]
        return [*{*own, *(child for one in own for child in one.children(recursive=True))}]


def words_of(process: psutil.Process) -> list[str]:
    """The command line of a process; nothing if it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextmanager
def head(**environment: str) -> Iterator[Head]:
    """A cluster with one core, which is gone afterwards whatever happens."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets lie in it: short paths
    told = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **environment}
    command = [
        *(Path(sys.executable).with_name("ray"), "start", "--head", "--port=0", "--num-cpus=1"),
        *("--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"),
        *("--object-store-memory=100000000", "--block"),
    ]
    with Path(folder, "said").open("wb") as said:
        process = subprocess.Popen(
            command, env=os.environ | told, stdout=said, stderr=said, start_new_session=True
        )
    try:
        current = Path(folder, "ray_current_cluster")
        wait_for(current.exists, process)
        yield Head(current.read_text().strip(), folder)
    finally:
        end(process, Head("", folder))
        shutil.rmtree(folder)


def wait_for(happened: Callable[[], Any], process: subprocess.Popen[Any]) -> None:
    """Until something has happened, as long as a process runs."""
    for _ in range(_PATIENCE * 20):
        if happened():
            return
        assert process.poll() is None, process.args
        time.sleep(0.05)
    raise TimeoutError


def end(process: subprocess.Popen[Any], head: Head) -> None:
    """Let a head and all that it started go; what does not is killed."""
    started = head.processes
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    left = [one for one in {*started, *head.processes} if one.is_running()]
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    assert not psutil.wait_procs(left, 20)[1]


@pytest.fixture(scope="module")
def asked(checkpoint: Path) -> dict[str, Any]:
    """Two shards of a tiny model under a few plans."""
    given = {"models": str(checkpoint), "tasks": "probe_facts", "experiments": "variants"}
    return {**given, "limits": 16, "items_per_shard": 8}


@pytest.fixture(scope="module")
def whole(asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process finds, with as many threads as a worker has."""
    folder = tmp_path_factory.mktemp("whole")
    painters.sweep(asked, folder, cpus_per_worker=1)
    return folder


def same(folder: Path, other: Path) -> None:
    """Compare results and items to the last bit."""
    for name in ("results.csv", "results.items.parquet"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def command(spec: dict[str, Any], folder: Path, address: str) -> Sequence[str]:
    """The command line of a sweep by one worker of a cluster."""
    folder.mkdir()
    (folder / "spec.yaml").write_text(json.dumps(spec))  # JSON is YAML
    return [
        *(sys.executable, "-m", "painters_interp", "sweep", str(folder / "spec.yaml")),
        *("--out", str(folder), "--executor", "ray", "--address", address, "--workers", "1"),
    ]


def test_what_a_killed_worker_was_doing_is_done_by_another_and_the_table_is_the_same(
    asked: dict[str, Any], whole: Path, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    with head() as cluster:
        words = command(asked, folder, cluster.address)
        sweep = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            wait_for(lambda: "begun" in [note.event for note in notes(folder)], sweep)
            [worker] = [p for p in cluster.processes if words_of(p)[:1] == ["ray::Hand.answer"]]
            worker.kill()
            said, _ = sweep.communicate(timeout=_PATIENCE)
        finally:
            sweep.kill()
    assert sweep.returncode == 0, said
    same(folder, whole)
    begun = [note.facts["shard"] for note in notes(folder) if note.event == "begun"]
    assert (len(begun), len({*begun})) == (3, 2)


def test_a_sweep_that_is_told_to_end_finishes_its_shard_and_goes_on_when_it_is_run_again(
    asked: dict[str, Any], whole: Path, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    words = [word for word in command(asked, folder, "") if word not in ("--address", "")]
    sweep = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(lambda: "begun" in [note.event for note in notes(folder)], sweep)
        sweep.send_signal(signal.SIGTERM)
        said, _ = sweep.communicate(timeout=_PATIENCE)
    finally:
        sweep.kill()
    assert sweep.returncode == 130, said
    assert "Stopping when the shards are finished" in said
    assert [note.event for note in notes(folder)].count("begun") == 1
    painters.sweep(asked, folder, cpus_per_worker=1)
    same(folder, whole)


def test_a_cluster_that_asks_for_a_token_is_shown_it_or_what_is_missing_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with head(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=_TOKEN) as cluster:
        with pytest.raises(PaintersError, match="asks for a token; put that of its head into ~/"):
            connected(cluster.address, 1)
        with monkeypatch.context() as patch:
            patch.setenv("RAY_AUTH_MODE", "token")
            with pytest.raises(PaintersError, match="RAY_AUTH_MODE is token, and no token is in"):
                connected(cluster.address, 1)
        monkeypatch.setenv("RAY_AUTH_TOKEN", _TOKEN[::-1])
        with pytest.raises(PaintersError, match=r"asks for a token; the one in .* is not its own"):
            connected(cluster.address, 1)
        monkeypatch.setenv("RAY_AUTH_TOKEN", _TOKEN)
        with monkeypatch.context() as patch:
            patch.setenv("RAY_AUTH_MODE", "disabled")
            with pytest.raises(PaintersError, match="token; export RAY_AUTH_MODE=token, and yours"):
                connected(cluster.address, 1)
        ray, leave = connected(cluster.address, 1)
        try:
            assert ray.get_runtime_context().gcs_address == cluster.address
        finally:
            leave()


def test_a_cluster_of_ones_own_leaves_home_and_environment_as_they_were(home: Path) -> None:
    importlib.import_module("ray")  # before it is told anything, as a user may
    before = {name: value for name, value in os.environ.items() if "AUTH" in name}
    ray, leave = connected(None, 1)
    try:
        assert ray.get_runtime_context().gcs_address.startswith("127.0.0.1:")
        assert os.environ["RAY_AUTH_TOKEN"]
    finally:
        leave()
    assert not ray.is_initialized()
    assert {name: value for name, value in os.environ.items() if "AUTH" in name} == before
    assert not (home / ".ray").exists()
