"""The benchmarks run: small, for their output, never for their times."""

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import tiny
import torch
from local_tasks import write

pytestmark = pytest.mark.slow
Output = Callable[..., str]
FOLDER = Path(__file__).parent / "benchmarks"


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Output:
    """Run a script in this process, on one thread; gives what it prints."""

    def output(script: str, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [script, *words])
        monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
        ended: list[Any] = []
        monkeypatch.setattr(sys, "exit", ended.append)  # the last thing that a script does
        runpy.run_path(str(FOLDER / script), run_name="__main__")
        assert not any(ended), ended
        return capsys.readouterr().out

    return output


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("model") / "tiny-llama"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    answers = {"text": ["heat", "cold", "dark"], "label": ["A", "B", "C"]}
    arc = [{"question": q, "choices": answers, "answerKey": "A"} for q in ("what melts ice?", "a?")]
    sums = [{"question": f"1 and {n}?", "answer": f"#### {n + 1}"} for n in (1, 2)]
    files = {"arc_easy/test": arc, "gsm8k/test": sums, "gsm8k/train": sums}
    return str(write(tmp_path_factory.mktemp("data"), files))


def test_accelerator_on_a_small_shape(output: Output) -> None:
    shape = "--layers 4 --hidden 64 --heads 4 --mlp 128 --vocab 100 --length 8 --batch 2"
    out = output("accelerator.py", "--device", "cpu", "--dtype", "float32", *shape.split())
    assert "shared layer calls on 16 tokens" in out
    assert "% of the floor's speed" in out
    assert "forks through a layer together, in " in out


def test_faces_on_a_checkpoint(output: Output, model: str) -> None:
    out = output("faces.py", "--model", model, "--lengths", "12", "--plans", "3")
    assert "12 tokens: hooked" in out
    assert "nats apart at most" in out


def test_layer_scan_on_a_checkpoint(output: Output, model: str) -> None:
    out = output("layer_scan.py", "--model", model, "--plans", "4", "--prompts", "2")
    for asked in ("answers", "every token"):
        assert float(re.search(f"{asked}: .* scores (.*) nats apart", out)[1]) < 1e-4


def test_shared_prefix_on_a_checkpoint(output: Output, model: str) -> None:
    out = output("shared_prefix.py", "--model", model, "--items", "1", "--sample", "3")
    assert "plans:" in out
    assert "ms a shared call" in out
    assert "(c) runner, bfloat16" in out


def test_shared_prefix_on_long_texts(output: Output, model: str) -> None:
    out = output(
        "shared_prefix.py", "--model", model, "--items", "1", "--sample", "2", "--tokens", "40"
    )
    assert "12 plans: 66 layer calls one by one" in out


def test_packed_choices(output: Output, model: str, data: str) -> None:
    few = ["--tasks", "arc_easy", "--items", "2", "--timed", "2", "--sample", "2"]
    out = output("packed_choices.py", "--model", model, "--data", data, *few)
    assert "times fewer (target 3.0)" in out
    assert "all 12 plans: HFLM" in out


def test_oracle(output: Output, model: str, data: str) -> None:
    few = ["--tasks", "arc_easy,gsm8k", "--limit", "2", "--written", "1", "--new", "12"]
    out = output("oracle.py", "--model", model, "--data", data, *few)
    assert out.count("0 of 1 texts differ; metrics that differ: none") == 4
    assert out.count("0 greedy on one side only; metrics that differ: none") == 4


def test_generation(output: Output, model: str) -> None:
    few = ["--tokens", "24", "--prompts", "2", "--items", "2", "--new", "3", "--sample", "2"]
    out = output("generation.py", "--model", model, *few)
    assert out.count("0 of 4 texts differ") == 3
    assert "(reading 0." in out


def test_similarity(output: Output, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []

    def here(command: list[str], **given: Any) -> CompletedProcess[str]:
        """What it starts another process for, in this one."""
        parts.append(output("similarity.py", *command[2:]))
        return CompletedProcess(command, 0, parts[-1])

    monkeypatch.setattr(subprocess, "run", here)
    parts.append(output("similarity.py", "--model", model, "--passages", "4", "--tokens", "12"))
    said = "".join(parts)
    assert "all 15 measures" in said
    assert "memory above the model" in said


def test_crossing_on_a_checkpoint(output: Output, model: str) -> None:
    out = output("crossing.py", "--model", model, "--tokens", "8", "--metric", "loss")
    assert "positions 0..7: predicted 24.5 forward passes, measured " in out
    assert "positions 4..7: predicted 12.2 forward passes, measured " in out
    assert ", ratio " in out


def test_replacements_on_a_checkpoint(output: Output, model: str) -> None:
    few = "--items 2 --length 8 --sample 3 --layers 3 --busy"
    out = output("replacements.py", "--model", model, *few.split())
    assert "7 plans on 2 items of 8 tokens; 1 threads" in out
    assert "largest difference" in out


def test_frozen_heads_on_a_checkpoint(output: Output, tmp_path: Path) -> None:
    encoder = str(tiny.save("bert", tmp_path / "tiny-bert"))
    out = output("frozen_heads.py", "--model", encoder, "--items", "40")
    assert "25 rows, 18 distinct plans; layer calls 159 row by row, 117 plan by plan, 73" in out
    assert "times faster; largest difference" in out


def test_sweep_kills(output: Output) -> None:
    assert "2 kills, " in output("sweep_kills.py", "2")


def test_sweep_workers_on_a_checkpoint(output: Output, model: str) -> None:
    out = output("sweep_workers.py", "--model", model, "--limit", "8", "--workers", "")
    assert "in this process: 1 shards in " in out
    assert "of it answering: overhead " in out
