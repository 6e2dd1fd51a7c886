"""Many architectures: exact under every kind of plan, or refused with the reason.

`ZOO.md` beside this file is the table of what was tried; `python tests/test_zoo.py` rewrites it.
"""

import copy
import inspect
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import zoo
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, LinearAttentionLayer

from painters_interp import Plan, applied, load_model
from painters_interp import strategies as s
from painters_interp.deployment.sequences import in_sequence
from painters_interp.errors import ModelError, PlanError, UnsupportedModelError
from painters_interp.execution import (
    anatomy,
    family_of,
    head,
    packable,
    plain,
    record,
    record_on,
    run,
    walk,
)
from painters_interp.execution.fused import FUSED
from painters_interp.execution.slots import StepPoints, plan_slots

N = zoo.N_LAYERS
TOKENS = tiny.tokens(2, 43)  # read at once, or the last three by themselves
WINDOW = s.middle(N, 0)
# Every kind of step, few plans: each is tried on every architecture.
PLANS = {
    "full": s.full(N),
    "reversed, without the ends": Plan.parse("4-1", N),
    "looped": s.looped_parallel(N, WINDOW, times=2),
    "summed, damped, repeated": Plan.parse("0 1@0.5*2 2 (3|4)@sum 5", N),
}
# With branches: blocks damped as a whole, tracks, groups inside series. All are tried on every
# architecture when the table is written; in the tests each architecture runs the next of them.
BRANCHES = [
    Plan.parse(text, N)
    for text in (
        "0 [1-4]@0.5*2 5",
        "0 ([1 2]|[3 4]) 5",
        "[0 (1|2) 3]@0.5 4 5",
        "([0-2]|[3-5])@sum",
        "0 (1|[2 3]|[4@0.5]) 5",
        "0 [[1-2]@0.5*2 3]@-0.25 4-5",
        "(0|[1 (2|[[3 (4|[5 0])]@0.3])])*2",
        "[5-3]@0.7 ([1 1]|[1 1]) 5",
        "0 [(1|2)*2]@0.9 ([3 4]|5)@0.2 0",
    )
]
PADDED = ("full", "reversed, without the ends", "looped")
# Exact to float64 where attention takes its softmax in the model's own dtype. Linear attention is
# computed in float32, in chunks or step by step: the intact model differs by as much as its plans.
CACHED = dict.fromkeys(
    ("GPT-2", "GPT-2, scaled by layer", "GPT-NeoX", "GPT-BigCode", "Falcon", "Phi-3"), 1e-12
) | dict.fromkeys(("Qwen3-Next", "Gemma 4", "Zamba 2"), 1e-5)
TABLE = Path(__file__).with_name("ZOO.md")
HANDLED = {**zoo.DECODERS, **zoo.ENCODERS, **zoo.HYBRIDS}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def build(name: str, dtype: torch.dtype, folder: Path) -> TransformerBridge:
    return TransformerBridge.boot_transformers(
        f"tiny {name}",
        hf_model=zoo.stock(name, dtype),
        tokenizer=tiny.tokenizer(folder),
        dtype=dtype,
        device="cpu",
    )


@cache
def shared(name: str, folder: Path) -> TransformerBridge:
    """`build` in float32, made once: for tests that leave the model as they found it."""
    return build(name, torch.float32, folder)


def gap(a: Tensor, b: Tensor) -> float:
    """Largest difference; not a number, which no bound accepts, if anything is not finite."""
    finite = bool(a.isfinite().all() and b.isfinite().all())
    return float((a - b).abs().max()) if finite else float("nan")


def decoded(model: TransformerBridge, tokens: Tensor, prefill: int = 40) -> Tensor:
    rows, cache = [], None
    for start, end in [(0, prefill), *((t, t + 1) for t in range(prefill, tokens.shape[1]))]:
        logits, cache = model(
            tokens[:, start:end],
            past_key_values=cache,
            use_cache=True,
            return_type="logits_and_cache",
        )
        rows.append(logits)
    return torch.cat(rows, dim=1)


def decoded_as_generated(model: TransformerBridge, tokens: Tensor, prefill: int = 40) -> Tensor:
    """Called as `generate` calls it: Mamba has a name of its own for its cache, Bamba counts
    positions from 0 unless it is told."""
    root, rows, past = model.original_model, [], {}
    state = inspect.signature(root.forward).parameters
    for start, end in [(0, prefill), *((t, t + 1) for t in range(prefill, tokens.shape[1]))]:
        told = {"position_ids": torch.arange(start, end)[None]} if "position_ids" in state else {}
        out = root(tokens[:, start:end], use_cache=True, **told, **past)
        name = "cache_params" if "cache_params" in state else "past_key_values"
        past = {name: out[name]}
        rows.append(out.logits)
    return torch.cat(rows, dim=1)


def under(model: TransformerBridge, plan: Plan) -> Tensor:
    """The logits of one pass, which all else is compared with."""
    with applied(model, plan):
        return model(TOKENS)


def cached_gap(model: TransformerBridge, plan: Plan, expected: Tensor) -> float:
    told = any(kind in model.cfg.model_name for kind in ("Mamba", "Bamba"))
    decoding = decoded_as_generated if told else decoded
    with applied(model, plan):
        return gap(decoding(model, TOKENS), expected)


def runner_gap(model: TransformerBridge, plan: Plan, expected: Tensor) -> float:
    [(_, stream)] = walk(model, [plan], record(model, TOKENS))
    with head(model) as logits_of:
        return gap(logits_of(stream.flatten(0, 1)).unflatten(0, TOKENS.shape), expected)


def padding_gap(model: TransformerBridge, plan: Plan) -> float:
    """A short sequence padded left and right beside a long one, in both orders of the batch."""
    long, short = tiny.tokens(1, 24, seed=1), tiny.tokens(1, 15, seed=2)
    pad, ones = torch.zeros(1, 9, dtype=torch.long), torch.ones(1, 15, dtype=torch.long)
    rows = torch.cat([long, torch.cat([pad, short], dim=1), torch.cat([short, pad], dim=1)])
    real = torch.cat([torch.ones_like(long), torch.cat([pad, ones], 1), torch.cat([ones, pad], 1)])
    gaps = []
    with applied(model, plan):
        alone = model(short)[0]
        for order in ([0, 1, 2], [2, 1, 0]):
            logits = model(rows[order], attention_mask=real[order])[order]
            gaps += [gap(logits[row][real[row].bool()], alone) for row in (1, 2)]
    return max(gaps) if all(g == g for g in gaps) else float("nan")


@pytest.mark.parametrize("name", HANDLED)
def test_runs_every_plan_exactly_and_comes_back(name: str, tiny_folder: Path) -> None:
    model = build(name, torch.float64, tiny_folder)
    causal = family_of(model).causal
    assert causal == (name not in zoo.ENCODERS)
    intact = model(TOKENS)
    weights = copy.deepcopy(model.original_model.state_dict())
    settings = copy.deepcopy(model.original_model.config.to_dict())
    assert gap(intact, zoo.stock(name, torch.float64)(TOKENS).logits) < 1e-6
    branches = BRANCHES[[*HANDLED].index(name) % len(BRANCHES)]
    for label, plan in {**PLANS, "branches": branches}.items():
        expected = under(model, plan)
        assert runner_gap(model, plan, expected) <= 1e-12, label
        if causal:
            assert cached_gap(model, plan, expected) <= CACHED.get(name, 1e-6), label
        changed = gap(expected, intact)
        assert changed == 0 if label == "full" else changed > 1e-3, label
    assert torch.equal(model(TOKENS), intact)
    assert model.original_model.config.to_dict() == settings
    after = model.original_model.state_dict()
    assert all(torch.equal(after[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", HANDLED)
def test_padding_changes_nothing(name: str, tiny_folder: Path) -> None:
    model = shared(name, tiny_folder)
    for label in PADDED:
        assert padding_gap(model, PLANS[label]) <= 1e-5, label


@pytest.mark.parametrize("name", {**zoo.DECODERS, **zoo.HYBRIDS})
def test_packing_is_offered_only_where_it_is_right(name: str, tiny_folder: Path) -> None:
    """GPT-Neo and MPT mask inside their layers, hybrids convolve: nothing there would raise.

    Gemma 4 has inputs for each layer, which follow the columns of a row.
    """
    model = shared(name, tiny_folder)
    assert packable(model, 30) == (name not in ("GPT-Neo", "MPT", "Gemma 4", *zoo.HYBRIDS))


# Classes without fused attention, or with one of their own: the plain face is eager, too. Sparse
# attention is masked where it has one of two names, or else left to a kernel that takes indices.
EAGER = {
    "Gemma 2", "Falcon", "GPT-J", "GPT-Neo", "BLOOM", "MPT", "gpt-oss", "Mamba", "Mamba 2",
    "Falcon Mamba", "GLM MoE, sparse attention",
}  # fmt: skip


@pytest.mark.parametrize("name", HANDLED)
def test_the_plain_face_computes_what_the_hooked_one_does(name: str, tiny_folder: Path) -> None:
    model = shared(name, tiny_folder)
    face = plain(model)
    assert face is not None
    assert face.root.config._attn_implementation == ("eager" if name in EAGER else FUSED)
    tokens = tiny.tokens(3, 20)
    mask = torch.ones_like(tokens)
    mask[0, :7], mask[1, -5:] = 0, 0
    for some in (mask, None):
        real = torch.ones_like(mask) if some is None else some
        scores = []
        for chosen in (face, None):
            recording = record_on(chosen, model, tokens, some)
            [(_, stream)] = walk(model, [PLANS["summed, damped, repeated"]], recording)
            with head(model, chosen) as logits_of:
                scores.append(logits_of(stream[real.bool()]).log_softmax(-1))
        assert gap(*scores) <= 1e-4


def test_most_of_the_zoo_has_fused_attention() -> None:
    assert len(HANDLED) - len(EAGER) >= 33


REASONS = {
    "Gemma 4, shared": "read keys and values of other layers",
    "RecurrentGemma": r"remember a text in their own modules \(layer 0, conv1d_state\)",
    "RWKV": "its layers are given no cache",
    "DeepSeek V4": "keeps a DeepseekV4HCACache",
    "GLM MoE, shared indices": "require top-k indices from a previous full indexer layer",
    "HRM-Text": "no single list of layers was found",
    "OpenAI GPT": "layers return list",
    "T5": "an encoder-decoder has two layer stacks",
    "BART": "an encoder-decoder has two layer stacks",
    **dict.fromkeys(zoo.UNKNOWN, "Could not determine supported architecture"),
}


@pytest.mark.parametrize("name", zoo.REFUSED)
def test_is_refused_before_anything_changes(name: str, tiny_folder: Path) -> None:
    model = build(name, torch.float32, tiny_folder)
    settings = copy.deepcopy(model.original_model.config.to_dict())
    with pytest.raises(UnsupportedModelError, match=REASONS[name]), applied(model, s.full(N)):
        pass
    assert model.original_model.config.to_dict() == settings


def test_a_setting_that_stays_behind_is_noticed(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma 3 if its `layer_types` were overlooked: layers would get each other's rotations.

    Then they keep their own, and the same comes out.
    """
    plan = BRANCHES[2]
    expected = under(build("Gemma 3", torch.float64, tiny_folder), plan)
    monkeypatch.setattr(anatomy, "_per_layer_fields", lambda *args: ())
    model = build("Gemma 3", torch.float64, tiny_folder)
    assert not family_of(model).follows
    assert list(model.blocks) == list(model.original_model.model.layers)
    assert torch.equal(under(model, plan), expected)
    assert cached_gap(model, plan, expected) <= 1e-6


# What their loops hand to a layer goes by the place where it stands.
OWN = ("Gemma 4", "GLM MoE, sparse attention", "Zamba 2", "Nemotron-H")


@pytest.mark.parametrize("name", HANDLED)
def test_arguments_follow_layers_or_are_kept(name: str, tiny_folder: Path) -> None:
    assert family_of(shared(name, tiny_folder)).follows == (name not in OWN)


@pytest.mark.parametrize("name", OWN)
def test_a_layer_keeps_its_own_arguments_wherever_it_is_called(
    name: str, tiny_folder: Path
) -> None:
    """Against stock layers, called by hand with what the intact stock model calls each with."""
    root, tokens = zoo.stock(name, torch.float64), tiny.tokens(2, 24)
    layers, calls = root.model.layers, []
    hooks = [
        layer.register_forward_pre_hook(lambda _, *given: calls.append(given), with_kwargs=True)
        for layer in layers
    ]
    root(tokens, use_cache=False)
    for hook in hooks:
        hook.remove()
    stream = calls[0][0][0]
    for index in (0, 3, 5, 1, 2, 2, 4):
        output = layers[index](stream, *calls[index][0][1:], **calls[index][1])
        stream = output[0] if isinstance(output, tuple) else output
    layers[-1].register_forward_hook(
        lambda _, args, out: (stream, *out[1:]) if isinstance(out, tuple) else stream
    )
    expected = root(tokens, use_cache=False).logits
    with applied(build(name, torch.float64, tiny_folder), "0 3 5 1 2*2 4") as model:
        assert gap(model(tokens), expected) <= 1e-6


def test_kept_arguments_cannot_be_written_into_a_checkpoint(tiny_folder: Path) -> None:
    model = build("Gemma 4", torch.float32, tiny_folder)
    with pytest.raises(UnsupportedModelError, match="hands every place arguments of its own"):
        in_sequence(model, "0 2 5")


def test_a_cache_is_arranged_for_the_calls_of_one_plan(tiny_folder: Path) -> None:
    """Entries are of the kind of the layer that is called; the text of another plan is none."""
    model = build("Gemma 4", torch.float64, tiny_folder)
    past = DynamicCache(config=model.original_model.config)
    kinds = [type(layer) for layer in past.layers]
    with applied(model, "2 0 5"):
        model(tiny.tokens(2, 12), past_key_values=past)
        assert [type(layer) for layer in past.layers] == [kinds[layer] for layer in (2, 0, 5)]
    past.layers = [DynamicLayer() for _ in range(3)]  # its text is forgotten
    with applied(model, "2 3 5"), pytest.raises(PlanError, match="was made for plan '2 0 5'"):
        model(tiny.tokens(2, 12), past_key_values=past)


def test_a_past_under_a_name_that_a_model_does_not_know_is_refused(tiny_folder: Path) -> None:
    model = build("Mamba", torch.float32, tiny_folder)
    tokens = tiny.tokens(1, 8)
    with applied(model, "0 2 2 5"):
        past = model.original_model(tokens[:, :6], use_cache=True).cache_params
        with pytest.raises(PlanError, match="give it as cache_params"):
            model(tokens[:, 6:], past_key_values=past)
        with pytest.raises(PlanError, match="give it as cache_params"):
            model(tokens, return_type="logits_and_cache")
        written = model.original_model.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=4, do_sample=False
        )
        assert torch.equal(model(written)[0, 7:-1].argmax(-1), written[0, 8:])


NOT_LOADED = {
    "ALBERT": "no adapter for AlbertForMaskedLM; besides, its layers are one layer called again",
    "ModernBERT": "given hooks: TransformerLens has no adapter for ModernBertForMaskedLM$",
    "T5": "cannot be loaded .* it is an encoder-decoder",
}


@pytest.mark.parametrize("name", NOT_LOADED)
def test_cannot_be_loaded(name: str, tmp_path: Path) -> None:
    zoo.stock(name, torch.float32).save_pretrained(tmp_path)
    tiny.tokenizer(tmp_path)
    with pytest.raises(ModelError, match=NOT_LOADED[name]):
        load_model(tmp_path, device="cpu")


def test_a_hybrid_needs_a_layer_that_attends(tiny_folder: Path) -> None:
    model = build("LFM2", torch.float32, tiny_folder)
    with (
        pytest.raises(UnsupportedModelError, match=r"none of the layers \[0, 1\] attends"),
        applied(model, "0 1"),
    ):
        pass


SWAPPED = {
    "Llama": {},
    "Gemma 3": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"] * 2},
    "GPT-Neo": {"attention_types": [[["global"], 2], [["local"], 2], [["global", "local"], 1]]},
    "SmolLM3": {"no_rope_layers": [1, 0, 1, 1, 1, 0]},
    "LFM2": {"layer_types": ["conv", "full_attention", "conv"] * 2},
}


@pytest.mark.parametrize("name", SWAPPED)
def test_a_swap_is_the_checkpoint_with_those_layers_swapped(name: str, tiny_folder: Path) -> None:
    """Layers 1 and 2, and 4 and 5 where a list has a period of three: their settings move too."""
    place = {1: 2, 2: 1, 4: 5, 5: 4} if name in ("Gemma 3", "LFM2") else {1: 2, 2: 1}

    def moved(key: str) -> str:
        return re.sub(
            r"\.(\d+)\.", lambda found: f".{place.get(n := int(found[1]), n)}.", key, count=1
        )

    tokens = tiny.tokens()
    weights = zoo.stock(name, torch.float64).state_dict()
    swapped = zoo.stock(name, torch.float64, **SWAPPED[name])
    swapped.load_state_dict({moved(key): weight for key, weight in weights.items()})
    plan = Plan.parse(" ".join(str(place.get(i, i)) for i in range(N)), N)
    with applied(build(name, torch.float64, tiny_folder), plan) as model:
        assert gap(model(tokens), swapped(tokens).logits) <= 1e-6


def test_the_config_says_what_runs(tiny_folder: Path) -> None:
    model = build("SmolLM3", torch.float32, tiny_folder)
    config = model.original_model.config
    with applied(model, "0 2*2 1-5"):
        assert config.num_hidden_layers == 8
        assert config.no_rope_layers == [1, 0, 0, 1, 0, 1, 1, 0]
        assert len(config.layer_types) == 8
    assert config.no_rope_layers == [1, 1, 0, 1, 1, 0]


@pytest.mark.parametrize("name", ["Llama", "BLOOM", "GPT-J", "Gemma 4"])
def test_hidden_states_are_those_between_calls_whoever_gathers_them(
    name: str, tiny_folder: Path
) -> None:
    """Hooks on layers, or the loop from place to place: what each call reads, and what comes out.

    Only the states in front of the final norm are compared: the last one comes behind it.
    """
    model, tokens = shared(name, tiny_folder), tiny.tokens(1, 8)
    told: list[Tensor] = []
    points = [
        (f"steps.{step}.hook_resid_pre", lambda stream, hook: told.append(stream))
        for step in range(5)
    ]
    with applied(model, "0 2*3 5"), model.hooks(fwd_hooks=points):
        found = model.original_model(tokens, output_hidden_states=True).hidden_states
    assert len(found) == 6
    assert all(torch.equal(a, b) for a, b in zip(found[:-1], told, strict=True))


def test_a_config_that_computes_its_layer_types_says_what_runs(tiny_folder: Path) -> None:
    """The interval of Jamba's attention layers is a setting; where they stand is computed of it."""
    model = build("Jamba", torch.float64, tiny_folder)
    config, tokens = model.original_model.config, tiny.tokens(1, 12)
    kind, types = type(config), config.layer_types
    with applied(model, "0 [5 (1|2)]@0.5 5*2"):
        assert config.num_hidden_layers == 6
        assert config.layer_types == [types[i] for i in (0, 5, 1, 2, 5, 5)]
        assert config.layers_num_experts == [1, 2, 2, 1, 2, 2]
        written = model.original_model.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=5, do_sample=False
        )
        read = model(written)
    assert (type(config), config.layer_types, config.num_hidden_layers) == (kind, types, N)
    assert torch.equal(read[0, 11:-1].argmax(-1), written[0, 12:])


def test_layers_that_keep_states_beside_keys_are_not_taken_up_in_the_middle(
    tiny_folder: Path,
) -> None:
    """States are written into in place: two runs that go on from one would disturb each other."""
    model = build("Falcon H1", torch.float64, tiny_folder)
    assert all(family_of(model).attends)
    assert all(family_of(model).recurs)
    done = run(model, tiny.tokens(1, 9), "0 [1-3]@0.5 5", first=4)
    assert done.start == 0
    for _ in range(2):
        assert gap(done.resume(1, done.states[1:2])[0], done.states[-1]) <= 1e-9
    with (
        pytest.raises(UnsupportedModelError, match="whose caches cannot be averaged"),
        applied(model, "(0|1) 2-5", cache="averaged"),
    ):
        pass


class Reader(torch.nn.Module):
    """A block that does what it is told with the cache that it is given, and adds nothing."""

    def __init__(self, read: Callable[[Any], object]) -> None:
        super().__init__()
        self.read = read

    def forward(self, stream: Tensor, mine: Any = None, **named: Any) -> Tensor:
        self.read(next(iter(named.values()), mine))
        return stream


Run = Callable[..., None]


class TestTheCacheOfASlot:
    """Blocks ask for entry 5, the index that they hold; their slots are 0 and 1."""

    @pytest.fixture
    def run(self, tiny_folder: Path) -> Run:
        bridge = build("GPT-2", torch.float32, tiny_folder)

        def run(read: Callable[[Any], object], *args: Any, **kwargs: Any) -> None:
            bridge.blocks = torch.nn.ModuleList([Reader(read)] * N)
            plan = Plan.parse("5 5", N)
            for slot in plan_slots(plan, bridge, StepPoints(plan.depth), "exact"):
                slot(torch.zeros(1, 3, 2), *args, **kwargs)

        return run

    @pytest.mark.parametrize("name", [None, "past_key_values", "layer_past", "cache_params"])
    def test_is_its_own_however_it_is_handed_over(self, run: Run, name: str | None) -> None:
        cache = DynamicCache()
        keys = torch.randn(1, 1, 3, 2)
        given: tuple[Any, ...] = () if name else (cache,)
        named = {name: cache} if name else {}
        run(lambda mine: mine.update(keys, keys, 5), *given, **named)
        run(lambda mine: mine.update(keys, keys, layer_idx=5), *given, **named)
        assert [layer.get_seq_length() for layer in cache.layers] == [6, 6]

    def test_tells_its_own_length(self, run: Run) -> None:
        cache, lengths = DynamicCache(), []
        entries = iter([torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 7, 2)])
        run(lambda mine: mine.update(*[next(entries)] * 2, 5), cache)
        run(lambda mine: lengths.append(mine.get_seq_length(5)), cache)
        run(lambda mine: lengths.append(mine.get_seq_length()), cache)
        run(lambda mine: lengths.append(mine.get_mask_sizes(1, 5)[0]), cache)
        assert lengths == [4, 7, 4, 7, 5, 8]

    def test_holds_the_state_of_a_linear_layer(self, run: Run) -> None:
        cache = Cache(layers=[LinearAttentionLayer(), LinearAttentionLayer()])
        states = iter([torch.full((1, 2), 1.0), torch.full((1, 2), 2.0)])
        run(lambda mine: mine.update_recurrent_state(next(states), 5), cache)
        assert [float(layer.recurrent_states[0][0, 0]) for layer in cache.layers] == [1, 2]

    def test_refuses_to_have_entries_taken_out(self, run: Run) -> None:
        with pytest.raises(UnsupportedModelError, match="by its own index"):
            run(lambda mine: mine.layers[5].keys, DynamicCache())


def test_linear_layers_have_no_keys_and_values_to_average(tiny_folder: Path) -> None:
    model = build("LFM2", torch.float32, tiny_folder)
    with (
        pytest.raises(UnsupportedModelError, match="joins layers of conv, whose caches cannot"),
        applied(model, "(0|1) 2-5", cache="averaged"),
    ):
        pass


def test_the_table_lists_the_zoo() -> None:
    rows = [line.split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    listed = {row[0].removeprefix("| "): row[1].startswith("refused") for row in rows[1:]}
    assert listed == {name: name not in HANDLED for name in zoo.ZOO}


def refusal(name: str, folder: Path) -> str:
    """The reason as a user reads it, without the model's name and the advice after it."""
    try:
        family_of(build(name, torch.float32, folder))
    except (UnsupportedModelError, ValueError) as error:
        return str(error).removeprefix(f"tiny {name}: ").split(". ")[0]
    raise AssertionError(f"{name} is not refused")


def write_table(folder: Path) -> None:
    """Run the checks and write what came out."""
    lines = [
        "# Architectures tried",
        "",
        "Tiny random models, thirteen plans each, nine of them with branches; the largest",
        "differences of logits. Cached: prefill and token-by-token decoding against one pass",
        "(float64). Runner: shared prefixes against `applied` (float64). Padding: left- and",
        "right-padded against single sequences (float32).",
        "Written by `python tests/test_zoo.py`.",
        "",
        "| architecture | cached | runner | padding |",
        "|---|---|---|---|",
    ]
    for name in zoo.ZOO:
        if name not in HANDLED:
            lines.append(f"| {name} | refused: {refusal(name, folder)} | | |")
            continue
        model = build(name, torch.float64, folder)
        causal = family_of(model).causal
        tried = [(plan, under(model, plan)) for plan in (*PLANS.values(), *BRANCHES)]
        cached = max(cached_gap(model, *pair) for pair in tried) if causal else None
        runner = max(runner_gap(model, *pair) for pair in tried)
        low = build(name, torch.float32, folder)
        padding = max(padding_gap(low, PLANS[p]) for p in PADDED)
        shown = "encoder" if cached is None else f"{cached:.0e}"
        lines.append(f"| {name} | {shown} | {runner:.0e} | {padding:.0e} |")
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made, torch.no_grad():
        write_table(Path(made))
