"""What is evaluated is left bit for bit: weights, ties, modes, tokenizer, and the whole process."""

import logging
import sys
import threading

import pytest
import tiny
import torch
from lm_eval import utils as lm_eval_utils
from transformer_lens.model_bridge import TransformerBridge

import painters_interp as painters
from painters_interp.errors import TaskError
from painters_interp.evaluation import PlannedLM, prepare
from painters_interp.evaluation.harness import Instance

PLANS = {"intact": "0-5", "skip": "0 2-5"}


@pytest.fixture
def gpt2(tiny_folder) -> TransformerBridge:
    return tiny.build("gpt2", torch.float32, tiny_folder)


def scores(model) -> list[float]:
    return painters.evaluate(model, PLANS, "probe_facts", limit=3, metrics="kl")["value"].tolist()


def test_a_head_that_has_become_its_own_stays_so(gpt2):
    head = gpt2.original_model.get_output_embeddings()
    embedding = gpt2.original_model.get_input_embeddings().weight
    with torch.no_grad():
        head.weight = torch.nn.Parameter(head.weight * 2)
    before, tokens = head.weight.clone(), tiny.tokens(1, 8)
    logits = gpt2(tokens)
    scores(gpt2)
    PlannedLM(gpt2, "0-2 5")
    assert torch.equal(head.weight, before)
    assert head.weight is not embedding
    assert torch.equal(gpt2(tokens), logits)


def test_measured_in_eval_mode_and_left_as_it_was(gpt2):
    expected = scores(gpt2)
    for module in gpt2.original_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    gpt2.train()
    gpt2.blocks[1].eval()
    modes = [module.training for module in gpt2.modules()]
    assert scores(gpt2) == pytest.approx(expected, rel=1e-5)  # training, on the hooked face
    assert painters.check(gpt2, "0 2-5").ok
    lm = PlannedLM(gpt2, "0 2-5", batch_size=2)
    ask = [Instance("loglikelihood", {}, ("ab", " cd"), 0)]
    assert lm.loglikelihood(ask, disable_tqdm=True) == lm.loglikelihood(ask, disable_tqdm=True)
    assert [module.training for module in gpt2.modules()] == modes


def test_measured_in_the_models_own_number_format(gpt2):
    def measured():
        texts = ["abc", "some more letters"]
        found = painters.similarity(gpt2, texts, "cosine")["cosine"].matrix.to_numpy().tolist()
        divergence = painters.kl_to_intact(gpt2, "0 2-5", texts)["kl"].tolist()
        written = painters.generate(gpt2, "0 2-5", texts, 3)["text"].tolist()
        return found, divergence, written, scores(gpt2)

    expected = measured()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert measured() == expected
        assert painters.check(gpt2, "0 2-5").ok


def test_threads_measure_one_model_one_after_the_other(gpt2):
    texts = ["abc", "some more letters", "and so on"]
    work = [
        lambda: painters.kl_to_intact(gpt2, "0 2-5", texts)["kl"].tolist(),
        lambda: painters.generate(gpt2, "5-0", texts, 3)["text"].tolist(),
        lambda: scores(gpt2),
        lambda: painters.token_logprobs(gpt2, "0 3-5", tiny.tokens()).tolist(),
    ]
    expected, found = [ask() for ask in work], [None] * len(work)

    def ask(place):
        found[place] = work[place]()

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


class TestWithoutSpecialTokens:
    @pytest.fixture
    def bare(self, tiny_folder) -> TransformerBridge:
        model = tiny.build("llama", torch.float32, tiny_folder)
        for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
            setattr(model.tokenizer, name, None)
        return model

    def write(self, lm: PlannedLM, texts: list[str]) -> list[str]:
        settings = {"until": ["\n"], "max_gen_toks": 4}
        asked = [
            Instance("generate_until", {}, (t, dict(settings)), i) for i, t in enumerate(texts)
        ]
        return lm.generate_until(asked, disable_tqdm=True)

    def test_ragged_prompts_are_continued_as_alone(self, bare):
        lm = PlannedLM(bare, "0-2 5", batch_size=2)
        texts = ["abc", "abcabcabc"]
        assert self.write(lm, texts) == [self.write(lm, [text])[0] for text in texts]
        assert bare.tokenizer.pad_token_id is None

    def test_what_needs_a_first_token_is_refused(self, bare):
        lm = PlannedLM(bare, "0-5")
        for run, args in (
            (lm.loglikelihood, ("", "abc")),
            (lm.loglikelihood_rolling, ("abc def",)),
        ):
            with pytest.raises(TaskError, match="no beginning- or end-of-text token that"):
                run([Instance(run.__name__, {}, args, 0)], disable_tqdm=True)

    def test_texts_end_at_the_tasks_own_stop_strings(self, bare):
        items = [{"question": text, "answer": "x"} for text in ("abc", "abcabcabc")]
        lengths = painters.task("mine", items, "generate_until", _length, max_new_tokens=3)
        assert painters.evaluate(bare, "0-2 5", lengths)["value"].tolist() == [3.0, 3.0]

    def test_choices_after_a_context_need_none(self, bare):
        assert all(value == value for value in scores(bare))


def _length(item, text):
    return len(text)


def test_shots_that_a_task_does_not_take_are_said(tiny_folder):
    model = tiny.shared("llama", torch.float32, tiny_folder)
    with pytest.warns(UserWarning, match=r"'probe_facts' is of zero shots .*--num-fewshot 2"):
        prepare(model, "probe_facts", limit=1, num_fewshot=2)


def test_threads_may_evaluate_side_by_side(tiny_folder):
    models = [tiny.build(family, torch.float32, tiny_folder) for family in ("llama", "gpt2")]
    expected = [scores(model) for model in models]
    logger, found, errors = logging.getLogger("lm_eval"), {}, []
    before = sys.stderr, logger.level, lm_eval_utils.env.from_string

    def run(index: int) -> None:
        try:
            found[index] = [scores(models[index]) for _ in range(3)]
        except Exception as error:  # reported below: a thread has nobody else to tell
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [found[index] for index in range(2)] == [[values] * 3 for values in expected]
    assert (sys.stderr, logger.level, lm_eval_utils.env.from_string) == before


SHORT, LONG = "a b", "a long way " * 9
CUT = {
    "multiple_choice": [{"question": SHORT, "choices": ["x", "y"], "gold": 0},
                        {"question": SHORT, "choices": [LONG[:30], "y"], "gold": 0},
                        {"question": LONG, "choices": ["x", "y"], "gold": 0}],
    "generate_until": [{"question": SHORT, "answer": "x"}, {"question": LONG, "answer": "x"},
                       {"question": LONG[:30], "answer": "x"}],
    "loglikelihood_rolling": [{"text": SHORT}, {"text": LONG}],  # in windows: nothing is lost
}  # fmt: skip
IS_CUT = {"choices": [False, True, True], "writes": [False, True, True], "rolls": [False] * 2}


def test_what_is_cut_to_the_context_is_said_and_marked_item_by_item(tiny_folder):
    model = tiny.build("llama", torch.float32, tiny_folder, max_position_embeddings=32)
    kinds = zip(IS_CUT, CUT.items(), strict=True)
    tasks = [painters.task(name, items, kind, max_new_tokens=4) for name, (kind, items) in kinds]
    with pytest.warns(UserWarning, match=r"4 of 8 items are longer than the context of"):
        asked = painters.evaluation.prepare(model, tasks)
    items = painters.evaluation.score_items(model, ["0-4"], asked)
    for (task, _, _), rows in items.groupby(["task", "plan", "metric"], observed=True):
        assert rows.set_index("item")["truncated"].sort_index().tolist() == IS_CUT[task]
    table = painters.evaluate(model, ["0-4"], asked)
    wanted = [sum(IS_CUT[task]) for task in table["task"]]
    assert table["n_truncated"].tolist() == wanted


def test_kl_reads_long_texts_in_pieces_and_cuts_none(tiny_folder):
    model = tiny.build("llama", torch.float32, tiny_folder, max_position_embeddings=32)
    task = painters.task("writes", CUT["generate_until"][1:2], "generate_until", max_new_tokens=4)
    with pytest.warns(UserWarning, match="in pieces"):
        table = painters.evaluate(model, ["0-4"], task, metrics="kl").set_index("metric")
    assert table["n_truncated"].to_dict() == {"exact_match": 1, "kl": 0}
