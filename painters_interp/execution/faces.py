"""What of a model is called when its layers are called directly: the model itself, and its layers.

A layer learns from its model what it is called with. The loop of the model walks collectors
instead of layers, which note that; then the layers can be called in any order, on any rows.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities.position_ids import accepts_mask_derived_position_ids

from ..models import device_of
from ..plans import Plan
from .anatomy import Family
from .application import ready
from .layer_arguments import Arguments, bounded
from .places import Run, collectors
from .slots import Recorded
from .stepping import after_step


@dataclass(frozen=True, eq=False)
class Face:
    """A model and its layers: `root` is called with tokens, on `device`, `blocks` with streams.

    `known` is what a verdict on it depends on, besides what one on its bridge does.
    """

    root: Any
    family: Family
    blocks: tuple[nn.Module, ...]
    device: torch.device
    known: Hashable = None

    def inputs(
        self, tokens: Int[Tensor, "row column"], mask: Int[Tensor, "row column"] | None
    ) -> dict[str, Any]:
        """What `root` is called with to read rows of tokens, padded on any side.

        Positions are counted as the bridge counts them: from the first real token.
        """
        inputs: dict[str, Any] = {"input_ids": tokens, "return_dict": True}
        if self.family.causal:
            inputs["use_cache"] = False
        if mask is None:
            return inputs
        inputs["attention_mask"] = mask
        if accepts_mask_derived_position_ids(self.root):
            columns = torch.arange(tokens.shape[1], device=tokens.device)
            counted = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
            moved = ((counted != columns) & mask.bool()).any(dim=1, keepdim=True)
            positions = torch.where(moved, counted, columns)
            inputs["position_ids"] = positions.masked_fill(mask == 0, 0)
        return inputs

    @contextmanager
    def running(self, run: Run) -> Iterator[None]:
        """Let `run` stand in the place of all layers, whatever `root` is called with."""
        places = collectors(self.family.output, len(self.blocks), partial(_bounded, run))
        with self.family.exchanged(places):
            yield

    @contextmanager
    def under(self, plan: Plan) -> Iterator[None]:
        """Let `root` run a plan of whole layers, gradients included, one call after the other."""
        with self.running(partial(_follow, plan, self.blocks)):
            yield

    def recorded(self, inputs: dict[str, Any]) -> tuple[Tensor, tuple[Arguments, ...]]:
        """The embedding output and what each layer would be called with; no layer runs."""
        found: list[tuple[Tensor, tuple[Arguments, ...]]] = []
        with self.running(partial(_note, found)), suppress(Recorded):
            self.root(**inputs)
        [recorded] = found
        return recorded

    def logits(self, rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """The final norm, the head, and what the model does besides, on rows of streams."""
        out: Tensor = self._behind(self.root, rows).logits
        return out.squeeze(1)

    def states(self, rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """What the model does between its last layer and its head, on rows of streams."""
        out: Tensor = self._behind(self.root.base_model, rows).last_hidden_state
        return out.squeeze(1)

    def _behind(self, root: Any, rows: Tensor) -> Any:
        """What `root` makes of rows that its layers might have left."""
        dummy = torch.zeros((len(rows), 1), dtype=torch.long, device=self.device)
        inputs = {"input_ids": dummy, "return_dict": True}
        if self.family.causal:
            inputs["use_cache"] = False
        with self.running(lambda stream, calls: rows.unsqueeze(1)):
            return root(**inputs)


def _bounded(run: Run, stream: Tensor, calls: tuple[Arguments, ...]) -> Tensor:
    """Run with masks that stay finite."""
    return run(stream, bounded(calls))


def _note(
    found: list[tuple[Tensor, tuple[Arguments, ...]]], stream: Tensor, calls: tuple[Arguments, ...]
) -> Tensor:
    """Keep what the layers would be called with, and end the pass."""
    found.append((stream, calls))
    raise Recorded


def _follow(
    plan: Plan, blocks: Sequence[nn.Module], stream: Tensor, calls: tuple[Arguments, ...]
) -> Tensor:
    """The stream behind all steps of a plan."""
    for step in plan.steps:
        stream = after_step(step, stream, blocks, [calls[call.layer] for call in step.calls])
    return stream


def hooked(model: TransformerBridge) -> Face:
    """The face of `model` that its hooks see."""
    return Face(model.original_model, ready(model), tuple(model.blocks), device_of(model))
