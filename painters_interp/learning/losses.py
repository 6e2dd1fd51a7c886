"""What healing regains: losses on texts unseen, of the intact model, before and after."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from .. import statistics
from ..plans import Plan
from ..statistics import LEVEL, RESAMPLES
from ..strategies import full

_STATES = ("intact", "before", "after")


class Judged:
    """What a model lost under a plan, before it learnt to live with that and after.

    `documents` has a row for each held-out text: document, tokens (predicted ones), and the sum of
    their losses in nats for the intact model, the plan before and after.
    """

    plan: Plan
    documents: pd.DataFrame

    def table(
        self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
    ) -> pd.DataFrame:
        """The losses of the intact model, before and after, in nats per predicted token.

        One row each: state, plan, loss, low, high, above_intact, above_low, above_high, documents,
        tokens. Intervals are over held-out texts, drawn for all rows together, so that how far a
        loss lies above that of the intact model is a paired difference. NaN for fewer than 4.
        """
        losses, drawn = self.resampled(resamples, seed)
        low, high = statistics.percentiles(drawn, level)
        above_low, above_high = statistics.percentiles(drawn - drawn[:, :1], level)
        intact = str(full(self.plan.n_layers))
        return pd.DataFrame(
            {
                "state": _STATES,
                "plan": [intact, str(self.plan), str(self.plan)],
                "loss": losses,
                "low": low,
                "high": high,
                "above_intact": losses - losses[0],
                "above_low": above_low,
                "above_high": above_high,
                "documents": len(self.documents),
                "tokens": int(self.documents["tokens"].sum()),
            }
        )

    def recovered(
        self, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
    ) -> tuple[float, float, float]:
        """The share of the damage that is healed, and its interval over texts: value, low, high.

        1 where the loss is again that of the intact model, above 1 where it is lower: then texts
        of this kind were learnt, too, which the intact model trained alike (`heal` under the full
        plan) tells apart. NaN where the plan did no damage that is beyond doubt.
        """
        losses, drawn = self.resampled(resamples, seed)
        (value,), shares = _share(losses[None]), _share(drawn)
        low, high = statistics.percentiles(shares, level)
        return float(value), float(low), float(high)

    def resampled(
        self, resamples: int = RESAMPLES, seed: int = 0
    ) -> tuple[Float[np.ndarray, " state"], Float[np.ndarray, "resample state"]]:
        """The losses of `table`, and the same on bootstrap samples of the held-out texts.

        The samples are those of every other plan that was judged on as many texts.
        """
        sums = self.documents[[*_STATES]].to_numpy(dtype=float)
        tokens = self.documents["tokens"].to_numpy(dtype=float)
        drawn = statistics.resampled_ratio(sums, tokens, resamples, seed)
        return sums.sum(axis=0) / tokens.sum(), drawn


@dataclass(frozen=True, eq=False)
class Losses(Judged):
    """The losses alone, without the model that had them."""

    plan: Plan
    documents: pd.DataFrame


def _share(losses: Float[np.ndarray, "resample state"]) -> Float[np.ndarray, " resample"]:
    intact, before, after = losses.T
    share: np.ndarray = np.divide(
        before - after,
        before - intact,
        out=np.full(len(losses), np.nan),
        where=before > intact,
    )
    return share
