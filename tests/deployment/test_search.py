"""Search over plans: rounds of edits down to a budget, judged on what was held back."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import painters_interp as painters
from painters_interp.deployment import EDITS, edited, explored
from painters_interp.deployment.rounds import at_random
from painters_interp.errors import PaintersError, PlanError, TaskError, TextError
from painters_interp.plans import Plan
from painters_interp.strategies import full

N = 6
TEXTS = ["abcdefgh", "hgfedcba", "aabbccdd", "ddccbbaa", "adgjmpsv", "behknqtw", "cfilorux", "zyx"]


def texts_of(name: str, plan: str = "0-3") -> list[str]:
    return [str(other) for _, other in edited(Plan(plan, 4), [name])]


def plans(*texts: str) -> list[str]:
    return [str(Plan(text, 4)) for text in texts]


class TestEdits:
    def test_each_is_what_its_name_says(self) -> None:
        assert texts_of("drop") == plans("1-3", "0 2 3", "0 1 3", "0-2")
        assert texts_of("drop_block", "0-2") == plans("2", "0")
        assert texts_of("swap") == plans("1 0 2 3", "0 2 1 3", "0 1 3 2")
        assert texts_of("replace", "0-2") == plans("1 1 2", "0 0 2", "0 2 2", "0 1 1")
        assert texts_of("repeat", "0-2") == plans("0 0 1 2", "0 1 1 2", "0 1 2 2")
        assert texts_of("repeat_block", "0-2") == plans("0 1 0 1 2", "0 1 2 0 1 2", "0 1 2 1 2")
        assert texts_of("parallel") == plans("(0|1)@sum 2 3", "0 (1|2)@sum 3", "0 1 (2|3)@sum")
        assert texts_of("damp", "0 1") == plans("0@0.5 1", "0 1@0.5")

    def test_a_move_leads_to_every_other_place_once(self) -> None:
        assert len(texts_of("move")) == len({*texts_of("move")}) == 4 * 3 - 3

    def test_none_leads_to_no_layers_or_back(self) -> None:
        assert texts_of("drop", "2") == []
        for name in EDITS:
            assert "0-3" not in texts_of(name)

    def test_groups_join_further_neighbours(self) -> None:
        assert "(0-2)@sum 3" in [str(p) for _, p in edited(Plan("(0|1)@sum 2 3", 4), ["parallel"])]


def by_layers(costs: Sequence[float]) -> Any:
    """Costs as if each layer that is missing cost something of its own."""

    def of(found: Sequence[Plan]) -> np.ndarray:
        lost = [[c for i, c in enumerate(costs) if i not in plan.layer_calls] for plan in found]
        return np.array([sum(some) for some in lost], dtype=float)

    return of


class TestRounds:
    def test_greedy_drops_what_costs_least(self) -> None:
        went = explored(full(N), 3, ["drop"], by_layers([9, 1, 8, 2, 3, 7]))
        assert (str(went.best), went.cost) == ("0 2 5", 6.0)
        assert went.trace["round"].value_counts().sort_index().tolist() == [1, 6, 5, 4, 3]
        assert went.winners["plan"].tolist()[1:] == ["0 2-5", "0 2 4 5", "0 2 5"]

    def test_a_beam_finds_what_greed_misses(self) -> None:
        def cost(found: Sequence[Plan]) -> np.ndarray:
            """Layer 1 is cheapest alone, but only without 2 and 3 is it cheap to drop two."""
            return np.array([_trap({*range(4)} - {*plan.layer_calls}) for plan in found])

        greedy = explored(full(4), 2, ["drop"], cost)
        beam = explored(full(4), 2, ["drop"], cost, width=2)
        assert greedy.cost == 5.0
        assert (str(beam.best), beam.cost) == ("0 1", 1.0)

    def test_within_the_budget_it_goes_on_while_that_helps(self) -> None:
        wanted = Plan("2 0 1 3", 4)

        def cost(found: Sequence[Plan]) -> np.ndarray:
            return np.array(
                [
                    sum(a != b for a, b in zip(plan.layer_calls, wanted.layer_calls, strict=False))
                    for plan in found
                ],
                dtype=float,
            )

        assert explored(full(4), 4, ["move"], cost).best == wanted
        assert explored(full(4), 4, ["move"], cost, rounds=0).best == full(4)

    def test_never_exceeds_the_budget_once_it_is_met(self) -> None:
        went = explored(full(N), 4, ["drop", "repeat"], by_layers([1] * N))
        assert went.trace["calls"].max() == N
        assert len(went.best.calls) <= 4

    def test_says_when_no_edit_leads_there(self) -> None:
        with pytest.raises(PlanError, match="the edits swap lead from 6 layer calls to no plan"):
            explored(full(N), 4, ["swap"], by_layers([1] * N))

    def test_goes_into_no_dead_end(self) -> None:
        """Two layers fewer are cheapest, but a block is two or more: from there none leads on."""
        went = explored(full(N), 3, ["drop_block"], by_layers([9, 8, 1, 2, 8, 9]), rounds=0)
        assert str(went.best) == "0 4 5"
        assert went.trace["calls"].isin([N, 3]).all()
        drawn = [*islice(at_random(full(N), 3, ["drop_block"], 0, seed=0), 20)]
        assert {len(plan.calls) for plan in drawn} == {3}

    def test_nan_is_never_chosen(self) -> None:
        def cost(found: Sequence[Plan]) -> np.ndarray:
            return np.array([np.nan if 0 in plan.layer_calls else 1.0 for plan in found])

        assert str(explored(full(4), 3, ["drop"], cost).best) == "1-3"

    def test_random_plans_cost_as_much(self) -> None:
        drawn = [*islice(at_random(full(N), 4, ["drop", "swap"], 2, seed=0), 20)]
        assert {len(plan.calls) for plan in drawn} == {4}
        assert len({*drawn}) > 10
        again = [*islice(at_random(full(N), 4, ["drop", "swap"], 2, seed=0), 20)]
        assert again == drawn


def _trap(gone: set[int]) -> float:
    by_count = [
        0.0,
        {1: 1.0, 2: 2.0}.get(min(gone, default=0), 3.0),
        1.0 if gone == {2, 3} else 5.0,
    ]
    return by_count[len(gone)] if len(gone) < 3 else 9.0


class TestSearch:
    @pytest.fixture(scope="class")
    def found(self, decoder: Any) -> Any:
        return painters.search(decoder, TEXTS, calls=4, edits=["drop", "swap"])

    def test_chooses_by_kl_on_every_second_text(self, found: Any, decoder: Any) -> None:
        first = found.rounds[found.rounds["round"].eq(1)]
        kl = painters.kl_to_intact(decoder, first[["plan"]], TEXTS[::2])["kl"]
        np.testing.assert_allclose(first["cost"], kl, rtol=1e-9)
        assert first.loc[first["kept"], "cost"].item() == first["cost"].min()

    def test_judges_on_the_others_beside_its_rivals(self, found: Any, decoder: Any) -> None:
        at = found.judged[found.judged["calls"].eq(4)]
        assert at["variant"].tolist() == [
            *("found", "best of random", "by block influence", "by angular distance"),
            "middle block",
        ]
        kl = painters.kl_to_intact(decoder, at[["plan"]].drop_duplicates(), TEXTS[1::2])
        expected = at["plan"].map(kl.set_index("plan")["kl"])
        np.testing.assert_allclose(at["value"], expected, rtol=1e-9)
        np.testing.assert_allclose(at["gain"].iloc[1:], (expected - expected.iloc[0]).iloc[1:])
        assert at["plan"].iloc[0] == str(found.best)
        assert at["plan"].iloc[-1] == str(Plan("0 1 4 5", N))
        within = at["gain"].between(at["gain_low"], at["gain_high"])
        assert within.iloc[1:].all()

    def test_the_null_was_tried_as_often(self, found: Any) -> None:
        tried = len(found.rounds) - 1
        random = found.judged.query("variant == 'best of random'").iloc[0]
        assert random["tried"] <= tried
        assert found.judged.query("variant == 'found' and calls == 4")["tried"].item() == tried

    def test_goes_on_where_it_was_cut_off(
        self, decoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from painters_interp.deployment import objectives

        rounds: list[int] = []
        kl = objectives.document_divergences

        def cut(model: Any, asked: Sequence[Plan], texts: Any) -> Any:
            rounds.append(len(asked))
            if len(rounds) == 3:
                raise KeyboardInterrupt
            return kl(model, asked, texts)

        monkeypatch.setattr(objectives, "document_divergences", cut)
        with pytest.raises(KeyboardInterrupt):
            painters.search(decoder, TEXTS, calls=4, store=tmp_path)
        assert rounds == [1, 6, 5]
        again = painters.search(decoder, TEXTS, calls=4, store=tmp_path)
        assert rounds[3] == 5  # the round that was cut off
        monkeypatch.undo()
        whole = painters.search(decoder, TEXTS, calls=4)
        pd.testing.assert_frame_equal(again.rounds, whole.rounds)
        pd.testing.assert_frame_equal(again.judged, whole.judged)
        for kept in tmp_path.glob("search-*"):  # rows, or the JSON beside them
            kept.write_bytes(kept.read_bytes()[:50])
            with pytest.warns(UserWarning, match="what it held is found again"):
                once_more = painters.search(decoder, TEXTS, calls=4, store=tmp_path)
            pd.testing.assert_frame_equal(once_more.rounds, whole.rounds)

    def test_other_objectives(self, decoder: Any) -> None:
        loss = painters.search(decoder, TEXTS, calls=5, objective="loss")
        assert loss.judged["measure"].unique().tolist() == ["loss (bits per byte)"]
        assert loss.rounds["cost"].gt(0).all()
        own = painters.task(
            "ends",
            [
                {"question": text, "choices": ["a", "b"], "gold": k % 2}
                for k, text in enumerate(TEXTS)
            ],
        )
        scored = painters.search(decoder, tasks=own, calls=5)
        assert scored.rounds["cost"].between(0, 1).all()
        plan = str(scored.best)
        [metric] = painters.tables.primary(painters.evaluate(decoder, plan, own))["metric"].unique()
        items = painters.evaluation.score_items(decoder, plan, own, intact=False)
        right = items[items["metric"].eq(metric)].sort_values("item")["value"].to_numpy()
        judged = scored.judged.query("variant == 'found' and plan == @plan")["value"].item()
        assert judged == pytest.approx(1 - right[1::2].mean())

    def test_draws_and_saves_what_it_judged(self, found: Any, tmp_path: Path) -> None:
        names = {path.name for path in found.save(tmp_path)}
        assert {"rounds.csv", "search.csv", "search.pdf"} <= names
        [ax] = found.figure.axes
        assert ax.get_xlabel() == "layer calls"

    @pytest.mark.parametrize(
        ("asked", "error", "reason"),
        [
            ({"calls": 0}, PlanError, "calls=0 is no budget"),
            ({"calls": 7}, PlanError, "this model makes 6"),
            ({"calls": None}, PlanError, "give one budget"),
            ({"time": 0.5}, PlanError, "give one budget"),
            ({"calls": None, "time": 1.5}, PlanError, "no share of the intact model's time"),
            ({"edits": "shake"}, PlanError, "no edit 'shake'; there are drop"),
            ({"edits": []}, PlanError, "no edits"),
            ({"texts": TEXTS[:3]}, TextError, "3 are too few; give 4 or more"),
            ({"texts": TEXTS[:3] * 2}, TextError, "3 are too few; give 4 or more"),
            ({"method": "anneal"}, PaintersError, "not one of greedy, beam"),
            ({"objective": "x"}, PaintersError, "not one of kl, loss, tasks"),
            ({"tasks": "probe_facts"}, PaintersError, "texts are not read where tasks are scored"),
            (
                {
                    "texts": None,
                    "tasks": painters.task("t", [{"text": "ab"}] * 3, "loglikelihood_rolling"),
                },
                TaskError,
                "3 are too few",
            ),
        ],
    )
    def test_bad_input(self, decoder: Any, asked: dict, error: type, reason: str) -> None:
        with pytest.raises(error, match=reason):
            painters.search(decoder, **{"texts": TEXTS, "calls": 4, **asked})
