"""One bar for everything: it ends where it should, and is brief where nobody watches."""

import nbformat
import pytest
import tiny
import torch
from nbclient import NotebookClient

from painters_interp import comparison, progress
from painters_interp.progress import up_to


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


WORK = """
from painters_interp.progress import progress
with progress("outer", 4) as advance:
    advance(2)
    with progress("inner", 1) as inner:
        inner(2)
"""


def test_a_part_is_told_as_it_was_reckoned_whatever_it_takes() -> None:
    for steps in ([4, 4, 4], [4]):
        told: list[int] = []
        with up_to(10, told.append) as advance:
            for step in steps:
                advance(step)
        assert sum(told) == 10


def test_a_notebook_shows_a_bar_of_text_and_keeps_nothing_of_it(monkeypatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE")
    seen = []
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(WORK)])
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")
    keep = client.process_message

    def looked_at(message, *rest):
        seen.append(message)
        return keep(message, *rest)

    monkeypatch.setattr(client, "process_message", looked_at)
    [cell] = client.execute().cells
    shown = [message["content"].get("data", {}).get("text/plain", "") for message in seen]
    assert any("outer:" in text for text in shown)
    assert any("inner:" in text for text in shown)
    assert all(out.output_type == "display_data" and not out.data for out in cell.outputs)


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
