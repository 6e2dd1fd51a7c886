"""What workers gain and what a shard costs beside its answers, with the threads of each pinned.

    python tests/benchmarks/sweep_workers.py [--workers 1,2] [--limit 128]

The same sweep in this process and on so many actors of Ray, each with one core, into a new folder
each time; clusters have started, and models are loaded, before the clock does. The efficiency of n
workers is the time of one over n times that of n. The overhead of a shard is the share of the time
in this process in which no shard was answered: reading, writing, noting.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import painters_interp as painters
from painters_interp.sweeps.journal import Note, notes


def main() -> None:
    options = _options()
    spec = {"models": options.model, "tasks": "probe_facts", "experiments": "single_layers"}
    spec |= {"limits": options.limit, "items_per_shard": 8}
    numbers = [int(number) for number in options.workers.split(",") if number]
    alone, expected = _timed(spec, "local", 1)
    answering = sum(note.facts["seconds"] for note in alone if note.event == "done")
    shards = sum(note.event == "done" for note in alone)
    whole = _seconds(alone)
    print(
        f"in this process: {shards} shards in {whole:.1f} s, {answering:.1f} s of it answering: "
        f"overhead {100 * (1 - answering / whole):.1f} %"
    )
    first = None
    for number in numbers:
        noted, found = _timed(spec, "ray", number)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        seconds = _seconds(noted)
        first = first or seconds * number
        print(
            f"{number} workers of Ray: {seconds:.1f} s, the same table to the last bit; "
            f"efficiency {first / (number * seconds):.2f}"
        )


def _timed(
    spec: dict[str, object], executor: str, workers: int
) -> tuple[Sequence[Note], pd.DataFrame]:
    with tempfile.TemporaryDirectory() as folder:
        found = painters.sweep(spec, folder, executor, workers=workers, cpus_per_worker=1)
        return notes(Path(folder)), found.results


def _seconds(noted: Sequence[Note]) -> float:
    """From the first shard that is begun to the last that is kept."""
    begun = [note.time for note in noted if note.event == "begun"]
    done = [note.time for note in noted if note.event == "done"]
    return max(done) - min(begun)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--limit", type=int, default=128)
    parser.add_argument("--workers", default="1,2", help="numbers of workers of Ray; '' for none")
    return parser.parse_args()


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s in all")
