"""Every study, on a tiny model: what it finds, what it says, what it writes."""

import re
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
from painters_interp.studies import glue
from painters_interp.studies.registry import carried_out
from painters_interp.studies.study import asked as setting

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


def own_task(model, name: str = "probe_facts", items: int = 12):
    """A task that this model, random as it is, answers as well as it can be answered."""
    asked = [{"question": text, "choices": ["xa", "kb", "cz"], "gold": 0} for text in TEXTS]
    asked = [one | {"question": f"{one['question']} {k}"} for k in range(2) for one in asked]
    found = painters.evaluation.score_items(
        model, s.full(8), painters.task(name, asked, metric=lambda item, answer: float(answer))
    )
    answers = found["value"].astype(int)
    right = [one | {"gold": int(gold)} for one, gold in zip(asked, answers, strict=True)]
    return painters.task(name, right[:items])


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
def found(on, learnt):
    """The findings of a study, carried out once."""
    kept: dict[str, studies.Found] = {}

    def of(id: str) -> studies.Found:
        if id not in kept:
            study = studies.STUDIES[id]
            with pytest.MonkeyPatch.context() as patch:  # tiny models learn fast, and large steps
                patch.delenv("TQDM_DISABLE", raising=False)  # with a bar, as users see it
                patch.setattr(glue, "_TUNING", Tuning(epochs=3, rate=1e-3, batch=8))
                patch.setattr(glue, "_few", two_ways)
                kept[id] = carried_out(study, on if study.ask is setting else learnt)
        return kept[id]

    return of


@pytest.mark.parametrize("id", studies.STUDIES)
def test_every_claim_has_a_number_an_interval_and_a_verdict(found, id) -> None:
    claims = found(id).claims
    assert len(claims) > 1
    assert claims["claim"].is_unique
    assert claims["published"].str.len().gt(0).all()
    assert claims["verdict"].isin([studies.HOLDS, studies.FAILS, studies.UNDECIDED]).all()
    assert claims["rule"].str.contains("above|below").all()
    known = claims[claims["verdict"] != studies.UNDECIDED]
    assert known[["value", "low", "high"]].notna().all(axis=None)
    assert (claims["low"] <= claims["high"]).where(claims["low"].notna(), True).all()


@pytest.mark.parametrize("id", studies.STUDIES)
def test_what_is_written_can_be_read_again(found, id, tmp_path: Path) -> None:
    study = found(id)
    written = study.save(tmp_path)
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
    assert "windows of 2 to 4 layers" in claims["claim"].str.cat(sep=" ")
    assert claims["claim"].str.contains("Order matters less").any()


def test_effective_depth_is_the_share_of_layers_that_would_do_the_same_evenly(found, model) -> None:
    table = found("2512.14064").tables["effective_depth"].set_index("texts")["value"]
    ratios = painters.similarity(model, TEXTS, "update_ratio")["update_ratio"].curve.to_numpy()
    shares = ratios / ratios.sum()
    assert table["all texts"] == pytest.approx(np.prod(shares**-shares) / 8)
    assert {"easy", "hard", "probe_facts", "probe_order"} < {*table.index}


@pytest.mark.parametrize("n", [4, 5, 6, 7, 12, 24])
def test_heads_are_judged_on_windows_that_are_there(n: int) -> None:
    sizes = glue.smaller_half(glue._plans(n), n)
    assert sizes
    assert min(sizes) > 1
    assert all(size <= n // 2 for size in sizes) or len(sizes) == 1


def test_a_second_seed_draws_other_samples_of_the_same_values(on) -> None:
    study = studies.STUDIES["2601.18302"]
    one = carried_out(study, on).claims
    other = carried_out(study, setting(on.model, on.questions, texts=TEXTS, seed=1)).claims
    assert (one["value"] == other["value"]).all()
    assert (one["low"] != other["low"]).any()


def test_the_command_says_which_claims_hold(checkpoint, tmp_path, capsys) -> None:
    words = ["study", "2601.18302", "--model", str(checkpoint), "--limit", "6", "--budget", "1h"]
    look = ["--venue", "icml", "--formats", "svg"]
    assert answer([*words, *look, "--out", str(tmp_path / "out")]) == 0
    drawn = [*(tmp_path / "out" / "2601.18302").glob("*.[ps][dnv][fg]")]
    assert {path.suffix for path in drawn} == {".svg"}
    points = re.search(r'width="([\d.]+)pt"', drawn[0].read_text())
    assert points
    with figures.publication("icml"):
        columns = [style.width(count) * 72 / 25.4 for count in (1, 2)]
    assert min(abs(float(points[1]) - column) for column in columns) < 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("The last layer's turn: 30 items, 6 texts, about ")
    assert [line.split()[0] in ("holds", "fails", "undecided") for line in out[-2:]] == [True, True]
    claims = storage.read_table(tmp_path / "out" / "2601.18302" / "claims")
    assert [line.split(": ", 1)[1] for line in out[-2:]] == claims["claim"].tolist()
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.csv")}
    assert answer([*words[:5], "5", "--out", str(tmp_path / "out")]) == 2
    assert "another limit (6.0, not 5.0)" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.csv")} == before


def test_what_each_costs_is_known_before(on) -> None:
    table = studies.listed(on)
    assert table["id"].tolist() == [*studies.STUDIES]
    assert table["calls"].dropna().gt(0).all()
    assert table["id"][table["calls"].isna()].tolist() == ["2407.09298-A9", "2407.09298-glue"]


def test_the_command_lists_what_there_is(capsys) -> None:
    assert answer(["study"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == [*studies.STUDIES]


class TestRefusals:
    def test_an_unknown_study(self, model) -> None:
        with pytest.raises(PaintersError, match=r"no study '1234'; there are 2407\.09298 \(Trans"):
            studies.run("1234", model)

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
