"""Figures for publication, drawn from tables alone: a saved table is redrawn without a model."""

from . import style as style
from .curves import single_layer_curves as single_layer_curves
from .curves import size_curves as size_curves
from .curves import task_curves as task_curves
from .curves import variant_curves as variant_curves
from .decoding import decoding_curves as decoding_curves
from .depth import damage_scatter as damage_scatter
from .depth import depth_curves as depth_curves
from .export import FORMATS as FORMATS
from .export import save as save
from .grids import grid_heatmap as grid_heatmap
from .heatmaps import heatmap as heatmap
from .heatmaps import loop_heatmap as loop_heatmap
from .heatmaps import similarity_heatmap as similarity_heatmap
from .heatmaps import similarity_panel as similarity_panel
from .patching import crossing_heatmap as crossing_heatmap
from .patching import effects_heatmap as effects_heatmap
from .patching import patching_heatmap as patching_heatmap
from .readers import reader_heatmap as reader_heatmap
from .stitching import stitching_curves as stitching_curves
from .stitching import stitching_heatmap as stitching_heatmap
from .style import panel_letters as panel_letters
from .style import publication as publication
from .venues import VENUES as VENUES
