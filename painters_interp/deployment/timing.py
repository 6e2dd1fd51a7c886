"""`latency`: how long plans take, measured side by side."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from .. import statistics
from ..arguments import counting, several
from ..errors import PaintersError, UnsupportedModelError
from ..execution import as_plan, loop_under, measuring, overlapped_under, ready
from ..models import Model, as_model, device_of, of_planned
from ..models.fingerprint import model_columns
from ..plans import Call, Plan, Step
from ..plans import groups as groups_of
from ..progress import progress
from ..strategies import full
from ..tables import Results, labelled
from ..tables.labels import Plans, labels_for, with_intact
from .sequences import in_sequence

_MOST = 1000  # repeats
_SPANS = ("prefill", "token")
IN_TURN, OVERLAPPED = "in turn", "overlapped"  # members of a parallel group
_WHOLE, _SLOTS = "a model of its own", "inside the model"


@of_planned
@counting(batch=1, length=1, new=0, repeats=2, seed=0)
def latency(
    model: Model,
    plans: Plans,
    batch: int | Sequence[int] = 1,
    length: int | Sequence[int] = 128,
    *,
    new: int = 16,
    repeats: int = 10,
    seed: int = 0,
    groups: str = IN_TURN,
) -> pd.DataFrame:
    """Measure how long plans take to read a prompt, and to write a token behind it.

    The plans take turns, in another order every time, after a round that does not count, and the
    intact model among them: so each ratio is of times that were taken side by side. Layers in
    sequence run as the stock model that `export` would write, over the same weights, with the
    fastest attention of its class. Groups, series and scaled layers run inside the model's own
    loop, on its plain face where it has one, members of a group one after the other; with
    `groups="overlapped"` such plans run a second time, the members of each group launched together,
    on an accelerator on a stream each. On a processor, which has one queue, that saves nothing.

    Args:
        model: a bridge, a Hugging Face model, or a name; in evaluation mode meanwhile.
        plans: plans, with labels or without; the intact model comes first where it is missing.
        batch: rows, one number or several.
        length: tokens of a prompt, one number or several.
        new: tokens to write; fewer than 1 measures reading alone, as for encoders.
        repeats: how often each is measured.
        seed: of the order, the tokens and the bootstrap.
        groups: "in turn", or "overlapped" to time that too.

    Returns:
        A row per labelled plan, batch and length: model, revision, dtype, plan, n_layers, calls,
        depth, weight_bytes (of the layers that it calls and all around them, each once), runs_as,
        device, threads, batch, length, new, repeats; prefill, prefill_low, prefill_high (seconds:
        median and its 95 % bootstrap interval), prefill_ratio, prefill_ratio_low,
        prefill_ratio_high (median of its ratios to the intact model, turn by turn); and the same
        for token: seconds per token written. NaN where nothing is written. With overlapped groups
        also prefill_overlapped, token_overlapped with _low and _high: the median ratio of a pass
        whose members go together to one with members in turn; below 1 it has paid. NaN for plans
        without groups, and for a model without a plain face.

    Raises:
        PaintersError: numbers that are none, and prompts longer than the model's context.
        PlanError: a plan that the model cannot run, or one applied already.

    Example:
        >>> table = latency(model, {"skip": "0-2 5"}, length=8, new=2, repeats=3)
        >>> table[["label", "calls"]].values.tolist()
        [['intact', 6], ['skip', 4]]
    """
    model = as_model(model)
    causal = ready(model).causal
    if groups not in (IN_TURN, OVERLAPPED):
        raise PaintersError(f"groups={groups!r} is not one of {IN_TURN!r}, {OVERLAPPED!r}")
    batches, lengths = _numbers("batch", batch), _numbers("length", length)
    new = max(new, 0) if causal else 0
    _refuse(model, lengths, new, repeats)
    intact = full(len(model.blocks))
    labels = with_intact(labels_for(plans, len(model.blocks)), str(intact))
    distinct = [as_plan(text, model) for text in labels["plan"].unique()]
    rows: list[dict[str, Any]] = []
    with measuring(model), torch.no_grad():
        runners = [_Runner.of(model, plan) for plan in distinct]
        together = _overlapped(model, distinct) if groups == OVERLAPPED else {}
        everyone = [*runners, *together.values()]
        tokens_read = sum(batches) * (sum(lengths) + len(lengths) * new)
        with progress("latency", _calls(everyone, tokens_read, repeats)) as advance:
            for rows_at_once in batches:
                for tokens in lengths:
                    prompt = _prompt(model, rows_at_once, tokens + new, seed)
                    taken = _turns(everyone, prompt, new, repeats, seed, advance)
                    asked = {"batch": rows_at_once, "length": tokens, "new": new}
                    asked["repeats"] = repeats
                    base = taken[distinct.index(intact)]
                    pairs = dict(zip(together, taken[len(runners) :], strict=True))
                    for runner, own in zip(runners, taken, strict=False):
                        row = {**_facts(model, runner), **asked, **_summary(own, base, seed)}
                        if groups == OVERLAPPED:
                            row |= _paid(pairs.get(runner.plan), own, seed)
                        rows.append(row)
    return Results(labelled(labels, pd.DataFrame(rows)))


@counting(length=1, repeats=2, seed=0)
def resampled_ratio(
    model: Model, plan: Plan, length: int = 128, repeats: int = 10, seed: int = 0
) -> tuple[Float[np.ndarray, " turn"], Float[np.ndarray, " resample"]]:
    """How long a plan takes to read a prompt, over the intact model beside it, turn by turn.

    Members of its groups go together where the model allows it, as in `latency`.

    Args:
        model: see `latency`.
        plan: the plan.
        length: tokens of the prompt.
        repeats: turns.
        seed: of the order, the tokens and the bootstrap.

    Returns:
        The ratio of each turn, and their median on bootstrap samples of turns.

    Raises:
        PaintersError: as `latency`.
        PlanError: as `latency`.

    Example:
        >>> skipped = painters.Plan.parse("0-2 5", 6)
        >>> ratios, medians = resampled_ratio(model, skipped, length=8, repeats=3)
        >>> len(ratios), medians.ndim
        (3, 1)
    """
    model = as_model(model)
    _refuse(model, [length], 0, repeats)
    with measuring(model), torch.no_grad():
        own = _overlapped(model, [plan]).get(plan) or _Runner.of(model, plan)
        runners = [_Runner.of(model, full(plan.n_layers)), own]
        prompt = _prompt(model, 1, length, seed)
        with progress("latency", _calls(runners, length, repeats)) as advance:
            base, taken = _turns(runners, prompt, 0, repeats, seed, advance)
    ratios = taken[:, 0] / base[:, 0]
    return ratios, _medians(ratios, seed)


def _numbers(name: str, given: int | Sequence[int]) -> list[int]:
    numbers = [*dict.fromkeys(several(given, int))]
    if not numbers:
        raise PaintersError(f"{name}={given!r} is no number of rows or tokens; give 1 or more")
    return numbers


def _refuse(model: TransformerBridge, lengths: Sequence[int], new: int, repeats: int) -> None:
    if repeats > _MOST:
        raise PaintersError(f"repeats={repeats} is too much; {_MOST} or less will do")
    if (longest := max(lengths) + new) > model.cfg.n_ctx:
        raise PaintersError(
            f"{longest} tokens, prompt and new, exceed the model's context of {model.cfg.n_ctx}"
        )


@dataclass(frozen=True, eq=False)
class _Runner:
    """A plan ready to run: what is entered around a pass, and the model that is called in it."""

    plan: Plan
    runs_as: str
    root: Any
    entered: Callable[[], AbstractContextManager[Any]]

    @classmethod
    def of(cls, model: TransformerBridge, plan: Plan) -> "_Runner":
        """A stock model of its own where that is the same, else the model under the plan."""
        if all(map(_whole_layer, plan)):
            try:
                root = in_sequence(model, plan, attention=None).to(device_of(model)).eval()
            except UnsupportedModelError:  # whose config cannot say this order
                pass
            else:
                return cls(plan, _WHOLE, root, nullcontext)
        with loop_under(model, plan) as face:
            root = face.root
        return cls(plan, _SLOTS, root, lambda: loop_under(model, plan))

    def seconds(self, tokens: Int[Tensor, "row pos"], new: int) -> tuple[float, float]:
        """Seconds for the prompt, and for each of the `new` tokens at its end; NaN for none."""
        with self.entered():
            prompt = tokens[:, : tokens.shape[1] - new]
            start = _now(tokens.device)
            out = self.root(input_ids=prompt, **({"use_cache": True} if new else {}))
            read = _now(tokens.device)
            cache = out.past_key_values if new else None
            for place in range(prompt.shape[1], tokens.shape[1]):
                self.root(
                    input_ids=tokens[:, place : place + 1], past_key_values=cache, use_cache=True
                )
            written = _now(tokens.device)
        return read - start, (written - read) / new if new else np.nan


def _overlapped(model: TransformerBridge, plans: Sequence[Plan]) -> dict[Plan, _Runner]:
    """Of every plan with groups, what runs their members together, where the model allows it."""
    found: dict[Plan, _Runner] = {}
    for plan in plans:
        if not groups_of(plan):
            continue
        with overlapped_under(model, plan) as face:
            if face is not None:
                found[plan] = _Runner(
                    plan, OVERLAPPED, face.root, partial(overlapped_under, model, plan)
                )
    return found


def _whole_layer(step: Step) -> bool:
    match step.branches:
        case (Call(half=None),):
            return step.scale == 1
    return False


def _now(device: torch.device) -> float:
    """The time when all that was asked of a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def _prompt(model: TransformerBridge, rows: int, tokens: int, seed: int) -> Int[Tensor, "row pos"]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(1, int(model.cfg.d_vocab), (rows, tokens), generator=generator)
    return drawn.to(device_of(model))


def _calls(runners: Sequence[_Runner], tokens: int, repeats: int) -> int:
    """Token-layer calls of all turns."""
    return (repeats + 1) * tokens * sum(len(runner.plan.calls) for runner in runners)


def _turns(
    runners: Sequence[_Runner],
    tokens: Int[Tensor, "row pos"],
    new: int,
    repeats: int,
    seed: int,
    advance: Callable[[int], object],
) -> list[Float[np.ndarray, "turn span"]]:
    """Seconds of everyone at every turn; a first turn warms up and does not count."""
    rng = np.random.default_rng(seed)
    taken = np.zeros((repeats + 1, len(runners), len(_SPANS)))
    for turn in range(repeats + 1):
        for k in rng.permutation(len(runners)):
            taken[turn, k] = runners[k].seconds(tokens, new)
            advance(len(runners[k].plan.calls) * tokens.numel())
    return [taken[1:, k] for k in range(len(runners))]


def _paid(
    together: Float[np.ndarray, "turn span"] | None,
    in_turn: Float[np.ndarray, "turn span"],
    seed: int,
) -> dict[str, float]:
    """How long members together take beside members in turn."""
    found: dict[str, float] = {}
    for k, span in enumerate(_SPANS):
        ratios = np.full(len(in_turn), np.nan)
        if together is not None:
            ratios = together[:, k] / in_turn[:, k]
        low, high = statistics.percentiles(_medians(ratios, seed))
        found[f"{span}_overlapped"] = float(np.median(ratios))
        found |= {f"{span}_overlapped_low": float(low), f"{span}_overlapped_high": float(high)}
    return found


def _facts(model: TransformerBridge, runner: _Runner) -> dict[str, Any]:
    plan = runner.plan
    return {
        **model_columns(model),
        "plan": str(plan),
        "n_layers": plan.n_layers,
        "calls": len(plan.calls),
        "depth": plan.depth,
        "weight_bytes": _weight_bytes(model, plan),
        "runs_as": runner.runs_as,
        **machine(model),
    }


def machine(model: TransformerBridge) -> dict[str, Any]:
    """What runs the model: device, and threads of the processor."""
    device = device_of(model)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "threads": torch.get_num_threads()}


def _weight_bytes(model: TransformerBridge, plan: Plan) -> int:
    """Bytes of the weights that a pass reads, each once: called layers, and all around them."""
    called = {*plan.layer_calls}
    idle: list[nn.Module] = [b for i, b in enumerate(model.blocks) if i not in called]
    left_out = {id(p) for block in idle for p in block.parameters()}
    weights = {id(p): p for p in model.original_model.parameters() if id(p) not in left_out}
    return sum(p.numel() * p.element_size() for p in weights.values())


def _summary(
    taken: Float[np.ndarray, "turn span"], base: Float[np.ndarray, "turn span"], seed: int
) -> dict[str, float]:
    found: dict[str, float] = {}
    for k, span in enumerate(_SPANS):
        for name, values in ((span, taken[:, k]), (f"{span}_ratio", taken[:, k] / base[:, k])):
            low, high = statistics.percentiles(_medians(values, seed))
            found |= {name: float(np.median(values))}
            found |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def _medians(values: Float[np.ndarray, " turn"], seed: int) -> Float[np.ndarray, " resample"]:
    """Medians of bootstrap samples of turns."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(1000, len(values)))
    medians: np.ndarray = np.median(values[drawn], axis=1)
    return medians
