"""Running a plan: exact under the cache, equal through both roads, and undone afterwards."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, check, token_logprobs
from painters_interp import strategies as s
from painters_interp.errors import PlanError, TextError, UnsupportedModelError
from painters_interp.execution import family_of, head, record, walk
from painters_interp.execution.layer_arguments import Arguments, bounded

N = tiny.N_LAYERS
WINDOW = s.middle(N, first=0)
PLANS = {
    "full": s.full(N),
    "skip first": s.drop(N, 0),
    "skip middle": s.skip(N, range(2, 4)),
    "skip last": s.drop(N, N - 1),
    "swap": s.swap(N, 1, 2),
    "reverse": s.reverse(N, WINDOW),
    "shuffle": s.shuffle(N, WINDOW, seed=1),
    "repeat": s.repeat_center(N, WINDOW),
    "repeat first": Plan.parse("0*2 1-5", N),
    "parallel": s.parallel(N, WINDOW),
    "parallel first": Plan.parse("(0-2) 3-5", N),
    "looped": s.looped_parallel(N, WINDOW, times=3),
    "summed": Plan.parse("0-2 (3|4)@sum 5", N),
    "damped": Plan.parse("0 1@0.5*2 2-5", N),
    "one layer": Plan.parse("3", N),
}
# Eager attention takes its softmax in float32 in these families, whatever the model's dtype.
CACHED_TOLERANCE = {"gpt2": 1e-12, "gpt_neox": 1e-12}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model64(family: str, tiny_folder: Path) -> TransformerBridge:
    return tiny.build(family, torch.float64, tiny_folder)


@pytest.fixture(scope="module")
def model32(family: str, tiny_folder: Path) -> TransformerBridge:
    return tiny.build(family, torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


def assert_equal(a: Tensor, b: Tensor, tolerance: float) -> None:
    """Equal within an absolute tolerance, and finite: a NaN must not pass for a small gap."""
    assert a.isfinite().all()
    assert b.isfinite().all()
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


def decoded(model: TransformerBridge, tokens: Tensor, prefill: int = 5) -> Tensor:
    """The first tokens in one call, the others one by one, past the width of sliding windows."""
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


@pytest.mark.parametrize("family", tiny.DECODERS, scope="module", indirect=True)
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_token_by_token_decoding_equals_the_uncached_pass(
    model64: TransformerBridge, family: str, plan: Plan
) -> None:
    tokens = tiny.tokens(batch=2, length=11)
    with applied(model64, plan):
        uncached = model64(tokens)
        cached = decoded(model64, tokens)
    assert_equal(cached, uncached, CACHED_TOLERANCE.get(family, 1e-6))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_the_runner_equals_applied(model64: TransformerBridge, plan: Plan) -> None:
    tokens = tiny.tokens(batch=2, length=24)
    with applied(model64, plan):
        expected = model64(tokens)
    [(_, stream)] = walk(model64, [plan], record(model64, tokens))
    with head(model64) as logits_of:
        rows = logits_of(stream.flatten(0, 1)).unflatten(0, tokens.shape)
    assert_equal(rows, expected, 1e-12)


@pytest.mark.parametrize("name", ["full", "skip first", "swap", "looped"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_equals_single_sequences(
    model32: TransformerBridge, name: str, side: str
) -> None:
    long, short = tiny.tokens(1, 24, seed=1), tiny.tokens(1, 15, seed=2)
    pad, ones = torch.zeros(1, 9, dtype=torch.long), torch.ones(1, 15, dtype=torch.long)
    order = [pad, short] if side == "left" else [short, pad]
    tokens = torch.cat([long, torch.cat(order, dim=1)])
    row = torch.cat([pad, ones] if side == "left" else [ones, pad], dim=1)
    mask = torch.cat([torch.ones_like(long), row])
    with applied(model32, PLANS[name]):
        padded = model32(tokens, attention_mask=mask)
        alone = model32(short), model32(long)
    assert_equal(padded[1][mask[1].bool()], alone[0][0], 1e-5)
    assert_equal(padded[0], alone[1][0], 1e-5)


def test_padding_on_the_left_is_harmless_in_float64_too(
    family: str, model64: TransformerBridge
) -> None:
    """Where the stock model's mask of the least float64 is infinite in its float32 softmax."""
    plan, short = PLANS["swap"], tiny.tokens(1, 8, seed=2)
    tokens = torch.cat([torch.zeros(1, 4, dtype=torch.long), short], dim=1)
    mask = (torch.arange(12) >= 4)[None].long()
    with applied(model64, plan):
        alone = model64(short)[0]
        assert_equal(model64(tokens, attention_mask=mask)[0, 4:], alone, 1e-5)
    assert check(model64, plan).ok
    if family == "bert":
        return
    expected = alone[:-1].log_softmax(-1).gather(-1, short[0, 1:, None]).squeeze(-1)
    assert_equal(token_logprobs(model64, [plan], tokens, mask)[0, 0, 4:], expected, 1e-5)
    with applied(model64, plan):
        generate = model64.original_model.generate
        new = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
        written = generate(short, attention_mask=torch.ones_like(short), **new)[0, 8:]
        assert torch.equal(generate(tokens, attention_mask=mask, **new)[0, 12:], written)


def test_masks_are_bounded_and_stay_shared() -> None:
    least = torch.full((1, 1, 2, 2), torch.finfo(torch.float16).min, dtype=torch.float16)
    state = torch.full((2,), -6e4, dtype=torch.float16)
    calls = [Arguments((), {"attention_mask": least, "state": state}) for _ in range(2)]
    a, b = bounded(calls)
    assert (a.kwargs["attention_mask"] - 1000).isfinite().all()
    assert a.kwargs["attention_mask"] is b.kwargs["attention_mask"]
    assert a.kwargs["state"] is state


def test_the_full_plan_is_the_stock_model(family: str, model64: TransformerBridge) -> None:
    tokens = tiny.tokens(batch=2, length=40)
    expected = tiny.stock(family, torch.float64)(tokens).logits
    with applied(model64, s.full(N)):
        assert_equal(model64(tokens), expected, 1e-6)


def test_every_plan_changes_the_logits(model64: TransformerBridge) -> None:
    tokens = tiny.tokens()
    intact = model64(tokens)
    for name, plan in PLANS.items():
        with applied(model64, plan):
            gap = (model64(tokens) - intact).abs().max()
        assert gap == 0 if name == "full" else gap > 1e-2, name


class TestTheModelComesBack:
    def test_bit_for_bit_after_a_plan(self, model64: TransformerBridge) -> None:
        self.assert_restored(model64, lambda: None)

    def test_bit_for_bit_after_an_exception(self, model64: TransformerBridge) -> None:
        def fail() -> None:
            raise KeyboardInterrupt

        self.assert_restored(model64, fail)

    @staticmethod
    def assert_restored(model: TransformerBridge, inside: object) -> None:
        family_of(model)  # the probe may install capture hooks, once
        tokens = tiny.tokens()
        before = model(tokens)
        weights = {k: v.clone() for k, v in model.original_model.state_dict().items()}
        config = copy.deepcopy(model.original_model.config.to_dict())
        hooks, modules = set(model.hook_dict), list(model.original_model.modules())
        try:
            with applied(model, PLANS["looped"]):
                model(tokens)
                inside()  # type: ignore[operator]
        except KeyboardInterrupt:
            pass
        assert torch.equal(model(tokens), before)
        after = model.original_model.state_dict()
        assert after.keys() == weights.keys()
        assert all(torch.equal(after[k], weights[k]) for k in weights)
        assert model.original_model.config.to_dict() == config
        assert set(model.hook_dict) == hooks
        assert all(a is b for a, b in zip(model.original_model.modules(), modules, strict=True))
        assert not hasattr(model, "steps")


class TestHooks:
    def test_layer_hooks_fire_once_per_call_of_their_layer(self, llama: TransformerBridge) -> None:
        seen: list[str] = []

        def note(tensor: Tensor, hook: object) -> None:
            seen.append(hook.name.split(".")[1])  # type: ignore[attr-defined]

        plan = Plan.parse("0 (1|2)*2 5 3", N)
        points = [(f"blocks.{i}.hook_resid_post", note) for i in range(N)]
        with applied(llama, plan), llama.hooks(fwd_hooks=points):
            llama(tiny.tokens())
        assert "".join(seen) == "0121253"

    def test_step_hooks_see_what_a_group_reads_and_what_it_leaves(
        self, llama: TransformerBridge
    ) -> None:
        states: dict[str, Tensor] = {}

        def keep(tensor: Tensor, hook: object) -> None:
            states[hook.name] = tensor  # type: ignore[attr-defined]

        plan = Plan.parse("0 (1|2) 3", N)
        points = [
            (f"steps.{i}.hook_resid_{end}", keep) for i in range(3) for end in ("pre", "post")
        ]
        outputs: list[Tensor] = []
        layer_points = [
            (f"blocks.{i}.hook_resid_post", lambda t, hook: outputs.append(t)) for i in (1, 2)
        ]
        with applied(llama, plan), llama.hooks(fwd_hooks=points + layer_points):
            llama(tiny.tokens())
        torch.testing.assert_close(states["steps.1.hook_resid_post"], sum(outputs) / 2)
        for i in (1, 2):
            assert torch.equal(
                states[f"steps.{i}.hook_resid_pre"], states[f"steps.{i - 1}.hook_resid_post"]
            )

    def test_a_change_at_a_step_reaches_every_member(self, llama: TransformerBridge) -> None:
        tokens = tiny.tokens()
        read: list[Tensor] = []
        points = [("steps.1.hook_resid_pre", lambda t, hook: t * 0)]
        points += [(f"blocks.{i}.hook_resid_pre", lambda t, hook: read.append(t)) for i in (1, 2)]
        with applied(llama, "0 (1|2) 3"), llama.hooks(fwd_hooks=points):
            llama(tokens)
        assert [float(t.abs().max()) for t in read] == [0, 0]


class TestTokenLogprobs:
    def test_equals_the_logits_under_applied(self, model64: TransformerBridge) -> None:
        if not family_of(model64).causal:
            with pytest.raises(UnsupportedModelError, match="masked language model"):
                token_logprobs(model64, [s.full(N)], tiny.tokens())
            return
        tokens = tiny.tokens(batch=3, length=12)
        plans = [PLANS["looped"], PLANS["swap"], PLANS["looped"]]
        got = token_logprobs(model64, plans, tokens)
        assert got.shape == (3, 3, 11)
        for plan, rows in zip(plans, got, strict=True):
            with applied(model64, plan):
                logprobs = model64(tokens).log_softmax(-1)
            # The softmax of eager attention is in float32, also in a model of float64.
            assert_equal(rows, logprobs[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1), 1e-6)

    def test_padding_is_nan_and_changes_nothing_else(self, llama: TransformerBridge) -> None:
        tokens = tiny.tokens(1, 6)
        [[plain]] = token_logprobs(llama, [PLANS["swap"]], tokens)
        pad = torch.zeros(1, 3, dtype=torch.long)
        ones = torch.ones_like(tokens)
        for parts, masks, kept in [
            ((pad, tokens), (pad, ones), slice(3, 8)),
            ((tokens, pad), (ones, pad), slice(0, 5)),
        ]:
            [[row]] = token_logprobs(
                llama, [PLANS["swap"]], torch.cat(parts, 1), torch.cat(masks, 1)
            )
            assert_equal(row[kept], plain, 1e-5)
            assert int(row.isnan().sum()) == 3

    def test_refuses_what_is_not_a_batch_of_sequences(self, llama: TransformerBridge) -> None:
        with pytest.raises(TextError, match=r"shape \(2, 1\); \(batch, pos >= 2\) is needed"):
            token_logprobs(llama, [s.full(N)], tiny.tokens(2, 1))


class TestRefusals:
    def test_a_plan_inside_a_plan(self, llama: TransformerBridge) -> None:
        with (
            applied(llama, s.full(N)),
            pytest.raises(PlanError, match="already applied to tiny-llama"),
            applied(llama, s.full(N)),
        ):
            pass

    def test_a_plan_for_another_depth(self, llama: TransformerBridge) -> None:
        with (
            pytest.raises(PlanError, match="is for 7 layers; tiny-llama has 6"),
            applied(llama, s.full(7)),
        ):
            pass

    def test_layers_that_share_keys_and_values(self, tiny_folder: Path) -> None:
        model = tiny.build("llama", torch.float32, tiny_folder)
        model.original_model.config.num_kv_shared_layers = 2
        with pytest.raises(UnsupportedModelError, match="the last 2 layers read keys and values"):
            family_of(model)

    def test_half_a_layer_where_layers_do_more_than_add(self, tiny_folder: Path) -> None:
        model = tiny.build("bert", torch.float32, tiny_folder)
        with (
            pytest.raises(UnsupportedModelError, match=r"cannot call attn of layer 1 alone"),
            applied(model, "0 1.attn"),
        ):
            pass


def test_what_one_layer_alone_is_given_goes_where_it_goes(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    seen: list[tuple[int, bool]] = []

    def own(module, args, kwargs):
        return args, kwargs | {"mine": torch.ones(1)}

    def note(module, args, kwargs):
        seen.append(([*model.blocks].index(module), "mine" in kwargs))

    own.__module__ = "transformers.models.own"  # as an architecture would have it
    model.blocks[3].register_forward_pre_hook(own, with_kwargs=True, prepend=True)
    expected = applied_logits(model, "0 3 1 2 4 5")
    for block in model.blocks:
        block.register_forward_pre_hook(note, with_kwargs=True)
    torch.testing.assert_close(applied_logits(model, "0 3 1 2 4 5"), expected)
    assert seen[-6:] == [(i, i == 3) for i in (0, 3, 1, 2, 4, 5)]


def applied_logits(model: TransformerBridge, plan: str) -> torch.Tensor:
    with applied(model, plan), torch.no_grad():
        return model(torch.tensor([[3, 5, 7]]), return_type="logits")


class TestCheck:
    def test_a_sound_model_passes(self, model64: TransformerBridge) -> None:
        weights = [p.clone() for p in model64.original_model.parameters()]
        report = check(model64, PLANS["looped"])
        assert report.ok
        assert (report.cached_gap is None) == (not family_of(model64).causal)
        assert all(
            torch.equal(a, b)
            for a, b in zip(weights, model64.original_model.parameters(), strict=True)
        )

    def test_a_bfloat16_model_is_judged_in_float32(self, tiny_folder: Path) -> None:
        model = tiny.build("llama", torch.bfloat16, tiny_folder)
        assert check(model, PLANS["looped"]).ok
        assert {p.dtype for p in model.original_model.parameters()} == {torch.bfloat16}

    @pytest.mark.parametrize("amplified", [False, True])
    def test_the_rounding_of_a_model_is_no_fault_of_a_plan(
        self, amplified: bool, tiny_folder: Path
    ) -> None:
        """A kernel whose sums depend on how many tokens come at once, as those of BLAS do.

        Amplified, what it rounds is seen only where layers do not follow each other as trained.
        """
        model = tiny.build("llama", torch.float32, tiny_folder)
        config = model.original_model.config

        def round_by_width(module, args, output):
            seen = not amplified or config.num_hidden_layers != N
            return output * (1 + 8e-4 * (output.shape[1] % 3) * seen)

        round_by_width.__module__ = "transformers.kernels"
        model.original_model.lm_head.register_forward_hook(round_by_width)
        report = check(model, s.drop(N, 1))
        assert report.cached_gap > 1e-3
        assert report.ok
        assert 1e-3 < report.tolerance <= 2e-2

    def test_a_layer_that_ignores_its_cache_fails(self, tiny_folder: Path) -> None:
        model = tiny.build("llama", torch.float32, tiny_folder)
        family_of(model)
        model.blocks[2].register_forward_pre_hook(
            lambda module, args, kwargs: (args, kwargs | {"past_key_values": None}),
            with_kwargs=True,
        )
        report = check(model, s.full(N))
        assert not report.ok
        assert report.cached_gap is not None
        assert not report.cached_gap < report.tolerance
