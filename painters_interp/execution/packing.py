"""Several sequences in one row: what they share once, no padding, each token seeing its own past.

Sequences are merged into a tree of tokens. A token keeps the position it has in its sequence and
attends to its ancestors alone. The arguments for that are not built per architecture: the model is
recorded on one plain sequence, every recorded tensor is indexed by position, and the attention
mask is cut down to the tree. A few architectures build their masks inside the layers, where this
cannot reach; `packable` finds out by trying.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, starmap
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from ..errors import out_of_memory
from ..models import device_of
from ..notices import warn
from ..plans import Plan
from ..plans.sharing import shared_length
from ..texts import padded
from .faces import Face
from .guards import Verdicts, nats_apart
from .kinds import few_layers
from .layer_arguments import Arguments
from .plain import plain
from .prefix_walk import Recording, head, record, record_on, walk
from .widening import in_float32

Place = tuple[int, int]
_TOLERANCE = 1e-3
_TRIED = 64  # tokens of a sequence that are looked at
_packable: Verdicts[bool] = Verdicts()


@dataclass(frozen=True, eq=False)
class Placed:
    """Recorded sequences: `places[i][t]` is the (row, column) of token t of sequence i."""

    recording: Recording
    places: tuple[tuple[Place, ...], ...]


@dataclass(frozen=True)
class Layout:
    """How sequences go through a model together.

    `record` lays them out for a face; `size` is the number of tokens that then pass through every
    layer, `length` that of a row of them; `order` is the sorting key that brings together those
    which fit well.
    """

    record: Callable[[TransformerBridge, Sequence[Sequence[int]], Face | None], Placed]
    size: Callable[[Sequence[Sequence[int]]], int]
    length: Callable[[Sequence[Sequence[int]]], int]
    order: Callable[[Sequence[int]], Any]

    def packs(self, sequences: Sequence[Sequence[int]], room: int) -> list[tuple[int, ...]]:
        """Indices of sequences to lay out together, in packs of at most `room` tokens.

        A sequence that is longer is a pack of its own; but one that shares most of itself with a
        pack joins it, up to twice its length: the choices after some worked examples.
        """
        packs: list[list[int]] = []
        taken = 0
        for index in sorted(range(len(sequences)), key=lambda i: self.order(sequences[i])):
            length = len(sequences[index])
            grown = self.size([sequences[i] for i in (*packs[-1], index)]) if packs else 0
            sharing = 2 * (grown - taken) < length and grown <= 2 * length
            if packs and (grown <= room or sharing):
                packs[-1].append(index)
                taken = grown
            else:
                packs.append([index])
                taken = length
        return [tuple(pack) for pack in packs]


@dataclass(frozen=True, eq=False)
class Tree:
    """Sequences merged where they begin alike.

    `paths[i][t]` is the node of token t of sequence i; `seen[a, b]` says whether node b is node a
    or one of its ancestors.
    """

    paths: tuple[tuple[int, ...], ...]
    positions: Int[Tensor, " node"]
    seen: Bool[Tensor, "node node"]


def grow(sequences: Sequence[Sequence[int]]) -> Tree:
    """The tree of `sequences`, nodes in order of first appearance."""
    children: dict[tuple[int, int], int] = {}
    parents: list[int] = []
    paths = []
    for sequence in sequences:
        path: list[int] = []
        for token in sequence:
            parent = path[-1] if path else -1
            node = children.setdefault((parent, token), len(parents))
            if node == len(parents):
                parents.append(parent)
            path.append(node)
        paths.append(tuple(path))
    seen = torch.eye(len(parents), dtype=torch.bool)
    for node, parent in enumerate(parents):  # parents come before their children
        if parent >= 0:
            seen[node] |= seen[parent]
    return Tree(tuple(paths), seen.sum(dim=1) - 1, seen)


def pad(
    model: TransformerBridge, sequences: Sequence[Sequence[int]], face: Face | None = None
) -> Placed:
    """Record `sequences` as a right-padded batch, one row each, for the layers of `face`."""
    batch = padded(sequences, range(len(sequences)), device_of(model))
    places = tuple(
        tuple((row, column) for column in range(len(sequence)))
        for row, sequence in enumerate(sequences)
    )
    return Placed(record_on(face, model, batch.tokens, batch.mask), places)


def pack(
    model: TransformerBridge, sequences: Sequence[Sequence[int]], face: Face | None = None
) -> Placed:
    """Record `sequences` as one row that holds their tree. Right on models that are `packable`."""
    if len(sequences) == 1:  # a tree without branches is a row, however long
        return pad(model, sequences, face)
    tree, device = grow(sequences), device_of(model)
    rows_of = pad(model, sequences, face)
    owner = {n: place for path, row in zip(tree.paths, rows_of.places, strict=True)
             for n, place in zip(path, row, strict=True)}  # fmt: skip
    rows, columns = torch.tensor([owner[n] for n in range(len(owner))], device=device).T
    positions, seen = tree.positions.to(device), tree.seen.to(device)
    layers = partial(_layers, model, face, max(2, *map(len, sequences)), positions, seen)
    stream = rows_of.recording.stream[rows, columns][None]
    places = tuple(tuple((0, node) for node in path) for path in tree.paths)
    return Placed(Recording(stream, layers(1), face=face, repeated=layers), places)


def _layers(
    model: TransformerBridge,
    face: Face | None,
    depth: int,
    positions: Tensor,
    seen: Tensor,
    times: int,
) -> tuple[Arguments, ...]:
    """What the layers are called with on so many rows that hold the tree."""
    # Two lengths tell which dimensions of a tensor are positions: those that grow.
    long, short = (_dummy(model, length, face, times) for length in (depth, depth - 1))
    placed: dict[int, Tensor] = {}

    def place(tensor: Tensor, shorter: Tensor) -> Tensor:
        # Layers share their masks and rotary tables: each is placed once.
        if id(tensor) not in placed:
            placed[id(tensor)] = _placed(tensor, shorter, positions, seen)
        return placed[id(tensor)]

    return tuple(
        Arguments(_mapped(place, a.args, b.args), _mapped(place, a.kwargs, b.kwargs))
        for a, b in zip(long.calls, short.calls, strict=True)
    )


def _longest(sequences: Sequence[Sequence[int]]) -> int:
    return max(map(len, sequences))


def _rows_size(sequences: Sequence[Sequence[int]]) -> int:
    return len(sequences) * _longest(sequences)


def _tree_size(sequences: Sequence[Sequence[int]]) -> int:
    """Nodes of the tree of sorted sequences: each shares most with the one before it."""
    return sum(map(len, sequences)) - sum(starmap(shared_length, pairwise(sequences)))


ROWS = Layout(pad, _rows_size, _longest, order=len)
TREES = Layout(pack, _tree_size, _tree_size, order=tuple)


def laid_out(
    model: TransformerBridge, sequences: Sequence[Sequence[int]], room: int
) -> tuple[Layout, list[tuple[int, ...]]]:
    """How `sequences` go through `model`, and which of them together (see `Layout.packs`).

    In trees, unless padded rows cost less, or `model` is not packable at the length of those that
    share a tree, of which it warns.
    """
    packs, rows = TREES.packs(sequences, room), ROWS.packs(sequences, room)
    if _cost(model, ROWS, sequences, rows) < _cost(model, TREES, sequences, packs):
        return ROWS, rows
    together = [len(sequences[index]) for members in packs if len(members) > 1 for index in members]
    if not together or packable(model, max(together)):
        return TREES, packs
    warn(
        f"{model.cfg.model_name} cannot score packed sequences; taking one row each, which is "
        "slower and no less exact"
    )
    return ROWS, rows


def _cost(
    model: TransformerBridge,
    layout: Layout,
    sequences: Sequence[Sequence[int]],
    packs: Sequence[Sequence[int]],
) -> int:
    """Products of a layer's matrices and of its attention, for all packs, in a unit of their own.

    A token takes about 12 d_model² of them in the matrices, 2 d_model for each token of its row.
    """
    inputs = [[sequences[index] for index in members] for members in packs]
    width = 6 * int(model.cfg.d_model)
    return sum(layout.size(some) * (width + layout.length(some)) for some in inputs)


def _placed(
    tensor: Tensor, shorter: Tensor, positions: Tensor, seen: Bool[Tensor, "node node"]
) -> Tensor:
    """A recorded tensor for the nodes of a tree instead of the positions of a sequence."""
    grown = [d for d in range(tensor.ndim) if tensor.shape[d] != shorter.shape[d]]
    for dimension in grown:
        tensor = tensor.index_select(dimension, positions)
    if grown != [tensor.ndim - 2, tensor.ndim - 1]:
        return tensor
    if tensor.dtype == torch.bool:
        return tensor & seen
    if tensor.is_floating_point():
        return tensor.masked_fill(~seen, torch.finfo(tensor.dtype).min)
    return tensor


def _mapped(place: Callable[[Tensor, Tensor], Tensor], a: Any, b: Any) -> Any:
    """`place` on every pair of tensors in two nests of the same form."""
    if isinstance(a, Tensor):
        return place(a, b)
    if isinstance(a, dict):
        return {name: _mapped(place, a[name], b[name]) for name in a}
    if isinstance(a, (tuple, list)):
        return type(a)(_mapped(place, x, y) for x, y in zip(a, b, strict=True))
    return a


def packable(model: TransformerBridge, depth: int) -> bool:
    """Whether `model` scores packed sequences of up to `depth` tokens as it does single ones.

    Tried on random sequences of up to that length, rounded up to a power of two, with branches
    early and late, in float32, on a few layers with every kind among them, on both faces, to 1e-3
    nats. Not packed for this time is a model whose numbers there are NaN, or for whose trial memory
    runs out.
    """
    depth = min(max(8, 1 << (depth - 1).bit_length()), int(model.cfg.n_ctx) - 1)
    return _packable.told(model, lambda: _agrees(model, depth), depth, else_=False)


def _agrees(model: TransformerBridge, depth: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    draw = torch.randint(1, model.cfg.d_vocab, (4, depth), generator=generator).tolist()
    trunk, early, late, other = draw
    quarter = depth // 4
    sequences = [trunk, trunk[:quarter] + early[quarter : 2 * quarter],
                 trunk[:-quarter] + late[-quarter:], other[:quarter]]  # fmt: skip
    plan = few_layers(model)
    other = plain(model)
    stacks = () if other is None else ((other.root, other.blocks),)
    with in_float32(model, *stacks):
        expected = _logits(model, plan, pad(model, sequences))
        for face in (None,) if other is None else (None, other):
            try:
                found = _logits(model, plan, pack(model, sequences, face))
            except RuntimeError as error:  # a layer that cannot take arguments of such shapes
                if out_of_memory(error):
                    raise
                return False
            if not nats_apart(found, expected) <= _TOLERANCE:  # nor for NaN
                return False
    return True


def _logits(model: TransformerBridge, plan: Plan, placed: Placed) -> Tensor:
    """Logits under `plan` at some tokens of every sequence, from the last."""
    stride = 1 + max(map(len, placed.places)) // _TRIED
    read = [place for path in placed.places for place in path[::-stride]]
    rows, columns = torch.tensor(read).T
    [(_, stream)] = walk(model, [plan], placed.recording)
    with head(model, placed.recording.face) as logits_of:
        return logits_of(stream[rows, columns])


def _dummy(model: TransformerBridge, length: int, face: Face | None, rows: int) -> Recording:
    tokens = torch.arange(length, device=device_of(model)).repeat(rows, 1) % model.cfg.d_vocab
    if face is None:
        return record(model, tokens)
    # With a pad behind it: attention that needs no mask would be given none.
    mask = nn.functional.pad(torch.ones_like(tokens), (0, 1))
    return record_on(face, model, nn.functional.pad(tokens, (0, 1)), mask)
