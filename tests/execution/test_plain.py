"""The plain face: a stock model over the same tensors, where nobody watches, and nowhere else."""

import copy
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import zoo
from torch import Tensor, nn
from torch.nn.utils import prune
from transformer_lens.model_bridge import TransformerBridge
from transformers import BertModel

from painters_interp import Plan, load_model, token_logprobs
from painters_interp.execution import (
    Recording,
    head,
    measuring,
    pack,
    packable,
    pad,
    plain,
    record,
    record_on,
    user_hooks,
    walk,
)
from painters_interp.execution.fused import FUSED

N = tiny.N_LAYERS
PLANS = [Plan.parse("0 2 (3|4)@0.5 1*2 5", N)]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


def logprobs(model: TransformerBridge, recording: Recording, rows: Tensor, plan: Plan) -> Tensor:
    [(_, stream)] = walk(model, [plan], recording)
    with head(model, recording.face) as logits_of:
        return logits_of(stream[rows]).log_softmax(-1)


def gap(a: Tensor, b: Tensor) -> float:
    assert a.isfinite().all()
    assert b.isfinite().all()
    return float((a - b).abs().max())


def faces_apart(model: TransformerBridge) -> float:
    """The largest difference of the two faces, in nats: padded on both sides, and not padded."""
    face = plain(model)
    assert face is not None
    tokens = tiny.tokens(3, 20)
    mask = torch.ones_like(tokens)
    mask[0, :7], mask[1, -5:] = 0, 0
    gaps = []
    for some in (mask, None):
        rows = torch.ones_like(tokens).bool() if some is None else mask.bool()
        ours, theirs = record_on(face, model, tokens, some), record(model, tokens, some)
        for plan in PLANS:
            found, expected = (logprobs(model, r, rows, plan) for r in (ours, theirs))
            gaps.append(gap(found, expected))
    return max(gaps)


def built(name: str, dtype: torch.dtype, folder: Path) -> TransformerBridge:
    return TransformerBridge.boot_transformers(
        f"tiny {name}",
        hf_model=zoo.stock(name, dtype),
        tokenizer=tiny.tokenizer(folder),
        dtype=dtype,
        device="cpu",
    )


@pytest.mark.parametrize("name", ["Llama", "Gemma 3", "GPT-NeoX", "BLOOM"])
def test_packs_like_the_hooked_face(name: str, tiny_folder: Path) -> None:
    model = built(name, torch.float32, tiny_folder)
    assert packable(model, 30)
    drawn = tiny.tokens(3, 30, seed=9).tolist()
    sequences = [drawn[0], drawn[0][:4] + drawn[1][4:20], drawn[0][:25] + drawn[2][25:]]
    placed = {how: how(model, sequences, plain(model)) for how in (pack, pad)}
    hooked = pad(model, sequences)
    for plan in PLANS:
        expected = _at_places(model, hooked, plan)
        for how in (pack, pad):
            assert gap(_at_places(model, placed[how], plan), expected) <= 1e-4, how


def _at_places(model: TransformerBridge, placed: Any, plan: Plan) -> Tensor:
    rows, columns = torch.tensor([place for path in placed.places for place in path]).T
    [(_, stream)] = walk(model, [plan], placed.recording)
    with head(model, placed.recording.face) as logits_of:
        return logits_of(stream[rows, columns]).log_softmax(-1)


def test_packs_up_to_the_end_of_the_context(tiny_folder: Path) -> None:
    """Learned positions: there is none for a pad behind the last."""
    model = tiny.build("gpt2", torch.float32, tiny_folder)
    trunk = tiny.tokens(1, model.cfg.n_ctx, seed=3)[0].tolist()
    sequences = [trunk, [*trunk[:20], 3, 4]]
    found = _at_places(model, pack(model, sequences, plain(model)), PLANS[0])
    assert gap(found, _at_places(model, pad(model, sequences), PLANS[0])) <= 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_is_the_same_in_other_number_formats(
    family: str, dtype: torch.dtype, tiny_folder: Path
) -> None:
    model = tiny.build(family, dtype, tiny_folder)
    face = plain(model)
    assert face is not None
    before = [p.dtype for p in model.original_model.parameters()]
    assert faces_apart(model) <= (1e-5 if dtype == torch.float64 else 0.1)
    assert [p.dtype for p in model.original_model.parameters()] == before


@pytest.mark.parametrize("broken", ["q_proj", "k_proj", "v_proj"])
def test_hides_nothing_that_is_not_a_number(broken: str, llama: TransformerBridge) -> None:
    assert plain(llama) is not None
    getattr(llama.original_model.model.layers[3].self_attn, broken).weight.data.fill_(torch.nan)
    assert plain(llama) is not None
    found = token_logprobs(llama, ["0-5", "0-2 4-5"], tiny.tokens(2, 6))
    assert found[0].isnan().all()
    assert found[1].isfinite().all()


def test_values_that_are_all_zero_are_numbers(llama: TransformerBridge) -> None:
    llama.original_model.model.layers[3].self_attn.v_proj.weight.data.zero_()
    assert faces_apart(llama) <= 1e-4


class TestWeights:
    def test_are_the_very_same(self, llama: TransformerBridge) -> None:
        face = plain(llama)
        assert face is not None
        held = {id(p) for p in llama.original_model.parameters()}
        assert {id(p) for p in face.root.parameters()} == held
        assert {id(b) for b in face.root.buffers()} <= {
            id(b) for b in llama.original_model.buffers()
        }

    @pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
    def test_changes_are_seen(self, family: str, tiny_folder: Path) -> None:
        model = tiny.build(family, torch.float32, tiny_folder)
        before = token_logprobs(model, "0-5", tiny.tokens(1, 12))
        inner = model.original_model
        for change in (
            lambda: inner.get_input_embeddings().weight.data.mul_(1.5),
            lambda: setattr(
                inner.get_output_embeddings(),
                "weight",
                nn.Parameter(inner.get_output_embeddings().weight * 0.7),
            ),
            lambda: model.blocks[2].mlp.load_state_dict(model.blocks[3].mlp.state_dict()),
        ):
            change()
            after = token_logprobs(model, "0-5", tiny.tokens(1, 12))
            assert float((after - before).abs().nan_to_num().max()) > 1e-3
            assert faces_apart(model) <= 1e-4
            before = after

    def test_another_dtype_is_seen(self, llama: TransformerBridge) -> None:
        assert plain(llama) is not None
        llama.to(torch.float64)
        assert faces_apart(llama) <= 1e-6

    def test_a_copy_of_the_bridge_that_is_edited_is_not_passed_over(
        self, tiny_folder: Path
    ) -> None:
        """NeoX: the bridge computes with its own q, k and v, cut out of the fused weight."""
        model = tiny.build("gpt_neox", torch.float32, tiny_folder)
        assert plain(model) is not None
        model.blocks[1].attn.q.weight.data.mul_(3)
        assert plain(model) is None
        tokens = tiny.tokens(1, 12)
        expected = model(tokens).log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])
        found = token_logprobs(model, "0-5", tokens)[0]
        torch.testing.assert_close(found, expected.squeeze(-1), atol=1e-5, rtol=0)
        model.blocks[1].attn.q.weight.data.div_(3)
        assert plain(model) is not None


def patched(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def other(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    return other


def training(model: TransformerBridge) -> None:
    model.original_model.train()


class Adapter(nn.Module):
    """As adapters are injected: a module that wraps a linear one and adds a product of low rank."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.down = nn.Linear(base_layer.in_features, 2, bias=False)
        self.up = nn.Linear(2, base_layer.out_features, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        return self.base_layer(rows) + self.up(self.down(rows))


def adapters(model: TransformerBridge) -> None:
    component = model.blocks[1].mlp.original_component.up_proj
    component._modules["_original_component"] = Adapter(component.original_component)


def hook(tensor: Tensor, hook: Any) -> Tensor:
    return tensor


WATCHED: dict[str, Callable[[TransformerBridge], object]] = {
    "a hook of TransformerLens": lambda m: m.add_hook(
        "blocks.2.hook_resid_post", lambda t, hook: t
    ),
    "a torch hook on a component": lambda m: m.blocks[1].register_forward_hook(lambda *_: None),
    "a torch hook deep inside": lambda m: m.blocks[
        1
    ].mlp.original_component.register_forward_pre_hook(lambda *_: None),
    "a method put over a component": lambda m: setattr(
        m.blocks[1], "forward", patched(m.blocks[1].forward)
    ),
    "a method put over an inner module": lambda m: setattr(
        m.blocks[1].mlp.original_component,
        "forward",
        patched(m.blocks[1].mlp.original_component.forward),
    ),
    "a setting of a module": lambda m: setattr(m.blocks[1].attn.original_component, "scaling", 0.1),
    "another activation": lambda m: setattr(
        m.blocks[1].mlp.original_component, "act_fn", nn.Tanh()
    ),
    "pruned weights": lambda m: prune.random_unstructured(
        m.blocks[1].mlp.original_component.down_proj.original_component, "weight", 0.5
    ),
    "training": training,
    "adapters": adapters,
    "processed weights": lambda m: m.enable_compatibility_mode(disable_warnings=True),
}


@pytest.mark.parametrize("what", WATCHED)
def test_is_not_used_where_somebody_watches(what: str, llama: TransformerBridge) -> None:
    assert plain(llama) is not None
    WATCHED[what](llama)
    assert plain(llama) is None
    assert "hook" not in what or user_hooks(llama)


@pytest.mark.parametrize("what", ["a setting of a module", "another activation", "adapters"])
def test_scores_see_what_was_changed(what: str, llama: TransformerBridge) -> None:
    tokens = tiny.tokens(1, 12)
    before = token_logprobs(llama, "0-5", tokens)
    WATCHED[what](llama)
    expected = llama(tokens).log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])
    found = token_logprobs(llama, "0-5", tokens)[0]
    torch.testing.assert_close(found, expected.squeeze(-1), atol=1e-5, rtol=0)
    assert float((found - before).abs().max()) > 1e-4


def test_a_hook_that_is_taken_off_again_leaves_the_face_as_it_was(
    llama: TransformerBridge,
) -> None:
    face = plain(llama)
    assert face is not None
    with llama.hooks(fwd_hooks=[("blocks.0.hook_resid_post", hook)]):
        assert plain(llama) is None
    again = plain(llama)
    assert again is not None
    assert again.root is face.root


def test_a_face_that_computes_something_else_is_found_out(
    llama: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fused attention that forgets padding."""
    from transformers.integrations import sdpa_attention
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def careless(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **kwargs: Any) -> Any:
        return sdpa_attention.sdpa_attention_forward(module, q, k, v, None, **kwargs)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, FUSED, careless)
    face = plain(llama)
    assert face is not None
    assert face.root.config._attn_implementation == "eager"
    assert faces_apart(llama) <= 1e-4


def test_frequencies_that_change_with_length_are_left_to_the_hooked_face(tiny_folder: Path) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    model = tiny.build("llama", torch.float32, tiny_folder, rope_parameters=rope)
    assert plain(model) is None


def test_a_checkpoint_from_disk_has_one(tmp_path: Path) -> None:
    """`from_pretrained` sets more on a model than its class does."""
    model = load_model(tiny.save("llama", tmp_path), device="cpu")
    assert plain(model) is not None
    assert faces_apart(model) <= 1e-4


@pytest.mark.parametrize("pooler", [True, False])
def test_an_encoder_without_a_head_has_one(pooler: bool, tiny_folder: Path) -> None:
    """A pooler reads the states and is no part of them."""
    stock = BertModel(tiny.config("bert"), add_pooling_layer=pooler).eval()
    model = load_model(stock, tokenizer=tiny.tokenizer(tiny_folder))
    face = plain(model)
    assert face is not None
    tokens = tiny.tokens(3, 20)
    mask = torch.ones_like(tokens)
    mask[1, -5:] = 0
    types = (torch.arange(20) > 8).long().expand_as(tokens)
    ours, theirs = (record_on(f, model, tokens, mask, token_type_ids=types) for f in (face, None))
    for plan in PLANS:
        [(_, found)], [(_, expected)] = (walk(model, [plan], r) for r in (ours, theirs))
        assert gap(found[mask.bool()], expected[mask.bool()]) <= 1e-5
        assert torch.equal(face.states(found[0]), found[0])  # nothing comes behind the layers


def test_draws_no_random_numbers_and_leaves_modes(llama: TransformerBridge) -> None:
    state = torch.random.get_rng_state()
    settings = copy.deepcopy(llama.original_model.config.to_dict())
    with measuring(llama):
        assert plain(llama) is not None
    assert torch.equal(torch.random.get_rng_state(), state)
    assert llama.original_model.config.to_dict() == settings


def test_half_a_layer_is_called_on_the_hooked_face(llama: TransformerBridge) -> None:
    tokens = tiny.tokens(1, 12)
    whole, half = token_logprobs(llama, ["0-5", "0-2 3.attn 4 5"], tokens)
    assert float((whole - half).abs().max()) > 1e-3
