"""The choices of an item share their question: tokens a layer call, and the time of many plans.

    python tests/benchmarks/packed_choices.py --data DIR [--items 200] [--shots 5] [--timed 16]

Tokens that pass through every layer call when the choices of an item are laid out as a tree,
against one sequence per choice without any padding. Then every dropped layer and every swap of
neighbours on ARC-easy: shared prefixes and packing, against lm-eval's HFLM under `applied`, plan
after plan, at the fastest of its batch sizes 1, 4, 8 and 16. HFLM is timed on a sample of plans,
half before and half after ours, and carried over to all of them by layer calls. Same dtype.
With --shots, the folders need a train.jsonl to draw the worked examples from.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM

from painters_interp import applied, experiments, load_model
from painters_interp import strategies as s
from painters_interp.evaluation import Questions, prepare
from painters_interp.evaluation.harness.process import quiet_lm_eval
from painters_interp.evaluation.scoring import score
from painters_interp.plans import Plan, shared_calls

TARGETS = {"arc_easy": 3.0, "arc_challenge": 3.0, "piqa": 1.4, "winogrande": 1.5}
BATCH_SIZES = (1, 4, 8, 16)


def main() -> None:
    options = _options()
    model = load_model(options.model)
    for task in options.tasks.split(","):
        questions = prepare(model, [task], options.data, options.items, options.shots)
        apart = sum(len(questions.sequences[request.sequence]) for request in questions.requests)
        print(
            f"{task:14} {questions.items} items, {len(questions.requests)} choices: {apart:,} "
            f"tokens one by one, {questions.tokens:,} packed; {apart / questions.tokens:.2f} times "
            f"fewer" + (f" (target {TARGETS[task]})" if task in TARGETS else "")
        )
    raced = prepare(model, [options.race], options.data, options.timed, options.shots)
    _raced(model, raced, options)


def _raced(model: Any, questions: Questions, options: argparse.Namespace) -> None:
    n_layers = len(model.blocks)
    plans = experiments.plans(experiments.single_layers(n_layers))
    calls = sum(len(plan.calls) for plan in plans)
    dtype = str(next(model.original_model.parameters()).dtype).removeprefix("torch.")
    print(
        f"{options.model}, {dtype}, {torch.get_num_threads()} threads; {questions.items} items of "
        f"{options.race}; {len(plans)} plans, {calls:,} layer calls one by one, "
        f"{shared_calls(plans):,} shared ({calls / shared_calls(plans):.1f} times fewer)"
    )
    intact = s.full(n_layers)
    score(model, [intact], questions)  # warm up
    tried = {size: _hflm(model, [intact], questions, size)[1] for size in BATCH_SIZES}
    fastest = min(tried, key=lambda size: tried[size])
    print("HFLM, intact: " + ", ".join(f"{t:.2f} s at batch size {b}" for b, t in tried.items()))

    sample = plans[:: max(1, len(plans) // options.sample)][: options.sample]
    half = len(sample) // 2
    before, first = _hflm(model, sample[:half], questions, fastest)
    answers, ours = _timed(lambda: score(model, plans, questions))
    after, second = _hflm(model, sample[half:], questions, fastest)
    stock = (first + second) / sum(len(plan.calls) for plan in sample) * calls
    found = answers.loglikelihood[[plans.index(plan) for plan in sample]]
    gap = np.abs(found - np.array([*before, *after])).max()
    print(
        f"all {len(plans)} plans: HFLM at batch size {fastest} {stock:.1f} s (from {len(sample)} "
        f"plans), shared and packed {ours:.1f} s; {stock / ours:.1f} times faster (target 5); "
        f"largest difference {gap:.1e} nats"
    )


def _hflm(
    model: Any, plans: list[Plan], questions: Questions, batch_size: int
) -> tuple[list[list[float]], float]:
    """Log-likelihoods (plan, request) by stock lm-eval, and the seconds that they took."""
    with quiet_lm_eval():
        lm = HFLM(pretrained=model.original_model, tokenizer=model.tokenizer, batch_size=batch_size)
    instances = [instance for task in questions.tasks for instance in task.instances]
    scores, seconds = [], 0.0
    for plan in plans:
        with applied(model, plan):
            found, elapsed = _timed(lambda: lm.loglikelihood(instances, disable_tqdm=True))
        scores.append([value for value, _ in found])
        seconds += elapsed
    return scores, seconds


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=None)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tasks", default=",".join(TARGETS))
    parser.add_argument("--race", default="arc_easy")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--shots", type=int, default=None)
    parser.add_argument("--timed", type=int, default=16)
    parser.add_argument("--sample", type=int, default=6)
    return parser.parse_args()


if __name__ == "__main__":
    main()
