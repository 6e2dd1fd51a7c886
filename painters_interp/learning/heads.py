"""Linear heads on frozen features: logistic for classes, ridge for numbers, by scikit-learn.

How strongly a head is held back is chosen on a part of the training set, and the head of that
strength is then fitted to all of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ..errors import TaskError
from .examples import held_out

Features = Float[np.ndarray, "text d_model"]
Right = Float[np.ndarray, " text"]

# Penalties of the squared weights per text that is learnt from; the strongest first.
STRENGTHS = (10.0, 1.0, 0.1, 0.01, 0.001)
_CHOOSING = 0.2
_STEPS = 1000


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head: `strength` is the one that was chosen out of `STRENGTHS`."""

    model: Any
    strength: float

    def answers(self, features: Features) -> Right:
        """The number of a class, or the number itself, for each text."""
        found: np.ndarray = self.model.predict(features).astype(float)
        return found


def made(classes: int, penalty: float) -> Pipeline:
    """A head that is not fitted yet; features are standardised by what it learns from.

    `penalty` is on the squared weights, of the whole training set.
    """
    if not classes:
        return make_pipeline(StandardScaler(), Ridge(penalty))
    # Newton's method is fast where there are more texts than features, and knows two classes.
    solver = "newton-cholesky" if classes == 2 else "lbfgs"
    logistic = LogisticRegression(C=1 / penalty, solver=solver, max_iter=_STEPS)
    return make_pipeline(StandardScaler(), logistic)


def fitted(features: Features, right: Right, classes: int, seed: int) -> Head:
    """The head for `classes` classes (0: for numbers), of the strength that does best held out.

    Best by the loss that it is fitted to: log loss, squared error. Of equals the strongest. Raises
    TaskError for too few texts to choose on.
    """
    apart = np.zeros(len(right), dtype=bool)
    apart[held_out(right, bool(classes), _CHOOSING, seed)] = True
    if not apart.any():
        raise TaskError(
            f"{len(right)} texts to learn from, each of a class of its own, are too few to choose "
            "a head on; give two or more of a class"
        )
    losses = [_loss(features, right, apart, classes, strength) for strength in STRENGTHS]
    best = STRENGTHS[int(np.argmin(losses))]
    return Head(_fit(features, right, classes, best), best)


def _fit(features: Features, right: Right, classes: int, strength: float) -> Pipeline:
    return made(classes, strength * len(right)).fit(features, right)


def _loss(features: Features, right: Right, apart: Any, classes: int, strength: float) -> float:
    head = _fit(features[~apart], right[~apart], classes, strength)
    if not classes:
        return float(np.mean((head.predict(features[apart]) - right[apart]) ** 2))
    guesses = head.predict_proba(features[apart])
    return float(log_loss(right[apart], guesses, labels=head[-1].classes_))
