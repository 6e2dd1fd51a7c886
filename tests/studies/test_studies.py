"""Every study, on a tiny model: what it finds, what it says, what it writes."""

import re
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

import painters_interp as painters
from painters_interp import experiments, figures, storage, studies
from painters_interp import strategies as s
from painters_interp.cli.application import answer
from painters_interp.errors import PaintersError, TableError, TextError
from painters_interp.figures import style
from painters_interp.learning import Tuning
from painters_interp.notices import PaintersWarning
from painters_interp.progress import progress
from painters_interp.studies import glue
from painters_interp.studies.nulls import scattered, thinned
from painters_interp.studies.outline import PASSAGE, TOKENS
from painters_interp.studies.painters import smaller_half
from painters_interp.studies.registry import carried_out, carried_out_on_all
from painters_interp.studies.study import asked as setting
from painters_interp.studies.work import Work
from painters_interp.tables import normalise, primary

TEXTS = tuple(
    f"{a} {b} is what {c} saw in the {d}"
    for a, b, c, d in zip("abcdefgh", "stuvwxyz", "ghijklmn", "qrstuvwx", strict=True)
)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return tiny.build("llama", torch.float32, tiny_folder, num_hidden_layers=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


def answers(model, name: str, asked: list[dict]) -> list[int]:
    """Which choice of each item the intact model takes."""
    task = painters.task(name, asked, metric=lambda item, answer: float(answer))
    found = painters.evaluation.score_items(model, s.full(len(model.blocks)), task)
    return found["value"].astype(int).tolist()


def own_task(model, name: str = "probe_facts", items: int = 12):
    """A task that this model, random as it is, answers as well as it can be answered."""
    asked = [{"question": text, "choices": ["xa", "kb", "cz"], "gold": 0} for text in TEXTS]
    asked = [one | {"question": f"{one['question']} {k}"} for k in range(2) for one in asked]
    right = [
        one | {"gold": gold} for one, gold in zip(asked, answers(model, name, asked), strict=True)
    ]
    return painters.task(name, right[:items])


def common_task(one, other, items: int = 8):
    """A task of what two models answer alike, out of choices drawn for each question."""
    rng = np.random.default_rng(0)
    drawn = [
        ["".join(word) for word in rng.choice(list("abcdefghijkl"), (3, 2))] for _ in range(40)
    ]
    asked = [
        {"question": f"{text} {k}", "choices": choices, "gold": 0}
        for (k, text), choices in zip(product(range(5), TEXTS), drawn, strict=True)
    ]
    both = zip(*(answers(model, "probe_facts", asked) for model in (one, other)), strict=True)
    right = [item | {"gold": a} for item, (a, b) in zip(asked, both, strict=True) if a == b]
    assert len(right) >= items
    return painters.task("probe_facts", right[:items])


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on(model):
    tasks = [own_task(model), own_task(model, "probe_order")]
    return setting(model, tasks, texts=TEXTS)


@pytest.fixture(scope="module")
def learnt(model):
    """The same for studies that learn: 24 examples of one task, which is easily learnt."""
    rng = np.random.default_rng(0)
    words = [("".join(rng.choice(list(side), 4)), side == "abc") for side in ("abc", "xyz") * 24]
    table = pd.DataFrame(words, columns=["text", "label"]).astype({"label": int})
    return studies.STUDIES["2407.09298-A9"].ask(model, {"letters": table}, limit=24)


def two_ways(n: int) -> pd.DataFrame:
    """Two variants at one window, of the six that models are trained under."""
    table = experiments.variants(n, [2], seeds=1)
    return table[table["variant"].isin(["intact", "skip", "looped"])].reset_index(drop=True)


@pytest.fixture(scope="module")
def shares() -> dict[str, float]:
    """The calls that a study has made, over those that it was said to take."""
    return {}


@pytest.fixture(scope="module")
def found(on, learnt, shares):
    """The findings of a study, carried out once."""
    kept: dict[str, studies.Found] = {}

    def of(id: str) -> studies.Found:
        if id not in kept:
            study = studies.STUDIES[id]
            own = replace(on) if study.ask is setting else learnt  # nothing is known of it yet
            with pytest.MonkeyPatch.context() as patch:  # tiny models learn fast, and large steps
                patch.delenv("TQDM_DISABLE", raising=False)  # with a bar, as users see it
                patch.setattr(glue, "_TUNING", Tuning(epochs=3, rate=1e-3, batch=8))
                patch.setattr(glue, "_few", two_ways)
                with progress(id, total := int(study.calls(own))) as advance:
                    kept[id] = carried_out(study, own)
                shares[id] = advance.__self__.n / total
        return kept[id]

    return of


@pytest.fixture(scope="module")
def sizes(model, tiny_folder):
    """What the paper's study says of models of 8 layers and of 5, which answer a task alike."""
    small = tiny.build("gpt2", torch.float32, tiny_folder, num_hidden_layers=5)
    return studies.run("2407.09298", [model, small], common_task(model, small), texts=TEXTS)


@pytest.mark.parametrize("id", studies.STUDIES)
def test_every_claim_has_a_number_an_interval_and_a_verdict(found, id) -> None:
    claims = found(id).claims
    assert len(claims) > 1
    assert claims["claim"].is_unique
    assert claims[["published", "unit"]].map(len).gt(0).all(axis=None)
    assert claims["verdict"].isin([studies.HOLDS, studies.FAILS, studies.UNDECIDED]).all()
    assert claims["rule"].str.contains("above|below").all()
    assert len(found(id).drawings) == studies.STUDIES[id].figures
    known = claims[claims["verdict"] != studies.UNDECIDED]
    assert known[["value", "low", "high"]].notna().all(axis=None)
    assert (claims["low"] <= claims["high"]).where(claims["low"].notna(), True).all()


@pytest.mark.parametrize("id", studies.STUDIES)
def test_what_is_written_can_be_read_again(found, id, tmp_path: Path) -> None:
    study = found(id)
    written = study.save(tmp_path, formats="svg")
    assert {path.stem for path in written} >= {*study.tables, *study.drawings, "claims"}
    claims = storage.read_table(tmp_path / "claims")
    pd.testing.assert_frame_equal(claims, study.claims, check_dtype=False)
    facts = storage.read_provenance(tmp_path / "claims")
    texts = len(TEXTS) if studies.STUDIES[id].ask is setting else 24
    assert (facts["study"], facts["texts"]) == (id, texts)


def test_influence_is_ranked_on_texts_other_than_those_that_judge(found, model) -> None:
    study = found("2403.03853")
    own = painters.similarity(model, TEXTS[::2], "block_influence")["block_influence"].curve
    first = int(own.to_numpy().argmin())
    removed = study.tables["removals"]
    plan = removed.query("variant == 'by influence' and affected == 1")["plan"].item()
    assert plan == str(s.drop(8, first))
    kl = painters.kl_to_intact(model, plan, TEXTS[1::2])["kl"].item()
    assert removed.query("plan == @plan")["kl"].iloc[0] == pytest.approx(kl)


def test_what_is_kept_of_scores_is_the_median_over_tasks(found) -> None:
    study = found("2403.03853")
    [claim] = study.claims[study.claims["unit"].eq("of the score")].itertuples()
    scores = normalise(primary(study.tables["scores"]))
    assert claim.value == pytest.approx(scores[scores["affected"].eq(2)]["score"].median())


def test_a_knee_is_told_by_what_a_quarter_costs_against_half(found) -> None:
    tables = found("2403.17887").tables
    kl = tables["blocks"].query("variant == 'least angle'").set_index("affected")["kl"]
    scores = normalise(primary(tables["scores"])).groupby("affected")["score"].median()
    [claim] = found("2403.17887").claims.query("unit == 'of what 4 cost'").itertuples()
    assert claim.value == pytest.approx(kl[2] / kl[4] - (1 - scores[2]) / (1 - scores[4]))


def test_scores_are_left_out_and_said_where_no_task_tells_anything(on) -> None:
    class AtChance(studies.Setting):
        def refuse_chance(self) -> None:
            raise TableError("above chance on no task")

    silent = AtChance(on.model, on.questions, TEXTS)
    with pytest.warns(
        UserWarning, match="what is kept of scores is left out: above chance on no task"
    ):
        found = carried_out(studies.STUDIES["2403.03853"], silent)
    assert {*found.drawings} == {"influence", "removals", "drops"}
    assert set(found.claims["unit"]) == {"nats per token", "rank correlation"}


def test_what_is_judged_on_few_texts_has_no_interval_and_is_undecided(model) -> None:
    with pytest.warns(PaintersWarning, match="6 texts: of half of them .* give 8 or more"):
        found = studies.run("rys", model, own_task(model), texts=TEXTS[:6])
    fresh = found.tables["fresh"]
    assert fresh.loc[fresh["variant"] != "intact", "delta_low"].isna().all()
    assert found.claims[["low", "high"]].isna().all(axis=None)
    assert found.claims["verdict"].eq("undecided").all()


def test_greedy_removal_takes_the_cheapest_each_time(found) -> None:
    rounds = found("2402.09025").tables["rounds"]
    left = set(range(8))
    for number, tried in rounds[rounds["round"].gt(0)].groupby("round"):
        lost = [
            left - set(plan.layer_calls) for plan in experiments.plans(tried.assign(n_layers=8))
        ]
        assert sorted(layer for [layer] in lost) == sorted(left)
        left -= lost[int(tried["cost"].argmin())]
        assert len(left) == 8 - number
    gone = set(range(8)) - left
    greedy = found("2402.09025").tables["removals"].query("variant == 'greedy'")
    kept = experiments.plans(greedy.iloc[[-1]])[0].layer_calls
    assert set(range(8)) - set(kept) <= gone


def test_greedy_removal_is_set_against_the_best_of_as_many_random_ones(found, model) -> None:
    study = found("2402.09025")
    tried = study.tables["rounds"]["round"].gt(0).sum()
    null = thinned(8, 2, int(tried))
    assert len({*null}) == min(tried, 28)  # pairs of eight layers
    texts = painters.task("texts", [{"text": t} for t in TEXTS[::2]], "loglikelihood_rolling")
    scored = painters.evaluate(model, null, texts).query("metric == 'bits_per_byte'")
    losses = scored.set_index("plan")["value"][[*map(str, null)]]
    chosen = study.tables["removals"].query("variant == 'best of random'")
    assert chosen["plan"].tolist() == [str(null[int(np.argmin(losses))])]
    assert f"best of {len(null)} random" in study.claims["claim"].iloc[-1]


def test_random_removals_are_all_that_there_are_where_they_are_few() -> None:
    assert [str(plan) for plan in thinned(3, 2, 10)] == ["2", "1", "0"]


def test_the_winner_of_a_scan_is_judged_on_fresh_texts(found) -> None:
    study = found("rys")
    scan, fresh = study.tables["scan"], study.tables["fresh"]
    best = scan.loc[scan["variant"].ne("intact")].sort_values("value").iloc[0]
    claim = study.claims.iloc[0]
    assert best["plan"] in claim["claim"]
    own = fresh[fresh["plan"] == best["plan"]]["value"].iloc[0]
    intact = fresh[fresh["variant"].eq("intact")]["value"].iloc[0]
    assert claim["value"] == pytest.approx(intact - own)
    assert claim["tried"] == len(scan) - 1


def test_random_repeats_cost_as_many_calls_as_those_searched() -> None:
    drawn = experiments.plans(scattered(8, [(3, "*2"), (2, "@0.5*3"), (1, "*2")]))
    assert [len(plan.calls) for plan in drawn] == [8 + 3, 8 + 2 * 2, 8 + 1]


def test_the_winner_of_a_scan_is_set_against_the_best_random_plan(found) -> None:
    study = found("rys")
    claim = study.claims.iloc[-1]
    random, fresh = study.tables["random"], study.tables["fresh"].set_index("plan")["value"]
    best = study.claims["claim"].iloc[0].split("the scan, ")[1].split(", saves")[0]
    [own] = [row.value for row in random.itertuples() if f"cost, {row.plan}:" in claim["claim"]]
    assert claim["value"] == pytest.approx(own - fresh[best])
    assert claim["tried"] == 2 * len(random)


def test_what_averaging_adds_is_told_from_what_the_layers_lose(found) -> None:
    study = found("2407.09298")
    table = study.tables["decoding"].assign(spent=lambda t: t["nats"] / t["tokens"])
    wide = table.pivot_table(values="spent", index=["plan", "item"], columns="cache")
    plans = [*dict.fromkeys(table.loc[table["variant"].ne("intact"), "plan"])]
    added = (wide["averaged"] - wide["exact"]).loc[plans].mean()
    [claim] = study.claims[study.claims["claim"].str.contains("published cache")].itertuples()
    assert claim.value == pytest.approx(added)


def test_copying_is_judged_by_the_dearer_way(found) -> None:
    tables = found("2605.16234").tables
    swaps, copies = (tables[name].dropna(subset=["layer"]) for name in ("swaps", "replacements"))
    worse = [
        copies[copies["layer"].isin([i, j]) & copies["other"].isin([i, j])]["kl"].max()
        for i, j in zip(swaps["layer"], swaps["other"], strict=True)
    ]
    difference = found("2605.16234").claims.iloc[1]
    assert difference["value"] == pytest.approx(np.mean(swaps["kl"].to_numpy() - worse))


def test_the_papers_findings_are_of_windows_where_something_happens(found) -> None:
    claims = found("2407.09298").claims
    assert len(claims) >= 12
    assert "windows of 3 layers" in claims["claim"].str.cat(sep=" ")
    assert claims["claim"].str.contains("Order matters less").any()


class TestSeveralModels:
    """Figs. 12 and 14 of the paper, and its claims as claims about all of the models."""

    def test_each_is_studied_as_it_would_be_alone(self, sizes) -> None:
        assert [*sizes.of_models] == ["tiny-llama", "tiny-gpt2"]
        assert [one.provenance["n_layers"] for one in sizes.of_models.values()] == [8, 5]
        assert sizes.provenance["model"] == ["tiny-llama", "tiny-gpt2"]
        assert sizes.provenance["texts"] == len(TEXTS)

    def test_fig_12_has_a_line_a_model_against_the_share_of_layers(self, sizes) -> None:
        [ax] = sizes.figures["sizes"].axes
        lines = {line.get_label(): line for line in ax.lines if line.get_label() in sizes.of_models}
        for name, n in (("tiny-llama", 8), ("tiny-gpt2", 5)):
            shares = np.asarray(lines[name].get_xdata(), dtype=float) * n / 100
            np.testing.assert_allclose(shares, np.round(shares), atol=1e-9)
            assert shares.max() < n

    def test_fig_14_has_a_panel_a_model(self, sizes) -> None:
        panels = [ax for ax in sizes.figures["sizes_cosine"].axes if ax.get_title()]
        assert [ax.get_title() for ax in panels] == ["tiny-llama", "tiny-gpt2"]
        shapes = [ax.collections[0].get_array().size for ax in panels]
        assert shapes == [9 * 9, 6 * 6]

    def test_the_best_number_of_loops_is_that_of_the_heatmap(self, sizes) -> None:
        for one in sizes.of_models.values():
            scores = normalise(primary(one.tables["loops"]))
            for row in one.tables["best_loops"].itertuples():
                of = scores[scores["affected"].eq(row.affected) & scores["variant"].eq("looped")]
                best = of.loc[of["score"].eq(of["score"].max()), "times"].min()
                assert (row.value, row.low <= row.value <= row.high) == (best, True)

    def test_a_claim_about_all_is_that_of_the_model_for_which_it_holds_least(self, sizes) -> None:
        for claim in sizes.claims.itertuples():
            own = claim.claim.split("the least: ")[1]
            claims = [one.claims for one in sizes.of_models.values()]
            each = [table[table["claim"] == own] for table in claims]
            assert claim.value == min(one["value"].item() for one in each)
            assert claim.low <= min(one["low"].item() for one in each)
            assert claim.tried == each[0]["tried"].item()

    def test_all_is_written_each_model_in_its_folder(self, sizes, tmp_path: Path) -> None:
        small = {name: replace(one, drawings={}) for name, one in sizes.of_models.items()}
        replace(sizes, of_models=small).save(tmp_path, formats="svg")
        assert {path.name for path in tmp_path.glob("*.svg")} == {
            f"{name}.svg" for name in ("sizes", "sizes_cosine", "sizes_best_loops")
        }
        for name, one in sizes.of_models.items():
            claims = storage.read_table(tmp_path / name / "claims")
            assert claims["claim"].tolist() == one.claims["claim"].tolist()
        shown = painters.report.page(tmp_path)
        assert "Transformer Layers as Painters: tiny-llama, tiny-gpt2" in shown
        assert shown.count("<section") == 3

    def test_one_at_chance_is_compared_by_its_states_alone(self, on, tiny_folder) -> None:
        class AtChance(studies.Setting):
            def refuse_chance(self) -> None:
                raise TableError("above chance on no task")

        def says(word: str) -> studies.Found:
            return studies.Found({"said": pd.DataFrame({"word": [word]})}, [])

        study = studies.Study(
            *("one", "One", lambda on: Work(1, float), lambda on: says("scores")),
            compare=lambda each: studies.Found({}, [], of_models=each),
            scored=True, unscored=lambda on: says("states"),
        )  # fmt: skip
        other = tiny.build("gpt2", torch.float32, tiny_folder, num_hidden_layers=5)
        silent = AtChance(other, on.questions, TEXTS)
        telling = studies.Setting(on.model, on.questions, TEXTS)
        with pytest.warns(UserWarning, match="tiny-gpt2: above chance on no task; only its states"):
            found = carried_out_on_all(study, [telling, silent])
        said = {name: one.tables["said"]["word"].item() for name, one in found.of_models.items()}
        assert said == {"tiny-llama": "scores", "tiny-gpt2": "states"}
        with pytest.raises(TableError, match="above chance"):
            carried_out_on_all(study, [silent, AtChance(on.model, on.questions, TEXTS)])

    def test_one_that_a_study_cannot_compare(self, model) -> None:
        with pytest.raises(PaintersError, match=r"2403\.03853 says nothing of several models tog"):
            studies.run("2403.03853", [model, model], own_task(model), texts=TEXTS)

    def test_two_that_bear_one_name(self, model) -> None:
        with pytest.raises(PaintersError, match="several models are called tiny-llama"):
            studies.run("2407.09298", [model, model], own_task(model), texts=TEXTS)


def test_effective_depth_is_the_share_of_layers_that_would_do_the_same_evenly(found, model) -> None:
    table = found("2512.14064").tables["effective_depth"].set_index("texts")["value"]
    ratios = painters.similarity(model, TEXTS, "update_ratio")["update_ratio"].curve.to_numpy()
    shares = ratios / ratios.sum()
    assert table["all texts"] == pytest.approx(np.prod(shares**-shares) / 8)
    assert {"easy", "hard", "probe_facts", "probe_order"} < {*table.index}


@pytest.mark.parametrize("n", [4, 5, 6, 7, 12, 24])
def test_heads_are_judged_on_windows_that_are_there(n: int) -> None:
    sizes = smaller_half(glue._plans(n), n)
    assert sizes
    assert min(sizes) > 1
    assert all(size <= n // 2 for size in sizes) or len(sizes) == 1


def test_a_second_seed_draws_other_samples_of_the_same_values(on) -> None:
    study = studies.STUDIES["2601.18302"]
    one = carried_out(study, on).claims
    other = carried_out(study, setting(on.model, on.questions, texts=TEXTS, seed=1)).claims
    assert (one["value"] == other["value"]).all()
    assert (one["low"] != other["low"]).any()


def unfolded(printed: str) -> list[str]:
    """Lines as they were before they were folded to the width of a terminal."""
    return re.sub(r"\n +", " ", printed).splitlines()


@pytest.fixture(scope="module")
def carried_out_there(checkpoint, tmp_path_factory) -> tuple[Path, str]:
    """A folder into which the command wrote the findings of a study, and what it printed."""
    folder, printed = tmp_path_factory.mktemp("studied"), StringIO()
    words = ["study", "2601.18302", "--model", str(checkpoint), "--limit", "6", "--budget", "1h"]
    with redirect_stdout(printed):
        look = ["--venue", "icml", "--formats", "svg"]
        assert answer([*words, *look, "--out", str(folder)]) == 0
    return folder, printed.getvalue()


def test_the_command_says_which_claims_hold(carried_out_there) -> None:
    folder, printed = carried_out_there
    drawn = [*(folder / "2601.18302").glob("*.[ps][dnv][fg]")]
    assert {path.suffix for path in drawn} == {".svg"}
    points = re.search(r'width="([\d.]+)pt"', drawn[0].read_text())
    assert points
    with figures.publication("icml"):
        columns = [style.width(count) * 72 / 25.4 for count in (1, 2)]
    assert min(abs(float(points[1]) - column) for column in columns) < 1
    out = unfolded(printed)
    assert out[0].startswith("The last layer's turn: 30 items, 6 texts, about ")
    assert [line.split()[0] in ("holds", "fails", "undecided") for line in out[-2:]] == [True, True]
    claims = storage.read_table(folder / "2601.18302" / "claims")
    assert [line.split(": ", 1)[1] for line in out[-2:]] == claims["claim"].tolist()


def test_the_command_refuses_models_that_it_cannot_tell_apart(checkpoint, tmp_path, capsys) -> None:
    twice = ["--model", str(checkpoint)] * 2
    for id, reason in (("2407.09298", "called tiny-llama"), ("2601.18302", "several models")):
        assert answer(["study", id, *twice, "--limit", "6", "--out", str(tmp_path / "out")]) == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class TestWhatIsSaidBeforeAnythingIsTried:
    @pytest.fixture
    def refused(self, checkpoint, tmp_path, monkeypatch, capsys):
        """The message of a command that ends before any part of the study is tried."""

        def untried(work) -> float:
            raise AssertionError(f"{work} was tried")

        def run(*words: str, out: Path = tmp_path / "out") -> str:
            monkeypatch.setattr("painters_interp.studies.study.trial", untried)
            monkeypatch.setattr("painters_interp.studies.study.seconds_needed", untried)
            own = ["--model", str(checkpoint), "--out", str(out)]
            assert answer(["study", *words, *own]) == 2
            return capsys.readouterr().err

        return run

    def test_that_no_task_tells_anything(self, refused) -> None:
        assert "on no task is the intact model clearly" in refused("2407.09298", "--limit", "6")

    def test_a_budget_that_no_trial_could_save(self, refused) -> None:
        told = refused("2605.16234", "--limit", "6", "--budget", "0.1s")
        assert "the budget is too small: 6 items of each task take more than" in told

    def test_that_findings_of_another_setting_are_there(self, refused, carried_out_there) -> None:
        folder, _ = carried_out_there
        before = {path: path.read_bytes() for path in folder.rglob("*.csv")}
        told = refused("2601.18302", "--limit", "5", out=folder)
        assert "another limit (6, not 5)" in told
        assert before
        assert {path: path.read_bytes() for path in folder.rglob("*.csv")} == before


def test_a_budget_finds_the_limit_once(checkpoint, tmp_path, capsys) -> None:
    words = ["study", "2601.18302", "--model", str(checkpoint), "--budget", "1h"]
    look = ["--formats", "svg", "--out", str(tmp_path / "out")]
    for limit in ("6", "9"):  # as if there had been time for more
        assert answer([*words, "--limit", limit, *look]) == 0
        assert "30 items, 6 texts" in capsys.readouterr().out
    assert answer([*words[:-1], "2h", "--limit", "9", *look]) == 2
    assert "another limit (6, not 9)" in capsys.readouterr().err


def test_a_run_that_ends_as_it_writes_is_never_mixed(checkpoint, tmp_path, monkeypatch, capsys):
    words = ["study", "2601.18302", "--model", str(checkpoint), "--out", str(tmp_path / "out")]
    written = []

    def cut_short(table, path, facts) -> Path:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        return storage.write_table(table, path, facts)

    with monkeypatch.context() as patch:
        patch.setattr("painters_interp.studies.study.write_table", cut_short)
        answer([*words, "--limit", "6"])
    assert len([*(tmp_path / "out").rglob("*.csv")]) == 1
    assert answer([*words, "--limit", "5"]) == 2
    assert "another limit (6, not 5)" in capsys.readouterr().err
    assert answer([*words, "--limit", "6", "--formats", "svg"]) == 0


def test_what_each_costs_is_known_before(on) -> None:
    table = studies.listed(on)
    assert table["id"].tolist() == [*studies.STUDIES]
    assert table["calls"].dropna().gt(0).all()
    assert table["id"][table["calls"].isna()].tolist() == ["2407.09298-A9", "2407.09298-glue"]


@pytest.mark.parametrize("id", studies.STUDIES)
def test_each_takes_about_what_it_says(found, shares, id) -> None:
    found(id)
    assert 0.7 < shares[id] < 1.3


def test_the_command_lists_what_there_is(capsys) -> None:
    assert answer(["study"]) == 0
    head, *listed = capsys.readouterr().out.splitlines()
    assert "a model of 30 layers" in head
    assert [line.split()[0] for line in listed] == [*studies.STUDIES]
    assert [line.split()[1] for line in listed].count("?") == 3  # of models that learn


def test_on_a_model_it_says_minutes(checkpoint, capsys) -> None:
    assert answer(["study", "--model", str(checkpoint), "--limit", "6"]) == 0
    head, *listed = unfolded(capsys.readouterr().out)
    assert "of them a second" in head
    assert [line.split()[0] for line in listed] == [*studies.STUDIES]
    assert any("needs 8 layers" in line for line in listed)
    assert all(float(line.split()[3]) >= 0 for line in listed if "needs" not in line)


def test_without_a_model_calls_are_those_of_one_as_deep(on) -> None:
    sketch = replace(studies.outline(8), texts=(PASSAGE,) * len(on.texts))
    few, one = (studies.STUDIES["2605.16234"].calls(each) for each in (sketch, on))
    tokens = sum(len(text) + 1 for text in TEXTS)  # a letter each, behind the first
    assert int(few) / len(TEXTS) / TOKENS[PASSAGE] == pytest.approx(int(one) / tokens, rel=0.05)


def test_too_little_training_is_told() -> None:
    found = pd.DataFrame({"variant": ["intact", "skip"] * 2, "task": ["a", "a", "b", "b"],
                          "metric": "acc", "value": 0.8, "stderr": 0.02})  # fmt: skip
    worse = found.assign(value=[0.6, 0.9, 0.79, 0.1])
    with pytest.warns(UserWarning, match=r"'a': the intact model reaches 0.60 .* 0.80") as caught:
        glue._say_untaught(found, worse)
    assert len(caught) == 1


class TestRefusals:
    def test_an_unknown_study(self, model) -> None:
        with pytest.raises(PaintersError, match=r"no study '1234'; there are 2407\.09298 \(Trans"):
            studies.run("1234", model)
        with pytest.raises(
            PaintersError, match=r"'2407\.9298'; did you mean '2407\.09298' \(Trans"
        ):
            studies.run("2407.9298", model)

    def test_too_few_layers(self, model, tiny_folder) -> None:
        few = tiny.build("llama", torch.float32, tiny_folder, num_hidden_layers=3)
        with pytest.raises(PaintersError, match=r"needs 4 layers or more; .* has 3"):
            studies.run("2403.03853", few, own_task(model), texts=TEXTS)

    def test_too_few_texts(self, model) -> None:
        with pytest.raises(TextError, match="3 are too few"):
            studies.run("2403.03853", model, own_task(model), texts=TEXTS[:3])

    def test_tasks_that_tell_nothing(self, model) -> None:
        with pytest.raises(TableError, match=r"above chance"):
            studies.run("2407.09298", model, "probe_facts", limit=4, texts=TEXTS)
