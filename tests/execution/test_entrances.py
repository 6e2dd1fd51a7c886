"""Under a plan: what goes in is read with its pads, a pass begins clean, caches have one owner."""

import pytest
import tiny
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import DynamicCache, StaticCache

from painters_interp import Plan, applied
from painters_interp.errors import PlanError, TextError, UnsupportedModelError

TOKENS = torch.arange(5, 17)[None]
PLAN = "0 (1|2) (3|4)*2 5"
TEXTS = ["hello", "hello there world", "ab"]


@pytest.fixture
def llama(tiny_folder) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


def logits(model, plan=PLAN, **more):
    with torch.no_grad(), applied(model, plan, **more):
        return model(TOKENS)


class TestAPassBeginsClean:
    @pytest.mark.parametrize("slot", range(len(Plan.parse(PLAN, 6).calls)))
    def test_after_an_exception_at_any_slot(self, llama, slot):
        expected, calls = logits(llama), iter(range(99))

        def fail_once(tensor, hook):
            if next(calls) == slot:
                raise MemoryError

        with torch.no_grad(), applied(llama, PLAN):
            hooks = [(f"blocks.{i}.hook_mlp_out", fail_once) for i in range(6)]
            with pytest.raises(MemoryError), llama.hooks(fwd_hooks=hooks):
                llama(TOKENS)
            assert torch.equal(llama(TOKENS), expected)


class TestEverythingComesBack:
    def test_what_the_user_had_put_in_place_of_generate(self, llama):
        mine = lambda *args, **kwargs: "mine"  # noqa: E731
        llama.generate = mine
        with applied(llama, PLAN):
            pass
        assert llama.generate is mine

    def test_modes_and_formats_reach_layers_that_nobody_calls(self, llama):
        llama.original_model.train()
        with applied(llama, "0-2 5"):
            llama.original_model.eval()
            llama.original_model.double()
        assert not any(module.training for module in llama.original_model.modules())
        assert {p.dtype for p in llama.original_model.parameters()} == {torch.float64}
        assert llama(TOKENS).dtype == torch.float64


class TestRefused:
    @pytest.mark.parametrize("layer", [{"stop_at_layer": 3}, {"start_at_layer": 2}])
    def test_layers_to_start_and_stop_at(self, llama, layer):
        with applied(llama, "0-2 5"), pytest.raises(PlanError, match="has no meaning under a plan"):
            llama(TOKENS, **layer)

    def test_modes_that_rewrite_the_model(self, llama):
        with applied(llama, PLAN), pytest.raises(PlanError, match="enable_compatibility_mode"):
            llama.enable_compatibility_mode()
        assert not getattr(llama, "compatibility_mode", False)

    def test_saving_a_model_in_another_order(self, llama, tmp_path):
        with applied(llama, PLAN), pytest.raises(PlanError, match="save_pretrained"):
            llama.original_model.save_pretrained(tmp_path)

    def test_half_a_layer_while_checkpointing_trains(self, llama):
        root = llama.original_model.train()
        root.gradient_checkpointing_enable()
        with (
            applied(llama, "0-2 3.attn 4 5"),
            pytest.raises(UnsupportedModelError, match="gradient checkpointing"),
        ):
            root(TOKENS, labels=TOKENS)


class TestPads:
    def test_a_list_of_texts_is_read_as_each_text_alone(self, llama):
        llama.tokenizer.pad_token = llama.tokenizer.eos_token
        texts = ["hello there", "</s>ab"]
        with torch.no_grad(), applied(llama, "0-1 3-5"):
            alone = llama(texts[1], prepend_bos=False)[0]
            for side in ("left", "right"):
                row = llama(texts, prepend_bos=False, padding_side=side)[1]
                own = row[-len(alone) :] if side == "left" else row[: len(alone)]
                assert (own - alone).abs().max() < 1e-5

    def test_pads_are_no_targets(self, llama):
        with torch.no_grad(), applied(llama, "0-1 3-5"):
            losses = [llama(text, return_type="loss", loss_per_token=True) for text in TEXTS]
            expected = torch.cat([loss.flatten() for loss in losses]).mean()
            assert abs(llama(TEXTS, return_type="loss") - expected) < 1e-5

    def test_padded_tokens_without_a_mask_have_no_loss(self, llama):
        tokens = llama.to_tokens(TEXTS)
        with applied(llama, PLAN), pytest.raises(TextError, match="end with different numbers"):
            llama(tokens, return_type="loss")

    @pytest.mark.parametrize("mask", [True, False])
    def test_prompts_padded_on_the_right_are_not_continued(self, llama, mask):
        tokens = llama.to_tokens(TEXTS)
        given = {"attention_mask": (tokens != 0).long()} if mask else {}
        with applied(llama, PLAN):
            for generate in (llama.generate, llama.original_model.generate):
                with pytest.raises(TextError, match="pad"):
                    generate(tokens, max_new_tokens=2, **given)

    def test_a_list_of_prompts_is_continued_as_each_prompt_alone(self, llama):
        options = {"max_new_tokens": 5, "do_sample": False, "verbose": False}
        with applied(llama, "0-1 3-5"):
            together = llama.generate(TEXTS, **options, stop_at_eos=False)
            assert together == [llama.generate(t, **options, stop_at_eos=False) for t in TEXTS]


class TestCaches:
    def read(self, model, cache, tokens=TOKENS):
        with torch.no_grad():
            model(tokens, past_key_values=cache, use_cache=True)
        return cache

    def test_of_the_intact_model_does_not_go_on_under_a_plan(self, llama):
        cache = self.read(llama, DynamicCache())
        with applied(llama, PLAN), pytest.raises(PlanError, match="was filled without a plan"):
            self.read(llama, cache)

    def test_of_a_plan_goes_on_under_no_other_and_not_without(self, llama):
        with applied(llama, PLAN):
            cache = self.read(llama, DynamicCache())
        with applied(llama, "5-0"), pytest.raises(PlanError, match="filled under plan"):
            self.read(llama, cache)
        with pytest.raises(PlanError, match="filled under plan"):
            self.read(llama, cache)

    def test_of_a_plan_goes_on_under_the_same_one_later(self, llama):
        expected = logits(llama)[0, -1]
        with applied(llama, PLAN):
            cache = self.read(llama, DynamicCache(), TOKENS[:, :-1])
        with torch.no_grad(), applied(llama, PLAN):
            again = llama(TOKENS[:, -1:], past_key_values=cache, use_cache=True)
        assert (again[0, -1] - expected).abs().max() < 1e-5

    def test_with_which_a_pass_ended_half_way_does_not_go_on(self, llama):
        def stop(stream, hook):
            raise KeyboardInterrupt

        with torch.no_grad(), applied(llama, PLAN):
            cache = self.read(llama, DynamicCache(), TOKENS[:, :-1])
            with llama.hooks([("steps.1.hook_resid_pre", stop)]), pytest.raises(KeyboardInterrupt):
                self.read(llama, cache, TOKENS[:, -1:])
            with pytest.raises(PlanError, match="ended half-way"):
                self.read(llama, cache, TOKENS[:, -1:])

    def test_averages_are_those_of_a_dynamic_cache_in_a_static_one(self, llama):
        found = []
        for kind in (DynamicCache, StaticCache):
            with applied(llama, PLAN, cache="averaged"), torch.no_grad():
                cache = (
                    kind(config=llama.original_model.config, max_cache_len=40)
                    if (kind is StaticCache)
                    else kind()
                )
                self.read(llama, cache, TOKENS[:, :-1])
                found.append(llama(TOKENS[:, -1:], past_key_values=cache, use_cache=True))
        assert (found[0] - found[1]).abs().max() < 1e-5

    def test_with_too_few_entries_is_refused(self, llama):
        cache = StaticCache(llama.original_model.config, max_cache_len=40)
        with applied(llama, PLAN), pytest.raises(PlanError, match="has 6 entries"):
            self.read(llama, cache)

    def test_averages_of_an_unknown_kind_are_refused_by_its_name(self, llama):
        class Mine(type(DynamicCache(config=llama.original_model.config).layers[0])):
            pass

        cache = DynamicCache()
        cache.layer_class_to_replicate = Mine
        with (
            applied(llama, PLAN, cache="averaged"),
            pytest.raises(UnsupportedModelError, match="type Mine"),
        ):
            self.read(llama, cache)


class TestOtherForms:
    @pytest.mark.parametrize("given", [{"stop_at_layer": 3}, {"start_at_layer": 2}])
    def test_a_run_with_a_cache_stops_at_no_layer(self, llama, given):
        with applied(llama, "0-2 5"), pytest.raises(PlanError, match="has no meaning under a plan"):
            llama.run_with_cache(TOKENS, **given)

    def test_a_layer_that_is_given_by_place(self, llama):
        with (
            applied(llama, "0-2 5"),
            pytest.raises(PlanError, match="stop_at_layer has no meaning"),
        ):
            llama(TOKENS, "logits", False, None, None, None, None, None, 3)

    def test_writing_down_the_bridge(self, llama):
        with applied(llama, "0-2 5"), pytest.raises(PlanError, match="state_dict"):
            llama.state_dict()

    def test_every_weight_is_reached_and_none_twice(self, llama):
        outside = [id(p) for p in llama.original_model.parameters()]
        with applied(llama, "5 5 0 (1|2)"):
            inside = [id(p) for _, p in llama.original_model.named_parameters()]
        assert sorted(inside) == sorted(outside)
        assert [id(p) for p in llama.original_model.parameters()] == outside

    def test_an_encoder_that_writes_nothing_runs_a_plan(self, tiny_folder):
        bert = tiny.build("bert", torch.float32, tiny_folder)
        assert logits(bert, "0-2 5").isfinite().all()
