"""Tiny random models of several families as bridges, built offline.

Six layers, and weights spread wide enough that exchanging two layers is plainly visible in the
logits, which the usual 0.02 initialisation would hide.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

N_LAYERS = 6
VOCAB = 96
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>"}
_LETTERS = [chr(code) for code in range(ord("!"), ord("!") + VOCAB - len(SPECIAL) - 2)]

_SHARED = {
    "vocab_size": VOCAB,
    "num_hidden_layers": N_LAYERS,
    "hidden_size": 48,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "initializer_range": 0.06,
    "attention_dropout": 0.0,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = _SHARED | {"num_key_value_heads": 2, "head_dim": 12}


def _gpt2() -> GPT2Config:
    names = {
        "num_hidden_layers": "n_layer",
        "hidden_size": "n_embd",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
        "attention_dropout": "attn_pdrop",
    }
    renamed = {names.get(key, key): value for key, value in _SHARED.items()}
    return GPT2Config(**renamed, resid_pdrop=0.0, embd_pdrop=0.0)


def _bert() -> BertConfig:
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    plain = {key: value for key, value in _SHARED.items() if key != "attention_dropout"}
    return BertConfig(**plain, **dropout)


_CONFIGS = {
    "llama": lambda: LlamaConfig(**_GROUPED, tie_word_embeddings=False),
    "gpt2": _gpt2,
    "gpt_neox": lambda: GPTNeoXConfig(**_SHARED, hidden_dropout=0.0, rotary_pct=0.5),
    # Full attention at layers 2 and 5 only, so that a plan which moves a layer must move its mask.
    "gemma3": lambda: Gemma3TextConfig(
        **_GROUPED,
        query_pre_attn_scalar=12,
        sliding_window=8,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
    ),
    "mistral": lambda: MistralConfig(**_GROUPED, sliding_window=8),
    "qwen3": lambda: Qwen3Config(**_GROUPED, tie_word_embeddings=True),
    "bert": _bert,
}
_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "gpt_neox": "GPTNeoXForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "bert": "BertForMaskedLM",
}

_BUILT: dict[tuple[str, torch.dtype], TransformerBridge] = {}

FAMILIES = tuple(_CONFIGS)
DECODERS = tuple(family for family in FAMILIES if family != "bert")


def config(family: str) -> PreTrainedConfig:
    """The family's tiny config; raises KeyError for a family not in FAMILIES."""
    made = _CONFIGS[family]()
    made.architectures = [_ARCHITECTURES[family]]
    return made


def stock(family: str, dtype: torch.dtype, **changes: Any) -> PreTrainedModel:
    """The plain Hugging Face model with eager attention: same weights at every call."""
    made = config(family)
    for name, value in changes.items():
        setattr(made, name, value)
    auto = AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = auto.from_config(made, attn_implementation="eager", dtype=torch.float32)
        # Biases and norm weights start at 0 and 1 in every layer; spread them too.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.to(dtype).eval()


def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A character tokenizer read back from `folder` (written there if missing).

    The bridge reloads a tokenizer from the folder it came from, so one made in memory fails.
    """
    if not (folder / "tokenizer.json").is_file():
        tokens = [*SPECIAL.values(), "<unk>", " ", *_LETTERS]
        raw = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        raw.decoder = decoders.Fuse()
        raw.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
        fast = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", **SPECIAL)
        fast.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def build(family: str, dtype: torch.dtype, folder: Path, **changes: Any) -> TransformerBridge:
    """A tiny random model of `family` on the CPU; `changes` are set on its config first."""
    return TransformerBridge.boot_transformers(
        f"tiny-{family}",
        hf_model=stock(family, dtype, **changes),
        tokenizer=tokenizer(folder),
        dtype=dtype,
        device="cpu",
    )


def shared(family: str, dtype: torch.dtype, folder: Path) -> TransformerBridge:
    """`build`, made once in a process: for tests that leave the model as they found it."""
    key = (family, dtype)
    if key not in _BUILT:
        _BUILT[key] = build(family, dtype, folder)
    return _BUILT[key]


def save(family: str, folder: Path, **changes: Any) -> Path:
    """Write the float32 model and its tokenizer to `folder` as a checkpoint; returns `folder`."""
    stock(family, torch.float32, **changes).save_pretrained(folder)
    tokenizer(folder)
    return folder


def tokens(batch: int = 2, length: int = 24, seed: int = 0) -> torch.Tensor:
    """Random token ids without special ones, shape (batch, length)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(len(SPECIAL) + 1, VOCAB, (batch, length), generator=generator)
