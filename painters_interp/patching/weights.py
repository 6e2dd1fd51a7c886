"""The weight space of one model: layers' tensors exchanged, averaged and compared.

A plan moves calls of whole layers; here the tensors move, also those of one part of a layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count

import pandas as pd
import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..borrowed.of_torch import children, own_parameters, set_versions, version_of
from ..borrowed.of_transformer_lens import inner, plain_name
from ..errors import PlanError, UnsupportedModelError
from ..execution import family_of, refuse_recomputation
from ..models import Model, as_model, widened

PARTS = ("layer", "attn", "mlp")
# Numbers of each layer compared at a time, so that large models need no second copy of themselves.
_CHUNK = 1 << 20
# Versions that autograd finds on tensors which hold other data: no two contexts share one, and none
# is reached by counting changes in place.
_marks = count(1 << 20, 1 << 10)


@contextmanager
def weights_swapped(
    model: Model, i: int, j: int, part: str = "layer"
) -> Iterator[TransformerBridge]:
    """Exchange the parameters and buffers of layers i and j for the length of a `with` block.

    Swapping whole layers is the plan that swaps their calls. The very same tensors come back on
    exit, also after an exception. Call `backward()` inside the block: after it, autograd refuses,
    because the weights are others.

    Args:
        model: Whatever `load_model` takes or returns.
        i: One layer.
        j: The other.
        part: "layer", or "attn" or "mlp": the tensors inside that module. The norms before them
            belong to the layer and stay.

    Yields:
        The model, with hooks.

    Raises:
        PlanError: for a layer that does not exist.
        UnsupportedModelError: if the two differ in shapes or kind, or have no such part, for
            weights that are offloaded, and while gradient checkpointing trains.

    Example:
        >>> with weights_swapped(model, 2, 3) as swapped:
        ...     logits = swapped("abc")
        >>> with painters.applied(model, "0 1 3 2 4 5"):
        ...     bool((model("abc") - logits).abs().max() < 1e-5)
        True
    """
    model = as_model(model)
    a, b = _alike(model, (i, j), part)
    with _replaced(model, {id(t): (t, other.data) for t, other in _both_ways(a, b)}):
        yield model


@contextmanager
def weights_averaged(
    model: Model, layers: Sequence[int], part: str = "layer"
) -> Iterator[TransformerBridge]:
    """Give each of `layers` the mean of their parameters for the length of a `with` block.

    The mean is taken in float64. Buffers are averaged only where they differ. Parts and restoration
    are those of `weights_swapped`.

    Args:
        model: Whatever `load_model` takes or returns.
        layers: The layers that are averaged.
        part: "layer", "attn" or "mlp".

    Yields:
        The model, with hooks.

    Raises:
        PlanError: for a layer that does not exist, and for none.
        UnsupportedModelError: as `weights_swapped`.

    Example:
        >>> with weights_averaged(model, [2, 3], part="mlp"):
        ...     alike = weight_similarity(model, part="mlp")
        >>> round(float(alike.loc[2, 3]), 6)
        1.0
    """
    model = as_model(model)
    found = _alike(model, layers, part)
    means: dict[int, tuple[Tensor, Tensor]] = {}
    for name, first in found[0].items():
        tensors = [tensors[name] for tensors in found]
        if all(torch.equal(first, other) for other in tensors):
            continue
        if not first.is_floating_point():
            raise UnsupportedModelError(
                f"{model.cfg.model_name}: {name} holds {first.dtype} and differs between layers "
                f"{', '.join(map(str, layers))}; only floating-point tensors have a mean"
            )
        mean = torch.stack([widened(t) for t in tensors]).mean(0).to(first)
        means |= {id(t): (t, mean) for t in tensors}
    with _replaced(model, means):
        yield model


def weight_similarity(model: Model, part: str = "layer", combine: str = "mean") -> pd.DataFrame:
    """Cosine of the flattened parameters of every two layers.

    The weights of norms are nearly parallel in every model and lift the mean of whole layers;
    "attn" and "mlp" have few or none.

    Args:
        model: Whatever `load_model` takes or returns.
        part: "layer", "attn" or "mlp".
        combine: "mean" averages the cosines of the kinds of parameters (query weights, ...), so
            that each kind counts alike; "joint" flattens all of them into one vector, where large
            ones dominate.

    Returns:
        A layer x layer DataFrame.

    Raises:
        UnsupportedModelError: for layers that cannot be compared.
        PatchError: for a part or way to combine that does not exist.

    Example:
        >>> weight_similarity(model, part="mlp").shape
        (6, 6)
    """
    model = as_model(model)
    if combine not in ("mean", "joint"):
        raise PlanError(f"combine={combine!r} is not a way to combine parameters; use mean, joint")
    grams = list(_grams(model, part).values())
    if combine == "joint":
        return _labelled(_cosine(torch.stack(grams).sum(0)))
    return _labelled(torch.stack([_cosine(gram) for gram in grams]).mean(0))


def weight_similarities(model: Model, part: str = "layer") -> dict[str, pd.DataFrame]:
    """`weight_similarity` of each kind of parameter by its name, such as `mlp.up_proj.weight`.

    Args:
        model: Whatever `load_model` takes or returns.
        part: "layer", "attn" or "mlp".

    Returns:
        A layer x layer matrix of cosines for each.

    Raises:
        UnsupportedModelError: for layers that cannot be compared.

    Example:
        >>> [*weight_similarities(model, part="mlp")]
        ['gate_proj.weight', 'up_proj.weight', 'down_proj.weight']
    """
    model = as_model(model)
    return {name: _labelled(_cosine(gram)) for name, gram in _grams(model, part).items()}


@contextmanager
def _replaced(model: TransformerBridge, data: dict[int, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Let tensors hold other data for a while; a tensor's key is its id, so that it counts once.

    A graph that was made with the one data and runs backward with the other would give wrong
    gradients: versions of their own let autograd refuse that. What was moved or converted inside
    stays so.
    """
    refuse_recomputation(model.original_model, "the exchange of weights")
    before = [(tensor, tensor.data) for tensor, _ in data.values()]
    tracked = [tensor for tensor, _ in before if not tensor.is_inference()]
    versions, mark = [version_of(tensor) for tensor in tracked], next(_marks)
    try:
        for tensor, other in data.values():
            tensor.data = other
        set_versions(tracked, [mark] * len(tracked))
        yield
    finally:
        changed = int(any(version_of(tensor) != mark for tensor in tracked))
        for tensor, own in before:
            tensor.data = own.to(device=tensor.device, dtype=tensor.dtype)
        set_versions(tracked, [version + changed for version in versions])


def _both_ways(a: dict[str, Tensor], b: dict[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    for name in a:
        yield a[name], b[name]
        yield b[name], a[name]


def _alike(model: TransformerBridge, layers: Sequence[int], part: str) -> list[dict[str, Tensor]]:
    """The tensors of a part of each layer by name, refused unless all layers are of one make."""
    n_layers = len(model.blocks)
    if not layers:
        raise PlanError("no layers named; give at least one")
    for layer in layers:
        if not 0 <= layer < n_layers:
            raise PlanError(
                f"layer {layer} does not exist; {model.cfg.model_name} has layers 0..{n_layers - 1}"
            )
    for layer in layers:
        _refuse_other_kind(model, layers[0], layer)
    found = [_tensors(model, layer, part) for layer in layers]
    if offloaded := next((name for ts in found for name, t in ts.items() if t.is_meta), None):
        raise UnsupportedModelError(
            f"{model.cfg.model_name}: {offloaded} is offloaded, and read anew at every call; load "
            "the model whole to exchange or compare its weights"
        )
    places = {str(tensor.device) for tensors in found for tensor in tensors.values()}
    if len(places) > 1:
        raise UnsupportedModelError(
            f"{model.cfg.model_name}: these layers are on {', '.join(sorted(places))}; load the "
            "model whole to exchange or compare its weights"
        )
    for layer, tensors in zip(layers, found, strict=True):
        _refuse_other_shapes(model, layers[0], found[0], layer, tensors)
    return found


def _tensors(model: TransformerBridge, layer: int, part: str) -> dict[str, Tensor]:
    """Every tensor of a part, also the copies that a bridge makes of a fused matrix."""
    module = _module(model, layer, part)
    all_of_it = chain(module.named_parameters(), module.named_buffers())
    outside = _outside(model, layer, part)
    return {name: tensor for name, tensor in all_of_it if id(tensor) not in outside}


def _module(model: TransformerBridge, layer: int, part: str) -> nn.Module:
    block: nn.Module = model.blocks[layer]
    if part not in PARTS:
        raise UnsupportedModelError(f"no part {part!r}; there are {', '.join(PARTS)}")
    if part != "layer" and part not in (known := _submodules(model, layer)):
        raise UnsupportedModelError(
            f"{model.cfg.model_name}: layer {layer} has no part {part!r}; it has {', '.join(known)}"
        )
    return block if part == "layer" else getattr(block, part)


def _submodules(model: TransformerBridge, layer: int) -> list[str]:
    return list(model.blocks[layer].submodules)


def _outside(model: TransformerBridge, layer: int, part: str) -> set[int]:
    """What a part holds but does not own: BERT's `mlp` is a view of the whole layer."""
    if part != "mlp" or "attn" not in _submodules(model, layer):
        return set()
    attention = _module(model, layer, "attn")
    return {id(t) for t in chain(attention.parameters(), attention.buffers())}


def _refuse_other_kind(model: TransformerBridge, first: int, layer: int) -> None:
    """What the configuration says of each layer must agree: it is not in the weights."""
    family = family_of(model)
    for config in family.configs:
        for field in family.per_layer:
            kinds = getattr(config, field, None)
            if kinds is not None and kinds[first] != kinds[layer]:
                raise UnsupportedModelError(
                    f"{model.cfg.model_name}: layers {first} and {layer} differ in {field}: "
                    f"{kinds[first]} and {kinds[layer]}; weights go between layers of one kind"
                )


def _refuse_other_shapes(
    model: TransformerBridge,
    first: int,
    a: dict[str, Tensor],
    layer: int,
    b: dict[str, Tensor],
) -> None:
    for name in dict.fromkeys([*a, *b]):
        shapes = [tuple(t[name].shape) if name in t else "missing" for t in (a, b)]
        if shapes[0] != shapes[1] or a[name].dtype != b[name].dtype:
            raise UnsupportedModelError(
                f"{model.cfg.model_name}: layers {first} and {layer} differ in {plain_name(name)}: "
                f"{shapes[0]} and {shapes[1]}; weights go between layers of one shape"
            )


def _own(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The parameters of the wrapped model under its own names, without the bridge's copies."""
    wrapped = inner(module)
    if wrapped is not None:
        yield from _own(wrapped, prefix)
        return
    for name, parameter in own_parameters(module).items():
        if parameter is not None:
            yield prefix + name, parameter
    for name, child in children(module).items():
        if child is not None:
            yield from _own(child, f"{prefix}{name}.")


def _grams(model: TransformerBridge, part: str) -> dict[str, Tensor]:
    """For each kind of parameter the inner products of its flattened values in all layers."""
    layers = range(len(model.blocks))
    _alike(model, layers, part)
    found = []
    for layer in layers:
        outside = _outside(model, layer, part)
        own = _own(_module(model, layer, part))
        found.append({name: tensor for name, tensor in own if id(tensor) not in outside})
    return {name: _gram([tensors[name] for tensors in found]) for name in found[0]}


@torch.no_grad()
def _gram(tensors: Sequence[Tensor]) -> Tensor:
    flat = [tensor.flatten() for tensor in tensors]
    total = torch.zeros((len(flat), len(flat)), dtype=torch.float64)
    for start in range(0, len(flat[0]), _CHUNK):
        rows = torch.stack([widened(t[start : start + _CHUNK].cpu()) for t in flat])
        total += rows @ rows.T
    return total


def _cosine(gram: Tensor) -> Tensor:
    norms = gram.diagonal().sqrt()
    return gram / (norms[:, None] * norms)


def _labelled(matrix: Tensor) -> pd.DataFrame:
    layers = pd.RangeIndex(len(matrix), name="layer")
    return pd.DataFrame(matrix.numpy(), index=layers, columns=layers)
