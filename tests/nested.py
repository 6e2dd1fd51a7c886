"""Random plans with branches: series inside groups inside series, for property tests."""

from collections.abc import Sequence

from hypothesis import strategies as st

from painters_interp.plans import Branch, Call, Plan, Series, Step

SCALES = st.sampled_from([None, None, 1.0, 0.5, 0.25, -1.5])
HALVES = (None, None, "attn", "mlp")


def _step(branches: Sequence[Branch], scale: float | None) -> Step:
    return Step.of(*branches, scale=scale)


def steps(n_layers: int, halves: Sequence[str | None] = HALVES) -> st.SearchStrategy[Step]:
    """Steps whose branches are calls and series, a few deep."""
    calls = st.builds(Call, st.integers(0, n_layers - 1), st.sampled_from(halves))
    flat = st.builds(_step, st.lists(calls, min_size=1, max_size=3), SCALES)

    def deeper(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
        series = st.lists(inner, min_size=1, max_size=3).map(lambda found: Series(tuple(found)))
        return st.builds(_step, st.lists(calls | series, min_size=1, max_size=3), SCALES)

    return st.recursive(flat, deeper, max_leaves=6)


def plans(
    n_layers: int, halves: Sequence[str | None] = HALVES, most: int = 5
) -> st.SearchStrategy[Plan]:
    """Plans of such steps."""
    some = st.lists(steps(n_layers, halves), min_size=1, max_size=most)
    return some.map(lambda found: Plan(found, n_layers))
