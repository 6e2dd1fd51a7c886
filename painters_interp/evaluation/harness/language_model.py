"""lm-eval's HFLM around a hooked model: its tokenisation, and a model left as it was."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from ...errors import TaskError
from ...models import device_of
from .process import quiet_lm_eval


class BridgedLM(HFLM):  # type: ignore[misc]
    """HFLM for a bridge, whose weights, mode and tokenizer stay as they are.

    HFLM itself switches a model to eval mode, ties its head to the embedding again (also one that
    has become its own), and may add a pad token to the tokenizer. A tokenizer without special
    tokens is no reason to fail: any token pads what a mask hides, texts end at the task's own stop
    strings, and only what needs a token before its first one is refused.
    """

    _made = False

    def __init__(self, bridge: TransformerBridge, **options: Any) -> None:
        original, tokenizer = bridge.original_model, bridge.tokenizer
        self._vocabulary = original.get_input_embeddings().weight.shape[0]
        if tokenizer.pad_token_id is None:
            tokenizer = deepcopy(tokenizer)  # HFLM gives it one
        with quiet_lm_eval():  # it warns that a ready model ignores loading options
            super().__init__(pretrained=original, tokenizer=tokenizer, **options)
        self._device, self._name, self._made = device_of(bridge), bridge.cfg.model_name, True

    @property
    def model(self) -> Any:
        """The Hugging Face model; while HFLM is being made, nothing that it could change."""
        return self._model if self._made else None

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that begins with what is scored: BOS, else EOS.

        Raises TaskError where the tokenizer has neither, or one that the model has no embedding of.
        """
        token: int | None = super().prefix_token_id
        if token is None or token >= self._vocabulary:
            raise TaskError(
                f"the tokenizer of {self._name} has no beginning- or end-of-text token that the "
                "model knows, and this task scores texts from their first token on; give it one "
                "(tokenizer.bos_token), or choose tasks whose items have a context"
            )
        return token

    def tok_encode(self, string: str, *args: Any, **options: Any) -> list[int]:
        """Token ids of a text, as HFLM makes them."""
        token: int | None = super().prefix_token_id
        # HFLM would look whether the text begins with it.
        if token is None or token >= self._vocabulary:
            left = options.pop("left_truncate_len", None)
            ids = self.tokenizer.encode(string, *args, **options)
            return [*ids[-left:]] if left else [*ids]
        return [*super().tok_encode(string, *args, **options)]

    def tok_batch_encode(self, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """Token ids of padded texts and their mask; under the mask stands a token that exists."""
        ids, mask = super().tok_batch_encode(*args, **options)
        return ids.masked_fill(mask == 0, 0) if ids.max() >= self._vocabulary else ids, mask

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> Any:
        """Text of token ids; none of no token: of a tokenizer without an end-of-text token."""
        return None if tokens is None else super().tok_decode(tokens, skip_special_tokens)

    def chat_template_of_model(self) -> Callable[..., str]:
        """From the turns of a chat to a prompt; TaskError where the tokenizer has no template."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise TaskError(
                f"the tokenizer of {self._name} has no chat template; leave --chat (chat=) out, or "
                "give it one (tokenizer.chat_template)"
            )
        template: Callable[..., str] = self.apply_chat_template
        return template
