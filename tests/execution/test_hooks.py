"""Hooks of the user: they see whole sequences, one at a time, or what they would miss is said."""

import warnings

import pytest
import tiny
import torch

from painters_interp import Plan, applied, kl_to_intact, token_logprobs
from painters_interp.errors import UnsupportedModelError
from painters_interp.execution import head, pack, score_targets, user_hooks
from painters_interp.execution.prompt_run import resume_from

PLAN = "0-2 4 4 5"
TOKENS = tiny.tokens(2, 12)


def ablate_last(tensor, hook):
    tensor[:, -1] = 0
    return tensor


def ablate_fifth(tensor, hook):
    tensor[:, 5] = 0
    return tensor


def double_later(tensor, hook):
    return torch.cat([tensor[:, :3], 2 * tensor[:, 3:]], dim=1)


HOOKS = [
    ("embed.hook_out", ablate_fifth),
    ("blocks.1.hook_resid_post", ablate_last),
    ("blocks.4.hook_mlp_out", ablate_fifth),
    ("ln_final.hook_out", double_later),
    ("unembed.hook_out", double_later),
]


@pytest.fixture
def llama(tiny_folder):
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.mark.parametrize(("name", "hook"), HOOKS)
@pytest.mark.parametrize("left", [True, False])
def test_log_probabilities_are_those_of_a_pass_with_the_hook(llama, name, hook, left):
    llama.add_hook(name, hook)
    with torch.no_grad(), applied(llama, PLAN):
        logprobs = llama(TOKENS[:1]).log_softmax(-1)[0, :-1]
    expected = logprobs.gather(-1, TOKENS[0, 1:, None])[:, 0]
    tokens, mask, real = pads(TOKENS[0], 3, left=left)
    [[found]] = token_logprobs(llama, [PLAN], tokens, mask)
    assert (found[real] - expected).abs().max() < 1e-5


def pads(row, n, *, left):
    zeros = torch.zeros(n, dtype=row.dtype)
    parts = [zeros, row] if left else [row, zeros]
    mask = [torch.zeros_like(zeros), torch.ones_like(row)]
    start = n if left else 0
    mask = torch.cat(mask if left else mask[::-1])
    return torch.cat(parts)[None], mask[None], slice(start, start + len(row) - 1)


def test_a_plan_is_as_far_from_the_intact_model_as_under_no_hook_that_changes_nothing(llama):
    expected = kl_to_intact(llama, [PLAN], ["abcdefgh", "hgf"])
    llama.add_hook("blocks.1.hook_resid_post", lambda tensor, hook: tensor)
    found = kl_to_intact(llama, [PLAN], ["abcdefgh", "hgf"])
    assert found["kl"].tolist() == pytest.approx(expected["kl"].tolist(), abs=1e-5)


def test_a_head_by_itself_is_refused_under_a_hook_on_it(llama):
    llama.add_hook("unembed.hook_out", double_later)
    with pytest.raises(UnsupportedModelError, match=r"unembed\.hook_out, behind its layers"):
        head(llama).__enter__()


def test_a_head_by_itself_is_not_seen_by_hooks_before_it(llama):
    llama.add_hook("embed.hook_out", ablate_fifth)
    with torch.no_grad(), head(llama) as logits_of:
        assert logits_of(torch.randn(3, 48)).shape == (3, tiny.VOCAB)


def test_packed_rows_are_refused_by_the_name_of_the_hook(llama):
    llama.add_hook("blocks.1.hook_resid_post", ablate_last)
    placed = pack(llama, [[5, 6, 7], [5, 6, 8]])
    at = torch.tensor([[0, 1]])
    with pytest.raises(
        UnsupportedModelError, match=r"blocks\.1\.hook_out, which would see several"
    ):
        score_targets(llama, [Plan.parse(PLAN, 6)], placed.recording, at, torch.tensor([[7]]))


def test_a_prompt_is_not_taken_up_in_the_middle(llama):
    plan = Plan.parse(PLAN, 6)
    assert resume_from(llama, plan, 12, 5) == 5
    llama.add_hook("blocks.1.hook_resid_post", ablate_last)
    assert resume_from(llama, plan, 12, 5) == 0


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_hooks_that_an_architecture_comes_with_are_none_of_the_users(family, tiny_folder):
    model = tiny.build(family, torch.float32, tiny_folder)
    assert user_hooks(model) == ()
    model.add_hook("blocks.1.mlp.hook_out", lambda tensor, hook: None)
    assert user_hooks(model) == (model.hook_dict["blocks.1.mlp.hook_out"].name,)
    assert len(user_hooks(model)) == 1


class TestSaidOnce:
    def test_a_hook_on_a_layer_that_is_not_called(self, llama):
        hooks = [("blocks.3.hook_out", ablate_last)]
        with applied(llama, PLAN), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(3):
                llama.run_with_hooks(TOKENS, fwd_hooks=hooks)
        assert [str(w.message)[:27] for w in said] == ["hooks on layer 3 never fire"]

    def test_a_cache_of_a_layer_that_is_called_twice(self, llama):
        with (
            applied(llama, PLAN),
            pytest.warns(UserWarning, match="last of several calls of layer 4"),
        ):
            llama.run_with_cache(TOKENS, names_filter="blocks.4.hook_out")

    def test_nothing_else(self, llama):
        with applied(llama, PLAN), warnings.catch_warnings():
            warnings.simplefilter("error")
            llama.run_with_cache(TOKENS, names_filter="blocks.3.hook_out")
            llama.run_with_hooks(TOKENS, fwd_hooks=[("blocks.4.hook_out", ablate_last)])
            llama(TOKENS)


def test_a_notice_is_given_once_however_often_a_plan_is_applied(tiny_folder) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    model.add_hook("blocks.1.hook_resid_post", lambda stream, hook: None)
    model.steps = "mine"

    def run() -> None:
        for _ in range(3):
            with applied(model, "0 2-5"):
                model(TOKENS)

    with pytest.warns(UserWarning, match="hooks on layer 1 never fire") as said:
        run()
    assert len(said) == 1
    assert model.steps == "mine"
