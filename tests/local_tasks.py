"""Local task data in the hub's layout, and what stock lm-eval makes of them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from transformer_lens.model_bridge import TransformerBridge

from painters_interp import Plan, applied
from painters_interp.evaluation.harness.process import quiet_lm_eval
from painters_interp.evaluation.harness.tasks import task_manager

Items = list[dict[str, Any]]


def write(folder: Path, data: dict[str, Items]) -> Path:
    """Write `data`, keyed by "task/split", as JSON lines; returns `folder`."""
    for name, items in data.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return folder


def stock_tasks(
    data: Path, names: Iterable[str], cache: Path, num_fewshot: int | None = None
) -> dict[str, Any]:
    """Tasks as lm-eval loads them from `data` through `cache`, without any code of ours."""

    def local(name: str) -> dict[str, Any]:
        files = {path.stem: str(path) for path in (data / name).glob("*.jsonl")}
        changes: dict[str, Any] = {"task": name, "dataset_path": "json", "dataset_name": None}
        changes["dataset_kwargs"] = {"data_files": files}
        splits = {"training_split": "train", "validation_split": "validation"}
        return changes | {key: None for key, split in splits.items() if split not in files}

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = str(cache)
    try:
        with quiet_lm_eval():
            group = {"group": "local", "task": [local(name) for name in names]}
            tasks = dict(task_manager(everything=True).load([group]))
    finally:
        datasets.config.HF_DATASETS_CACHE = before
    if num_fewshot is not None:
        for task in tasks["tasks"].values():
            task.set_config("num_fewshot", num_fewshot)
    return tasks


def stock_results(
    model: TransformerBridge,
    tasks: dict[str, Any],
    plan: Plan | str,
    limit: int | None = None,
    cache: str = "exact",
    batch_size: int = 1,
) -> dict[str, Any]:
    """lm-eval's own evaluation with its own HFLM, while `plan` is applied."""
    for task in tasks["tasks"].values():
        task.set_fewshot_seed(0)  # every evaluation draws shots, from where the last one stopped
    with quiet_lm_eval(), applied(model, plan, cache=cache):
        lm = HFLM(pretrained=model.original_model, tokenizer=model.tokenizer, batch_size=batch_size)
        found: dict[str, Any] = evaluate(lm=lm, task_dict=tasks, limit=limit, bootstrap_iters=0)
    return found


def stock_responses(results: dict[str, Any], task: str) -> list[Any]:
    """The response to every request of a task, items in order."""
    samples = results["samples"][task]
    once = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    return [answer for sample in once for [answer] in sample["resps"]]


def stock_metrics(results: dict[str, Any], task: str) -> dict[str, float]:
    """Every metric of a task, named as in our tables."""
    found = {}
    for key, value in results["results"][task].items():
        name, comma, key_filter = key.partition(",")
        if comma and not name.endswith("_stderr"):
            found[name if key_filter == "none" else f"{name},{key_filter}"] = float(value)
    return found
