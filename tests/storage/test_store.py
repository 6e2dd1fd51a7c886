"""Tables on disk: back as they were, or refused by name; never half of one and half of another."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import hypothesis.extra.pandas as frames
import hypothesis.strategies as draws
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from pandas.testing import assert_frame_equal

from painters_interp import experiments, figures, storage, tables
from painters_interp.errors import OutputError, TableError
from painters_interp.report import draw
from painters_interp.storage import files
from painters_interp.storage.encoding import decoded, encoded


def back(table: pd.DataFrame, suffix: str = ".csv") -> pd.DataFrame:
    content, types = encoded(table, suffix)
    return decoded(content, suffix, json.loads(json.dumps(types)))


# Types

HARD: dict[str, Any] = {
    "label": ["01", "12e5", "", None, "nan", "NA", "True", " a ", 'say "x"', "a\nb\r\nc\rd", ","],
    "whole": [2**53 + 1, -(2**63), 2**63 - 1, 0, 1, 2, 3, 4, 5, 6, 7],
    "real": [0.1, 1e300, 5e-324, float("inf"), float("-inf"), float("nan"), -0.0, 1 / 3, 2.0, 3, 4],
    "truth": [True, False] * 5 + [True],
    "mixed": [1, "1", 1.0, None, True, "", [1, 2], {"a": 1}, 2**70, "x", -1],
    "no": [None] * 11,
    "empty": [""] * 11,
}


@pytest.mark.parametrize("column", HARD)
def test_values_come_back_as_they_were(column: str) -> None:
    table = pd.DataFrame({"x": HARD[column], "plan": "0-5"})
    again = back(table)
    assert_frame_equal(again, table)
    for one, other in zip(again["x"], table["x"], strict=True):
        assert type(one) is type(other)


@pytest.mark.parametrize(
    "dtype", ["int8", "uint64", "Int32", "float32", "float16", "Float64", "boolean", "string",
              "datetime64[ns]", "timedelta64[ns]", "category", "datetime64[ns, UTC]"],
)  # fmt: skip
def test_types_come_back_as_they_were(dtype: str) -> None:
    values = pd.Series(["a", "", "b"] if dtype in ("string", "category") else [1, 0, 1])
    column = (values / 3 if dtype.lower().startswith("float") else values).astype(dtype)
    table = pd.DataFrame({"x": column, "y": [1, 2, 3]})
    assert_frame_equal(back(table), table)
    if not dtype.startswith(("int", "uint")):
        table.loc[1, "x"] = None
        assert_frame_equal(back(table), table)


def test_categories_keep_their_order() -> None:
    kind = pd.CategoricalDtype(["late", "early"], ordered=True)
    table = pd.DataFrame({"x": pd.Series(["early", None, "late"], dtype=kind)})
    assert_frame_equal(back(table), table)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    frames.data_frames(
        [
            frames.column("text", elements=draws.one_of(draws.none(), draws.text()), dtype=object),
            frames.column("real", dtype=float),
            frames.column("whole", dtype="int64"),
            frames.column("truth", dtype=bool),
        ]
    )
)
def test_any_table_comes_back(table: pd.DataFrame) -> None:
    assert_frame_equal(back(table), table.reset_index(drop=True), check_column_type=False)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (pd.DataFrame({0: [1]}), "0 is not"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' is not"),
        (pd.DataFrame(), "there is none"),
    ],
)
def test_columns_that_would_not_come_back_are_refused(table, reason, tmp_path) -> None:
    for name in ("t", "t.parquet"):
        with pytest.raises(TableError, match=reason):
            storage.write_table(table, tmp_path / name, {})
    assert not [*tmp_path.iterdir()]


def test_texts_may_hold_what_other_programs_end_at() -> None:
    texts = ["x\0y", "\0", "\ud800", "a\rb\n", "\u2028", ""]
    table = pd.DataFrame({"text\0": pd.Series(texts, dtype=object)})
    assert_frame_equal(back(table), table)


# What is read is what was written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    table = experiments.variants(7).assign(
        value=np.linspace(0, 1, 19)[: len(experiments.variants(7))]
    )
    return storage.write_table(table, tmp_path / "variants", {"seed": 3})


def refused(path: Path) -> str:
    with pytest.raises(TableError) as raised:
        storage.read_table(path)
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_cut_short_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = storage.write_table(experiments.variants(7), tmp_path / name, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut short" in refused(path)


@pytest.mark.parametrize("place", [0.0, 0.05, 0.3, 0.6, 0.95, 1.0])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_with_a_flipped_bit_is_refused(tmp_path: Path, name: str, place: float) -> None:
    path = storage.write_table(experiments.variants(7), tmp_path / name, {})
    content = bytearray(path.read_bytes())
    content[int((len(content) - 1) * place)] ^= 4
    path.write_bytes(content)
    refused(path)


def test_a_damaged_json_is_named(path: Path) -> None:
    beside = path.with_suffix(".json")
    beside.write_bytes(beside.read_bytes()[:40])
    with pytest.raises(TableError, match=r"variants\.json is not what was written"):
        storage.read_table(path)
    with pytest.raises(TableError, match=r"variants\.json is not what was written"):
        storage.read_provenance(path)


def test_what_was_edited_by_hand_is_read_on_request(path: Path) -> None:
    edited = path.read_text().replace("parallel", "at once")
    path.write_text(edited)
    assert "verify=False" in refused(path)
    assert storage.read_table(path, verify=False)["variant"].eq("at once").any()


def test_a_table_without_its_json_is_read_with_a_warning(path: Path) -> None:
    table = storage.read_table(path)
    path.with_suffix(".json").unlink()
    with pytest.warns(UserWarning, match=r"variants\.csv is read unchecked: no variants\.json"):
        again = storage.read_table(path)
    assert_frame_equal(again.astype(object), table.astype(object), check_dtype=False)


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 99, b"PAR1" + b"x" * 50 + b"PAR1"])
@pytest.mark.filterwarnings("ignore:.*read unchecked")
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(TableError, match=r"t\.parquet is not a table"):
        storage.read_table(tmp_path / "t.parquet")


@pytest.mark.filterwarnings("ignore:.*read unchecked")
def test_an_empty_file_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"")
    with pytest.raises(TableError, match=r"t\.csv is not a table"):
        storage.read_table(tmp_path / "t")


def test_figures_of_a_damaged_table_are_refused_in_one_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TableError, match="was changed or cut short"):
        draw(path.parent)


def test_a_table_may_be_moved_with_its_json(path: Path, tmp_path: Path) -> None:
    table = storage.read_table(path)
    for file in (path, path.with_suffix(".json")):
        file.rename(file.with_stem("other"))
    assert_frame_equal(storage.read_table(tmp_path / "other"), table)


def test_provenance_is_what_was_given(path: Path) -> None:
    assert storage.read_provenance(path) == {"seed": 3}
    whole = json.loads(path.with_suffix(".json").read_text())
    again = storage.write_table(storage.read_table(path), path.with_stem("again"), whole)
    assert again.with_suffix(".json").read_text() == path.with_suffix(".json").read_text()
    with pytest.raises(TableError, match="'table' is what the JSON calls the file"):
        storage.write_table(experiments.intact(3), path, {"table": "mine"})


# Places


def test_files_of_others_are_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "table": 3}')
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    for name in ("config", "mine"):
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        for attempt in (
            lambda name=name: storage.writable(tmp_path / name),
            lambda name=name: storage.write_table(experiments.intact(3), tmp_path / name, {}),
        ):
            with pytest.raises(OutputError, match=rf"{name}\.\w+ exists and is no table of this"):
                attempt()
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_table_of_ours_is_written_over(path: Path) -> None:
    assert storage.writable(path) == path
    storage.write_table(experiments.intact(3), path, {})
    assert len(storage.read_table(path)) == 1


def test_the_json_of_another_table_is_not_taken(path: Path) -> None:
    with pytest.raises(OutputError, match=r"variants\.json belongs to .*variants\.csv"):
        storage.write_table(experiments.intact(3), path.with_suffix(".parquet"), {})
    storage.read_table(path)


def test_a_place_is_tried_without_a_trace(tmp_path: Path) -> None:
    assert storage.writable(tmp_path / "new" / "deep" / "t") == tmp_path / "new" / "deep" / "t.csv"
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "folder.csv", "file/t", "x" * 5000, "a\0b", "/proc/nowhere/t"]
)
def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    for attempt in (storage.writable, lambda p: storage.write_table(experiments.intact(3), p, {})):
        with pytest.raises(OutputError) as raised:
            attempt(name)
        assert "\n" not in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_a_full_disk_leaves_the_old_table_whole(path: Path, monkeypatch) -> None:
    before = storage.read_table(path)
    write = files._write_through

    def nearly_full(path: Path, content: bytes) -> None:
        if not content.startswith(b"{"):  # the JSON still fits
            raise OSError(28, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write_through", nearly_full)
        with pytest.raises(OutputError, match="No space left on device"):
            storage.write_table(experiments.intact(3), path, {})
    assert_frame_equal(storage.read_table(path), before)
    assert len([*path.parent.iterdir()]) == 2


# Several writers


def own(writer: int, rows: int = 40) -> pd.DataFrame:
    return pd.DataFrame({"writer": [writer] * (rows + writer)})


def look(path: Path) -> None:
    """A table and its provenance, each whole; and the table is one writer's."""
    table = storage.read_table(path)
    [writer] = table["writer"].unique()
    assert len(table) == 40 + writer
    assert storage.read_provenance(path)["writer"] in range(4)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_threads_may_write_one_path(tmp_path: Path, name: str) -> None:
    path, errors = tmp_path / name, []
    storage.write_table(own(0), path, {"writer": 0})

    def work(writer: int) -> None:
        try:
            for _ in range(40):
                storage.write_table(own(writer), path, {"writer": writer})
                look(path)
        except Exception as error:  # a thread's own would go unseen
            errors.append(error)

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["writer"] == storage.read_table(path)["writer"].iloc[0]
    assert len([*tmp_path.iterdir()]) == 2


PROCESS = """
import sys
import pandas as pd
from painters_interp import storage
path, writer = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    table = pd.DataFrame({"writer": [writer] * (40 + writer)})
    storage.write_table(table, path, {"writer": writer})
"""


@pytest.mark.slow
def test_processes_may_write_one_path_while_another_reads(tmp_path: Path) -> None:
    path = storage.write_table(own(0), tmp_path / "t", {"writer": 0})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    words = [sys.executable, "-c", PROCESS, str(path)]
    writers = [subprocess.Popen([*words, str(writer)], **pipes) for writer in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    while any(writer.poll() is None for writer in writers):
        look(path)
    assert [writer.wait() for writer in writers] == [0, 0]
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["writer"] == storage.read_table(path)["writer"].iloc[0]
    assert len([*tmp_path.iterdir()]) == 2


# A table that went through another program


def test_a_table_from_plain_pandas_draws_the_same(tmp_path: Path) -> None:
    labels = pd.concat([experiments.variants(8), experiments.single_layers(8)])
    suite = tables.typed(
        labels.assign(model="m", task="t", metric="acc", chance=0.25, stderr=0.01, seed=0,
                      value=np.linspace(0.9, 0.3, len(labels)), higher_is_better=True)
    )  # fmt: skip
    suite.loc[suite["variant"].eq("intact"), "value"] = 0.9
    path = storage.write_table(suite, tmp_path / "suite", {})
    plain = pd.read_csv(path)
    assert plain["times"].dtype == float
    for figure in (figures.variant_curves, figures.single_layer_curves):
        one, two = (
            figures.save(figure(table), tmp_path / name, formats=("png",))[0].read_bytes()
            for name, table in (("ours", suite), ("plain", plain))
        )
        assert one == two


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path, monkeypatch: Any) -> None:
    before = storage.write_whole(tmp_path / "claims.md", b"before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; give a folder on another disk"):
        storage.write_whole(before, b"after")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
