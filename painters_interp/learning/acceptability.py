"""A probe of grammar in two thousand sentences: half of them right, each with a wrong twin.

A twin differs by agreement, reflexive, determiner, form of the verb or order of words, and every
word of it stands in right sentences, too: which words there are does not tell. Both of a pair are
learnt from, or both are scored.
"""

import random
from collections.abc import Callable

import numpy as np

from .examples import Examples, Split

_PAIRS = 1000
_SCORED = 250
_SEED = 0

_PEOPLE = (
    "teacher", "farmer", "doctor", "sailor", "painter", "driver", "singer", "lawyer", "baker",
    "student", "neighbour", "gardener", "soldier", "waiter", "writer", "visitor",
)  # fmt: skip
_PLACES = ("garden", "kitchen", "harbour", "library", "station", "market", "village", "school")
_THINGS = ("letter", "ticket", "basket", "mirror", "bottle", "ladder", "blanket", "candle")
_BESIDE = ("near", "behind", "beside", "in front of")
_VERBS = ("like", "know", "watch", "follow", "admire", "trust", "remember", "avoid")
_ALONE = ("sleep", "sing", "smile", "wait", "work", "laugh", "travel", "complain")
_TIMES = ("every day", "in the evening", "on Sundays", "before lunch", "in winter")
_PARTICIPLES = {
    "written": "wrote", "broken": "broke", "taken": "took", "stolen": "stole", "hidden": "hid",
    "chosen": "chose", "forgotten": "forgot", "thrown": "threw",
}  # fmt: skip

Pair = tuple[str, str]
Draw = Callable[[random.Random], Pair]


def _noun(rng: random.Random, plural: bool, nouns: tuple[str, ...] = _PEOPLE) -> str:
    return rng.choice(nouns) + ("s" if plural else "")


def _verb(verb: str, plural: bool) -> str:
    """In the third person, present tense."""
    return verb if plural else verb + ("es" if verb.endswith("ch") else "s")


def _agreement(rng: random.Random) -> Pair:
    """Between subject and verb, over a noun of either number."""
    plural = rng.random() < 0.5
    subject = f"the {_noun(rng, plural)} {rng.choice(_BESIDE)} the {_noun(rng, rng.random() < 0.5)}"
    verb, when = rng.choice(_ALONE), rng.choice(_TIMES)
    right, wrong = (f"{subject} {_verb(verb, p)} {when}" for p in (plural, not plural))
    return right, wrong


def _relative(rng: random.Random) -> Pair:
    """Between subject and verb, over a clause."""
    plural, other = rng.random() < 0.5, rng.random() < 0.5
    clause = f"the {_noun(rng, other)} {_verb(rng.choice(_VERBS), other)}"
    subject, verb = f"the {_noun(rng, plural)} that {clause}", rng.choice(_ALONE)
    right, wrong = (f"{subject} {_verb(verb, p)}" for p in (plural, not plural))
    return right, wrong


def _reflexive(rng: random.Random) -> Pair:
    plural = rng.random() < 0.5
    subject = f"the {_noun(rng, plural)} {rng.choice(_BESIDE)} the {_noun(rng, rng.random() < 0.5)}"
    verb = _verb(rng.choice(_VERBS), plural)
    own, others = ("themselves", "himself") if plural else ("himself", "themselves")
    return f"{subject} {verb} {own}", f"{subject} {verb} {others}"


def _determiner(rng: random.Random) -> Pair:
    plural, many = rng.random() < 0.5, rng.random() < 0.5
    near = rng.choice([("this", "these"), ("that", "those")])
    subject = f"the {_noun(rng, many)} {_verb(rng.choice(('find', 'sell', 'hide', 'want')), many)}"
    thing = f"{rng.choice(('old', 'small', 'heavy', 'new'))} {_noun(rng, plural, _THINGS)}"
    return f"{subject} {near[plural]} {thing}", f"{subject} {near[not plural]} {thing}"


def _participle(rng: random.Random) -> Pair:
    """The form of an irregular verb behind `has`, or without it."""
    form, past = rng.choice([*_PARTICIPLES.items()])
    who, what = f"the {_noun(rng, False)}", f"the {_noun(rng, rng.random() < 0.5, _THINGS)}"
    if rng.random() < 0.5:
        return f"{who} has {form} {what}", f"{who} has {past} {what}"
    return f"{who} {past} {what} yesterday", f"{who} {form} {what} yesterday"


def _order(rng: random.Random) -> Pair:
    """Of two words that stand side by side."""
    who, place = _noun(rng, False), rng.choice(_PLACES)
    verb, when = _verb(rng.choice(_ALONE), False), rng.choice(_TIMES)
    words = f"the {who} {verb} in the {place} {when}".split()
    swapped = rng.choice([0, 3, 4])
    other = [*words]
    other[swapped], other[swapped + 1] = words[swapped + 1], words[swapped]
    return " ".join(words), " ".join(other)


_KINDS: tuple[Draw, ...] = (_agreement, _relative, _reflexive, _determiner, _participle, _order)


def pairs(count: int = _PAIRS, seed: int = _SEED) -> list[Pair]:
    """So many different pairs of a right and a wrong sentence, of all kinds alike."""
    rng = random.Random(seed)
    drawn: dict[str, str] = {}
    while len(drawn) < count:
        right, wrong = _KINDS[len(drawn) % len(_KINDS)](rng)
        drawn.setdefault(right, wrong)
    return [(_sentence(right), _sentence(wrong)) for right, wrong in drawn.items()]


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def probe(name: str) -> Examples:
    """The task: 1,500 sentences to learn from, 500 to score; class 1 is the right ones."""
    sentences = [(sentence,) for pair in pairs() for sentence in pair]
    right = np.tile([1.0, 0.0], _PAIRS)
    split = Split(tuple(sentences), right, np.arange(len(sentences)))
    cut = 2 * (_PAIRS - _SCORED)
    train, scored = split.at(np.arange(cut)), split.at(np.arange(cut, 2 * _PAIRS))
    return Examples(name, train, scored, ("acc", "mcc"), (0, 1))
