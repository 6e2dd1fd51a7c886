from .copies import copied as copied
from .copies import refuse_copying as refuse_copying
from .copies import stock_copy as stock_copy
from .device import device_of as device_of
from .device import lacks_float64 as lacks_float64
from .device import memory_of as memory_of
from .device import numbers as numbers
from .device import widened as widened
from .door import Model as Model
from .door import as_model as as_model
from .door import load_model as load_model
from .edits import edited_weight as edited_weight
from .fingerprint import identity as identity
from .fingerprint import tokenizer_digest as tokenizer_digest
from .fingerprint import weights_digest as weights_digest
from .headless import has_head as has_head
from .headless import refuse_headless as refuse_headless
from .nulls import random_weights as random_weights
from .sources import catalog as catalog
from .sources import fetch as fetch
from .standing import StandsForModel as StandsForModel
from .standing import of_planned as of_planned
from .standing import under_plan as under_plan
from .wrapping import wrapped as wrapped

__all__: list[str]
