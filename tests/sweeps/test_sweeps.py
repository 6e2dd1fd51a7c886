"""Sweeps in one process: what is asked is answered once, whatever happens on the way."""

import json
import os
import shutil
import signal
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import painters_interp as painters
from painters_interp import sweeps
from painters_interp.cli import application
from painters_interp.cli import sweeps as cli
from painters_interp.errors import OutputError, PaintersError
from painters_interp.evaluation import measurements
from painters_interp.sweeps import inquiries, journal, running, workers
from painters_interp.sweeps.inquiries import inquiries_of
from painters_interp.sweeps.shards import groups_of

PLANS = {"skip": "0-2 5", "back": "5-0"}


@pytest.fixture(scope="module")
def once() -> Any:
    """Loads a model of a folder once."""
    return lru_cache(painters.load_model)


@pytest.fixture(autouse=True)
def _loaded_once(once: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(name: str, **options: Any) -> Any:
        return once(name, dtype=options["dtype"])

    monkeypatch.setattr(workers, "load_model", plain)
    monkeypatch.setattr(inquiries, "load_model", plain)


@pytest.fixture(scope="module")
def asked(checkpoint: Path) -> dict[str, Any]:
    """Two shards of a tiny model."""
    given = {"models": str(checkpoint), "tasks": "probe_facts", "plans": PLANS, "limits": 12}
    return {**given, "items_per_shard": 8}


@pytest.fixture(scope="module")
def whole(asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> sweeps.Swept:
    """What an undisturbed sweep finds."""
    return painters.sweep(asked, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The items of each shard that is really answered, with room for what is to happen before."""
    ran: list[tuple[int, ...]] = []
    answer = workers.Worker.answer

    def watched(self: Any, shard: Any, plans: Any, facts: Any) -> Any:
        ran.append(shard.items)
        return answer(self, shard, plans, facts)

    monkeypatch.setattr(workers.Worker, "answer", watched)
    return ran


def scoring(monkeypatch: pytest.MonkeyPatch, before: Callable[[Any], None]) -> None:
    """Let something happen before the questions of a batch are answered."""
    score = measurements.score

    def watched(model: Any, plans: Any, questions: Any, *more: Any) -> Any:
        before(questions)
        return score(model, plans, questions, *more)

    monkeypatch.setattr(measurements, "score", watched)


def items_of(questions: Any) -> list[int]:
    [task] = questions.tasks
    return sorted({instance.doc_id for instance in task.instances})


def with_epsilon(value: float, folder: Path) -> Path:
    """A checkpoint whose config says so, which is another model."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": value}))
    return folder


def own_task(folder: Path, answer: str) -> Path:
    """A task of ten items in files of one's own."""
    folder.mkdir(exist_ok=True)
    items = [{"question": f"{n} is", "answer": f" {answer} {n}"} for n in range(10)]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    (folder / "colours.yaml").write_text(
        "task: colours\noutput_type: loglikelihood\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {folder / 'items.jsonl'}}}}}\n"
        "test_split: test\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
    )
    return folder / "colours.yaml"


def same(one: sweeps.Swept, other: sweeps.Swept) -> None:
    pd.testing.assert_frame_equal(one.results, other.results, check_exact=True)
    pd.testing.assert_frame_equal(one.items, other.items, check_exact=True)


def test_a_sweep_is_what_evaluate_finds_of_the_same(asked, checkpoint, tmp_path):
    found = painters.sweep({**asked, "metrics": "kl", "seeds": [0, 3]}, tmp_path)
    model = painters.load_model(checkpoint)
    for seed, own in found.results.groupby("seed"):
        expected = pd.DataFrame(
            painters.evaluate(model, PLANS, "probe_facts", limit=12, seed=int(seed), metrics="kl")
        )
        order = ["plan", "metric"]
        shared = [c for c in expected if c in own]
        pd.testing.assert_frame_equal(
            own.sort_values(order, ignore_index=True)[shared],
            expected.sort_values(order, ignore_index=True)[shared], rtol=1e-4, atol=1e-6,
        )  # fmt: skip
    written = painters.store.read_table(tmp_path / "results.csv")
    pd.testing.assert_frame_equal(written, found.results)
    assert len(painters.store.read_table(tmp_path / "results.items.parquet")) == len(found.items)
    assert found.failed.empty


def test_again_nothing_is_run_and_a_changed_spec_adds_what_is_new(asked, tmp_path, answered):
    first = painters.sweep(asked, tmp_path)
    assert answered == [tuple(range(8)), tuple(range(8, 12))]
    answered.clear()
    same(first, painters.sweep(asked, tmp_path))
    assert answered == []
    painters.sweep({**asked, "limits": 20}, tmp_path)
    assert answered == [tuple(range(8, 16)), tuple(range(16, 20))]  # the first eight are there
    answered.clear()
    more = painters.sweep({**asked, "plans": {**PLANS, "short": "0 1"}}, tmp_path)
    assert len(answered) == 2
    assert {*more.results["plan"]} == {"0-5", "0-2 5", "5-0", "0 1"}
    same(first, painters.sweep(asked, tmp_path))  # what others asked for is not mixed in


def test_the_table_does_not_depend_on_how_it_is_cut(asked, whole, tmp_path):
    same(painters.sweep({**asked, "items_per_shard": 32}, tmp_path), whole)


def test_jobs_of_an_array_are_joined_without_a_model(asked, whole, tmp_path, answered, monkeypatch):
    painters.sweep(asked, tmp_path / "parts", shard="2/2")
    assert answered == [tuple(range(8, 12))]
    found = painters.sweep(asked, tmp_path / "parts", collect=True)
    assert found.left == 1
    assert found.failed["why"].tolist() == ["not done; run --shard 1/2 again"]
    [saved] = painters.read_run(tmp_path / "parts").values()
    assert (saved.provenance["shards"], saved.provenance["missing"]) == (2, 1)
    with pytest.raises(PaintersError, match="runs nothing and joins what all jobs have found"):
        painters.sweep(asked, tmp_path / "parts", shard="1/2", collect=True)
    assert painters.sweep(asked, tmp_path / "parts", shard="1/2").results.empty
    monkeypatch.setattr(workers, "load_model", None)
    same(painters.sweep(asked, tmp_path / "parts", collect=True), whole)


@pytest.mark.parametrize("damage", ["flipped", "cut short", "of something else"])
def test_a_damaged_part_is_found_said_and_computed_again(
    asked, whole, tmp_path, answered, capsys, damage
):
    painters.sweep(asked, tmp_path)
    one, other = sorted((tmp_path / "parts").rglob("*.parquet"))
    content = bytearray(one.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"flipped": content, "cut short": content[:-9], "of something else": None}[damage]
    one.write_bytes(other.read_bytes() if damaged is None else damaged)
    if damaged is None:
        one.with_suffix(".json").write_bytes(other.with_suffix(".json").read_bytes())
    answered.clear()
    same(whole, painters.sweep(asked, tmp_path))
    assert len(answered) == 1
    said = capsys.readouterr().err
    assert one.name in said
    assert "computed again" in said


def test_what_is_written_reads_without_this_package_while_it_runs(asked, tmp_path, monkeypatch):
    seen = []

    def look(questions: Any) -> None:
        paths = [*(tmp_path / "parts").rglob("*.parquet")]
        seen.append(sum(len(pd.read_parquet(path)) for path in paths))

    scoring(monkeypatch, look)
    found = painters.sweep(asked, tmp_path)
    assert seen[0] == 0 < seen[1] < len(found.items)
    facts = json.loads(next((tmp_path / "parts").rglob("*.json")).read_text())
    assert facts["format"] == 1
    assert len(facts["table"]["sha256"]) == 64


def test_an_item_that_raises_is_named_and_the_rest_goes_on(
    asked, whole, tmp_path, monkeypatch, capsys
):
    def refuse(questions: Any) -> None:
        if 3 in items_of(questions):
            raise ValueError("a bad item")

    with monkeypatch.context() as patched:
        scoring(patched, refuse)
        found = painters.sweep(asked, tmp_path / "part")
    assert found.failed[["task", "items", "why"]].values.tolist() == [
        ["probe_facts", "3", "ValueError: a bad item"]
    ]
    assert "item 3: ValueError: a bad item" in capsys.readouterr().err
    assert {*found.items["item"]} == {*range(12)} - {3}
    [standing] = sweeps.status(tmp_path / "part").to_dict("records")
    assert (standing["done"], standing["failed"], standing["left"]) == (1, 1, 0)
    same(painters.sweep(asked, tmp_path / "part"), whole)  # tried again


def test_where_memory_runs_out_batches_are_halved_and_stay_so(
    asked, whole, tmp_path, monkeypatch, capsys
):
    sizes: list[int] = []

    def short(questions: Any) -> None:
        sizes.append(questions.items)
        if questions.items > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    scoring(monkeypatch, short)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that the model cannot be packed
        found = painters.sweep(asked, tmp_path / "short")
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2]
    assert "2 items go through the model together from now on" in capsys.readouterr().err
    columns = ["plan", "metric", "item", "value"]
    pd.testing.assert_frame_equal(found.items[columns], whole.items[columns], rtol=1e-4)
    done = [note for note in journal.notes(tmp_path / "short") if note.event == "done"]
    assert [note.facts["batches"] for note in done] == [[2] * 4, [2] * 2]


def test_a_plan_that_gives_no_numbers_is_recorded_and_the_rest_goes_on(
    asked, checkpoint, tmp_path, capsys
):
    wild = {**PLANS, "wild": "0-4 5@1e300"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of statistics that are NaN
        found = painters.sweep({**asked, "plans": wild}, tmp_path)
    by_plan = found.results[found.results["metric"] == "acc"].set_index("label")["value"]
    assert by_plan.isna().to_dict() == {"intact": False, "skip": False, "back": False, "wild": True}
    assert "plan '0-4 5@1e+300' has 8 values that are no numbers" in capsys.readouterr().err
    assert found.failed.empty
    done = [note for note in journal.notes(tmp_path) if note.event == "done"]
    assert all("0-4 5@1e+300" in note.facts["undefined"] for note in done)


def test_a_model_that_cannot_be_loaded_stops_no_other(asked, checkpoint, tmp_path):
    found = painters.sweep({**asked, "models": ["nowhere/at-all", str(checkpoint)]}, tmp_path)
    assert found.failed["model"].tolist() == ["nowhere/at-all"]
    assert {*found.results["model"]} == {checkpoint.name}
    table = sweeps.status(tmp_path).set_index("model")
    assert table["failed"].to_dict() == {"nowhere/at-all": 2, str(checkpoint): 0}


def test_a_model_that_is_named_twice_counts_once_and_the_second_name_is_said(
    asked, whole, checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "load_model", painters.load_model)
    copy = shutil.copytree(checkpoint, tmp_path / "copy" / checkpoint.name)
    twice = {**asked, "models": [str(checkpoint), str(copy)]}
    for shard in ("1/2", "2/2"):  # none of the two sees both names
        assert painters.sweep(twice, tmp_path / "parts", shard=shard).failed.empty
    for given in ({"out": tmp_path / "out"}, {"out": tmp_path / "parts", "collect": True}):
        found = painters.sweep(twice, **given)
        pd.testing.assert_frame_equal(found.results, whole.results, check_exact=True)
        [(name, why)] = found.failed[["model", "why"]].values.tolist()
        assert name == str(copy)
        assert why == f"it is the same model as {checkpoint} (float32); name it once"
        assert len(painters.read_run(given["out"])["results"].items) == len(whole.items)
    assert sweeps.status(tmp_path / "out")["failed"].tolist() == [0, 2]


def test_another_model_under_the_same_name_is_another_model(
    asked, checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "load_model", painters.load_model)
    own = shutil.copytree(checkpoint, tmp_path / "mine")
    first = painters.sweep({**asked, "models": str(own)}, tmp_path / "out")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    second = painters.sweep({**asked, "models": str(own)}, tmp_path / "out")
    assert not first.items["value"].equals(second.items["value"])
    alone = painters.sweep({**asked, "models": str(own)}, tmp_path / "alone")
    same(second, alone)


def test_a_model_that_is_changed_while_its_sweep_runs_fails_and_again_it_is_the_new_one(
    asked, checkpoint, tmp_path, monkeypatch
):
    own = with_epsilon(0.1, shutil.copytree(checkpoint, tmp_path / "mine"))
    spec = {**asked, "models": [str(own), str(checkpoint)]}
    loads: list[str] = []

    def changing(name: str, **options: Any) -> Any:
        loads.append(name)
        if loads == [str(own), str(checkpoint), str(own)]:  # it comes back for the answers
            with_epsilon(0.2, own)
        return painters.load_model(name, dtype=options["dtype"])

    monkeypatch.setattr(workers, "load_model", changing)
    found = painters.sweep(spec, tmp_path / "out")
    assert found.failed["model"].tolist() == [str(own)]
    assert "are not what they were when the sweep began" in found.failed["why"].item()
    assert sweeps.status(tmp_path / "out")["failed"].tolist() == [2, 0]
    again = painters.sweep(spec, tmp_path / "out")
    assert not len(again.failed)
    same(again, painters.sweep(spec, tmp_path / "alone"))


def test_items_that_are_changed_while_a_sweep_runs_fail_and_again_they_are_the_new_ones(
    asked, tmp_path, monkeypatch
):
    spec = {**asked, "tasks": str(own_task(tmp_path / "tasks", "red"))}
    load = workers.load_model

    def changing(name: str, **options: Any) -> Any:
        own_task(tmp_path / "tasks", "blue")
        return load(name, **options)

    with monkeypatch.context() as patched:
        patched.setattr(workers, "load_model", changing)
        found = painters.sweep(spec, tmp_path / "out")
    assert "are not those with which the sweep began" in found.failed["why"].item()
    assert found.results.empty
    again = painters.sweep(spec, tmp_path / "out")
    assert not len(again.failed)
    same(again, painters.sweep(spec, tmp_path / "alone"))


def test_jobs_of_an_array_that_read_other_items_are_to_be_run_again(asked, tmp_path, answered):
    spec = {**asked, "tasks": str(own_task(tmp_path / "tasks", "red"))}
    painters.sweep(spec, tmp_path / "out", shard="1/2")
    own_task(tmp_path / "tasks", "blue")
    painters.sweep(spec, tmp_path / "out", shard="2/2")
    found = painters.sweep(spec, tmp_path / "out", collect=True)
    assert found.failed["why"].tolist() == ["not done; run --shard 1/2 again"]
    painters.sweep(spec, tmp_path / "out", shard="1/2")
    joined = painters.sweep(spec, tmp_path / "out", collect=True)
    same(joined, painters.sweep(spec, tmp_path / "alone"))


def test_what_is_gone_when_all_is_joined_failed(asked, whole, tmp_path, monkeypatch):
    def removing(questions: Any) -> None:
        shutil.rmtree(tmp_path / "parts", ignore_errors=True)

    with monkeypatch.context() as patched:
        scoring(patched, removing)  # before the second shard, the first one's part
        found = painters.sweep(asked, tmp_path)
    assert found.failed["why"].tolist() == ["not all that was answered is there any more"]
    assert {*found.items["item"]} == {*range(8, 12)}
    assert sweeps.status(tmp_path)["failed"].tolist() == [1]
    same(painters.sweep(asked, tmp_path), whole)


def test_an_interruption_finishes_the_shard_and_the_same_call_goes_on(
    asked, whole, tmp_path, monkeypatch, capsys, answered
):
    with monkeypatch.context() as patched:
        scoring(patched, lambda questions: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            painters.sweep(asked, tmp_path / "part")
    assert "the same command goes on from here" in capsys.readouterr().err
    assert len(answered) == 1
    assert sweeps.status(tmp_path / "part")[["done", "left"]].values.tolist() == [[1, 1]]
    same(painters.sweep(asked, tmp_path / "part"), whole)
    assert len(answered) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_interruption_stops_at_once(asked, tmp_path, monkeypatch):
    def twice(questions: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    scoring(monkeypatch, twice)
    with pytest.raises(KeyboardInterrupt):
        painters.sweep(asked, tmp_path)
    assert not [*tmp_path.glob("parts/**/*.parquet")]


def test_a_folder_in_which_nothing_can_be_renamed_is_refused_first(asked, tmp_path, monkeypatch):
    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "replace", refused)
    monkeypatch.setattr(workers, "load_model", None)
    with pytest.raises(OutputError, match=r"cannot be renamed there \(Operation not permitted\)"):
        painters.sweep(asked, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_begun_leaves_no_folder(asked, tmp_path, monkeypatch):
    def nobody(*given: Any) -> None:
        raise PaintersError("the cluster cannot be joined")

    monkeypatch.setattr(running, "_crew", nobody)
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "new" / "sweep", tmp_path / "mine"):
        with pytest.raises(PaintersError, match="cannot be joined"):
            painters.sweep(asked, folder)
    with pytest.raises(PaintersError, match="probe_fact"):
        painters.sweep(asked | {"tasks": "probe_fact"}, tmp_path / "new" / "sweep")
    assert [*tmp_path.rglob("*")] == [tmp_path / "mine"]


def test_what_cannot_be_is_refused_before_a_model_is_loaded(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "load_model", None)
    with pytest.raises(PaintersError, match="no executor 'slurm'"):
        painters.sweep(asked, tmp_path, "slurm")
    with pytest.raises(PaintersError, match="executor='ray'"):
        painters.sweep(asked, tmp_path, workers=2)
    with pytest.raises(PaintersError, match="there is no sweep in"):
        painters.sweep(asked, tmp_path / "nowhere", collect=True)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(PaintersError, match="there is no sweep in"):
        sweeps.status(tmp_path / "nowhere")


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_command_line_says_how_it_went(
    asked, checkpoint, tmp_path, monkeypatch, capsys, interrupted
):
    spec = {**asked, "models": ["nowhere/at-all", str(checkpoint)]}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))  # JSON is YAML
    if interrupted:
        scoring(monkeypatch, lambda questions: signal.raise_signal(signal.SIGINT))
    words = ["sweep", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")]
    assert application.answer(words) == (130 if interrupted else 1)
    said = capsys.readouterr()
    assert "failed: nowhere/at-all (float32): ModelError" in said.err
    assert ("the same command goes on" in said.err) == interrupted
    assert ("Results are in" in said.out) != interrupted
    assert application.answer(["status", str(tmp_path / "out")]) == 0
    assert "nowhere/at-all" in capsys.readouterr().out


def test_models_tasks_and_studies_may_have_settings_of_their_own(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    name = asked["models"]
    study = {"2601.18302": {"limit": 4, "tasks": "probe_facts"}}
    spec = asked | {
        "models": {name: {"device_map": {"": "cpu"}}},
        "tasks": [{"probe_facts": {"limits": 2, "shots": 1}}, "probe_order"],
        "studies": study,
    }
    found = painters.sweep(spec, tmp_path)
    asked_of = found.results[["task", "limit", "shots"]].drop_duplicates()
    assert asked_of["task"].tolist() == ["probe_facts", "probe_order"]
    assert asked_of["limit"].tolist() == [2, 12]
    assert str(asked_of["limit"].dtype) == "Int64"
    assert "12.0" not in (tmp_path / "results.json").read_text()
    assert asked_of["shots"].tolist()[0] == 1
    [claims] = tmp_path.glob("studies/2601.18302/*-float32-*/claims.csv")
    written = claims.stat().st_mtime_ns
    painters.sweep(spec, tmp_path)
    assert claims.stat().st_mtime_ns == written  # not asked again
    table = sweeps.status(tmp_path)
    assert table["done"].tolist() == table["shards"].tolist() == [1, 2, 1]
    assert table["task"].tolist()[-1] == "study 2601.18302"


def test_a_study_that_fails_is_named_and_is_left_to_be_done(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    spec = {"models": asked["models"], "studies": {"2601.18302": {"tasks": "probe_nothing"}}}
    found = painters.sweep(spec, tmp_path)
    assert found.failed["task"].tolist() == ["study 2601.18302"]
    assert "no task 'probe_nothing'" in found.failed["why"].item()
    assert painters.sweep(spec, tmp_path, collect=True).left == 1


def test_a_study_says_where_it_is_and_that_all_went_well(asked, tmp_path, capsys):
    spec = {"models": asked["models"], "studies": {"2601.18302": {"limit": 4}}}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    assert application.answer(["sweep", str(tmp_path / "spec.yaml"), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert f"Studies are in {tmp_path / 'studies'}" in said.out
    assert "shard" not in said.err  # there is none
    [place] = tmp_path.glob("studies/2601.18302/*-float32-*")
    assert f"what was found is in {place}" in said.err
    assert "1 study, nothing failed" in said.err


def test_where_a_study_cannot_be_written_the_others_are_not_carried_out(
    asked, tmp_path, monkeypatch
):
    spec = {"models": asked["models"], "studies": "2601.18302", "seeds": [0, 1]}
    ran: list[int] = []

    def full(*given: Any, seed: int, **named: Any) -> Any:
        ran.append(seed)
        raise OutputError("No space left on device")

    monkeypatch.setattr(inquiries, "run", full)
    with pytest.raises(OutputError, match="No space left"):
        painters.sweep(spec, tmp_path)
    assert ran == [0]
    assert sweeps.status(tmp_path)["left"].tolist() == [2]


@pytest.mark.parametrize("what", ["model", "task"])
def test_a_study_whose_files_are_changed_while_it_is_carried_out_is_to_be_done_again(
    asked, checkpoint, tmp_path, monkeypatch, what
):
    own = shutil.copytree(checkpoint, tmp_path / "mine")
    task = own_task(tmp_path / "tasks", "red")
    spec = {"models": str(own), "studies": {"2601.18302": {"limit": 4, "tasks": str(task)}}}
    carried_out = inquiries.run

    def changing(*given: Any, **named: Any) -> Any:
        if what == "model":
            with_epsilon(0.1, own)
        else:
            own_task(tmp_path / "tasks", "blue")
        return carried_out(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(inquiries, "run", changing)
        found = painters.sweep(spec, tmp_path / "out")
    assert (
        "were changed while it was carried out; run the sweep again" in found.failed["why"].item()
    )
    assert not [*tmp_path.glob("out/studies/*/*/claims.csv")]
    assert painters.sweep(spec, tmp_path / "out").failed.empty
    assert painters.sweep(spec, tmp_path / "out", collect=True).left == 0
    own_task(tmp_path / "tasks", "green")
    assert painters.sweep(spec, tmp_path / "out", collect=True).left == 1


@pytest.mark.parametrize("place", ["models", "data"])
def test_a_study_of_other_files_under_the_same_path_is_another(tmp_path: Path, place: str) -> None:
    for name in ("model", "data/task"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("old")
    spec = {"models": str(tmp_path / "model"), "data": str(tmp_path / "data"), "studies": "rys"}
    [inquiry] = inquiries_of(sweeps.read_spec(spec))
    folder = inquiry.place(tmp_path)
    folder.mkdir(parents=True)
    (folder / "asked.json").write_text(json.dumps(inquiry.facts()))
    assert inquiry.is_done(tmp_path)
    changed = tmp_path / ("model/file" if place == "models" else "data/task/file")
    changed.write_text("other")
    assert not inquiry.is_done(tmp_path)


def test_a_revision_tells_models_of_one_name_apart() -> None:
    spec = sweeps.read_spec(
        {"models": [{"m": {"revision": "a"}}, {"m": {"revision": "b", "trust": True}}, "m"],
         "tasks": "t", "plans": "0-5"}
    )  # fmt: skip
    groups = groups_of(spec)
    assert [group.called for group in groups] == ["m@a", "m@b", "m"]
    assert groups[1].options["trust_remote_code"]
    assert groups[1].options["revision"] == "b"


def test_a_task_asked_in_several_ways_is_read_with_its_items(asked, tmp_path):
    found = painters.sweep(asked | {"limits": [2, 0.1], "shots": [None, 0]}, tmp_path)
    [saved] = painters.read_run(tmp_path).values()
    assert len(saved.table) == len(found.results) == 4 * len(PLANS | {"intact": ""}) * 2
    assert saved.items is not None
    assert len(saved.items) == len(found.items)


def test_a_killed_sweep_is_said_to_be_left_by_all(asked, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        scoring(patched, lambda questions: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            painters.sweep(asked, tmp_path)
    [notes] = (tmp_path / "journal").iterdir()
    lines = notes.read_text().splitlines(keepends=True)
    killed = [line for line in lines if json.loads(line)["event"] not in ("done", "ended")]
    notes.write_text("".join(killed))
    assert sweeps.status(tmp_path)[["running", "left"]].values.tolist() == [[1, 1]]
    application.answer(["status", str(tmp_path)])
    assert "Nobody" not in capsys.readouterr().out
    old = notes.stat().st_mtime - 60  # a minute without a sign of life
    os.utime(notes, (old, old))
    assert sweeps.status(tmp_path)[["running", "left"]].values.tolist() == [[0, 2]]
    application.answer(["status", str(tmp_path)])
    assert "Nobody is at work on it" in capsys.readouterr().out


def test_a_clock_that_is_set_back_changes_nothing(asked, tmp_path, monkeypatch):
    moments = iter(range(2_000_000_000, 0, -1000))
    with monkeypatch.context() as patched:
        patched.setattr(journal.time, "time", lambda: float(next(moments)))
        painters.sweep(asked, tmp_path, shard="1/2")
        painters.sweep(asked, tmp_path, shard="2/2")
    assert sweeps.status(tmp_path)[["done", "left"]].values.tolist() == [[2, 0]]
    events = [note.event for note in journal.notes(tmp_path)]
    one = ["opened", "planned", "surveyed", "kept", "begun", "done", "kept", "ended"]
    assert events == one * 2


def test_a_sign_of_life_from_the_future_is_none(asked, tmp_path):
    painters.sweep(asked, tmp_path)
    [notes] = (tmp_path / "journal").iterdir()
    lines = notes.read_text().splitlines(keepends=True)
    notes.write_text("".join(lines[:-2]))
    later = notes.stat().st_mtime + 3600
    os.utime(notes, (later, later))
    assert sweeps.status(tmp_path)["running"].tolist() == [0]


def test_who_watches_is_told_what_changes(asked, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        scoring(patched, lambda questions: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            painters.sweep(asked, tmp_path)
    capsys.readouterr()
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 4:
            painters.sweep(asked, tmp_path)

    monkeypatch.setattr(cli.time, "sleep", pause)
    assert application.answer(["status", str(tmp_path), "--watch"]) == 0
    assert len(looks) == 4
    assert capsys.readouterr().out.count("shards") == 2
