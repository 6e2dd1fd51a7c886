"""Results on disk: the right ones are found again, a broken file is named, a cut run goes on."""

import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from random import Random

import pandas as pd
import pytest
import tiny
import torch
from tokenizers import processors
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, evaluate, experiments, search, storage, task
from painters_interp.cli.scores import facts_of
from painters_interp.errors import TableError, TaskError, UnsupportedModelError
from painters_interp.evaluation import jobs, prepare, score_items
from painters_interp.execution import archives
from painters_interp.models import weights_digest
from painters_interp.plans import shared_calls
from painters_interp.storage import Shelf
from painters_interp.tables.items import item_table

N = tiny.N_LAYERS
TASKS = ["probe_facts", "probe_order"]
PLANS = {"intact": "0-5", "back": "5-0", "short": "0-3"}


@pytest.fixture
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The plans that were really run, in order."""
    from painters_interp.evaluation import measurements

    ran: list[str] = []
    score = measurements.score

    def watched(model, plans, *more):
        ran.extend(map(str, plans))
        return score(model, plans, *more)

    monkeypatch.setattr(measurements, "score", watched)
    return ran


def asked(model: TransformerBridge, folder: Path, **changes: object) -> pd.DataFrame:
    given = {"plans": PLANS, "tasks": TASKS, "limit": 4, "store": folder}
    return evaluate(model, **(given | changes))


def test_what_hooks_do_is_not_kept(llama, tmp_path):
    """Weights tell nothing of them: those under other hooks would be taken for these."""
    with llama.hooks([("blocks.2.hook_resid_post", lambda stream, hook: stream * 0.5)]):
        for ask in (
            partial(asked, llama, tmp_path),
            partial(search, llama, ["abcd", "efgh", "ijkl", "mnop"], calls=5, store=tmp_path),
        ):
            with pytest.raises(UnsupportedModelError, match=r"hooks at blocks\.2.* keep none"):
                ask()
        assert len(asked(llama, tmp_path, store=None))
    assert [*tmp_path.iterdir()] == []


def test_a_store_changes_no_result(llama, tmp_path):
    plain = asked(llama, tmp_path, store=None)
    first, again = asked(llama, tmp_path), asked(llama, tmp_path)
    pd.testing.assert_frame_equal(first, again)
    order = ["label", "task", "metric"]
    pd.testing.assert_frame_equal(
        *(t.sort_values(order, ignore_index=True) for t in (plain, first)), rtol=1e-4
    )


def test_only_what_is_missing_is_run(llama, tmp_path, walked):
    asked(llama, tmp_path)
    assert sorted(walked) == sorted([*PLANS.values()] * 2)  # once for every task
    walked.clear()
    asked(llama, tmp_path)
    assert walked == []
    asked(llama, tmp_path, plans=[*PLANS.values(), "0-4"])
    assert walked == ["0-4"] * 2
    walked.clear()
    asked(llama, tmp_path, tasks=[*TASKS, "probe_cloze"])
    assert sorted(walked) == sorted(PLANS.values())


def test_prepared_questions_share_the_store(llama, tmp_path, walked):
    asked(llama, tmp_path)
    walked.clear()
    evaluate(llama, PLANS, prepare(llama, TASKS, limit=4), store=tmp_path)
    assert walked == []


@pytest.mark.parametrize("change", [{"limit": 5}, {"seed": 1}, {"tasks": ["probe_grammar"]}])
def test_another_question_is_another_result(llama, tmp_path, walked, change):
    asked(llama, tmp_path)
    walked.clear()
    asked(llama, tmp_path, **change)
    assert set(walked) == {*PLANS.values()}


def test_other_data_of_the_same_task_are_another_question(llama, tmp_path, walked):
    for text in ("the cat sat on the mat", "the dog sat on the mat"):
        folder = tmp_path / "data" / "lambada_openai"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test.jsonl").write_text(f'{{"text": "{text}"}}\n' * 2)
        asked(llama, tmp_path, tasks=["lambada_openai"], data=tmp_path / "data", limit=None)
    assert len(walked) == 2 * len(PLANS)


def test_what_is_written_beside_a_table_knows_the_data_that_were_scored(llama):
    asked = [[{"text": "the cat sat"}], [{"text": "the dog sat"}]]
    tasks = [task("t", items, kind="loglikelihood_rolling") for items in asked]
    found = [facts_of(llama, prepare(llama, one)) for one in (*tasks, tasks[0])]
    cat, dog, again = ({**facts}.pop("requests") for facts in found)
    assert cat == again != dog
    assert {*cat} == {"t"}


def test_an_edited_model_is_another_model(llama, tmp_path, walked):
    asked(llama, tmp_path)
    walked.clear()
    before = weights_digest(llama)
    weight = llama.original_model.model.layers[2].mlp.up_proj.weight
    with torch.no_grad():
        weight[3, 4] += 0.5
    assert weights_digest(llama) != before
    changed = asked(llama, tmp_path)
    assert set(walked) == {*PLANS.values()}
    with torch.no_grad():
        weight[3, 4] -= 0.5
    assert tuple(changed) == tuple(asked(llama, tmp_path))


def test_a_run_that_was_cut_off_goes_on(llama, tmp_path, walked, monkeypatch):
    monkeypatch.setattr(jobs, "_SECONDS", 0.0)  # a group for every plan
    suite = experiments.single_layers(N)
    write, written = storage.write_table, []

    def interrupted(*given):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(write(*given))
        return written[-1]

    with monkeypatch.context() as patch:
        patch.setattr("painters_interp.storage.shelf.write_table", interrupted)
        with pytest.raises(KeyboardInterrupt):
            asked(llama, tmp_path, plans=suite, tasks=TASKS[:1])
    done = walked[:3]
    walked.clear()
    asked(llama, tmp_path, plans=suite, tasks=TASKS[:1])
    assert not {*walked} & {*done}
    assert {*walked} | {*done} == {*suite["plan"]}


def test_groups_hold_every_plan_once_and_keep_beginnings_together():
    suite = experiments.plans(experiments.suite(N, seeds=2))
    groups = [*jobs.in_groups(suite, 200.0)]
    assert sorted(map(str, (plan for group in groups for plan in group))) == sorted(map(str, suite))
    assert len(groups) == 2
    assert all(shared_calls(group) <= 200 for group in groups)
    longest = max(len(plan.calls) for plan in suite)
    assert sum(map(shared_calls, groups)) <= shared_calls(suite) + longest * len(groups)
    assert [*jobs.in_groups(suite[:3], 0.0)] == [[plan] for plan in sorted(
        suite[:3], key=jobs._order)]  # fmt: skip


WRITER = """
import sys
import warnings
from pathlib import Path
from painters_interp.tables.items import item_table
from painters_interp.storage import Shelf
from painters_interp.storage import read_table
items = item_table(read_table(sys.argv[1]))
shelf = Shelf(Path(sys.argv[2]), "task", {"seed": 0})
plans = [*items["plan"].unique()]
print("ready", flush=True)
sys.stdin.readline()
for turn in range(40):
    chosen = plans[turn % 2 : turn % 2 + 2]  # groups that overlap, as of two different sweeps
    shelf.write(items[items["plan"].isin(chosen)])
"""


def test_two_processes_may_write_the_same_while_a_third_reads(llama, tmp_path):
    items = score_items(llama, PLANS, TASKS[:1], limit=4)
    source = storage.write_table(items, tmp_path / "items.parquet", {})
    words = [sys.executable, "-c", WRITER, str(source), str(tmp_path / "store")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(words, **pipes) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    shelf = Shelf(tmp_path / "store", "task", {"seed": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while any(writer.poll() is None for writer in writers):
            shelf.read()  # warns if it ever sees a part of a file
    assert [writer.wait() for writer in writers] == [0, 0]
    order = ["plan", "metric", "item"]
    found, given = (t.sort_values(order, ignore_index=True) for t in (shelf.read(), items))
    pd.testing.assert_frame_equal(found.astype(object), given.astype(object))
    assert not [*shelf.place.glob(".*")]


ITEMS = pd.DataFrame(
    {
        **{"model": "m", "revision": None, "dtype": "float32", "plan": ["0-5", "5-0"] * 2},
        **{"task": "t", "version": "1", "metric": "acc", "item": [0, 0, 1, 1]},
        **{"value": [1.0, 0.0, 0.0, 1.0], "reference": float("nan"), "chance": 0.5},
        **{"aggregation": "mean", "higher_is_better": True, "requests": "r", "seed": 0},
        **{"truncated": False},
    }
)
FACTS = {"model": "m", "revision": None, "task": "t", "version": "1", "seed": 0, "weights": "w"}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path, "t", FACTS)
    shelf.write(item_table(ITEMS))
    return shelf


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_a_flipped_bit_is_found_named_and_computed_again(
    shelf: Shelf, suffix: str, monkeypatch
) -> None:
    monkeypatch.setattr("painters_interp.storage.store._PATIENCE", 0.0)
    [path] = shelf.place.glob("*.parquet")
    whole = shelf.read()
    content = path.with_suffix(suffix).read_bytes()
    places = Random(0).sample(range(8 * len(content)), 60)
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.with_suffix(suffix).write_bytes(flipped)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = shelf.read()
        if found is not None:  # a flip that says the same, such as one kind of space for another
            pd.testing.assert_frame_equal(found, whole)
            continue
        assert any(path.stem in str(warning.message) for warning in said), place
    shelf.write(whole)
    pd.testing.assert_frame_equal(shelf.read(), whole)


@pytest.mark.parametrize(
    ("column", "value"),
    [("model", "n"), ("task", "u"), ("seed", 1), ("version", "2"), ("plan", "0-3")],
)
def test_what_is_about_something_else_is_named(shelf: Shelf, column: str, value: object) -> None:
    [path] = shelf.place.glob("*.parquet")
    facts = storage.read_provenance(path)
    storage.write_table(item_table(ITEMS.assign(**{column: value})), path, facts)
    name = "plans" if column == "plan" else column
    with pytest.warns(UserWarning, match=f"{path} holds .*: '{name}' differs; its plans are"):
        assert shelf.read() is None


@pytest.mark.parametrize("lost", ["json", "columns", "all but the beginning"])
def test_what_is_no_file_of_the_shelf_is_named(
    shelf: Shelf, lost: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("painters_interp.storage.store._PATIENCE", 0.0)
    [path] = shelf.place.glob("*.parquet")
    match lost:
        case "json":
            path.with_suffix(".json").unlink()
        case "columns":
            storage.write_table(experiments.loops(4), path, storage.read_provenance(path))
        case _:
            path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match="its plans are computed again"):
        assert shelf.read() is None


@pytest.mark.filterwarnings("ignore:.*its plans are computed again")
def test_a_file_whose_json_is_cut_or_gone_is_written_anew(shelf: Shelf, monkeypatch) -> None:
    monkeypatch.setattr("painters_interp.storage.store._PATIENCE", 0.0)
    [path] = shelf.place.glob("*.parquet")
    whole, beside = shelf.read(), path.with_suffix(".json")
    content = beside.read_bytes()
    for damage in (lambda: beside.write_bytes(content[:90]), beside.unlink):
        damage()
        assert shelf.read() is None
        shelf.write(whole)
        pd.testing.assert_frame_equal(shelf.read(), whole)


def test_damage_costs_the_plans_of_one_file(llama, tmp_path, walked):
    first = asked(llama, tmp_path)
    walked.clear()
    [path, *_] = sorted(tmp_path.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match=f"{path.name} was changed or cut short"):
        again = asked(llama, tmp_path)
    assert sorted(walked) == sorted(PLANS.values())
    order = ["label", "task", "metric"]
    pd.testing.assert_frame_equal(
        *(t.sort_values(order, ignore_index=True) for t in (first, again)), rtol=1e-4
    )


EDITS = {
    "rotary table": lambda model: model.model.rotary_emb.inv_freq.mul_(1.01),
    "a norm's epsilon": lambda model: setattr(model.model.norm, "variance_epsilon", 1e-3),
    "config": lambda model: setattr(model.config, "rope_theta", 7.0),
}


@pytest.mark.parametrize("edit", [*EDITS, "tokenizer", "code", "torch"])
def test_the_key_holds_all_that_answers_depend_on(tiny_folder, tmp_path, monkeypatch, edit):
    model = tiny.build("llama", torch.float32, tiny_folder)
    before = jobs.archive_for(model, tmp_path).facts
    assert jobs.archive_for(model, tmp_path).facts == before
    if edit in EDITS:
        EDITS[edit](model.original_model)
    elif edit == "tokenizer":
        backend = model.tokenizer.backend_tokenizer
        backend.post_processor = processors.TemplateProcessing(
            "$A <s>", special_tokens=[("<s>", 1)]
        )
    elif edit == "code":
        monkeypatch.setattr(archives, "_code_digest", lambda rooms: "another")
    else:
        versions = {"packages": {"torch": "another"}}
        monkeypatch.setattr(archives, "provenance", lambda: versions)
    assert jobs.archive_for(model, tmp_path).facts != before


def test_what_lies_there_says_what_it_is(llama, tmp_path):
    asked(llama, tmp_path)
    [path, *_] = sorted(tmp_path.rglob("probe_order-*/*.parquet"))
    facts = storage.read_provenance(path)
    assert facts["model"] == "tiny-llama"
    assert facts["task"] == "probe_order"
    assert sorted(facts["plans"]) == sorted(PLANS.values())


# KL as one more metric


def test_kl_is_a_metric_on_request(llama, tmp_path, walked):
    table = asked(llama, tmp_path, metrics=["kl"])
    kl = table[table["metric"] == "kl"].set_index(["label", "task"])
    assert kl["value"].drop("intact", level="label").gt(1e-3).all()
    assert kl.loc["intact", "value"].abs().lt(1e-6).all()
    assert kl["stderr"].notna().all()
    assert kl["higher_is_better"].eq(False).all()
    back = kl.loc["back"]
    assert back["delta"].tolist() == pytest.approx(back["value"].tolist(), abs=1e-6)
    walked.clear()
    pd.testing.assert_frame_equal(asked(llama, tmp_path, metrics=["kl"]), table)
    assert walked == []


def test_an_unknown_metric_is_refused(llama, tmp_path):
    with pytest.raises(TaskError, match=r"no metric 'loss' can be added .*; there is kl"):
        asked(llama, tmp_path, metrics=["loss"])


def test_items_of_two_dtypes_do_not_meet(llama, tiny_folder):
    from painters_interp.tables.items import compare, joined

    other = tiny.build("llama", torch.float64, tiny_folder)
    both = joined([
        score_items(model, [Plan.parse(plan, N)], TASKS[:1], limit=4)
        for model, plan in ((llama, "0-5"), (other, "5-0"))
    ])  # fmt: skip
    with pytest.raises(TableError, match=r"not paired \(dtype float32 and float64\)"):
        compare(both, "0-5", "5-0")
