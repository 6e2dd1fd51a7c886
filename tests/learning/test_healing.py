"""Healing: equal to plain fine-tuning, what it regains on texts unseen, checkpoints, refusals."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from safetensors import SafetensorError
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

import painters_interp as painters
from painters_interp.cli.application import answer
from painters_interp.errors import (
    ModelError,
    OutputError,
    SettingError,
    TextError,
    UnsupportedModelError,
)
from painters_interp.learning import Healed, Lora, Tuning, training
from painters_interp.models import stock_copy, weights_digest

SHORT = Tuning(epochs=2, rate=1e-3, batch=3)
GROUPS = "0 (1-3)@0.5*2 4 5"
FULL = "0-5"
TEXTS = [f"the {a} {b} on a {c}" for a in ("cat", "dog") for b in ("sat",) for c in "xyz"]
OTHERS = ["a cat sat on a dog", "the mat ran", "on the x", "the dog sat"]


def heal(model: Any, plan: str = GROUPS, tuning: Tuning = SHORT, **asked: Any) -> Healed:
    return painters.heal(model, plan, TEXTS, OTHERS, tuning=tuning, seed=5, **asked)


def weights_of(healed: Healed) -> dict[str, torch.Tensor]:
    found = healed.model.original_model.state_dict()
    return {name.replace("_original_component.", ""): weight for name, weight in found.items()}


def by_hand(family: str, tokenizer: Any, recipe: Tuning, lora: Lora | None = None) -> Any:
    """The stock model, trained with nothing of this package."""
    torch.manual_seed(5)
    model = tiny.stock(family, torch.float64)
    model.set_attn_implementation("sdpa")
    if lora is not None:
        import peft  # an extra

        torch.manual_seed(5)
        config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear")
        model = peft.get_peft_model(model, config)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=recipe.decay)
    steps = recipe.epochs * -(-len(TEXTS) // recipe.batch)
    rising, step = max(1, round(recipe.warmup * steps)), 0
    model.train()
    for epoch in range(recipe.epochs):
        order = np.random.default_rng([5, epoch]).permutation(len(TEXTS))
        for start in range(0, len(TEXTS), recipe.batch):
            texts = [TEXTS[row] for row in order[start : start + recipe.batch]]
            inputs = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            labels = ids.masked_fill(mask == 0, -100)[:, 1:]
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
            rate = recipe.rate * min((step + 1) / rising, (steps - step) / (steps - rising))
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            cross_entropy(logits.transpose(1, 2), labels).backward()
            optimizer.step()
            step += 1
    return model if lora is None else model.merge_and_unload()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
# Weights that the hooked model keeps in copies, and a head that is tied to the embedding.
@pytest.mark.parametrize(
    ("family", "lora"), [("llama", None), ("gpt2", None), ("gpt2", Lora(rank=2)), ("qwen3", None)]
)
def test_under_the_full_plan_it_is_plain_fine_tuning(
    family: str, lora: Lora | None, tiny_folder: Path
) -> None:
    model = tiny.shared(family, torch.float64, tiny_folder)
    before = weights_digest(model)
    state = torch.get_rng_state()
    healed = heal(model, FULL, lora=lora)
    assert torch.equal(torch.get_rng_state(), state)
    expected, found = by_hand(family, model.tokenizer, SHORT, lora), weights_of(healed)
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(found[name], weight, atol=1e-8, rtol=0)
    assert weights_digest(model) == before
    assert weights_digest(healed.model) != before
    with torch.no_grad():  # the hooked model computes with what was learnt, copies included
        tokens = tiny.tokens(2, 9)
        found = healed.model.original_model(tokens).logits
        torch.testing.assert_close(found, expected.eval()(tokens).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("plan", [GROUPS, "0 (1|2)@sum 2*2 5"])
def test_the_loss_steps_down_the_gradient_of_the_model_under_the_plan(
    decoder: Any, plan: str
) -> None:
    """One step without momentum's history: every weight moves against its gradient's sign."""
    once = Tuning(epochs=1, rate=1e-3, batch=len(TEXTS), decay=0.0, warmup=0.0)
    healed = heal(decoder, plan, once)
    tokens = decoder.tokenizer(TEXTS, padding=True, padding_side="right", return_tensors="pt")
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    weight = decoder.blocks[2].mlp.out.weight
    with painters.applied(decoder, plan):
        logits = decoder.original_model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        loss = cross_entropy(logits.transpose(1, 2), ids.masked_fill(mask == 0, -100)[:, 1:])
        [gradient] = torch.autograd.grad(loss, [weight])
    moved = healed.model.blocks[2].mlp.out.weight - weight
    large = gradient.abs() > gradient.abs().median()
    torch.testing.assert_close(moved[large], -1e-3 * gradient[large].sign(), atol=1e-5, rtol=0)


def test_it_regains_what_the_plan_cost_on_texts_unseen(decoder: Any) -> None:
    healed = heal(decoder, tuning=Tuning(epochs=6, rate=3e-3, batch=6))
    table = healed.table().set_index("state")
    assert table.loc["after", "loss"] < table.loc["before", "loss"]
    assert (table["low"] <= table["loss"]).all()
    assert (table["loss"] <= table["high"]).all()
    assert table.loc["intact", ["above_intact", "above_low", "above_high"]].eq(0).all()
    for state, plan, model in [
        ("intact", FULL, decoder),
        ("before", GROUPS, decoder),
        ("after", GROUPS, healed.model),
    ]:
        with painters.applied(model, plan), torch.no_grad():
            lost = []
            for text in OTHERS:
                ids = torch.tensor([decoder.tokenizer(text)["input_ids"]])
                logits = model.original_model(ids).logits[0, :-1]
                lost += cross_entropy(logits, ids[0, 1:], reduction="none").tolist()
        assert table.loc[state, "loss"] == pytest.approx(np.mean(lost), abs=1e-6)
        assert table.loc[state, "tokens"] == len(lost)


def test_the_share_of_the_damage_that_is_healed(decoder: Any) -> None:
    texts = {"document": [0, 1, 2, 3], "tokens": [10, 20, 10, 10]}
    losses = {
        "intact": [20.0, 40, 20, 20],
        "before": [60.0, 80, 40, 40],
        "after": [30.0, 60, 30, 28],
    }
    plan, table = painters.Plan.parse(GROUPS, 6), pd.DataFrame(texts | losses)
    value, low, high = Healed(decoder, plan, table, {}).recovered()
    assert value == pytest.approx(0.6)
    assert low < value < high
    unharmed = Healed(decoder, plan, table.assign(before=table["intact"]), {})
    assert np.isnan(unharmed.recovered()).all()
    assert np.isnan(Healed(decoder, plan, table[:1], {}).recovered()[1:]).all()


def test_low_rank_updates_are_of_low_rank_and_leave_the_rest(decoder: Any) -> None:
    found = stock_copy(heal(decoder, lora=Lora(rank=2)).model).state_dict()
    for name, before in stock_copy(decoder).state_dict().items():
        moved = found[name] - before
        if "proj" in name:
            assert 0 < torch.linalg.matrix_rank(moved, atol=1e-9) <= 2
        else:
            assert not moved.any()


def test_it_saves_and_loads(decoder: Any, tmp_path: Path) -> None:
    healed = heal(decoder)
    folder = healed.save(tmp_path / "healed")
    healed.save(folder)  # again, over itself
    again = Healed.load(folder, device="cpu")
    assert again.plan == healed.plan
    assert again.table().equals(healed.table())
    tokens = tiny.tokens(2, 9)
    with torch.no_grad():
        assert torch.equal(again.model(tokens), healed.model(tokens))
    assert [path.name for path in tmp_path.iterdir()] == ["healed"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match="holds something else"):
        healed.save(tmp_path / "mine")
    with pytest.raises(ModelError, match="holds no healed model"):
        Healed.load(tmp_path / "mine")


def test_a_run_that_was_cut_off_goes_on_where_it_was(
    decoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Tuning(epochs=2, rate=1e-3, batch=3, folder=tmp_path, every=1)
    whole = weights_of(heal(decoder))
    keep = training.Kept.keep

    def cut_off(self: Any, steps: int, *rest: Any, **how: Any) -> None:
        keep(self, steps, *rest, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Kept, "keep", cut_off)
    with pytest.raises(KeyboardInterrupt):
        heal(decoder, tuning=kept)
    monkeypatch.setattr(training.Kept, "keep", keep)
    [file] = tmp_path.iterdir()
    assert torch.load(file, weights_only=True)["steps"] == 1
    for name, weight in weights_of(heal(decoder, tuning=kept)).items():
        assert torch.equal(weight, whole[name])


def test_what_is_held_out_is_not_learnt(decoder: Any) -> None:
    texts = TEXTS * 2  # every one twice: both are learnt, or both are held out
    once = Tuning(epochs=1, batch=24)
    found = painters.heal(decoder, GROUPS, texts, tuning=once).documents["document"]
    assert len(found) == 2
    assert {place + 6 for place in found if place < 6} == {p for p in found if p >= 6}
    with pytest.raises(TextError, match=r"held-out text 1 .* is learnt from, too"):
        painters.heal(decoder, GROUPS, TEXTS, [OTHERS[0], TEXTS[3]])
    with pytest.raises(TextError, match="one text cannot be learnt from and held out"):
        painters.heal(decoder, GROUPS, [TEXTS[0]] * 5)


def test_what_cannot_be_healed(
    decoder: Any, encoder: Any, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedModelError, match="no next-token probabilities"):
        heal(encoder)
    with pytest.raises(UnsupportedModelError, match="calls half a layer"):
        heal(decoder, "0-4 5.attn")
    with pytest.raises(ModelError, match="in which small steps"):
        heal(tiny.build("llama", torch.bfloat16, tiny_folder))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write in"):
        heal(decoder, tuning=Tuning(folder=tmp_path / "file" / "kept"))
    with pytest.raises(ModelError, match="Target modules"):
        heal(
            decoder,
            tuning=Tuning(folder=tmp_path / "new" / "kept"),
            lora=Lora(targets=("nothing",)),
        )
    assert not (tmp_path / "new").exists()
    with (
        decoder.hooks([("blocks.2.hook_resid_post", lambda value, hook: value)]),
        pytest.raises(UnsupportedModelError, match="would not act on the copy"),
    ):
        heal(decoder)
    with pytest.raises(SettingError, match="context=1 is too small"):  # no token has one before it
        heal(decoder, context=1)
    for setting in ({"batch": 0}, {"epochs": 1.5}, {"every": 0}, {"epochs": None}):
        with pytest.raises(SettingError, match=r"(whole number|small); give 1 or more"):
            Tuning(**setting)
    with pytest.raises(ModelError, match="rate, warmup and decay are numbers"):
        Tuning(rate="fast")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match="need peft, which is not installed"):
        heal(decoder, lora=Lora())


@pytest.mark.parametrize("error", [SafetensorError, OSError, Exception])
def test_a_full_disk_leaves_no_half_of_a_model(
    decoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def full(self: Any, *rest: Any, **asked: Any) -> None:
        raise error("No space left on device")

    healed = heal(decoder, tuning=SHORT)
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(OutputError, match=r"healed cannot be written \(No space left on device\)"):
        healed.save(tmp_path / "healed")
    assert not [*tmp_path.iterdir()]


def test_a_model_that_was_edited_beyond_a_copy_is_refused(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float64, tiny_folder)
    act = model.original_model.model.layers[1]._original_component.mlp._original_component
    act.act_fn = torch.nn.Identity()
    with pytest.raises(ModelError, match="computes otherwise than a stock model of its weights"):
        heal(model)


def test_the_command_says_what_is_regained_and_writes_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tiny.save("llama", tmp_path / "model"))
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    words = ["heal", GROUPS, "--model", folder, "--texts", str(texts), "--epochs", "1"]
    assert answer([*words, "--out", str(tmp_path / "healed"), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "above_intact" in said
    assert "recovered: " in said
    assert str(Healed.load(tmp_path / "healed").plan) == GROUPS
    assert answer([*words, "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1000))
    assert answer([*words, "--out", str(tmp_path / "full")]) == 2
    assert "full has room for 0 MB" in capsys.readouterr().err
    assert not (tmp_path / "full").exists()
