"""A plan is a value with one text; the text reads back, and a wrong text says what would fit."""

import copy
import pickle
import subprocess
import sys
import tracemalloc
from dataclasses import FrozenInstanceError
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from painters_interp import experiments
from painters_interp import strategies as s
from painters_interp.errors import PlanError
from painters_interp.plans import MAX_CALLS, Call, Plan, Step, shared_calls

N_LAYERS = 8

halves = st.sampled_from([None, "attn", "mlp"])
members = st.builds(Call, st.integers(0, N_LAYERS - 1), halves)
scales = (
    st.none()
    | st.sampled_from([1.0, 0.5, 1 / 3, -2.0, 1e-05, 1e22])
    | st.floats(allow_nan=False, allow_infinity=False).filter(bool)
)
steps = st.builds(
    lambda calls, scale: Step.of(*calls, scale=scale), st.lists(members, min_size=1), scales
)
# Runs and repeats, so that ranges and `*times` occur and not only scattered steps.
stretches = st.one_of(
    st.lists(steps, min_size=1, max_size=4),
    st.builds(lambda step, times: [step] * times, steps, st.integers(1, 4)),
    st.builds(
        lambda a, b, half, down: [
            Step.of(Call(i, half)) for i in sorted(range(min(a, b), max(a, b) + 1), reverse=down)
        ],
        st.integers(0, N_LAYERS - 1),
        st.integers(0, N_LAYERS - 1),
        halves,
        st.booleans(),
    ),
)
plans = st.lists(stretches, min_size=1, max_size=4).map(
    lambda parts: Plan(tuple(chain.from_iterable(parts)), N_LAYERS)
)
# So few that two drawn ones are often equal.
small_plans = st.lists(
    st.builds(
        lambda calls, scale: Step.of(*calls, scale=scale),
        st.lists(st.sampled_from([Call(0), Call(1), Call(1, "mlp")]), min_size=1, max_size=2),
        st.sampled_from([None, 1.0, 0.5]),
    ),
    min_size=1,
    max_size=2,
).map(lambda found: Plan(tuple(found), N_LAYERS))


def parse(text: str, n_layers: int = 30) -> Plan:
    return Plan.parse(text, n_layers)


# The text form


@given(plans)
def test_a_plan_reads_back_from_its_text(plan):
    assert Plan.parse(str(plan), N_LAYERS) == plan


@given(small_plans, small_plans)
def test_plans_are_equal_exactly_when_their_texts_are(one, other):
    assert (one == other) == (str(one) == str(other))


@given(plans, st.data())
def test_any_white_space_separates(plan, data):
    gap = st.text(" \t\n\r\u00a0\u2003", min_size=1, max_size=3)
    spread = "".join(data.draw(gap) if c == " " else c for c in str(plan))
    for sign in "(|)":  # inside a group spaces are free
        spread = spread.replace(sign, {"(": "( ", "|": " | ", ")": " )"}[sign])
    assert Plan.parse(f"\n{spread} ", N_LAYERS) == plan


@given(plans)
def test_repr_is_python(plan):
    assert eval(repr(plan)) == plan


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        # one layer
        ("(10)", "10"),
        ("10@1", "10"),
        ("10@sum", "10"),
        ("(10)@0.5", "10@0.5"),
        ("010", "10"),
        ("5-5", "5"),
        ("5-5*2", "5*2"),
        ("10@.5", "10@0.5"),
        ("10@1e-5", "10@1e-05"),
        ("10@-1", "10@-1.0"),
        # groups: sorted, duplicates kept, the mean unless it says otherwise
        ("(15|13)", "(13|15)"),
        ("(16-13)", "(13-16)"),
        ("(13-14)", "(13|14)"),
        ("(13|13)", "(13|13)"),
        ("(13-15|13)", "(13|13-15)"),
        ("(13|15)@0.5", "(13|15)"),
        ("(13|15)@1", "(13|15)@sum"),
        ("(13-15)@0.3333333333333333", "(13-15)"),
        ("(13-15)@0.5", "(13-15)@0.5"),
        # halves
        ("5-9.mlp", "5-9.mlp"),
        ("5.mlp 6.mlp 7.mlp", "5-7.mlp"),
        ("5.attn 5.mlp", "5.attn 5.mlp"),
        ("5.attn 6.mlp 7.mlp", "5.attn 6.mlp 7.mlp"),
        ("(5.mlp|6.attn|5)", "(5|6.attn|5.mlp)"),
        # ranges need three; they count up or down, at one scale
        ("0 1 2", "0-2"),
        ("4-1", "4-1"),
        ("4 3 2 1", "4-1"),
        ("13-14", "13 14"),
        ("13-14@0.5", "13@0.5 14@0.5"),
        ("0-4@0.5 5-9", "0-4@0.5 5-9"),
        ("0-4 6 5 7-29", "0-4 6 5 7-29"),
        ("5 4 5 6", "5 4-6"),
        ("0-9 8 7", "0-9 8 7"),
        # repeats come before ranges
        ("3 4 4 5", "3 4*2 5"),
        ("0-12 13-14 13-14 15-29", "0-14 13-29"),
        ("10*2 10", "10*3"),
        ("10*1", "10"),
        ("(9-20) (20-9)", "(9-20)*2"),
        # as written in legends
        ("0-8 (9-20)*3 21-29", "0-8 (9-20)*3 21-29"),
        ("0-12 16-13 17-29", "0-12 16-13 17-29"),
        ("0-12 15*4 17-29", "0-12 15*4 17-29"),
        ("0-12 (13|15)@sum 17-29", "0-12 (13|15)@sum 17-29"),
        ("0-9 10@0.5*2 11-29", "0-9 10@0.5*2 11-29"),
    ],
)
def test_normal_form(text, canonical):
    assert str(parse(text)) == canonical
    assert parse(text) == parse(canonical)


# The value


def test_what_a_plan_tells():
    plan = parse("0-2 (4|3.attn)*2 9-8 11@0.5*2")
    assert plan.layer_calls == (0, 1, 2, 4, 3, 4, 3, 9, 8, 11, 11)
    assert plan.calls[3:5] == (Call(4), Call(3, "attn"))
    assert plan.depth == 9
    assert plan.n_layers == 30
    assert plan.steps[3:] == (
        *[Step.of(4, Call(3, "attn"))] * 2,
        Step.of(9),
        Step.of(8),
        *[Step.of(11, scale=0.5)] * 2,
    )


def test_a_range_scales_each_of_its_layers():
    assert parse("13-14@0.5").steps == (Step.of(13, scale=0.5), Step.of(14, scale=0.5))


def test_construction_gives_the_normal_form():
    assert Step((Call(11), Call(9)), 0.5) == Step.of(9, 11)
    assert Step.of(9, 10, 11).scale == 1 / 3
    assert Step.of(9, 10, scale=1.0).scale == 1.0


def test_a_plan_is_a_sequence_of_steps():
    plan = parse("0-3 (4|5) 6*2")
    assert len(plan) == plan.depth == 7
    assert [*plan] == [*plan.steps]
    assert plan[4] == plan[-3] == Step.of(4, 5)
    assert Step.of(6) in plan
    assert str(plan[2:6]) == "2 3 (4|5) 6"
    assert str(plan[::-1]) == "6*2 (4|5) 3-0"
    assert str(plan[:2] + plan[5:]) == "0 1 6*2"
    assert str(plan[-2:] * 3) == str(3 * plan[-2:]) == "6*6"
    assert Plan(reversed(plan), 30) == plan[::-1]
    assert plan + plan == plan * 2
    assert hash(plan[:]) == hash(plan)


def test_a_plan_is_made_of_steps_layers_and_halves():
    assert Plan([0, 1, 2], 30) == Plan(range(3), 30) == Plan("0-2", 30) == parse("0-2")
    assert Plan([np.int64(4), Call(5, "mlp"), Step.of(6, 7)], 30) == parse("4 5.mlp (6|7)")


def test_the_models_layers_are_counted_for_whoever_gives_the_model():
    hooked = SimpleNamespace(cfg=SimpleNamespace(n_layers=4))
    config = SimpleNamespace(num_hidden_layers=4)
    config.get_text_config = lambda: config
    plain = SimpleNamespace(config=config)
    for model in (hooked, plain, np.int64(4)):
        assert Plan([0, 1], model).n_layers == Plan.parse("0-3", model).n_layers == 4
        assert Plan.of("0-3", model) == Plan.of(Plan("0-3", 4), model)
        assert s.skip(model, [1, 2]) == Plan("0 3", 4)
        assert s.middle(model, 1) == range(2, 3)
        assert experiments.single_layers(model).equals(experiments.single_layers(4))
        assert experiments.suite(model, seeds=1).equals(experiments.suite(4, seeds=1))
        for build in (*experiments.GRIDS.values(), experiments.decoding, experiments.damages):
            assert build(model).equals(build(4))


def test_half_a_layer_is_not_the_layer():
    assert parse("5.attn 5.mlp") != parse("5")


def test_plans_over_different_depths_differ():
    assert parse("0-5", 6) != parse("0-5", 7)


def test_plans_are_immutable_hashable_and_picklable():
    plan = parse("0-8 (9-20)*3 21-29")
    with pytest.raises(FrozenInstanceError):
        plan.n_layers = 12
    with pytest.raises(FrozenInstanceError):
        plan.steps[0].scale = 2.0
    with pytest.raises(FrozenInstanceError):
        plan.calls[0].layer = 2
    assert {plan: "looped"}[parse(str(plan))] == "looped"
    assert pickle.loads(pickle.dumps(plan)) == plan == copy.deepcopy(plan)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "0-8 (9-20)*3 21-29",
            (
                "layers 0 to 8 in order; then layers 9 to 20 in parallel, averaged, three times; "
                "then layers 21 to 29 in order: "
                "54 layer calls in 21 steps, 30 layers; every layer called"
            ),
        ),
        (
            "0-12 17-13 (18|20)@sum 21@0.5*2 22-29",
            (
                "layers 0 to 12 in order; then layers 17 down to 13; then layers 18 and 20 in "
                "parallel, updates summed; then layer 21, update scaled by 0.5, twice; "
                "then layers 22 to 29 in order: "
                "30 layer calls in 29 steps, 30 layers; never called: 19"
            ),
        ),
        (
            "5.attn (6|7-9.mlp)@0.3*12",
            (
                "attention of layer 5; then layer 6 and MLP of layers 7 to 9 in parallel, "
                "updates summed and scaled by 0.3, 12 times: "
                "49 layer calls in 13 steps, 30 layers; never called: 0 to 4 and 10 to 29"
            ),
        ),
        ("3", "layer 3: 1 layer call in 1 step, 30 layers; never called: 0 to 2 and 4 to 29"),
    ],
)
def test_a_plan_in_words(text, words):
    assert parse(text).describe() == words


# Errors


@given(st.text(max_size=40) | st.text("0123456789-|()@*. .attnmlpsume+", max_size=25))
def test_any_text_parses_or_is_refused_on_one_line(text):
    try:
        plan = Plan.parse(text, N_LAYERS)
    except PlanError as error:
        message = str(error)
        assert len(message.splitlines()) == 1
    else:
        assert Plan.parse(str(plan), N_LAYERS) == plan


FORM = (
    "a step is '5', '5-9', '(9|10)' or '[9-12]', then '@0.5', then '*2'; spaces come between steps"
)
SIGNS = "it is written with ASCII digits, - | ( ) [ ] @ * . and spaces"
SEPARATORS = "spaces separate steps ('9 10'), '|' separates layers in parallel ('(9|10)')"
SCALE = "has a bad scale; a scale is 'sum' or a finite number other than 0"
COUNT = "has a bad count; '*' takes a whole number, at least 1"
LACKS = "lacks a layer; a group is written '(9|10)' or '(9-20)'"
SUFFIX = "has a bad suffix; halves are written '5.attn', '5.mlp' or '5-9.mlp'"
MANY = "brings too many layer calls; a plan makes at most 100,000"


@pytest.mark.parametrize(
    ("text", "at", "problem"),
    [
        ("0-12 31-40", "31-40", "asks for layer 40; n_layers=30 allows 0..29"),
        ("0-12 40-31", "40-31", "asks for layer 40; n_layers=30 allows 0..29"),
        ("(9|30)", "(9|30)", "asks for layer 30; n_layers=30 allows 0..29"),
        ("10*2@0.5 3", "10*2@0.5", "has times before scale; write '10@0.5*2'"),
        ("(9|10)*2@sum", "(9|10)*2@sum", "has times before scale; write '(9|10)@sum*2'"),
        ("13-14*2", "13-14*2", "is ambiguous; write '[13-14]*2' or '13*2 14*2'"),
        (
            "0 16-13.mlp@0.5*4",
            "16-13.mlp@0.5*4",
            "is ambiguous; write '[16-13.mlp@0.5]*4' or '16.mlp@0.5*4 15.mlp@0.5*4 ...'",
        ),
        (
            "(9 10)",
            "(9 10)",
            "has a space in a group; write '(9|10)' for parallel layers, '[9 10]' in a row",
        ),
        (
            "(9-11 13.mlp)",
            "(9-11 13.mlp)",
            (
                "has a space in a group; "
                "write '(9-11|13.mlp)' for parallel layers, '[9-11 13.mlp]' in a row"
            ),
        ),
        ("9|10", "9|10", "has '|' outside a group; a group is written '(9|10)'"),
        ("0-8 (9-20 21", "(9-20 21", "is a group without an end; add ')'"),
        ("0-8 9-20) 21", "9-20)", "closes no group; a group is '(9|10)'"),
        (
            "((9|10)|11)",
            "((9|10)|11)",
            "has a group inside a group; write the inner one in a series, '(9|[(10|11)])'",
        ),
        ("()", "()", LACKS),
        ("(9|)", "(9|)", LACKS),
        ("5.foo", "5.foo", SUFFIX),
        ("5.attn-9", "5.attn-9", SUFFIX),
        ("10*0", "10*0", COUNT),
        ("10*-2", "10*-2", COUNT),
        ("10*2.5", "10*2.5", COUNT),
        ("10@0", "10@0", SCALE),
        ("10@-0.0", "10@-0.0", SCALE),
        ("10@nan", "10@nan", SCALE),
        ("10@inf", "10@inf", SCALE),
        ("10@1e999", "10@1e999", SCALE),
        ("10@1_0", "_", f"is not part of the notation; {SIGNS}"),
        ("0-\uff112", "\uff11", f"is not part of the notation; {SIGNS}"),
        ("0\u20135", "\u2013", f"is not part of the notation; {SIGNS}"),
        ("0, 1, 2", ",", f"is not part of the notation; {SEPARATORS}"),
        ("(9,10)", ",", f"is not part of the notation; {SEPARATORS}"),
        ("0-5 all", "all", f"is not a step; {FORM}"),
        ("-5", "-5", f"is not a step; {FORM}"),
        ("0 - 5", "-", f"is not a step; {FORM}"),
        ("1-2-3", "1-2-3", f"is not a step; {FORM}"),
        ("10*", "10*", f"is not a step; {FORM}"),
        ("10*2*3", "10*2*3", f"is not a step; {FORM}"),
        ("(9|10)(11|12)", "(9|10)(11|12)", f"is not a step; {FORM}"),
        ("(9|x)", "(9|x)", f"is not a step; {FORM}"),
        ("0 0*100000", "0*100000", MANY),
    ],
)
def test_an_error_points_at_the_piece_and_says_what_fits(text, at, problem):
    with pytest.raises(PlanError) as caught:
        parse(text)
    assert str(caught.value) == f"plan {text!r}: {at!r} {problem}"


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_text_is_refused(text):
    with pytest.raises(PlanError, match=r"^plan '' is empty; name at least one layer$"):
        parse(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Plan((), 30), "a plan without steps runs nothing; name at least one layer"),
        (
            lambda: Plan((Step.of(0), Step.of(40)), 30),
            "plan '0 40' asks for layer 40; n_layers=30 allows 0..29",
        ),
        (
            lambda: Plan((Step.of(0, 1),) * 50_001, 30),
            "the plan makes too many layer calls; a plan makes at most 100,000",
        ),
        (
            lambda: Plan.parse("0", 0),
            "n_layers=0 is not a number of layers; 1..100,000 fits",
        ),
        (lambda: Step.of(), "a step without layers does nothing; leave it out"),
        (
            lambda: Step.of(5, scale=0.0),
            "a step cannot be scaled by 0.0; a scale is 'sum' or a finite number other than 0",
        ),
        (
            lambda: Step.of(5, scale=float("nan")),
            "a step cannot be scaled by nan; a scale is 'sum' or a finite number other than 0",
        ),
        (lambda: Call(-1), "layer -1 does not exist; layers count from 0"),
        (
            lambda: Plan([0], SimpleNamespace(cfg=None)),
            "'namespace(cfg=None)' is no number of layers, and no model that has some",
        ),
        (lambda: Plan("0", 4) + Plan("0", 5), "plan '0' is for 5 layers, not 4"),
        (
            lambda: parse("0-29") * 4_000,
            "a plan cannot be run 4000 times over; a plan makes at most 100,000 calls, and one",
        ),
        (
            lambda: parse("0-3") * 0,
            "a plan cannot be run 0 times over; a plan makes at most 100,000 calls, and one",
        ),
        (
            lambda: parse("0-3")[4:],
            "a plan without steps runs nothing; name at least one layer",
        ),
    ],
)
def test_a_value_that_makes_no_sense_cannot_be_made(make, message):
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "0*99999999999",
        "(0-9)*99999999999",
        "0-9*99999999999",
        "0-99999999999",
        "0*" + "9" * 5_000,
        "9" * 5_000,
        "0-9*" + "9" * 5_000,
        "0@" + "9" * 100_000 + "x",
        "(" * 100_000,
        "0*90000 1*90000",
        "(9 " + "10 " * 50_000 + ")",
    ],
    ids=lambda text: text[:20],
)
def test_a_boundless_text_is_refused_unexpanded_and_in_few_words(text):
    tracemalloc.start()
    try:
        with pytest.raises(PlanError) as caught:
            parse(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 500
    assert peak < 60e6, "bytes: what was refused had been spelled out"


def test_the_longest_plan():
    assert len(parse(f"0*{MAX_CALLS}").calls) == MAX_CALLS


# Shared beginnings


def test_equal_beginnings_are_computed_once():
    full, skipped, looped = parse("0-9", 10), parse("0-4 7-9", 10), parse("0-4 (5|6)*2 7-9", 10)
    assert shared_calls([]) == 0
    assert shared_calls([full]) == shared_calls([full, full]) == 10
    assert shared_calls([full, skipped]) == 10 + 3  # equal ends are not shared
    assert shared_calls([full, skipped, looped]) == 10 + 3 + 4 + 3


@given(st.lists(plans, max_size=5))
def test_shared_calls_counts_distinct_prefixes(some):
    prefixes = {plan.steps[: end + 1] for plan in some for end in range(plan.depth)}
    assert shared_calls(some) == sum(len(prefix[-1].calls) for prefix in prefixes)


def test_plans_need_no_torch():
    code = (
        "import sys, painters_interp.plans, painters_interp.strategies;"
        "print({'torch', 'pandas', 'transformer_lens'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_a_number_is_a_plan_of_one_layer_and_nothing_else_is_one():
    assert Plan.of(np.int64(5), N_LAYERS) == Plan.of("5", N_LAYERS)
    for wrong in (5.0, None, True, float("nan"), ["0-2"]):
        with pytest.raises(PlanError, match="is no plan; give one, or a text"):
            Plan.of(wrong, N_LAYERS)
