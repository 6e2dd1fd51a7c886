"""`export`: a model under a plan as an ordinary checkpoint, which loads without this package."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel

from ..errors import OutputError, UnsupportedModelError, out_of_memory
from ..execution import applied, as_plan, in_float32, undisturbed
from ..models import Model, as_model, device_of, of_planned
from ..models.quiet import first_line, without_bars
from ..models.writing import said_of, write_checkpoint
from ..notices import NOT_FINITE
from ..plans import Plan
from ..storage import replacing
from .cards import card
from .places import refuse_folder, refuse_shard
from .sequences import in_sequence

TOLERANCE = 1e-5  # of logits up to 1, in proportion of larger ones
_TOKENS, _MOST = 24, 1200  # in a row that is compared; more where a window slides


@of_planned
def export(
    model: Model,
    plan: Plan | str,
    folder: str | Path,
    force: bool = False,
    *,
    shard: str = "5GB",
) -> Path:
    """Write a model under a plan as a Hugging Face checkpoint that needs nothing else to load.

    For plans of layers in sequence: dropped, moved, repeated. Weights are copied slot by slot, and
    what the config says layer by layer is put in their order; tokenizer and chat template come
    along, and a model card. Scaled layers and halves are folded into the matrices that write into
    the stream. The checkpoint is read back with transformers alone and its logits are compared
    with those under `applied`, in float32 or float64, before the folder appears: whole, or not.

    Args:
        model: a bridge, a Hugging Face model, or a name; it is left as it is.
        plan: what is to run.
        folder: where to write; empty, or not there yet.
        force: whether a checkpoint that is there may be replaced. Nothing else ever is.
        shard: how large a file of weights may be.

    Returns:
        The folder.

    Raises:
        PlanError: a plan with branches, which no ordinary model runs: see `recipe`.
        UnsupportedModelError: where what was read back computes something else: layers that are
            scaled in a model that does not only add to the stream, or that know their own place.
        OutputError: a folder that is not empty, or that cannot be written.

    Example:
        >>> folder = export(model, "0-2 5", tmp_path / "four-layers")
        >>> painters.load_model(folder).cfg.n_layers
        4
    """
    model, folder = as_model(model), Path(folder)
    plan = as_plan(plan, model)
    refuse_folder(folder, force)
    refuse_shard(shard)
    _refuse_own(model, folder)
    fresh = in_sequence(model, plan)
    with replacing(folder) as part:
        with said_of(str(folder), "nothing is left of it"):
            _write(model, plan, fresh, part, shard)
        del fresh
        _refuse_others(model, plan, part)
    return folder


def _refuse_own(model: TransformerBridge, folder: Path) -> None:
    source = model.original_model.config.name_or_path
    if source and folder.resolve() == Path(source).resolve():
        raise OutputError(f"{folder} holds the model that this is made from; give another folder")


def _write(
    model: TransformerBridge, plan: Plan, fresh: PreTrainedModel, part: Path, shard: str
) -> None:
    write_checkpoint(fresh, model.tokenizer, part, max_shard_size=shard)
    (part / "README.md").write_text(card(model, plan), encoding="utf-8")


def _refuse_others(model: TransformerBridge, plan: Plan, part: Path) -> None:
    """Raise UnsupportedModelError unless the checkpoint computes what `applied` does."""
    root = model.original_model
    judged = torch.float64 if root.dtype == torch.float64 else torch.float32
    try:
        with without_bars():
            read, info = type(root).from_pretrained(
                part, dtype=judged, attn_implementation="eager", output_loading_info=True
            )
    except Exception as error:  # whatever a class makes of an order it was not made for
        if out_of_memory(error):
            raise
        raise UnsupportedModelError(
            f"plan {str(plan)!r}: what was written cannot be read back ({first_line(error)})"
        ) from error
    lacking = [name for name in info["missing_keys"] if "pooler" not in name]
    apart = _apart(model, plan, read.to(device_of(model)).eval())
    if lacking or not apart <= TOLERANCE:  # nor for NaN
        raise UnsupportedModelError(
            f"plan {str(plan)!r}: a plain {type(root).__name__} of these layers computes something "
            f"else (logits differ by {apart:.1g} of the largest). Layers scaled as a whole can be "
            "written down where attention and MLP read one stream, halves where they only add to "
            "it; layers that know their own place cannot be moved, and no checkpoint holds rotary "
            "tables that were rounded by .to(...). Write a recipe instead: painters.recipe, or "
            "--recipe"
        )


def _apart(model: TransformerBridge, plan: Plan, read: PreTrainedModel) -> float:
    """The largest difference of two models' logits, as a share of the largest logit above 1.

    With pads on the left and without; pads are left out in float64, of which eager attention makes
    NaN there.
    """
    root, tokens = model.original_model, _tokens(model)
    whole = torch.ones_like(tokens)
    masks = [whole]
    if read.dtype != torch.float64:
        masks.append(left := whole.clone())
        left[0, : tokens.shape[1] // 3] = 0
    wide = in_float32(model) if root.dtype.itemsize < read.dtype.itemsize else nullcontext()
    with undisturbed(model), wide, applied(model, plan):
        expected = [_outputs(root, tokens, mask) for mask in masks]
    if not all(a[mask.bool()].isfinite().all() for a, mask in zip(expected, masks, strict=True)):
        raise UnsupportedModelError(f"plan {str(plan)!r} cannot be judged: {NOT_FINITE}")
    with torch.no_grad():
        found = [_outputs(read, tokens, mask) for mask in masks]
    gaps = [
        ((a - b)[mask.bool()].abs().max() / b[mask.bool()].abs().max().clamp(min=1))
        for a, b, mask in zip(found, expected, masks, strict=True)
    ]
    return float(torch.stack(gaps).max())


def _outputs(
    root: Any, tokens: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"]
) -> Float[Tensor, "row pos wide"]:
    """Logits; final states of a model without a head."""
    outputs: Tensor = root(input_ids=tokens, attention_mask=mask)[0]
    return outputs


def _tokens(model: TransformerBridge) -> Int[Tensor, "row pos"]:
    """Two rows of tokens that reach beyond a sliding window, where it is not too long."""
    config = model.original_model.config.get_text_config()
    window = int(getattr(config, "sliding_window", None) or 0) + _TOKENS
    length = min(window if window <= _MOST else _TOKENS, int(model.cfg.n_ctx))
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, int(model.cfg.d_vocab), (2, length), generator=generator)
    return tokens.to(device_of(model))
