"""Benchmarks under many plans at once: lm-eval's tasks and metrics, our execution."""

from .evaluator import evaluate as evaluate
from .evaluator import results as results
from .evaluator import score_items as score_items
from .harness.builtin import PROBES as PROBES
from .harness.builtin import WRITTEN_PROBES as WRITTEN_PROBES
from .harness.own import OwnTask as OwnTask
from .harness.own import task as task
from .pace import seconds_needed as seconds_needed
from .planned import PlannedLM as PlannedLM
from .questions import Questions as Questions
from .questions import passages as passages
from .questions import prepare as prepare
from .scoring import time_per_call as time_per_call
