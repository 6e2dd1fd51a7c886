"""The benchmarks run: small, for their output, never for their times."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "benchmarks"


def output(script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_accelerator_on_a_small_shape() -> None:
    shape = "--layers 4 --hidden 64 --heads 4 --mlp 128 --vocab 100 --length 8 --batch 2"
    out = output("accelerator.py", "--device", "cpu", "--dtype", "float32", *shape.split())
    assert "shared layer calls on 16 tokens" in out
    assert "% of the floor's speed" in out


def test_shared_prefix_on_a_checkpoint(tmp_path: Path) -> None:
    import tiny

    model = str(tiny.save("llama", tmp_path / "tiny-llama"))
    out = output("shared_prefix.py", "--model", model, "--items", "1", "--sample", "3")
    assert "plans:" in out
    assert "(c) runner, bfloat16" in out


def test_replacements_on_a_checkpoint(tmp_path: Path) -> None:
    import tiny

    model = str(tiny.save("llama", tmp_path / "tiny-llama"))
    few = "--items 2 --length 8 --sample 3 --layers 3 --busy"
    out = output("replacements.py", "--model", model, *few.split())
    assert "7 plans on 2 items of 8 tokens; 1 threads" in out
    assert "largest difference" in out
