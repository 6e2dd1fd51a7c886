"""A spec: what it may say, and what is said of one that is wrong."""

from pathlib import Path

import pytest

from painters_interp.errors import PaintersError, PlanError
from painters_interp.sweeps.shards import Group, Question, Slice, cut
from painters_interp.sweeps.spec import read_spec

RIGHT = "models: a\ntasks: b\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: a\ntasks: [b]\nplnas: 0-5\n", "line 3: there is no key 'plnas'; did you mean"),
        (f"{RIGHT}items_pre_shard: 8\n", "line 3: .* did you mean 'items_per_shard'?"),
        (f"{RIGHT}xyz: 8\n", "line 3: there is no key 'xyz'; there are models, tasks, plans"),
        ("models: a\ntasks: [b, 3]\nplans: 0-5\n", "line 2: tasks.1 is 3: .* put it in quotes"),
        ("models: a\n\nmodels: b\n", "line 3: 'models' stands there twice"),
        (f"{RIGHT}plans:\n  - 0-5\n  - 0-x\n", "line 5: .*'0-x' is not a step"),
        (f"{RIGHT}plans:\n  one: 0-5\n  two: 0-x\n", "line 5: plans.two: .*'0-x' is not a step"),
        (f"{RIGHT}plans:\n  one: 0-5\n  one: 0-4\n", "line 5: 'one' stands there twice"),
        (f"{RIGHT}experiments:\n- variant\n", "line 4: .* did you mean 'variants'?"),
        (f"{RIGHT}experiments:\n- loops: {{sead: 2}}\n", "line 4: .* loops takes no 'sead'"),
        (f"{RIGHT}plans: 0-5\nseeds: [0, -1]\n", "line 4: seeds.1 is -1"),
        (f"{RIGHT}plans: 0-5\nseeds:\n- 1\n- 1\n", "line 4: seeds: 1 stands there twice"),
        (f"{RIGHT}plans: 0-5\nitems_per_shard: 9\n", "line 4: items_per_shard is 9: .*multiple"),
        (f"{RIGHT}plans: 0-5\ndtypes: float31\n", "line 4: .* did you mean 'float32'?"),
        (f"{RIGHT}plans: 0-5\nlimits: 0\n", "line 4: limits.0 is 0"),
        (
            "models:\n- a: {revison: x}\n",
            "line 2: there is no key 'revison'; .*'revision'",
        ),
        ("models: a\ntasks:\n- b: {limit: 3}\n", "line 3: there is no key 'limit'; .*'limits'"),
        ("models: a\nstudies: '2407'\n", "line 2: studies.0: no study '2407'; there are"),
        ("models: a\nplans: 0-5\n", "it names plans and no tasks"),
        ("tasks: b\nplans: 0-5\n", "line 1: the key 'models' is missing"),
        (RIGHT, "it names neither plans nor experiments"),
        ("models: [a, a]\ntasks: b\nplans: 0-5\n", "line 1: models: 'a' stands there twice"),
        ("models: [a\ntasks: b", "line 2: this is no YAML"),
        ("- a\n", "a spec is a mapping"),
        ("", "a spec is a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_right(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(PaintersError, match=said):
        read_spec(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PaintersError, match=r"nowhere\.yaml cannot be read: No such file"):
        read_spec(tmp_path / "nowhere.yaml")


def test_a_list_of_one_needs_no_brackets_and_the_order_of_keys_is_of_no_account() -> None:
    one = read_spec({"models": ["a"], "tasks": ["b"], "plans": {"0-5": "0-5"}, "seeds": [0]})
    other = read_spec({"plans": "0-5", "tasks": "b", "models": "a"})
    assert one == other
    assert one.digest == other.digest
    assert one.digest != read_spec({"plans": "0-4", "tasks": "b", "models": "a"}).digest


def test_plans_and_experiments_make_one_table_with_the_intact_model_in_each() -> None:
    spec = read_spec(
        {"models": "a", "tasks": "b", "plans": {"x": "0-4"},
         "experiments": ["single_layers", {"variants": {"seeds": 1, "firsts": [1]}}]}
    )  # fmt: skip
    labels = spec.labels(6)
    intact = labels[labels["plan"] == "0-5"]
    assert {*intact["experiment"]} == {*labels["experiment"]} == {
        "plans", "single_layers", "variants",
    }  # fmt: skip
    with pytest.raises(PlanError, match="layer 4"):
        spec.labels(3)


def test_shards_are_fixed_by_the_spec_and_slices_are_all_of_them_once() -> None:
    groups = [Group("a", "float32"), Group("b", "float32")]
    items = {Question("t", "t", None, None, 0): range(20), Question("u", "u", 5, None, 0): range(5)}
    shards = cut(groups, items, ["task metrics"], 8)
    assert [len(shard.items) for shard in shards] == [8, 8, 4, 5] * 2
    assert len({shard.id for shard in shards}) == len(shards)
    for of in (1, 3, 16):
        parts = [Slice(k, of).of_shards(shards) for k in range(1, of + 1)]
        assert [shard for part in parts for shard in part] == shards
        for at, shard in enumerate(shards):
            assert shard in Slice(1, of).holding(at, len(shards)).of_shards(shards)


@pytest.mark.parametrize("text", ["3", "0/4", "5/4", "a/b", "", "1/0"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PaintersError, match="write it as 3/16"):
        Slice.read(text)
