"""The ways to alter a model's execution, each a function that returns a plan.

A window is a run of consecutive layers, counted from 0: `range(13, 18)` or `[13, 14, 15, 16, 17]`.
`n_layers` is the number of layers of a model, or the model itself. Every function raises PlanError
if a layer does not exist or nothing is left to run. Figure
numbers refer to "Transformer Layers as Painters", arXiv 2407.09298.
"""

import random
from collections.abc import Iterable, Sequence

from .arguments import counting, is_whole
from .errors import PlanError
from .plans import MAX_CALLS, Layers, Plan, Series, Step, check_n_layers


def middle(n_layers: Layers, first: int) -> range:
    """The paper's window of n_layers - 2 * first - 1 layers: `middle(30, 12)` is `range(13, 18)`.

    Layers 0..first and the last `first` layers stay outside, as in the authors' code.

    Args:
        n_layers: The number of layers, or the model.
        first: The paper's N, which counts the layers that stay at the end; one more stays at the
            start.

    Returns:
        The window, a `range` of layers.

    Raises:
        PlanError: if the window is empty.

    Example:
        >>> middle(30, first=12)
        range(13, 18)
    """
    n_layers = check_n_layers(n_layers)
    if not is_whole(first) or first < 0 or n_layers - 2 * first < 2:
        raise PlanError(
            f"middle(n_layers={n_layers}, first={first}) is empty; "
            + (f"first fits in 0..{n_layers // 2 - 1}" if n_layers > 1 else "two layers are needed")
        )
    return range(first + 1, n_layers - first)


def full(n_layers: Layers) -> Plan:
    """Every layer once, in order, the intact model: `0-29`.

    Args:
        n_layers: The number of layers, or the model.

    Returns:
        The plan of n_layers steps.

    Raises:
        PlanError: if there is no such number of layers.

    Example:
        >>> str(full(30))
        '0-29'
    """
    n_layers = check_n_layers(n_layers)
    return _in_order(n_layers, range(n_layers))


def skip(n_layers: Layers, window: Sequence[int]) -> Plan:
    """Leave the window out (fig. 4): `0-12 18-29`.

    Args:
        n_layers: The number of layers, or the model.
        window: Consecutive ascending layers.

    Returns:
        The plan without the window.

    Raises:
        PlanError: if the window is none, leaves the model, or is the whole model.

    Example:
        >>> str(skip(30, range(13, 18)))
        '0-12 18-29'
    """
    n_layers = check_n_layers(n_layers)
    window = _window(n_layers, window)
    if len(window) == n_layers:
        raise PlanError(f"skipping {_span(window)} leaves no layer to run; n_layers={n_layers}")
    return _replaced(n_layers, window, ())


def repeat_center(n_layers: Layers, window: Sequence[int]) -> Plan:
    """Run layer n_layers // 2 in every place of the window (fig. 5): `0-12 15*5 18-29`.

    Args:
        n_layers: The number of layers, or the model.
        window: Consecutive ascending layers; the layer that is repeated need not be one of them.

    Returns:
        The plan, of as many calls as the intact model makes.

    Raises:
        PlanError: if the window is none, or leaves the model.

    Example:
        >>> str(repeat_center(30, range(13, 18)))
        '0-12 15*5 18-29'
    """
    n_layers = check_n_layers(n_layers)
    window = _window(n_layers, window)
    return _replaced(n_layers, window, [Step.of(n_layers // 2)] * len(window))


def reverse(n_layers: Layers, window: Sequence[int]) -> Plan:
    """Run the window backwards (fig. 6): `0-12 17-13 18-29`.

    Args:
        n_layers: The number of layers, or the model.
        window: Consecutive ascending layers.

    Returns:
        The plan, which calls every layer once.

    Raises:
        PlanError: if the window is none, or leaves the model.

    Example:
        >>> str(reverse(30, range(13, 18)))
        '0-12 17-13 18-29'
    """
    n_layers = check_n_layers(n_layers)
    window = _window(n_layers, window)
    return _replaced(n_layers, window, map(Step.of, reversed(window)))


@counting(seed=0)
def shuffle(n_layers: Layers, window: Sequence[int], seed: int) -> Plan:
    """Run the window in a random order (fig. 7), seed 0: `0-12 15-13 17 16 18-29`.

    The order is that of `random.Random(seed).shuffle`, the authors' own; it may be the identity.

    Args:
        n_layers: The number of layers, or the model.
        window: Consecutive ascending layers.
        seed: Of the order; the caller's own generator is not touched.

    Returns:
        The plan, which calls every layer once.

    Raises:
        PlanError: if the window is none, or leaves the model.

    Example:
        >>> str(shuffle(30, range(13, 18), seed=0))
        '0-12 15-13 17 16 18-29'
    """
    n_layers = check_n_layers(n_layers)
    window = _window(n_layers, window)
    order = list(window)
    random.Random(seed).shuffle(order)
    return _replaced(n_layers, window, map(Step.of, order))


def parallel(n_layers: Layers, window: Sequence[int]) -> Plan:
    """Give the whole window one input and average its outputs (fig. 8): `0-12 (13-17) 18-29`.

    Args:
        n_layers: The number of layers, or the model.
        window: Consecutive ascending layers.

    Returns:
        The plan, in which the window is one step.

    Raises:
        PlanError: if the window is none, or leaves the model.

    Example:
        >>> str(parallel(30, range(13, 18)))
        '0-12 (13-17) 18-29'
    """
    return looped_parallel(n_layers, window, times=1)


def looped_parallel(n_layers: Layers, window: Sequence[int], times: int = 3) -> Plan:
    """Run the parallel window on its own average (fig. 9, 10): `0-12 (13-17)*3 18-29`.

    Args:
        n_layers: The number of layers, or the model.
        window: Consecutive ascending layers.
        times: The number of passes; 1 is `parallel`.

    Returns:
        The plan, in which every pass is a step.

    Raises:
        PlanError: if the window is none or leaves the model, and for a number of passes that is
            none.

    Example:
        >>> str(looped_parallel(30, range(13, 18), times=3))
        '0-12 (13-17)*3 18-29'
    """
    n_layers = check_n_layers(n_layers)
    window = _window(n_layers, window)
    if not is_whole(times) or not 1 <= times <= MAX_CALLS:
        raise PlanError(f"a window cannot be looped {times} times; 1..{MAX_CALLS:,} fits")
    return _replaced(n_layers, window, [Step.of(*window)] * times)


def drop(n_layers: Layers, layer: int) -> Plan:
    """Leave one layer out (fig. 2), layer 5: `0-4 6-29`.

    Args:
        n_layers: The number of layers, or the model.
        layer: The layer.

    Returns:
        The plan without it.

    Raises:
        PlanError: if there is no such layer, or no other one.

    Example:
        >>> str(drop(30, 5))
        '0-4 6-29'
    """
    return skip(n_layers, [layer])


def swap(n_layers: Layers, layer: int, other: int) -> Plan:
    """Exchange two layers (fig. 2 has neighbours), 5 and 6: `0-4 6 5 7-29`.

    Args:
        n_layers: The number of layers, or the model.
        layer: One of them.
        other: The other one; they need not be neighbours.

    Returns:
        The plan, which calls every layer once.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> str(swap(30, 5, 6))
        '0-4 6 5 7-29'
    """
    n_layers = check_n_layers(n_layers)
    _check_layers(n_layers, layer, other)
    order = list(range(n_layers))
    order[layer], order[other] = other, layer
    return _in_order(n_layers, order)


def replace(n_layers: Layers, at: int, with_layer: int) -> Plan:
    """Run another layer in one place, `at=5, with_layer=6`: `0-4 6*2 7-29`.

    Args:
        n_layers: The number of layers, or the model.
        at: The layer that is left out.
        with_layer: The layer that runs in its place, besides in its own.

    Returns:
        The plan, of as many calls as the intact model makes.

    Raises:
        PlanError: if there is no such layer.

    Example:
        >>> str(replace(30, at=5, with_layer=6))
        '0-4 6*2 7-29'
    """
    n_layers = check_n_layers(n_layers)
    _check_layers(n_layers, at, with_layer)
    return _replaced(n_layers, range(at, at + 1), [Step.of(with_layer)])


def move(n_layers: Layers, layer: int, to: int) -> Plan:
    """Take one layer out and run it as step number `to`, layer 5 to 9: `0-4 6-9 5 10-29`.

    Args:
        n_layers: The number of layers, or the model.
        layer: The layer.
        to: The number of its step in the plan, from 0.

    Returns:
        The plan, which calls every layer once.

    Raises:
        PlanError: if there is no such layer or step.

    Example:
        >>> str(move(30, 5, to=9))
        '0-4 6-9 5 10-29'
    """
    n_layers = check_n_layers(n_layers)
    _check_layers(n_layers, layer, to)
    order = [other for other in range(n_layers) if other != layer]
    order.insert(to, layer)
    return _in_order(n_layers, order)


def repeat_block(n_layers: Layers, start: int, stop: int) -> Plan:
    """Run layers start..stop-1 twice in a row (RYS, 2026), 10 and 17: `0-16 10-29`.

    The ends are those of `range(start, stop)`: layers 0..stop-1 run, then start..n_layers-1.

    Args:
        n_layers: The number of layers, or the model.
        start: The first layer of the block.
        stop: The layer behind its last.

    Returns:
        The plan, of stop - start more calls than the intact model makes.

    Raises:
        PlanError: if the block is empty, or leaves the model.

    Example:
        >>> str(repeat_block(30, 10, 17))
        '0-16 10-29'
    """
    n_layers = check_n_layers(n_layers)
    block = _window(n_layers, _between(start, stop))
    return _in_order(n_layers, [*range(block.stop), *range(block.start, n_layers)])


def pair_parallel(n_layers: Layers, start: int, stop: int, scale: float = 1.0) -> Plan:
    """Run layers start..stop-1 in parallel pairs, 10 and 14: `0-9 (10|11)@sum (12|13)@sum 14-29`.

    Args:
        n_layers: The number of layers, or the model.
        start: The first layer of the first pair.
        stop: The layer behind the last pair.
        scale: What the sum of a pair's two updates is multiplied by: 1 adds them, as in
            arXiv 2502.02790; 0.5 averages the two outputs.

    Returns:
        The plan, in which a pair is one step.

    Raises:
        PlanError: if the layers do not pair up or leave the model, and for a scale of zero.

    Example:
        >>> str(pair_parallel(30, 10, 14))
        '0-9 (10|11)@sum (12|13)@sum 14-29'
    """
    n_layers = check_n_layers(n_layers)
    window = _window(n_layers, _between(start, stop))
    if len(window) % 2:
        raise PlanError(f"{_span(window)} do not pair up; {len(window)} is odd")
    pairs = [Step.of(layer, layer + 1, scale=scale) for layer in window[::2]]
    return _replaced(n_layers, window, pairs)


def damped_block(
    n_layers: Layers, first: int, last: int, scale: float = 0.5, times: int = 2
) -> Plan:
    """Run layers first..last as one damped block, several times: `0-9 [10-13]@0.5*2 14-29`.

    A pass takes h to h + scale * (F(h) - h), with F the layers in order: loops that need no
    training, as in arXiv 2605.23872 and 2602.14759.

    Args:
        n_layers: The number of layers, or the model.
        first: The first layer of the block.
        last: Its last layer, which belongs to it.
        scale: What the block's update is multiplied by; finite and not zero.
        times: The number of passes.

    Returns:
        The plan, in which every pass is a step.

    Raises:
        PlanError: if the block is empty or leaves the model, and for a scale or a number of passes
            that is none.

    Example:
        >>> str(damped_block(30, 10, 13))
        '0-9 [10-13]@0.5*2 14-29'
    """
    n_layers = check_n_layers(n_layers)
    window = _window(n_layers, _between(first, last, beyond=1))
    if not is_whole(times) or not 1 <= times <= MAX_CALLS:
        raise PlanError(f"a block cannot be run {times} times; 1..{MAX_CALLS:,} fits")
    return _replaced(n_layers, window, [Step.of(Series(window), scale=scale)] * times)


def tracks(n_layers: Layers, window: Sequence[int], k: int = 2) -> Plan:
    """Cut the window into k chains that run side by side: `0-8 ([9-12]|[13-16]) 17-29`.

    All read the same stream, and their outputs are averaged. With as many chains as layers this
    is `parallel`.

    Args:
        n_layers: The number of layers, or the model.
        window: Consecutive ascending layers.
        k: The number of chains, which divides that of layers.

    Returns:
        The plan, in which the window is one step.

    Raises:
        PlanError: if the window is none or leaves the model, or does not part into k chains.

    Example:
        >>> str(tracks(30, range(9, 17), 2))
        '0-8 ([9-12]|[13-16]) 17-29'
    """
    n_layers = check_n_layers(n_layers)
    layers = _window(n_layers, window)
    fitting = [number for number in range(1, len(layers) + 1) if len(layers) % number == 0]
    if not is_whole(k) or k not in fitting:
        fit = " or ".join(filter(None, [", ".join(map(str, fitting[:-1])), str(fitting[-1])]))
        raise PlanError(
            f"{len(layers)} layers do not part into {k} tracks of one length; {fit} fit"
        )
    length = len(layers) // k
    chains = (Series(layers[i : i + length]) for i in range(0, len(layers), length))
    return _replaced(n_layers, layers, [Step.of(*chains)])


def _in_order(n_layers: int, layers: Iterable[int]) -> Plan:
    return Plan(tuple(map(Step.of, layers)), n_layers)


def _replaced(n_layers: int, window: range, steps: Iterable[Step]) -> Plan:
    """The intact model with `steps` in place of the window."""
    before, after = range(window.start), range(window.stop, n_layers)
    return Plan((*map(Step.of, before), *steps, *map(Step.of, after)), n_layers)


def _between(start: int, stop: int, beyond: int = 0) -> range:
    for layer in (start, stop):
        if not is_whole(layer):
            raise PlanError(f"{layer!r} is no layer; layers are whole numbers, from 0 on")
    return range(start, stop + beyond)


def _window(n_layers: int, window: Sequence[int]) -> range:
    """The window as a range, or PlanError if it is empty, has gaps or leaves the model."""
    if not len(window):
        raise PlanError("the window is empty; name at least one layer")
    first, last = window[0], window[-1]
    _check_layers(n_layers, first, last)
    layers = range(first, last + 1)
    if len(window) != len(layers) or any(a != b for a, b in zip(window, layers, strict=True)):
        raise PlanError(
            f"the window from {first} to {last} is not a run of consecutive ascending layers, "
            "such as range(13, 18)"
        )
    return layers


def _check_layers(n_layers: int, *layers: int) -> None:
    for layer in layers:
        if not is_whole(layer) or not 0 <= layer < n_layers:
            raise PlanError(
                f"layer {layer} does not exist; n_layers={n_layers} allows 0..{n_layers - 1}"
            )


def _span(layers: range) -> str:
    return f"layers {layers[0]} to {layers[-1]}"
