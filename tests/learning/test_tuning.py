"""Fine-tuning under a plan: equal to a loop by hand, gradients of groups, checkpoints, refusals."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from torch.nn.functional import cross_entropy

import painters_interp as painters
from painters_interp.errors import ModelError, OutputError, TaskError, UnsupportedModelError
from painters_interp.execution import as_plan
from painters_interp.learning import Tuning, classify, examples, training, tuning
from painters_interp.learning.features import sequences
from painters_interp.models import copied, weights_digest

SHORT = Tuning(epochs=2, rate=1e-3, batch=8)
GROUPS = "0 (1-3)@0.5*2 4 5"


@pytest.fixture(scope="module")
def task(letters: pd.DataFrame) -> Any:
    return examples(letters.head(32), name="letters")


def tuned(model: Any, plan: str, task: Any, recipe: Tuning = SHORT) -> tuple[Any, np.ndarray]:
    """The copy as it is after training under a plan, and its answers."""
    kept: list[Any] = []
    answers = tuning._answers

    def watched(module: Any, *rest: Any) -> Any:
        kept.append(module)
        return answers(module, *rest)

    parts = [sequences(model, part.texts) for part in (task.train, task.scored)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "_answers", watched)
        found = tuning.tuned_answers(model, as_plan(plan, model), task, *parts, "mean", 5, recipe)
    return kept[0], found


def by_hand(tokenizer: Any, task: Any, recipe: Tuning) -> tuple[Any, Any]:
    """The stock model and a head, trained with nothing of this package."""
    model = tiny.stock("bert", torch.float64).base_model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        head = torch.nn.Linear(48, 2).double()
    weights = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=recipe.decay)
    n = len(task.train)
    steps = recipe.epochs * -(-n // recipe.batch)
    rising, step = max(1, round(recipe.warmup * steps)), 0
    model.train()
    for epoch in range(recipe.epochs):
        order = np.random.default_rng([5, epoch]).permutation(n)
        for start in range(0, n, recipe.batch):
            rows = order[start : start + recipe.batch]
            texts = [task.train.texts[row][0] for row in rows]
            inputs = tokenizer(texts, padding=True, return_tensors="pt")
            states = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None]
            scores = head((states * mask).sum(1) / mask.sum(1))
            rate = recipe.rate * min((step + 1) / rising, (steps - step) / (steps - rising))
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            cross_entropy(scores, torch.tensor(task.train.right[rows]).long()).backward()
            optimizer.step()
            step += 1
    return model, head


def test_the_intact_model_is_trained_as_without_this_package(
    encoder: Any, pairing: Any, task: Any
) -> None:
    before = weights_digest(encoder)
    module, _ = tuned(encoder, "0-5", task)
    model, head = by_hand(pairing, task, SHORT)
    torch.testing.assert_close(module.head.weight, head.weight, atol=1e-8, rtol=0)
    found = module.bridge.original_model.state_dict()
    found = {name.replace("_original_component.", ""): weight for name, weight in found.items()}
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(found[name], weight, atol=1e-8, rtol=0)
    assert weights_digest(encoder) == before
    assert not encoder.original_model.training


@pytest.mark.parametrize("plan", [GROUPS, "0 (1|2)@sum 2*2 5", "0-2 5"])
def test_gradients_go_through_groups_and_loops(encoder: Any, plan: str) -> None:
    model, tokens = copied(encoder), tiny.tokens(2, 7)
    weights = {n: model.blocks[n].mlp.out.weight for n in (0, 2, 4)}

    def loss() -> torch.Tensor:
        return model.original_model(tokens).last_hidden_state.sin().sum()

    with painters.applied(model, plan):
        gradients = torch.autograd.grad(loss(), [*weights.values()], allow_unused=True)
        for layer, gradient in zip(weights, gradients, strict=True):
            if layer not in as_plan_calls(plan):
                assert gradient is None
                continue
            entry = weights[layer].data[3, 4]
            ends = []
            for step in (1e-5, -2e-5):
                entry += step
                ends.append(float(loss().detach()))
            entry += 1e-5
            slope = (ends[0] - ends[1]) / 2e-5
            assert gradient[3, 4] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def as_plan_calls(plan: str) -> tuple[int, ...]:
    return painters.Plan.parse(plan, tiny.N_LAYERS).layer_calls


def test_a_model_trained_under_a_plan_has_learnt_it(encoder: Any, letters: pd.DataFrame) -> None:
    task = {"letters": letters.assign(label=letters["text"].str.contains("a").astype(int))}
    recipe = Tuning(epochs=4, rate=3e-3, batch=8)
    table = classify(encoder, [GROUPS], task, train="all", tuning=recipe, intact=False)
    [value], [chance] = (table[table["metric"].eq("acc")][c] for c in ("value", "chance"))
    assert value > chance


def test_a_run_that_was_cut_off_goes_on_from_its_last_epoch(
    encoder: Any, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Tuning(epochs=2, rate=1e-3, batch=8, folder=tmp_path)
    whole, answers = tuned(encoder, GROUPS, task)
    keep = training.Kept.keep

    def cut_off(self: Any, steps: int, *rest: Any, **how: Any) -> None:
        keep(self, steps, *rest, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Kept, "keep", cut_off)
    with pytest.raises(KeyboardInterrupt):
        tuned(encoder, GROUPS, task, kept)
    monkeypatch.setattr(training.Kept, "keep", keep)
    [file] = tmp_path.iterdir()
    resumed, again = tuned(encoder, GROUPS, task, kept)
    assert torch.equal(resumed.head.weight, whole.head.weight)
    assert np.array_equal(again, answers)
    file.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"cannot be read .*; delete it"):
        tuned(encoder, GROUPS, task, kept)


def test_what_is_finished_is_kept_without_what_steps_need(
    encoder: Any, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Tuning(epochs=2, rate=1e-3, batch=8, folder=tmp_path)
    sizes: list[int] = []
    keep = training.Kept.keep

    def watched(self: Any, *rest: Any, **how: Any) -> None:
        keep(self, *rest, **how)
        sizes.append(self.file.stat().st_size)

    monkeypatch.setattr(training.Kept, "keep", watched)
    _, answers = tuned(encoder, GROUPS, task, kept)
    assert sizes[1] < sizes[0] / 2
    _, again = tuned(encoder, GROUPS, task, kept)
    assert np.array_equal(again, answers)
    assert len(sizes) == 2  # nothing was trained


def test_a_disk_without_room_is_told_before_anything_is_trained(
    encoder: Any, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda place: full)

    def trained(*asked: Any) -> None:
        raise AssertionError("a step was made")

    monkeypatch.setattr(tuning, "_loss", trained)
    kept = Tuning(epochs=1, batch=8, folder=tmp_path / "kept")
    with pytest.raises(OutputError, match=r"kept has room for 1 MB, and what is .* takes \d+ MB"):
        classify(encoder, [GROUPS], task, train="all", tuning=kept)


def test_a_decoder_is_trained_at_its_last_token(decoder: Any, task: Any) -> None:
    table = classify(decoder, ["0-2 5"], task, train="all", tuning=Tuning(epochs=1, batch=16))
    assert table["value"].notna().all()
    assert table["plan"].unique().tolist() == ["0-5", "0-2 5"]


def test_a_copy_computes_the_same_and_shares_nothing(decoder: Any) -> None:
    other, tokens = copied(decoder), tiny.tokens(2, 9)
    with torch.no_grad():
        assert torch.equal(other(tokens), decoder(tokens))
        next(other.original_model.parameters()).zero_()
        assert not torch.equal(other(tokens), decoder(tokens))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_copy_in_half_precision_keeps_what_is_wider(family: str, tmp_path: Path) -> None:
    model = painters.load_model(str(tiny.save(family, tmp_path)), dtype="bfloat16")
    tokens = tiny.tokens(1, 200)
    with torch.no_grad():
        assert torch.equal(copied(model)(tokens), model(tokens))
    blank = painters.models.random_weights(model)
    formats = [[b.dtype for _, b in m.original_model.named_buffers()] for m in (blank, model)]
    assert formats[0] == formats[1]
    assert torch.float32 in formats[0]


def test_random_weights_are_those_of_their_seed(decoder: Any) -> None:
    before = weights_digest(painters.models.random_weights(decoder, 3))
    torch.set_default_dtype(torch.float64)
    try:
        assert weights_digest(painters.models.random_weights(decoder, 3)) == before
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_learns_whatever_the_caller_has_switched_off(decoder: Any, task: Any) -> None:
    def learnt() -> list[float]:
        recipe = Tuning(epochs=1, batch=16)
        table = classify(decoder, "0-2 5", task, train="all", limit=16, tuning=recipe)
        return table["value"].tolist()

    expected = learnt()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert learnt() == expected


def test_a_model_that_a_copy_is_not_like_is_refused(task: Any, tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    mlp = model.original_model.model.layers[1]._original_component.mlp._original_component
    mlp.act_fn = torch.nn.Identity()
    with pytest.raises(ModelError, match="computes otherwise than a stock model of its weights"):
        classify(model, "0-2 5", task, train="all", limit=16)


def test_what_cannot_be_trained(encoder: Any, task: Any, tiny_folder: Path, tmp_path: Path) -> None:
    half = tiny.build("llama", torch.bfloat16, tiny_folder)
    with pytest.raises(ModelError, match="is in bfloat16, in which small steps"):
        classify(half, ["0-5"], task, train="all")
    with pytest.raises(TaskError, match=r"tuning=.* add train="):
        classify(encoder, ["0-5"], task, tuning=SHORT)
    (tmp_path / "file").touch()
    nowhere = Tuning(folder=tmp_path / "file" / "kept")
    with pytest.raises(OutputError, match="cannot write in"):
        classify(encoder, ["0-5"], task, train="all", tuning=nowhere)
    with (
        encoder.hooks([("blocks.2.hook_resid_post", lambda value, hook: value)]),
        pytest.raises(UnsupportedModelError, match="would not act on the copy"),
    ):
        classify(encoder, ["0-5"], task, train="all")
