"""From the texts of requests to the tokens of one model, as lm-eval makes them."""

from collections.abc import Iterator, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformer_lens.model_bridge import TransformerBridge

from ...errors import TaskError
from .language_model import BridgedLM

TokenPair = tuple[list[int], list[int]]  # tokens of a context and of what follows it


class Tokens(BridgedLM):
    """lm-eval's own tokenisation of requests, and nothing run."""

    def _loglikelihood_tokens(
        self, requests: list[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> Any:
        for (text, continuation), context, tokens in requests:
            if not context:
                raise TaskError(f"context {text!r} has no tokens, so nothing predicts what follows")
            if not 0 < len(tokens) <= self.max_length:
                raise TaskError(
                    f"continuation {continuation[:40]!r} has {len(tokens)} tokens; "
                    f"1 to {self.max_length} can be scored"
                )
        return [(context, tokens) for _, context, tokens in requests]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> Any:
        """(context tokens, continuation tokens) of every request."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def windows(self, text: str) -> Iterator[TokenPair]:
        """A text as lm-eval rolls over it: what each window predicts, and the context before."""
        rolling = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        )
        yield from map(make_disjoint_window, rolling)


def tokens_of(model: TransformerBridge, texts: Sequence[tuple[str, str]]) -> list[TokenPair]:
    """Contexts and what follows them as lm-eval tokenises them for `model`."""
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in texts]
    pairs: list[TokenPair] = tokenizer_of(model).loglikelihood(requests, disable_tqdm=True)
    return pairs


def tokenizer_of(model: TransformerBridge) -> Tokens:
    """lm-eval's way to tokens with the tokenizer and the context of `model`."""
    return Tokens(model)
