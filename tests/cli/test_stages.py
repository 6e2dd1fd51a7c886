"""The parts of `painters run`: what they cost, and what they say of what they did."""

import pytest
import tiny
import torch

from painters_interp import experiments, storage
from painters_interp.cli import runs, stages
from painters_interp.evaluation import Questions, prepare, seconds_needed


@pytest.fixture(scope="module")
def llama(tiny_folder):
    return tiny.shared("llama", torch.float32, tiny_folder)


@pytest.fixture(scope="module")
def questions(llama) -> Questions:
    return prepare(llama, ["probe_facts", "probe_grammar"], limit=3)


def test_similarity_names_the_one_task_whose_texts_it_reads(llama, questions, tmp_path):
    stage = stages.similarities(stages.Asked(llama, questions, tmp_path, {"limit": 3}))
    assert stage.write() == ["similarity"]
    facts = storage.read_provenance(tmp_path / "similarity")
    assert {*facts["tasks"]} == {"probe_facts"}
    assert facts["texts"] == len(questions.texts) == 3
    assert stage.calls > 0


def test_the_estimate_grows_with_the_plans(llama, questions):
    few, many = (
        experiments.plans(table)
        for table in (experiments.intact(tiny.N_LAYERS), experiments.suite(tiny.N_LAYERS))
    )
    assert 0 < seconds_needed(llama, questions, few) < seconds_needed(llama, questions, many)


def test_provenance_says_how_many_items_a_default_run_takes(llama, monkeypatch):
    monkeypatch.setattr(runs, "TOKENS", 100)
    questions, items = runs._questions(llama, ["probe_facts"], None, None, 0)
    assert items == questions.items == runs.FEWEST_ITEMS
    assert runs._questions(llama, ["probe_facts"], None, 3.0, 0)[1] == 3
