"""The model card of an exported checkpoint, and what a model is called where it is loaded again."""

import re
from pathlib import Path
from typing import Any

import yaml
from transformer_lens.model_bridge import TransformerBridge

from ..models import identity
from ..models.bundled import MODELS
from ..models.sources import on_hub
from ..plans import Plan
from ..storage import provenance


def card(model: TransformerBridge, plan: Plan) -> str:
    """A README: base model, licence, what runs, and what it was made with."""
    who, base = identity(model), _on_hub(source_of(model))
    licence = _licence(model)
    head: dict[str, Any] = {"library_name": "transformers", "tags": ["painters_interp"]}
    if base is not None:
        head["base_model"] = base
    if licence is not None:
        head["license"] = licence.lower()
    packages = provenance()["packages"]
    made = f"painters_interp {packages['painters_interp']}, transformers {packages['transformers']}"
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n"
        f"# {who['model']} under the plan `{plan}`\n\n"
        f"An ordinary checkpoint of {len(plan.calls)} layers, made from the {plan.n_layers} of "
        f"{who['model']} (revision {who['revision'] or 'unknown'}) without further training.\n\n"
        f"- Plan: `{plan}`, which is {plan.describe()}.\n"
        f"- Licence of the base model: {licence or 'not known here; see the base model'}.\n"
        f"- Number format: {who['dtype']}.\n"
        f"- Made with {made}; read back and compared with the base model under the plan.\n"
    )


def source_of(model: TransformerBridge) -> str | None:
    """What `load_model` finds the model under again, as far as it came from somewhere."""
    if (origin := getattr(model.cfg, "origin", None)) is not None:
        return str(origin)
    name, place = str(model.cfg.model_name), Path(model.original_model.config.name_or_path)
    if place.name and place.is_dir() and "snapshots" not in place.parts:
        return str(place.resolve())
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None


def _on_hub(source: str | None) -> str | None:
    """What the hub calls it, which takes no other name for a base model."""
    if source in MODELS:
        return MODELS[source].makers
    return source if source is not None and on_hub(source) else None


def _licence(model: TransformerBridge) -> str | None:
    """The licence that the card of the base model names, or that is known of a bundled one."""
    if (bundled := MODELS.get(str(model.cfg.model_name))) is not None:
        return bundled.licence
    readme = Path(model.original_model.config.name_or_path) / "README.md"
    if not model.original_model.config.name_or_path or not readme.is_file():
        return None
    parts = readme.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    try:
        head = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError:  # a card that its makers wrote otherwise says nothing
        return None
    licence = head.get("license") if isinstance(head, dict) else None
    return licence if isinstance(licence, str) else None
