"""`capture`: the streams are the model's own, at every depth, and reading them leaves no trace."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, capture
from painters_interp import strategies as s
from painters_interp.errors import PlanError, TextError
from painters_interp.streams import Streams

N = tiny.N_LAYERS
TEXTS = ["the quick brown fox", "jumps", "over the lazy dog and runs away"]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(family: str, tiny_folder: Path) -> TransformerBridge:
    # Not float64: stock eager attention then gives NaN where a sliding window sees only padding.
    return tiny.build(family, torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


def only(batches: Iterator[Streams]) -> Streams:
    (batch,) = batches
    return batch


def real(states: Tensor, mask: Tensor) -> Tensor:
    """(state, batch, pos, d) to (state, token, d): what stands at padding says nothing."""
    return states[:, mask.bool()]


def by_hand(
    model: TransformerBridge, batch: Streams, plan: Plan | None
) -> tuple[Tensor, list[Tensor]]:
    """What the first block reads, and what every block returns, through plain torch hooks."""
    read: list[Tensor] = []
    left: list[Tensor] = []
    handles = [
        block.register_forward_pre_hook(
            lambda module, args, kwargs: read.append(kwargs.get("hidden_states", *args[:1])),
            with_kwargs=True,
        )
        for block in model.blocks
    ]
    handles += [
        block.register_forward_hook(
            lambda module, args, out: left.append(out[0] if isinstance(out, tuple) else out)
        )
        for block in model.blocks
    ]
    try:
        with applied(model, plan or s.full(N)):
            model(batch.tokens, attention_mask=batch.mask)
    finally:
        for handle in handles:
            handle.remove()
    return read[0], left


def hook_counts(model: TransformerBridge) -> dict[str, int]:
    """Hooks on every hook point and every module, by name."""
    points = {name: len(point.fwd_hooks) for name, point in model.hook_dict.items()}
    modules = model.original_model.named_modules()
    return points | {f"module {name}": len(m._forward_hooks) for name, m in modules}


def test_states_equal_the_hidden_states_of_hugging_face(family: str, model: TransformerBridge):
    batch = only(capture(model, TEXTS))
    stock = tiny.stock(family, torch.float32)
    hidden = stock(batch.tokens, attention_mask=batch.mask, output_hidden_states=True).hidden_states
    assert batch.states.shape == (N + 1, *batch.tokens.shape, 48)
    # The last entry there has the final norm applied in decoders; the next test covers it.
    expected = torch.stack(hidden[:-1])
    assert expected.isfinite().all()
    torch.testing.assert_close(
        real(batch.states[:-1], batch.mask), real(expected, batch.mask), atol=1e-5, rtol=0
    )


def test_states_equal_what_plain_torch_hooks_see(model: TransformerBridge):
    batch = only(capture(model, TEXTS))
    first, outputs = by_hand(model, batch, None)
    assert torch.equal(batch.states, torch.stack([first, *outputs]))


def test_under_a_sequential_plan_there_is_a_state_per_step(model: TransformerBridge):
    plan = Plan.parse("0 3 1*2 5", N)
    batch = only(capture(model, TEXTS, plan))
    first, outputs = by_hand(model, batch, plan)
    assert len(batch.states) == plan.depth + 1 == 6
    assert torch.equal(batch.states, torch.stack([first, *outputs]))


def test_a_group_is_one_step_whose_state_is_the_combination(model: TransformerBridge):
    plan = Plan.parse("0 (1-3)*2 (4|5)@sum", N)
    batch = only(capture(model, TEXTS, str(plan)))
    first, (h0, *group, a, b) = by_hand(model, batch, plan)
    h1 = torch.stack(group[:3]).mean(0)
    h2 = torch.stack(group[3:]).mean(0)
    expected = torch.stack([first, h0, h1, h2, a + b - h2])
    torch.testing.assert_close(
        real(batch.states, batch.mask), real(expected, batch.mask), atol=1e-5, rtol=0
    )


def test_the_full_plan_gives_the_intact_states(model: TransformerBridge):
    intact, full = only(capture(model, TEXTS)), only(capture(model, TEXTS, s.full(N)))
    assert torch.equal(intact.states, full.states)


class TestBatches:
    def test_rows_come_in_the_order_given_and_the_mask_hides_padding(
        self, llama: TransformerBridge
    ):
        batches = list(capture(llama, TEXTS, batch_size=2))
        assert [batch.texts for batch in batches] == [(0, 1), (2,)]
        found = [
            llama.tokenizer.decode(tokens[mask.bool()], skip_special_tokens=True)
            for batch in batches
            for tokens, mask in zip(batch.tokens, batch.mask, strict=True)
        ]
        assert found == TEXTS
        # One <s>, and a token for each character.
        assert batches[0].mask.sum(1).tolist() == [20, 6]

    def test_padding_changes_nothing_at_real_tokens(self, llama: TransformerBridge):
        together = only(capture(llama, TEXTS))
        for row, text in enumerate(TEXTS):
            alone = only(capture(llama, [text])).states[:, 0]
            padded = together.states[:, row, : alone.shape[1]]
            torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)

    def test_a_text_longer_than_the_context_comes_in_pieces(self, llama: TransformerBridge):
        assert llama.cfg.n_ctx == 256
        batch = only(capture(llama, ["short", "x" * 599]))
        assert batch.texts == (0, 1, 1, 1)
        assert batch.mask.sum(1).tolist() == [6, 256, 256, 88]

    def test_a_tokenizer_may_know_a_shorter_context(self, tiny_folder: Path):
        model = tiny.build("llama", torch.float32, tiny_folder)
        model.tokenizer.model_max_length = 100
        assert only(capture(model, ["x" * 199])).mask.sum(1).tolist() == [100, 100]


class TestNoTrace:
    """Reading leaves the model as it was, also when the reader stops or fails half-way."""

    @pytest.mark.parametrize("plan", [None, "0 (1|2) 5"])
    @pytest.mark.parametrize("reader", ["reads all", "stops early", "raises"])
    def test_no_hooks_stay(self, model: TransformerBridge, plan: str | None, reader: str):
        def read() -> None:
            for _ in capture(model, TEXTS, plan, batch_size=1):
                if reader == "stops early":
                    return
                if reader == "raises":
                    raise KeyboardInterrupt

        self.assert_unchanged(model, read)

    def test_no_hooks_stay_when_the_model_fails(self, llama: TransformerBridge):
        def fail(module: object, args: object) -> None:
            raise KeyboardInterrupt

        def read() -> None:
            handle = llama.blocks[3].register_forward_pre_hook(fail)
            try:
                list(capture(llama, TEXTS, "0-5"))
            finally:
                handle.remove()

        self.assert_unchanged(llama, read)

    @staticmethod
    def assert_unchanged(model: TransformerBridge, read: Callable[[], None]) -> None:
        tokens = tiny.tokens()
        list(capture(model, TEXTS))  # the probe may install capture hooks of transformers, once
        before, hooks = model(tokens), hook_counts(model)
        with suppress(KeyboardInterrupt):
            read()
        assert hook_counts(model) == hooks
        assert torch.equal(model(tokens), before)

    def test_states_are_not_the_models_own_memory(self, llama: TransformerBridge):
        batch = only(capture(llama, TEXTS))
        kept = batch.states.clone()
        llama(batch.tokens)
        assert torch.equal(batch.states, kept)
        assert not batch.states.requires_grad


class TestRefusals:
    def test_no_texts(self, llama: TransformerBridge):
        with pytest.raises(TextError, match="texts must be a list"):
            capture(llama, [])

    def test_a_text_without_a_second_token(self, llama: TransformerBridge):
        with pytest.raises(TextError, match=r"text 1 \(''\) has 1 token"):
            capture(llama, ["fine", ""])

    def test_a_plan_for_another_depth(self, llama: TransformerBridge):
        with pytest.raises(PlanError, match="is for 7 layers; tiny-llama has 6"):
            capture(llama, TEXTS, s.full(7))

    def test_inside_a_plan(self, llama: TransformerBridge):
        with applied(llama, s.full(N)), pytest.raises(PlanError, match="already applied"):
            capture(llama, TEXTS)

    def test_a_plan_applied_between_two_batches(self, llama: TransformerBridge):
        batches = capture(llama, TEXTS, batch_size=1)
        next(batches)
        with applied(llama, "5-0"), pytest.raises(PlanError, match="already applied"):
            next(batches)


@pytest.mark.parametrize("family", ["gemma3", "mistral"])
def test_windows_of_padding_spoil_no_real_token_in_float64(family: str, tiny_folder: Path) -> None:
    model = tiny.shared(family, torch.float64, tiny_folder)
    texts = ["short", "a text that is longer than the window of any layer"]
    (both,) = capture(model, texts)
    (alone,) = capture(model, texts[0])
    length = int(alone.mask.sum())
    assert both.mask[0].sum() == length
    # Norms of gemma3 compute in float32.
    torch.testing.assert_close(both.states[:, 0, :length], alone.states[:, 0], atol=1e-4, rtol=0)
