"""Forks that wait for the same layer go through it together, to the same end."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import zoo

from painters_interp import Plan, evaluate, experiments, kl_to_intact, load_model, task
from painters_interp.execution import gathered, pack, pad, prefix_walk, record, walk
from painters_interp.execution.plain import plain
from painters_interp.plans import schedule, shared_calls

N = tiny.N_LAYERS
PLANS = [
    *experiments.plans(experiments.suite(N, seeds=1))[::5],
    Plan.parse("0 [1-3]@0.5*2 4 5", N),
    Plan.parse("0 ([1 2]|[3 (4|5)]) 5", N),
]
HALVES = [*PLANS, Plan.parse("0 1.attn 2.mlp 3-5", N), Plan.parse("0 1.attn 3-5", N)]
SEQUENCES = [[3, 4, 5, 6], [3, 4, 7], [8, 9], [3, 4, 5, 10, 11]]


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many forks went through each layer together."""
    together: list[int] = []
    called = gathered._called

    def noted(forks: Any, blocks: Any, given: Any) -> Any:
        together.append(len(forks))
        return called(forks, blocks, given)

    monkeypatch.setattr(gathered, "_called", noted)
    return together


def narrow_and_wide(model: Any, plans: list[Plan], placed: Any) -> None:
    copies = {times: placed.recording.repeated(times) for times in (1, 2, 4, 8)}
    with torch.no_grad():
        alone = {
            tuple(sorted(ends)): stream for ends, stream in walk(model, plans, placed.recording)
        }
        wide = walk(model, plans, placed.recording, copies=copies)
        found = {tuple(sorted(ends)): stream for ends, stream in wide}
    assert {*found} == {*alone}
    rows, columns = torch.tensor([place for path in placed.places for place in path]).T
    for ends, stream in alone.items():
        torch.testing.assert_close(
            found[ends][rows, columns], stream[rows, columns], rtol=1e-12, atol=1e-12
        )


# Rotary tables, sliding windows, alibi with heads in the axis of rows, routed experts.
@pytest.mark.parametrize("family", ["Llama", "Gemma 3", "BLOOM", "Mixtral"])
def test_rows_and_trees_end_at_the_same_streams(family: str, tiny_folder: Path) -> None:
    stock = zoo.stock(family, torch.float64)
    model = load_model(stock, tokenizer=tiny.tokenizer(tiny_folder))
    halves = HALVES if family == "Llama" else PLANS
    for face, plans in ((None, halves), (plain(model), PLANS)):
        for lay_out in (pad, pack):
            narrow_and_wide(model, plans, lay_out(model, SEQUENCES, face))


def test_scores_and_divergences_are_the_same(
    tiny_folder: Path, wide: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.build("llama", torch.float64, tiny_folder)
    items = [{"question": "ab " * k, "choices": ["x", "yz"], "gold": 0} for k in (2, 3, 5)]
    asked = task("t", items)
    together = evaluate(model, PLANS, asked), kl_to_intact(model, PLANS, ["abcd efg", "hij k"])
    assert max(wide) >= 4
    wide.clear()
    monkeypatch.setattr(prefix_walk, "widths", lambda device, tokens, plans: (1,))
    alone = evaluate(model, PLANS, asked), kl_to_intact(model, PLANS, ["abcd efg", "hij k"])
    assert not wide
    for one, other in zip(alone, together, strict=True):
        numbers = one.select_dtypes("number").columns
        assert (one[numbers] - other[numbers]).abs().max().max() < 1e-9


def test_few_calls_serve_many_plans(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    recording = record(model, tiny.tokens(1, 4))
    assert recording.repeated is not None
    copies = {times: recording.repeated(times) for times in (1, 2, 4, 8, 16, 32, 64)}
    calls = [0]
    for block in model.blocks:
        block.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    with torch.no_grad():
        assert len([*walk(model, PLANS, recording, copies=copies)]) == len({*PLANS})
    assert len(schedule(PLANS)) <= calls[0] < 0.6 * shared_calls(PLANS)


def test_plans_go_in_parts_where_their_streams_have_no_room(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.build("llama", torch.float64, tiny_folder)
    placed = pad(model, SEQUENCES)
    few = gathered.Amounts(tokens=2**10, numbers=5 * placed.recording.stream.numel())
    monkeypatch.setattr(gathered, "enough_for", lambda device: few)
    narrow_and_wide(model, [*PLANS, PLANS[3]], placed)


def test_where_copies_are_read_otherwise_forks_go_one_by_one(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.build("llama", torch.float64, tiny_folder)
    assert prefix_walk._agrees(model, None)
    repeated = prefix_walk._repeated
    monkeypatch.setattr(
        prefix_walk,
        "_repeated",
        lambda face, model, tokens, mask, *more: repeated(face, model, tokens, None, *more),
    )
    assert not prefix_walk._agrees(model, None)


@pytest.mark.parametrize(
    ("device", "tokens", "plans", "widths"),
    [
        ("cuda", 121, 600, (1, 2, 4, 8, 16, 32, 64)),
        ("cuda", 2_000, 600, (1, 2, 4, 8)),
        ("cuda", 100_000, 600, (1,)),
        ("cpu", 121, 600, (1, 2, 4, 8)),
        ("cpu", 121, 3, (1, 2)),
        ("cpu", 600, 600, (1,)),
    ],
)
def test_as_many_go_together_as_a_device_has_use_for(
    device: str, tokens: int, plans: int, widths: tuple[int, ...]
) -> None:
    assert gathered.widths(torch.device(device), tokens, plans) == widths


def test_one_plan_goes_alone(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float64, tiny_folder)
    assert prefix_walk.copies_of(model, record(model, tiny.tokens()), plans=1) is None
