"""Series as branches of a step: how they are written, their normal form, what their calls do."""

import copy
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator

import nested
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from painters_interp.errors import PlanError
from painters_interp.plans import (
    MAX_CALLS,
    Branch,
    Call,
    Plan,
    Series,
    Step,
    groups,
    schedule,
    shared_calls,
    turns,
)
from painters_interp.plans.schedules import entries_of

N = 8
# So few, and so alike, that two drawn ones are often equal.
alike = nested.plans(2, halves=(None,), most=2)


def parse(text: str, n_layers: int = 30) -> Plan:
    return Plan.parse(text, n_layers)


def calls_of(branch: Branch | Step) -> Iterator[Call]:
    """Every call, by recursion over the branches as they stand."""
    if isinstance(branch, Call):
        yield branch
    for inner in getattr(branch, "branches", ()) or getattr(branch, "steps", ()):
        yield from calls_of(inner)


@settings(max_examples=50, deadline=None)
@given(nested.plans(N))
def test_a_plan_reads_back_from_its_text(plan: Plan) -> None:
    assert parse(str(plan), N) == plan
    assert hash(parse(str(plan), N)) == hash(plan)
    assert eval(repr(plan)) == plan


@settings(max_examples=50, deadline=None)
@given(alike, alike)
def test_plans_are_equal_exactly_when_their_texts_are(one: Plan, other: Plan) -> None:
    assert (one == other) == (str(one) == str(other))


@settings(max_examples=50, deadline=None)
@given(st.text("0123-|()[]@*. .5", max_size=25))
def test_any_text_parses_or_is_refused_on_one_line(text: str) -> None:
    try:
        plan = parse(text, N)
    except PlanError as error:
        message = str(error)
        assert len(message.splitlines()) == 1
    else:
        assert parse(str(plan), N) == plan


@settings(max_examples=50, deadline=None)
@given(nested.plans(N))
def test_calls_come_branch_by_branch(plan: Plan) -> None:
    assert plan.calls == tuple(call for step in plan for call in calls_of(step))
    assert plan.layer_calls == tuple(call.layer for call in plan.calls)
    assert sum(step.size for step in plan) == len(plan.calls)


@settings(max_examples=50, deadline=None)
@given(nested.plans(N))
def test_white_space_is_free_where_it_separates(plan: Plan) -> None:
    spread = str(plan)
    for sign, free in {" ": "\n ", "[": "[ ", "]": " ]", "|": " |\t"}.items():
        spread = spread.replace(sign, free)
    assert parse(spread, N) == plan


@settings(max_examples=50, deadline=None)
@given(nested.plans(N))
def test_a_plan_stands_for_itself_as_a_series(plan: Plan) -> None:
    assert parse(f"[{plan}]", N) == Plan([Series(plan.steps)], N) == plan
    assert parse(f"[{plan}]*2", N) == plan * 2
    damped = Plan([Step.of(Series(plan.steps), scale=0.125)], N)
    assert parse(f"[{plan}]@0.125", N) == parse(f"[[{plan}]]@0.125", N) == damped
    assert damped.depth == 1


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0-9 [10-13]@0.5*2 14-29", "0-9 [10-13]@0.5*2 14-29"),
        ("([9-12]|[13-16])", "([9-12]|[13-16])"),
        ("[9 (10|11) 12]@0.5", "[9 (10|11) 12]@0.5"),
        # a series alone at scale 1 is its steps, wherever it stands
        ("[10-13]", "10-13"),
        ("[10-13]*2", "10-13 10-13"),
        ("[13-14]*2", "13 14 13 14"),
        ("0 [1 [2-3]@sum [4]@1]", "0-4"),
        ("[[9 10] [11]]@0.5", "[9-11]@0.5"),
        ("([9-12])@1", "9-12"),
        ("([9-12])@0.5", "[9-12]@0.5"),
        # of one layer it is that layer
        ("[9]@0.5", "9@0.5"),
        ("([9]|[10])", "(9|10)"),
        ("[5.mlp]@0.5", "5.mlp@0.5"),
        # but a scale inside stays inside
        ("[9@0.5]@0.5", "[9@0.5]@0.5"),
        ("([9@0.5]|10)", "(10|[9@0.5])"),
        ("[(9|10)]@0.5", "[(9|10)]@0.5"),
        # branches are sorted: calls, then series by their text, numbers in it as numbers
        ("([13-16]|[9-12]|5|3.mlp|4)", "(4|5|3.mlp|[9-12]|[13-16])"),
        ("([9 8]|[9 10])", "([9 8]|[9 10])"),
        ("([9 10]|[9 8])", "([9 8]|[9 10])"),
        ("([9-12]|[9-12])", "([9-12]|[9-12])"),
        ("([9 10]|[11 12])@0.5", "([9 10]|[11 12])"),
        ("([9 10]|[11 12])@1", "([9 10]|[11 12])@sum"),
        # repeats and ranges inside
        ("[9 9 10 11 12]@0.5", "[9*2 10-12]@0.5"),
        ("[9 10]@0.5 [9 10]@0.5", "[9 10]@0.5*2"),
        ("5 [6 7]@0.5 8", "5 [6 7]@0.5 8"),
    ],
)
def test_normal_form(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert parse(text) == parse(canonical)


def test_construction_gives_the_normal_form() -> None:
    assert Plan([0, Series((1, 2)), 3], 4) == parse("0-3", 4)
    assert Step.of(Series((9,)), 10) == Step.of(9, 10)
    assert Step.of(Series((Series((9, 10)), 11)), scale=0.5) == parse("[9-11]@0.5")[0]
    assert Step.of(Series((13, 14)), Series((9, 10))) == parse("([9 10]|[13 14])")[0]
    assert Series((Call(1, "mlp"), Step.of(2, 3))) == Series(parse("1.mlp (2|3)").steps)


def test_a_plan_with_branches_is_a_value() -> None:
    plan = parse("0-8 ([9-12]|[13-16])@0.3*2 17-29")
    assert {plan: "tracks"}[parse(str(plan))] == "tracks"
    assert pickle.loads(pickle.dumps(plan)) == plan == copy.deepcopy(plan)
    assert plan.depth == len(plan) == 24
    assert plan[9:11] == parse("([9-12]|[13-16])@0.3*2")
    assert plan[9].scale == 0.3
    assert plan.layer_calls[9:17] == tuple(range(9, 17))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "0-9 [10-13]@0.5*2 14-29",
            (
                "layers 0 to 9 in order; then the series [layers 10 to 13 in order], update "
                "scaled by 0.5, twice; then layers 14 to 29 in order: "
                "34 layer calls in 28 steps, 30 layers; every layer called"
            ),
        ),
        (
            "0-8 (5|[9 (10|11) 12]|[13-16]) 17-29",
            (
                "layers 0 to 8 in order; then layer 5 and the series [layer 9; then layers "
                "10 and 11 in parallel, averaged; then layer 12] and the series [layers 13 to 16 "
                "in order] in parallel, averaged; then layers 17 to 29 in order: "
                "31 layer calls in 23 steps, 30 layers; every layer called"
            ),
        ),
    ],
)
def test_a_plan_in_words(text: str, words: str) -> None:
    assert parse(text).describe() == words


EMPTY = "names no layer; a series is '[9-12]'"
DEEP = "nests too deep; at most 20 series stand inside each other"


@pytest.mark.parametrize(
    ("text", "at", "problem"),
    [
        ("0 [9-12", "[9-12", "is a series without an end; add ']'"),
        ("0 9-12] 3", "9-12]", "closes no series; one is '[9-12]'"),
        ("([9-12)", "[9-12)", "is a series without an end; add ']'"),
        ("[(9|10]", "(9|10]", "is a group without an end; add ')'"),
        ("0 []", "[]", EMPTY),
        ("0 ([ ]|3)", "[ ]", EMPTY),
        ("[9|10]", "9|10", "has '|' outside a group; a group is written '(9|10)'"),
        ("[0 31]@0.5", "31", "asks for layer 31; n_layers=30 allows 0..29"),
        ("[9 10*2@0.5]", "10*2@0.5", "has times before scale; write '10@0.5*2'"),
        ("[9 10]*2@0.5", "[9 10]*2@0.5", "has times before scale; write '[9 10]@0.5*2'"),
        ("[0-9*2]@0.5", "0-9*2", "is ambiguous; write '[0-9]*2' or '0*2 1*2 ...'"),
        ("(9@0.5|10)", "(9@0.5|10)", "has '@' in a branch; write it as '[9@0.5]'"),
        ("(9*2|10)", "(9*2|10)", "has '*' in a branch; write it as '[9*2]'"),
        (
            "([9 10]@2|11)",
            "([9 10]@2|11)",
            "has more than a series in a branch; write it as '[[9 10]@2]'",
        ),
        ("[0*1000]@0.5*1000", "[0*1000]@0.5*1000",
         "brings too many layer calls; a plan makes at most 100,000"),
    ],
)  # fmt: skip
def test_an_error_points_at_the_piece_and_says_what_fits(text: str, at: str, problem: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse(text)
    assert str(caught.value) == f"plan {text!r}: {at!r} {problem}"


def tower(height: int) -> str:
    return "[" * height + "9 10" + "]@0.5" * height


def test_series_nest_twenty_deep_and_no_deeper() -> None:
    plan = parse(tower(20))
    assert plan[0].nesting == 20
    assert parse(str(plan)) == plan
    assert plan.layer_calls == (9, 10)
    with pytest.raises(PlanError, match=DEEP):
        parse(tower(21))
    with pytest.raises(PlanError, match="a series nests 21 deep; at most 20 series"):
        Step.of(Series(plan.steps), scale=0.5)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + "9" + "]" * 100_000,
        "([" * 30_000 + "9" + "])" * 30_000,
        "[0*99999]@0.5*99999",
        "[[[0*999]@0.5*999]@0.5*999]@0.5*999",
        "([0-29]" + "|[0-29]" * 9_999 + ")*2",
        "([9 " * 5_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_boundless_text_is_refused_at_once_and_in_few_words(text: str) -> None:
    start = time.process_time()
    with pytest.raises(PlanError) as caught:
        parse(text)
    assert time.process_time() - start < 1
    assert len(str(caught.value)) < 500


def test_series_that_share_their_parts_are_bounded_before_they_are_expanded() -> None:
    series = Series((0, 1))
    for scale in (2.0, 3.0, 4.0, 5.0):
        series = Series((Step.of(series, scale=scale),) * 10)
    assert series.size == 20_000
    many = (Step.of(series, scale=6.0),) * 10
    with pytest.raises(PlanError, match="a plan makes at most 100,000"):
        Series(many)


TIMED = """
import time
from painters_interp.plans import Plan
for form in ("{}", "{}@0.1{}", "({}|{})@0.1{}", "[{} {}]@0.1{}", "([{} {}]|{})"):
    text = " ".join(form.format(i % 30, i % 29, 1 + i % 29) for i in range(20_000))
    start = time.process_time()
    plan = Plan.parse(text, 30)
    assert Plan.parse(str(plan), 30) == plan and hash(plan) and len(plan.calls) >= plan.depth
    print(plan.depth, time.process_time() - start)
"""


def test_twenty_thousand_steps_are_read_printed_and_compared_quickly() -> None:
    """In a process of its own, where types are not checked: a second or two, without recursion."""
    out = subprocess.run([sys.executable, "-c", TIMED], capture_output=True, text=True, check=True)
    for line in out.stdout.splitlines():
        depth, seconds = line.split()
        assert depth == "20000"
        assert float(seconds) < 5


def test_the_longest_plan() -> None:
    assert len(parse(f"[0 1]@0.5*{MAX_CALLS // 2}").calls) == MAX_CALLS


# What becomes of each call's output


def ran(step: Step, stream: float) -> float:
    """A step over numbers, by its turns: layer i makes 2 h + i of h."""
    kept: list[tuple[float, float]] = []
    for call, turn in zip(step.calls, turns(step), strict=True):
        assert len(kept) == turn.level
        kept += [(stream, 0.0)] * turn.opens
        stream = 2 * stream + call.layer
        for scale in turn.closes:
            base, total = kept.pop()
            stream = base + scale * (total + stream - base)
        if turn.waits:
            base, total = kept.pop()
            kept.append((base, total + stream - base))
            stream = base
    assert not kept
    return stream


def naive(branch: Branch | Step, stream: float) -> float:
    """The same by recursion, as the definition has it."""
    if isinstance(branch, Call):
        return 2 * stream + branch.layer
    if isinstance(branch, Series):
        for step in branch.steps:
            stream = naive(step, stream)
        return stream
    return stream + branch.scale * sum(naive(b, stream) - stream for b in branch.branches)


@settings(max_examples=50, deadline=None)
@given(nested.steps(N))
def test_turns_carry_out_the_definition_without_recursion(step: Step) -> None:
    assert ran(step, 1.5) == pytest.approx(naive(step, 1.5), rel=1e-12, abs=1e-12)


def test_groups_are_the_steps_all_of_whose_branches_are_calls() -> None:
    plan = parse("0 (1-3) 4@0.5 [5 (6|7)]@0.5 ([8 (9|10)]|11)")
    assert groups(plan) == (range(1, 4), range(6, 8), range(10, 12))


@settings(max_examples=50, deadline=None)
@given(st.lists(nested.plans(N), max_size=5))
def test_a_schedule_has_every_plans_calls_in_order(some: list[Plan]) -> None:
    merged = schedule(some)
    for plan, entries in zip(some, entries_of(merged, some), strict=True):
        assert list(entries) == sorted(set(entries))
        assert tuple(Call(merged[e].layer, merged[e].half) for e in entries) == plan.calls


@settings(max_examples=50, deadline=None)
@given(st.lists(nested.plans(N), max_size=5))
def test_equal_beginnings_are_counted_once(some: list[Plan]) -> None:
    prefixes = {plan.steps[: end + 1] for plan in some for end in range(plan.depth)}
    assert shared_calls(some) == sum(len(prefix[-1].calls) for prefix in prefixes)
