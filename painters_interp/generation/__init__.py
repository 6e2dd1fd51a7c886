"""Texts written token by token under plans: many plans and prompts together, and given texts."""

from .continuations import generate as generate
from .ending import Ending as Ending
from .forced import forced_logprobs as forced_logprobs
from .forced import forced_under as forced_under
from .likeliest import next_tokens as next_tokens
from .routes import texts_under as texts_under
from .writing import Written as Written
