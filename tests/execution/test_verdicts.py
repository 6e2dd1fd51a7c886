"""Verdicts on a model: tried anew whenever something changes on which they depend, else never."""

import pytest
import tiny
import torch

from painters_interp import applied
from painters_interp.errors import PlanError, out_of_memory
from painters_interp.execution import (
    Verdicts,
    family_of,
    measuring,
    packable,
    specimens,
    undisturbed,
)
from painters_interp.execution.guards import Untold, nats_apart
from painters_interp.execution.prompt_run import resumable
from painters_interp.strategies import full

TOKENS = tiny.tokens(1, 9)


@pytest.fixture
def llama(tiny_folder):
    return tiny.build("llama", torch.float32, tiny_folder)


@pytest.fixture
def trials(llama):
    """How often a verdict on the model was tried so far."""
    verdicts: Verdicts[bool] = Verdicts()
    tried: list[int] = []

    def count(*given):
        verdicts.of(llama, lambda: bool(tried.append(1)) or True, *given)
        return len(tried)

    return count


class TestWhatAVerdictDependsOn:
    def test_is_unchanged_by_use(self, llama, trials):
        assert trials() == 1
        llama(TOKENS)
        llama.run_with_cache(TOKENS)
        llama.original_model.generate(TOKENS, max_new_tokens=2)
        llama.original_model.train()
        assert trials() == 1

    def test_is_known_while_a_plan_runs(self, llama, trials):
        trials()
        with applied(llama, "5 5 0 0 0 1 2 2"):
            assert trials() == 1
            assert family_of(llama) is family_of(llama)

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m.original_model.set_attn_implementation("sdpa"),
            lambda m: setattr(m.original_model.config, "sliding_window", 4),
            lambda m: m.original_model.double(),
            lambda m: m.blocks[3].half(),
            lambda m: m.set_use_attn_result(True),
            lambda m: m.enable_compatibility_mode(disable_warnings=True),
        ],
        ids=["attention", "setting", "format", "format of one layer", "switch", "mode"],
    )
    def test_another_condition_is_tried_anew(self, llama, trials, change):
        trials()
        change(llama)
        assert trials() == 2

    def test_what_was_given_counts(self, trials):
        assert [trials(8), trials(16), trials(8)] == [1, 2, 2]


class TestWhatIsNoVerdict:
    def test_memory_that_ran_out_is_tried_again(self, llama):
        verdicts, answers = Verdicts(), iter([MemoryError(), True])

        def tried():
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        with pytest.raises(MemoryError):
            verdicts.of(llama, tried)
        assert verdicts.of(llama, tried) is True

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            torch.OutOfMemoryError("CUDA out of memory."),
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory"),
            RuntimeError("MPS backend out of memory"),
        ],
    )
    def test_memory_runs_out_in_many_words(self, error):
        assert out_of_memory(error)
        assert not out_of_memory(RuntimeError("shape '[2, 3]' is invalid"))

    @pytest.mark.parametrize("error", [Untold(), MemoryError(), RuntimeError("out of memory")])
    def test_a_trial_that_tells_nothing_is_made_again(self, llama, error):
        verdicts: Verdicts[bool] = Verdicts()

        def tried():
            raise error

        assert verdicts.told(llama, tried, else_=False) is False
        assert verdicts.told(llama, lambda: True, else_=False) is True
        with pytest.raises(ValueError, match="bug"):
            verdicts.told(llama, lambda: int("bug"), 8, else_=False)

    def test_nan_is_compared_with_nothing(self):
        nan, inf = float("nan"), float("inf")
        expected = torch.tensor([[1.0, 2.0, nan, -inf]])
        assert nats_apart(expected + 1, expected) < 1e-6
        assert nats_apart(torch.tensor([[1.0, 2.5, 0.0, 0.0]]), expected) == pytest.approx(
            0.388, abs=0.001
        )
        assert not nats_apart(torch.tensor([[1.0, nan, nan, -inf]]), expected) < inf
        with pytest.raises(Untold):
            nats_apart(expected, expected * nan)

    @pytest.mark.parametrize("where", ["vocabulary", "layer"])
    def test_a_model_with_nan_is_judged_by_the_rest_or_not_at_all(self, llama, where):
        root = llama.original_model
        weight = (
            root.lm_head.weight[3] if where == "vocabulary" else next(llama.blocks[1].parameters())
        )
        with torch.no_grad():
            kept = weight.clone()
            weight.fill_(float("nan"))
        told = where == "vocabulary"  # all of its other rows are numbers
        plan = full(tiny.N_LAYERS)
        assert (packable(llama, 16), resumable(llama, plan, 16)) == (told, told)
        with torch.no_grad():
            weight.copy_(kept)
        assert (packable(llama, 16), resumable(llama, plan, 16)) == (True, True)

    def test_nothing_is_found_out_under_a_plan(self, llama):
        with applied(llama, "0-2 5"), pytest.raises(PlanError, match="already applied"):
            specimens(llama)
        assert len(specimens(llama)) > 8


class TestNothingIsLeftBehind:
    def test_state_that_modules_keep_is_as_before(self, llama):
        rotary = llama.original_model.model.rotary_emb
        rotary.seen, rotary.last = 3, None
        table = rotary.original_component.inv_freq
        values, version = table.clone(), table._version

        def grow(module, args, output):
            rotary.seen, rotary.last, rotary.kept = 9, torch.ones(2), torch.ones(3)

        grow.__module__ = "transformers.models"  # as a library does it
        rotary.register_forward_hook(grow)
        with undisturbed(llama):
            llama(TOKENS)
            table.mul_(2)
        assert (rotary.seen, rotary.last, hasattr(rotary, "kept")) == (3, None, False)
        assert torch.equal(table, values)
        with undisturbed(llama):
            llama(TOKENS)
        assert table._version == version + 2  # by this test alone

    def test_every_module_is_in_its_own_mode_again(self, llama):
        llama.original_model.train()
        llama.blocks[2].eval()
        before = [m.training for m in llama.original_model.modules()]
        with measuring(llama):
            assert not any(m.training for m in llama.original_model.modules())
            llama.original_model.train()
        assert [m.training for m in llama.original_model.modules()] == before
