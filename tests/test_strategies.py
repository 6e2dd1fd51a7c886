"""Each strategy against the plan somebody would write by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from painters_interp import strategies as s
from painters_interp.errors import PlanError
from painters_interp.plans import shared_calls

N = 30
W = s.middle(N, first=12)
GAPS = "is not a run of consecutive ascending layers, such as range(13, 18)"


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (s.full(30), "0-29"),
        (s.full(1), "0"),
        (s.skip(30, W), "0-12 18-29"),
        (s.skip(30, range(25, 30)), "0-24"),
        (s.skip(30, range(0, 5)), "5-29"),
        (s.repeat_center(30, W), "0-12 15*5 18-29"),
        (s.repeat_center(24, s.middle(24, first=9)), "0-9 12*5 15-23"),
        (s.reverse(30, W), "0-12 17-13 18-29"),
        (s.shuffle(30, W, seed=0), "0-12 15-13 17 16 18-29"),
        (s.shuffle(30, W, seed=1), "0-12 15-17 13 14 18-29"),
        (s.parallel(30, W), "0-12 (13-17) 18-29"),
        (s.parallel(30, range(0, 30)), "(0-29)"),
        (s.looped_parallel(30, W), "0-12 (13-17)*3 18-29"),
        (s.looped_parallel(30, W, times=28), "0-12 (13-17)*28 18-29"),
        (s.drop(30, 5), "0-4 6-29"),
        (s.drop(30, 0), "1-29"),
        (s.swap(30, 5, 6), "0-4 6 5 7-29"),
        (s.swap(30, 5, 20), "0-4 20 6-19 5 21-29"),
        (s.swap(30, 6, 5), "0-4 6 5 7-29"),
        (s.swap(30, 5, 5), "0-29"),
        (s.replace(30, at=5, with_layer=6), "0-4 6*2 7-29"),
        (s.replace(30, at=29, with_layer=3), "0-28 3"),
        (s.move(30, 5, to=9), "0-4 6-9 5 10-29"),
        (s.move(30, 9, to=5), "0-4 9 5-8 10-29"),
        (s.move(30, 0, to=29), "1-29 0"),
        (s.move(30, 5, to=5), "0-29"),
        (s.repeat_block(30, 10, 17), "0-16 10-29"),
        (s.repeat_block(30, 10, 11), "0-9 10*2 11-29"),
        (s.repeat_block(30, 0, 30), "0-29 0-29"),
        (s.pair_parallel(30, 10, 14), "0-9 (10|11)@sum (12|13)@sum 14-29"),
        (s.pair_parallel(30, 10, 14, scale=0.5), "0-9 (10|11) (12|13) 14-29"),
        (s.pair_parallel(4, 0, 4), "(0|1)@sum (2|3)@sum"),
        (s.damped_block(30, 10, 13), "0-9 [10-13]@0.5*2 14-29"),
        (s.damped_block(30, 10, 13, scale=0.25, times=3), "0-9 [10-13]@0.25*3 14-29"),
        (s.damped_block(30, 10, 13, scale=1.0), "0-13 10-29"),
        (s.damped_block(30, 10, 10), "0-9 10@0.5*2 11-29"),
        (s.damped_block(4, 0, 3, scale=0.5, times=1), "[0-3]@0.5"),
        (s.tracks(30, range(9, 17), 2), "0-8 ([9-12]|[13-16]) 17-29"),
        (s.tracks(30, range(9, 17), 4), "0-8 ([9 10]|[11 12]|[13 14]|[15 16]) 17-29"),
        (s.tracks(30, range(9, 17), 1), "0-29"),
        (s.tracks(30, range(9, 17), 8), "0-8 (9-16) 17-29"),
    ],
    ids=str,
)
def test_a_strategy_is_a_plan_written_by_hand(plan, text):
    assert str(plan) == text


def test_the_middle_is_the_authors_window():
    assert s.middle(30, first=12) == range(13, 18)
    assert [len(s.middle(32, first=f)) for f in (0, 9, 15)] == [31, 13, 1]
    assert s.middle(2, first=0) == range(1, 2)


@given(st.integers(2, 100).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n // 2 - 1))))
def test_the_middle_has_n_minus_twice_first_minus_one_layers(case):
    n_layers, first = case
    assert len(s.middle(n_layers, first)) == n_layers - 2 * first - 1


@given(st.integers(0, 14), st.integers(0, 2**32 - 1), st.integers())
def test_shuffle_depends_on_its_seed_alone(first, seed, global_seed):
    window = s.middle(N, first)
    order = list(window)
    random.Random(seed).shuffle(order)
    random.seed(global_seed)
    plan = s.shuffle(N, window, seed)
    assert plan.layer_calls == (*range(first + 1), *order, *range(N - first, N))


def test_a_window_is_any_run_of_consecutive_layers():
    assert s.skip(N, [13, 14]) == s.skip(N, (13, 14)) == s.skip(N, range(13, 15))


def test_at_one_layer_only_skip_and_looping_alter_the_model():
    one = s.middle(N, first=14)
    full = s.full(N)
    assert s.repeat_center(N, one) == s.reverse(N, one) == s.shuffle(N, one, seed=3) == full
    assert s.parallel(N, one) == full
    assert str(s.looped_parallel(N, one)) == "0-14 15*3 16-29"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: s.middle(30, 15), "middle(n_layers=30, first=15) is empty; first fits in 0..14"),
        (lambda: s.middle(30, -1), "middle(n_layers=30, first=-1) is empty; first fits in 0..14"),
        (lambda: s.middle(1, 0), "middle(n_layers=1, first=0) is empty; two layers are needed"),
        (lambda: s.full(0), "n_layers=0 is not a number of layers; 1..100,000 fits"),
        (lambda: s.full(10**12), f"n_layers={10**12} is not a number of layers; 1..100,000 fits"),
        (lambda: s.skip(30, []), "the window is empty; name at least one layer"),
        (lambda: s.repeat_block(30, 17, 10), "the window is empty; name at least one layer"),
        (
            lambda: s.skip(30, range(30)),
            "skipping layers 0 to 29 leaves no layer to run; n_layers=30",
        ),
        (lambda: s.drop(1, 0), "skipping layers 0 to 0 leaves no layer to run; n_layers=1"),
        (
            lambda: s.parallel(30, range(28, 31)),
            "layer 30 does not exist; n_layers=30 allows 0..29",
        ),
        (lambda: s.drop(30, -1), "layer -1 does not exist; n_layers=30 allows 0..29"),
        (lambda: s.swap(30, 29, 30), "layer 30 does not exist; n_layers=30 allows 0..29"),
        (lambda: s.move(30, 5, to=30), "layer 30 does not exist; n_layers=30 allows 0..29"),
        (
            lambda: s.skip(30, [3, 5]),
            f"the window from 3 to 5 {GAPS}",
        ),
        (
            lambda: s.skip(30, range(17, 12, -1)),
            f"the window from 17 to 13 {GAPS}",
        ),
        (
            lambda: s.looped_parallel(30, W, times=0),
            "a window cannot be looped 0 times; 1..100,000 fits",
        ),
        (lambda: s.pair_parallel(30, 10, 13), "layers 10 to 12 do not pair up; 3 is odd"),
        (lambda: s.damped_block(30, 13, 10), "the window is empty; name at least one layer"),
        (
            lambda: s.damped_block(30, 10, 13, scale=0.0),
            "a step cannot be scaled by 0.0; a scale is 'sum' or a finite number other than 0",
        ),
        (
            lambda: s.damped_block(30, 10, 13, times=0),
            "a block cannot be run 0 times; 1..100,000 fits",
        ),
        (
            lambda: s.tracks(30, range(9, 17), 3),
            "8 layers do not part into 3 tracks of one length; 1, 2, 4 or 8 fit",
        ),
        (
            lambda: s.tracks(30, range(9, 17), 0),
            "8 layers do not part into 0 tracks of one length; 1, 2, 4 or 8 fit",
        ),
    ],
)
def test_an_impossible_request_says_why(make, message):
    with pytest.raises(PlanError) as caught:
        make()
    assert str(caught.value) == message


def test_the_papers_decoder_suite_shares_most_of_its_layer_calls():
    windows = [s.middle(N, first) for first in range(15)]
    figures = [
        *(s.skip(N, w) for w in windows),
        *(s.repeat_center(N, w) for w in windows),
        *(s.reverse(N, w) for w in windows),
        *(s.shuffle(N, w, seed) for w in windows for seed in range(10)),
        *(s.parallel(N, w) for w in windows),
        *(s.looped_parallel(N, w, times=3) for w in windows),
        *(s.drop(N, layer) for layer in range(N)),
        *(s.swap(N, layer, layer + 1) for layer in range(N - 1)),
    ]
    # A group of one has nothing to run in parallel: the heatmap starts at three layers.
    heatmap = [s.looped_parallel(N, w, times=k) for w in windows[:-1] for k in range(1, 29)]
    suite = set(figures + heatmap)
    assert len(suite) == 626
    assert sum(len(plan.calls) for plan in suite) == 103_200
    assert shared_calls(suite) == shared_calls(figures + heatmap) == 13_385
    assert sum(len(plan.calls) for plan in heatmap) / shared_calls(heatmap) == pytest.approx(
        10.9, abs=0.05
    )
