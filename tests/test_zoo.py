"""Many architectures: exact under every kind of plan, or refused with the reason.

`ZOO.md` beside this file is the table of what was tried; `python tests/test_zoo.py` rewrites it.
"""

import copy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
import zoo
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied
from painters_interp import strategies as s
from painters_interp.errors import UnsupportedModelError
from painters_interp.execution import family_of, head, packable, record, walk

N = zoo.N_LAYERS
WINDOW = s.middle(N, 0)
PLANS = {
    "full": s.full(N),
    "skip first": s.drop(N, 0),
    "skip last": s.drop(N, N - 1),
    "swap": s.swap(N, 1, 2),
    "reverse": s.reverse(N, WINDOW),
    "repeat": Plan.parse("0-1 2*4 5", N),
    "looped": s.looped_parallel(N, WINDOW, times=2),
    "summed": Plan.parse("0-2 (3|4)@sum 5", N),
    "damped": Plan.parse("0 1@0.5*2 2-5", N),
}
TABLE = Path(__file__).with_name("ZOO.md")
HANDLED = {**zoo.DECODERS, **zoo.ENCODERS, **zoo.HYBRIDS}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def build(name: str, dtype: torch.dtype, folder: Path) -> TransformerBridge:
    return TransformerBridge.boot_transformers(
        f"tiny {name}",
        hf_model=zoo.stock(name, dtype),
        tokenizer=tiny.tokenizer(folder),
        dtype=dtype,
        device="cpu",
    )


def gap(a: Tensor, b: Tensor) -> float:
    """Largest difference; not a number, which no bound accepts, if anything is not finite."""
    finite = bool(a.isfinite().all() and b.isfinite().all())
    return float((a - b).abs().max()) if finite else float("nan")


def decoded(model: TransformerBridge, tokens: Tensor, prefill: int = 40) -> Tensor:
    rows, cache = [], None
    for start, end in [(0, prefill), *((t, t + 1) for t in range(prefill, tokens.shape[1]))]:
        logits, cache = model(
            tokens[:, start:end],
            past_key_values=cache,
            use_cache=True,
            return_type="logits_and_cache",
        )
        rows.append(logits)
    return torch.cat(rows, dim=1)


def cached_gap(model: TransformerBridge, plan: Plan) -> float:
    tokens = tiny.tokens(2, 60)
    with applied(model, plan):
        return gap(decoded(model, tokens), model(tokens))


def runner_gap(model: TransformerBridge, plan: Plan) -> float:
    tokens = tiny.tokens(2, 24)
    with applied(model, plan):
        expected = model(tokens)
    [(_, stream)] = walk(model, [plan], record(model, tokens))
    with head(model) as logits_of:
        return gap(logits_of(stream.flatten(0, 1)).unflatten(0, tokens.shape), expected)


def padding_gap(model: TransformerBridge, plan: Plan) -> float:
    """A short sequence padded left and right beside a long one, in both orders of the batch."""
    long, short = tiny.tokens(1, 24, seed=1), tiny.tokens(1, 15, seed=2)
    pad, ones = torch.zeros(1, 9, dtype=torch.long), torch.ones(1, 15, dtype=torch.long)
    gaps = []
    with applied(model, plan):
        alone = model(short)[0]
        for left in (True, False):
            row = torch.cat([pad, short] if left else [short, pad], dim=1)
            real = torch.cat([pad, ones] if left else [ones, pad], dim=1)
            for order in (slice(None), [1, 0]):
                tokens = torch.cat([long, row])[order]
                mask = torch.cat([torch.ones_like(long), real])[order]
                logits = model(tokens, attention_mask=mask)
                place = 1 if order == slice(None) else 0
                gaps.append(gap(logits[place][real[0].bool()], alone))
    return max(gaps) if all(g == g for g in gaps) else float("nan")


@pytest.mark.parametrize("name", HANDLED)
def test_runs_every_plan_exactly_and_comes_back(name: str, tiny_folder: Path) -> None:
    model = build(name, torch.float64, tiny_folder)
    causal = family_of(model).causal
    tokens = tiny.tokens()
    intact = model(tokens)
    weights = copy.deepcopy(model.original_model.state_dict())
    settings = copy.deepcopy(model.original_model.config.to_dict())
    assert gap(intact, zoo.stock(name, torch.float64)(tokens).logits) < 1e-6
    for label, plan in PLANS.items():
        assert runner_gap(model, plan) <= 1e-12, label
        if causal:
            assert cached_gap(model, plan) <= 1e-6, label
        with applied(model, plan):
            changed = gap(model(tokens), intact)
        assert changed == 0 if label == "full" else changed > 1e-3, label
    assert torch.equal(model(tokens), intact)
    assert model.original_model.config.to_dict() == settings
    after = model.original_model.state_dict()
    assert all(torch.equal(after[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", HANDLED)
def test_padding_changes_nothing(name: str, tiny_folder: Path) -> None:
    model = build(name, torch.float32, tiny_folder)
    for label in ("full", "skip first", "looped"):
        assert padding_gap(model, PLANS[label]) <= 1e-5, label


@pytest.mark.parametrize("name", {**zoo.DECODERS, **zoo.HYBRIDS})
def test_packing_is_offered_only_where_it_is_right(name: str, tiny_folder: Path) -> None:
    """GPT-Neo and MPT mask inside their layers and LFM2 convolves: nothing there would raise."""
    model = build(name, torch.float32, tiny_folder)
    assert packable(model, 30) == (name not in ("GPT-Neo", "MPT", "LFM2"))


REASONS = {
    "Gemma 4": "layers have configurations of their own",
    "Gemma 4, shared": "read keys and values of other layers",
    "Bamba": "is computed from other settings and cannot follow a plan",
    "Falcon H1": "is computed from other settings and cannot follow a plan",
    "Mamba": "is computed from other settings and cannot follow a plan",
    "OpenAI GPT": "layers return list",
    "T5": "an encoder-decoder has two layer stacks",
}


@pytest.mark.parametrize("name", zoo.REFUSED)
def test_is_refused_before_anything_changes(name: str, tiny_folder: Path) -> None:
    model = build(name, torch.float32, tiny_folder)
    settings = copy.deepcopy(model.original_model.config.to_dict())
    with pytest.raises(UnsupportedModelError, match=REASONS[name]), applied(model, s.full(N)):
        pass
    assert model.original_model.config.to_dict() == settings


def test_a_hybrid_needs_a_layer_that_attends(tiny_folder: Path) -> None:
    model = build("LFM2", torch.float32, tiny_folder)
    with (
        pytest.raises(UnsupportedModelError, match=r"none of the layers \[0, 1\] attends"),
        applied(model, "0 1"),
    ):
        pass


def test_the_table_lists_the_zoo() -> None:
    rows = [line.split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    listed = {row[0].removeprefix("| "): row[1].startswith("refused") for row in rows[1:]}
    assert listed == {name: name in zoo.REFUSED for name in zoo.ZOO}


def write_table(folder: Path) -> None:
    """Run the checks and write what came out."""
    lines = [
        "# Architectures tried",
        "",
        "Tiny random models, nine plans each; largest differences of logits. Cached: prefill and",
        "token-by-token decoding against one pass (float64). Runner: shared prefixes against",
        "`applied` (float64). Padding: left- and right-padded against single sequences (float32).",
        "Written by `python tests/test_zoo.py`.",
        "",
        "| architecture | cached | runner | padding |",
        "|---|---|---|---|",
    ]
    for name in zoo.ZOO:
        if name in zoo.REFUSED:
            lines.append(f"| {name} | refused: {REASONS[name]} | | |")
            continue
        model = build(name, torch.float64, folder)
        causal = family_of(model).causal
        cached = max(cached_gap(model, plan) for plan in PLANS.values()) if causal else None
        runner = max(runner_gap(model, plan) for plan in PLANS.values())
        low = build(name, torch.float32, folder)
        padding = max(padding_gap(low, PLANS[p]) for p in ("full", "skip first", "looped"))
        shown = "encoder" if cached is None else f"{cached:.0e}"
        lines.append(f"| {name} | {shown} | {runner:.0e} | {padding:.0e} |")
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made, torch.no_grad():
        write_table(Path(made))
