"""What lm-eval is given back: one response per request, read from what a plan scored or wrote."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Response = tuple[float, bool] | float | str


def undefined(response: Response) -> bool:
    """Whether a model has answered with NaN, from which no metric can be read."""
    number = response[0] if isinstance(response, tuple) else response
    return isinstance(number, float) and math.isnan(number)


@dataclass(frozen=True, eq=False)
class Answers:
    """What every plan makes of the questions.

    Per plan and continuation its log-likelihood (nats) and whether it is greedy; per plan and
    prompt the text that the model wrote, None where a logit was NaN on the way.
    """

    loglikelihood: Float[np.ndarray, "plan request"]
    greedy: Bool[np.ndarray, "plan request"]
    texts: tuple[tuple[str | None, ...], ...]

    def responses(self, plan: int, readings: Iterable["Lookup"]) -> list[Response]:
        """lm-eval's responses under the plan of this index, one per reading."""
        return [reading.of(self, plan) for reading in readings]


@dataclass(frozen=True)
class Continuation:
    """A loglikelihood request: (log-likelihood, is greedy) of the continuation at `index`."""

    index: int

    def of(self, answers: Answers, plan: int) -> tuple[float, bool]:
        """The response under one plan."""
        loglikelihood = answers.loglikelihood[plan, self.index]
        return float(loglikelihood), bool(answers.greedy[plan, self.index])


@dataclass(frozen=True)
class Document:
    """A loglikelihood_rolling request: the log-likelihood of a text, window by window."""

    windows: range

    def of(self, answers: Answers, plan: int) -> float:
        """The response under one plan."""
        return float(answers.loglikelihood[plan, self.windows.start : self.windows.stop].sum())


@dataclass(frozen=True)
class Writing:
    """A generate_until request: the text that follows the prompt at `index`."""

    index: int

    def of(self, answers: Answers, plan: int) -> str | float:
        """The response under one plan; NaN where none was written."""
        text = answers.texts[plan][self.index]
        return math.nan if text is None else text


Lookup = Continuation | Document | Writing
