"""What the paper runs, with its controls; and what later work took from it."""

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from .. import strategies as s
from ..arguments import counting
from ..plans import Layers, Plan, Step, check_n_layers
from .rows import Row, reordered, row, tabled

_TIMES_OVER = {2: "double", 3: "triple"}


def every_window(n_layers: Layers) -> range:
    """Every value of `first` whose window holds at least one layer.

    Args:
        n_layers: The number of layers, or the model.

    Returns:
        The values, from 0: the largest window comes first.

    Raises:
        PlanError: if there is no such number of layers.

    Example:
        >>> every_window(30)
        range(0, 15)
    """
    n_layers = check_n_layers(n_layers)
    return range(n_layers // 2)


def single_layers(n_layers: Layers) -> pd.DataFrame:
    """Fig. 2: drop layer i ("drop"); exchange layers i and i+1 ("swap").

    Args:
        n_layers: The number of layers, or the model.

    Returns:
        A table of 2 * n_layers rows: the intact model, every drop, every swap.

    Raises:
        PlanError: if there is no such number of layers, or one alone, which cannot be dropped.

    Example:
        >>> single_layers(3)["plan"].tolist()
        ['0-2', '1 2', '0 2', '0 1', '1 0 2', '0 2 1']
    """
    n_layers = check_n_layers(n_layers)
    drops = [row("drop", s.drop(n_layers, i), layer=i) for i in range(n_layers)]
    swaps = [row("swap", s.swap(n_layers, i, i + 1), layer=i) for i in range(n_layers - 1)]
    return tabled("single_layers", n_layers, [*drops, *swaps])


@counting(firsts=0, seeds=1, times=1)
def variants(
    n_layers: Layers, firsts: Iterable[int] | None = None, seeds: int = 3, times: int = 3
) -> pd.DataFrame:
    """Figs. 4-9, 11 and 12: what a window of middle layers goes through, six ways.

    "skip", "repeat" (its centre, M times), "reverse", "random" (a shuffle per seed), "parallel",
    "looped" (parallel, `times` times).

    Args:
        n_layers: The number of layers, or the model.
        firsts: The windows, by the paper's N; every second one, 0, 2, ..., by default. The paper's
            ten seeds and all windows are `variants(n, every_window(n), seeds=10)`.
        seeds: How many shuffles of each window there are.
        times: How often "looped" runs the parallel window.

    Returns:
        A table of the intact model and 5 + `seeds` rows a window.

    Raises:
        PlanError: for windows and numbers that fit no plan.

    Example:
        >>> table = variants(30, [12], seeds=1)
        >>> dict(zip(table["variant"], table["plan"]))["looped"]
        '0-12 (13-17)*3 18-29'
    """
    n_layers = check_n_layers(n_layers)
    firsts = every_window(n_layers)[::2] if firsts is None else firsts
    rows = [row for first in firsts for row in _six_ways(n_layers, first, seeds, times)]
    return tabled("variants", n_layers, rows)


def _six_ways(n_layers: int, first: int, seeds: int, times: int) -> Iterator[Row]:
    window = s.middle(n_layers, first)
    where = {"first": first, "affected": len(window)}
    yield row("skip", s.skip(n_layers, window), **where)
    yield row("repeat", s.repeat_center(n_layers, window), **where)
    yield reordered("reverse", s.reverse(n_layers, window), window, **where)
    for seed in range(seeds):
        shuffled = s.shuffle(n_layers, window, seed=seed)
        yield reordered("random", shuffled, window, shuffle_seed=seed, **where)
    yield from _grouped(n_layers, first, times)


def _grouped(n_layers: int, first: int, times: int) -> Iterator[Row]:
    window = s.middle(n_layers, first)
    where = {"first": first, "affected": len(window)}
    yield row("parallel", s.parallel(n_layers, window), **where)
    yield row("looped", s.looped_parallel(n_layers, window, times=times), times=times, **where)


@counting(firsts=0, max_times=1)
def loops(
    n_layers: Layers, firsts: Iterable[int] | None = None, max_times: int = 28
) -> pd.DataFrame:
    """Fig. 10: each window in parallel, fed back k = 1 .. `max_times` times ("looped").

    Args:
        n_layers: The number of layers, or the model.
        firsts: The windows, by the paper's N; every window of two layers or more by default: with
            one there is nothing to average.
        max_times: The largest k; the paper's heatmap ends at 28.

    Returns:
        A table of the intact model and `max_times` rows a window.

    Raises:
        PlanError: for windows and numbers that fit no plan.

    Example:
        >>> loops(6, [1], max_times=2)["plan"].tolist()
        ['0-5', '0 1 (2-4) 5', '0 1 (2-4)*2 5']
    """
    n_layers = check_n_layers(n_layers)
    if firsts is None:
        firsts = [f for f in every_window(n_layers) if len(s.middle(n_layers, f)) > 1]
    rows = []
    for first in firsts:
        window = s.middle(n_layers, first)
        for k in range(1, max_times + 1):
            plan = s.looped_parallel(n_layers, window, times=k)
            rows.append(row("looped", plan, first=first, affected=len(window), times=k))
    return tabled("loops", n_layers, rows)


@counting(firsts=0, times=1)
def decoding(n_layers: Layers, firsts: Iterable[int] | None = None, times: int = 3) -> pd.DataFrame:
    """Plans that decode otherwise with the published cache: windows "parallel" and "looped".

    Args:
        n_layers: The number of layers, or the model.
        firsts: The windows, by the paper's N; every window of up to a third of the layers by
            default: with more, nothing is left.
        times: How often "looped" runs the parallel window.

    Returns:
        A table of the intact model and two rows a window.

    Raises:
        PlanError: for windows and numbers that fit no plan.

    Example:
        >>> decoding(6)["plan"].tolist()
        ['0-5', '0 1 (2-4) 5', '0 1 (2-4)*3 5']
    """
    n_layers = check_n_layers(n_layers)
    if firsts is None:
        sizes = {f: len(s.middle(n_layers, f)) for f in every_window(n_layers)}
        firsts = [f for f, size in sizes.items() if 1 < size <= max(3, n_layers // 3)][::-1]
    rows = [row for first in firsts for row in _grouped(n_layers, first, times)]
    return tabled("decoding", n_layers, rows)


@counting(firsts=0, times=1)
def internal_loops(
    n_layers: Layers, firsts: Iterable[int] | None = None, times: Sequence[int] = (2, 3)
) -> pd.DataFrame:
    """Fig. 17: each layer of the window called k times in place, in order ("double", "triple").

    Args:
        n_layers: The number of layers, or the model.
        firsts: The windows, by the paper's N; every window by default.
        times: The values of k.

    Returns:
        A table of the intact model and a row for every window and k.

    Raises:
        PlanError: for windows and numbers that fit no plan.

    Example:
        >>> internal_loops(6, [1], times=[2])["plan"].tolist()
        ['0-5', '0 1 2*2 3*2 4*2 5']
    """
    n_layers = check_n_layers(n_layers)
    rows = []
    for first in every_window(n_layers) if firsts is None else firsts:
        window = s.middle(n_layers, first)
        for k in times:
            text = " ".join(f"{i}*{k}" if i in window else str(i) for i in range(n_layers))
            labels = {"first": first, "affected": len(window), "times": k}
            name = _TIMES_OVER.get(k, f"{k} times")
            rows.append(row(name, Plan.parse(text, n_layers=n_layers), **labels))
    return tabled("internal_loops", n_layers, rows)


@counting(firsts=0, times=1)
def controls(n_layers: Layers, firsts: Iterable[int] | None = None, times: int = 3) -> pd.DataFrame:
    """Rivals of the paper's variants that tell order from size, for windows of two layers or more.

    "sum": the group's updates added, not averaged. "at once": the group once, its updates as large
    as `times` averages of them. "damped repeat": the centre layer M times at 1/M each.

    Args:
        n_layers: The number of layers, or the model.
        firsts: The windows, by the paper's N; every second one by default.
        times: How many averages "at once" is as large as.

    Returns:
        A table of the intact model and three rows a window.

    Raises:
        PlanError: for windows and numbers that fit no plan.

    Example:
        >>> controls(8, [2])["plan"].tolist()
        ['0-7', '0-2 (3-5)@sum 6 7', '0-2 (3-5)@sum 6 7', '0-2 4@0.3333333333333333*3 6 7']
    """
    n_layers = check_n_layers(n_layers)
    rows = []
    for first in every_window(n_layers)[::2] if firsts is None else firsts:
        window = s.middle(n_layers, first)
        if (size := len(window)) < 2:
            continue
        before, after = range(window.start), range(window.stop, n_layers)
        for variant, steps in (
            ("sum", [Step.of(*window, scale=1.0)]),
            ("at once", [Step.of(*window, scale=times / size)]),
            ("damped repeat", [Step.of(n_layers // 2, scale=1 / size)] * size),
        ):
            plan = Plan((*map(Step.of, before), *steps, *map(Step.of, after)), n_layers)
            rows.append(row(variant, plan, first=first, affected=size))
    return tabled("controls", n_layers, rows)


@counting(counts=0, shuffle_seed=0)
def removals(
    n_layers: Layers,
    order: Sequence[int],
    counts: Iterable[int],
    variant: str = "removed",
    shuffle_seed: int | None = None,
) -> pd.DataFrame:
    """Leave out the first k layers of an order, for every k of `counts` (`affected`).

    Args:
        n_layers: The number of layers, or the model.
        order: Layers, those to go first in front.
        counts: The values of k.
        variant: What the rows are called.
        shuffle_seed: Of an order drawn at random: the column of that name.

    Returns:
        A table of the intact model and a row for every k.

    Raises:
        PlanError: if no layer is left, or if there is no such number of layers.

    Example:
        >>> removals(6, order=[4, 1], counts=[1, 2])["plan"].tolist()
        ['0-5', '0-3 5', '0 2 3 5']
    """
    n_layers = check_n_layers(n_layers)
    rows = []
    for count in counts:
        gone = {*order[:count]}
        kept = Plan((Step.of(i) for i in range(n_layers) if i not in gone), n_layers)
        rows.append(row(variant, kept, affected=count, shuffle_seed=shuffle_seed))
    return tabled("removals", n_layers, rows)


@counting(longest=1)
def damages(n_layers: Layers, longest: int | None = None) -> pd.DataFrame:
    """Plans to set against similarity: single layers dropped, neighbours swapped, windows dropped.

    Layers `layer` to `other` are altered. Windows are all stretches of 2 to `longest` layers, half
    of all if not given.

    Args:
        n_layers: The number of layers, or the model.
        longest: How many layers the longest windows have.

    Returns:
        A table of the intact model and a row for every drop, swap and window ("drop_window").

    Raises:
        PlanError: if a window is the whole model, or if there is no such number of layers.

    Example:
        >>> damages(4, longest=2)["plan"].tolist()[-3:]
        ['2 3', '0 3', '0 1']
    """
    n_layers = check_n_layers(n_layers)
    rows = [row("drop", s.drop(n_layers, i), layer=i, other=i) for i in range(n_layers)]
    rows += [
        row("swap", s.swap(n_layers, i, i + 1), layer=i, other=i + 1) for i in range(n_layers - 1)
    ]
    for size in range(2, (n_layers // 2 if longest is None else longest) + 1):
        for i in range(n_layers - size + 1):
            plan = s.skip(n_layers, range(i, i + size))
            rows.append(row("drop_window", plan, layer=i, other=i + size - 1, affected=size))
    return tabled("damages", n_layers, rows)


@counting(seeds=1)
def suite(n_layers: Layers, seeds: int = 10) -> pd.DataFrame:
    """The paper's whole decoder suite: Figs. 2 and 4-12, over every window.

    Args:
        n_layers: The number of layers, or the model.
        seeds: How many shuffles of each window there are.

    Returns:
        The tables of `single_layers`, `variants` and `loops`, one below the other.

    Raises:
        PlanError: if there is no such number of layers, or one alone.

    Example:
        >>> len(painters.experiments.plans(suite(30)))
        626
    """
    n_layers = check_n_layers(n_layers)
    parts = [
        single_layers(n_layers),
        variants(n_layers, every_window(n_layers), seeds=seeds),
        loops(n_layers),
    ]
    return pd.concat(parts, ignore_index=True)
