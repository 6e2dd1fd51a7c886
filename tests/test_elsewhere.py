"""On a device of its own: nothing meets the processor's tensors, numbers come home once a batch.

See `elsewhere` for the device, which has no numbers: what is computed is tested in the rooms.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import tiny
import torch
from elsewhere import elsewhere, halfway
from numpy.testing import assert_allclose
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp import patching
from painters_interp.damage import divergence
from painters_interp.errors import UnsupportedModelError
from painters_interp.evaluation import questions
from painters_interp.execution import pack, record, walk
from painters_interp.execution.plain import plain
from painters_interp.execution.prefix_walk import copyable, head
from painters_interp.measures import MEASURES

PLANS = ["0-5", "0 (1-3)@0.5*2 5"]
TEXTS = ["a few words", "and some more", "!" * 15, "abcdefg"]
CLEAN, CORRUPTED = tiny.tokens(2, 9)
CHOICES = [{"question": word * 30, "choices": ["x", "yz"], "gold": 0} for word in "ab"]
WRITES = [{"question": "ab", "answer": "x"}, {"question": "c", "answer": "y"}]


def kl(model: TransformerBridge, batches: int) -> None:
    painters.kl_to_intact(model, PLANS, ["!" * 30] * batches)


def similar(model: TransformerBridge, batches: int) -> None:
    painters.similarity(model, TEXTS, [*MEASURES], batch_size=4 // batches)


def effects(model: TransformerBridge, batches: int) -> None:
    patching.effects(model, TEXTS, batch_size=4 // batches)


def choose(model: TransformerBridge, batches: int) -> None:
    painters.evaluate(model, PLANS, painters.task("t", CHOICES[:batches]))


def write(model: TransformerBridge, batches: int) -> None:
    task = painters.task("w", WRITES, "generate_until", max_new_tokens=2 * batches)
    painters.evaluate(model, PLANS, task)


def continued(model: TransformerBridge, batches: int) -> None:
    painters.generate(model, PLANS, ["ab", "cde"], max_new_tokens=2 * batches)


def patched(model: TransformerBridge, batches: int) -> None:
    pairs = [CLEAN] * batches, [CORRUPTED] * batches
    some: dict[str, Any] = {"states": [0, 3]}
    patching.patch_residual(model, *pairs, answers=[(7, 8)] * batches, **some)


def crossed(model: TransformerBridge, batches: int) -> None:
    some: dict[str, Any] = {"source_states": [1, 4], "target_states": [2, 5]}
    patching.crossing(model, [CLEAN] * batches, **some)


# How often numbers come home for twice as many batches: tokens that are written, prompts, or texts
# together; `similarity` reads its texts twice.
WORK: dict[str, tuple[Callable[[TransformerBridge, int], None], int]] = {
    "KL": (kl, 1),
    "similarity": (similar, 2),
    "effects": (effects, 1),
    "choices": (choose, 1),
    "texts that tasks ask for": (write, 2),
    "continuations": (continued, 2),
    "patching": (patched, 1),
    "patching across layers": (crossed, 1),
}


@pytest.fixture
def llama(tiny_folder: Any, monkeypatch: pytest.MonkeyPatch) -> TransformerBridge:
    model = tiny.build("llama", torch.float32, tiny_folder)
    model.tokenizer.eos_token = None  # zeros are no text that has ended
    assert all(copyable(model, face) for face in (None, plain(model)))  # asked on accelerators only
    # Weights without numbers are refused at the door, and here they are the point.
    monkeypatch.setattr("painters_interp.models.door.refuse_empty", lambda *_: None)
    # A text is a batch.
    monkeypatch.setitem(divergence._TOKENS_AT_ONCE, "cuda", 32)
    monkeypatch.setitem(questions._ROOM, "cuda", 40)
    return model


@pytest.mark.filterwarnings("ignore:.* is undefined somewhere", "ignore:.* is NaN for")
@pytest.mark.parametrize("work", WORK)
def test_numbers_come_home_once_a_batch_and_are_widened_then(llama, work, monkeypatch):
    do, each = WORK[work]
    do(llama, 1)  # what is found out about a model by trying is found here
    with elsewhere(llama) as device:
        do(llama, 1)
        one = [*device.fetched]
        do(llama, 2)
        two = device.fetched[len(one) :]
        assert len(two) - len(one) == each, two
        # Apple's GPUs have no float64: there more comes home, and none is made before.
        monkeypatch.setattr("painters_interp.models.device._NARROW", ("meta",))
        device.float64 = False
        do(llama, 1)


@pytest.mark.filterwarnings("ignore:.* is undefined somewhere", "ignore:.* is NaN for")
@pytest.mark.parametrize("other", [None, "shuffled tokens"])
def test_samples_come_home_once_a_batch_from_a_device_without_float64(llama, other, monkeypatch):
    ask = partial(painters.similarity, llama, TEXTS, ["rsa", "knn", "procrustes"], other=other)
    there = ask(massive="both")
    monkeypatch.setattr("painters_interp.models.device._NARROW", ("cpu", "meta"))
    at_home = ask(massive="both")
    for name, found in there.items():
        assert_allclose(found.per_document, at_home[name].per_document, rtol=0, atol=1e-12)
    with elsewhere(llama) as device:
        for batches in (1, 2, 4):
            device.fetched.clear()
            ask(batch_size=len(TEXTS) // batches)
            assert len(device.fetched) == 2 * batches, device.fetched  # what is massive; samples


def test_recording_walking_packing_and_the_head_fetch_nothing(llama):
    painters.token_logprobs(llama, PLANS, tiny.tokens())
    plans = [painters.Plan(plan, tiny.N_LAYERS) for plan in PLANS]
    rows = tiny.tokens(3, 9)
    with elsewhere(llama) as device:
        placed = pack(llama, rows.tolist())
        recorded = [record(llama, rows.to("meta")), placed.recording]
        streams = [stream for one in recorded for _, stream in walk(llama, plans, one)]
        with head(llama) as logits_of:
            logits = [logits_of(stream[0]) for stream in streams]
    assert device.fetched == []
    assert all(found.is_meta for found in (*streams, *logits))
    assert len(streams) == 2 * len(PLANS)


def test_log_probabilities_stay_there(llama):
    tokens = tiny.tokens(2, 9)
    painters.token_logprobs(llama, PLANS, tokens)
    with elsewhere(llama) as device:
        found = painters.token_logprobs(llama, PLANS, tokens)
    assert found.is_meta
    assert len(device.fetched) == 1  # how many tokens are real


def test_the_device_tells_who_mixes(llama):
    with pytest.raises(RuntimeError, match="device"), elsewhere(llama):
        next(llama.original_model.parameters()).sum(-1) + torch.ones(tiny.VOCAB)


SPREAD = ["0-5", "0 (1-4)@0.5*2 5", "0-1 (3|[4-5]) 2 5", "3-5 0-2"]


def under_plans(model: TransformerBridge) -> None:
    prompt = {"input_ids": tiny.tokens(2, 9), "attention_mask": torch.ones(2, 9)}
    for plan in SPREAD:
        with painters.applied(model, plan):
            assert model(tiny.tokens(2, 9)).shape == (2, 9, tiny.VOCAB)
            model.original_model.generate(**prompt, max_new_tokens=3, do_sample=False)
    with painters.applied(model, SPREAD[1], cache="averaged"):
        model.original_model.generate(**prompt, max_new_tokens=3, do_sample=False)


def scored(model: TransformerBridge) -> None:
    painters.token_logprobs(model, SPREAD, tiny.tokens(2, 9))


def scored_with_a_hook(model: TransformerBridge) -> None:
    with model.hooks(fwd_hooks=[("blocks.1.hook_resid_post", lambda stream, hook: stream)]):
        scored(model)


def captured(model: TransformerBridge) -> None:
    assert {batch.states.device.type for batch in painters.capture(model, TEXTS)} == {"cpu"}


def timed(model: TransformerBridge) -> None:
    painters.latency(model, SPREAD, length=8, new=2, repeats=2)


def proved(model: TransformerBridge) -> None:
    painters.check(model, SPREAD[2])


@pytest.mark.filterwarnings("ignore:.* is undefined somewhere", "ignore:.* is NaN for")
@pytest.mark.parametrize(
    "do",
    [*WORK, under_plans, scored, scored_with_a_hook, captured, timed, proved],
    ids=lambda do: getattr(do, "__name__", do),
)
def test_layers_on_two_devices_never_mix_them(llama, do):
    """A stream comes back to where its plan began; caches stay with the layer that fills them."""
    ask = do if callable(do) else partial(WORK[do][0], batches=1)
    ask(llama)
    with halfway(llama):
        ask(llama)


def test_what_needs_weights_of_its_own_refuses_layers_on_two_devices(llama, tmp_path):
    with halfway(llama):
        for ask in (
            lambda: painters.models.random_weights(llama),
            lambda: painters.models.stock_copy(llama),
            lambda: painters.export(llama, "0-4", tmp_path / "new"),
        ):
            with pytest.raises(UnsupportedModelError, match="spread over devices"):
                ask()
        with pytest.raises(UnsupportedModelError, match="load the model whole"):
            patching.weights_swapped(llama, 1, 4).__enter__()
    assert [*tmp_path.iterdir()] == []
