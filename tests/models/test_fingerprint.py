"""The digest of a model is another one after any edit of what it computes, and only then."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tokenizers import processors
from torch import nn

from painters_interp import check, evaluate
from painters_interp.errors import ModelError
from painters_interp.models import tokenizer_digest, weights_digest


def first(model: Any, attribute: str) -> Any:
    return next(m for m in model.original_model.modules() if hasattr(m, attribute))


def scaled(model: Any, factor: float) -> None:
    norm = first(model, "variance_epsilon")
    forward = norm.forward
    norm.forward = lambda hidden: forward(hidden) * factor


def shifted(model: Any, shift: torch.Tensor) -> None:
    norm = first(model, "variance_epsilon")
    forward = norm.forward
    norm.forward = lambda hidden: forward(hidden) + shift


FACTOR = 2.0


class Doubled:
    """A forward that somebody made an object of."""

    def __init__(self, forward: Any) -> None:
        self.forward, self.factor = forward, 2.0

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.forward(hidden) * self.factor
        return result


def test_what_an_exchanged_forward_finds_counts(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    norm, shift = first(model, "variance_epsilon"), torch.zeros(1)
    plain, made = norm.forward, Doubled(norm.forward)
    shifted(model, shift)  # a tensor of the function around it
    before = weights_digest(model)
    shift += 1
    assert weights_digest(model) != before
    norm.forward = lambda hidden: plain(hidden) * FACTOR  # a global
    before = weights_digest(model)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert weights_digest(model) != before
    norm.forward = made
    before = weights_digest(model)
    made.factor = 3.0
    assert weights_digest(model) != before
    digests = set()
    for factor in (2, 3):  # inside of a function of its own
        exec(f"def forward(hidden): return [hidden * {factor} for _ in (1,)][0]", room := {})
        norm.forward = room["forward"]
        digests.add(weights_digest(model))
    assert len(digests) == 2
    norm.forward = plain
    before = weights_digest(model)
    kind = type(norm)
    own = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, hidden: 2 * own(self, hidden))
    assert weights_digest(model) != before


EDITS: dict[str, Callable[[Any], object]] = {
    "a weight": lambda m: m.original_model.lm_head.weight.data[3, 4].add_(1e-3),
    "a tensor beside its buffers": lambda m: setattr(
        first(m, "variance_epsilon"), "shift", torch.ones(2)
    ),
    "a rotary table": lambda m: first(m, "inv_freq").inv_freq.mul_(1.01),
    "a norm's epsilon": lambda m: setattr(first(m, "variance_epsilon"), "variance_epsilon", 1e-2),
    "an attention's scale": lambda m: setattr(first(m, "scaling"), "scaling", 1.0),
    "the config": lambda m: setattr(m.original_model.config, "rms_norm_eps", 1e-2),
    "a soft cap": lambda m: setattr(m.original_model.config, "final_logit_softcapping", 30.0),
    "the attention": lambda m: m.original_model.set_attn_implementation("sdpa"),
    "writing": lambda m: setattr(m.original_model.generation_config, "repetition_penalty", 1.3),
    "a forward": lambda m: scaled(m, 2.0),
}


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_of_a_model_shows(tiny_folder: Path, edit: str) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    before = weights_digest(model)
    EDITS[edit](model)
    assert weights_digest(model) != before


def test_a_forward_exchanged_for_another_shows(tiny_folder: Path) -> None:
    digests = set()
    for factor in (2.0, 3.0):
        model = tiny.build("llama", torch.float32, tiny_folder)
        scaled(model, factor)
        digests.add(weights_digest(model))
    assert len(digests) == 2


def test_the_same_weights_in_another_architecture_are_another_model(tiny_folder: Path) -> None:
    llama, mistral = (tiny.build(f, torch.float32, tiny_folder) for f in ("llama", "mistral"))
    assert weights_digest(llama) != weights_digest(mistral)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_work_does_not_show_nor_does_where_a_model_lay(tmp_path: Path, family: str) -> None:
    model = tiny.build(family, torch.float32, tmp_path / "one")
    before, spelling = weights_digest(model), tokenizer_digest(model.tokenizer)
    evaluate(model, ["0-5", "0-3"], ["probe_facts"], limit=2, metrics=["kl"])
    check(model, "0-3")
    model.tokenizer(["a b", "c"], padding=True, truncation=True, max_length=4)
    assert weights_digest(model) == before
    assert tokenizer_digest(model.tokenizer) == spelling
    again = tiny.build(family, torch.float32, tmp_path / "two")
    assert weights_digest(again) == before
    assert tokenizer_digest(again.tokenizer) == spelling


def test_weights_on_no_device_have_no_digest(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    model.original_model.lm_head.to("meta")
    with pytest.raises(ModelError, match=r"lm_head.*meta device"):
        weights_digest(model)


TOKENIZER_EDITS: dict[str, Callable[[Any], object]] = {
    "the post-processor": lambda t: setattr(
        t.backend_tokenizer,
        "post_processor",
        processors.TemplateProcessing("$A", special_tokens=[]),
    ),
    "a token": lambda t: t.add_tokens(["new"]),
    "the template": lambda t: setattr(t, "chat_template", "{{ messages }}"),
    "a special token": lambda t: setattr(t, "pad_token", "</s>"),
}


@pytest.mark.parametrize("edit", TOKENIZER_EDITS)
def test_every_edit_of_a_tokenizer_shows(tiny_folder: Path, edit: str) -> None:
    tokenizer = tiny.tokenizer(tiny_folder)
    before = tokenizer_digest(tokenizer)
    TOKENIZER_EDITS[edit](tokenizer)
    assert tokenizer_digest(tokenizer) != before


def test_what_a_module_holds_may_hold_itself(tiny_folder: Path) -> None:
    def calls_itself(depth: int) -> int:
        return depth and calls_itself(depth - 1)

    circular: list[Any] = ["a setting"]
    circular.append(circular)
    model = tiny.build("llama", torch.float32, tiny_folder)
    before = weights_digest(model)
    model.original_model.countdown, model.original_model.notes = calls_itself, circular
    assert weights_digest(model) == weights_digest(model) != before


class Switched(torch.nn.Module):
    """A layer's MLP that is switched on and off in private, as adapters are."""

    def __init__(self, mlp: torch.nn.Module) -> None:
        super().__init__()
        self.mlp, self._on = mlp, True

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        return self.mlp(stream) if self._on else 0 * stream


def test_what_a_module_switches_in_private_counts(tiny_folder: Path) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    layer = model.original_model.model.layers[2]
    layer.mlp = switched = Switched(layer.mlp)
    on = weights_digest(model)
    switched._on = False
    off = weights_digest(model)
    switched._on = True
    assert off != on == weights_digest(model)


def test_what_a_class_of_the_users_own_does_counts(tiny_folder: Path) -> None:
    """Its forward is the same, and calls another method."""
    text = "class Scaled(nn.Linear):\n def forward(self, x): return self.scaled(x)\n"
    model = tiny.build("llama", torch.float32, tiny_folder)
    own = model.original_model.model.layers[0].mlp
    weight = own.up_proj.weight
    digests = set()
    for factor in (1, 2):
        room: dict[str, Any] = {"nn": nn, "__name__": "__main__"}
        exec(f"{text} def scaled(self, x): return {factor} * super().forward(x)", room)
        own.up_proj = room["Scaled"](*reversed(weight.shape), bias=False)
        own.up_proj.weight = weight
        digests.add(weights_digest(model))
    assert len(digests) == 2
