"""Result tables: the paper's scale, summaries over tasks and seeds, and the way to disk."""

import json
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from painters_interp import experiments, storage, tables
from painters_interp.errors import OutputError, TableError
from painters_interp.storage import files


def measured(value: float, task: str = "piqa", variant: str = "skip", **more: object) -> dict:
    row = {"variant": variant, "plan": variant, "task": task, "metric": "acc", "value": value}
    return row | {"stderr": 0.01, "chance": 0.5, "higher_is_better": True} | more


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def two_tasks() -> pd.DataFrame:
    return pd.DataFrame(
        [
            measured(0.7, variant="intact"),
            measured(0.5),
            measured(0.6, variant="parallel"),
            measured(0.4, "arc_easy", "intact", chance=0.2),
            measured(0.1, "arc_easy", chance=0.2),
            measured(0.3, "arc_easy", "parallel", chance=0.2),
        ]
    )


def test_chance_is_0_and_the_intact_model_1(two_tasks):
    scores = tables.normalise(two_tasks)["score"]
    assert list(scores) == pytest.approx([1, 0, 0.5, 1, -0.5, 0.5])


def test_standard_errors_follow_the_scale(two_tasks):
    assert list(tables.normalise(two_tasks)["score_stderr"]) == pytest.approx([0.05] * 6)


def test_each_model_has_its_own_intact_row(two_tasks):
    better = two_tasks.assign(model="large", value=two_tasks["value"] + 0.1)
    both = tables.normalise(pd.concat([two_tasks.assign(model="small"), better]))
    assert both.loc[both["variant"] == "intact", "score"].eq(1).all()


def test_plans_given_by_label_are_normalised_too(two_tasks):
    labelled = two_tasks.rename(columns={"variant": "label"})
    assert list(tables.normalise(labelled)["score"])[:2] == [1, 0]


def test_no_intact_row_is_an_error_that_names_the_task(two_tasks):
    lacking = two_tasks.drop(index=3)
    with pytest.raises(TableError, match=r"^task 'arc_easy': no row of the intact model; .*full"):
        tables.normalise(lacking)


@pytest.mark.parametrize("intact", [0.5, 0.2])
def test_an_intact_model_that_is_not_above_chance_gives_no_score_and_is_named(two_tasks, intact):
    """Below chance the scale would run backwards: a plan at .10 of chance .50 would score 1.33."""
    two_tasks.loc[0, "value"] = intact
    two_tasks.loc[1, "value"] = 0.1
    with pytest.warns(UserWarning, match=r"task 'piqa': the intact model is not above chance"):
        scores = tables.normalise(two_tasks)
    assert scores.loc[scores["task"] == "piqa", ["score", "score_stderr"]].isna().all(axis=None)
    assert list(scores.loc[scores["task"] == "arc_easy", "score"]) == pytest.approx([1, -0.5, 0.5])
    medians = tables.median_over_tasks(scores)
    assert list(medians["score"]) == pytest.approx([1, -0.5, 0.5])
    assert set(medians["tasks"]) == {1}
    with pytest.warns(UserWarning, match="left out"):
        alone = tables.normalise(two_tasks[two_tasks["task"] == "piqa"])
    assert tables.median_over_tasks(alone)[["score", "tasks"]].isin([0]).to_numpy().sum() == 3


def test_a_plan_without_a_number_has_no_median_over_the_other_tasks(two_tasks):
    two_tasks.loc[1, "value"] = float("nan")
    medians = tables.median_over_tasks(tables.normalise(two_tasks)).set_index("variant")["score"]
    assert dict(medians.isna()) == {"intact": False, "skip": True, "parallel": False}


def test_clearly_above_chance_is_said_of_each_model(two_tasks):
    guessing = two_tasks.assign(model="small", value=two_tasks["chance"])
    both = pd.concat([two_tasks.assign(model="large"), guessing])
    assert_frame_equal(tables.above_chance(both), both.head(6))


def test_two_runs_in_one_table_are_an_error(two_tasks):
    again = two_tasks.assign(value=two_tasks["value"] + 0.01)
    with pytest.raises(TableError, match="several intact rows disagree"):
        tables.normalise(pd.concat([two_tasks, again]))


def test_the_intact_rows_of_a_suite_are_one_measurement(two_tasks):
    suite = pd.concat([two_tasks.assign(experiment=e) for e in ("single_layers", "loops")])
    assert list(tables.normalise(suite)["score"]) == pytest.approx([1, 0, 0.5, 1, -0.5, 0.5] * 2)


def test_metrics_without_a_scale_are_left_out(two_tasks):
    perplexity = {"metric": "perplexity", "chance": None, "higher_is_better": False}
    more = pd.concat([two_tasks, pd.DataFrame([measured(9.0, **perplexity)])])
    assert set(tables.normalise(more)["metric"]) == {"acc"}
    with pytest.raises(TableError, match="no metric here has a chance level"):
        tables.normalise(more[more["metric"] == "perplexity"])


def test_missing_columns_are_named_with_those_present():
    with pytest.raises(TableError, match="lacks the columns chance, higher_is_better; it has task"):
        tables.normalise(pd.DataFrame({"task": ["a"], "metric": ["acc"], "value": [1.0]}))


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        (["perplexity", "acc_norm", "acc"], "acc"),
        (["exact_match,strict-match", "exact_match,flexible-extract"], "exact_match,strict-match"),
        (["f1", "mcc"], "mcc"),
        (["bits_per_byte", "word_perplexity"], "bits_per_byte"),
    ],
)
def test_primary_keeps_one_metric_per_task(listed, chosen):
    table = pd.DataFrame({"task": "any", "metric": listed})
    assert list(tables.primary(table)["metric"]) == [chosen]
    categories = table.assign(
        task=pd.Categorical(table["task"], ["unused", *table["task"].unique()]),
        metric=table["metric"].astype("category"),
    )
    assert list(tables.primary(categories)["metric"]) == [chosen]


def test_median_over_tasks_is_taken_for_each_plan(two_tasks):
    third = [measured(0.8, "copa", v) for v in ("intact", "skip", "parallel")]
    table = tables.normalise(pd.concat([two_tasks, pd.DataFrame(third)]))
    medians = tables.median_over_tasks(table).set_index("variant")
    assert dict(medians["score"]) == pytest.approx({"intact": 1, "skip": 0, "parallel": 0.5})
    assert set(medians["tasks"]) == {3}


def test_a_median_over_fewer_tasks_is_refused(two_tasks):
    table = tables.normalise(two_tasks).drop(index=4)
    with pytest.raises(
        TableError, match="scores of 1 tasks only, fewer than other plans: variant skip"
    ):
        tables.median_over_tasks(table)


def test_two_metrics_of_a_task_do_not_count_twice(two_tasks):
    both = pd.concat([two_tasks, two_tasks.assign(metric="acc_norm")])
    with pytest.raises(TableError, match="a task has several rows for one plan"):
        tables.median_over_tasks(tables.normalise(both))
    assert len(tables.median_over_tasks(tables.scored(both))) == 3


def test_medians_keep_the_rows_of_an_experiment_apart():
    table = experiments.suite(6, seeds=2)
    scores = pd.concat([table.assign(task=task, score=1.0) for task in ("a", "b")])
    assert_frame_equal(
        tables.median_over_tasks(scores)[list(table.columns)], table, check_dtype=False
    )


def test_seeds_are_summarised_by_their_mean_and_its_interval():
    table = experiments.variants(8, firsts=[1], seeds=3)
    table["score"] = [1.0, 0.5, 0.1, 0.2, 0.3, 0.6, 0.9, 0.4, 0.7]  # random: 0.3, 0.6, 0.9
    means = tables.summarise_seeds(table).set_index("variant")
    assert len(means) == 7
    assert list(means.loc["random", ["score", "low", "high", "seeds"]]) == pytest.approx(
        [0.6, 0.6 - 0.7452, 0.6 + 0.7452, 3],
        abs=1e-4,  # Student's 4.3027 standard errors
    )
    assert list(means.loc["skip", ["score", "low", "high", "seeds"]]) == [0.5, 0.5, 0.5, 1]
    assert means.loc["skip", "plan"] == "0 1 7"
    assert pd.isna(means.loc["random", "plan"])
    assert means.loc["random", "distance"] == pytest.approx(
        table.loc[table["variant"] == "random", "distance"].mean()
    )


def test_intervals_over_items_become_that_of_the_mean_over_seeds():
    table = experiments.variants(8, firsts=[1], seeds=2)
    table = table.assign(score=0.5, score_low=0.4, score_high=0.6)
    table.loc[table["shuffle_seed"] == 1, ["score_low", "score_high"]] = [0.2, 0.7]
    random = tables.summarise_seeds(table).set_index("variant").loc["random"]
    assert list(random[["low", "high"]]) == pytest.approx([0.3, 0.65])


def test_matrices_come_back_from_their_table():
    matrix = pd.DataFrame([[1.0, 0.5], [0.4, 1.0]], index=[10, 9], columns=[10, 9])
    tidy = tables.from_matrices({"cosine": matrix, "cka": matrix / 2})
    assert list(tidy.columns) == ["measure", "row", "column", "value"]
    back = tables.to_matrices(tidy)
    assert list(back) == ["cosine", "cka"]
    assert_frame_equal(back["cosine"], matrix, check_names=False)


def test_provenance_is_json_without_a_time_of_day():
    facts = storage.provenance(model="smollm2-135m", seed=0)
    assert facts == storage.provenance(model="smollm2-135m", seed=0)
    assert facts["packages"]["painters_interp"]
    assert set(facts) == {"model", "seed", "python", "packages"}
    json.dumps(facts)


def test_tables_come_back_from_disk_as_they_were(tmp_path):
    table = experiments.variants(7).assign(
        model="m", revision="12345e6", task="t", value=1 / 3, stderr=float("nan"), seed=0, n=10
    )
    table["higher_is_better"] = [None, *[True] * (len(table) - 1)]
    table.loc[1, "plan"] = "0"
    path = storage.write_table(tables.typed(table), tmp_path / "new" / "smollm2-1.7b", {"seed": 0})
    assert path == tmp_path / "new" / "smollm2-1.7b.csv"
    back = storage.read_table(path)
    assert_frame_equal(back, tables.typed(table))
    assert_frame_equal(storage.read_table(tmp_path / "new" / "smollm2-1.7b"), back)
    assert storage.read_provenance(path) == {"seed": 0}
    assert names(path.parent) == ["smollm2-1.7b.csv", "smollm2-1.7b.json"]


def test_parquet_keeps_every_type(tmp_path):
    table = tables.typed(experiments.variants(7)).assign(value=1 / 3, stderr=float("nan"))
    table = tables.typed(
        table.assign(task="t", higher_is_better=[None, *[True] * (len(table) - 1)])
    )
    table["variant"] = table["variant"].astype("category")
    path = storage.write_table(table, tmp_path / "smollm2-1.7b.parquet", {"seed": 0})
    assert names(tmp_path) == ["smollm2-1.7b.json", "smollm2-1.7b.parquet"]
    assert_frame_equal(storage.read_table(path), table)
    assert storage.read_provenance(path) == {"seed": 0}
    again = storage.write_table(table, tmp_path / "again.parquet", {"seed": 0})
    assert path.read_bytes() == again.read_bytes()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(TableError, match=r"smollm2-1\.7b\.parquet was changed or cut short"):
        storage.read_table(path)


def test_the_same_table_is_the_same_bytes(tmp_path):
    one = storage.write_table(experiments.loops(5), tmp_path / "one", storage.provenance())
    two = storage.write_table(experiments.loops(5), tmp_path / "two", storage.provenance())
    assert one.read_bytes() == two.read_bytes()
    assert one.with_suffix(".json").read_bytes() == two.with_suffix(".json").read_bytes()


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = files.write_whole(tmp_path / "table.csv", b"old")

    def full_disk(path, content):
        with path.open("wb") as file:
            file.write(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write_through", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        files.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["table.csv"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "runs"
    for attempt in (
        lambda: files.writable_folder(blocked),
        lambda: storage.write_table(experiments.intact(3), blocked / "table", {}),
    ):
        with pytest.raises(OutputError) as raised:
            attempt()
        message = str(raised.value)
        assert str(blocked) in message
        assert "give a folder that you may write in" in message
        assert "\n" not in message


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    assert names(files.writable_folder(tmp_path / "a" / "b")) == []


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(TableError, match=r"no table at .*nothing\.csv"):
        storage.read_table(tmp_path / "nothing")


def test_a_table_of_texts_has_the_same_scores(two_tasks):
    assert_frame_equal(tables.normalise(two_tasks.astype(str)), tables.normalise(two_tasks),
                       check_dtype=False)  # fmt: skip
    clear = tables.above_chance(two_tasks.astype(str))
    assert clear["plan"].tolist() == tables.above_chance(two_tasks)["plan"].tolist()


def test_a_count_that_is_a_word_is_named(two_tasks):
    with pytest.raises(TableError, match="'layer' holds numbers; 'last' is none"):
        tables.require(two_tasks.assign(layer=["3", "4", "last"] * 2), "layer")
    tables.require(two_tasks.assign(layer=["3", "4", None] * 2), "layer")
