"""Half precision: nothing holds a second copy of the weights. Measured in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Llamas of bfloat16, the first one tiny, so that all that is imported or made once is there when
# the second is measured. The memory in use is looked at every millisecond while the work runs;
# freed blocks go back to the system at once, or glibc keeps as much as it freed, by chance.
MEASURED = """
import sys
import threading
from pathlib import Path

import psutil
import tiny
import torch

import painters_interp as painters

process = psutil.Process()
PLANS = ["0-23", "0-5 7-23", "0-2 (3-8)*2 9-23"]
ITEMS = [{"question": "ab" * 20, "choices": ["x", "yz"], "gold": 0}] * 4
WORK = {
    "evaluate": lambda model: painters.evaluate(model, PLANS, painters.task("t", ITEMS)),
    "check": lambda model: painters.check(model, "0-7").ok,
}


def llama(hidden):
    shape = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "head_dim": hidden // 4}
    torch.set_default_dtype(torch.bfloat16)  # or float32 weights would leave their memory behind
    try:
        made = tiny.stock("llama", torch.bfloat16, num_hidden_layers=24, **shape)
        return painters.load_model(made, tokenizer=tiny.tokenizer(Path(sys.argv[1])))
    finally:
        torch.set_default_dtype(torch.float32)


def grown(work):
    before, most, over = process.memory_info().rss, [0], threading.Event()

    def look():
        while not over.wait(0.001):
            most.append(process.memory_info().rss - before)

    watch = threading.Thread(target=look)
    watch.start()
    work()
    over.set()
    watch.join()
    return max(most)


small, large = llama(48), llama(512)
size = sum(p.numel() * p.element_size() for p in large.original_model.parameters())
for name, work in WORK.items():
    work(small)
    print(name, grown(lambda: work(large)) / size)
"""


@pytest.mark.slow
def test_evaluate_and_check_take_a_quarter_of_the_model_at_most(tiny_folder: Path) -> None:
    """Streams are small here, so that this is what the weights alone cost."""
    words = [sys.executable, "-W", "ignore", "-c", MEASURED, str(tiny_folder)]
    places = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    settings = {"PYTHONPATH": places, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **settings})
    assert done.returncode == 0, done.stderr
    found = {name: float(share) for name, share in map(str.split, done.stdout.splitlines())}
    assert {*found} == {"evaluate", "check"}
    assert max(found.values()) <= 0.25, found
