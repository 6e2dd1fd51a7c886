"""`readers`: trained at one state, read at every other, as scikit-learn does it by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import painters_interp as painters
from painters_interp import figures
from painters_interp.errors import ModelError, TableError, TaskError, TextError
from painters_interp.learning import Readers, examples, readers
from painters_interp.stitching import Stitch

N_STATES = tiny.N_LAYERS + 1


@pytest.fixture(scope="module")
def task(letters: pd.DataFrame) -> Any:
    return examples(letters, name="letters")


@pytest.fixture(scope="module")
def maps(encoder: Any, task: Any) -> Readers:
    return readers(encoder, task)


def pooled(model: Any, texts: Any) -> np.ndarray:
    """Mean over tokens of every state of every text, from `capture`, text by text."""
    words = [text for (text,) in texts]
    found = [batch.states[:, 0].mean(1) for batch in painters.capture(model, words, batch_size=1)]
    return torch.stack(found, dim=1).numpy()


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_every_entry_is_the_one_of_scikit_learn_by_hand(
    kind: str, task: Any, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    maps = readers(model, task)
    learnt, asked = pooled(model, task.train.texts), pooled(model, task.scored.texts)
    for i in range(N_STATES):
        own = StandardScaler().fit(learnt[i])
        hand = LogisticRegression(
            C=1 / (maps.strengths[i] * len(task.train)), tol=1e-10, max_iter=10_000
        ).fit(own.transform(learnt[i]), task.train.right)
        for j in range(N_STATES):
            theirs = StandardScaler().fit(learnt[j])
            for reading, scale in (("raw", own), ("standardised", theirs)):
                expected = hand.score(scale.transform(asked[j]), task.scored.right)
                assert maps.matrix(reading).iloc[i, j] == pytest.approx(expected)


def test_at_its_own_state_both_readings_are_one(maps: Readers) -> None:
    raw, standardised = (np.diag(maps.matrix(name)) for name in ("raw", "standardised"))
    assert np.array_equal(raw, standardised)
    assert not maps.matrix("raw").equals(maps.matrix("standardised"))


def test_states_that_are_the_same_are_read_alike(task: Any, pairing: Any) -> None:
    """A layer that does nothing: its two states are one."""
    stock = tiny.stock("llama", torch.float64)
    with torch.no_grad():
        stock.model.layers[3].self_attn.o_proj.weight.zero_()
        stock.model.layers[3].mlp.down_proj.weight.zero_()
    maps = readers(painters.load_model(stock, tokenizer=pairing), task)
    for reading in ("raw", "standardised"):
        matrix = maps.matrix(reading).to_numpy()
        assert np.array_equal(matrix[3], matrix[4])
        assert np.array_equal(matrix[:, 3], matrix[:, 4])


def test_a_shift_and_a_scale_are_forgiven_where_states_are_standardised(
    encoder: Any, task: Any
) -> None:
    """Seen through a stitch that moves and stretches every dimension."""
    width = int(encoder.cfg.d_model)
    stretch = torch.linspace(0.5, 3, width, dtype=torch.float64)
    shift = torch.linspace(-9, 9, width, dtype=torch.float64)
    nothing = torch.zeros(width, dtype=torch.float64)
    stitch = Stitch(torch.diag(stretch), nothing, shift, 0, 0)
    maps, moved = readers(encoder, task), readers(encoder, task, encoder, stitch)
    assert maps.matrix("standardised").equals(moved.matrix("standardised"))
    assert not maps.matrix("raw").equals(moved.matrix("raw"))


def test_another_model_is_read_in_its_own_states(encoder: Any, decoder: Any, task: Any) -> None:
    maps = readers(encoder, task, decoder)
    assert (maps.source, maps.target) != (maps.target, maps.source)
    assert maps.matrix().shape == (N_STATES, N_STATES)
    assert {"source", "target"} <= {*maps.table().columns}


def test_intervals_hold_the_value_and_come_back_from_the_table(maps: Readers) -> None:
    table = maps.table()
    assert sorted(table["measure"].unique()) == [
        "raw",
        "raw control",
        "standardised",
        "standardised control",
    ]
    assert len(table) == 4 * N_STATES**2
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    again = painters.tables.to_matrices(table)["raw"]
    np.testing.assert_array_equal(again.to_numpy(), maps.matrix().to_numpy())


def test_the_drop_with_distance_is_the_mean_over_pairs(maps: Readers) -> None:
    matrix = maps.matrix().to_numpy()
    found = maps.distances().set_index("distance")
    assert [*found.index] == [*range(1 - N_STATES, N_STATES)]
    assert found.loc[0, "drop"] == 0
    lost = np.mean([matrix[i, i] - matrix[i, i + 2] for i in range(N_STATES - 2)])
    assert found.loc[2, "drop"] == pytest.approx(lost)
    earlier = np.mean([matrix[i, i] - matrix[i, i - 1] for i in range(1, N_STATES)])
    assert found.loc[-1, "drop"] == pytest.approx(earlier)
    pairs = [(abs(i - j), matrix[i, i] - matrix[i, j]) for i in range(7) for j in range(7)]
    slope = np.sum([d * drop for d, drop in pairs]) / np.sum([d * d for d, _ in pairs])
    value, low, high = maps.drop_per_layer()
    assert value == pytest.approx(slope)
    assert low <= value <= high


def test_control_labels_are_of_tokens_and_as_frequent_as_the_classes(
    maps: Readers, encoder: Any, task: Any
) -> None:
    assert maps.selectivity().equals(maps.matrix() - maps.control_matrix())
    again = readers(encoder, task)
    assert again.control_matrix().equals(maps.control_matrix())
    # State 0 holds each token by itself, so what follows from tokens can be read there.
    assert maps.control_matrix().iloc[0, 0] > 0.6


def test_a_state_that_is_no_number_leaves_the_others(task: Any, tiny_folder: Any) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    with torch.no_grad():
        model.original_model.model.layers[5].mlp.down_proj.weight.fill_(torch.nan)
    with pytest.warns(UserWarning, match="is NaN for 1 of 7 states"):
        maps = readers(model, task)
    unknown = maps.matrix().isna().to_numpy()
    assert unknown[6].all()
    assert unknown[:, 6].all()
    assert not unknown[:6, :6].any()


def test_pairs_are_read_with_their_types(encoder: Any) -> None:
    """Which of two texts is the first is told by nothing else in state 0, where places average."""
    more = ["e", "fg", "h", "hi", "jk"] * 4
    firsts, seconds = ["aaa", "ccc"] * 10, ["ccc", "aaa"] * 10
    table = pd.DataFrame({"sentence1": firsts, "sentence2": seconds, "label": [0, 1] * 10})
    table["sentence2"] += more
    maps = readers(encoder, examples(table, name="pairs"))
    assert maps.matrix().iloc[0, 0] == 1


@pytest.mark.parametrize(
    ("task", "options", "error", "message"),
    [
        ("cola", {"data": "nowhere"}, TaskError, "neither a folder"),
        ("probe_acceptability", {"pool": "max"}, ModelError, "pool='max' is not one of"),
        (
            pd.DataFrame({"text": ["ab"] * 8, "label": [0, 1] * 4}),
            {},
            TextError,
            "all texts have the same tokens",
        ),
        (
            pd.DataFrame({"text": ["ab", "c"] * 4, "label": [0.5, 1.25] * 4}),
            {},
            TaskError,
            "has numbers for labels; readers tell classes",
        ),
    ],
)
def test_what_cannot_be_read(
    encoder: Any, task: Any, options: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        readers(encoder, task, **options)


def test_two_models_of_one_name_are_told_apart(task: Any, tiny_folder: Any) -> None:
    one, other = (tiny.build("bert", torch.float32, tiny_folder) for _ in range(2))
    found = readers(one, task, other).table()
    assert {*found["source"]} == {"tiny-bert"}
    assert {*found["target"]} == {"tiny-bert (other)"}
    assert "source" not in readers(one, task, one).table()


def test_models_of_two_widths_need_a_stitch(encoder: Any, task: Any, tiny_folder: Any) -> None:
    wider = tiny.build("gpt2", torch.float32, tiny_folder, n_embd=64)
    with pytest.raises(ModelError, match=r"has 64 dimensions and .* 48; give a stitch"):
        readers(encoder, task, wider)
    zero = torch.zeros(48, dtype=torch.float64)
    stitch = Stitch(torch.eye(48, dtype=torch.float64), zero, zero, 0, 0)
    with pytest.raises(ModelError, match=r"the stitch maps 48 .* needs 64 to 48"):
        readers(encoder, task, wider, stitch)
    with pytest.raises(ModelError, match="give other="):
        readers(encoder, task, stitch=stitch)
    narrow = torch.randn(64, 48, dtype=torch.float64)
    through = Stitch(narrow, torch.zeros(64, dtype=torch.float64), zero, 0, 0)
    found = readers(encoder, task, wider, through)
    assert found.matrix().shape == (7, 7)
    down = figures.reader_heatmap(found.table()).axes[0]
    assert f"state of {found.source} (k" in down.get_ylabel()
    assert down.get_xlabel() == f"state of {found.target} that is read"


def test_the_heatmap_is_drawn_from_the_saved_table(maps: Readers) -> None:
    figure = figures.reader_heatmap(maps.table(), zones=[2, 5])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["raw stream", "standardised by state"]
    assert figure.axes[0].get_xlabel() == "state that is read"
    with pytest.raises(TableError, match="no reading 'cooked'; the table has raw"):
        figures.reader_heatmap(maps.table(), readings=["cooked"])
