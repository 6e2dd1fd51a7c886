"""Recipes: base model, revision and plan in a small file, for plans that no checkpoint can say."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from transformer_lens.model_bridge import TransformerBridge

from ..errors import ModelError, PlanError, UnsupportedModelError
from ..execution import as_plan, ready
from ..models import Model, as_model, edited_weight, identity, of_planned
from ..models.sources import on_hub
from ..plans import Plan
from ..storage import write_whole
from .cards import source_of
from .held import PlannedModel, planned
from .recipe_files import FORMAT, read, recipe_file


@of_planned
def recipe(model: Model, plan: Plan | str, path: str | Path, force: bool = False) -> Path:
    """Write down a model and a plan, to be opened by `load_model(path)` as a planned model.

    The model is named, not copied, so its weights in memory must be those of its files; one of the
    hub is named with its revision, and opened at that.

    Args:
        model: one that came from a name, a hub id or a folder.
        plan: any plan that the model can run.
        path: a file; the ending `.json` is added where it lacks.
        force: whether a recipe that is there may be replaced.

    Returns:
        The path.

    Raises:
        ModelError: a model made in memory, which nothing is known to load again, and one whose
            weights were changed in memory.
        PlanError: a plan that the model cannot run.
        OutputError: a file that is there, or that cannot be written.

    Example:
        >>> folder = painters.export(model, "0-5", tmp_path / "base")
        >>> path = recipe(folder, "0-2 (3|4) 5", tmp_path / "grouped.json")
        >>> with painters.load_model(path) as opened:
        ...     print(opened.plan)
        0-2 (3|4) 5
    """
    model = as_model(model)
    plan, path = as_plan(plan, model), recipe_file(path, force)
    ready(model)
    who = identity(model)
    facts = {"format": FORMAT, "model": _named(model), "revision": who["revision"]}
    facts |= {"dtype": who["dtype"].partition("+")[0], "plan": str(plan)}
    return write_whole(path, f"{json.dumps(facts, indent=1)}\n".encode())


def _named(model: TransformerBridge) -> str:
    if (source := source_of(model)) is None:
        raise ModelError(
            f"{model.cfg.model_name} was made in memory, so that a recipe cannot say where it is; "
            "save it to a folder and load it from there"
        )
    if (name := edited_weight(model)) is not None:
        raise ModelError(
            f"{model.cfg.model_name} has other weights in memory than in its files ({name}), and "
            "would be opened again without them; save it to a folder and load it from there"
        )
    return source


def opened(path: str | Path, **options: Any) -> PlannedModel:
    """The planned model of a recipe; `load_model` says what else can be given.

    Raises ModelError for a file that is no recipe, and for a base model of another revision.
    """
    from ..models import load_model

    facts = read(Path(path))
    options = {"dtype": facts["dtype"]} | {k: v for k, v in options.items() if v is not None}
    revision = facts["revision"] if on_hub(facts["model"]) else None
    model = load_model(facts["model"], revision=revision, **options)
    found, wanted = identity(model)["revision"], facts["revision"]
    if found != wanted:
        raise ModelError(
            f"{path} is for {facts['model']} of revision {wanted}; what lies there now is {found}"
        )
    return planned(model, facts["plan"])


@of_planned
def mergekit(model: Model, plan: Plan | str) -> str:
    """The YAML of a mergekit passthrough merge that stacks the layers of `plan`.

    Args:
        model: One that came from a name, a hub id or a folder.
        plan: Whole layers in sequence.

    Returns:
        The text of the file.

    Raises:
        PlanError: for plans of anything but whole layers in sequence.
        UnsupportedModelError: where a config says layer by layer what each is, which mergekit does
            not put in order.
        ModelError: for a model made or changed in memory.

    Example:
        >>> folder = painters.export(model, "0-5", tmp_path / "whole")
        >>> print(mergekit(folder, "0-2 5").splitlines()[0])
        merge_method: passthrough
    """
    model = as_model(model)
    plan, family = as_plan(plan, model), ready(model)
    for step in plan.steps:
        if step.size != 1 or step.scale != 1 or step.calls[0].half:
            raise PlanError(
                f"plan {str(plan)!r}: step {step} is no whole layer, which is all that a "
                "passthrough merge stacks"
            )
    calls = plan.layer_calls
    kinds = family.layer_types
    if [kinds[layer] for layer in calls] != [kinds[k % len(kinds)] for k in range(len(calls))]:
        raise UnsupportedModelError(
            f"{model.cfg.model_name} has layers of {len({*kinds})} kinds, whose order mergekit "
            "leaves as it was; painters export puts it right"
        )
    source = _elsewhere(model)
    slices = [
        {"sources": [{"model": source, "layer_range": [first, last + 1]}]}
        for first, last in _stretches(calls)
    ]
    facts = {
        "merge_method": "passthrough",
        "dtype": identity(model)["dtype"].partition("+")[0],
        "slices": slices,
    }
    text: str = yaml.safe_dump(facts, sort_keys=False)
    return text


def _elsewhere(model: TransformerBridge) -> str:
    """What other libraries find the model under: a folder, or a name of the hub and a revision."""
    if not on_hub(source := _named(model)):
        return str(Path(model.original_model.config.name_or_path).resolve())
    revision = identity(model)["revision"]
    return source if revision is None else f"{source}@{revision}"


def _stretches(calls: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last layer of every stretch of layers that follow each other."""
    cuts = [k for k, (a, b) in enumerate(pairwise(calls), start=1) if b != a + 1]
    ends = zip([0, *cuts], [*cuts, len(calls)], strict=True)
    return [(calls[start], calls[stop - 1]) for start, stop in ends]
