"""Private names of TransformerLens: what is inside its components, and what it is not to do."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

from .of_torch import children

SEEN = "4.3.0"
NAMES = {
    "transformer_lens.model_bridge.generalized_components.base.GeneralizedComponent": {
        "_original_component": "names of weights as the wrapped model has them",
    },
    "transformer_lens.model_bridge.bridge.TransformerBridge": {
        "_hook_registry": "hook points of steps leave it with their plan; it only takes in",
        "_tokenizer": "the setter of `tokenizer` makes one prepend BOS for good",
    },
    "transformer_lens.model_bridge.sources._bridge_builder": {
        "detect_tokenizer_bos_eos": "what it believes of a tokenizer, of the model's own one",
    },
    "transformer_lens.model_bridge.sources.transformers.helpers": {
        "_ensure_torchvision": "it runs pip while a model is loaded",
    },
    "transformer_lens.factories.architecture_adapter_factory.ArchitectureAdapterFactory": {
        "_adapters": "encoders without a head are known for the length of a `with`",
    },
}
_INNER = "_original_component"
_PATCHING = RLock()


def plain_name(name: str) -> str:
    """The name of a module or tensor in the wrapped model."""
    return name.replace(f"{_INNER}.", "")


def outermost(name: str) -> str:
    """The name of the first component around a module, or its own."""
    return name.partition(f".{_INNER}")[0]


def inner(component: Any) -> Any:
    """What a component wraps; None for what is no component."""
    return children(component).get(_INNER)


def forget_hook_points(bridge: Any, names: Iterable[str]) -> None:
    """Take hook points that are gone out of the bridge's registry."""
    for name in names:
        bridge._hook_registry.pop(name, None)


def set_tokenizer(bridge: Any, tokenizer: Any) -> None:
    """Give a bridge a tokenizer as it is, and let it know what that adds to a text."""
    from transformer_lens.model_bridge.sources import _bridge_builder

    bridge._tokenizer = tokenizer
    ends = _bridge_builder.detect_tokenizer_bos_eos(tokenizer)
    bridge.cfg.tokenizer_prepends_bos, bridge.cfg.tokenizer_appends_eos = ends


@contextmanager
def nothing_installed() -> Iterator[None]:
    """Keep TransformerLens from running pip: it wants torchvision for models that see pictures.

    They read texts without it. One thread at a time.
    """
    from transformer_lens.model_bridge.sources.transformers import helpers

    with _PATCHING:
        before = helpers._ensure_torchvision
        helpers._ensure_torchvision = lambda: False
        try:
            yield
        finally:
            helpers._ensure_torchvision = before


def adapters() -> dict[str, Any]:
    """What TransformerLens knows architectures by. Not a copy."""
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory

    found: dict[str, Any] = ArchitectureAdapterFactory._adapters
    return found
