"""PlannedLM: lm-eval's own evaluation of a plan, with its provenance and its response cache."""

from pathlib import Path
from typing import Any

import lm_eval
import pytest
import tiny
import torch
from lm_eval.models.huggingface import HFLM
from local_tasks import stock_metrics
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied, evaluate
from painters_interp.errors import PlanError, TaskError, UnsupportedModelError
from painters_interp.evaluation import PROBES, PlannedLM
from painters_interp.evaluation.harness.tasks import task_manager

N = tiny.N_LAYERS
PLAN = "0 (1-4)*2 5"
TASKS = list(PROBES[:3])


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> TransformerBridge:
    return tiny.build("llama", torch.float32, tiny_folder)


def simply(lm: HFLM, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = lm_eval.simple_evaluate(
        model=lm,
        tasks=TASKS,
        limit=3,
        task_manager=task_manager(everything=False),
        bootstrap_iters=0,
        **options,
    )
    return found


def test_simple_evaluate_gives_what_evaluate_gives(llama):
    for plan in ("0-5", PLAN):
        found = simply(PlannedLM(llama, plan, batch_size=4))
        table = evaluate(llama, [plan], TASKS, limit=3, intact=False)
        for task, rows in table.groupby("task"):
            expected = dict(zip(rows["metric"], rows["value"], strict=True))
            assert stock_metrics(found, str(task)) == pytest.approx(expected, rel=1e-5)


def test_its_options_are_hflms(llama):
    lm = PlannedLM(llama, PLAN, batch_size=3, max_length=50)
    assert (lm.batch_size, lm.max_length) == (3, 50)


def test_the_model_is_intact_between_requests(llama):
    tokens = tiny.tokens()
    with torch.no_grad():
        before = llama(tokens)
        lm = PlannedLM(llama, PLAN)
        simply(lm)
        assert torch.equal(llama(tokens), before)


def test_lm_eval_reports_the_plan_and_the_cache(llama):
    config = simply(PlannedLM(llama, "0 1 2 3 4 5", cache="averaged"))["config"]
    assert config["painters_plan"] == "0-5"
    assert config["painters_cache"] == "averaged"
    assert config["painters_model"] == "tiny-llama"
    assert config["painters_dtype"] == "float32"


class TestResponseCache:
    """lm-eval's key of a response is the request alone; a file is one plan's."""

    def test_lm_eval_itself_answers_one_plan_with_anothers_responses(self, llama, tmp_path):
        stock = HFLM(pretrained=llama.original_model, tokenizer=llama.tokenizer)
        found = []
        for plan in ("0-5", PLAN):
            with applied(llama, plan):
                found.append(simply(stock, use_cache=str(tmp_path / "shared"))["results"])
        assert found[0] == found[1]

    def test_the_same_plan_reads_its_responses_again(self, llama, tmp_path, monkeypatch):
        path = str(tmp_path / "mine")
        first = simply(PlannedLM(llama, PLAN), use_cache=path)
        monkeypatch.setattr(HFLM, "loglikelihood", lambda *_, **__: pytest.fail("asked again"))
        again = simply(PlannedLM(llama, PLAN), use_cache=path)
        assert again["results"] == first["results"]
        assert again["config"]["painters_plan"] == PLAN

    @pytest.mark.parametrize(
        "other", [("0-5", "exact"), (PLAN, "averaged")], ids=["plan", "decoding"]
    )
    def test_another_is_refused(self, llama, tmp_path, other):
        path = str(tmp_path / "mine")
        simply(PlannedLM(llama, PLAN), use_cache=path)
        message = r"mine_rank0\.db holds answers of another model, plan or decoding.* use_cache a"
        with pytest.raises(TaskError, match=message):
            simply(PlannedLM(llama, *other), use_cache=path)

    def test_so_are_another_tokenizer_and_hooks(self, tiny_folder, tmp_path):
        model, path = tiny.build("llama", torch.float32, tiny_folder), str(tmp_path / "mine")
        simply(PlannedLM(model, PLAN), use_cache=path)
        rules = model.tokenizer.backend_tokenizer
        before, rules.post_processor = rules.post_processor, None
        with pytest.raises(TaskError, match="holds answers of another model"):
            simply(PlannedLM(model, PLAN), use_cache=path)
        rules.post_processor = before
        model.add_hook("blocks.2.hook_resid_post", lambda stream, hook: stream * 0.5)
        with pytest.raises(UnsupportedModelError, match=r"hooks at blocks\.2\."):
            simply(PlannedLM(model, PLAN), use_cache=path)

    def test_so_is_a_file_that_stock_lm_eval_has_filled(self, llama, tmp_path):
        path = str(tmp_path / "stock")
        stock = HFLM(pretrained=llama.original_model, tokenizer=llama.tokenizer)
        simply(stock, use_cache=path)
        with pytest.raises(TaskError, match="holds answers of another model"):
            simply(PlannedLM(llama, "0-5"), use_cache=path)


class TestRefusals:
    def test_a_plan_for_another_depth(self, llama):
        with pytest.raises(PlanError, match="is for 7 layers; tiny-llama has 6"):
            PlannedLM(llama, Plan.parse("0-6", 7))

    def test_a_cache_that_does_not_exist(self, llama):
        with pytest.raises(PlanError, match="cache='mean' is not one of exact, averaged"):
            PlannedLM(llama, PLAN, cache="mean")

    def test_caches_that_cannot_be_averaged(self, tiny_folder):
        gemma = tiny.build("gemma3", torch.float32, tiny_folder)
        with pytest.raises(UnsupportedModelError, match="caches cannot be averaged"):
            PlannedLM(gemma, PLAN, cache="averaged")

    def test_a_plan_inside_a_plan(self, llama):
        with pytest.raises(PlanError, match="a plan is already applied"), applied(llama, "0-5"):
            PlannedLM(llama, PLAN)
