"""Work: calls that are counted, seconds that are found when asked; trials that disturb no bar."""

import pytest

from painters_interp.progress import progress, silent, trial
from painters_interp.studies.work import Work, total


def test_work_adds_up_by_its_own_paces() -> None:
    reading, head = Work(100, lambda: 2.0), Work(10, lambda: 5.0)
    assert total([reading, head]) == 110
    both = 2 * reading + head // 2
    assert both == 205
    assert both.seconds() == pytest.approx(6.5)


def test_work_of_the_same_kind_has_the_same_pace() -> None:
    assert Work(10, lambda: 5.0).alike(200).seconds() == pytest.approx(100)
    assert Work(10, lambda: 5.0).alike(200) == 200


def test_no_trial_is_made_before_seconds_are_asked_for() -> None:
    made = []
    work = Work(10, lambda: made.append(1) or 1.0)  # type: ignore[func-returns-value]
    assert 3 * work + work == 40
    assert not made


def test_calls_of_nobody_knows_what_are_refused() -> None:
    with pytest.raises(TypeError, match="7 calls of what"):
        Work(1, float) + 7


def test_a_trial_runs_what_it_times_and_advances_no_bar() -> None:
    runs: list[int] = []

    def some() -> None:
        with progress("inner", 1000) as advance:
            advance(1000)
        runs.append(1)

    with progress("outer", 10) as advance, silent():
        assert trial(some) >= 0
        assert len(runs) > 1
        advance(0)
