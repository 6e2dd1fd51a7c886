"""`evaluate` against stock lm-eval, item by item, under several plans, on real data.

    python tests/benchmarks/oracle.py --data DIR [--limit 8] [--written 2] [--new 256]

The stock side is lm-eval's own HFLM, with its own loading of the tasks, while a plan is applied.
Printed are the largest differences of a log-likelihood, per continuation and per token of it, the
continuations that are greedy on one side only (a tie in an argmax), the texts that differ, and the
metrics that differ. Fails above 1e-3 nats a continuation, 1e-4 a token, or any other difference.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.models.huggingface import HFLM

from painters_interp import Plan, evaluate, load_model
from painters_interp import strategies as s
from painters_interp.evaluation import Questions, prepare
from painters_interp.evaluation.scoring import score

sys.path.insert(0, str(Path(__file__).parents[1]))
from local_tasks import stock_metrics, stock_responses, stock_results, stock_tasks

SCORED = ["lambada_openai", "arc_easy", "arc_challenge", "piqa", "winogrande"]
WRITTEN = ["gsm8k"]


def main() -> None:
    options = _options()
    HFLM.max_gen_toks = options.new  # the default of both sides
    model = load_model(options.model)
    n = len(model.blocks)
    window = s.middle(n, n // 2 - 3)
    plans = [s.full(n), s.swap(n, n // 2, n // 2 + 1), s.reverse(n, window),
             s.looped_parallel(n, window, times=2)]  # fmt: skip
    ok = True
    with tempfile.TemporaryDirectory() as cache:
        for task in options.tasks.split(","):
            limit, shots = (options.written, 1) if task in WRITTEN else (options.limit, None)
            questions = prepare(model, [task], options.data, limit, shots)
            tasks = stock_tasks(options.data, [task], Path(cache), shots)
            stock = [stock_results(model, tasks, plan, limit, batch_size=4) for plan in plans]
            ok &= _compared(model, plans, questions, task, stock)
    sys.exit(not ok)


def _compared(
    model: Any, plans: list[Plan], questions: Questions, task: str, stock: list[dict[str, Any]]
) -> bool:
    """Print what differs between our answers and lm-eval's; whether it is little enough."""
    answers, table = score(model, plans, questions), evaluate(model, plans, questions)
    fine = True
    for index, plan in enumerate(plans):
        ours: list[Any] = answers.responses(index, questions.readings)
        theirs = stock_responses(stock[index], task)
        values = table[table["plan"] == str(plan)].set_index("metric")["value"].to_dict()
        expected = stock_metrics(stock[index], task)
        off = [m for m, v in expected.items() if not np.isclose(values[m], v, rtol=1e-4, atol=0)]
        off += sorted({*map(str, values)} ^ {*expected})
        if task in WRITTEN:
            texts = sum(a != b for a, b in zip(ours, theirs, strict=True))
            found = f"{texts} of {len(ours)} texts differ"
            fine &= not texts and not off
        else:
            gaps = np.abs([a - b for (a, _), (b, _) in zip(ours, theirs, strict=True)])
            tokens = [len(request.continuation) for request in questions.requests]
            ties = sum(a != b for (_, a), (_, b) in zip(ours, theirs, strict=True))
            found = (
                f"{len(ours)} continuations: {gaps.max():.1e} nats, {(gaps / tokens).max():.1e} "
                f"a token, {ties} greedy on one side only"
            )
            fine &= bool(gaps.max() <= 1e-3 and (gaps / tokens).max() <= 1e-4) and not off
        print(f"{task:15} {plan!s:22} {found}; metrics that differ: {', '.join(off) or 'none'}")
    return fine


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tasks", default=",".join([*SCORED, *WRITTEN]))
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--written", type=int, default=2)
    parser.add_argument("--new", type=int, default=256, help="most new tokens of a text")
    return parser.parse_args()


if __name__ == "__main__":
    main()
