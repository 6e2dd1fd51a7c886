"""`painters sweep` and `painters status`: long work in parts, and how far it has come."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ..terminal import room
from .options import Device, out_option, path_of, word_option

EXECUTORS = ("local", "ray")
_PAUSE = 2.0  # seconds between two looks


def sweep(
    spec: Annotated[
        Path, typer.Argument(parser=path_of, metavar="<spec>", help="A YAML file: what to do.")
    ],
    out: Annotated[Path, out_option("<folder>", "a folder of them.")],
    executor: Annotated[
        str, word_option(EXECUTORS, "Who does the work: local (this process) or ray.")
    ] = "local",
    shard: Annotated[
        str | None, typer.Option(help="A part alone, such as 3/16: a job of an array.")
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Run nothing; join what such jobs have found.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster that runs; else one is started here.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray's; as many as there is room for if not given.")
    ] = None,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="GPUs of each worker.")] = 0.0,
    cpus_per_worker: Annotated[
        int | None, typer.Option(min=1, help="Cores, and threads, of each worker.")
    ] = None,
    device: Device = None,
) -> None:
    """Every plan on every task for every model of a spec; run again, it goes on.

    What is done is in OUT as it is found. Ctrl-C finishes the shard that is
    being answered; twice stops at once. The exit status is 1 where something
    failed and everything else was done.

    Example: painters sweep spec.yaml --out sweep
    """
    from ..sweeps import read_spec
    from ..sweeps import sweep as carried_out
    from ..sweeps.inquiries import STUDIES

    asked = read_spec(spec)
    found = carried_out(
        asked, out, executor, shard=shard, collect=collect, address=address,
        workers=workers, gpus_per_worker=gpus_per_worker, cpus_per_worker=cpus_per_worker,
        device=device,
    )  # fmt: skip
    if len(found.results):
        print(f"Results are in {out / 'results.csv'}")
    if shard is None and asked.studies and any((out / STUDIES).glob("*/*/claims.csv")):
        print(f"Studies are in {out / STUDIES}")
    if len(found.failed):
        raise typer.Exit(1)


def status(
    folder: Annotated[
        Path, typer.Argument(parser=path_of, metavar="<folder>", help="The --out of a sweep.")
    ],
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again until all is done; what changes is printed.")
    ] = False,
) -> None:
    """How far a sweep has come, whoever works on it: shards per model and task.

    Example: painters status sweep
    """
    from ..sweeps import status as standing
    from ..sweeps.running import readable
    from ..sweeps.watching import at_work
    from ..tables.showing import printed

    before = ""
    while True:
        table = standing(folder)
        open_ = table[["running", "left"]].to_numpy().any()
        to_go = [readable(s) if s == s else "" for s in table["seconds"]]
        shown = table.drop(columns="seconds").assign(**{"to go": to_go})
        text = printed(shown, width=room())
        if open_ and not at_work(folder):
            text += "\nNobody is at work on it; the command that began it goes on from there."
        if text != before:
            print(f"\n{text}" if before else text, flush=True)
            before = text
        if not watch or not open_:
            return
        time.sleep(_PAUSE)
