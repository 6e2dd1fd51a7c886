"""The walk over shared prefixes: what it computes, counts and holds."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, experiments
from painters_interp.execution import record, walk
from painters_interp.plans import residuals_alive, shared_calls

N = tiny.N_LAYERS
SUITE = experiments.plans(experiments.suite(N, seeds=2))


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


def test_runs_every_shared_beginning_once(llama: TransformerBridge) -> None:
    tokens, told, called = tiny.tokens(2, 5), [0], [0]
    recording = record(llama, tokens)

    def advance(calls: int) -> None:
        told[0] += calls

    handles = [
        block.register_forward_hook(lambda *_: called.__setitem__(0, called[0] + 1))
        for block in llama.blocks
    ]
    found = [i for ends, _ in walk(llama, SUITE, recording, advance) for i in ends]
    for handle in handles:
        handle.remove()
    assert sorted(found) == list(range(len(SUITE)))
    assert called[0] == shared_calls(SUITE)
    assert told[0] == tokens.numel() * shared_calls(SUITE)


def test_a_plan_given_twice_ends_at_one_stream(llama: TransformerBridge) -> None:
    plans = [Plan.parse(text, N) for text in ("0-5", "0-3", "0-5")]
    ends = [ends for ends, _ in walk(llama, plans, record(llama, tiny.tokens()))]
    assert sorted(map(sorted, ends)) == [[0, 2], [1]]


def test_holds_no_more_residual_streams_than_stated(llama: TransformerBridge) -> None:
    gc.freeze()  # what other tests left: each collection would take a second
    made: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def count(*_: object) -> None:
        nonlocal most
        gc.collect()
        most = max(most, sum(ref() is not None for ref in made))

    recording = record(llama, tiny.tokens(2, 5))
    made.append(weakref.ref(recording.stream))
    for _, stream in walk(llama, SUITE, recording, advance=count):
        made.append(weakref.ref(stream))
        del stream
    assert 2 <= most <= residuals_alive(SUITE)


def test_the_bound_for_the_papers_suite() -> None:
    assert residuals_alive(experiments.plans(experiments.suite(30))) == 31
    assert residuals_alive([Plan.parse("0-5", N)]) == 2


def test_a_very_deep_plan_needs_no_recursion(llama: TransformerBridge) -> None:
    plan = Plan.parse("0-5 3@0.001*1500", N)
    [(_, stream)] = walk(llama, [plan], record(llama, tiny.tokens(1, 2)))
    assert stream.isfinite().all()
