"""Models whose layers accelerate has spread: on disk, beside the device, on several devices.

What runs there equals what the whole model computes, on both faces, in float32.
"""

from pathlib import Path

import pytest
import tiny
import torch
from accelerate import cpu_offload
from accelerate.hooks import LayerwiseCastingHook, add_hook_to_module
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp.execution.plain import plain
from painters_interp.execution.prompt_run import resumable
from painters_interp.execution.widening import in_float32
from painters_interp.models import device_of, weights_digest

PLAN = "0-2 4*2 (1|3)@sum [3-4]@0.5 5"
OUTSIDE = {
    "llama": ("model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head"),
    "gpt2": ("transformer.wte", "transformer.wpe", "transformer.ln_f", "lm_head"),
}
STACKS = {"llama": "model.layers", "gpt2": "transformer.h"}


def on_disk(family: str, folder: Path, dtype: str = "float32") -> TransformerBridge:
    """Loaded with every other layer, embedding and head left in their file."""
    layers = {f"{STACKS[family]}.{i}": "disk" if i % 2 else "cpu" for i in range(tiny.N_LAYERS)}
    spread = dict.fromkeys(OUTSIDE[family], "disk") | layers
    return painters.load_model(folder, device_map=spread, dtype=dtype)


def beside(model: TransformerBridge) -> TransformerBridge:
    """The same model, its weights kept beside the device that computes."""
    cpu_offload(model.original_model, execution_device=torch.device("cpu"))
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tiny.save(name, tmp_path_factory.mktemp(name) / name) for name in STACKS}


@pytest.fixture(scope="module")
def llamas(folders: dict[str, Path]) -> tuple[TransformerBridge, TransformerBridge]:
    """A model that is whole, and the same one with most of its weights on disk."""
    return painters.load_model(folders["llama"]), on_disk("llama", folders["llama"])


@pytest.mark.parametrize("family", STACKS)
def test_plans_run_as_on_the_whole_model_on_both_faces(family, folders, llamas):
    folder = folders[family]
    loaded = painters.load_model(folder), on_disk(family, folder)
    whole, spread = llamas if family == "llama" else loaded
    tokens = tiny.tokens(2, 12)
    assert sum(weight.is_meta for weight in spread.original_model.parameters()) > 20
    assert plain(spread) is not None
    expected = painters.token_logprobs(whole, [PLAN, "0-5"], tokens)
    assert torch.equal(painters.token_logprobs(spread, [PLAN, "0-5"], tokens), expected)
    with torch.no_grad(), painters.applied(spread, PLAN), painters.applied(whole, PLAN):
        assert torch.equal(spread(tokens), whole(tokens))


def written(model: TransformerBridge) -> object:
    return painters.generate(model, [PLAN, "0-5"], ["abc", "defgh"], max_new_tokens=5)["text"]


def scored(model: TransformerBridge) -> object:
    items = [{"question": "ab", "choices": ["x", "yz"], "gold": 0}]
    return painters.evaluate(model, [PLAN, "0-5"], painters.task("t", items))["value"]


def compared(model: TransformerBridge) -> object:
    return painters.similarity(model, ["abcdef", "some words"], plan=PLAN)["cosine"].matrix


def patched(model: TransformerBridge) -> object:
    return painters.patching.patch_residual(model, "abcd", "abce", answers=("x", "y"))["value"]


@pytest.mark.parametrize("ask", [written, scored, compared, patched])
def test_what_reads_a_model_reads_one_on_disk(ask, llamas):
    whole, spread = map(ask, llamas)
    assert spread.equals(whole)
    assert len(whole)


def test_texts_and_digests_are_those_of_the_whole_model(llamas):
    whole, spread = llamas
    assert torch.equal(spread("abc"), whole("abc"))
    assert spread.cfg.device == str(device_of(spread)) == "cpu"
    assert weights_digest(spread) == weights_digest(whole)


def test_weights_in_memory_that_come_when_called(folders):
    tokens = tiny.tokens(2, 12)
    model = painters.load_model(folders["llama"])
    expected = painters.token_logprobs(model, [PLAN], tokens)
    face = plain(beside(model))
    assert all(weight.is_meta for weight in model.original_model.parameters())
    assert face is not None
    assert torch.equal(painters.token_logprobs(model, [PLAN], tokens), expected)


def test_half_precision_on_disk_is_judged_in_float32_as_it_is_fetched(folders):
    whole = painters.load_model(folders["llama"], dtype="bfloat16")
    spread = on_disk("llama", folders["llama"], "bfloat16")
    tokens = tiny.tokens(2, 9)
    with torch.no_grad(), in_float32(spread), in_float32(whole):
        found = spread(tokens)
        assert found.dtype == torch.float32
        assert torch.equal(found, whole(tokens))
    assert all(p.dtype == torch.bfloat16 for p in spread.original_model.parameters())
    report = painters.check(spread, PLAN)
    assert report.ok
    assert report.own_gap is not None
    assert resumable(spread, painters.Plan.parse("0-5", 6), 16)
    expected = painters.token_logprobs(whole, [PLAN], tokens)
    assert torch.equal(painters.token_logprobs(spread, [PLAN], tokens), expected)


def test_a_hook_that_does_more_than_to_place_is_left_to_the_hooked_face(folders):
    model = on_disk("llama", folders["llama"])
    norm = model.original_model.model.norm._original_component
    add_hook_to_module(norm, LayerwiseCastingHook(torch.float32, torch.float32, False), append=True)
    assert plain(model) is None
