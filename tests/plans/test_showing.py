"""A plan is seen at a glance in a notebook, and draws itself."""

import matplotlib.pyplot as plt
import pytest

from painters_interp import Plan


def test_a_notebook_shows_layers_groups_and_how_often_they_run():
    html = Plan.parse("0 (1|2)*3 [3-4]@0.5 5", 6)._repr_html_()
    assert html.count("<span") == 7  # six branches; frames around the group and the series
    assert "x3" in html
    assert "[3-4]" in html or "[3 4]" in html
    assert "@0.5" in html


def test_a_long_plan_is_shown_in_part():
    html = Plan([0, 1] * 5_000, 2)._repr_html_()
    assert " ..." in html
    assert html.count("<span") == 200


def test_a_group_of_many_branches_is_shown_without_its_middle():
    html = Plan.parse("0 (1-78) 79", 80)._repr_html_()
    assert "\N{VERTICAL ELLIPSIS}" in html
    assert html.count("<br>") < 30


@pytest.mark.parametrize("text", ["0-5", "0 (1|2)*3 [3-4]@0.5 5", "([0-2]|[3-5])", "0.attn 1.mlp"])
def test_any_plan_draws_itself(text):
    plan = Plan.parse(text, 6)
    figure = plan.plot()
    assert figure.axes[0].get_title("left") == str(plan)
    _, ax = plt.subplots()
    plan.plot(ax=ax)
    assert ax.patches
    plt.close("all")
