"""`PlannedLM`: a model under a plan as lm-eval's own kind of model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import TaskError
from ..execution import applied, as_plan, measuring, refuse_hooks_kept, refuse_unable
from ..models import Model, as_model, identity, tokenizer_digest, weights_digest
from ..plans import Plan
from .harness import BridgedLM, CacheHook, Instance

_OWNER = "painters_interp: answers of"  # the entry of a response cache that says whose it is


class PlannedLM(BridgedLM):
    """lm-eval's HFLM whose every request runs under `plan`, in eval mode.

    In between, the model is as it was.

        lm_eval.simple_evaluate(model=PlannedLM(bridge, "0-12 17-29"), tasks=["gsm8k"])

    `cache="averaged"` generates with the paper's averaged cache; log-likelihoods are computed in
    one pass and do not depend on it. Other options (`batch_size`, `max_length`, ...) are HFLM's.
    lm-eval reports the plan and the cache under `config`. Raises what `applied` raises, at once.
    """

    def __init__(
        self,
        model: Model,
        plan: Plan | str,
        cache: str = "exact",
        **options: Any,
    ) -> None:
        model = as_model(model)
        self.bridge, self.plan, self.decoding = model, as_plan(plan, model), cache
        refuse_unable(model, [self.plan], cache)  # now, and not with the first request
        super().__init__(model, **options)

    @contextmanager
    def _planned(self) -> Iterator[None]:
        with measuring(self.bridge), applied(self.bridge, self.plan, cache=self.decoding):
            yield

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """(Log-likelihood in nats, is greedy) of every request, under the plan."""
        with self._planned():
            found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm)
        return found

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood in nats of every text, under the plan."""
        with self._planned():
            found: list[float] = super().loglikelihood_rolling(requests, disable_tqdm)
        return found

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after every prompt, under the plan."""
        with self._planned():
            found: list[str] = super().generate_until(requests, disable_tqdm)
        return found

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval notes about a model, with the model's identity, the plan and the cache."""
        return {
            **super().get_model_info(),
            **{f"painters_{name}": fact for name, fact in self._identity().items()},
        }

    def _identity(self) -> dict[str, Any]:
        return {**identity(self.bridge), "plan": str(self.plan), "cache": self.decoding}

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Accept lm-eval's response cache (`use_cache`) for this model, plan and decoding alone.

        The model is known by its weights and its tokenizer, which are hashed here.

        lm-eval's keys hold the request and nothing of the model, so a file that two plans shared
        would answer one with the other's responses. Raises TaskError for another's file, and
        UnsupportedModelError for hooks on the model.
        """
        stored = cache_hook.dbdict
        if stored is not None:
            refuse_hooks_kept(self.bridge)
            digests = weights_digest(self.bridge), tokenizer_digest(self.bridge.tokenizer)
            mine = f"{_OWNER} {self._identity()}, weights {digests[0]}, tokenizer {digests[1]}"
            if stored.get(_OWNER, None if len(stored) else mine) != mine:
                raise TaskError(
                    f"the response cache {stored.filename} holds answers of another model, plan or "
                    "decoding, and lm-eval's keys do not tell them apart; give use_cache a path "
                    f"of its own for plan {str(self.plan)!r}, cache {self.decoding!r}"
                )
            stored[_OWNER] = mine
        super().set_cache_hook(cache_hook)
