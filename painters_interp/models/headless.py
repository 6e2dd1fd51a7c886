"""Encoders without a language-model head: TransformerLens has adapters for those with one only.

Their layers are those of the family's masked language model, under names without its prefix, and
what comes out is the final state of every token instead of logits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import patch

from transformer_lens.factories.architecture_adapter_factory import (
    SUPPORTED_ARCHITECTURES,
)
from transformer_lens.model_bridge.supported_architectures.bert import BertArchitectureAdapter

from ..borrowed.of_transformer_lens import adapters
from ..errors import UnsupportedModelError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
else:
    TransformerBridge = Any

_HEAD = ("mlm_head", "unembed", "ln_final")


class _BertEncoder(BertArchitectureAdapter):  # type: ignore[misc]
    """`BertModel`, and encoders that are made of its parts under its names."""

    names: ClassVar[dict[str, str]] = {}  # of what is called otherwise, beside BERT's for it

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        for name in _HEAD:
            del self.component_mapping[name]
        self._rename(self.component_mapping)

    def _rename(self, components: dict[str, Any]) -> None:
        for name, component in components.items():
            if component.name is not None:  # of what is no module of its own
                component.name = self.names.get(name, component.name.removeprefix("bert."))
            self._rename(component.submodules)

    def prepare_model(self, hf_model: Any) -> None:
        """Positions may begin behind the padding token, so that the table has room for fewer.

        A pooler, where there is one, stays as it is: it reads what plans are compared by.
        """
        table = hf_model.embeddings.position_embeddings
        self.cfg.n_ctx = table.num_embeddings
        if table.padding_idx is not None:
            self.cfg.n_ctx -= table.padding_idx + 1
        if not hasattr(hf_model.embeddings, "token_type_embeddings"):
            del self.component_mapping["token_type_embed"]


class _DistilBertEncoder(_BertEncoder):
    names: ClassVar = {
        "blocks": "transformer.layer", "ln1": "sa_layer_norm", "ln2": "output_layer_norm",
        "q": "q_lin", "k": "k_lin", "v": "v_lin", "o": "out_lin",
        "in": "ffn.lin1", "out": "ffn.lin2",
    }  # fmt: skip


_OF_BERT = ("Bert", "Camembert", "Data2VecText", "Electra", "Ernie", "Roberta", "XLMRoberta")
ENCODERS = {
    **{f"{family}Model": _BertEncoder for family in _OF_BERT},
    "DistilBertModel": _DistilBertEncoder,
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

    if getattr(config, "is_decoder", False):
        return None
    return next((name for name in _classes(MODEL_MAPPING, config) if name in ENCODERS), None)


def _classes(mapping: Any, config: Any) -> list[str]:
    """What transformers makes of a config; of some there are several."""
    found = mapping.get(type(config), ())
    return [kind.__name__ for kind in (found if isinstance(found, tuple) else (found,))]


def head_adapted(config: Any) -> bool:
    """Whether there is an adapter for models of this family with a language-model head."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    mappings = MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING
    return any(adapted(name) for mapping in mappings for name in _classes(mapping, config))


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
