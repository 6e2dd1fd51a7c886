"""What is learnt from one task under many plans, and what its answers are: a table of items."""

import gc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sklearn
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge

from ..digests import text_digest
from ..execution import Archive
from ..models.fingerprint import model_columns
from ..plans import Plan
from ..progress import Advance
from ..storage import Shelf
from ..tables.items import item_table
from .examples import METRICS, Examples
from .features import Sequences, final_features, sequences
from .heads import STRENGTHS, fitted
from .training import Tuning
from .tuning import tuned_answers, tuning_calls

# The rooms of this package whose code answers depend on.
DECISIVE = ("learning", "execution", "generation", "models", "plans")


@dataclass(frozen=True, eq=False)
class Lesson:
    """A task as a model reads it; `tuning` says how all weights are trained, None: a head alone."""

    model: TransformerBridge
    task: Examples
    learnt: Sequences
    scored: Sequences
    pool: str
    seed: int
    tuning: Tuning | None

    @classmethod
    def of(
        cls, model: TransformerBridge, task: Examples, pool: str, seed: int, tuning: Tuning | None
    ) -> "Lesson":
        """The task in the tokens of the model."""
        learnt, scored = (sequences(model, part.texts) for part in (task.train, task.scored))
        return cls(model, task, learnt, scored, pool, seed, tuning)

    @property
    def asked(self) -> str:
        """A digest of what is asked, and of what is trained how: items of two runs are the same
        only if it is."""
        how = STRENGTHS if self.tuning is None else self.tuning.recipe()
        return text_digest(f"{self.task.digest()} {self.pool} {how}")

    def shelf(self, archive: Archive) -> Shelf:
        """Where the items are kept: under all that they depend on but the plan."""
        rows = hashlib.sha256(self.task.scored.rows.tobytes()).hexdigest()[:16]
        asked = {"task": self.task.name, "version": self.task.version, "requests": self.asked}
        own = {"metrics": " ".join(self.task.metrics), "rows": rows, "seed": self.seed}
        how = {
            "trained": "head" if self.tuning is None else "all",
            "scikit-learn": sklearn.__version__,
        }
        return Shelf(archive.folder, self.task.name, {**archive.facts, **asked, **own, **how})

    def groups(self, plans: Sequence[Plan]) -> list[list[Plan]]:
        """Plans that are learnt together, and kept: what an interruption may cost."""
        if self.tuning is None:
            return [[*plans]] if plans else []
        return [[plan] for plan in plans]

    def calls(self, plans: Sequence[Plan]) -> int:
        """Token-layer calls that the items of distinct plans take."""
        if self.tuning is None:
            return self.learnt.calls(plans) + self.scored.calls(plans)
        return sum(tuning_calls(self.tuning, plan, self.learnt, self.scored) for plan in plans)

    def items(self, plans: Sequence[Plan], advance: Advance) -> pd.DataFrame:
        """What is answered to every scored example under every plan."""
        parts = [
            part.assign(plan=str(plan))
            for plan, answers in zip(plans, self._answers(plans, advance), strict=True)
            for part in _rows(self.task, answers)
        ]
        named = {"task": self.task.name, "version": self.task.version, "requests": self.asked}
        rows = pd.concat(parts, ignore_index=True)
        rows = rows.assign(**model_columns(self.model), **named, seed=self.seed)
        places = self.task.scored.rows.tolist()
        cut = dict(zip(places, self.scored.truncated.tolist(), strict=True))
        return item_table(rows.assign(truncated=rows["item"].map(cut)))

    def _answers(
        self, plans: Sequence[Plan], advance: Advance
    ) -> list[Float[np.ndarray, " question"]]:
        if self.tuning is None:
            return self._of_heads(plans, advance)
        return [self._of_copy(plan, self.tuning, advance) for plan in plans]

    def _of_heads(
        self, plans: Sequence[Plan], advance: Advance
    ) -> list[Float[np.ndarray, " question"]]:
        """Features under all plans, then a head for each."""
        trained, asked = (
            final_features(self.model, plans, part, self.pool, advance)
            for part in (self.learnt, self.scored)
        )
        return [
            _answers(self.task, features, questions, self.seed)
            for features, questions in zip(trained, asked, strict=True)
        ]

    def _of_copy(
        self, plan: Plan, tuning: Tuning, advance: Advance
    ) -> Float[np.ndarray, " question"]:
        found = tuned_answers(
            self.model, plan, self.task, self.learnt, self.scored, self.pool, self.seed, tuning,
            advance,
        )  # fmt: skip
        # A model with hooks is held in circles, and several dead copies would fill the memory.
        gc.collect()
        return found


def _answers(
    task: Examples,
    features: Float[np.ndarray, "text d_model"],
    questions: Float[np.ndarray, "question d_model"],
    seed: int,
) -> Float[np.ndarray, " question"]:
    """A head's answers; NaN to what is not finite, and to all where what it learns from is not."""
    answers = np.full(len(task.scored), np.nan)
    if not np.isfinite(features).all():
        return answers
    head = fitted(features, task.train.right, len(task.classes), seed)
    known = np.isfinite(questions).all(axis=1)
    if known.any():
        answers[known] = head.answers(questions[known])
    return answers


def _rows(task: Examples, answers: Float[np.ndarray, " question"]) -> list[pd.DataFrame]:
    """What each metric of the task says of each answer."""
    right, unknown = task.scored.right, np.isnan(answers)
    alone = np.where(unknown, np.nan, answers == right)
    nothing = np.full(len(right), np.nan)
    return [
        pd.DataFrame(
            {
                "metric": metric,
                "item": task.scored.rows,
                "value": alone if metric == "acc" else answers,
                "reference": nothing if metric == "acc" else right,
                "chance": _chance(task, metric),
                "aggregation": METRICS[metric],
                "higher_is_better": True,
            }
        )
        for metric in task.metrics
    ]


def _chance(task: Examples, metric: str) -> Float[np.ndarray, " question"]:
    """What is reached by always answering the majority of what is learnt from, item by item."""
    right = task.scored.right
    if metric not in ("acc", "f1"):
        return np.zeros(len(right))
    values, counts = np.unique(task.train.right, return_counts=True)
    hit = right == values[counts.argmax()]
    if metric == "acc":
        return np.asarray(hit, dtype=float)
    share = hit.mean() if values[counts.argmax()] == 1 else 0.0
    return np.full(len(right), 2 * share / (1 + share))
