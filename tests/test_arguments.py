"""Settings that count: what is no such number is refused by name, wherever it is handed over."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

import painters_interp as painters
from painters_interp import strategies
from painters_interp.arguments import LARGEST_SEED, counting
from painters_interp.deployment.requests import refuse_calls
from painters_interp.errors import PaintersError, PlanError, SettingError


@counting(firsts=0)
def listed(firsts: Iterable[int] | None = None) -> Any:
    return firsts


NO_COUNTS = [True, -1, 2.5, "3", float("nan"), [1], {}]


@counting(seed=0, batch=1, limit=1)
def counted(batch: int | list[int] = 1, limit: float | None = None, seed: int = 0) -> Any:
    return batch, limit, seed


@pytest.mark.parametrize("value", NO_COUNTS)
def test_what_counts_nothing_is_refused_by_name(value: Any) -> None:
    with pytest.raises(SettingError, match=r"^seed="):
        counted(seed=value)
    with pytest.raises(SettingError, match="many digits is too large"):
        counted(seed=10**5000)


def test_amounts_may_be_shares_and_numbers_of_numpy_are_numbers() -> None:
    assert counted(np.int64(2), 0.5, np.uint8(3)) == (2, 0.5, 3)
    assert counted(limit=32.0) == (1, 32, 0)
    assert type(counted(np.int64(2))[0]) is int
    assert counted(seed=LARGEST_SEED)[2] == LARGEST_SEED
    assert listed(dict.fromkeys([3, 1])) == listed(iter([3, 1])) == [3, 1]
    with pytest.raises(SettingError, match="firsts='1'"):
        listed(["1"])
    for value in (True, 0, -1, 2.5, "3", float("nan"), float("inf")):
        with pytest.raises(SettingError, match=r"^limit="):
            counted(limit=value)


def test_arguments_that_do_not_fit_are_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match=r"counted\(\) got an unexpected keyword"):
        counted(size=3)  # type: ignore[call-arg]


# No model is loaded before they are read, so that none is needed here.
DOORS: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "evaluate": (lambda **k: painters.evaluate("no", "0", "no", **k),
                 ["limit", "num_fewshot", "seed"]),
    "classify": (lambda **k: painters.classify("no", "0", "no", **k), ["limit", "seed"]),
    "readers": (lambda **k: painters.readers("no", "no", **k), ["limit", "seed"]),
    "heal": (lambda **k: painters.heal("no", "0", [], **k), ["context", "seed"]),
    "similarity": (lambda **k: painters.similarity("no", [], ["cosine"], **k),
                   ["tokens_per_document", "batch_size", "seed"]),
    "capture": (lambda **k: painters.capture("no", [], **k), ["batch_size"]),
    "kl_to_intact": (lambda **k: painters.kl_to_intact("no", "0", **k), ["seed"]),
    "generate": (lambda **k: painters.generate("no", "0", "a", **k), ["max_new_tokens"]),
    "search": (lambda **k: painters.search("no", calls=1, **k),
               ["width", "rounds", "limit", "seed"]),
    "latency": (lambda **k: painters.latency("no", "0", **k), ["new", "repeats", "seed"]),
    "studies": (lambda **k: painters.studies.run("2407.09298", "no", **k), ["limit", "seed"]),
    "sweep": (lambda **k: painters.sweep({}, "no", **k), ["workers", "cpus_per_worker"]),
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_them(door: str) -> None:
    ask, settings = DOORS[door]
    for setting in settings:
        for value in (True, -1, "3", float("nan")):
            with pytest.raises(SettingError, match=f"^{setting}="):
                ask(**{setting: value})


@pytest.mark.parametrize("value", NO_COUNTS)
def test_layers_and_passes_of_strategies_are_whole_numbers(value: Any) -> None:
    for made in (
        lambda: strategies.full(value),
        lambda: strategies.middle(6, value),
        lambda: strategies.drop(6, value),
        lambda: strategies.swap(6, 1, value),
        lambda: strategies.replace(6, at=value, with_layer=2),
        lambda: strategies.repeat_block(6, 1, value),
        lambda: strategies.looped_parallel(6, [1, 2], times=value),
        lambda: strategies.tracks(6, [1, 2], k=value),
        lambda: strategies.shuffle(6, [1, 2], seed=value),
    ):
        with pytest.raises(PaintersError):
            made()


def test_a_budget_is_a_whole_number_of_calls() -> None:
    for value in (0, *NO_COUNTS):
        with pytest.raises(PlanError, match="is no budget of layer calls"):
            refuse_calls(value, 6)
