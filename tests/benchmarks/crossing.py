"""The whole i x j matrix of `crossing`, in units of forward passes.

    python tests/benchmarks/crossing.py [--model smollm2-135m] [--tokens 12] [--metric kl]

State i put before layer j leaves n - j layers to run, at the positions from the first patched one
on: over all (n+1)^2 pairs, (n+1)^2 / 2 forward passes of the prompt times that share of its
positions. The measured number is the time of the matrix over that of a forward pass of the intact
model (full logits), timed before and after it, because machines get faster and slower. On a
processor it is the time spent computing, so that other work on the machine does not count.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from painters_interp import load_model, patching
from painters_interp.evaluation import prepare

Clock = Callable[[], float]


def main() -> None:
    options = _options()
    model = load_model(options.model)
    n = len(model.blocks)
    tokens = _tokens(model, options.tokens)
    print(
        f"{options.model}, {n} layers; a prompt of {options.tokens} tokens, metric "
        f"{options.metric}; {torch.get_num_threads()} threads"
    )
    for first in (0, options.tokens // 2):
        positions = range(first, options.tokens)
        share = len(positions) / options.tokens
        predicted = (n + 1) ** 2 / 2 * share

        def matrix(positions: range = positions) -> Any:
            return patching.crossing(model, tokens, metric=options.metric, positions=positions)

        patching.crossing(  # warm up, and find out once whether runs can be resumed
            model, tokens, metric=options.metric, positions=positions, target_states=[n]
        )
        clock = time.process_time if _device(model).type == "cpu" else time.perf_counter
        before = _forward(model, tokens, clock)
        elapsed = _timed(matrix, clock)
        forward = (before + _forward(model, tokens, clock)) / 2
        print(
            f"positions {first}..{options.tokens - 1}: predicted {predicted:.1f} forward passes, "
            f"measured {elapsed / forward:.1f} ({elapsed:.2f} s, {1e3 * forward:.1f} ms a pass), "
            f"ratio {elapsed / forward / predicted:.2f}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--metric", default="kl")
    return parser.parse_args()


def _tokens(model: Any, count: int) -> list[int]:
    """The beginning of the built-in passages, so many tokens."""
    text = " ".join(prepare(model, ["probe_cloze"], limit=32).texts)
    ids: list[int] = model.tokenizer(text, verbose=False)["input_ids"]
    return ids[:count]


def _device(model: Any) -> torch.device:
    device: torch.device = next(model.original_model.parameters()).device
    return device


def _forward(model: Any, tokens: list[int], clock: Clock, times: int = 10) -> float:
    """Seconds of a forward pass of the intact model, the median of some."""
    batch = torch.tensor([tokens], device=_device(model))

    @torch.no_grad()
    def once() -> Any:
        return float(model(batch).sum())

    return sorted(_timed(once, clock) for _ in range(times))[times // 2]


def _timed(work: Callable[[], Any], clock: Clock) -> float:
    start = clock()
    work()
    return clock() - start


if __name__ == "__main__":
    main()
