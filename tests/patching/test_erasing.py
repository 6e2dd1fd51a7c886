"""A token whose state says nothing any more, against hooks that exchange it."""

from typing import Any

import numpy as np
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp import patching
from painters_interp.errors import UnsupportedModelError

TEXTS = ["abc abd ab", "the cat sat on a mat", "zz ab"]
N = tiny.N_LAYERS


def points() -> list[str]:
    return ["blocks.0.hook_resid_pre", *(f"blocks.{k}.hook_resid_post" for k in range(N))]


def test_the_token_in_the_middle_is_exchanged_for_the_mean_of_all(decoder: Any) -> None:
    found = patching.erasure(decoder, TEXTS)
    states = [next(iter(painters.capture(decoder, text))).states[:, 0] for text in TEXTS]
    means = torch.cat([of[:, 1:] for of in states], dim=1).mean(dim=1)
    for place, text in enumerate(TEXTS):
        tokens = torch.tensor([decoder.tokenizer(text)["input_ids"]])
        at = (tokens.shape[1] - 1) // 2
        with torch.no_grad():
            intact = decoder(tokens)[0, at + 1 :].log_softmax(-1)
        for state, point in enumerate(points()):

            def erase(stream: Any, hook: Any, state: int = state, at: int = at) -> Any:
                stream = stream.clone()
                stream[0, at] = means[state]
                return stream

            with torch.no_grad():
                logits = decoder.run_with_hooks(tokens, fwd_hooks=[(point, erase)])
            other = logits[0, at + 1 :].log_softmax(-1)
            kl = (intact.exp() * (intact - other)).sum(-1).mean()
            assert found.per_document[place, state] == pytest.approx(float(kl), rel=1e-5)
    assert (found.curve[:N] > 0).all()
    assert found.curve[N] == 0


def test_a_text_has_the_same_number_whatever_stands_beside_it(decoder: Any) -> None:
    both, again = patching.erasure(decoder, TEXTS), patching.erasure(decoder, TEXTS[::-1])
    np.testing.assert_allclose(both.per_document, again.per_document[::-1], atol=1e-8)


def test_hooks_act(decoder: Any) -> None:
    alone = patching.erasure(decoder, TEXTS).per_document
    with decoder.hooks(fwd_hooks=[("blocks.3.hook_resid_post", lambda stream, hook: 2 * stream)]):
        assert not np.allclose(patching.erasure(decoder, TEXTS).per_document, alone)
    np.testing.assert_array_equal(patching.erasure(decoder, TEXTS).per_document, alone)


def test_what_predicts_no_next_token_is_refused(tiny_folder: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="masked"):
        patching.erasure(tiny.shared("bert", torch.float32, tiny_folder), TEXTS)


def test_states_that_are_no_numbers_say_nothing(tiny_folder: Any) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    with torch.no_grad():
        model.blocks[3].mlp.out.weight[0, 0] = torch.nan
    with pytest.warns(UserWarning, match="erasure is NaN for 3 of 3 texts"):
        assert np.isnan(patching.erasure(model, TEXTS).per_document[:, 4]).all()
