"""What tasks, metrics and measures are called in figures, and how names are fitted into lines."""

import re
import textwrap
from typing import Any, cast

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.mathtext import MathTextParser

from .wishes import WISHES

TASKS = {
    "probe_arithmetic": "arithmetic (probe)",
    "probe_cloze": "cloze (probe)",
    "probe_facts": "facts (probe)",
    "probe_grammar": "grammar (probe)",
    "probe_order": "order (probe)",
    "arc_challenge": "ARC (challenge)",
    "arc_easy": "ARC (easy)",
    "gsm8k": "GSM8K",
    "hellaswag": "HellaSwag",
    "lambada_openai": "LAMBADA",
    "lambada_standard": "LAMBADA (standard)",
    "piqa": "PIQA",
    "winogrande": "WinoGrande",
}
METRICS = {
    "acc": "accuracy",
    "acc_norm": "accuracy (length-normalised)",
    "exact_match": "exact match",
    "f1": "F1",
    "mcc": "Matthews correlation",
}
MEASURES = {
    "cosine": "cosine, per token",
    "cosine_centered": "cosine, centred",
    "cosine_flat": "cosine, flattened (as published)",
    "angular": "angular distance",
    "cka": "CKA, debiased",
    "rsa": "RSA",
    "knn": "mutual nearest neighbours",
    "procrustes": "Procrustes",
    "block_influence": "block influence",
    "residual_norm": "norm of the stream",
    "update_ratio": "update / stream norm",
    "update_cosine": "cosine of update and stream",
    "variance": "variance",
    "effective_rank": "effective rank",
    "linearity": "linearity",
    "depth": "distance from mid-depth",
    "lens_entropy": "entropy of the lens (nats)",
    "lens_kl": "KL, answer to lens (nats)",
    "lens_agreement": "lens and answer agree",
    "lens_overlap": "lens and answer, share of top 5",
    "lens_rank": "rank of the answer (log10)",
    "lens_frequent": "guess is a frequent token",
    "erasure": "KL, a token before erased",
    "loop_step": "step / stream norm",
    "loop_turn": "cosine with the step before",
    "kl": "KL to the intact model",
    "loss": "loss of the next tokens",
}
# Of measures along depth, what stands beside their axes; ratios and shares have no unit.
UNITS = {
    "block_influence": "1 - cosine",
    "residual_norm": "L2 norm",
    "update_ratio": "ratio",
    "update_cosine": "cosine",
    "variance": "variance over tokens",
    "effective_rank": "dimensions",
    "linearity": "share of variance",
    "cosine": "cosine",
    "angular": "of a half turn",
    "settled": "of depth",
    "lens_entropy": "nats",
    "lens_kl": "nats",
    "lens_agreement": "share of tokens",
    "lens_overlap": "share of 5 tokens",
    "lens_rank": "log10 of the rank",
    "lens_frequent": "share of tokens",
    "erasure": "nats per token",
    "loop_step": "ratio",
    "loop_turn": "cosine",
    "kl": "nats per token",
    "loss": "nats per token",
}
_FIXED = "\N{NO-BREAK SPACE}"
_BLANK = "\x00"  # in place of a blank in a formula, which is no place to break a line
STATE = f" (k: before layer{_FIXED}k)"  # beside an axis of states
STATES = f" (i,{_FIXED}j: before layer{_FIXED}i,{_FIXED}j)"  # beside one of pairs of them
_WITHOUT = "_without_massive"


def measure_label(measure: str) -> str:
    """A similarity measure in words."""
    if measure in WISHES.get().names:
        return WISHES.get().names[measure]
    name = measure.removesuffix(_WITHOUT)
    label = MEASURES.get(name, plain(name))
    return label if name == measure else f"{label}, massive left out"


def unit(measure: str) -> str:
    """What a measure counts in; nothing for one that is not known here."""
    return UNITS.get(measure.removesuffix(_WITHOUT), "")


def with_unit(measure: str) -> str:
    """A measure in words, over what it counts in."""
    counted = unit(measure)
    return measure_label(measure) + (f"\n({counted})" if counted else "")


def axis_label(axis: str) -> str:
    """What stands along an axis; of states, which they are."""
    return axis + STATE if axis == "state" else axis


def heading(title: str) -> str:
    """A title; in words where it is the name of a measure, or one that the user named."""
    known = title.removesuffix(_WITHOUT) in MEASURES or title in WISHES.get().names
    return measure_label(title) if known else title


def task_label(name: str) -> str:
    """The usual spelling of the name of a task or a model, without its owner, or the user's own."""
    if name in (own := WISHES.get().names):
        return own[name]
    return TASKS.get(name, plain(shortened(name.rstrip("/").rpartition("/")[2] or name)))


def plain(text: str) -> str:
    """A name that is read as it stands: with dollars no formula, seen also if it begins with _."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def shortened(text: str, most: int = 48) -> str:
    """A text of more characters without its middle, so that beginning and end can be told."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def points(setting: str) -> float:
    """A size of type among matplotlib's settings, such as "xtick.labelsize", in points."""
    size = cast(dict[str, Any], mpl.rcParams)[setting]
    return float(font_manager.FontProperties(size=size).get_size_in_points())


def wrapped(text: str, width: float, lines: int = 4) -> str:
    """A text in lines that fit so many millimetres; without the middle of a longer one."""
    fit = max(8, int(width / (0.257 * points("axes.titlesize"))))
    if text.count("$") < 2 or not is_formula(text):
        short = shortened(text.replace(r"\$", "$"), lines * fit)
        return textwrap.fill(short.replace("$", r"\$"), fit)
    whole = re.sub(r"\$[^$]*\$", lambda formula: formula[0].replace(" ", _BLANK), text)
    return textwrap.fill(whole, fit, break_long_words=False).replace(_BLANK, " ")


def is_formula(text: str) -> bool:
    """Whether matplotlib can set what stands between the dollars of a text."""
    try:
        for line in text.split("\n"):
            MathTextParser("path").parse(line)
    except ValueError:
        return False
    return True


def refilled(text: str, letters: int) -> str:
    """A text in lines of at most so many letters, and of about the same length."""
    return "\n".join(_even(line, max(8, letters)) for line in text.split("\n"))


def _even(line: str, letters: int) -> str:
    """As few lines as there can be of so many letters, and of those the shortest."""
    least = max(map(len, line.split()), default=letters)  # less would cut words
    filled = [
        textwrap.fill(line, fit, break_long_words="$" not in line)
        for fit in (letters, *range(letters - 1, least - 1, -1))
    ]
    return [lines for lines in filled if lines.count("\n") == filled[0].count("\n")][-1]


def metric_label(metric: str) -> str:
    """A metric in words; the name of lm-eval's filter, after a comma, is left out."""
    name = metric.split(",")[0]
    return METRICS.get(name, plain(shortened(name, 30)))
