"""What is changed in the whole process while lm-eval works, and changed back afterwards.

Several threads may evaluate at once: the first that asks makes a change, the last takes it back.
"""

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import lru_cache
from threading import Lock, RLock
from types import TracebackType
from typing import Any

import datasets
import lm_eval.api.task as lm_eval_task
import numpy as np
import torch
from huggingface_hub import constants as hub
from huggingface_hub import utils as hub_utils
from lm_eval import utils as lm_eval_utils

from ...models.network import hub_answers

_NOISY = ("lm_eval", "datasets", "huggingface_hub", "transformers")


class Shared:
    """A change that many may ask for at the same time, made once."""

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        self._change, self._made, self._asking = change, ExitStack(), 0
        self._lock = Lock()

    def __call__(self) -> "Shared":
        return self

    def __enter__(self) -> None:
        with self._lock:
            if not self._asking:
                self._made.enter_context(self._change())
            self._asking += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._asking -= 1
            if not self._asking:
                self._made.close()


@Shared
@contextmanager
def quiet_lm_eval() -> Iterator[None]:
    """Keep the bars and notices of lm-eval off the terminal: there is one bar, and it is ours."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels, bar = [logger.level for logger in loggers], lm_eval_task.tqdm
    bars = {module: not module.are_progress_bars_disabled() for module in (datasets, hub_utils)}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    for module in bars:
        module.disable_progress_bars()
    lm_eval_task.tqdm = _no_bar
    try:
        yield
    finally:
        lm_eval_task.tqdm = bar
        for module in (module for module, shown in bars.items() if shown):
            module.enable_progress_bars()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _no_bar(items: Any, **_: object) -> Any:
    return items


@Shared
@contextmanager
def hub_or_its_cache() -> Iterator[None]:
    """Where the hub does not answer, go offline: its client would retry for minutes."""
    before = hub.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if not before[0] and not hub_answers():
        hub.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


_DRAWING = RLock()


@contextmanager
def drawn_with(seed: int) -> Iterator[None]:
    """Some tasks shuffle choices with the generators of the process: seeded, and put back after.

    As lm-eval's `--seed` does. One thread at a time.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        before = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


_template = lru_cache(maxsize=256)(lm_eval_utils.env.from_string)


@Shared
@contextmanager
def templates_compiled_once() -> Iterator[None]:
    """Keep lm-eval's compiled templates: it compiles them anew for every item, and again to score.

    Under hundreds of plans that would take longer than the model does.
    """
    lm_eval_utils.env.from_string = _template
    try:
        yield
    finally:
        del lm_eval_utils.env.from_string
