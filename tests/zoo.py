"""Tiny random models of many architectures, as data: what differs from one common shape."""

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)

N_LAYERS = 6
_SHAPE = {
    "vocab_size": 96, "num_hidden_layers": N_LAYERS, "hidden_size": 48, "num_attention_heads": 4,
    "intermediate_size": 96, "max_position_embeddings": 256, "initializer_range": 0.06,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_KV: dict[str, Any] = {"num_key_value_heads": 2}
_GQA: dict[str, Any] = {**_KV, "head_dim": 12}
_MOE: dict[str, Any] = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
_MIXED = ["sliding_attention", "sliding_attention", "full_attention"] * 2
_SLIDING: dict[str, Any] = {**_GQA, "sliding_window": 8, "layer_types": _MIXED}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 12, "mamba_n_groups": 1, "mamba_d_state": 8}
_PER_LAYER_INPUT = {
    **_SLIDING, "global_head_dim": 12, "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 96,
}  # fmt: skip

# Name: (model type, what differs from the common shape).
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", _GQA),
    "Mistral, sliding": ("mistral", {**_GQA, "sliding_window": 8}),
    "Mixtral": ("mixtral", {**_GQA, **_MOE, "sliding_window": None}),
    "Qwen2": ("qwen2", _GQA),
    "Qwen3": ("qwen3", _GQA),
    "Qwen3 MoE": ("qwen3_moe", {**_GQA, **_MOE, "moe_intermediate_size": 48}),
    "Gemma": ("gemma", _GQA),
    "Gemma 2": ("gemma2", {**_GQA, "sliding_window": 8, "query_pre_attn_scalar": 12}),
    "Gemma 3": ("gemma3_text", {**_SLIDING, "query_pre_attn_scalar": 12}),
    "Phi": ("phi", {}),
    "Phi-3": ("phi3", _KV),
    "GPT-2": ("gpt2", {"n_inner": 96}),
    "GPT-2, scaled by layer": ("gpt2", {"n_inner": 96, "scale_attn_by_inverse_layer_idx": True}),
    "GPT-J": ("gptj", {"rotary_dim": 4, "n_inner": 96}),
    "GPT-NeoX": ("gpt_neox", {"rotary_pct": 0.5}),
    "GPT-Neo": (
        "gpt_neo",
        {
            "num_layers": N_LAYERS, "num_heads": 4, "window_size": 8,
            "attention_types": [[["global", "local"], 3]],
        },
    ),
    "GPT-BigCode": ("gpt_bigcode", {"n_inner": 96}),
    "OPT": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 48}),
    "OPT, projected": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 24}),
    "BLOOM": ("bloom", {}),
    "MPT": ("mpt", {"max_seq_len": 256, "expansion_ratio": 2}),
    "Falcon": ("falcon", {"multi_query": True}),
    "StableLM": ("stablelm", {**_KV, "partial_rotary_factor": 0.5}),
    "OLMo": ("olmo", _GQA),
    "OLMo 2": ("olmo2", _GQA),
    "OLMo 3": ("olmo3", _SLIDING),
    "Cohere": ("cohere", _KV),
    "Cohere 2": ("cohere2", _SLIDING),
    "SmolLM3": ("smollm3", {**_GQA, "no_rope_layers": [1, 1, 0, 1, 1, 0]}),
    "gpt-oss": ("gpt_oss", {**_GQA, **_MOE, "sliding_window": 8}),
    "Granite": ("granite", {**_GQA, "residual_multiplier": 0.5, "logits_scaling": 2.0}),
    "StarCoder2": ("starcoder2", {**_KV, "sliding_window": 8}),
    "GLM": ("glm", _GQA),
    "Nemotron": ("nemotron", _KV),
}  # fmt: skip
ENCODERS = {"BERT": ("bert", {}), "RoBERTa": ("roberta", {"max_position_embeddings": 258})}
# Linear layers beside attention: a plan must keep a layer that attends.
HYBRIDS = {"LFM2": ("lfm2", {**_KV, "layer_types": ["conv", "conv", "full_attention"] * 2})}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "Gemma 4": ("gemma4_text", {**_PER_LAYER_INPUT, "num_kv_shared_layers": 0}),
    "Gemma 4, shared": ("gemma4_text", {**_PER_LAYER_INPUT, "num_kv_shared_layers": 3}),
    "Bamba": ("bamba", {**_KV, **_MAMBA, "attn_layer_indices": [2, 5]}),
    "Falcon H1": ("falcon_h1", {**_GQA, **_MAMBA, "mamba_d_ssm": 96}),
    "Mamba": ("mamba", {"state_size": 8, "time_step_rank": 4}),
    "OpenAI GPT": ("openai-gpt", {}),
    "T5": ("t5", {"d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": N_LAYERS, "num_heads": 4}),
}
ZOO = {**DECODERS, **ENCODERS, **HYBRIDS, **REFUSED}

_DROPOUTS = (
    "attention_dropout", "hidden_dropout", "dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "embed_dropout", "resid_dropout",
    "activation_dropout",
)  # fmt: skip


def stock(name: str, dtype: torch.dtype) -> PreTrainedModel:
    """The plain Hugging Face model with eager attention: same weights at every call."""
    kind, changes = ZOO[name]
    shape = dict(_SHAPE)
    if kind == "gpt_neo":  # it derives these from names of its own
        del shape["num_hidden_layers"], shape["num_attention_heads"]
    config = AutoConfig.for_model(kind, **{**shape, **changes})
    for dropout in _DROPOUTS:
        if isinstance(getattr(config, dropout, None), float):
            setattr(config, dropout, 0.0)
    config._experts_implementation = "eager"  # grouped products know no float64
    auto = AutoModelForMaskedLM if name in ENCODERS else AutoModelForCausalLM
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else auto
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = auto.from_config(config, attn_implementation="eager", dtype=torch.float32)
        # Biases and norm weights start at 0 and 1 in every layer; spread them too.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    model.config.architectures = [type(model).__name__]
    return model.to(dtype).eval()
