"""The door: what may be handed over as a model, and what becomes of it."""

import copy
import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from accelerate import cpu_offload
from torch import nn
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

import painters_interp as painters
from painters_interp.errors import ModelError, UnsupportedModelError
from painters_interp.models import as_model, load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("door") / "mine")


def plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


def test_a_bridge_is_itself(tiny_folder: Path) -> None:
    bridge = tiny.build("gpt2", torch.float32, tiny_folder)
    assert as_model(bridge) is bridge
    assert as_model(bridge.original_model) is bridge
    assert load_model(bridge) is bridge


def test_no_random_number_is_taken_from_the_caller(tiny_folder: Path) -> None:
    model, tokenizer = tiny.stock("gpt2", torch.float32), tiny.tokenizer(tiny_folder)
    before = torch.get_rng_state()
    bridge = load_model(model, tokenizer=tokenizer)  # whose matrices are split, and made anew
    painters.models.random_weights(bridge)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_in_memory_is_given_hooks_once_and_computes_the_same(folder: Path) -> None:
    model, tokens = plain(folder), tiny.tokens()
    with torch.no_grad():
        before = model(tokens).logits
        bridge = as_model(model)
        torch.testing.assert_close(bridge(tokens), before, atol=1e-5, rtol=0)
        torch.testing.assert_close(model(tokens).logits, before, atol=1e-5, rtol=0)
    assert as_model(model) is bridge is load_model(model)
    assert bridge.original_model is model
    assert bridge.cfg.model_name == "mine"


def test_edits_of_the_weights_are_seen(folder: Path) -> None:
    model, tokens = plain(folder), tiny.tokens()
    before = as_model(model)(tokens)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    assert not torch.equal(as_model(model)(tokens), before)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_every_module_stays(folder: Path, training: bool) -> None:
    model = plain(folder).train(training)
    frozen = model.model.layers[2].mlp.eval()
    bridge = as_model(model)
    assert model.training is bridge.training is training
    assert not frozen.training
    assert model.model.norm.training is training


def test_model_and_bridge_go_together(folder: Path) -> None:
    model = plain(folder)
    bridge = weakref.ref(as_model(model))
    gc.collect()
    assert bridge() is not None
    del model
    gc.collect()
    assert bridge() is None


def test_the_bridge_is_neither_copied_nor_saved_with_its_model(folder: Path) -> None:
    model = plain(folder)
    bridge = as_model(model)
    kept = vars(model)["_painters_bridge"]
    assert copy.deepcopy(kept).bridge is None
    assert pickle.loads(pickle.dumps(kept)).bridge is None
    with pytest.raises(ModelError, match="given hooks before; pass the TransformerBridge around"):
        as_model(copy.deepcopy(model))
    again = copy.deepcopy(bridge)
    assert as_model(again) is again is as_model(again.original_model)


def test_every_function_takes_a_model_in_memory_and_a_name(folder: Path) -> None:
    texts, names = ["one two three", "four five"], ["cosine"]
    wanted = painters.similarity(load_model(folder), texts, names)["cosine"].matrix
    for model in (plain(folder), folder, str(folder)):
        found = painters.similarity(model, texts, names)["cosine"].matrix
        torch.testing.assert_close(found.to_numpy(), wanted.to_numpy(), atol=1e-6, rtol=0)


def test_a_name_is_loaded_once_until_its_files_change(tmp_path: Path) -> None:
    folder = tiny.save("llama", tmp_path / "mine")
    first = as_model(folder)
    assert as_model(str(folder)) is not None
    assert as_model(folder) is as_model(folder)
    assert load_model(folder) is not first
    tiny.save("gpt2", folder)
    assert type(as_model(folder).original_model).__name__ == "GPT2LMHeadModel"


# Tokenizers.


def test_a_tokenizer_made_in_memory_is_enough(folder: Path, tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(tmp_path)
    tokenizer.name_or_path = tokenizer.init_kwargs["name_or_path"] = ""
    bridge = load_model(tiny.stock("llama", torch.float32), tokenizer=tokenizer)
    assert bridge.tokenizer is tokenizer
    assert bridge.to_tokens("ab", prepend_bos=False).tolist() == [tokenizer("ab").input_ids[1:]]
    assert bridge.cfg.model_name == "LlamaForCausalLM"


def test_without_a_tokenizer_one_line_says_how(folder: Path) -> None:
    with pytest.raises(ModelError) as error:
        as_model(tiny.stock("llama", torch.float32))
    assert str(error.value) == (
        "no tokenizer was found for LlamaForCausalLM (it names no folder or hub id that it came "
        "from); use model = painters.load_model(model, tokenizer=...)"
    )


def test_the_users_tokenizer_is_not_changed(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    bridge = load_model(plain(folder), tokenizer=tokenizer)
    assert tokenizer.pad_token is None
    assert bridge.tokenizer.pad_token == tokenizer.eos_token
    assert tokenizer("ab").input_ids == bridge.tokenizer("ab").input_ids


# What is no model that can be hooked.


def test_native_bridges_are_refused_by_name() -> None:
    config = TransformerBridgeConfig(
        d_model=16, d_head=8, n_heads=2, n_layers=2, n_ctx=16, d_vocab=20, act_fn="relu", d_mlp=32
    )
    bridge = TransformerBridge.boot_native(config)
    for attempt in (as_model, load_model, lambda m: painters.check(m, "0 1")):
        with pytest.raises(UnsupportedModelError, match=r"around NativeModel, .*\(boot_native"):
            attempt(bridge)


class HookedTransformer(nn.Module):
    pass


class PeftModel(nn.Module):
    pass


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (HookedTransformer(), "older TransformerLens; load the model by its name or folder"),
        (PeftModel(), r"merge its adapter first: model\.merge_and_unload\(\)"),
        (nn.Linear(2, 2), "Linear is no model that can be hooked; give a Hugging Face model"),
        (None, "NoneType is no model that can be hooked; a name, a path, a Hugging Face"),
        (7, "int is no model that can be hooked; a name"),
    ],
)
def test_other_things_are_told_what_to_do(model: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        as_model(model)


def test_headless_meta_and_options_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="LlamaModel, which has no language-model head; load it"):
        as_model(AutoModel.from_pretrained(folder))
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(tiny.config("llama"))
    with pytest.raises(ModelError, match="weights on the meta device"):
        as_model(empty)
    with pytest.raises(ModelError, match="dtype='bfloat16' applies to models that are loaded"):
        load_model(plain(folder), dtype="bfloat16")


def test_weights_without_numbers_are_refused_at_every_door(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    model.original_model.model.layers[2].mlp.to("meta")
    doors = (
        lambda: painters.applied(model, "0-5").__enter__(),
        lambda: painters.similarity(model, ["abc"]),
        lambda: painters.evaluate(model, "0-5", "probe_facts", limit=1),
        lambda: painters.check(model, "0-5"),
        lambda: [*painters.capture(model, ["abc"])],
        lambda: painters.kl_to_intact(model, "0-5", ["abc"]),
        lambda: painters.token_logprobs(model, "0-5", torch.ones(1, 4, dtype=torch.long)),
        lambda: painters.patching.patch_residual(model, "abc", "abd", answers=("a", "b")),
        lambda: painters.patching.readout(model.original_model, "abc"),
    )
    for enter in doors:
        with pytest.raises(ModelError, match=r"on the meta device.*model\.layers\.2\.mlp"):
            enter()


def test_weights_that_accelerate_fetches_are_there(tiny_folder: Path) -> None:
    model, tokens = tiny.build("llama", torch.float32, tiny_folder), tiny.tokens(1, 8)
    expected = painters.token_logprobs(model, "0 2-5", tokens)
    cpu_offload(model.original_model, execution_device=torch.device("cpu"))
    assert all(weight.is_meta for weight in model.original_model.parameters())
    assert torch.equal(painters.token_logprobs(model, "0 2-5", tokens), expected)
