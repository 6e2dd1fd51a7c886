"""Prompts that begin alike, as a trie: what several of them share is read once."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

Ids = tuple[int, ...]

# Tokens that a shared beginning must spare to be worth a pass of its own through every layer.
WORTH = 16


@dataclass(frozen=True)
class Row:
    """A beginning to read: its tokens, how many of them are known, and the row that knows them.

    `parent` is the (level, index) of that row; None where nothing is known.
    """

    tokens: Ids
    known: int = 0
    parent: tuple[int, int] | None = None


@dataclass(frozen=True)
class Level:
    """Rows that are read together, aligned at their ends.

    All read as many tokens as the one that knows least; the others know some of them already.
    """

    rows: tuple[Row, ...]

    @property
    def width(self) -> int:
        """Columns: as many as the longest row has tokens."""
        return max(len(row.tokens) for row in self.rows)

    @property
    def new(self) -> int:
        """How many columns are read, the last ones."""
        return max(len(row.tokens) - row.known for row in self.rows)

    def past(self, row: Row) -> int:
        """How many tokens of `row` come before those that are read."""
        return max(0, len(row.tokens) - self.new)


def levels(prompts: Sequence[Ids], worth: int = WORTH) -> tuple[Level, ...]:
    """What to read, in order: shared beginnings, and in the last level every prompt to its end.

    Rows of a level rest on rows of levels before it. The last token of a prompt is read in the
    last level, whose rows are the prompts in their order. No prompt may be empty.
    """
    shared: list[list[Row]] = []
    ends: dict[int, Row] = {}
    # Prompts with so many tokens in common, and the row that knows some of these.
    waiting = [_Alike(range(len(prompts)), 0, 0, None)]
    while waiting:
        here = waiting.pop()
        for group in _parted(prompts, here):
            if len(group) == 1:
                ends[group[0]] = Row(prompts[group[0]], here.known, here.parent)
                continue
            common = _in_common([prompts[member] for member in group], here.common)
            if (common - here.known) * (len(group) - 1) < worth:
                waiting.append(_Alike(group, common, here.known, here.parent))
                continue
            level = 0 if here.parent is None else here.parent[0] + 1
            if level == len(shared):
                shared.append([])
            shared[level].append(Row(prompts[group[0]][:common], here.known, here.parent))
            waiting.append(_Alike(group, common, common, (level, len(shared[level]) - 1)))
    last = Level(tuple(ends[index] for index in range(len(prompts))))
    return (*(Level(tuple(rows)) for rows in shared), last)


@dataclass(frozen=True)
class _Alike:
    members: Sequence[int]
    common: int
    known: int
    parent: tuple[int, int] | None


def _parted(prompts: Sequence[Ids], alike: _Alike) -> list[list[int]]:
    """Members that go on alike; one whose last token comes next goes alone."""
    groups: dict[Hashable, list[int]] = {}
    for member in alike.members:
        ids = prompts[member]
        going = ids[alike.common] if alike.common < len(ids) - 1 else (member,)
        groups.setdefault(going, []).append(member)
    return list(groups.values())


def _in_common(prompts: Sequence[Ids], least: int) -> int:
    """How many tokens all have in common, their last ones left out; at least so many."""
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    return next((k for k in range(least, most) if first[k] != last[k]), most)
