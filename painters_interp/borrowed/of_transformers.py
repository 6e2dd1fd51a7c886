"""Private names of transformers: what configurations and tokenizers know of themselves."""

from typing import Any

SEEN = "5.23.0"
NAMES = {
    "transformers.PreTrainedConfig": {
        "_commit_hash": "the revision that a checkpoint of the hub has",
        "_name_or_path": "where it came from is no setting",
        "_output_attentions": "what a caller asked for is no setting",
        "_attn_implementation": "how attention is to be computed in a model that is not made yet",
    },
    "transformers.PreTrainedModel": {
        "_supports_sdpa": "which classes have fused attention",
        "_is_hf_initialized": "that weights were made says nothing of what a module computes",
    },
    "transformers.utils.output_capturing": {
        "_output_capturing_hooks_installed": "nor that its outputs could be captured",
    },
    "transformers.GenerationConfig": {
        "_original_object_hash": "whether it was changed since it was read is no setting",
    },
    "transformers.PreTrainedTokenizerFast": {
        "_add_bos_token": "what a tokenizer adds to a text is part of its digest",
        "_add_eos_token": "likewise",
    },
}
# What differs between modules that compute the same.
IDLE_ATTRIBUTES = (
    "_is_hf_initialized", "_output_capturing_hooks_installed", "_attn_implementation",
)  # fmt: skip
# What says nothing of how a model computes.
IDLE_SETTINGS = ("_commit_hash", "_name_or_path", "_output_attentions", "_original_object_hash")
TOKENIZER_SETTINGS = ("_add_bos_token", "_add_eos_token")


def revision_of(config: Any) -> str | None:
    """The revision of the hub that a configuration was loaded from."""
    found: str | None = getattr(config, "_commit_hash", None)
    return found


def forget_source(config: Any) -> None:
    """Let a configuration no longer say where it came from."""
    config._commit_hash, config.name_or_path = None, ""


def attentions(kind: type, fused: str) -> tuple[str, ...]:
    """What a model of class `kind` may compute attention by, fastest first."""
    return (fused, "eager") if getattr(kind, "_supports_sdpa", False) else ("eager",)


def use_fastest_attention(config: Any, kind: type) -> None:
    """Let a model of class `kind` be made with fused attention, eager where it has none."""
    use_attention(config, attentions(kind, "sdpa")[0])


def use_attention(config: Any, name: str) -> None:
    """Let a model that is not made yet compute attention in this way."""
    config._attn_implementation = name
