"""Schedules: every plan finds its calls in a few entries that many plans take together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from painters_interp import Plan, experiments
from painters_interp.plans import Call, Schedule, Step, schedule

LAYERS = 5

calls = st.builds(Call, st.integers(0, LAYERS - 1), st.sampled_from([None, None, "attn", "mlp"]))
steps = st.lists(calls, min_size=1, max_size=3).map(lambda members: Step.of(*members))
plans = st.lists(steps, min_size=1, max_size=8).map(lambda found: Plan(tuple(found), LAYERS))


def calls_of(plan: int, found: Schedule) -> list[tuple[int, Call]]:
    """(place of the call in the plan, the call), entry by entry."""
    taken = [(dict(entry.takers), Call(entry.layer, entry.half)) for entry in found]
    return [(takers[plan], call) for takers, call in taken if plan in takers]


@given(st.lists(plans, max_size=6))
def test_every_plan_finds_its_own_calls_in_order(some: list[Plan]) -> None:
    found = schedule(some)
    for index, plan in enumerate(some):
        assert calls_of(index, found) == [*enumerate(plan.calls)]


@given(st.lists(plans, max_size=6))
def test_no_plan_is_twice_in_an_entry_and_no_entry_is_idle(some: list[Plan]) -> None:
    for entry in schedule(some):
        assert entry.plans
        assert len(set(entry.plans)) == len(entry.plans)


@given(st.lists(plans, min_size=1, max_size=6))
def test_it_is_no_shorter_than_its_longest_plan_and_no_longer_than_all(some: list[Plan]) -> None:
    lengths = [len(plan.calls) for plan in some]
    assert max(lengths) <= len(schedule(some)) <= sum(lengths)


@given(plans, st.integers(1, 4))
def test_equal_plans_go_together(plan: Plan, times: int) -> None:
    found = schedule([plan] * times)
    assert [Call(entry.layer, entry.half) for entry in found] == [*plan.calls]
    assert all(entry.plans == tuple(range(times)) for entry in found)


@given(st.lists(plans, max_size=6))
def test_equal_tables_have_equal_schedules(some: list[Plan]) -> None:
    assert schedule(some) == schedule([Plan.parse(str(plan), LAYERS) for plan in some])


@pytest.mark.parametrize(
    ("table", "entries"),
    [
        (experiments.single_layers(30), 60),
        (experiments.decoding(30), 48),
        (experiments.variants(30, experiments.every_window(30), seeds=10), 356),
        (experiments.loops(30), 813),
        (experiments.suite(30), 816),
        (experiments.replacements(30), 60),
    ],
    ids=["single layers", "decoding", "variants", "loops", "suite", "replacements"],
)
def test_the_papers_tables_need_few_entries(table, entries) -> None:
    assert len(schedule(experiments.plans(table))) <= entries


def test_no_plans_have_an_empty_schedule() -> None:
    assert len(schedule([])) == 0


def test_a_long_plan_is_scheduled_as_it_is() -> None:
    plan = Plan.parse("0-4*1 3*20000", LAYERS)
    assert len(schedule([plan, Plan.parse("0-4", LAYERS)])) == len(plan.calls)
