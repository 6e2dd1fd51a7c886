"""Claims are judged by intervals, and studies read what they say they read."""

import re
from dataclasses import replace
from html import unescape
from math import nan

import numpy as np
import pandas as pd
import pytest
from markdown import markdown
from scipy import stats

from painters_interp import Plan, studies
from painters_interp.statistics import percentiles
from painters_interp.studies import Claim, Quantity, Sampled
from painters_interp.studies.claims import as_markdown, as_table, correlation, ranks
from painters_interp.studies.repeats import gains
from painters_interp.studies.shapley import PERMUTATIONS, _orders, _plans, contributions


def spread(low: float, high: float) -> Quantity:
    """A quantity whose middle 95 % is about low to high."""
    return Quantity((low + high) / 2, np.linspace(low, high, 1001), "nats")


@pytest.mark.parametrize(
    ("low", "high", "ends", "verdict"),
    [
        (0.1, 0.3, {"above": 0}, "holds"),
        (-0.1, 0.3, {"above": 0}, "undecided"),
        (-0.3, -0.1, {"above": 0}, "fails"),
        (-0.3, -0.1, {"below": 0}, "holds"),
        (0.1, 0.3, {"below": 0}, "fails"),
        (0.6, 1.4, {"above": 0.5, "below": 2}, "holds"),
        (0.4, 1.4, {"above": 0.5, "below": 2}, "undecided"),
        (2.4, 3.4, {"above": 0.5, "below": 2}, "fails"),
        (0.0, 0.0, {"above": 0}, "fails"),  # no difference at all is none
        (nan, nan, {"above": 0}, "undecided"),
    ],
)
def test_a_verdict_is_of_the_whole_interval(low, high, ends, verdict) -> None:
    assert Claim("a", "b", spread(low, high), **ends).verdict == verdict


def test_one_sample_without_a_number_leaves_it_undecided() -> None:
    found = Quantity(1.0, np.array([1.0] * 99 + [nan]), "nats")
    assert Claim("a", "b", found, above=0).verdict == "undecided"


def test_the_table_of_claims() -> None:
    [row] = as_table(
        [Claim("more", "1 to 2", spread(1, 2), above=0.5, below=3, tried=7)]
    ).itertuples(index=False)
    assert row._asdict() == pytest.approx(
        {
            **{"claim": "more", "published": "1 to 2", "value": 1.5, "low": 1.025, "high": 1.975},
            **{"unit": "nats", "rule": "above 0.5 and below 3", "verdict": "holds", "tried": 7},
        }
    )


def sampled(rows: pd.DataFrame, seed: int = 0) -> Sampled:
    values = np.random.default_rng(seed).normal(size=(101, len(rows)))
    return Sampled(rows, values[0], values[1:], "nats")


def test_rows_are_chosen_by_their_labels() -> None:
    rows = pd.DataFrame({"variant": ["skip", "skip", "swap"], "affected": [1, 3, 3]})
    some = sampled(rows)
    chosen = some.where(variant="skip", affected=range(2, 5))
    assert chosen.rows["variant"].tolist() == ["skip"]
    assert chosen.values.tolist() == [some.values[1]]
    assert (chosen.samples[:, 0] == some.samples[:, 1]).all()


def test_what_is_computed_of_rows_stays_paired() -> None:
    some = sampled(pd.DataFrame({"k": range(4)}))
    difference = some.where(k=[0, 1]).mean() - some.where(k=[2, 3]).mean()
    by_hand = some.samples[:, :2].mean(1) - some.samples[:, 2:].mean(1)
    np.testing.assert_allclose(difference.samples, by_hand)
    np.testing.assert_allclose(difference.interval, np.quantile(by_hand, [0.025, 0.975]))


def test_rank_correlations_are_scipys() -> None:
    some, fixed = sampled(pd.DataFrame({"k": range(7)})), np.array([3, 1, 1, 5, 9, 2, 2.0])
    found = some.ranked_with(fixed)
    assert found.value == pytest.approx(stats.spearmanr(some.values, fixed).statistic)
    expected = [stats.spearmanr(row, fixed).statistic for row in some.samples]
    np.testing.assert_allclose(found.samples, expected)
    assert np.isnan(correlation(ranks(np.ones(3)), ranks(np.arange(3.0))))


def test_numbers_of_two_kinds_are_neither_added_nor_divided() -> None:
    loss, score = spread(1, 2), replace(spread(1, 2), unit="of the score")
    for both in (loss.__add__, loss.__sub__, lambda other: loss.over(other, "of it")):
        with pytest.raises(TypeError, match="nats and of the score are no numbers of one kind"):
            both(score)
    assert loss.over(loss, "of it").interval == (1, 1)
    assert loss.over(loss, "of it").unit == "of it"


def test_rows_of_two_tables_on_the_same_samples_are_ranked_sample_by_sample() -> None:
    one, other = (sampled(pd.DataFrame({"k": range(7)}), seed) for seed in (0, 1))
    expected = [
        stats.spearmanr(a, b).statistic for a, b in zip(one.samples, other.samples, strict=True)
    ]
    np.testing.assert_allclose(one.ranked_with(other).samples, expected)
    assert one.ranked_with(other).unit == "rank correlation"


def test_the_largest_number_is_one() -> None:
    some = Sampled(pd.DataFrame(index=range(3)), np.array([nan, -2.0, -3.0]), np.ones((2, 3)), "")
    assert some.largest == 1


def test_markdown_shows_what_sentences_hold_as_it_stands() -> None:
    table = as_table([Claim("0-12 15*4 [a](b) <i> $x$ | `_k_` \\", "a*b*c", spread(1, 2), above=0)])
    [html] = re.findall(r"<td>(0-12.*?)</td>", markdown(as_markdown(table), extensions=["tables"]))
    assert unescape(html) == table["claim"].item()
    assert "<td>1.5 [1.02, 1.98] nats</td>" in markdown(as_markdown(table), extensions=["tables"])


def test_what_a_plan_saves_is_told_against_the_intact_model() -> None:
    some = sampled(pd.DataFrame({"variant": ["drop", "intact", "swap"]}))
    saved = gains(some)
    assert saved.rows["variant"].tolist() == ["drop", "swap"]
    np.testing.assert_allclose(saved.values, some.values[1] - some.values[[0, 2]])
    np.testing.assert_allclose(saved.samples, some.samples[:, [1]] - some.samples[:, [0, 2]])


def test_shapley_values_are_means_of_what_each_removal_adds() -> None:
    n, cost = 6, lambda gone: float(sum(3.0**i for i in gone)) + 5.0 * ({2, 4} <= {*gone})
    plans = _plans(n)
    left = [{*range(n)} - {int(i) for i in _calls(text)} for text in plans["plan"]]
    costs = np.array([cost(gone) for gone in left])
    found = contributions(Sampled(plans, costs, np.tile(costs, (2000, 1)), "nats"), n)
    expected = np.zeros((n, 0)).tolist()
    for order in _orders(n):
        for place, layer in enumerate(order[:-1]):
            expected[layer].append(cost(order[: place + 1]) - cost(order[:place]))
    np.testing.assert_allclose(found.values, [np.mean(added) for added in expected])
    assert len(_orders(n)) == PERMUTATIONS
    # The texts say the same every time, and yet other orders would have said something else.
    low, high = percentiles(found.samples)
    for own, *ends in zip(expected, low, high, strict=True):
        assert ends == pytest.approx(stats.ttest_1samp(own, 0).confidence_interval(), rel=0.15)
    assert found.samples.shape == (2000, n)


def test_a_mean_over_random_orders_is_as_sure_as_three_draws_can_be() -> None:
    rows = pd.DataFrame({"shuffle_seed": [0, 1, 2, nan]})
    values = np.array([0.3, 0.5, 0.7, 0.9])
    orders = Sampled(rows, values, np.tile(values, (4000, 1)), "nats")
    found = orders.at([0, 1, 2]).mean()
    assert found.value == pytest.approx(0.5)
    expected = stats.ttest_1samp(values[:3], 0).confidence_interval()
    assert found.interval == pytest.approx(tuple(expected), abs=0.05)
    # What is not drawn is as sure as ever, and draws count by their share.
    assert orders.at([3]).mean().interval == pytest.approx((0.9, 0.9))
    assert np.diff(orders.mean().interval) == pytest.approx(0.75 * np.diff(found.interval))
    # Of one order nothing is known of others; and what all orders share is as sure as the texts.
    assert orders.at([0]).mean().interval == pytest.approx((0.3, 0.3))
    shifted = replace(orders, samples=orders.samples + np.linspace(-1, 1, 4000)[:, None])
    paired = shifted.at([0, 1, 2]).mean() - orders.at([0, 1, 2]).mean()
    np.testing.assert_allclose(paired.samples, np.linspace(-1, 1, 4000))


def _calls(text: str) -> tuple[int, ...]:
    return Plan.parse(text, 6).layer_calls


def test_what_was_found_shows_its_claims_as_lines_and_escaped_in_a_notebook() -> None:
    found = studies.Found({}, [Claim("A < B & C", "p. 3", spread(1, 2), above=0)])
    assert repr(found).startswith("holds     1.5 [1.02, 1.98] nats (above 0): ")
    assert repr(found).endswith(": A < B & C")
    html = found._repr_html_()
    assert "<td>A &lt; B &amp; C</td>" in html
    assert "<td>1.5 [1.02, 1.98] nats</td>" in html
    assert html.count("<tr>") == 2
