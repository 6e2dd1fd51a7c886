"""Does mathematics fail in parallel, or did the published cache fail? Exact against averaged.

    python tests/benchmarks/averaged_cache.py --data DIR [--items 24] [--shots 0] [--out FOLDER]

(b) The gold solutions of GSM8K are decoded token by token under parallel and looped plans, once
remembering each layer's own keys and values and once the mean over the group, as the paper's code
does. Written are the table, the figure and their provenance. (a) With --written N, N items are
also solved greedily under the same plans with both caches; a small model solves none.
"""

import argparse
import time
from pathlib import Path

import pandas as pd

from painters_interp import evaluate, experiments, figures, intervals, load_model
from painters_interp.evaluation.decoding import decode, gold_pairs
from painters_interp.models import identity
from painters_interp.store import write_table
from painters_interp.tables import provenance, typed


def main() -> None:
    options = _options()
    model = load_model(options.model)
    firsts = [int(first) for first in options.firsts.split(",")]
    plans = experiments.variants(len(model.blocks), firsts, seeds=0, times=options.times)
    plans = plans[plans["variant"].isin(["intact", "parallel", "looped"])]
    pairs = gold_pairs(model, options.task, options.data, options.items, options.shots)
    tokens = sum(len(gold) for _, gold in pairs)
    start = time.perf_counter()
    table = decode(model, plans, pairs)
    print(
        f"{options.model}: {len(pairs)} items of {options.task}, {options.shots} shots, "
        f"{tokens:,} gold tokens, {plans['plan'].nunique()} plans, both caches: "
        f"{time.perf_counter() - start:.0f} s"
    )
    print(summary(table).to_string(index=False, float_format="{:.3f}".format, na_rep=""))
    facts = provenance(**identity(model), task=options.task, items=len(pairs), shots=options.shots)
    print(write_table(table, options.out / "averaged_cache", facts))
    for path in figures.save(figures.decoding_curves(table), options.out / "averaged_cache"):
        print(path)
    if options.written:
        parts = [
            evaluate(model, plans, [options.task], options.data, options.written, options.shots,
                     cache=cache)
            for cache in ("exact", "averaged")
        ]  # fmt: skip
        columns = ["variant", "affected", "cache", "metric", "value", "stderr", "n"]
        print(pd.concat(parts)[columns].to_string(index=False, na_rep=""))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per plan: nats a token under both caches, and their difference with its interval."""
    table = table.assign(value=table["nats"] / table["tokens"])
    rows = []
    for (variant, affected), part in table.groupby(["variant", "affected"], dropna=False):
        wide = part.pivot(index="item", columns="cache", values="value")
        gap = (wide["averaged"] - wide["exact"]).to_numpy(float)
        low, high = map(float, intervals.of_mean(gap))
        means = {cache: wide[cache].mean() for cache in ("exact", "averaged")}
        rows.append({"variant": variant, "affected": affected, **means,
                     "difference": gap.mean(), "low": low, "high": high})  # fmt: skip
    return typed(pd.DataFrame(rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="gsm8k")
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--written", type=int, default=0)
    parser.add_argument("--firsts", default="13,12,10,8,5")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/averaged_cache"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
