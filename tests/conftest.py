"""Shared fixtures: everything runs offline, on tiny random models or the fetched default."""

import gc
import os
import socket
import sys

# Before any import of the libraries that read it: a missing model must fail, not be downloaded.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TQDM_DISABLE", "1")

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from shapes import check_shapes

HERE = Path(__file__).parent

# Tiny models gain nothing from more threads, and lose much where test workers share the cores.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shapes-unchecked", action="store_true", help="leave shapes to the eye")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--shapes-unchecked"):
        check_shapes()


# Files of which each takes seconds: `make check` leaves them out, as it does what is marked slow,
# what reads the default model, and model families other than the first.
_NAMES = """
cli/test_bad_command_lines cli/test_cli cli/test_deployment_cli cli/test_depths_cli
cli/test_encoders_cli cli/test_patching_cli cli/test_stages cli/test_widths damage/test_grids
deployment/test_export deployment/test_latency deployment/test_planned_models deployment/test_search
evaluation/test_decoding evaluation/test_evaluation evaluation/test_generation
evaluation/test_left_alone evaluation/test_nan evaluation/test_one_value evaluation/test_own_tasks
evaluation/test_planned evaluation/test_task_types execution/test_dispatched
execution/test_entrances execution/test_fresh_from_disk execution/test_gathered execution/test_hooks
execution/test_plain execution/test_prompt_run execution/test_quantised execution/test_verdicts
execution/test_widening figures/test_composing figures/test_figures figures/test_layout
figures/test_moving figures/test_patching_figures figures/test_refusals figures/test_venues
generation/test_generate learning/test_classification learning/test_healing
learning/test_kept_answers learning/test_readers learning/test_tuning measures/test_undefined
models/test_models patching/test_weights_gradients report/test_page report/test_report
stitching/test_stitching storage/test_shelf sweeps/test_interrupted_sweeps
sweeps/test_running_cluster sweeps/test_sweeps test_elsewhere test_examples test_experiments
test_package test_types test_zoo
"""
_LONG = {HERE / f"{name}.py" for name in _NAMES.split()}
assert all(path.is_file() for path in _LONG), sorted(_LONG)
_OTHERS = ("bert", "gemma3", "gpt2", "gpt_neox", "mistral", "qwen3")
# Of these files every test stands for itself; the tests of others share what they make.
_APART = ("test_benchmarks.py", "test_notebooks.py")


def pytest_itemcollected(item: pytest.Item) -> None:
    if "default_model" in getattr(item, "fixturenames", ()) or _is_long(item):
        item.add_marker("slow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests first, for two workers that begin with one half of the list each.

    A worker that runs out takes over what lies at the end of the other's half: short tests.
    """
    parts: tuple[list[pytest.Item], ...] = ([], [], [])  # the longest, what takes seconds, the rest
    for item in items:
        slow = item.get_closest_marker("slow") is not None
        parts[2 if not slow else 1 if _is_long(item) else 0].append(item)
    halves: tuple[list[pytest.Item], list[pytest.Item]] = ([], [])
    for part in parts:
        for place, (_, together) in enumerate(groupby(part, key=_group)):
            halves[place % 2].extend(together)
    items[:] = [item for half in halves for item in half]


def pytest_collection_finish() -> None:
    """Leave what is imported out of collections of garbage: of it alone each takes half a second.

    Also where the package asks for one, between two models.
    """
    gc.collect()
    gc.freeze()


def _is_long(item: pytest.Item) -> bool:
    return item.path in _LONG or _other(item)


def _other(item: pytest.Item) -> bool:
    """Whether it is for a family of models other than the first."""
    given = getattr(item, "callspec", None)
    return given is not None and any(
        isinstance(value, str) and value in _OTHERS for value in given.params.values()
    )


def _group(item: pytest.Item) -> str:
    return item.nodeid if item.path.name in _APART else str(item.path)


# What the tests ask for of lm-eval's own tasks, whose fourteen thousand files take long to read.
_ASKED_FOR = (
    *("arc", "blimp", "glue", "gsm8k", "hellaswag", "lambada", "mmlu/default", "piqa"),
    *("super_glue", "triviaqa", "wikitext", "winogrande"),
)


@pytest.fixture(scope="session", autouse=True)
def few_of_lm_evals_tasks() -> Iterator[None]:
    """Where lm-eval's own tasks are wanted, those in a few of its folders."""
    harness = sys.modules.get("painters_interp.evaluation.harness.tasks")
    if harness is None:  # no test that was collected speaks to it
        yield
        return
    import lm_eval.tasks

    folders = [Path(lm_eval.tasks.__file__).parent / name for name in _ASKED_FOR]
    assert all(folder.is_dir() for folder in folders), folders

    def few(include_path: Any, include_defaults: bool) -> Any:
        more = include_path if isinstance(include_path, list) else [include_path]
        paths = [*folders, *more] if include_defaults else more
        return lm_eval.tasks.TaskManager(include_path=paths, include_defaults=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "TaskManager", few)
        yield


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses to which the test connects, as they come."""
    asked: list[Any] = []
    connect = socket.socket.connect

    def noted(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            asked.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noted)
    return asked


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny models' tokenizer lies; pass it to `tiny.build`."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama in float32 as a folder: leave it as you found it."""
    import tiny

    return tiny.save("llama", tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def default_model() -> Any:
    """The bundled default on the CPU in float32, shared: leave it as you found it."""
    from painters_interp.models import load_model

    return load_model("smollm2-135m", device="cpu")


@pytest.fixture(scope="session")
def pairing(tiny_folder: Path) -> Any:
    """The tiny tokenizer, which joins two texts as BERT's does, and says which is which."""
    import tiny
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    raw = tiny.tokenizer(tiny_folder).backend_tokenizer
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", model_input_names=names, **tiny.SPECIAL
    )


@pytest.fixture(scope="session")
def encoder(pairing: Any) -> Any:
    """A tiny BERT without a head, in float64, shared: leave it as you found it."""
    import tiny

    from painters_interp.models import load_model

    return load_model(tiny.stock("bert", torch.float64).base_model, tokenizer=pairing)


@pytest.fixture(scope="session")
def decoder(tiny_folder: Path) -> Any:
    """A tiny Llama in float64, shared: leave it as you found it."""
    import tiny

    return tiny.build("llama", torch.float64, tiny_folder)


@pytest.fixture(scope="session")
def letters() -> Any:
    """Words of few letters; the label is whether they end with one of the first."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdef"), rng.integers(2, 9))) for _ in range(60)]
    return pd.DataFrame({"text": words, "label": [int(word[-1] in "abc") for word in words]})
