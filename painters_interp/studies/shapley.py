"""Shapley values of layers (arXiv 2407.16286), from orders of removal that share beginnings."""

import random
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from .. import experiments
from ..figures import depth_curves
from ..statistics import percentiles
from .claims import Claim, Sampled
from .study import Found, Setting, Study, along, of_measure
from .work import Work

PERMUTATIONS = 8


def _orders(n: int) -> list[list[int]]:
    return [random.Random(seed).sample(range(n), n) for seed in range(PERMUTATIONS)]


def _plans(n: int) -> pd.DataFrame:
    """Every beginning of every order removed, but for the last layer of all."""
    parts = [
        experiments.removals(n, order, range(1, n), "random", seed)
        for seed, order in enumerate(_orders(n))
    ]
    return pd.concat(parts, ignore_index=True).drop_duplicates()


def _calls(on: Setting) -> Work:
    return on.similarity_calls() + on.kl_calls(_plans(on.n))


def contributions(kl: Sampled, n: int) -> Sampled:
    """What each layer adds to KL when it is removed, on average over the orders.

    Samples are of other orders, too. The last layer of an order is removed from nothing, and has no
    part in it.
    """
    rows = {
        (int(seed), int(count)): k
        for k, (seed, count) in enumerate(
            zip(kl.rows["shuffle_seed"], kl.rows["affected"], strict=True)
        )
        if pd.notna(seed)
    }
    added: list[list[Float[np.ndarray, row]]] = [[] for _ in range(n)]  # by layer and order
    for seed, order in enumerate(_orders(n)):
        for place, layer in enumerate(order[:-1]):
            weights = np.zeros(len(kl.rows))
            weights[rows[seed, place + 1]] = 1
            if place:
                weights[rows[seed, place]] = -1
            added[layer].append(weights)
    each = [
        kl.mapped(pd.DataFrame({"shuffle_seed": range(len(own))}), np.stack(own)).mean()
        for own in added
    ]
    return replace(Sampled.together(each), rows=pd.DataFrame({"layer": range(n)}))


def _carry_out(on: Setting) -> Found:
    kl = on.kl(_plans(on.n))
    values = contributions(kl, on.n)
    influence = on.similarity(["block_influence"])
    known = of_measure(along(influence, "block_influence"), on.seed)
    return Found(
        tables={"values": _curve(values), "removals": kl.rows, "influence": influence.curves()},
        judged=_judged(on.n, values, known),
        drawings={"values": lambda: depth_curves(_curve(values))},
    )


def _curve(values: Sampled) -> pd.DataFrame:
    low, high = percentiles(values.samples)
    rows = values.rows.assign(value=values.values, low=low, high=high, place=values.rows["layer"])
    return rows.assign(measure="Shapley value (nats of KL per token)", axis="layer")


def _judged(n: int, values: Sampled, influence: Sampled) -> list[Claim]:
    few = max(1, n // 4)
    return [
        Claim(
            "Shapley values and block influence rank layers differently: their rank correlation",
            "the two differ",
            values.ranked_with(influence.values),
            below=0.9,
        ),
        Claim(
            f"A few layers carry most: share of the {few} largest of {n} in all that is positive",
            "a few cornerstone layers",
            values.of(
                lambda v: np.sort(np.maximum(v, 0))[..., -few:].sum(-1) / np.maximum(v, 0).sum(-1),
                "of the sum",
            ),
            above=0.5,
        ),
    ]


STUDY = Study("2407.16286", "Shapley values of layers", _calls, _carry_out)
