"""What a plan costs a model without a task: KL to the intact model, and what predicts it."""

from .divergence import calls_needed as calls_needed
from .divergence import document_divergences as document_divergences
from .divergence import kl_to_intact as kl_to_intact
from .divergence import resampled_kl as resampled_kl
from .losses import document_losses as document_losses
from .prediction import Prediction as Prediction
from .prediction import predict_damage as predict_damage
from .prediction import relate as relate
