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
_LINEAR = ["linear_attention", "linear_attention", "full_attention"] * 2
_LATENT: dict[str, Any] = {
    "num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 48, "n_shared_experts": 1, "first_k_dense_replace": 2,
    "n_group": 1, "topk_group": 1,
}  # fmt: skip
_INDEXED = {"index_topk": 6, "index_head_dim": 8, "index_n_heads": 2}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 12, "mamba_n_groups": 1, "mamba_d_state": 8}
_PER_LAYER_INPUT = {
    **_SLIDING, "global_head_dim": 24, "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 96,
}  # fmt: skip

# Name: (model type, what differs from the common shape).
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", _GQA),
    "Mistral, sliding": ("mistral", {**_GQA, "sliding_window": 8}),
    "Mixtral": ("mixtral", {**_GQA, **_MOE, "sliding_window": None}),
    "Qwen2": ("qwen2", _GQA),
    "Qwen2, sliding": (
        "qwen2",
        {**_GQA, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3},
    ),
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
    "DeepSeek V3": ("deepseek_v3", _LATENT),
    "Llama 4": (
        "llama4_text",
        {
            **_GQA, **_MOE, "intermediate_size_mlp": 96, "attention_chunk_size": 16,
            "moe_layers": [1, 3, 5],
        },
    ),
    "Gemma 4": ("gemma4_text", {**_PER_LAYER_INPUT, "num_kv_shared_layers": 0}),
    "GLM MoE, sparse attention": ("glm_moe_dsa", {**_LATENT, **_INDEXED, "index_n_heads": 16}),
}  # fmt: skip
ENCODERS = {"BERT": ("bert", {}), "RoBERTa": ("roberta", {"max_position_embeddings": 258})}
# Linear layers beside attention: a plan must keep a layer that attends.
HYBRIDS: dict[str, tuple[str, dict[str, Any]]] = {
    "LFM2": ("lfm2", {**_KV, "layer_types": ["conv", "conv", "full_attention"] * 2}),
    "Qwen3-Next": (
        "qwen3_next",
        {
            **_GQA, **_MOE, "moe_intermediate_size": 48, "shared_expert_intermediate_size": 48,
            "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 12,
            "linear_value_head_dim": 12, "layer_types": _LINEAR,
        },
    ),
    "Falcon H1": ("falcon_h1", {**_GQA, **_MAMBA, "mamba_d_ssm": 96}),
    "Jamba": (
        "jamba",
        {
            **_KV, "attn_layer_period": 3, "attn_layer_offset": 2, "num_experts": 2,
            "mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False,
        },
    ),
    "Bamba": ("bamba", {**_KV, **_MAMBA, "attn_layer_indices": [2, 5]}),
    "Zamba 2": (
        "zamba2",
        {
            "mamba_d_state": 8, "mamba_headdim": 12, "n_mamba_heads": 8, "mamba_ngroups": 1,
            "layers_block_type": ["mamba", "mamba", "hybrid"] * 2, "num_mem_blocks": 1,
            "attention_head_dim": 24, "attention_hidden_size": 96, "adapter_rank": 4,
        },
    ),
    "Nemotron-H": (
        "nemotron_h",
        {
            **_GQA, "layers_block_type": ["mamba", "attention", "mlp"] * 2,
            "mamba_num_heads": 8, "mamba_head_dim": 12, "n_groups": 1, "ssm_state_size": 8,
        },
    ),
    "Mamba": ("mamba", {"state_size": 8, "time_step_rank": 4}),
    "Mamba 2": (
        "mamba2",
        {"state_size": 8, "num_heads": 8, "head_dim": 12, "n_groups": 1, "expand": 2},
    ),
    "Falcon Mamba": ("falcon_mamba", {"state_size": 8, "time_step_rank": 4}),
}  # fmt: skip
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "Gemma 4, shared": ("gemma4_text", {**_PER_LAYER_INPUT, "num_kv_shared_layers": 3}),
    "RecurrentGemma": (
        "recurrent_gemma",
        {"num_key_value_heads": 1, "lru_width": 48, "attention_window_size": 8, "head_dim": 12},
    ),
    "RWKV": ("rwkv", {"context_length": 256, "attention_hidden_size": 48}),
    "DeepSeek V4": (
        "deepseek_v4",
        {
            **_INDEXED, "n_routed_experts": 4, "num_experts_per_tok": 2, "q_lora_rank": 8,
            "moe_intermediate_size": 48, "head_dim": 12, "o_lora_rank": 8, "o_groups": 2,
            "sliding_window": 8,
        },
    ),
    "GLM MoE, shared indices": (
        "glm_moe_dsa", {**_LATENT, **_INDEXED, "indexer_types": ["full", "shared"] * 3},
    ),
    "HRM-Text": ("hrm_text", {}),
    "OpenAI GPT": ("openai-gpt", {}),
    "T5": ("t5", {"d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": N_LAYERS, "num_heads": 4}),
    "BART": (
        "bart",
        {
            "d_model": 48, "encoder_layers": N_LAYERS, "decoder_layers": N_LAYERS,
            "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
        },
    ),
}  # fmt: skip
# Encoders that TransformerLens has no adapter for: they cannot even be loaded.
UNKNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "ALBERT": ("albert", {"embedding_size": 48}),
    "ModernBERT": ("modernbert", {}),
    "MPNet": ("mpnet", {"pad_token_id": 1}),
}
ZOO = {**DECODERS, **ENCODERS, **HYBRIDS, **REFUSED, **UNKNOWN}

_DROPOUTS = (
    "attention_dropout", "hidden_dropout", "dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "embed_dropout", "resid_dropout",
    "activation_dropout",
)  # fmt: skip


def stock(name: str, dtype: torch.dtype, **others: Any) -> PreTrainedModel:
    """The plain Hugging Face model with eager attention: same weights at every call.

    `others` are further settings of its config.
    """
    kind, changes = ZOO[name]
    shape = dict(_SHAPE)
    if kind == "gpt_neo":  # it derives these from names of its own
        del shape["num_hidden_layers"], shape["num_attention_heads"]
    config = AutoConfig.for_model(kind, **{**shape, **changes, **others})
    for dropout in _DROPOUTS:
        if isinstance(getattr(config, dropout, None), float):
            setattr(config, dropout, 0.0)
    config._experts_implementation = "eager"  # grouped products know no float64
    auto = AutoModelForMaskedLM if name in {**ENCODERS, **UNKNOWN} else AutoModelForCausalLM
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
