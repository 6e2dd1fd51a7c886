"""One bar for everything: it ends where it should, and is brief where nobody watches."""

import pytest
import tiny
import torch

from painters_interp import comparison, progress


def test_a_bar_in_a_file_takes_a_few_lines_for_thousands_of_steps(monkeypatch, capsys) -> None:
    monkeypatch.delenv("TQDM_DISABLE")
    with progress.progress("outer", 20_000) as advance:
        for _ in range(10_000):
            advance(1)
            with progress.progress("inner", 1) as inner:
                inner(1)
    states = capsys.readouterr().err.replace("\r", "\n").split("\n")
    states = [state for state in states if state.strip()]
    assert len(states) <= 3
    assert "100%" in states[-1]


@pytest.mark.parametrize("other", [None, comparison.SHUFFLED, "a model"])
def test_a_comparison_counts_all_that_it_reads(tiny_folder, monkeypatch, other) -> None:
    counts = []

    class Bar:
        def __init__(self, total: int, **_: object) -> None:
            self.total, self.n = total, 0
            counts.append(self)

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, calls: int) -> None:
            self.n += calls

    monkeypatch.setattr(progress, "tqdm", Bar)
    model = tiny.build("llama", torch.float32, tiny_folder)
    second = tiny.build("gpt2", torch.float32, tiny_folder) if other == "a model" else other
    comparison.similarity(model, ["abcd", "efghij", "klm"], ["cosine_centered"], other=second)
    [bar] = counts
    assert bar.n == bar.total
