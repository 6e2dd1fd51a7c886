"""Layer calls per second against the matrix-product floor of the device, without weights to fetch.

    python tests/benchmarks/accelerator.py                          # a Llama-2-7B shape in bfloat16
    python tests/benchmarks/accelerator.py --device cpu --dtype float32 --layers 4 --hidden 256 \
        --heads 4 --mlp 512 --vocab 1000 --length 32                # small, to see that it runs

A randomly initialised model runs the paper's suite through shared prefixes: fork by fork, and
with forks that wait for the same layer together. The floor is the time of a layer's matrix products
alone, at the same number of tokens. On a GPU the walks run with synchronisation forbidden: a hidden
wait for the host raises an error.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import LlamaConfig, LlamaForCausalLM

from painters_interp import Plan, experiments
from painters_interp.execution import record, walk
from painters_interp.execution.gathered import widths
from painters_interp.plans import schedule, shared_calls

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny


def main() -> None:
    options = _options()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    model = _model(options, device, dtype)
    plans = experiments.plans(experiments.variants(options.layers, seeds=1))
    calls = shared_calls(plans)
    tokens = torch.randint(3, tiny.VOCAB, (options.batch, options.length), device=device)
    with torch.no_grad():
        _walk(model, plans[:1], tokens)  # warm up
        seconds = _timed(device, lambda: _walk(model, plans, tokens))
        together = _timed(device, lambda: _walk(model, plans, tokens, wide=True))
        floor = calls * _floor(options, device, dtype)
    size = options.batch * options.length
    print(
        f"{options.layers} layers of {options.hidden}, {options.dtype} on "
        f"{torch.cuda.get_device_name(device) if device.type == 'cuda' else device}; "
        f"{len(plans)} plans, {calls:,} shared layer calls on {size:,} tokens"
    )
    print(
        f"{calls / seconds:,.0f} layer calls a second ({1e6 * seconds / calls / size:.2f} us a "
        f"token); matrix products alone {calls / floor:,.0f}: {100 * floor / seconds:.0f} % of "
        "the floor's speed"
    )
    print(
        f"forks through a layer together, in {len(schedule(plans)):,} entries of a schedule: "
        f"{calls / together:,.0f} layer calls a second, {seconds / together:.2f} times as many"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    defaults = {"layers": 32, "hidden": 4096, "heads": 32, "mlp": 11008, "vocab": 32000}
    for name, value in {**defaults, "batch": 8, "length": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def _model(
    options: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> TransformerBridge:
    config = LlamaConfig(
        num_hidden_layers=options.layers, hidden_size=options.hidden,
        num_attention_heads=options.heads, intermediate_size=options.mlp,
        vocab_size=options.vocab, architectures=["LlamaForCausalLM"], pad_token_id=0,
        attn_implementation="eager", dtype=dtype,
    )  # fmt: skip
    torch.set_default_dtype(dtype)
    with device:
        plain = LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        return TransformerBridge.boot_transformers(
            "random-llama",
            hf_model=plain,
            tokenizer=tiny.tokenizer(Path(folder)),
            dtype=dtype,
            device=str(device),
        )


def _walk(model: TransformerBridge, plans: list[Plan], tokens: Tensor, wide: bool = False) -> None:
    recording, copies = record(model, tokens), None
    if wide and recording.repeated is not None:
        forks = widths(torch.device("cuda"), tokens.numel(), len(plans))
        copies = {times: recording.repeated(times) for times in forks}
    if tokens.device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        for _, stream in walk(model, plans, recording, copies=copies):
            del stream
    finally:
        if tokens.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def _floor(options: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds of one layer's matrix products."""
    rows, hidden, mlp = options.batch * options.length, options.hidden, options.mlp
    shapes = [(hidden, hidden)] * 4 + [(hidden, mlp)] * 2 + [(mlp, hidden)]
    pairs = [
        (
            torch.randn(rows, a, device=device, dtype=dtype),
            torch.randn(a, b, device=device, dtype=dtype),
        )
        for a, b in shapes
    ]

    def products() -> None:
        for _ in range(20):
            for left, right in pairs:
                left @ right

    products()
    return _timed(device, products) / 20


def _timed(device: torch.device, work: Callable[[], None]) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
