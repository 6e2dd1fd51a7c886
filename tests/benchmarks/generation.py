"""Texts under many plans: written together against plan by plan.

    python tests/benchmarks/generation.py [--new 32] [--prompts 4] [--items 16] [--tokens 270]
        [--sample 4]

`generate` against `original_model.generate` inside `applied`, plan after plan with all prompts in
one batch: all plans that drop a layer or swap two neighbours, and the paper's variants at three
windows, on prompts that share nothing; then the former on prompts that begin with the same worked
examples, which are nine tenths of them. Plan by plan is timed on a sample, half before and half
after, and carried over to all plans by layer calls. Texts of the sample are compared. Of the time
together it is said what reading the prompts and the head take; decoding is the rest.
"""

import argparse
import random
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from painters_interp import applied, experiments, load_model
from painters_interp.generation import Ending, reading, texts_under, writing
from painters_interp.plans import Plan, schedule

Ids = tuple[int, ...]


def main() -> None:
    options = _options()
    model = load_model(options.model)
    n = len(model.blocks)
    windows = [first for first in (n // 2 - 7, n // 2 - 5, n // 2 - 3) if first >= 0]
    single = experiments.plans(experiments.single_layers(n))
    variants = experiments.plans(experiments.variants(n, windows, seeds=2))
    print(f"{options.model}, {torch.get_num_threads()} threads, {options.new} new tokens")
    few = _drawn(model, options.prompts, options.tokens)
    texts_under(model, single[:1], [few[0][:8]], Ending(1))  # tries whether it is exact
    _raced(model, single, few, options, "single layers, prompts that share nothing")
    _raced(model, variants, few, options, "variants, prompts that share nothing")
    trunk, *rests = _drawn(model, options.items + 1, options.tokens)
    own = options.tokens // 10
    alike = [(*trunk[own:], *rest[:own]) for rest in rests]
    _raced(model, single, alike, options, "single layers, prompts that begin alike")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def _raced(
    model: Any, plans: list[Plan], prompts: list[Ids], options: argparse.Namespace, what: str
) -> None:
    sample = plans[:: max(1, len(plans) // options.sample)][: options.sample]
    half = len(sample) // 2
    before, first = _alone(model, sample[:half], prompts, options.new)
    start = time.perf_counter()
    with _apart(int(model.cfg.d_vocab)) as spent:
        together = texts_under(model, plans, prompts, Ending(options.new))
    ours = time.perf_counter() - start
    after, second = _alone(model, sample[half:], prompts, options.new)
    calls = [sum(len(plan.calls) for plan in some) for some in (plans, sample)]
    stock = (first + second) * calls[0] / calls[1]
    pairs = [
        (text.tokens, expected)
        for plan, row in zip(sample, [*before, *after], strict=True)
        for text, expected in zip(together[plans.index(plan)], row, strict=True)
    ]
    other = sum(found != expected for found, expected in pairs)
    print(
        f"{what}: {len(plans)} plans, {calls[0]:,} layer calls a token, {len(schedule(plans))} "
        f"together; {len(prompts)} prompts of {options.tokens} tokens: plan by plan {stock:.1f} s "
        f"(from {len(sample)} plans), together {ours:.1f} s (reading {spent['read']:.1f}, head "
        f"{spent['head']:.1f}); {stock / ours:.1f} times faster; {other} of {len(pairs)} texts "
        "differ"
    )


@contextmanager
def _apart(vocabulary: int) -> Iterator[dict[str, float]]:
    """Seconds that are spent in reading prompts, and in heads while texts are decoded."""
    spent = {"read": 0.0, "head": 0.0}
    read, linear = reading.read, functional.linear

    def timed(*args: Any, **given: Any) -> Any:
        start = time.perf_counter()
        found = read(*args, **given)
        spent["read"] += time.perf_counter() - start
        return found

    def multiplied(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        start = time.perf_counter()
        found = linear(rows, weight, bias)
        if len(weight) == vocabulary:
            spent["head"] += time.perf_counter() - start
        return found

    patched = patch.object(writing, "read", timed), patch.object(functional, "linear", multiplied)
    with patched[0], patched[1]:
        yield spent


def _alone(
    model: Any, plans: Sequence[Plan], prompts: list[Ids], new: int
) -> tuple[list[list[Ids]], float]:
    """What the model's own generate writes, as [plan][prompt], and the seconds that it took."""
    tokens = torch.tensor(prompts)
    eos = model.original_model.generation_config.eos_token_id
    ends = {*(eos if isinstance(eos, list) else [eos])}
    texts, start = [], time.perf_counter()
    for plan in plans:
        with applied(model, plan):
            written = model.original_model.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, do_sample=False
            )
        texts.append([_ended(row[tokens.shape[1] :].tolist(), ends) for row in written])
    return texts, time.perf_counter() - start


def _ended(tokens: list[int], ends: set[int]) -> Ids:
    """Tokens up to the first that ends a text; what follows is padding."""
    stop = next((k + 1 for k, token in enumerate(tokens) if token in ends), len(tokens))
    return tuple(tokens[:stop])


def _drawn(model: Any, count: int, length: int) -> list[Ids]:
    draw = random.Random(count)
    return [
        tuple(draw.randrange(10, int(model.cfg.d_vocab)) for _ in range(length))
        for _ in range(count)
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--new", type=int, default=32, help="tokens to write")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--items", type=int, default=16, help="prompts that begin alike")
    parser.add_argument("--tokens", type=int, default=270, help="tokens of each prompt")
    parser.add_argument("--sample", type=int, default=4, help="plans timed one by one")
    return parser.parse_args()


if __name__ == "__main__":
    main()
