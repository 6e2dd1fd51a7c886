"""What is learnt from: own tables, GLUE's files, the built-in probe; what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from painters_interp.errors import TaskError
from painters_interp.learning import TASKS, examples, named
from painters_interp.learning.acceptability import pairs


def rows(**columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame(columns)


FILMS = rows(text=["good", "fine", "bad", "dull"] * 5, label=["yes", "yes", "no", "no"] * 5)


def test_a_table_becomes_a_task_with_every_class_in_both_parts() -> None:
    task = examples(FILMS, name="films")
    assert (len(task.train), len(task.scored)) == (16, 4)
    assert task.classes == ("no", "yes")
    assert task.metrics == ("acc", "f1")
    assert sorted(task.scored.right) == [0, 0, 1, 1]
    assert {*task.train.rows}.isdisjoint(task.scored.rows)
    for split in (task.train, task.scored):
        for text, right, row in zip(split.texts, split.right, split.rows, strict=True):
            assert text == (FILMS["text"][row],)
            assert task.classes[int(right)] == FILMS["label"][row]


def test_a_column_says_what_to_learn_from() -> None:
    split = ["train"] * 12 + ["test"] * 8
    task = examples(FILMS.assign(split=split), name="films")
    assert task.train.rows.tolist() == [*range(12)]
    assert task.scored.rows.tolist() == [*range(12, 20)]


def test_numbers_with_a_fraction_are_told_and_not_classified(tmp_path: Path) -> None:
    path = tmp_path / "similar.jsonl"
    lines = [{"sentence1": "a", "sentence2": "b", "label": n / 2} for n in range(8)]
    path.write_text("\n".join(map(json.dumps, lines)))
    task = examples(path)
    assert task.name == "similar"
    assert task.train.texts[0] == ("a", "b")
    assert task.classes == ()
    assert task.metrics == ("pearson", "spearman")


def test_a_csv_is_read_as_a_table_is(tmp_path: Path) -> None:
    FILMS.to_csv(tmp_path / "films.csv", index=False)
    assert examples(tmp_path / "films.csv").digest() == examples(FILMS).digest()


def test_a_limit_draws_the_same_examples_again_and_others_for_another_seed() -> None:
    task = named("probe_acceptability")
    some = task.limited(30, seed=1)
    assert (len(some.train), len(some.scored)) == (30, 30)
    assert some.digest() == task.limited(30, seed=1).digest() != task.limited(30, seed=2).digest()
    assert len(task.limited(0.1, seed=0).train) == 150


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (FILMS, {"text": "review"}, "has no column 'review'; it has text, label"),
        (FILMS, {"label": "stars"}, "has no column 'stars'; it has text, label"),
        (rows(words=["a"], label=[1]), {}, "no column of texts is named; it has words, label"),
        (rows(text=["a", ""], label=[0, 1]), {}, "'text' of row 1 is '', and no text"),
        (rows(text=["a", None], label=[0, 1]), {}, "'text' of row 1 is .*, and no text"),
        (rows(text=["a", "b"], label=[0, [1]]), {}, r"the label of row 1 is \[1\], no label"),
        (
            rows(text=["a", "b"], label=[1, "1"]),
            {},
            r"two kinds, such as 1 \(int\) and '1' \(str\)",
        ),
        (rows(text=["a", "b"], label=[True, 0]), {}, r"such as True \(bool\) and 0 \(int\)"),
        (rows(text=["a", "b"], label=[np.inf, 0.0]), {}, "the label of row 0 is 'inf', and no num"),
        (rows(text=["a", "b"], label=[0, None]), {}, "the label of row 1 is missing"),
        (rows(text=["a", "b"], label=[1, 1]), {}, "all 2 labels are 1"),
        (FILMS, {"numbers": True}, "the label of row 0 is 'yes', and no number"),
        (FILMS, {"metrics": ["pearson"]}, "'pearson' does not fit its labels; acc, mcc, f1 do"),
        ([{"text": "a", "label": 1}], {}, "a list is no table; give a DataFrame, or a .csv"),
        ("there/is/none.csv", {}, "task 'none': there is no file there/is/none.csv"),
        ("films.txt", {}, r"films.txt is neither .csv nor .jsonl"),
        (FILMS[:0], {}, "the table has no rows"),
        (pd.concat([FILMS, FILMS[["text"]]], axis=1), {}, "two columns are called 'text'"),
        (rows(text=["a", "b"], label=[1, 2]), {}, "none of 2 labels occurs twice"),
        (FILMS.assign(split="train"), {}, "there are no examples to score"),
        (FILMS.assign(split="Test"), {}, "learn from: 'split' is 'Test', and 'train' nowhere"),
        (FILMS.assign(split=None), {}, "'split' of row 0 is missing"),
    ],
)
def test_what_is_wrong_is_said(table: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        examples(table, **options)


def test_a_class_that_is_scored_must_be_learnt() -> None:
    table = rows(text=list("abcdef"), label=[0, 1, 0, 1, 0, 2], split=["train"] * 4 + ["test"] * 2)
    with pytest.raises(TaskError, match="class 2 is scored, but none of the 4 examples to learn"):
        examples(table)


def test_any_two_whole_numbers_are_classes() -> None:
    table = rows(text=list("abcdefgh"), label=[-1.0, 1.0] * 4)
    assert examples(table).classes == (-1, 1)
    assert examples(table, metrics="mcc").metrics == ("mcc",)
    numbers = rows(text=list("abcdefgh"), label=[-1.0, 0.5] * 4)
    assert examples(numbers).train.right.min() == -1


FILES = {
    "latin.csv": ("text,label\ncafé,1\n".encode("latin-1"), "latin.csv is not in UTF-8"),
    "empty.csv": (b"", "empty.csv cannot be read"),
    "header.csv": (b"text,label\n", "the table has no rows"),
    "one.csv": (b"text,label\na,1\n", "all 1 labels are 1"),
    "double.csv": (b"text,text,label\na,b,1\nc,d,0\n", "two columns are called 'text'"),
    "commas.csv": (b"text,label\na, b,1\nc, d,0\n", "more cells than there are names"),
    "blank.csv": (b"text,label\na,1\n,0\n", "'text' of row 1 is '', and no text"),
    "unknown.csv": (b"text,label\na,1\nb,\n", "the label of row 1 is missing"),
    "cut.jsonl": (b'{"text": "a", "label": 1}\n{"text": "b", ', "line 2 of .* is no JSON"),
    "list.jsonl": (b"[1, 2]\n", r"line 1 of .* is no object: \[1, 2\]"),
    "keys.jsonl": (b'{"text": "a", "label": 1}\n{"text": "b"}', "the label of row 1 is missing"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_wrong_with_a_file_is_said(name: str, tmp_path: Path) -> None:
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=message):
        examples(tmp_path / name)


def test_texts_are_what_stands_there(tmp_path: Path) -> None:
    texts = ["None", "NA", "007", "1e3", "true", "a\u2028b", "2020-01-01", '"so", he said']
    table = pd.DataFrame({"text": texts, "label": [0, 1] * 4, "split": ["train", "test"] * 4})
    with pytest.raises(TaskError, match="examples to learn from are of one class"):
        examples(table)
    table["label"] = [0, 0, 1, 1] * 2
    table.to_csv(tmp_path / "own.csv", index=False)
    lines = [json.dumps(row, ensure_ascii=False) for row in table.to_dict("records")]
    (tmp_path / "own.jsonl").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    for name in ("own.csv", "own.jsonl"):
        task = examples(tmp_path / name)
        assert [*task.train.texts, *task.scored.texts] == [(t,) for t in texts[::2] + texts[1::2]]
        assert task.classes == (0, 1)


def test_too_small_a_limit_is_refused() -> None:
    task = examples(FILMS)
    with pytest.raises(TaskError, match="limit 0 leaves no examples"):
        task.limited(0, seed=0)
    with pytest.raises(TaskError, match="all 1 examples to learn from are of one class"):
        task.limited(1, seed=0)


class TestGlue:
    def write(self, folder: Path, lines: list[dict[str, Any]], *splits: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for split in splits:
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def test_is_read_from_a_folder(self, tmp_path: Path) -> None:
        lines = [{"sentence": f"s{n}", "label": n % 2, "idx": n} for n in range(6)]
        self.write(tmp_path / "cola", lines, "train", "validation", "test")
        task = named("cola", tmp_path)
        assert task.metrics == ("mcc",)
        assert task.scored.texts[1] == ("s1",)
        assert np.array_equal(task.scored.rows, np.arange(6))
        self.write(tmp_path / "within" / "glue" / "cola", lines, "train", "test")
        assert named("cola", tmp_path / "within").digest() == task.digest()

    def test_pairs_and_numbers(self, tmp_path: Path) -> None:
        lines = [{"sentence1": "a", "sentence2": f"b{n}", "label": float(n)} for n in range(6)]
        self.write(tmp_path / "stsb", lines, "train", "validation")
        task = named("stsb", tmp_path)
        assert task.train.texts[2] == ("a", "b2")
        assert task.train.right.tolist() == [0, 1, 2, 3, 4, 5]
        assert task.metrics == ("pearson", "spearman")

    def test_that_is_not_there_says_where_it_was_looked_for(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match=r"neither a folder .*/cola nor .*/glue/cola"):
            named("cola", tmp_path)
        self.write(tmp_path / "cola", [{"sentence": "a", "label": 1}], "train")
        with pytest.raises(TaskError, match=r"needs the splits .*; the folder .*/cola has train"):
            named("cola", tmp_path)
        with pytest.raises(TaskError, match=r"were not found in the hub's nyu-mll/glue .*data="):
            named("cola")

    def test_whose_labels_are_secret_is_refused(self, tmp_path: Path) -> None:
        self.write(tmp_path / "rte", [{"sentence1": "a", "sentence2": "b", "label": -1}], "train")
        self.write(tmp_path / "rte", [{"sentence1": "a", "sentence2": "b", "label": -1}], "test")
        with pytest.raises(TaskError, match="the label of row 0 is missing"):
            named("rte", tmp_path)


def test_another_name_is_none() -> None:
    with pytest.raises(TaskError, match="no task 'colla' to classify; did you mean cola"):
        named("colla")


def test_the_probe_has_two_thousand_sentences_in_pairs_of_right_and_wrong() -> None:
    task = named("probe_acceptability")
    assert "probe_acceptability" in TASKS
    assert (len(task.train), len(task.scored)) == (1500, 500)
    assert task.train.right.mean() == task.scored.right.mean() == 0.5
    every = [text for split in (task.train, task.scored) for (text,) in split.texts]
    assert len(every) == 2000
    right, wrong = zip(*pairs(), strict=True)
    assert len({*right}) == 1000
    assert not {*right} & {*wrong}


def test_no_word_of_the_probe_tells_right_from_wrong() -> None:
    right, wrong = (
        {word for sentence in side for word in sentence.lower().strip(".").split()}
        for side in zip(*pairs(), strict=True)
    )
    assert wrong <= right
