"""Guards: hidden probes disturb nobody, measurements have no dropout, verdicts know their terms."""

import pytest
import tiny
import torch
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import applied
from painters_interp.execution import Verdicts, family_of, measuring, undisturbed, user_hooks

TOKENS = torch.arange(5, 17)[None]


@pytest.fixture
def llama(tiny_folder) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


class TestUndisturbed:
    def test_no_hook_of_the_user_fires_and_all_are_back_in_order(self, llama):
        seen: list[str] = []

        def noting(name):
            return lambda *args, **kwargs: seen.append(name)

        llama.add_hook("blocks.2.hook_resid_post", noting("lens"))
        llama.blocks[1].register_forward_hook(noting("first"))
        llama.blocks[1].register_forward_hook(noting("second"))
        llama.original_model.model.norm.register_forward_pre_hook(noting("norm"))
        llama(TOKENS)
        before = seen.copy()
        seen.clear()
        with undisturbed(llama):
            llama(TOKENS)
        assert seen == []
        llama(TOKENS)
        assert seen == before == ["first", "second", "lens", "norm"]

    def test_hooks_can_still_be_removed_afterwards(self, llama):
        seen: list[int] = []
        handle = llama.blocks[0].register_forward_hook(lambda *args: seen.append(1))
        with undisturbed(llama):
            pass
        handle.remove()
        llama(TOKENS)
        assert seen == []

    def test_hooks_are_back_after_an_exception(self, llama):
        llama.add_hook("blocks.2.hook_resid_post", lambda tensor, hook: None)
        with pytest.raises(KeyError), undisturbed(llama):
            raise KeyError
        assert user_hooks(llama) == ("blocks.2.hook_out",)

    def test_a_first_use_is_not_seen_by_hooks(self, llama):
        shapes: list[tuple[int, ...]] = []
        llama.add_hook("blocks.2.hook_resid_post", lambda t, hook: shapes.append(tuple(t.shape)))
        with applied(llama, "0-2 5"):
            llama(TOKENS)
        assert shapes == [(1, 12, 48)]


class TestMeasuring:
    def test_modes_changed_inside_are_as_before_afterwards(self, llama):
        llama.original_model.train()
        modules = [*llama.modules(), *llama.original_model.modules()]
        modules[3].training = False
        before = [module.training for module in modules]
        with measuring(llama):
            assert not any(module.training for module in modules)
            llama.train()
        assert [module.training for module in modules] == before

    def test_every_submodule_has_its_own_mode_afterwards(self, llama):
        llama.original_model.train()
        llama.blocks[3].eval()
        modes = [module.training for module in llama.original_model.modules()]
        with measuring(llama):
            assert not any(module.training for module in llama.original_model.modules())
        assert [module.training for module in llama.original_model.modules()] == modes


class TestUserHooks:
    def test_names_what_the_user_has_hung_up(self, llama):
        family_of(llama)  # makes transformers hang up its own
        assert user_hooks(llama) == ()
        llama.add_hook("blocks.1.attn.hook_out", lambda tensor, hook: None)
        llama.original_model.lm_head.register_forward_hook(lambda *args: None)
        assert set(user_hooks(llama)) == {"blocks.1.attn.hook_out", "unembed"}


class TestVerdicts:
    def test_is_remembered_until_the_attention_changes(self, llama):
        verdicts: Verdicts[int] = Verdicts()
        tries = iter(range(9))
        find = lambda: next(tries)  # noqa: E731
        assert [verdicts.of(llama, find, 8) for _ in range(2)] == [0, 0]
        assert verdicts.of(llama, find, 16) == 1
        llama.original_model.set_attn_implementation("sdpa")
        assert verdicts.of(llama, find, 8) == 2
        llama.original_model.set_attn_implementation("eager")
        assert verdicts.of(llama, find, 8) == 0
        llama.original_model.double()
        assert verdicts.of(llama, find, 8) == 3

    def test_an_exception_is_no_verdict(self, llama):
        verdicts: Verdicts[int] = Verdicts()

        def out_of_memory() -> int:
            raise torch.OutOfMemoryError

        with pytest.raises(torch.OutOfMemoryError):
            verdicts.of(llama, out_of_memory)
        assert verdicts.of(llama, lambda: 7) == 7
