"""The logit lens over texts against the lens at single places; loops against states by hand."""

from typing import Any

import numpy as np
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp import patching
from painters_interp.errors import UnsupportedModelError
from painters_interp.strategies import damped_block

TEXTS = ["abc abd ab", "the cat sat on a mat", "zz ab"]
N = tiny.N_LAYERS


def states_of(model: Any, text: str, plan: str | None = None) -> torch.Tensor:
    [streams] = painters.capture(model, text, plan)
    return streams.states[:, 0]


def test_every_state_says_what_the_stock_head_makes_of_it(decoder: Any) -> None:
    found = patching.corpus_lens(decoder, TEXTS, frequent=3)
    root = decoder.original_model
    ids = [tokens for text in TEXTS for tokens in decoder.tokenizer(text)["input_ids"]]
    common = torch.tensor(sorted({*ids}, key=lambda t: (-ids.count(t), ids.index(t)))[:3])
    for place, text in enumerate(TEXTS):
        with torch.no_grad():
            lens = root.lm_head(root.model.norm(states_of(decoder, text))).log_softmax(-1)
        final, guess = lens[-1], lens.argmax(-1)
        kl = (final.exp() * (final - lens)).sum(-1)
        answers = lens.gather(-1, guess[-1].expand(N + 1, -1)[..., None])
        top = lens.topk(5).indices
        own = [{*best.tolist()} for best in top[-1]]
        shared = [[len({*s[t].tolist()} & own[t]) / 5 for t in range(len(own))] for s in top]
        expected = {
            "lens_entropy": -(lens.exp() * lens).sum(-1),
            "lens_kl": kl,
            "lens_agreement": guess == guess[-1],
            "lens_overlap": torch.tensor(shared),
            "lens_rank": ((lens > answers).sum(-1) + 1).double().log10(),
            "lens_frequent": torch.isin(guess, common),
        }
        for name, values in expected.items():
            mine = found[name].per_document[place]
            np.testing.assert_allclose(mine, values.double().mean(-1).numpy(), atol=1e-9)
        same = (guess == guess[-1]).numpy()
        settled = np.array([(N + 1) - np.argmin(s[::-1]) if not s.all() else 0 for s in same.T])
        kind = ~torch.isin(guess[-1], common).numpy()
        for which in (0, 1):
            mine, own = found["settled"].per_document[place, which], settled[kind == which] / N
            expected = own.mean() if len(own) else np.nan
            assert mine == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_steps_of_a_loop_are_differences_of_states(decoder: Any, scale: float) -> None:
    found = patching.loop_turns(decoder, TEXTS, 2, 3, times=4, scale=scale)
    plan = damped_block(N, 2, 3, scale, 4)
    places = [2 + k * (2 if scale == 1 else 1) for k in range(5)]
    for place, text in enumerate(TEXTS):
        seen = states_of(decoder, text, str(plan))[places, 1:]
        steps = seen.diff(dim=0)
        sizes = (steps.norm(dim=-1) / seen[:-1].norm(dim=-1)).mean(-1)
        turns = torch.cosine_similarity(steps[1:], steps[:-1], dim=-1).mean(-1)
        np.testing.assert_allclose(found["loop_step"].per_document[place], sizes, atol=1e-9)
        np.testing.assert_allclose(found["loop_turn"].per_document[place, 1:], turns, atol=1e-9)
        assert np.isnan(found["loop_turn"].per_document[place, 0])


def test_what_predicts_no_next_token_has_no_lens(tiny_folder: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="masked"):
        patching.corpus_lens(tiny.shared("bert", torch.float32, tiny_folder), TEXTS)


def test_states_that_are_no_numbers_say_nothing(tiny_folder: Any) -> None:
    model = tiny.build("llama", torch.float32, tiny_folder)
    with torch.no_grad():
        model.blocks[3].mlp.out.weight[0, 0] = torch.nan
    with pytest.warns(UserWarning, match="the logit lens is NaN for 3 of 3 texts"):
        found = patching.corpus_lens(model, TEXTS)
    assert np.isnan(found["lens_agreement"].per_document).all()
