"""Encoders without a language-model head: TransformerLens has adapters for those with one only.

Their layers are those of the family's masked language model, under names without its prefix, and
what comes out is the final state of every token instead of logits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from transformer_lens.factories.architecture_adapter_factory import (
    SUPPORTED_ARCHITECTURES,
)
from transformer_lens.model_bridge.supported_architectures.bert import BertArchitectureAdapter
from transformer_lens.model_bridge.supported_architectures.roberta import RobertaArchitectureAdapter

from ..borrowed.of_transformer_lens import adapters
from ..errors import UnsupportedModelError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
else:
    TransformerBridge = Any

_HEAD = ("mlm_head", "unembed", "ln_final")


def _without_head(adapter: Any, prefix: str) -> None:
    """Leave to `adapter` the components of the encoder, where they are without their family."""
    adapter.component_mapping = {
        name: component
        for name, component in adapter.component_mapping.items()
        if name not in _HEAD
    }
    for component in adapter.component_mapping.values():
        component.name = component.name.removeprefix(prefix)


class _BertEncoder(BertArchitectureAdapter):  # type: ignore[misc]
    """`BertModel`."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        _without_head(self, "bert.")

    def prepare_model(self, hf_model: Any) -> None:
        """Nothing: a pooler, where there is one, reads what plans are compared by."""


class _RobertaEncoder(RobertaArchitectureAdapter):  # type: ignore[misc]
    """`RobertaModel`."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        _without_head(self, "roberta.")

    def prepare_model(self, hf_model: Any) -> None:
        """Positions begin behind the padding token, so the table has room for fewer."""
        table = hf_model.embeddings.position_embeddings
        self.cfg.n_ctx = table.num_embeddings - ((table.padding_idx or 0) + 1)


# ELECTRA's encoder is made of BERT's parts under BERT's names.
ENCODERS = {
    "BertModel": _BertEncoder,
    "ElectraModel": _BertEncoder,
    "RobertaModel": _RobertaEncoder,
    "XLMRobertaModel": _RobertaEncoder,
}


@contextmanager
def encoders_known() -> Iterator[None]:
    """Let TransformerLens know these adapters while a model is given hooks, and not beyond.

    What it makes of a checkpoint by itself stays as it is.
    """
    with patch.dict(SUPPORTED_ARCHITECTURES, ENCODERS), patch.dict(adapters(), ENCODERS):
        yield


def encoder_class(config: Any) -> str | None:
    """The class of the encoder of this family, where one without a head can be given hooks."""
    from transformers import MODEL_MAPPING

    name = MODEL_MAPPING[type(config)].__name__ if type(config) in MODEL_MAPPING else ""
    return name if name in ENCODERS and not getattr(config, "is_decoder", False) else None


def adapted(architecture: str) -> bool:
    """Whether there is an adapter for models of this class."""
    return architecture in SUPPORTED_ARCHITECTURES or architecture in ENCODERS


def has_head(model: TransformerBridge) -> bool:
    """Whether `model` predicts tokens; else its forward pass ends with the final states.

    Args:
        model: A model with hooks.

    Returns:
        Whether it does.

    Example:
        >>> has_head(model)
        True
    """
    return type(model.original_model).__name__ not in ENCODERS


def refuse_headless(model: TransformerBridge) -> None:
    """Refuse a model without predictions, for what is made of them.

    Args:
        model: A model with hooks.

    Raises:
        UnsupportedModelError: where there are none.

    Example:
        >>> refuse_headless(model)  # it has a head
    """
    if not has_head(model):
        raise UnsupportedModelError(
            f"{model.cfg.model_name} is an encoder without a language-model head "
            f"({type(model.original_model).__name__}): it predicts no tokens. Its states can be "
            "compared (similarity), read (readers) and classified (classify)"
        )
