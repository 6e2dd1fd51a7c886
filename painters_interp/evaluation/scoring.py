"""From tokens to answers under every plan: log-likelihoods, and texts."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ..execution import (
    ROWS,
    Place,
    Recording,
    face_of,
    measuring,
    score_targets,
    undisturbed,
    user_hooks,
    walk,
)
from ..models import Model, as_model, numbers
from ..plans import Plan
from ..strategies import full
from .harness.process import quiet_lm_eval
from .planned import PlannedLM
from .questions import Questions, Request
from .responses import Answers
from .writing import Prompts, generate

_STEPS = 4  # tokens that are written to see how long one takes


def time_per_call(model: TransformerBridge, questions: Questions) -> float:
    """Seconds that one layer takes for one token here, measured on a few of the questions.

    Where texts are written, on the beginning of some: a token that is written takes far longer
    than one of a prompt.

    Args:
        model: A model with hooks.
        questions: What `prepare` returned.

    Returns:
        Seconds.

    Example:
        >>> time_per_call(model, painters.evaluation.prepare(model, "probe_facts", limit=2)) > 0
        True
    """
    with undisturbed(model):
        if questions.packs:
            return _time_per_call_of_reading(model, questions)
        return _time_per_call_of_writing(model, questions.prompts)


def _time_per_call_of_reading(model: TransformerBridge, questions: Questions) -> float:
    inputs = questions.inputs(questions.packs[len(questions.packs) // 2])
    recording = questions.layout.record(model, inputs, face_of(model)).recording
    seconds = 0.0
    for _ in range(2):  # the first pass warms up
        start = time.perf_counter()
        for _, stream in walk(model, [full(len(model.blocks))], recording):
            float(stream.sum())  # waits for the device
        seconds = time.perf_counter() - start
    rows, columns, _ = recording.stream.shape
    return seconds / (rows * columns * len(model.blocks))


def _time_per_call_of_writing(model: TransformerBridge, asked: Prompts) -> float:
    batch = asked.batches[len(asked.batches) // 2]
    writer = PlannedLM(model, full(len(model.blocks)), batch_size=len(batch.members))

    def seconds(new: int) -> float:
        requests = [asked.requests[index] for index in batch.members]
        short = [
            replace(r, arguments=(r.args[0], {**r.args[1], "until": [], "max_gen_toks": new}))
            for r in requests
        ]
        start = time.perf_counter()
        with quiet_lm_eval():
            writer.generate_until(short, disable_tqdm=True)
        return time.perf_counter() - start

    few, more = seconds(1), seconds(1 + _STEPS)
    step = max(0.0, more - few) / _STEPS
    return (few + step * (batch.new - 1)) / (batch.tokens * len(model.blocks))


def score(
    model: Model,
    plans: Sequence[Plan],
    questions: Questions,
    advance: Callable[[int], object] = lambda calls: None,
    cache: str = "exact",
) -> Answers:
    """Answer every question under every plan.

    Log-likelihoods are computed in one pass, plans sharing their beginnings; texts are written
    under all plans together, decoding with the cache that `applied` calls `cache`.
    """
    model = as_model(model)
    shape = (len(plans), len(questions.requests))
    loglikelihood, greedy = np.empty(shape), np.empty(shape, dtype=bool)
    with measuring(model):
        texts = generate(model, plans, questions.prompts, cache, advance)
        for pack in _packs(model, plans, questions):
            scores = score_targets(
                model, plans, pack.recording, pack.sources, pack.targets, advance
            )
            both = torch.stack([scores.logprobs, scores.greedy.to(scores.logprobs)])
            logprobs, hits = numbers(both)[..., *pack.read]
            loglikelihood[:, pack.requests] = np.add.reduceat(logprobs, pack.starts, axis=1)
            greedy[:, pack.requests] = np.logical_and.reduceat(hits == 1, pack.starts, axis=1)
    return Answers(loglikelihood, greedy, texts)


@dataclass(frozen=True, eq=False)
class _Pack:
    """Recorded inputs, and what is read of them.

    `targets` are all tokens that some request expects after each of `sources`. The tokens of a
    request are those at `read`, from its start on.
    """

    recording: Recording
    requests: list[int]
    starts: list[int]
    sources: Int[Tensor, "row 2"]
    targets: Int[Tensor, "row target"]
    read: tuple[list[int], list[int]]


def _packs(
    model: TransformerBridge, plans: Sequence[Plan], questions: Questions
) -> Iterator[_Pack]:
    asked: list[list[int]] = [[] for _ in questions.sequences]
    for index, request in enumerate(questions.requests):
        asked[request.sequence].append(index)
    packs, layout = questions.packs, questions.layout
    if user_hooks(model):  # they see one sequence at a time
        packs, layout = tuple((index,) for index in range(len(questions.sequences))), ROWS
    face = face_of(model, plans)
    for members in packs:
        placed = layout.record(model, questions.inputs(members), face)
        asking = [
            (places, index)
            for sequence, places in zip(members, placed.places, strict=True)
            for index in asked[sequence]
        ]
        yield _pack(placed.recording, questions.requests, asking)


def _pack(
    recording: Recording, requests: Sequence[Request], asking: Sequence[tuple[Sequence[Place], int]]
) -> _Pack:
    """What is read for each request, an index, of the sequence whose tokens are at its places."""
    starts: list[int] = []
    read: list[tuple[Place, int]] = []
    expected: dict[Place, dict[int, int]] = {}  # each token after a source, and its number there
    for places, index in asking:
        continuation = requests[index].continuation
        starts.append(len(read))
        sources = places[len(places) - len(continuation) :]
        for source, token in zip(sources, continuation, strict=True):
            tokens = expected.setdefault(source, {})
            read.append((source, tokens.setdefault(token, len(tokens))))
    row_of = {source: row for row, source in enumerate(expected)}
    targets = torch.zeros(len(expected), max(map(len, expected.values())), dtype=torch.long)
    for row, tokens in enumerate(expected.values()):
        targets[row, : len(tokens)] = torch.tensor([*tokens])
    device = recording.stream.device
    return _Pack(
        recording,
        [index for _, index in asking],
        starts,
        torch.tensor([*expected], device=device),
        targets.to(device),
        ([row_of[source] for source, _ in read], [number for _, number in read]),
    )
