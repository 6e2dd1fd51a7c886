"""Texts decoded token by token under a plan."""

from .forced import forced_logprobs as forced_logprobs
