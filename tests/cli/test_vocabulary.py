"""What is the same for all commands: the options, how plans are given, an example behind each."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from painters_interp.cli.application import app


def verbs(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from verbs(inner, *names, name)
        else:
            yield (*names, name), inner


VERBS = dict(verbs(get_command(app)))
# What every command that has to do with it takes, and the one spelling of each.
EVERYWHERE = ("--model", "--tasks", "--data", "--limit", "--seed", "--out", "--store", "--dtype",
              "--device", "--venue", "--formats", "--plan", "--texts", "--n-layers")  # fmt: skip
ABOUT_ONE_PLAN = {("plan",), ("heal",), ("export",)}
ABOUT_PLANS = {
    ("check",),
    ("evaluate",),
    ("kl",),
    ("classify",),
    ("latency",),
    ("patch", "effects"),
}


def options() -> dict[str, list[Any]]:
    """The options of all commands, by their first spelling."""
    found: dict[str, list[Any]] = {}
    for command in VERBS.values():
        for param in command.params:
            if param.param_type_name == "option":
                found.setdefault(param.opts[0], []).append(param)
    return found


OPTIONS = options()
SHARED = sorted(name for name, found in OPTIONS.items() if len(found) > 1)


def meaning(option: Any) -> str:
    """What help says of an option before it goes into what a command makes of it."""
    return re.split("[:;,.(]", option.help)[0]


@pytest.mark.parametrize("name", SHARED)
def test_an_option_means_the_same_behind_every_verb(name: str) -> None:
    found = OPTIONS[name]
    assert len({meaning(option) for option in found}) == 1
    # One plan or several: who may give several may say so.
    assert len({tuple(o for o in option.opts if o != "--plans") for option in found}) == 1
    if name != "--out":  # a folder, or the name of one table
        assert len({option.metavar for option in found}) == 1


def test_the_options_that_the_guide_names_are_those_of_several_verbs() -> None:
    assert {*EVERYWHERE} <= {*SHARED}


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_no_option_is_another_one_but_for_its_number(name: str) -> None:
    """`--task` beside `--tasks` would leave one guessing."""
    plurals = {f"{each}s" for each in EVERYWHERE} | {each.removesuffix("s") for each in EVERYWHERE}
    files = {"--text"}  # a column of one's own file, beside --texts, a file
    assert name not in plurals - {*EVERYWHERE} - files


def plan_words(command: Any) -> list[Any]:
    return [
        p for p in command.params if p.param_type_name == "argument" and "PLAN" in str(p.metavar)
    ]


@pytest.mark.parametrize("names", VERBS, ids=" ".join)
def test_plans_are_options_everywhere_and_words_of_commands_about_them(
    names: tuple[str, ...],
) -> None:
    params = VERBS[names].params
    words = plan_words(VERBS[names])
    option = [p for p in params if "--plan" in p.opts]
    assert [len(words)] == [names in ABOUT_ONE_PLAN | ABOUT_PLANS]
    if words:
        assert [p.multiple for p in option] == [names in ABOUT_PLANS]
        assert words[0].metavar == ("[PLAN]..." if names in ABOUT_PLANS else "[PLAN]")


@pytest.mark.parametrize("names", sorted(ABOUT_ONE_PLAN))
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no plan; give one in quotes"),
        (("0-2", "--plan", "3-5"), "two plans, '0-2' and --plan '3-5'; give one"),
    ],
)
def test_a_command_about_one_plan_takes_one(
    names: tuple[str, ...], words: tuple[str, ...], says: str, painters: Any, tmp_path: Path
) -> None:
    needed = () if names == ("plan",) else ("--out", tmp_path / "new")
    code, _, err = painters(*names, *words, *needed)
    assert (code, err.count("\n")) == (2, 1)
    assert says in err


def test_a_plan_is_the_same_as_a_word_or_an_option(painters: Any) -> None:
    assert painters("plan", "0-8 9") == painters("plan", "--plan", "0-8 9")


def test_several_plans_stand_apart_by_semicolons(painters: Any, checkpoint: Path) -> None:
    shown = [
        painters("generate", "ab", "--new", "2", "--model", checkpoint, *words)
        for words in (("--plan", "0-2 5", "--plan", "0-4"), ("--plans", "0-2 5; 0-4"))
    ]
    assert shown[0] == shown[1]
    assert shown[0][0] == 0
    assert shown[0][1].count("0-2 5") == 1
    code, _, err = painters("generate", "ab", "--model", checkpoint, "--plans", ";")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("names", VERBS, ids=" ".join)
def test_every_verb_has_an_example_that_is_understood(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "smollm2-135m").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    _, found, example = VERBS[names].help.partition("Example: painters ")
    assert found
    words = shlex.split(example)
    assert tuple(words[: len(names)]) == names
    VERBS[names].make_context("painters", words[len(names) :])
