"""`classify`: features as the stock model gives them, heads as scikit-learn fits them by hand."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, log_loss, matthews_corrcoef
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformer_lens.hook_points import HookPoint

import painters_interp as painters
from painters_interp.errors import ModelError, TaskError
from painters_interp.execution import as_plan, prefix_walk
from painters_interp.learning import classify, classify_items, examples
from painters_interp.learning.examples import held_out
from painters_interp.learning.features import final_features, sequences
from painters_interp.learning.heads import STRENGTHS, fitted

PLANS = ["0-5", "0 (1-3)*2 4 5", "5-0"]
TEXTS = [("abc",), ("a much longer text that is not padded",), ("d",)]
PAIRS = [("abc", "de"), ("a much longer text", "and another one"), ("d", "f")]


def features(model: Any, texts: Any, pool: str, plans: list[str] = PLANS) -> np.ndarray:
    values = [as_plan(plan, model) for plan in plans]
    return final_features(model, values, sequences(model, texts), pool)


def by_hand(model: Any, texts: Any, pool: str, plan: str) -> torch.Tensor:
    """Text by text through the Hugging Face model itself, under the plan."""
    rows = []
    with painters.applied(model, plan), torch.no_grad():
        for text in texts:
            inputs = model.tokenizer(*text, return_tensors="pt")
            states = model.original_model.base_model(**inputs).last_hidden_state[0]
            rows.append({"mean": states.mean(0), "first": states[0], "last": states[-1]}[pool])
    return torch.stack(rows)


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_features_are_those_of_the_stock_model_under_each_plan(
    kind: str, pool: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    found = features(model, TEXTS, pool)
    assert found.dtype == np.float64
    for plan, vectors in zip(PLANS, found, strict=True):
        expected = by_hand(model, TEXTS, pool, plan).numpy()
        np.testing.assert_allclose(vectors, expected, atol=1e-6, rtol=0)
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_pairs_are_read_as_the_tokenizer_joins_them(encoder: Any) -> None:
    found = features(encoder, PAIRS, "mean")
    for plan, vectors in zip(PLANS, found, strict=True):
        np.testing.assert_allclose(vectors, by_hand(encoder, PAIRS, "mean", plan), atol=1e-6)
    swapped = features(encoder, [pair[::-1] for pair in PAIRS], "mean")
    assert np.abs(found - swapped).max() > 1e-3


def test_a_model_that_knows_one_type_of_text_reads_pairs_without(pairing: Any) -> None:
    made = tiny.stock("bert", torch.float64, type_vocab_size=1).base_model
    model = painters.load_model(made, tokenizer=pairing)
    assert "token_type_ids" in pairing(*PAIRS[0])
    found = features(model, PAIRS, "mean", ["0-5"])[0]
    for pair, vector in zip(PAIRS, found, strict=True):
        ids = torch.tensor([pairing(*pair)["input_ids"]])
        with torch.no_grad():
            expected = model.original_model(ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_features_are_read_where_no_hook_point_is(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = request.getfixturevalue(kind)
    features(model, TEXTS, "mean")  # once it is known that both faces agree

    def seen(*given: object) -> None:
        raise AssertionError("a hook point was passed")

    monkeypatch.setattr(HookPoint, "forward", seen)
    assert np.isfinite(features(model, PAIRS, "mean")).all()


def test_forks_of_pairs_go_through_a_layer_together(
    encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = features(encoder, PAIRS, "mean")
    monkeypatch.setattr(prefix_walk, "widths", lambda device, tokens, plans: (1,))
    np.testing.assert_allclose(features(encoder, PAIRS, "mean"), together, atol=1e-9)


def test_a_line_break_joins_pairs_for_a_decoder(decoder: Any) -> None:
    joined = [("\n".join(pair),) for pair in PAIRS]
    assert sequences(decoder, PAIRS).ids == sequences(decoder, joined).ids


def test_hooks_act_on_every_text_alone(encoder: Any) -> None:
    plain = features(encoder, TEXTS, "mean")

    def silence(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value[:, -1] = 0  # of a padded row this would be a pad
        return value

    with encoder.hooks([("blocks.2.hook_resid_post", silence)]):
        hooked = features(encoder, TEXTS, "mean")
        expected = by_hand(encoder, TEXTS, "mean", PLANS[1])
    np.testing.assert_allclose(hooked[1], expected, atol=1e-9)
    assert np.abs(hooked - plain).max() > 1e-3
    assert np.array_equal(features(encoder, TEXTS, "mean"), plain)


def test_dropout_is_off_and_the_mode_comes_back(encoder: Any) -> None:
    plain = features(encoder, TEXTS, "mean")
    encoder.train()
    assert np.array_equal(features(encoder, TEXTS, "mean"), plain)
    assert encoder.original_model.training
    encoder.eval()


def test_what_is_longer_than_the_context_is_cut_and_counted(encoder: Any) -> None:
    words = ["ab" * 200, "cd", "e", "f", "gg", "h"] * 2
    table = pd.DataFrame({"text": words, "label": [0, 1] * 6, "split": ["train", "test"] * 6})
    table.loc[2:5, "split"] = ["test", "train", "test", "train"]
    found = classify(encoder, ["0-5"], {"long": table})
    assert sequences(encoder, [("ab" * 200,)]).truncated.tolist() == [True]
    scored = table[table["split"].eq("test")]
    assert found["n_truncated"].tolist() == [int(scored["text"].str.len().gt(200).sum())] * 2


def test_a_head_is_the_one_of_scikit_learn_at_the_strength_that_does_best_held_out(
    encoder: Any, letters: pd.DataFrame
) -> None:
    task = examples(letters, name="letters", metrics=["acc", "f1", "mcc"])
    items = classify_items(encoder, PLANS, task)
    plan = str(as_plan(PLANS[1], encoder))
    [learnt] = features(encoder, task.train.texts, "mean", [plan])
    [asked] = features(encoder, task.scored.texts, "mean", [plan])
    right = task.train.right
    head = fitted(learnt, right, 2, seed=0)
    assert head.strength in STRENGTHS

    hand = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=1 / (head.strength * len(right)), tol=1e-10, max_iter=10_000),
    ).fit(learnt, right)
    answers = hand.predict(asked)
    mine = items[items["plan"].eq(plan)].set_index("metric")
    assert mine.loc["mcc", "value"].tolist() == answers.tolist()
    table = classify(encoder, PLANS, task).set_index(["plan", "metric"])["value"]
    truth = task.scored.right
    assert table[plan, "acc"] == pytest.approx((answers == truth).mean())
    assert table[plan, "f1"] == pytest.approx(f1_score(truth, answers))
    assert table[plan, "mcc"] == pytest.approx(matthews_corrcoef(truth, answers))


def test_the_strength_is_the_one_with_the_least_loss_held_out() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 20)), np.repeat([0.0, 1.0], 25)
    head = fitted(x, y, 2, seed=3)
    apart = np.isin(np.arange(50), held_out(y, True, 0.2, 3))
    losses = []
    for strength in STRENGTHS:
        hand = LogisticRegression(C=1 / (strength * (~apart).sum()))
        made = make_pipeline(StandardScaler(), hand).fit(x[~apart], y[~apart])
        losses.append(log_loss(y[apart], made.predict_proba(x[apart])))
    assert head.strength == STRENGTHS[int(np.argmin(losses))]


def test_numbers_are_told_by_ridge_regression(encoder: Any) -> None:
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("ab"), 6)) for _ in range(40)]
    table = pd.DataFrame({"text": words, "label": [w.count("a") / 2 + 0.25 for w in words]})
    task = examples(table, name="counts")
    found = classify(encoder, ["0-5"], task).set_index("metric")
    [learnt], [asked] = (
        features(encoder, part.texts, "mean", ["0-5"]) for part in (task.train, task.scored)
    )
    strength = fitted(learnt, task.train.right, 0, seed=0).strength
    hand = make_pipeline(StandardScaler(), Ridge(strength * len(task.train)))
    answers = pd.Series(hand.fit(learnt, task.train.right).predict(asked))
    truth = pd.Series(task.scored.right)
    assert found.loc["pearson", "value"] == pytest.approx(answers.corr(truth), abs=1e-9)
    spearman = answers.corr(truth, method="spearman")
    assert found.loc["spearman", "value"] == pytest.approx(spearman, abs=1e-9)
    assert found.loc["pearson", "stderr"] > 0
    assert found["chance"].tolist() == [0, 0]


def test_the_table_is_the_one_of_evaluate(decoder: Any, letters: pd.DataFrame) -> None:
    found = painters.classify(decoder, {"mine": "0 2-5"}, {"letters": letters})
    assert found["label"].tolist() == ["intact", "intact", "mine", "mine"]
    assert [*found.columns[1:]] == [*painters.tables.MEASURED]
    assert found["delta"].iloc[:2].tolist() == [0, 0]
    scored = letters["label"].mean()
    assert found["chance"].iloc[0] == pytest.approx(max(scored, 1 - scored), abs=0.1)
    assert (
        painters.tables.median_over_tasks(
            painters.tables.normalise(painters.tables.primary(found))
        ).shape[0]
        == 2
    )
    again = painters.classify(decoder, {"mine": "0 2-5"}, {"letters": letters})
    pd.testing.assert_frame_equal(found, again)


def test_states_that_are_no_numbers_are_told(letters: pd.DataFrame, tiny_folder: Any) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    with torch.no_grad():
        model.original_model.model.layers[1].mlp.down_proj.weight.fill_(torch.nan)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = classify(model, ["0 2-5"], {"letters": letters})
    assert found["value"].isna().tolist() == [True, True, False, False]
    assert any("an answer is NaN for 1 of 2 plans" in str(warning.message) for warning in told)


def test_half_precision_is_pooled_in_float32(tiny_folder: Any) -> None:
    model = tiny.build("llama", torch.bfloat16, tiny_folder)
    assert features(model, TEXTS, "mean").dtype == np.float32


@pytest.mark.parametrize(
    ("tasks", "options", "error", "message"),
    [
        ([], {}, TaskError, "no tasks; give at least one"),
        ("colla", {}, TaskError, "no task 'colla'"),
        (["probe_acceptability"] * 2, {}, TaskError, "two tasks are called"),
        ("probe_acceptability", {"train": "none"}, TaskError, "train='none' is not one of"),
        ("probe_acceptability", {"pool": "max"}, ModelError, "pool='max' is not one of mean"),
    ],
)
def test_what_cannot_be_classified(
    encoder: Any, tasks: Any, options: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        classify(encoder, ["0-5"], tasks, **options)


def test_labels_of_an_experiment_stay(encoder: Any, letters: pd.DataFrame) -> None:
    table = painters.experiments.variants(encoder)
    found = classify(encoder, table, {"letters": letters}, limit=20)
    assert {"variant", "affected"} <= {*found.columns}
    assert found["variant"].iloc[0] == "intact"
    assert len(found) == 2 * len(table)
