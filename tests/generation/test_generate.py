"""Texts written together are those of the model's own `generate` inside `applied`."""

import warnings
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
import zoo
from tokenizers import processors
from transformer_lens.model_bridge import TransformerBridge
from transformers.integrations import sdpa_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import painters_interp as painters
from painters_interp import applied
from painters_interp.errors import PlanError, TextError, UnsupportedModelError
from painters_interp.execution import plain
from painters_interp.execution.fused import FUSED
from painters_interp.generation import Ending, routes, texts_under
from painters_interp.generation.routes import Way, batches, bytes_needed, way_to_write
from painters_interp.generation.writing import Style
from painters_interp.plans import Plan

PLANS = ("0-5", "2 (1-3)*2 5", "0-1 3@0.5*2 (4|5)@sum")
NEW = 5


def plans(*texts: str) -> list[Plan]:
    return [Plan.parse(text, tiny.N_LAYERS) for text in texts or PLANS]


def prompts() -> list[tuple[int, ...]]:
    """Two that share a beginning which is worth it, one short; longer than a window of 8."""
    rows = tiny.tokens(3, 24).tolist()
    return [tuple(rows[0]), (*rows[0][:18], *rows[1][:3]), tuple(rows[2][:5])]


def alone(
    model: Any, plan: Plan, ids: tuple[int, ...], cache: str = "exact", new: int = NEW
) -> tuple[int, ...]:
    """What the model's own generate writes, one prompt at a time."""
    tokens = torch.tensor([ids])
    with applied(model, plan, cache=cache):
        found = model.original_model.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, do_sample=False
        )
    return tuple(found[0, len(ids) :].tolist())


def built(name: str, folder: Path, **others: Any) -> TransformerBridge:
    return TransformerBridge.boot_transformers(
        name,
        hf_model=zoo.stock(name, torch.float64, **others),
        tokenizer=tiny.tokenizer(folder),
        dtype=torch.float64,
        device="cpu",
    )


def on_plain(model: TransformerBridge, *texts: str) -> bool:
    """Whether the model writes on its plain face."""
    way = way_to_write(model, plans(*texts) if texts else ())
    return isinstance(way, Way) and way.face.root is not model.original_model


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma3", "mistral"])
def test_tokens_are_those_of_generate(tiny_folder: Path, family: str) -> None:
    model = tiny.shared(family, torch.float64, tiny_folder)
    assert on_plain(model)
    few = plans(*PLANS[1:])
    for plan, texts in zip(few, texts_under(model, few, prompts(), Ending(NEW)), strict=True):
        for ids, text in zip(prompts(), texts, strict=True):
            assert text.tokens == alone(model, plan, ids)


BRANCHES = (
    "0 [1-4]@0.5*2 5",
    "0 ([1 2]|[3 4]) 5",
    "0 (1|[2 3]|[4@0.5]) 5",
    "0 [[(1|2) 3]@0.5*2 4]@-0.25 5",
    "(0|[1 (2|[[3 (4|[5 0])]@0.3])])",
)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_branches_of_many_plans_are_kept_apart_row_by_row(tiny_folder: Path, family: str) -> None:
    model = tiny.shared(family, torch.float64, tiny_folder)
    assert on_plain(model)
    several, some = plans(*BRANCHES), prompts()[1:]
    for plan, texts in zip(several, texts_under(model, several, some, Ending(3)), strict=True):
        for ids, text in zip(some, texts, strict=True):
            assert text.tokens == alone(model, plan, ids, new=3), plan


def test_a_group_inside_a_series_is_averaged(tiny_folder: Path) -> None:
    model = tiny.shared("llama", torch.float64, tiny_folder)
    few = plans("0 [(1-3) 4]@0.5 5", "[(2|4) 5]@0.5")
    averaged = texts_under(model, few, prompts(), Ending(NEW), cache="averaged")
    for plan, texts in zip(few, averaged, strict=True):
        for ids, text in zip(prompts(), texts, strict=True):
            assert text.tokens == alone(model, plan, ids, "averaged")
    assert averaged != texts_under(model, few, prompts(), Ending(NEW))
    with pytest.raises(UnsupportedModelError, match="joins series of layers"):
        painters.generate(model, "0 (1|[2 3]) 5", "AB", cache="averaged")


@pytest.mark.parametrize("name", ["BLOOM", "OPT", "Mixtral", "MPT", "Falcon", "GPT-Neo"])
def test_tokens_are_those_of_generate_where_positions_or_experts_differ(
    tiny_folder: Path, name: str
) -> None:
    model = built(name, tiny_folder)
    # MPT hides pads by the least float64 there is, which its own softmax makes NaN of.
    assert on_plain(model) == (name != "MPT")
    few = plans("2 (1-3) 5")
    for plan, texts in zip(few, texts_under(model, few, prompts(), Ending(4)), strict=True):
        for ids, text in zip(prompts(), texts, strict=True):
            assert text.tokens == alone(model, plan, ids, new=4)


def test_the_averaged_cache_is_averaged(tiny_folder: Path) -> None:
    model = tiny.shared("llama", torch.float64, tiny_folder)
    few = plans("0 (1-3) 5", "(2|4) 5")
    averaged = texts_under(model, few, prompts(), Ending(NEW), cache="averaged")
    for plan, texts in zip(few, averaged, strict=True):
        for ids, text in zip(prompts(), texts, strict=True):
            assert text.tokens == alone(model, plan, ids, "averaged")
    assert averaged != texts_under(model, few, prompts(), Ending(NEW))


@pytest.mark.parametrize("shares", [True, False])
def test_memory_splits_prompts_and_then_plans_and_changes_nothing(
    tiny_folder: Path, shares: bool
) -> None:
    model = tiny.shared("llama", torch.float64, tiny_folder)
    several, longest_first = plans(), sorted(prompts(), key=len)[::-1]
    whole = texts_under(model, several, prompts(), Ending(4))
    needed = partial(bytes_needed, model, Style(Ending(4), None, 0, shares=shares))
    every, one = needed(several, longest_first), needed(several[:1], longest_first[:1])
    assert needed(several, longest_first[:1]) < every > one
    for memory in (every - 1, one):
        with pytest.warns(UserWarning, match=r"in \d+ parts of up to 0\.\d+ MiB of keys"):
            found = texts_under(model, several, prompts(), Ending(4), memory=one)
        assert found == whole
        parts = [*batches(several, longest_first, needed, memory)]
        assert len(parts) > 1
        assert sorted(pair for part in parts for pair in product(*part)) == [
            *product(range(3), range(len(several)))
        ]
        for some, chosen in parts:
            taken = needed([several[k] for k in chosen], [longest_first[k] for k in some])
            assert taken <= memory or len(some) == len(chosen) == 1


@pytest.mark.parametrize(
    ("device", "gib", "room"), [("cpu", 8, 2), ("cpu", 512, 6), ("cuda", 80, 20), ("mps", 16, 4)]
)
def test_texts_take_a_quarter_of_the_memory_there_is(
    monkeypatch: pytest.MonkeyPatch, device: str, gib: int, room: int
) -> None:
    monkeypatch.setattr(routes, "memory_of", lambda place: gib << 30)
    assert routes.room_on(torch.device(device)) == room << 30


def test_beginnings_that_texts_and_plans_share_take_memory_once(tiny_folder: Path) -> None:
    model = tiny.shared("llama", torch.float64, tiny_folder)
    alike = [(*range(1, 31), last) for last in range(8)]
    together, apart = (
        bytes_needed(model, Style(Ending(1), None, 0, shares=shares), plans("0-4", "0-3 5"), alike)
        for shares in (True, False)
    )
    assert together < apart / 2


def test_equal_prompts_and_plans_have_equal_texts(tiny_folder: Path) -> None:
    model = tiny.shared("llama", torch.float32, tiny_folder)
    table = painters.generate(model, {"a": "0-5", "b": "0-5"}, ["AB", "AB"], max_new_tokens=3)
    assert list(table.columns) == ["label", "plan", "prompt", "text", "tokens", "finished"]
    assert len(table) == 4
    assert table["tokens"].nunique() == 1


def test_a_text_ends_before_a_string_that_may_span_tokens(tiny_folder: Path) -> None:
    model = tiny.shared("llama", torch.float32, tiny_folder)
    [whole] = painters.generate(model, "0-5", "HELLO", max_new_tokens=10)["text"]
    stop = whole[3:6]  # a token is a character
    before = whole.split(stop)[0]
    table = painters.generate(model, ["0-5", "0-4"], "HELLO", max_new_tokens=10, stop=stop)
    first = table.iloc[0]
    assert (first["text"], first["finished"]) == (before, True)
    assert len(first["tokens"]) == len(before) + len(stop)


def test_a_prompt_goes_on_whatever_the_tokenizer_adds_behind_it(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    plain = painters.generate(model, "0-5", ["AB", "AB</s>"], max_new_tokens=3)
    model.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    pd.testing.assert_frame_equal(
        painters.generate(model, "0-5", ["AB"], max_new_tokens=3), plain[:1]
    )
    assert plain["tokens"].nunique() == 2


@pytest.mark.parametrize("stop", ["<mask>", "B<mask>", "BC"])
def test_a_stop_string_may_be_a_special_token_or_run_over_one(tiny_folder: Path, stop: str) -> None:
    tokenizer = tiny.tokenizer(tiny_folder)
    tokens = tokenizer.convert_tokens_to_ids(["A", "B", "<mask>", "C"])
    ending = Ending(9, (stop,))
    end = next(k for k in range(1, 5) if ending.reached(tokens[:k], tokenizer))
    text = {"<mask>": "AB", "B<mask>": "AB", "BC": "A"}[stop]
    assert end == (4 if stop == "BC" else 3)
    assert ending.text(tokens[:end], tokenizer) == (text, True)


def test_the_end_of_text_token_ends_a_text(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float64, tiny_folder)
    [ids] = prompts()[:1]
    third = alone(model, plans("0-5")[0], ids)[2]
    model.original_model.generation_config.eos_token_id = [2, third]
    [[text], [other]] = texts_under(model, plans("0-5", "0-4"), [ids], Ending(NEW))
    assert text.tokens == alone(model, plans("0-5")[0], ids)
    assert text.tokens is not None
    assert text.tokens[-1] == third
    assert other.tokens == alone(model, plans("0-4")[0], ids)


def test_what_nan_logits_write_is_unknown(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    way_to_write(model)  # judged while it is whole
    with torch.no_grad():
        next(model.original_model.model.layers[3].parameters()).fill_(torch.nan)
    with pytest.warns(UserWarning, match="a logit is NaN for 1 of 2 texts"):
        table = painters.generate(model, ["0-5", "0-2 4-5"], "AB", max_new_tokens=3)
    assert table["text"].isna().tolist() == [True, False]


def test_a_hooked_model_writes_plan_by_plan_and_says_so(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float64, tiny_folder)
    expected = [[alone(model, plan, ids) for ids in prompts()] for plan in plans("0-5", "0-4")]
    hooks = [("blocks.0.hook_resid_pre", lambda stream, hook: stream)]
    with (
        model.hooks(fwd_hooks=hooks),
        pytest.warns(UserWarning, match=r"plan by plan: the model carries hooks"),
    ):
        found = texts_under(model, plans("0-5", "0-4"), prompts(), Ending(NEW))
    assert [[text.tokens for text in texts] for texts in found] == expected


def test_a_hook_that_comes_later_is_seen(tiny_folder: Path) -> None:
    model, few = tiny.build("llama", torch.float64, tiny_folder), plans("0-5")
    assert on_plain(model)
    [before] = texts_under(model, few, prompts(), Ending(NEW))
    hooks = [("blocks.2.hook_resid_post", lambda stream, hook: -stream)]
    with model.hooks(fwd_hooks=hooks):
        with pytest.warns(UserWarning, match="carries hooks"):
            [during] = texts_under(model, few, prompts(), Ending(NEW))
        assert [text.tokens for text in during] == [alone(model, few[0], i) for i in prompts()]
    assert during != before
    assert texts_under(model, few, prompts(), Ending(NEW)) == [before]


def test_weights_that_change_are_seen(tiny_folder: Path) -> None:
    model, few = tiny.build("gpt_neox", torch.float64, tiny_folder), plans("0-3 5")
    before = texts_under(model, few, prompts(), Ending(NEW))
    model.blocks[1].mlp.load_state_dict(model.blocks[3].mlp.state_dict())
    [after] = texts_under(model, few, prompts(), Ending(NEW))
    assert on_plain(model)
    assert [text.tokens for text in after] == [alone(model, few[0], ids) for ids in prompts()]
    assert [after] != before


def test_halves_are_written_on_the_hooked_face(tiny_folder: Path) -> None:
    model = tiny.shared("llama", torch.float64, tiny_folder)
    few = plans("0 1.attn 2 3.mlp 4-5")
    assert on_plain(model)
    assert not on_plain(model, "0 1.attn 2-5")
    [texts] = texts_under(model, few, prompts(), Ending(NEW))
    assert [text.tokens for text in texts] == [alone(model, few[0], ids) for ids in prompts()]


def test_a_plain_face_that_decodes_otherwise_is_found_out(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fused attention that is right when it reads, and forgets padding when it decodes."""

    def careless(module: Any, q: Any, k: Any, v: Any, mask: Any, **kwargs: Any) -> Any:
        seen = mask if q.shape[-2] > 1 else None
        return sdpa_attention.sdpa_attention_forward(module, q, k, v, seen, **kwargs)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, FUSED, careless)
    model, few = tiny.build("llama", torch.float64, tiny_folder), plans("0-5")
    assert plain(model) is not None
    assert not on_plain(model)
    [texts] = texts_under(model, few, prompts(), Ending(NEW))
    assert [text.tokens for text in texts] == [alone(model, few[0], ids) for ids in prompts()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_plain_face_writes_in_other_number_formats(
    tiny_folder: Path, dtype: torch.dtype
) -> None:
    model = tiny.build("llama", dtype, tiny_folder)
    assert on_plain(model)
    held = [parameter.dtype for parameter in model.original_model.parameters()]
    table = painters.generate(model, PLANS, ["AB", "C D"], max_new_tokens=2)
    assert table["tokens"].map(len).eq(2).all()
    assert [parameter.dtype for parameter in model.original_model.parameters()] == held


def test_settings_of_the_checkpoint_are_followed_plan_by_plan(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float64, tiny_folder)
    model.original_model.generation_config.repetition_penalty = 1.5
    with pytest.warns(UserWarning, match=r"repetition_penalty=1\.5"):
        [[text]] = texts_under(model, plans("0-5"), prompts()[:1], Ending(NEW))
    assert text.tokens == alone(model, plans("0-5")[0], prompts()[0])


def test_layers_that_keep_states_write_plan_by_plan(tiny_folder: Path) -> None:
    model = built("LFM2", tiny_folder)
    with pytest.warns(UserWarning, match="keep states"):
        [[text]] = texts_under(model, plans("0-2 5 4"), prompts()[:1], Ending(3))
    assert text.tokens == alone(model, plans("0-2 5 4")[0], prompts()[0], new=3)


def test_texts_that_change_their_own_rotation_are_written_alone(tiny_folder: Path) -> None:
    rotary = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 6}
    rotary |= {"long_factor": [4.0] * 6, "original_max_position_embeddings": 26}
    model = built("Phi-3", tiny_folder, rope_parameters=rotary, original_max_position_embeddings=26)
    [plan] = plans("0 2*2 5")
    with pytest.warns(UserWarning, match="plan by plan: beyond 26 tokens its rotary"):
        [texts] = texts_under(model, [plan], prompts(), Ending(4))
    for ids, text in zip(prompts(), texts, strict=True):
        assert text.tokens == alone(model, plan, ids, new=4)
    assert isinstance(way_to_write(model, longest=26), Way)


def test_the_model_comes_back_and_is_in_its_mode(tiny_folder: Path) -> None:
    model = tiny.build("gpt2", torch.float32, tiny_folder)
    blocks, before = list(model.blocks), dict(model.original_model.state_dict())
    model.train()
    painters.generate(model, PLANS, ["AB", "C"], max_new_tokens=2)
    assert model.training
    assert list(model.original_model.transformer.h) == blocks
    after = model.original_model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": ["AB", ""]}, "prompt 1 is empty"),
        ({"prompts": []}, "at least one string"),
        ({"max_new_tokens": 254}, r"prompt 0 \('AB'\) has 3 tokens.*context of 256; at most 253"),
        ({"stop": ""}, "at least one character"),
        ({"stop": ["a", ""]}, "at least one character"),
        ({"stop": None}, "neither a string nor a list"),
    ],
)
def test_bad_requests_are_refused_in_words(
    tiny_folder: Path, settings: dict[str, Any], message: str
) -> None:
    model = tiny.shared("llama", torch.float32, tiny_folder)
    with pytest.raises(TextError, match=message):
        painters.generate(model, "0-5", **{"prompts": "AB", **settings})


def test_plans_and_caches_and_encoders_are_refused_before_anything_runs(tiny_folder: Path) -> None:
    model = tiny.shared("llama", torch.float32, tiny_folder)
    with pytest.raises(PlanError, match="asks for layer 6"):
        painters.generate(model, ["0-5", "0-6"], "AB")
    with pytest.raises(PlanError, match="cache='mean'"):
        painters.generate(model, "0-5", "AB", cache="mean")
    with pytest.raises(UnsupportedModelError, match="masked language model"):
        painters.generate(tiny.shared("bert", torch.float32, tiny_folder), "0-5", "AB")


def test_nothing_is_said_of_a_plain_model(tiny_folder: Path) -> None:
    model = tiny.shared("llama", torch.float32, tiny_folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        painters.generate(model, PLANS, ["AB", "C D"], max_new_tokens=2)
