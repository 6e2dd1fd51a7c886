"""Statistics of single items: against scipy, lm-eval's aggregations and numbers worked by hand."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lm_eval.api import metrics as lm_eval
from scipy import stats

from painters_interp import statistics
from painters_interp.errors import TableError
from painters_interp.statistics.aggregations import AGGREGATIONS, influences
from painters_interp.tables import MEASURED
from painters_interp.tables.columns import DIFFERENCE
from painters_interp.tables.items import COLUMNS, compare, item_table, runs, summarise

RNG = np.random.default_rng(0)


def scored(plan: str, values: Any, **changes: Any) -> pd.DataFrame:
    """Items of one plan; everything not given is the same for all plans."""
    rows = pd.DataFrame({"plan": plan, "item": range(len(values)), "value": values})
    facts = {
        **{"model": "m", "revision": None, "dtype": "float32", "task": "t", "version": "1"},
        **{"metric": "acc", "reference": np.nan, "chance": 0.5, "aggregation": "mean"},
        **{"higher_is_better": True, "requests": "digest", "seed": 0, "truncated": False},
    }
    return rows.assign(**(facts | changes))


def table(*parts: pd.DataFrame) -> pd.DataFrame:
    return item_table(pd.concat(parts, ignore_index=True))


def row(found: pd.DataFrame, plan: str) -> pd.Series:
    [one] = [row for _, row in found.iterrows() if row["plan"] == plan]
    return one


def coin(n: int, p: float) -> Any:
    return (RNG.random(n) < p).astype(float)


# Aggregations


def pairs(n: int, labels: int) -> tuple[Any, Any]:
    right = RNG.integers(0, labels, n)
    return np.where(RNG.random(n) < 0.4, right, RNG.integers(0, labels, n)), right


LOGLIKELIHOODS = (-RNG.gamma(2, 1, 40), RNG.integers(1, 9, 40))
# (answers, what they are read against), and lm-eval's function of its own items.
AGGREGATED: dict[str, list[tuple[Any, Callable]]] = {
    "mean": [(LOGLIKELIHOODS, lambda a, b: lm_eval.mean(list(a)))],
    "perplexity": [(LOGLIKELIHOODS, lambda a, b: lm_eval.perplexity(list(a)))],
    "weighted_perplexity": [
        (LOGLIKELIHOODS, lambda a, b: lm_eval.weighted_perplexity(list(zip(a, b, strict=True))))
    ],
    "bits_per_byte": [
        (LOGLIKELIHOODS, lambda a, b: lm_eval.bits_per_byte(list(zip(a, b, strict=True))))
    ],
    "f1": [
        (pairs(40, 2), lambda a, b: lm_eval.f1_score(list(zip(b, a, strict=True)))),
        ((np.zeros(5), np.zeros(5)), lambda a, b: 0.0),
    ],
    "matthews_corrcoef": [
        (pairs(40, k), lambda a, b: lm_eval.matthews_corrcoef(list(zip(b, a, strict=True))))
        for k in (1, 2, 3)
    ],
}
CASES = [(name, *case) for name, cases in AGGREGATED.items() for case in cases]


@pytest.mark.parametrize(("name", "items", "expected"), CASES)
def test_aggregations_are_lm_evals(name, items, expected):
    answers, against = (np.asarray(side, dtype=float)[None] for side in items)
    [found] = AGGREGATIONS[name](answers, against)
    assert found == pytest.approx(expected(*items), abs=1e-12)


@pytest.mark.parametrize(("name", "items", "expected"), CASES)
def test_a_bootstrap_sample_is_the_aggregation_of_the_items_drawn(name, items, expected):
    [run] = runs(table(scored("a", items[0], reference=items[1] * 1.0, aggregation=name)))
    counts = np.rint(run.weights(0)[:20] * run.n).astype(int)
    for drawn, found in zip(counts, run.resampled(0)[:20, 0], strict=True):
        again = np.repeat(np.arange(run.n), drawn)
        answers, against = (np.asarray(side)[again] for side in items)
        assert found == pytest.approx(expected(answers, against), abs=1e-12)


def test_influences_have_the_aggregation_as_their_mean_and_are_the_values_of_a_mean():
    golds = [(int(a), int(b)) for a, b in zip(*pairs(30, 3), strict=True)]
    assert np.mean(influences(lm_eval.matthews_corrcoef, golds)) == pytest.approx(
        lm_eval.matthews_corrcoef(golds)
    )
    assert influences(lm_eval.mean, [1.0, 4.0, 2.0]) == pytest.approx([1.0, 4.0, 2.0])
    assert influences(lm_eval.mean, [3.0]) == [3.0]


# Intervals and tests


def bootstrap_t(apart: Any, weights: Any) -> tuple[float, float]:
    """Each sample's mean in units of its own standard error, one sample after the other."""
    n, mean, error = len(apart), apart.mean(), stats.sem(apart)
    counts = np.rint(weights * n).astype(int)
    drawn = [np.repeat(apart, count) for count in counts]
    far = [(sample.mean() - mean) / stats.sem(sample) for sample in drawn]
    low, high = np.quantile(far, [0.025, 0.975], method="nearest")
    return mean - high * error, mean - low * error


def test_the_paired_interval_of_real_values_is_the_bootstrap_t():
    a, b = RNG.lognormal(0.3, 1, 40), RNG.normal(0, 1, 40)
    items = table(scored("a", a), scored("b", b))
    found = compare(items, "a", "b").iloc[0]
    [run] = runs(items)
    assert found["delta"] == pytest.approx((a - b).mean())
    assert tuple(found[["delta_low", "delta_high"]]) == pytest.approx(
        bootstrap_t(a - b, run.weights(0))
    )


def test_what_is_no_mean_has_the_interval_of_its_influences():
    a, b = -RNG.gamma(2, 1, 40), -RNG.gamma(2, 2, 40)
    items = table(*(scored(p, v, aggregation="perplexity") for p, v in (("a", a), ("b", b))))
    found = compare(items, "a", "b").iloc[0]
    [run] = runs(items)
    apart = np.subtract(*(influences(lm_eval.perplexity, list(side)) for side in (a, b)))
    low, high = bootstrap_t(apart, run.weights(0))
    centre = found["delta"] - apart.mean()  # the jackknife's estimate of bias is not taken off
    assert abs(centre) < (high - low) / 10
    assert tuple(found[["delta_low", "delta_high"]]) == pytest.approx((low, high))


def test_the_interval_of_proportions_is_bonett_and_prices():
    """Example of their article's formula, worked by hand: 3 wins and 9 losses among 50."""
    low, high = statistics.proportions(np.array([3]), np.array([9]), 50)
    centre, reach = -6 / 52, 1.959964 * math.sqrt((14 / 52 - (6 / 52) ** 2) / 52)
    assert (low[0], high[0]) == pytest.approx((centre - reach, centre + reach), abs=1e-6)


# Both right, the intact model alone, the plan alone; the rest are right under neither.
RARELY_CHANGED = {
    "accuracy .90, delta -.025": (0.85, 0.05, 0.025),
    "4 % one way": (0.86, 0.04, 0.0),
    "4 % one way, hard": (0.30, 0.04, 0.0),
    "half of all": (0.40, 0.30, 0.10),
}


@pytest.mark.parametrize("n", [16, 32, 100])
@pytest.mark.parametrize("shares", RARELY_CHANGED.values(), ids=RARELY_CHANGED)
def test_intervals_of_successes_hold_the_truth_where_few_items_change(shares, n):
    rng = np.random.default_rng(0)
    _, losses, wins, _ = rng.multinomial(n, [*shares, 1 - sum(shares)], 4000).T
    low, high = statistics.proportions(wins, losses, n)
    truth = shares[2] - shares[1]
    assert ((low <= truth) & (truth <= high)).mean() >= 0.94
    assert (high - low).min() > 2 / n  # not even where nothing changed


@pytest.mark.parametrize("draw", ["exponential", "lognormal", "standard_normal"])
def test_intervals_of_real_values_hold_the_truth(draw):
    rng = np.random.default_rng(0)
    apart = getattr(rng, draw)(size=(32, 2000))
    truth = {"exponential": 1, "lognormal": math.exp(0.5), "standard_normal": 0}[draw]
    low, high = statistics.studentised(apart, statistics.resamplings(32, 500))
    assert ((low <= truth) & (truth <= high)).mean() >= 0.92


@pytest.mark.parametrize("units", [2, 3, 8])
def test_a_mean_of_few_draws_has_students_interval(units):
    drawn = np.random.default_rng(0).normal(1.0, 0.5, size=(units, 2000))
    low, high = statistics.percentiles(statistics.draws(units, 1000) @ drawn)
    assert ((low <= 1) & (high >= 1)).mean() == pytest.approx(0.95, abs=0.02)


def test_where_hardly_an_item_changed_there_is_no_interval_of_real_values():
    """Of the other items a sample that holds one of three tells nothing; a width of 0 would."""
    rng, n = np.random.default_rng(0), 32
    for changed, known in ((0, False), (1, False), (2, False), (6, True)):
        apart = np.where(np.arange(n) < changed, rng.exponential(size=n), 0.0)[:, None]
        [low], [high] = statistics.studentised(apart, statistics.resamplings(n))
        assert np.isfinite(low) == np.isfinite(high) == known


def test_a_plan_without_numbers_leaves_the_tests_of_other_plans_as_they_are():
    intact, plan, broken = coin(30, 0.9), coin(30, 0.5), np.full(30, np.nan)
    alone = summarise(table(scored("0-5", intact), scored("a", plan)), "0-5")
    with pytest.warns(UserWarning, match="30 items of plan 'b'"):
        beside = summarise(
            table(scored("0-5", intact), scored("a", plan), scored("b", broken)), "0-5"
        )
    pd.testing.assert_series_equal(row(beside, "a"), row(alone, "a"))


def test_the_standard_error_of_what_is_no_mean_is_the_bootstraps():
    values = -RNG.gamma(2, 0.3, 80)
    found = summarise(table(scored("a", values, aggregation="perplexity")))
    expected = stats.bootstrap((values,), lambda x, axis: np.exp(-x.mean(axis)), rng=0)
    assert found.loc[0, "value"] == pytest.approx(lm_eval.perplexity(list(values)))
    assert found.loc[0, "stderr"] == pytest.approx(expected.standard_error, rel=0.1)


def test_the_standard_error_of_a_mean_is_lm_evals():
    values = RNG.normal(size=50)
    found = summarise(table(scored("a", values)))
    assert found.loc[0, "stderr"] == pytest.approx(lm_eval.mean_stderr(list(values)))


def test_metrics_of_successes_have_the_interval_of_proportions():
    intact, plan = coin(32, 0.9), coin(32, 0.5)
    found = compare(table(scored("0-5", intact), scored("a", plan)), "a", "0-5").iloc[0]
    wins, losses = (np.array([np.sum(side == 1)]) for side in (plan - intact, intact - plan))
    ends = statistics.proportions(wins, losses, 32)
    assert tuple(found[["delta_low", "delta_high"]]) == pytest.approx(np.concatenate(ends))


def test_pairing_narrows_the_interval():
    ease = RNG.normal(0, 3, 200)
    a, b = ease + RNG.normal(0.2, 0.1, 200), ease
    found = row(summarise(table(scored("0-5", b), scored("a", a)), "0-5"), "a")
    assert found["delta_high"] - found["delta_low"] < 0.1
    assert found["stderr"] > 0.15


def test_mcnemar_is_a_coin_tossed_for_every_disagreement():
    """They differ on ten items, and the intact model is right on nine: 2 * (1 + 10) / 2**10."""
    intact = np.array([1] * 9 + [0] + [1] * 5 + [0] * 5, dtype=float)
    plan = np.array([0] * 9 + [1] + [1] * 5 + [0] * 5, dtype=float)
    found = row(summarise(table(scored("0-5", intact), scored("a", plan)), "0-5"), "a")
    assert found["p"] == pytest.approx(22 / 1024)


def test_without_a_disagreement_p_is_1_and_the_difference_0():
    values = coin(20, 0.5)
    found = row(summarise(table(scored("0-5", values), scored("a", values)), "0-5"), "a")
    assert found["delta"] == 0
    assert -found["delta_low"] == found["delta_high"] > 0.1  # what else 20 items allow
    assert found["p"] == found["p_adjusted"] == 1


@pytest.mark.parametrize("n", [8, 40])
def test_real_values_are_tested_by_flipping_signs_as_scipy_does(n):
    a, b = RNG.normal(0.5, 1, n), RNG.normal(0, 1, n)
    found = row(summarise(table(scored("0-5", b), scored("a", a)), "0-5"), "a")
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples",
        vectorized=True, n_resamples=9999, rng=1,
    )  # fmt: skip
    assert found["p"] == pytest.approx(expected.pvalue, abs=1e-9 if n == 8 else 0.01)


def test_a_metric_that_is_no_mean_is_tested_by_exchanging_the_answers():
    n, (answers, right), (others, _) = 7, pairs(7, 2), pairs(7, 2)
    both = [scored(plan, side * 1.0, reference=right * 1.0, aggregation="matthews_corrcoef")
            for plan, side in (("0-5", answers), ("a", others))]  # fmt: skip
    found = row(summarise(table(*both), "0-5"), "a")

    def difference(swap: Any) -> float:
        ours, theirs = np.where(swap, answers, others), np.where(swap, others, answers)
        return lm_eval.matthews_corrcoef(list(zip(right, ours, strict=True))) - (
            lm_eval.matthews_corrcoef(list(zip(right, theirs, strict=True)))
        )

    far = [abs(difference(np.array(swap))) for swap in product([False, True], repeat=n)]
    assert found["p"] == pytest.approx(np.mean([d >= far[0] - 1e-9 for d in far]))


def test_under_the_null_hypothesis_p_is_uniform():
    rng, signs = np.random.default_rng(2), statistics.signs(30, flips=999)
    p = [statistics.flip_p(signs @ rng.normal(size=30)) for _ in range(300)]
    assert stats.kstest(np.array(p), "uniform").pvalue > 0.01


def test_p_is_adjusted_over_the_plans_of_one_task_and_metric():
    intact = coin(60, 0.9)
    parts = [scored("0-5", intact)]
    parts += [scored(f"{k}", intact * coin(60, 0.95 - 0.1 * k)) for k in range(6)]
    parts += [part.assign(task="u") for part in parts[:2]]
    found = summarise(table(*parts), "0-5")
    six = found[found["task"].eq("t") & found["plan"].ne("0-5")]
    assert six["p_adjusted"].tolist() == pytest.approx(stats.false_discovery_control(six["p"]))
    [alone] = found.loc[found["task"].eq("u") & found["plan"].eq("0"), "p_adjusted"]
    assert alone == found.loc[found["plan"].eq("0"), "p"].iloc[0]


# Edges


def test_columns_are_those_of_a_result_table_and_the_intact_model_is_not_tested():
    found = summarise(table(scored("0-5", coin(9, 0.5)), scored("a", coin(9, 0.5))), "0-5")
    assert tuple(found) == MEASURED
    assert found["plan"].tolist() == ["0-5", "a"]
    assert found.loc[0, ["delta", "delta_low", "delta_high"]].tolist() == [0, 0, 0]
    assert math.isnan(found.loc[0, "p"])


def test_without_the_intact_model_there_is_no_difference():
    found = summarise(table(scored("a", coin(9, 0.5))), "0-5")
    assert found[["delta", "delta_low", "delta_high", "p", "p_adjusted"]].isna().all(axis=None)


def test_one_item_says_nothing_about_others():
    found = row(summarise(table(scored("0-5", [1.0]), scored("a", [0.0])), "0-5"), "a")
    assert found["delta"] == -1
    assert found[["stderr", "delta_low", "delta_high"]].isna().all()
    assert found["p"] == 1


def test_values_that_are_not_numbers_are_named_and_stay_missing():
    items = table(scored("0-5", [1.0, 0.0, 1.0]), scored("a", [1.0, np.nan, 0.0]))
    with pytest.warns(
        UserWarning, match=r"task 't', metric 'acc': 1 items of plan 'a' are not num"
    ):
        found = summarise(items, "0-5")
    assert row(found, "a")[["value", "stderr", "delta", "delta_low", "p"]].isna().all()
    assert row(found, "0-5")["value"] == pytest.approx(2 / 3)


def test_an_infinite_perplexity_is_infinite():
    parts = [
        scored(p, [v] * 4, aggregation="perplexity") for p, v in (("0-5", -2.0), ("a", -900.0))
    ]
    found = row(summarise(table(*parts), "0-5"), "a")
    assert found["value"] == found["delta"] == np.inf


def test_different_items_do_not_meet():
    items = table(scored("0-5", coin(9, 0.5)), scored("a", coin(5, 0.5)))
    with pytest.raises(
        TableError, match=r"plans '0-5' and 'a' were scored on different items \(9 a"
    ):
        summarise(items, "0-5")


@pytest.mark.parametrize(
    ("changed", "value"),
    [("dtype", "bfloat16"), ("model", "n"), ("version", "2"), ("seed", 1), ("requests", "other")],
)
def test_two_runs_do_not_meet_in_a_test(changed, value):
    items = table(scored("0-5", coin(9, 0.5)), scored("a", coin(9, 0.5), **{changed: value}))
    with pytest.raises(
        TableError, match=rf"plans '0-5' and 'a' are not paired \({changed} .*{value}"
    ):
        compare(items, "0-5", "a")
    assert summarise(items, "0-5").loc[1, ["delta", "p"]].isna().all()


def test_a_plan_that_is_not_there_is_named():
    items = table(scored("0-5", coin(9, 0.5)), scored("a", coin(9, 0.5)))
    with pytest.raises(TableError, match=r"no items of plan 'b'; the table has '0-5', 'a'"):
        compare(items, "0-5", "b")
    more = table(scored("0-5", coin(9, 0.5)), scored("a", coin(9, 0.5), task="u"))
    with pytest.raises(TableError, match=r"plan 'a' was not measured on task 't', metric 'acc'"):
        compare(more, "0-5", "a")


def test_an_item_may_not_count_twice():
    with pytest.raises(TableError, match=r"plan 'a' has an item several times"):
        summarise(table(scored("a", coin(3, 0.5)), scored("a", coin(3, 0.5))))


def test_a_table_of_something_else_is_refused():
    with pytest.raises(TableError, match="lacks the columns model"):
        item_table(pd.DataFrame({"plan": ["a"]}))
    assert set(COLUMNS) <= set(table(scored("a", coin(3, 0.5))))


def test_order_of_rows_does_not_matter():
    items = table(scored("0-5", coin(30, 0.6)), scored("a", coin(30, 0.6)))
    mixed = items.sample(frac=1, random_state=0)
    one, two = (summarise(t, "0-5").set_index("plan").sort_index() for t in (items, mixed))
    pd.testing.assert_frame_equal(one, two)


def as_texts(items: pd.DataFrame) -> pd.DataFrame:
    return items.astype(object).map(lambda value: value if pd.isna(value) else str(value))


@pytest.mark.parametrize("kind", [object, "str", "string", "category"])
def test_items_that_went_through_texts_are_the_same(kind):
    cut = [True] * 3 + [False] * 9
    whole = table(
        scored("0-5", coin(12, 0.7), truncated=cut), scored("0-4", coin(12, 0.4), truncated=cut)
    )
    read = as_texts(whole).astype(dict.fromkeys(COLUMNS, kind))
    for made in (whole, read, item_table(read)):
        found = summarise(made, intact="0-5")
        assert found["n_truncated"].tolist() == [3, 3]
        assert found["higher_is_better"].tolist() == [True, True]
        expected = summarise(whole, intact="0-5")
        same = [*DIFFERENCE, "value", "stderr", "n", "chance", "plan"]
        pd.testing.assert_frame_equal(found[same], expected[same], check_dtype=False)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"item": 0.5}, "'item' holds whole numbers; 0.5 is none"),
        ({"item": "d1"}, "'item' holds whole numbers; 'd1' is none"),
        ({"item": None}, "'item' holds whole numbers"),
        ({"truncated": None}, "'truncated' holds True and False"),
        ({"higher_is_better": "yes"}, "'higher_is_better' holds True and False; 'yes' is neither"),
        ({"value": "0,5"}, "'value' holds numbers; '0,5' is none"),
        ({"reference": "yes"}, "'reference' holds numbers; 'yes' is none"),
    ],
)
def test_what_is_no_number_or_truth_is_named(changed, told):
    items = scored("0-5", coin(4, 0.5), **changed)
    for ask in (item_table, summarise, lambda rows: compare(rows, "0-5", "0-5")):
        with pytest.raises(TableError, match=told):
            ask(items)
