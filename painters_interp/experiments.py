"""The paper's experiments as tables of labelled plans; nothing here runs them.

One row per (label, plan). `plan` is the canonical text over `n_layers` layers; the other columns
are labels, and empty where they do not apply:

    experiment    single_layers, variants, loops, decoding, internal_loops, or a grid: swaps,
                  replacements, moves, block_repeats, dropped_windows; removals, damages,
                  controls
    variant       intact, drop, swap, skip, repeat, reverse, random, parallel, looped, ...
    layer         the layer dropped, moved or replaced; the lower one of a swap; the first of a
                  block
    other         of a grid: the other one of a swap, the layer that is run instead, the step that
                  a layer is moved to, the last layer of a block
    first         the paper's N: the window is `strategies.middle(n_layers, first)`
    affected      the paper's M: how many layers the window holds
    shuffle_seed  of a random order (a result table's `seed` is another one: the evaluation's)
    times         how often a loop runs
    distance      of a reordered window from the identity, 0 to 1: the share of layer pairs that
                  changed their order (normalised Kendall tau). A shuffle may be the identity.

`n_layers` is the number of layers of a model, or the model itself.

The same plan may stand in several rows (a window of one layer reversed is the intact model):
whoever evaluates a table computes each distinct plan once and joins.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, combinations_with_replacement, permutations
from typing import Any

import pandas as pd

from . import strategies as s
from .plans import Layers, Plan, Step, check_n_layers
from .tables import require, typed

_LABELS = ("experiment", "variant", "layer", "other", "first", "affected", "shuffle_seed", "times")
_COLUMNS = (*_LABELS, "distance", "n_layers", "plan")
_TIMES_OVER = {2: "double", 3: "triple"}

Row = dict[str, Any]


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


def intact(n_layers: Layers) -> pd.DataFrame:
    """The unaltered model alone: the row that every experiment has as its baseline.

    Args:
        n_layers: The number of layers, or the model.

    Returns:
        A table of one row, with the columns that this module lists.

    Raises:
        PlanError: if there is no such number of layers.

    Example:
        >>> intact(30)["plan"].tolist()
        ['0-29']
    """
    n_layers = check_n_layers(n_layers)
    return _table("intact", n_layers, [])


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
    drops = [_row("drop", s.drop(n_layers, i), layer=i) for i in range(n_layers)]
    swaps = [_row("swap", s.swap(n_layers, i, i + 1), layer=i) for i in range(n_layers - 1)]
    return _table("single_layers", n_layers, [*drops, *swaps])


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
    return _table("variants", n_layers, rows)


def _six_ways(n_layers: int, first: int, seeds: int, times: int) -> Iterator[Row]:
    window = s.middle(n_layers, first)
    where = {"first": first, "affected": len(window)}
    yield _row("skip", s.skip(n_layers, window), **where)
    yield _row("repeat", s.repeat_center(n_layers, window), **where)
    yield _reordered("reverse", s.reverse(n_layers, window), window, **where)
    for seed in range(seeds):
        shuffled = s.shuffle(n_layers, window, seed=seed)
        yield _reordered("random", shuffled, window, shuffle_seed=seed, **where)
    yield from _grouped(n_layers, first, times)


def _grouped(n_layers: int, first: int, times: int) -> Iterator[Row]:
    window = s.middle(n_layers, first)
    where = {"first": first, "affected": len(window)}
    yield _row("parallel", s.parallel(n_layers, window), **where)
    yield _row("looped", s.looped_parallel(n_layers, window, times=times), times=times, **where)


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
            rows.append(_row("looped", plan, first=first, affected=len(window), times=k))
    return _table("loops", n_layers, rows)


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
    return _table("decoding", n_layers, rows)


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
            rows.append(_row(name, Plan.parse(text, n_layers=n_layers), **labels))
    return _table("internal_loops", n_layers, rows)


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
            rows.append(_row(variant, plan, first=first, affected=size))
    return _table("controls", n_layers, rows)


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
        rows.append(_row(variant, kept, affected=count, shuffle_seed=shuffle_seed))
    return _table("removals", n_layers, rows)


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
    rows = [_row("drop", s.drop(n_layers, i), layer=i, other=i) for i in range(n_layers)]
    rows += [
        _row("swap", s.swap(n_layers, i, i + 1), layer=i, other=i + 1) for i in range(n_layers - 1)
    ]
    for size in range(2, (n_layers // 2 if longest is None else longest) + 1):
        for i in range(n_layers - size + 1):
            plan = s.skip(n_layers, range(i, i + size))
            rows.append(_row("drop_window", plan, layer=i, other=i + size - 1, affected=size))
    return _table("damages", n_layers, rows)


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
        >>> len(plans(suite(30)))
        626
    """
    n_layers = check_n_layers(n_layers)
    parts = [
        single_layers(n_layers),
        variants(n_layers, every_window(n_layers), seeds=seeds),
        loops(n_layers),
    ]
    return pd.concat(parts, ignore_index=True)


def swaps(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Exchange layers i and j ("swap"), every pair i < j.

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through, as in the four grids below; all of them by default.

    Returns:
        A table of the intact model and a row for every pair; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> swaps(4, layers=[0, 1, 3])["plan"].tolist()
        ['0-3', '1 0 2 3', '3 1 2 0', '0 3-1']
    """
    n_layers = check_n_layers(n_layers)
    pairs = combinations(_chosen(n_layers, layers), 2)
    return _grid("swaps", n_layers, "swap", s.swap, pairs)


def replacements(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Run layer j in the place of layer i ("replace"), every i != j: are they interchangeable?

    With the intact model, which is what i = j would be, 871 distinct plans for 30 layers.

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through; all of them by default.

    Returns:
        A table of the intact model and a row for every pair; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> replacements(4, layers=[1, 2])["plan"].tolist()
        ['0-3', '0 2*2 3', '0 1*2 3']
    """
    n_layers = check_n_layers(n_layers)
    pairs = permutations(_chosen(n_layers, layers), 2)
    return _grid("replacements", n_layers, "replace", s.replace, pairs)


def moves(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Take layer i out and run it as step j ("move"), every i != j.

    Neighbours that change places do so whichever of them is moved: 842 plans for 30 layers.

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through; all of them by default.

    Returns:
        A table of the intact model and a row for every pair; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> moves(4, layers=[0, 2])["plan"].tolist()
        ['0-3', '1 2 0 3', '2 0 1 3']
    """
    n_layers = check_n_layers(n_layers)
    pairs = permutations(_chosen(n_layers, layers), 2)
    return _grid("moves", n_layers, "move", s.move, pairs)


def block_repeats(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Run the block of layers i to j, both included, twice in a row ("repeat_block"; RYS, 2026).

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through; all of them by default.

    Returns:
        A table of the intact model and a row for every block; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> block_repeats(4, layers=[1, 2])["plan"].tolist()
        ['0-3', '0 1*2 2 3', '0-2 1-3', '0 1 2*2 3']
    """
    n_layers = check_n_layers(n_layers)

    def repeated(n_layers: int, first: int, last: int) -> Plan:
        return s.repeat_block(n_layers, first, last + 1)

    pairs = combinations_with_replacement(_chosen(n_layers, layers), 2)
    return _grid("block_repeats", n_layers, "repeat_block", repeated, pairs, blocks=True)


def dropped_windows(n_layers: Layers, layers: Iterable[int] | None = None) -> pd.DataFrame:
    """Leave out the window of layers i to j, both included ("drop_window"); never all layers.

    Args:
        n_layers: The number of layers, or the model.
        layers: Those that i and j go through; all of them by default.

    Returns:
        A table of the intact model and a row for every window; `layer` is i and `other` is j.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> dropped_windows(4, layers=[1, 2])["plan"].tolist()
        ['0-3', '0 2 3', '0 3', '0 1 3']
    """
    n_layers = check_n_layers(n_layers)

    def dropped(n_layers: int, first: int, last: int) -> Plan:
        return s.skip(n_layers, range(first, last + 1))

    windows = combinations_with_replacement(_chosen(n_layers, layers), 2)
    pairs = (pair for pair in windows if pair != (0, n_layers - 1))
    return _grid("dropped_windows", n_layers, "drop_window", dropped, pairs, blocks=True)


GRIDS: dict[str, Callable[..., pd.DataFrame]] = {
    "swaps": swaps,
    "replacements": replacements,
    "moves": moves,
    "block_repeats": block_repeats,
    "dropped_windows": dropped_windows,
}


def plans(table: pd.DataFrame) -> list[Plan]:
    """The distinct plans of an experiment's table, in order of first appearance.

    Args:
        table: A table with the columns `plan` and `n_layers`.

    Returns:
        Plans, none of them twice.

    Raises:
        TableError: if a column is missing.
        PlanError: if a text in the table is no plan.

    Example:
        >>> plans(intact(6))
        [Plan.parse('0-5', n_layers=6)]
    """
    require(table, "plan", "n_layers")
    distinct = table[["plan", "n_layers"]].drop_duplicates()
    return [
        Plan.parse(text, n_layers=int(n))
        for text, n in zip(distinct["plan"], distinct["n_layers"], strict=True)
    ]


def _chosen(n_layers: int, layers: Iterable[int] | None) -> list[int]:
    return list(range(n_layers)) if layers is None else sorted(set(layers))


def _grid(
    experiment: str,
    n_layers: int,
    variant: str,
    build: Callable[[int, int, int], Plan],
    pairs: Iterable[tuple[int, int]],
    blocks: bool = False,
) -> pd.DataFrame:
    rows = []
    for i, j in pairs:
        size = {"affected": j - i + 1} if blocks else {}
        rows.append(_row(variant, build(n_layers, i, j), layer=i, other=j, **size))
    return _table(experiment, n_layers, rows)


def _row(variant: str, plan: Plan, **labels: Any) -> Row:
    return {"variant": variant, "plan": str(plan), **labels}


def _reordered(variant: str, plan: Plan, window: range, **labels: Any) -> Row:
    order = [layer for layer in plan.layer_calls if layer in window]
    return _row(variant, plan, distance=_disorder(order), **labels)


def _disorder(order: Sequence[int]) -> float:
    pairs = list(combinations(order, 2))
    return sum(a > b for a, b in pairs) / len(pairs) if pairs else 0.0


def _table(experiment: str, n_layers: int, rows: Sequence[Row]) -> pd.DataFrame:
    baseline = _row("intact", s.full(n_layers))
    table = pd.DataFrame([baseline, *rows]).reindex(columns=_COLUMNS)
    return typed(table.assign(experiment=experiment, n_layers=n_layers))
