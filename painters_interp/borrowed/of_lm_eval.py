"""Private names of lm-eval: what `evaluation.harness` overrides in its HFLM, and tasks in parts."""

from collections.abc import Sequence
from copy import copy
from typing import Any

SEEN = "0.4.13"
NAMES = {
    "lm_eval.models.huggingface.HFLM": {
        "_model": "`model` shows HFLM nothing that it could change while it is made",
        "_device": "a model whose weights come when they are needed computes elsewhere",
        "_loglikelihood_tokens": "its own tokenisation of requests, and nothing run",
    },
    "lm_eval.api.task.Task": {
        "_instances": "prompts are made for all items before these are cut, and no call parts them",
    },
}


def with_instances(task: Any, instances: Sequence[Any]) -> Any:
    """A copy of a task with these of its prompts."""
    own = copy(task)
    own._instances = list(instances)
    return own
