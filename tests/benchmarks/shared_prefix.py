"""One plan at a time against shared prefixes: layer calls, time, memory, and the same scores.

    python tests/benchmarks/shared_prefix.py [--items 4] [--sample 16] [--model smollm2-135m]
    python tests/benchmarks/shared_prefix.py --tokens 1000 --items 1 --sample 4

(a) is what one does without this package's runner: lm-eval's HFLM under `applied`, full logits,
plan after plan. It is timed on a sample of plans spread over the range of layer calls and fitted
by layer calls, because all of them would take hours. (b) is the runner in float32 on all plans,
(c) the runner in bfloat16. All three score the same items in one process. With `--tokens` the
plans are those of single layers, the items are of that length, and what a shared call saves is
attention too, which grows with the square of it.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM

from painters_interp import applied, experiments, load_model, task
from painters_interp.evaluation import Questions, prepare
from painters_interp.evaluation.harness.process import quiet_lm_eval
from painters_interp.evaluation.scoring import score
from painters_interp.plans import Plan, residuals_alive, shared_calls


def main() -> None:
    options = _options()
    model = load_model(options.model)
    n_layers = len(model.blocks)
    table = experiments.single_layers if options.tokens else experiments.suite
    plans = experiments.plans(table(n_layers))
    asked = long_items(model, options.tokens, options.items) if options.tokens else options.task
    questions = prepare(model, asked, data=options.data, limit=options.items)
    [asked_of] = questions.tasks
    single, shared = sum(len(p.calls) for p in plans), shared_calls(plans)
    print(
        f"{options.model}, {n_layers} layers; {options.items} items of {asked_of.config.task}, "
        f"{questions.tokens} tokens; {torch.get_num_threads()} threads"
    )
    print(
        f"{len(plans)} plans: {single:,} layer calls one by one, {shared:,} shared "
        f"({single / shared:.1f} times fewer)"
    )
    score(model, plans[:1], questions)  # warm up

    # (a) is timed before and after (b): machines get faster and slower by the minute.
    sample = _spread(plans, options.sample)
    before, expected = _one_by_one(model, sample, questions)
    floor = _peak()
    answers, elapsed = _timed(lambda: score(model, plans, questions))
    peak = _peak()
    after, _ = _one_by_one(model, sample, questions)
    seconds = np.mean([before, after], axis=0)
    slope, offset = np.polyfit([len(p.calls) for p in sample], seconds, 1)
    total = offset * len(plans) + slope * single
    print(
        f"(a) HFLM under applied, {len(sample)} plans of {min(len(p.calls) for p in sample)} to "
        f"{max(len(p.calls) for p in sample)} calls in {sum(before):.1f} and {sum(after):.1f} s; "
        f"fit {1e3 * offset:.0f} ms + {1e3 * slope:.2f} ms a call; all plans: {total:.0f} s"
    )
    found = answers.loglikelihood[[plans.index(p) for p in sample]]
    largest = max(questions.layout.size(questions.inputs(pack)) for pack in questions.packs)
    held = residuals_alive(plans) * largest
    print(
        f"(b) runner, float32: {elapsed:.1f} s, {1e3 * elapsed / shared:.2f} ms a shared call, "
        f"{total / elapsed:.1f} times faster; largest difference to (a) "
        f"{np.abs(found - expected).max():.1e} nats"
    )
    print(
        f"    peak memory {floor:.0f} MiB with one plan, {peak:.0f} MiB with all; a walk depth "
        f"first keeps {residuals_alive(plans)} residual streams, "
        f"{held * model.cfg.d_model * 4 / 2**20:.1f} MiB"
    )

    model.original_model.to(torch.bfloat16)
    low, elapsed = _timed(lambda: score(model, plans, questions))
    gaps = np.abs(low.loglikelihood - answers.loglikelihood)
    print(
        f"(c) runner, bfloat16: {elapsed:.1f} s, {total / elapsed:.1f} times faster; difference "
        f"to (b) {gaps.mean():.2f} mean, {gaps.max():.2f} worst, nats a continuation"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="probe_cloze")
    parser.add_argument("--data", default=None)
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=None)
    parser.add_argument("--sample", type=int, default=16)
    return parser.parse_args()


def long_items(model: Any, tokens: int, count: int) -> Any:
    """A task of so many items, each of about so many tokens, the last of which is the answer."""
    words = " ".join(prepare(model, "probe_cloze").texts).split() * tokens
    items = []
    for i in range(count):
        ids = model.tokenizer(" ".join(words[i * tokens : (i + 1) * tokens]))["input_ids"]
        text = model.tokenizer.decode(ids[: tokens - 1])
        items.append({"question": text, "choices": ["the", "water"], "gold": 0})
    return task(f"{tokens} tokens", items)


def _spread(plans: list[Plan], count: int) -> list[Plan]:
    """`count` plans spread evenly over the range of layer calls."""
    ordered = sorted(plans, key=lambda plan: len(plan.calls))
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def _one_by_one(
    model: Any, plans: list[Plan], questions: Questions
) -> tuple[list[float], np.ndarray]:
    """Seconds of each plan, and its log-likelihoods (plan, request)."""
    with quiet_lm_eval():
        lm = HFLM(pretrained=model.original_model, tokenizer=model.tokenizer, batch_size=16)
    instances = [instance for task in questions.tasks for instance in task.instances]
    seconds, scores = [], []
    for plan in plans:
        with applied(model, plan):
            answers, elapsed = _timed(lambda: lm.loglikelihood(instances, disable_tqdm=True))
        seconds.append(elapsed)
        scores.append([value for value, _ in answers])
    return seconds, np.array(scores)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _peak() -> float:
    """Peak resident memory so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
