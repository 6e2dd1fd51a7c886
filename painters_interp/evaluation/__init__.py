"""Benchmarks under many plans at once: lm-eval's tasks and metrics, our execution."""

from .evaluating import evaluate as evaluate
from .evaluating import results as results
from .evaluating import score_items as score_items
from .planned import PlannedLM as PlannedLM
from .questions import Questions as Questions
from .questions import prepare as prepare
from .scoring import time_per_call as time_per_call
from .tasks import PROBES as PROBES
from .tasks import WRITTEN_PROBES as WRITTEN_PROBES
