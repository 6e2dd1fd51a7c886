"""A scan for blocks worth repeating: many plans and prompts against a plain loop over both.

    python tests/benchmarks/layer_scan.py [--plans 36] [--prompts 16] [--tokens 60] [--sample 2]

Every plan repeats one block of layers; each prompt asks to choose among ten letters. A plain loop
does what scripts do: for each plan the layer list of a stock model is made anew, each prompt is
read by itself, and of the logits those of its last token are taken (`answers`) or those of all its
tokens (`every token`). It is timed on a sample of plans, half before and half after, and carried
over by layer calls. Scores of the sample are compared. Seconds are those of the clock and, in
brackets, of the processor.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from painters_interp import evaluation, load_model, task, token_logprobs
from painters_interp.models import stock_copy
from painters_interp.plans import Plan

T = TypeVar("T")
Seconds = tuple[float, float]
_LETTERS = "ABCDEFGHIJ"
_QUESTION = "\nOf these, which letter fits? Answer:"


def main() -> None:
    options = _options()
    model = load_model(options.model)
    plans = _repeats(len(model.blocks), options.plans)
    prompts = _prompts(model.tokenizer, options.prompts, options.tokens)
    tokens = torch.tensor([model.tokenizer(prompt)["input_ids"] for prompt in prompts])
    stock = stock_copy(model).eval()
    stock.set_attn_implementation("sdpa")
    letters = torch.tensor([_following(model.tokenizer, f" {letter}") for letter in _LETTERS])
    asked = torch.cat([tokens, letters[:1, :-1].expand(len(tokens), -1)], dim=1)
    sample = plans[:: max(1, len(plans) // options.sample)][: options.sample]
    print(
        f"{options.model}, {torch.get_num_threads()} threads; {len(plans)} plans, {len(prompts)} "
        f"prompts of {options.tokens} tokens; the loop carried over from {len(sample)} plans"
    )
    token_logprobs(model, plans[:1], tokens[:1, :8])  # tries whether the plain face is exact
    answers = partial(_answers, model, prompts=prompts)
    _compare("answers", plans, sample, partial(_looped, stock, asked, _answering(letters)), answers)
    together = partial(token_logprobs, model, tokens=tokens)
    _compare("every token", plans, sample, partial(_looped, stock, tokens, _all), together)


def _compare(
    name: str,
    plans: Sequence[Plan],
    sample: Sequence[Plan],
    looped: Callable[[Sequence[Plan]], Tensor],
    shared: Callable[[Sequence[Plan]], Tensor],
) -> None:
    half = len(sample) // 2
    before, first = _timed(lambda: looped(sample[:half]))
    ours, together = _timed(lambda: shared(plans))
    after, second = _timed(lambda: looped(sample[half:]))
    scale = sum(len(p.calls) for p in plans) / sum(len(p.calls) for p in sample)
    wall, cpu = ((a + b) * scale for a, b in zip(first, second, strict=True))
    chosen = torch.stack([ours[plans.index(plan)] for plan in sample])
    apart = float((chosen - torch.cat([before, after])).abs().max())
    print(
        f"{name}: loop {wall:.1f} s ({cpu:.1f}); together {together[0]:.1f} s ({together[1]:.1f}); "
        f"{wall / together[0]:.1f} times faster ({cpu / together[1]:.1f}), scores {apart:.1e} nats "
        "apart at most"
    )


def _repeats(n_layers: int, count: int) -> list[Plan]:
    """Blocks of one to four layers that are called twice, from the middle outwards."""
    blocks = [(start, size) for size in (1, 2, 3, 4) for start in range(1, n_layers - size)]
    blocks.sort(key=lambda block: (abs(2 * block[0] + block[1] - n_layers), block))
    orders = [
        [*range(start + size), *range(start, n_layers)] for start, size in sorted(blocks[:count])
    ]
    return [Plan.parse(" ".join(map(str, order)), n_layers) for order in orders]


def _prompts(tokenizer: Any, count: int, length: int) -> list[str]:
    """Built-in passages, repeated and cut so that each is of `length` tokens with its question."""
    room = length - len(_following(tokenizer, _QUESTION))
    found = []
    for text in evaluation.passages()[:count]:
        ids = tokenizer(" ".join([text] * length))["input_ids"]
        found.append(tokenizer.decode(ids[:room], skip_special_tokens=True) + _QUESTION)
    return found


def _following(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a text that follows another."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _answers(model: Any, plans: Sequence[Plan], prompts: Sequence[str]) -> Tensor:
    """Log-probabilities of the letters after each prompt, by plan, as a task of the user's."""
    items = [{"context": text, "target": f" {letter}"} for text in prompts for letter in _LETTERS]
    scan = task("scan", items, "loglikelihood", lambda item, loglikelihood: loglikelihood)
    rows = evaluation.score_items(model, plans, scan, limit=None, intact=False)
    values = rows.set_index("plan")["value"]
    by_plan = [values.loc[str(plan)].to_numpy(dtype=float) for plan in plans]
    return torch.tensor(np.array(by_plan)).reshape(len(plans), len(prompts), len(_LETTERS))


def _looped(
    root: Any, tokens: Tensor, read: Callable[[Tensor, Tensor], Tensor], plans: Sequence[Plan]
) -> Tensor:
    """What is read of the logits in a loop over plans and prompts, without a cache."""
    layers = root.model.layers
    found = []
    for plan in plans:
        root.model.layers = nn.ModuleList([layers[layer] for layer in plan.layer_calls])
        root.config.num_hidden_layers = len(plan.layer_calls)
        found += [read(root(row, use_cache=False).logits[0], row[0]) for row in tokens[:, None]]
    root.model.layers, root.config.num_hidden_layers = layers, len(layers)
    scores: Tensor = torch.stack(found).reshape(len(plans), len(tokens), -1)
    return scores


def _answering(letters: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Log-probabilities of the letters, which differ in their last token only."""
    size = letters.shape[1]
    return lambda logits, row: logits[-size:].log_softmax(-1).gather(-1, letters.T).sum(dim=0)


def _all(logits: Tensor, row: Tensor) -> Tensor:
    return logits[:-1].log_softmax(-1).gather(-1, row[1:, None]).squeeze(-1)


@torch.no_grad()
def _timed(run: Callable[[], T]) -> tuple[T, Seconds]:
    start = time.perf_counter(), time.process_time()
    found = run()
    return found, (time.perf_counter() - start[0], time.process_time() - start[1])


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
