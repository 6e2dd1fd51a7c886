"""A scan for blocks worth repeating: many plans and prompts against a plain loop over both.

    python tests/benchmarks/layer_scan.py [--plans 36] [--prompts 16] [--tokens 60] [--sample 2]

Every plan repeats one block of layers. A plain loop does what scripts do: for each plan the layer
list of a stock model is made anew, and each prompt is read by itself. It is timed on a sample of
plans, half before and half after, and carried over by layer calls. Scores of the sample are
compared. Seconds are those of the clock and, in brackets, of the processor.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from painters_interp import load_model, token_logprobs
from painters_interp.models import stock_copy
from painters_interp.plans import Plan

T = TypeVar("T")
Seconds = tuple[float, float]


def main() -> None:
    options = _options()
    model = load_model(options.model)
    plans = _repeats(len(model.blocks), options.plans)
    tokens = _drawn(int(model.cfg.d_vocab), options.prompts, options.tokens)
    stock = stock_copy(model).eval()
    stock.set_attn_implementation("sdpa")
    token_logprobs(model, plans[:1], tokens[:1, :8])  # tries whether the plain face is exact
    sample = plans[:: max(1, len(plans) // options.sample)][: options.sample]
    half = len(sample) // 2
    before, first = _timed(lambda: _looped(stock, sample[:half], tokens))
    ours, together = _timed(lambda: token_logprobs(model, plans, tokens))
    after, second = _timed(lambda: _looped(stock, sample[half:], tokens))
    scale = sum(len(p.calls) for p in plans) / sum(len(p.calls) for p in sample)
    wall, cpu = ((a + b) * scale for a, b in zip(first, second, strict=True))
    chosen = torch.stack([ours[plans.index(plan)] for plan in sample])
    apart = float((chosen - torch.cat([before, after])).abs().max())
    print(
        f"{options.model}, {torch.get_num_threads()} threads; {len(plans)} plans, "
        f"{options.prompts} prompts of {options.tokens} tokens: loop {wall:.1f} s ({cpu:.1f}), "
        f"from {len(sample)} plans; together {together[0]:.1f} s ({together[1]:.1f}); "
        f"{wall / together[0]:.1f} times faster ({cpu / together[1]:.1f}), scores {apart:.1e} "
        "nats apart at most"
    )


def _repeats(n_layers: int, count: int) -> list[Plan]:
    """Blocks of one to four layers that are called twice, from the middle outwards."""
    blocks = [(start, size) for size in (1, 2, 3, 4) for start in range(1, n_layers - size)]
    blocks.sort(key=lambda block: (abs(2 * block[0] + block[1] - n_layers), block))
    orders = [
        [*range(start + size), *range(start, n_layers)] for start, size in sorted(blocks[:count])
    ]
    return [Plan.parse(" ".join(map(str, order)), n_layers) for order in orders]


def _looped(root: Any, plans: Sequence[Plan], tokens: Tensor) -> Tensor:
    """Log-probabilities by a loop over plans and prompts, without a cache."""
    layers = root.model.layers
    found = []
    for plan in plans:
        root.model.layers = nn.ModuleList([layers[layer] for layer in plan.layer_calls])
        root.config.num_hidden_layers = len(plan.layer_calls)
        for row in tokens[:, None]:
            logits = root(row, use_cache=False).logits.log_softmax(-1)
            found.append(logits[:, :-1].gather(-1, row[:, 1:, None]).squeeze(-1))
    root.model.layers, root.config.num_hidden_layers = layers, len(layers)
    scores: Tensor = torch.stack(found).reshape(len(plans), len(tokens), -1)
    return scores


@torch.no_grad()
def _timed(run: Callable[[], T]) -> tuple[T, Seconds]:
    start = time.perf_counter(), time.process_time()
    found = run()
    return found, (time.perf_counter() - start[0], time.process_time() - start[1])


def _drawn(vocab: int, count: int, length: int) -> Tensor:
    draw = random.Random(count)
    return torch.tensor([[draw.randrange(10, vocab) for _ in range(length)] for _ in range(count)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--plans", type=int, default=36)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=60, help="tokens of each prompt")
    parser.add_argument("--sample", type=int, default=2, help="plans timed in the loop")
    return parser.parse_args()


if __name__ == "__main__":
    main()
