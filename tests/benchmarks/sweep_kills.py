"""A sweep is killed (SIGKILL) at random moments, and its table is that of one that is not.

    python tests/benchmarks/sweep_kills.py 50

Prediction: after any number of kills the sweep ends, and its tables equal an undisturbed run's, bit
for bit: nothing lost, nothing doubled, no half of a file. Measured: 50 kills, 5 sweeps that ended
in spite of them, all tables equal.
"""

import os
import random
import signal
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny

import painters_interp as painters
from painters_interp.sweeps import Swept, workers


def killed(spec: dict[str, Any], folder: Path, moment: float) -> bool:
    """Run the sweep in a process of its own; kill it after so many seconds, unless it is over."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        painters.sweep(spec, folder)
        os._exit(0)
    deadline = time.monotonic() + moment
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def equal(one: Swept, other: Swept) -> None:
    """Raise AssertionError unless both have found the same, to the last bit."""
    pd.testing.assert_frame_equal(one.results, other.results, check_exact=True)
    pd.testing.assert_frame_equal(one.items, other.items, check_exact=True)


def main(kills: int, seed: int = 0) -> None:
    """Kill so often, and compare whenever a sweep has come to its end in spite of it."""
    torch.set_num_threads(1)  # a process that forks must have no others
    rng = random.Random(seed)
    done = ended = 0
    once = patch.object(workers, "load_model", lru_cache(painters.load_model))
    with once, tempfile.TemporaryDirectory() as place:
        spec = {"models": str(tiny.save("llama", Path(place) / "model")), "tasks": "probe_facts",
                "plans": ["0-2 5", "5-0"], "limits": 40, "items_per_shard": 8}  # fmt: skip
        whole = painters.sweep(spec, Path(place) / "first")
        start = time.monotonic()
        painters.sweep(spec, Path(place) / "second")
        takes = time.monotonic() - start
        while done < kills:
            folder = Path(place) / f"killed-{ended}"
            while done < kills and killed(spec, folder, rng.uniform(0, takes)):
                done += 1
            equal(painters.sweep(spec, folder), whole)
            ended += 1
            print(f"{done} kills, {ended} sweeps that ended in spite of them: all tables equal")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
