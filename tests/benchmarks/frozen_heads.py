"""Frozen heads plan by plan against one shared pass: processor time, and the same features.

    python tests/benchmarks/frozen_heads.py [--model minilm-l6] [--items 1000] [--data FOLDER]

All six variants at every window. Plan by plan, each row of the experiment's table is applied, the
sentences go through the model in batches of 32 in their order, padded to the longest, and their
final states are averaged over tokens. Shared, all distinct plans go through one walk of sentences
of like length. The heads are the same on both sides and timed apart. One thread, its own processor
time, so that it can be measured where others compute, too. With --data, CoLA's sentences out of
FOLDER/cola; else those of the built-in probe.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import applied, experiments, load_model
from painters_interp.learning import Examples, named
from painters_interp.learning.features import final_features, sequences
from painters_interp.learning.heads import fitted
from painters_interp.plans import Plan, shared_calls

T = TypeVar("T")
_BATCH = 32
_WARM_UP = 64


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    threadpool_limits(1)  # of the libraries that fit the heads
    task = named("probe_acceptability" if options.data is None else "cola", options.data)
    model = load_model(options.model, device="cpu")
    some = task.limited(options.items, seed=0).train
    table = experiments.variants(model, experiments.every_window(model))
    rows = [Plan.parse(text, len(model.blocks)) for text in table["plan"]]
    distinct = list(dict.fromkeys(rows))
    read = sequences(model, some.texts)
    print(
        f"{options.model}: {task.name}, {len(some)} sentences, {sum(map(len, read.ids)):,} tokens; "
        f"{len(rows)} rows, {len(distinct)} distinct plans; layer calls {_calls(rows)} row by row, "
        f"{_calls(distinct)} plan by plan, {shared_calls(distinct)} shared"
    )
    _one(model, rows[0], [text for (text,) in some.texts[:_WARM_UP]])
    shared, together = _timed(lambda: final_features(model, distinct, read, "mean"))
    apart: dict[Plan, float] = {}
    gap = 0.0
    texts = [text for (text,) in some.texts]
    for place, plan in enumerate(distinct):
        found, apart[plan] = _timed(partial(_one, model, plan, texts))
        gap = max(gap, float(np.abs(found - shared[place]).max()))
    heads = _timed(lambda: [_head(task, features, some.right) for features in shared])[1]
    by_plan, by_row = sum(apart.values()), sum(apart[plan] for plan in rows)
    print(
        f"features: row by row {by_row:.0f} s, distinct plans one by one {by_plan:.0f} s, shared "
        f"{together:.1f} s: {by_row / together:.1f} and {by_plan / together:.1f} times faster; "
        f"largest difference {gap:.0e}"
    )
    each = heads / len(distinct)
    print(
        f"heads {each:.2f} s each; with them row by row {by_row + each * len(rows):.0f} s, shared "
        f"{together + heads:.1f} s: {(by_row + each * len(rows)) / (together + heads):.1f} times"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--data", default=None)
    return parser.parse_args()


def _calls(plans: list[Plan]) -> int:
    return sum(len(plan.calls) for plan in plans)


@torch.no_grad()
def _one(model: TransformerBridge, plan: Plan, texts: list[str]) -> np.ndarray:
    """Features under one plan, as one would write it without this package's runner."""
    found = []
    with applied(model, plan):
        for start in range(0, len(texts), _BATCH):
            some = model.tokenizer(texts[start : start + _BATCH], padding=True, return_tensors="pt")
            states = model.original_model.base_model(**some).last_hidden_state
            mask = some["attention_mask"].unsqueeze(-1)
            found.append((states * mask).sum(dim=1) / mask.sum(dim=1))
    features: np.ndarray = torch.cat(found).numpy()
    return features


def _head(task: Examples, features: np.ndarray, right: np.ndarray) -> object:
    return fitted(features, right, len(task.classes), seed=0)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    return work(), time.process_time() - start


if __name__ == "__main__":
    main()
