"""The only door to lm-eval: its tasks, requests, tokens and metrics.

What other rooms need of lm-eval itself, types above all, they take from here.
"""

from lm_eval.api.instance import Instance as Instance
from lm_eval.api.model import CacheHook as CacheHook
from lm_eval.api.task import Task as Task
from lm_eval.models.utils import normalize_gen_kwargs as normalize_gen_kwargs

from .language_model import BridgedLM as BridgedLM
