"""The replace matrix one plan at a time against shared prefixes: time, and the same KL.

    python tests/benchmarks/replacements.py [--items 16] [--length 32] [--sample 12]
    python tests/benchmarks/replacements.py --busy     # one thread, its own CPU time: for machines
                                                       # that others use at the same time
One by one, a plan is applied, the model gives its logits at every position, and they are compared
with the intact model's. All these plans have the same number of layer calls, so a sample of them,
spread over the matrix and timed before and after the shared run, is scaled up to all.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import kl_div
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import applied, experiments, load_model
from painters_interp.damage import kl_to_intact
from painters_interp.evaluation import PROBES, prepare
from painters_interp.plans import Plan, residuals_alive, shared_calls
from painters_interp.texts import in_pieces

Clock = Callable[[], float]


def main() -> None:
    options = _options()
    if options.busy:
        torch.set_num_threads(1)
    clock = time.process_time if options.busy else time.perf_counter
    model = load_model(options.model, device="cpu")
    texts, tokens = _items(model, options.items, options.length)
    layers = None if options.layers is None else range(options.layers)
    table = experiments.replacements(len(model.blocks), layers)
    plans = experiments.plans(table)
    single, shared = sum(len(p.calls) for p in plans), shared_calls(plans)
    print(
        f"{options.model}: {len(plans)} plans on {len(tokens)} items of {options.length} tokens; "
        f"{torch.get_num_threads()} threads; {single:,} layer calls one by one, {shared:,} shared "
        f"({100 * shared / single:.1f} %); depth first at most {residuals_alive(plans)} streams"
    )
    sample = [plans[k] for k in np.linspace(1, len(plans) - 1, options.sample).round().astype(int)]
    kl_to_intact(model, plans[:2], texts, options.items)  # warm up
    before = _one_by_one(model, sample, tokens, clock)
    found, elapsed = _timed(lambda: kl_to_intact(model, table, texts, options.items), clock)
    after = _one_by_one(model, sample, tokens, clock)
    runs, compared = np.mean([before.seconds, after.seconds], axis=(0, 2)) * len(plans)
    known = found.set_index("plan")["kl"]
    gap = max(abs(known[str(p)] - kl) for p, kl in zip(sample, before.kl, strict=True))
    print(
        f"one by one {runs + compared:.0f} s (forward passes {runs:.0f} s, comparing "
        f"{compared:.0f} s; {len(sample)} plans timed twice); shared {elapsed:.0f} s: "
        f"{100 * elapsed / (runs + compared):.1f} %, and {100 * elapsed / runs:.1f} % of the "
        f"forward passes alone; largest difference {gap:.1e} nats"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--sample", type=int, default=12)
    parser.add_argument("--layers", type=int, default=None, help="only the first so many")
    parser.add_argument("--busy", action="store_true", help="one thread, CPU time")
    return parser.parse_args()


def _items(model: TransformerBridge, items: int, length: int) -> tuple[list[str], Tensor]:
    """Texts that come out as exactly `length` tokens each, and the tokens."""
    read = prepare(model, PROBES[:1]).texts
    texts: list[str] = []
    words = " ".join(read).split()
    for start in range(len(words)):
        text = " ".join(words[start : start + length])
        ids = model.tokenizer(text)["input_ids"][:length]
        cut = model.tokenizer.decode(ids, skip_special_tokens=True)
        pieces, _ = in_pieces(model, [cut])
        if [len(piece) for piece in pieces] == [length]:
            texts.append(cut)
        if len(texts) == items:
            return texts, torch.tensor(in_pieces(model, texts)[0])
    raise SystemExit(f"the built-in passages hold no {items} items of {length} tokens")


class _Timed:
    """Seconds per plan of the forward pass and of the comparison, and the KL found."""

    def __init__(self) -> None:
        self.seconds: tuple[list[float], list[float]] = ([], [])
        self.kl: list[float] = []


@torch.no_grad()
def _one_by_one(
    model: TransformerBridge, plans: list[Plan], tokens: Tensor, clock: Clock
) -> _Timed:
    found = _Timed()
    intact = model(tokens).log_softmax(-1)
    for plan in plans:
        with applied(model, plan):
            logits, forward = _timed(lambda: model(tokens), clock)
        kl, compare = _timed(lambda: _kl(intact, logits), clock)  # noqa: B023 - called at once
        found.seconds[0].append(forward)
        found.seconds[1].append(compare)
        found.kl.append(kl)
    return found


def _kl(intact: Tensor, logits: Tensor) -> float:
    each = kl_div(logits.log_softmax(-1), intact, log_target=True, reduction="none").sum(-1)
    return float(each.mean())


def _timed(work: Callable[[], Any], clock: Clock) -> tuple[Any, float]:
    start = clock()
    result = work()
    return result, clock() - start


if __name__ == "__main__":
    main()
