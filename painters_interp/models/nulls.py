"""Models that were never trained: what an architecture does by itself."""

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch

from ..arguments import counting
from ..borrowed.of_transformers import forget_source
from .copies import in_formats_of, on_cpu_in_float32, refuse_copying
from .door import Model, as_model
from .quiet import without_bars
from .wrapping import wrapped

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
else:  # importing it takes seconds, and only loading a model is worth them
    TransformerBridge = Any


@counting(seed=0)
def random_weights(model: Model, seed: int = 0) -> TransformerBridge:
    """The null for what an architecture does by itself: a model with weights as before any
    training.

    Args:
        model: Whatever `load_model` takes or returns.
        seed: Of the weights; the caller's own generator is not touched.

    Returns:
        A second model in memory, of the same architecture, dtype and tokenizer.

    Raises:
        UnsupportedModelError: for a model that is quantised, or spread over devices.

    Example:
        >>> random_weights(model).cfg.n_layers
        6
    """
    model = as_model(model)
    refuse_copying(model)
    original = model.original_model
    config = deepcopy(original.config)
    # No revision and no folder is that of these weights.
    forget_source(config)
    name = f"{model.cfg.model_name}, random weights (seed {seed})"
    # On the processor, whatever the default device: seeding `torch` would seed every GPU, too.
    with torch.random.fork_rng(devices=[]), on_cpu_in_float32(), without_bars():
        torch.default_generator.manual_seed(seed)
        fresh = type(original)(config).eval()
    in_formats_of(original, fresh)
    return wrapped(fresh, model.tokenizer, name)
