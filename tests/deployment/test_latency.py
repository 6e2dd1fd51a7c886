"""Measured latency: plans take turns, and every ratio is of times taken side by side."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from transformers import DynamicCache

import painters_interp as painters
from painters_interp import figures
from painters_interp.deployment import timing
from painters_interp.errors import PaintersError, PlanError, TableError
from painters_interp.execution import loop_under, overlapped_under
from painters_interp.figures.frontier import frontier_of
from painters_interp.models import weights_digest
from painters_interp.plans import Plan

N = tiny.N_LAYERS
SHORT = {"length": 8, "new": 2, "repeats": 3}


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("plan", ["0 (1|2) [3-4]@0.5 5", "5 0*3 1@0.5 2-4"])
def test_the_plain_face_runs_a_plan_in_its_own_loop(
    family: str, plan: str, tiny_folder: Path
) -> None:
    model = tiny.shared(family, torch.float32, tiny_folder)
    tokens, value = tiny.tokens(length=20), Plan(plan, N)
    with torch.no_grad():
        with painters.applied(model, plan):
            expected = model(tokens)
        with loop_under(model, value) as face:
            assert face.root is not model.original_model
            cache = DynamicCache(config=face.root.config)
            parts = [
                face.root(input_ids=part, past_key_values=cache, use_cache=True).logits
                for part in tokens.split([14, 1, 1, 4], dim=1)
            ]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=2e-5, rtol=0)
    assert face.root.config.num_hidden_layers == N


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("plan", ["0 (1|2|4)*2 [(1|3)@sum 4]@0.5 5", "(0|0) ([1-2]|3) (4|5)"])
@torch.no_grad()
def test_members_launched_together_compute_what_they_do_in_turn(
    family: str, plan: str, tiny_folder: Path
) -> None:
    """Also after a pass that was cut short, whose members must not run in the next."""
    model = tiny.shared(family, torch.float64, tiny_folder)
    tokens, value = tiny.tokens(length=20), Plan(plan, N)
    found = []
    for runs in (loop_under, overlapped_under):
        with runs(model, value) as face:
            assert face is not None
            cut = face.blocks[4].register_forward_pre_hook(interrupt)
            with pytest.raises(KeyboardInterrupt):
                face.root(input_ids=tokens)
            cut.remove()
            cache = DynamicCache(config=face.root.config)
            inputs = {"past_key_values": cache, "use_cache": True}
            parts = tokens.split([14, 1, 5], dim=1)
            found.append(torch.cat([face.root(part, **inputs).logits for part in parts], dim=1))
    assert torch.equal(*found)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_says_whether_launching_members_together_has_paid(
    decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(self: Any, tokens: torch.Tensor, new: int) -> tuple[float, float]:
        return (1.0, 2.0) if self.runs_as == "overlapped" else (2.0, 2.0)

    plans = {"pair": "0-1 (2|3) 4-5", "skip": "0-2 5"}
    monkeypatch.setattr(timing._Runner, "seconds", seconds)
    table = painters.latency(decoder, plans, groups="overlapped", **SHORT).set_index("label")
    paid = ["prefill_overlapped", "prefill_overlapped_high", "token_overlapped_low"]
    assert table.loc["pair", paid].tolist() == [0.5, 0.5, 1.0]
    assert table.loc[["intact", "skip"], paid].isna().all(axis=None)
    assert "token_overlapped" not in painters.latency(decoder, plans, **SHORT)


def test_a_plan_is_timed_beside_the_intact_model_with_its_members_together(
    decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = {
        "overlapped": iter([9.0, 1.0, 2.0, 3.0]),
        "a model of its own": iter([9.0, 4.0, 4.0, 4.0]),
    }
    monkeypatch.setattr(
        timing._Runner, "seconds", lambda self, tokens, new: (next(spans[self.runs_as]), np.nan)
    )
    plan = painters.Plan.parse("0-1 (2|3) 4-5", 6)
    ratios, medians = timing.resampled_ratio(decoder, plan, length=8, repeats=3)
    assert ratios.tolist() == [0.25, 0.5, 0.75]  # the first turn warms up
    assert {*medians} == {0.25, 0.5, 0.75}


def test_hooks_see_members_in_turn_so_that_nothing_is_overlapped(decoder: Any) -> None:
    with decoder.hooks(fwd_hooks=[("blocks.1.hook_out", lambda stream, hook: stream)]):
        asked = {**SHORT, "groups": "overlapped"}
        table = painters.latency(decoder, "0-1 (2|3) 4-5", **asked)
    assert table["prefill_overlapped"].isna().all()


def test_says_what_each_plan_is_and_how_it_ran(decoder: Any) -> None:
    digest = weights_digest(decoder)
    plans = {"skip": "0-2 5", "pair": "0-1 (2|3) 4-5", "twice": "0-5 5", "half": "0-4 5.attn"}
    table = painters.latency(decoder, plans, batch=[1, 2], **SHORT).query("batch == 2")
    assert table["label"].tolist() == ["intact", *plans]
    assert table["calls"].tolist() == [6, 4, 6, 7, 6]
    assert table["depth"].tolist() == [6, 4, 5, 7, 6]
    alone, inside = "a model of its own", "inside the model"
    assert table["runs_as"].tolist() == [alone, alone, inside, alone, inside]
    weights = table.set_index("label")["weight_bytes"]
    layer = sum(p.numel() * 8 for p in decoder.blocks[3].parameters())
    assert weights["intact"] - weights["skip"] == 2 * layer
    assert weights["twice"] == weights["intact"]
    assert weights_digest(decoder) == digest


def test_ratios_are_of_times_taken_turn_by_turn(
    decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(np.cumsum([1.0] * 10_000))
    monkeypatch.setattr(timing, "_now", lambda device: next(clock))
    table = painters.latency(decoder, ["0-2 5"], **SHORT)
    assert table["prefill"].tolist() == [1.0, 1.0]
    assert table["token"].tolist() == [0.5, 0.5]  # two tokens a second
    assert table[["token_ratio", "token_ratio_low", "token_ratio_high"]].eq(1).all(axis=None)


def test_medians_and_their_intervals() -> None:
    base = np.array([[1.0, 2.0]] * 9)
    taken = base * np.array([[0.5], [0.5], [0.5], [0.5], [0.5], [0.5], [0.5], [0.5], [9.0]])
    found = timing._summary(taken, base, seed=0)
    assert found["prefill_ratio"] == found["prefill_ratio_high"] == 0.5
    assert found["token"] == 1.0


@pytest.mark.parametrize(("time", "calls"), [(1.0, 6), (0.99, 5), (0.7, 4), (0.5, 3), (0.2, 1)])
def test_a_share_of_time_becomes_as_many_calls_as_fit(
    time: float, calls: int, decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(self: Any, tokens: torch.Tensor, new: int) -> tuple[float, float]:
        """Every call takes a second."""
        return 1.0, float(len(self.plan.calls))

    monkeypatch.setattr(timing._Runner, "seconds", seconds)
    assert painters.deployment.calls_within(decoder, time) == calls


def test_a_search_by_time_goes_on_with_the_budget_that_was_measured(
    decoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(self: Any, tokens: torch.Tensor, new: int) -> tuple[float, float]:
        return 1.0, float(len(self.plan.calls))

    monkeypatch.setattr(timing._Runner, "seconds", seconds)
    texts = ["abcdefgh", "hgfedcba", "aabbccdd", "ddccbbaa"]
    found = painters.search(decoder, texts, time=0.7, store=tmp_path)
    assert (found.provenance["time"], found.provenance["calls"]) == (0.7, 4)
    monkeypatch.setattr(timing._Runner, "seconds", lambda self, tokens, new: (1.0, 1.0))  # a slip
    again = painters.search(decoder, texts, time=0.7, store=tmp_path)
    pd.testing.assert_frame_equal(again.judged, found.judged)
    with pytest.raises(PlanError, match="not even one layer call fits"):
        painters.search(decoder, texts, time=0.7)


def test_a_search_by_time_asks_for_no_more_than_the_context_holds(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(self: Any, tokens: torch.Tensor, new: int) -> tuple[float, float]:
        assert tokens.shape[1] == 64
        return 1.0, float(len(self.plan.calls))

    monkeypatch.setattr(timing._Runner, "seconds", seconds)
    short = tiny.build("llama", torch.float32, tiny_folder, max_position_embeddings=64)
    found = painters.search(short, ["abcdefgh", "hgfedcba", "aabbccdd", "ddccbbaa"], time=0.9)
    assert len(found.best.calls) == 5


def test_not_even_one_call_fits(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing._Runner, "seconds", lambda self, tokens, new: (1.0, 1.0))
    with pytest.raises(PlanError, match=r"not even one layer call fits into 0\.5"):
        painters.deployment.calls_within(decoder, 0.5)


def test_an_encoder_writes_nothing(encoder: Any) -> None:
    table = painters.latency(encoder, ["0-2"], **SHORT)
    assert table["prefill"].gt(0).all()
    assert table["token"].isna().all()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"batch": 0}, "batch=0 is too small; give 1"),
        ({"length": [8, -1]}, "length=-1 is too small; give 1"),
        ({"repeats": 1}, "repeats=1 is too small; give 2"),
        ({"batch": []}, "is no number of rows or tokens"),
        ({"groups": "at once"}, "is not one of 'in turn', 'overlapped'"),
        ({"length": 300}, "exceed the model's context of 256"),
    ],
)
def test_bad_input(decoder: Any, asked: dict, reason: str) -> None:
    with pytest.raises(PaintersError, match=reason):
        painters.latency(decoder, ["0-2"], **{**SHORT, **asked})


class TestFrontier:
    TIMES = pd.DataFrame({"plan": ["0-3", "0-2", "0-1", "1-3"], "token_ratio": [1, 0.8, 0.5, 0.8]})
    TIMES = TIMES.assign(token_ratio_low=1.0, token_ratio_high=1.0, n_layers=4)
    SCORES = pd.DataFrame({"plan": ["0-3", "0-2", "0-1", "1-3"], "kl": [0.0, 1.0, 3.0, 2.0]})

    def test_is_what_no_other_plan_beats(self) -> None:
        points = frontier_of(self.TIMES, self.SCORES, "kl").set_index("plan")
        assert points["frontier"].tolist() == [True, True, True, False]
        assert points["intact"].tolist() == [True, False, False, False]
        better = frontier_of(self.TIMES, self.SCORES, "kl", higher_is_better=True)
        assert better["frontier"].tolist() == [False, False, True, False]

    def test_is_drawn(self) -> None:
        [ax] = figures.latency_frontier(self.TIMES, self.SCORES).axes
        assert ax.get_xlabel() == "time per token (1 intact), 95 % interval"

    def test_names_the_plans_that_none_beats(self) -> None:
        times = self.TIMES.assign(label=["all", "$short$", "shorter", "beaten"])
        [ax] = figures.latency_frontier(times, self.SCORES, names={"shorter": "brief"}).axes
        assert [text.get_text() for text in ax.texts] == ["intact", r"\$short\$", "brief"]
        [ax] = figures.latency_frontier(times.drop(columns="n_layers"), self.SCORES).axes
        assert "all" in [text.get_text() for text in ax.texts]  # no label says that it is intact

    def test_needs_one_row_a_plan(self) -> None:
        twice = pd.concat([self.SCORES, self.SCORES])
        with pytest.raises(TableError, match="scores has several rows of plan '0-3'"):
            figures.latency_frontier(self.TIMES, twice)
        with pytest.raises(TableError, match="no plan has both"):
            figures.latency_frontier(self.TIMES, self.SCORES.tail(1).assign(plan="9"))
