"""The hooked face of a model against its plain one: the same plans, texts and scores in one run.

    python tests/benchmarks/faces.py [--model smollm2-135m] [--lengths 121 1000] [--plans 60]

Plans that drop a layer or swap two neighbours share their beginnings on either face. Each face
scores the same tokens twice, in turn, and the faster time counts.
"""

import argparse
import time
from typing import Any

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import experiments, load_model
from painters_interp.execution import plain, record_on, score_targets
from painters_interp.plans import Plan, shared_calls


def main() -> None:
    options = _options()
    model = load_model(options.model)
    plans = experiments.plans(experiments.single_layers(len(model.blocks)))[: options.plans]
    start = time.perf_counter()
    face = plain(model)
    if face is None:
        raise SystemExit(f"{options.model} has no plain face")
    print(
        f"{options.model}, {torch.get_num_threads()} threads; {len(plans)} plans, "
        f"{shared_calls(plans):,} shared layer calls; plain face made and tried in "
        f"{time.perf_counter() - start:.1f} s"
    )
    for length in options.lengths:
        generator = torch.Generator().manual_seed(length)
        tokens = torch.randint(10, int(model.cfg.d_vocab), (1, length), generator=generator)
        found: dict[str, list[tuple[float, Tensor]]] = {"hooked": [], "plain": []}
        for _ in range(2):
            found["hooked"].append(_scored(model, None, plans, tokens))
            found["plain"].append(_scored(model, face, plans, tokens))
        hooked, fast = (min(seconds for seconds, _ in runs) for runs in found.values())
        apart = float((found["hooked"][0][1] - found["plain"][0][1]).abs().max())
        print(
            f"{length} tokens: hooked {hooked:.2f} s, plain {fast:.2f} s; {hooked / fast:.2f} "
            f"times faster, scores {apart:.1e} nats apart at most"
        )


def _scored(
    model: TransformerBridge, face: Any, plans: list[Plan], tokens: Tensor
) -> tuple[float, Tensor]:
    """Seconds, and the log-probability of the last tokens under every plan."""
    last = torch.arange(max(0, tokens.shape[1] - 9), tokens.shape[1] - 1)
    sources = torch.stack([torch.zeros_like(last), last], dim=1)
    start = time.perf_counter()
    with torch.no_grad():
        recording = record_on(face, model, tokens)
        scores = score_targets(model, plans, recording, sources, tokens[0, last + 1, None])
    return time.perf_counter() - start, scores.logprobs


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--lengths", type=int, nargs="+", default=[121, 1000])
    parser.add_argument("--plans", type=int, default=60)
    return parser.parse_args()


if __name__ == "__main__":
    main()
