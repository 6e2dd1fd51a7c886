"""All measures in one streaming pass, against the passes alone and against keeping every stream.

    python tests/benchmarks/similarity.py [--passages 200] [--tokens 128] [--model smollm2-135m]

Time, in one process: the forward passes alone (before and after), all measures but Procrustes and
nearest neighbours, all measures. Memory, each in a process of its own, above what the loaded model
takes: all measures, against capturing all residual streams and comparing them as published
(flattened, a loop over pairs).
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import capture, load_model, similarity
from painters_interp.evaluation import PROBES, prepare
from painters_interp.measures import MEASURES

DEAR = ("procrustes", "knn")
BATCH = 4  # texts in a forward pass


def main() -> None:
    options = _options()
    model = load_model(options.model)
    texts = passages(model, options.passages, options.tokens)
    ways = {"all measures": all_measures, "everything kept": everything_kept}
    if options.memory:
        ways[options.memory](model, texts[:2])  # libraries keep workspace of their own
        _forget_peak()
        floor = _peak()
        ways[options.memory](model, texts)
        print(_peak() - floor)
        return
    print(
        f"{options.model}: {len(texts)} passages of {options.tokens} tokens, "
        f"{torch.get_num_threads()} threads"
    )
    forward(model, texts[:8])
    before = _timed(lambda: forward(model, texts))
    cheap = [name for name in MEASURES if name not in DEAR]
    most = _timed(lambda: similarity(model, texts, cheap, batch_size=BATCH))
    every = _timed(lambda: all_measures(model, texts))
    after = _timed(lambda: forward(model, texts))
    alone = (before + after) / 2
    print(f"forward passes alone   {before:7.1f} and {after:.1f} s")
    print(f"all but {' and '.join(DEAR)}  {most:7.1f} s  {most / alone:.2f} times")
    print(f"all {len(MEASURES)} measures        {every:7.1f} s  {every / alone:.2f} times")
    ours, theirs = (_memory_of(name) for name in ways)
    print(
        f"memory above the model: all measures {ours:.0f} MiB, every stream kept and compared "
        f"as published {theirs:.0f} MiB: {theirs / max(ours, 1):.1f} times"
    )


def passages(model: TransformerBridge, count: int, tokens: int) -> list[str]:
    """Texts of about so many tokens, of words in random order: what they say takes no time."""
    words = " ".join(prepare(model, PROBES[:1]).texts).split()
    draw = random.Random(0)
    texts = []
    for _ in range(count):
        ids = model.tokenizer(" ".join(draw.choices(words, k=tokens)))["input_ids"][:tokens]
        texts.append(model.tokenizer.decode(ids))
    return texts


def forward(model: TransformerBridge, texts: list[str]) -> None:
    """The passes that every way needs: up to the last state, no head."""
    for batch in capture(model, texts):
        float(batch.states[-1].sum())


def all_measures(model: TransformerBridge, texts: list[str]) -> None:
    """Every measure there is, in one pass."""
    similarity(model, texts, list(MEASURES), batch_size=BATCH)


def everything_kept(model: TransformerBridge, texts: list[str]) -> None:
    """All streams captured first; then the published cosine, a loop over batches and pairs."""
    kept = [batch.states for batch in capture(model, texts)]
    totals: dict[tuple[int, int], float] = {}
    for states in kept:
        flat = states.flatten(2)
        for i in range(len(flat)):
            for j in range(len(flat)):
                cosine = torch.nn.functional.cosine_similarity(flat[i], flat[j], dim=-1).mean()
                totals[i, j] = totals.get((i, j), 0.0) + float(cosine)


def _memory_of(way: str) -> float:
    command = [sys.executable, *sys.argv, "--memory", way]
    # What is freed goes back to the system at once: what is counted is what is held.
    held = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=held)
    return float(done.stdout.split()[-1])


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _forget_peak() -> None:
    """Loading a model takes more than the model; Linux counts from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Largest resident size since then, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--passages", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--memory", choices=["all measures", "everything kept"])
    return parser.parse_args()


if __name__ == "__main__":
    with torch.no_grad():
        main()
