"""Series as branches of a step: what runs is the definition, by whatever road it runs."""

from collections.abc import Iterator
from pathlib import Path

import nested
import pytest
import tiny
import torch
from hypothesis import given, settings
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, capture, check, token_logprobs
from painters_interp.errors import UnsupportedModelError
from painters_interp.execution import head, record, run, walk
from painters_interp.patching import effects
from painters_interp.plans import Branch, Series, Step

N = tiny.N_LAYERS
PLANS = [
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
# Eager attention takes its softmax in float32 in the other families, whatever the model's dtype.
CACHED = {"gpt2": 1e-12, "gpt_neox": 1e-12}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(family: str, tiny_folder: Path) -> TransformerBridge:
    return tiny.shared(family, torch.float64, tiny_folder)


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.shared("llama", torch.float64, tiny_folder)


def naive(model: TransformerBridge, plan: Plan, tokens: Tensor) -> Tensor:
    """The stream before the final norm, by recursion and calls of blocks, as the definition is."""
    recording, blocks = record(model, tokens), list(model.blocks)

    def made(branch: Branch, stream: Tensor) -> Tensor:
        if isinstance(branch, Series):
            for step in branch.steps:
                stream = after(step, stream)
            return stream
        given = recording.calls[branch.layer]
        out = blocks[branch.layer](stream, *given.args, **given.kwargs)
        return out[0] if isinstance(out, tuple) else out

    def after(step: Step, stream: Tensor) -> Tensor:
        updates = [made(branch, stream) - stream for branch in step.branches]
        return stream + step.scale * sum(updates)

    stream = recording.stream
    for step in plan.steps:
        stream = after(step, stream)
    return stream


def logits(model: TransformerBridge, stream: Tensor) -> Tensor:
    with head(model) as logits_of:
        return logits_of(stream.flatten(0, 1)).unflatten(0, stream.shape[:2])


def assert_equal(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> None:
    """Equal within an absolute tolerance, and finite: a NaN must not pass for a small gap."""
    assert a.isfinite().all()
    assert b.isfinite().all()
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_pass_is_the_definition(model: TransformerBridge, plan: Plan) -> None:
    tokens = tiny.tokens(2, 12)
    expected = naive(model, plan, tokens)
    [(_, stream)] = walk(model, [plan], record(model, tokens))
    assert_equal(stream, expected)
    read_out = logits(model, stream)
    with applied(model, plan):
        assert_equal(model(tokens), read_out)


@pytest.mark.parametrize("family", tiny.DECODERS, scope="module", indirect=True)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_token_by_token_decoding_equals_the_uncached_pass(
    model: TransformerBridge, family: str, plan: Plan
) -> None:
    tokens, rows, cache = tiny.tokens(2, 18), [], None
    with applied(model, plan):
        uncached = model(tokens)
        for start, end in [(0, 13), *((t, t + 1) for t in range(13, 18))]:
            found, cache = model(
                tokens[:, start:end],
                past_key_values=cache,
                use_cache=True,
                return_type="logits_and_cache",
            )
            rows.append(found)
    assert len(cache.layers) == len(plan.calls)
    assert_equal(torch.cat(rows, dim=1), uncached, CACHED.get(family, 1e-6))


@settings(max_examples=12, deadline=None)
@given(plan=nested.plans(N, halves=(None,), most=3))
def test_any_plan_is_the_definition(llama: TransformerBridge, plan: Plan) -> None:
    tokens = tiny.tokens(1, 6)
    with torch.no_grad():
        expected = naive(llama, plan, tokens)
        scale = float(expected.abs().max())
        with applied(llama, plan):
            found = llama(tokens)
        [(_, stream)] = walk(llama, [plan], record(llama, tokens))
        assert_equal(stream / scale, expected / scale)
        assert_equal(found, logits(llama, stream), 1e-6)


def test_halves_run_inside_branches(llama: TransformerBridge) -> None:
    """A layer that adds its halves one after the other is the series of both."""
    tokens, whole = tiny.tokens(2, 9), Plan.parse("0 [1-3]@0.5 4 5", N)
    split = Plan.parse("0 [1.attn 1.mlp 2.attn 2.mlp 3]@0.5 4 5", N)
    with applied(llama, whole):
        expected = llama(tokens)
    with applied(llama, split):
        assert_equal(llama(tokens), expected)


def test_beginnings_are_shared_between_plans(model: TransformerBridge) -> None:
    tokens = tiny.tokens(2, 9)
    found = dict(walk_all(model, PLANS, tokens))
    for index, plan in enumerate(PLANS):
        assert_equal(found[index], naive(model, plan, tokens))


def walk_all(
    model: TransformerBridge, plans: list[Plan], tokens: Tensor
) -> Iterator[tuple[int, Tensor]]:
    for ends, stream in walk(model, plans, record(model, tokens)):
        yield from ((index, stream) for index in ends)


def test_packed_and_padded_rows_are_scored_alike(llama: TransformerBridge) -> None:
    long, short = tiny.tokens(1, 12, seed=1), tiny.tokens(1, 7, seed=2)
    tokens = torch.cat([long, torch.cat([torch.zeros(1, 5, dtype=torch.long), short], dim=1)])
    mask = torch.ones_like(tokens)
    mask[1, :5] = 0
    batch = token_logprobs(llama, PLANS, tokens, mask)
    assert_equal(batch[:, 1, 5:], token_logprobs(llama, PLANS, short)[:, 0], 1e-6)


def test_check_finds_them_exact(model: TransformerBridge) -> None:
    assert check(model, PLANS[6]).ok


def test_hooks_address_the_steps_of_the_plan(llama: TransformerBridge) -> None:
    """`pre` acts on what all branches read, `post` on what they leave together."""
    plan, tokens = Plan.parse("0 ([1 2]|[3 (4|5)])@0.5 5", N), tiny.tokens(1, 6)
    seen: dict[str, list[Tensor]] = {}

    def note(stream: Tensor, hook: torch.nn.Module) -> Tensor:
        seen.setdefault(str(hook.name), []).append(stream)
        return stream + 1 if hook.name == "steps.1.hook_resid_pre" else stream

    names = [f"steps.{s}.hook_resid_{end}" for s in range(3) for end in ("pre", "post")]
    with applied(llama, plan) as model:
        assert [name for name in model.hook_dict if name.startswith("steps.")] == names
        model.run_with_hooks(tokens, fwd_hooks=[(name, note) for name in names])
    assert {name: len(streams) for name, streams in seen.items()} == dict.fromkeys(names, 1)
    recording, blocks = record(llama, tokens), list(llama.blocks)

    def block(layer: int, stream: Tensor) -> Tensor:
        given = recording.calls[layer]
        return blocks[layer](stream, *given.args, **given.kwargs)

    read = block(0, recording.stream) + 1
    one = block(2, block(1, read))
    other = block(3, read)
    other = (block(4, other) + block(5, other)) / 2
    after = read + 0.5 * (one - read + other - read)
    assert_equal(seen["steps.0.hook_resid_post"][0] + 1, read)
    assert_equal(seen["steps.1.hook_resid_post"][0], after)
    assert_equal(seen["steps.2.hook_resid_pre"][0], after)
    assert_equal(seen["steps.2.hook_resid_post"][0], block(5, after))


def test_a_layer_fires_its_hooks_at_every_call_in_a_branch(llama: TransformerBridge) -> None:
    fired = []
    with applied(llama, "0 [1 1]@0.5*2 ([1 2]|3)") as model:
        model.run_with_hooks(
            tiny.tokens(1, 4),
            fwd_hooks=[("blocks.1.hook_resid_pre", lambda stream, hook: fired.append(hook.name))],
        )
    assert len(fired) == 5


def test_a_pass_that_is_cut_short_leaves_nothing_behind(llama: TransformerBridge) -> None:
    tokens, plan = tiny.tokens(1, 6), PLANS[6]

    def stop(stream: Tensor, hook: torch.nn.Module) -> None:
        raise InterruptedError

    intact = llama(tokens)
    with applied(llama, plan) as model:
        expected = model(tokens)
        with pytest.raises(InterruptedError):
            model.run_with_hooks(tokens, fwd_hooks=[("blocks.4.hook_resid_pre", stop)])
        assert torch.equal(model(tokens), expected)
    assert torch.equal(llama(tokens), intact)


def test_gradients_flow_through_branches(llama: TransformerBridge) -> None:
    tokens, plan = tiny.tokens(1, 5), PLANS[5]
    weights = [next(llama.blocks[layer].mlp.parameters()) for layer in (1, 3)]
    with torch.enable_grad():
        naive(llama, plan, tokens).square().sum().backward()
        expected = [weight.grad.clone() for weight in weights]
        llama.zero_grad()
        streams: list[Tensor] = []
        with applied(llama, plan) as model:
            model.run_with_hooks(
                tokens,
                fwd_hooks=[
                    (f"steps.{plan.depth - 1}.hook_resid_post", lambda s, hook: streams.append(s))
                ],
            )
            streams[0].square().sum().backward()
        found = [weight.grad.clone() for weight in weights]
        llama.zero_grad()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=1e-9)


def test_a_run_is_taken_up_again_before_any_step(llama: TransformerBridge) -> None:
    tokens = tiny.tokens(1, 9)
    for plan in PLANS[:6]:
        done = run(llama, tokens, plan, first=4)
        assert done.start == 4
        for step in range(plan.depth):
            again = done.resume(step, done.states[step : step + 1, 4:])
            assert_equal(again[0], done.states[-1, 4:], 1e-6)


def test_streams_are_captured_before_and_after_every_step(llama: TransformerBridge) -> None:
    plan = PLANS[2]
    [batch] = capture(llama, ["HELLO"], plan=plan)
    assert len(batch.states) == plan.depth + 1
    for k in range(1, plan.depth + 1):
        assert_equal(batch.states[k], naive(llama, plan[:k], batch.tokens))


def test_a_layer_in_a_branch_is_compared_on_what_it_read_there(llama: TransformerBridge) -> None:
    """Layer 3 reads what layer 2 has left in its branch, not what the step has read."""
    table = effects(llama, ["HELLO"], plans="0 1 ([2 3]|4) 5", skip_first=False)
    tokens = torch.tensor([llama.tokenizer("HELLO")["input_ids"]])
    states = [naive(llama, Plan(range(k), N), tokens) if k else None for k in range(5)]
    changed = naive(llama, Plan([0, 1, 2, 3], N), tokens) - naive(llama, Plan([0, 1, 2], N), tokens)
    own = states[4] - states[3]
    expected = ((changed - own).norm(dim=-1) / own.norm(dim=-1)).mean()
    found = float(table.set_index("layer")["value"][3])
    assert found == pytest.approx(float(expected), abs=1e-12)
    assert found == pytest.approx(0, abs=1e-9)  # in its branch the stream is that of the model
    assert float(table.set_index("layer")["value"][4]) > 1e-3


def test_series_side_by_side_have_no_averaged_cache(llama: TransformerBridge) -> None:
    with (
        pytest.raises(UnsupportedModelError, match=r"step \(1\|\[2 3\]\) joins series of layers"),
        applied(llama, "0 [(1|[2 3]) 4]@0.5 5", cache="averaged"),
    ):
        pass


def test_a_group_inside_a_series_is_averaged(llama: TransformerBridge) -> None:
    """The series at scale 1 is its steps; hidden in a step of its own it is averaged as well."""
    tokens = tiny.tokens(1, 10)

    def decoded(plan: str, cache: str) -> Tensor:
        with applied(llama, plan, cache=cache) as model:
            _, past = model(tokens[:, :7], use_cache=True, return_type="logits_and_cache")
            return model(tokens[:, 7:8], past_key_values=past, use_cache=True)

    plain, hidden = "0 (1|2) 3-5", "0 [[(1|2) 3]@2 4]@0.5 5"
    assert not torch.allclose(decoded(hidden, "averaged"), decoded(hidden, "exact"))
    same = "[0 (1|2) 3-5]@1.0000000000000002"
    assert_equal(decoded(same, "averaged"), decoded(plain, "averaged"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_numbers_that_are_lost_stay_lost(tiny_folder: Path, dtype: torch.dtype) -> None:
    model = tiny.build("llama", dtype, tiny_folder)
    next(model.blocks[3].mlp.parameters()).data.fill_(torch.nan)
    tokens = tiny.tokens(1, 4)
    with applied(model, "0 ([1 2]|[3 4]) 5"):
        assert model(tokens).isnan().all()
    with applied(model, "0 ([1 2]|[4 5]) 5"):
        assert model(tokens).isfinite().all()
    assert token_logprobs(model, "0 [1 3]@0.5 5", tokens).isnan().all()
