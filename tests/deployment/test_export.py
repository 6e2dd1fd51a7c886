"""A plan of layers in sequence as a checkpoint of its own, and other plans as recipes."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import tiny
import torch
import yaml
import zoo
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

import painters_interp as painters
from painters_interp.deployment import in_sequence, mergekit
from painters_interp.deployment.cards import card, source_of
from painters_interp.errors import ModelError, OutputError, PlanError, UnsupportedModelError
from painters_interp.models import weights_digest

TOKENS = tiny.tokens(length=40)


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> Any:
    return tiny.build("llama", torch.float64, tiny_folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("qwen3", tmp_path_factory.mktemp("bases") / "tiny-qwen3")


def with_adapter() -> Any:
    made = tiny.stock("llama", torch.float64)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    return peft.get_peft_model(made, config).eval()


def test_an_adapter_is_named_and_merged_before(tiny_folder: Path, tmp_path: Path) -> None:
    adapted, tokenizer = with_adapter(), tiny.tokenizer(tiny_folder)
    with torch.no_grad():
        expected = adapted(TOKENS).logits
    merged = painters.load_model(adapted.merge_and_unload(), tokenizer=tokenizer)
    folder = painters.export(merged, "0-5", tmp_path / "merged")
    torch.testing.assert_close(read_logits(folder), expected, atol=1e-5, rtol=0)
    inner = painters.load_model(with_adapter().base_model.model, tokenizer=tokenizer)
    says = r"adapter of peft \('default', at model\.layers\.0\.self_attn\.q_proj\).*merge_and_unl"
    with pytest.raises(UnsupportedModelError, match=says):
        painters.export(inner, "0-5", tmp_path / "not")
    assert not (tmp_path / "not").exists()
    with_adapter().save_pretrained(tmp_path / "alone")
    with pytest.raises(ModelError, match="holds an adapter of peft without its model"):
        painters.load_model(tmp_path / "alone")


def of_zoo(name: str, tiny_folder: Path, **others: Any) -> Any:
    return painters.load_model(
        zoo.stock(name, torch.float32, **others), tokenizer=tiny.tokenizer(tiny_folder)
    )


def logits_under(model: Any, plan: str) -> torch.Tensor:
    with torch.no_grad(), painters.applied(model, plan):
        return model.original_model(input_ids=TOKENS).logits


def read_logits(folder: Path, auto: Any = AutoModelForCausalLM) -> torch.Tensor:
    """By transformers alone."""
    read = auto.from_pretrained(folder, dtype="auto", attn_implementation="eager")
    with torch.no_grad():
        return read(input_ids=TOKENS).logits


MIXED = "2 0-1 5 3 3"  # moves full and sliding layers to places of the other kind


@pytest.mark.parametrize(
    "name", ["Gemma 3", "Qwen2, sliding", "SmolLM3", "Mixtral", "Llama 4", "DeepSeek V3", "GPT-2"]
)
def test_what_is_loaded_without_this_package_computes_the_plan(
    name: str, tiny_folder: Path, tmp_path: Path
) -> None:
    model = of_zoo(name, tiny_folder)
    plan = "0-1 3 4 4" if name == "DeepSeek V3" else MIXED  # its first layers have no experts
    expected, digest = logits_under(model, plan), weights_digest(model)
    folder = painters.export(model, plan, tmp_path / "out")
    torch.testing.assert_close(read_logits(folder), expected, atol=1e-5, rtol=0)
    assert weights_digest(model) == digest


def test_a_masked_model_is_written_too(tiny_folder: Path, tmp_path: Path) -> None:
    model = tiny.build("bert", torch.float32, tiny_folder)
    folder = painters.export(model, MIXED, tmp_path / "out")
    expected = logits_under(model, MIXED)
    torch.testing.assert_close(
        read_logits(folder, AutoModelForMaskedLM), expected, atol=1e-5, rtol=0
    )


def test_half_precision_is_kept_and_judged_in_float32(base: Path, tmp_path: Path) -> None:
    model = painters.load_model(base, dtype="bfloat16")
    read = AutoModelForCausalLM.from_pretrained(
        painters.export(model, "0-2 5 5", tmp_path / "out"), dtype="auto"
    )
    assert read.dtype == torch.bfloat16
    weights = [layer.mlp.down_proj.weight for layer in read.model.layers]
    assert torch.equal(weights[3], weights[4])
    assert torch.equal(weights[4], model.blocks[5].mlp.out.weight)


def test_config_tokenizer_template_ties_and_card_come_along(base: Path, tmp_path: Path) -> None:
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    model = painters.load_model(base)
    model.tokenizer.chat_template = "{{ messages[0].content }}"
    folder = painters.export(model, "0-2 5", tmp_path / "out", shard="50KB")
    config = json.loads((folder / "config.json").read_text())
    assert config["num_hidden_layers"] == len(config["layer_types"]) == 4
    assert config["tie_word_embeddings"]
    assert len([*folder.glob("model-*.safetensors")]) > 1
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert "lm_head.weight" not in index["weight_map"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == model.tokenizer.chat_template
    assert tokenizer("abc").input_ids == model.tokenizer("abc").input_ids
    head, text = (folder / "README.md").read_text().split("---\n")[1:]
    assert yaml.safe_load(head)["license"] == "apache-2.0"
    assert "base_model" not in yaml.safe_load(head)  # which is a name of the hub, and no folder
    assert "made from the 6 of tiny-qwen3 (revision sha256:" in text
    assert "`0-2 5`" in text


def test_an_exported_model_takes_plans_of_its_own(base: Path, tmp_path: Path) -> None:
    painters.export(base, "0-2 5", tmp_path / "out")
    again = painters.load_model(tmp_path / "out")
    assert painters.check(again, "0-1 (2|3)").ok


@pytest.mark.parametrize(
    ("name", "plan"),
    [("GPT-NeoX", "0-2 3@0.5 4-5"), ("Llama", "0-2 3.mlp@0.5 4 5.attn"), ("GPT-2", "0-4 5.mlp@2")],
)
def test_scaled_layers_are_folded_where_that_is_exact(
    name: str, plan: str, tiny_folder: Path, tmp_path: Path
) -> None:
    model = of_zoo(name, tiny_folder)
    expected = logits_under(model, plan)
    folder = painters.export(model, plan, tmp_path / "out")
    torch.testing.assert_close(read_logits(folder), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "plan", "reason"),
    [
        ("Llama", "0-2 3@0.5 4-5", "computes something else"),  # its MLP reads what attention wrote
        ("OLMo 2", "0-2 3.mlp@0.5 4-5", "computes something else"),  # a norm undoes the scale
        ("GPT-2, scaled by layer", "5 0-4", "computes something else"),
        ("Jamba", "2 0 1", "its config computes"),
        ("Mixtral", "0-2 3@0.5 4-5", "no single matrix by which its mlp"),
    ],
)
def test_what_would_compute_something_else_is_refused_and_leaves_nothing(
    name: str, plan: str, reason: str, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        painters.export(of_zoo(name, tiny_folder), plan, tmp_path / "out")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("plan", ["0-1 (2|3) 4-5", "0-1 [2-3]@0.5 4-5", "0-1 (2|3)@sum 4-5"])
def test_branches_are_refused_with_what_to_do(llama: Any, plan: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no ordinary checkpoint can say; write a recipe instead"):
        painters.export(llama, plan, tmp_path / "out")


def test_no_folder_is_overwritten_without_being_told_to(base: Path, tmp_path: Path) -> None:
    folder = painters.export(base, "0-2", tmp_path / "out")
    before = (folder / "config.json").read_bytes()
    with pytest.raises(OutputError, match="is not empty; give another folder, or force=True"):
        painters.export(base, "0-3", folder)
    assert (folder / "config.json").read_bytes() == before
    with pytest.raises(OutputError, match="holds the model that this is made from"):
        painters.export(folder, "0 1", folder, force=True)
    painters.export(base, "0-3", folder, force=True)
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 4
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("all of it")
    with pytest.raises(OutputError, match="never replaced"):
        painters.export(base, "0-3", other, force=True)
    assert (other / "thesis.tex").read_text() == "all of it"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "other"}


def test_a_link_stays_and_what_it_leads_to_is_replaced(base: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for plan, force in (("0-2", False), ("0-3", True)):
        painters.export(base, plan, tmp_path / "link", force=force)
    assert (tmp_path / "link").is_symlink()
    read = json.loads((tmp_path / "real" / "config.json").read_text())
    assert read["num_hidden_layers"] == 4
    assert {path.name for path in tmp_path.iterdir()} == {"real", "link"}


def test_a_full_disk_leaves_what_was_there(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = painters.export(base, "0-2", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = painters.load_model(base)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model.tokenizer), "save_pretrained", full)
    with pytest.raises(OutputError, match="No space left on device"):
        painters.export(model, "0-3", folder, force=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [*tmp_path.iterdir()] == [folder]


def test_a_model_with_hooks_or_in_training_is_written_as_its_weights_are(
    llama: Any, tmp_path: Path
) -> None:
    expected = logits_under(llama, "0-2 5")
    llama.train()
    llama.blocks[0].hook_resid_pre.add_hook(lambda stream, hook: 0 * stream)
    try:
        folder = painters.export(llama, "0-2 5", tmp_path / "out")
        assert llama.original_model.training
    finally:
        llama.reset_hooks()
        llama.eval()
    torch.testing.assert_close(read_logits(folder), expected, atol=1e-9, rtol=0)


def test_weights_are_shared_until_they_are_written(llama: Any) -> None:
    fresh = in_sequence(llama, "0-2 5 5")
    layers = fresh.model.layers
    assert (
        layers[1].mlp.up_proj.weight.data_ptr()
        == getattr(llama.blocks[1].mlp, "in").weight.data_ptr()
    )
    assert layers[3].mlp.up_proj.weight.data_ptr() != layers[4].mlp.up_proj.weight.data_ptr()


class TestRecipes:
    PLAN = "0 1 (2|3) [4 5]@0.5"

    def test_open_as_a_planned_model(self, base: Path, tmp_path: Path) -> None:
        model = painters.load_model(base)
        expected = logits_under(model, self.PLAN)
        path = painters.recipe(model, self.PLAN, tmp_path / "grouped")
        with painters.load_model(path) as held, torch.no_grad():
            assert str(held.plan) == self.PLAN
            assert torch.equal(held.original_model(input_ids=TOKENS).logits, expected)

    def test_know_when_the_base_model_is_another(self, base: Path, tmp_path: Path) -> None:
        copy = painters.export(base, "0-5", tmp_path / "base")
        path = painters.recipe(copy, "0-2", tmp_path / "r.json")
        painters.export(base, "5-0", copy, force=True)
        with pytest.raises(ModelError, match="what lies there now is sha256:"):
            painters.load_model(path)

    def test_of_the_hub_open_at_the_revision_that_they_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old, new = "a" * 40, "b" * 40
        place = tmp_path / "hub" / "models--makers--tiny"
        tiny.save("llama", place / "snapshots" / old)
        tiny.save("qwen3", place / "snapshots" / new)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(new)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        model = painters.load_model("makers/tiny", revision=old)
        path = painters.recipe(model, "0-2 (3|4) 5", tmp_path / "r")
        with painters.load_model(path) as held:
            assert held.original_model.config.model_type == "llama"
        assert f"model: makers/tiny@{old}" in mergekit(model, "0-2 5")
        assert "base_model: makers/tiny\n" in card(model, painters.Plan("0-2", 6))

    def test_are_not_overwritten(self, base: Path, tmp_path: Path) -> None:
        path = painters.recipe(base, "0-2", tmp_path / "r.json")
        with pytest.raises(OutputError, match="exists; give another name"):
            painters.recipe(base, "0-3", path)
        painters.recipe(base, "0-3", path, force=True)
        assert json.loads(path.read_text())["plan"] == "0-3"

    def test_need_a_model_that_can_be_found_again(self, llama: Any, tmp_path: Path) -> None:
        assert source_of(llama) is None
        with pytest.raises(ModelError, match="made in memory"):
            painters.recipe(llama, "0-2", tmp_path / "r.json")

    def test_need_the_weights_that_the_files_hold(self, base: Path, tmp_path: Path) -> None:
        model = painters.load_model(base)
        once = painters.learning.Tuning(epochs=1)
        healed = painters.heal(model, "0-2 5", ["abcd", "bcda", "cdab"], tuning=once).model
        null = painters.models.random_weights(model)
        null.cfg.model_name = "makers/" + null.cfg.model_name
        for other in (healed, null):
            with pytest.raises(ModelError, match=r"made in memory"):
                painters.recipe(other, "0-2", tmp_path / "r.json")
            assert "base_model" not in card(other, painters.Plan("0-2", 6))
        with torch.no_grad():
            model.blocks[1].mlp.out.weight.mul_(2)
        for written in (partial(painters.recipe, path=tmp_path / "r.json"), mergekit):
            with pytest.raises(ModelError, match=r"other weights .* in its files \(model.layers.1"):
                written(model, "0-2")
        assert not [*tmp_path.glob("r*")]

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "x"}', "[" * 99_999])
    def test_other_files_are_none(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(ModelError, match="recipe"):
            painters.load_model(tmp_path / "r.json")


class TestMergekit:
    def test_stacks_stretches_of_layers(self, base: Path) -> None:
        told = yaml.safe_load(mergekit(base, "0-2 2-3 5"))
        ranges = [one["sources"][0]["layer_range"] for one in told["slices"]]
        assert told["merge_method"] == "passthrough"
        assert ranges == [[0, 3], [2, 4], [5, 6]]

    def test_refuses_what_it_cannot_say(self, base: Path, tmp_path: Path) -> None:
        for plan in ("0-2 3@0.5", "0 (1|2)", "0-2 3.mlp"):
            with pytest.raises(PlanError, match="no whole layer"):
                mergekit(base, plan)
        gemma = tiny.save("gemma3", tmp_path / "gemma")
        with pytest.raises(UnsupportedModelError, match="2 kinds"):
            mergekit(gemma, "0-1 3 5")
        assert mergekit(gemma, "0-2")
