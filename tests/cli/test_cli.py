"""Every command end to end, on a tiny checkpoint; and what bad input looks like."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny

from painters_interp import cli, report, storage
from painters_interp.cli.runs import DEFAULT
from painters_interp.learning import named, readers
from painters_interp.models import identity, load_model
from painters_interp.stitching import fit_stitch
from painters_interp.tables import labelled, labels_of
from painters_interp.tables.items import item_table, summarise

N = tiny.N_LAYERS


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save("llama", tmp_path_factory.mktemp("checkpoints") / "tiny-llama"))


class TestRun:
    """On the default model: a random one is at chance, so its scores have no scale."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("runs") / "out"
        sys.argv = ["painters", "run", "--out", str(folder), "--device", "cpu"]
        sys.argv += ["--limit", "6", "--tasks", "probe_facts"]
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
        return folder

    def test_writes_each_figure_with_its_table_and_provenance(self, folder: Path) -> None:
        expected = {
            f"{name}.{kind}"
            for name in DEFAULT
            for kind in ("pdf", "png", "svg", "csv", "json", "live.json")
        }
        scored = ("single_layers", "variants")
        expected |= {f"{name}.items.{kind}" for name in scored for kind in ("parquet", "json")}
        assert {path.name for path in folder.iterdir()} == expected | {"report.html"}
        assert (folder / "report.html").read_text("utf-8") == report.page(folder)
        facts = json.loads((folder / "variants.json").read_text())
        assert facts["model"] == "smollm2-135m"
        assert facts["items"] == 6
        assert repr(facts["limit"]) == "6"
        assert facts["tasks"] == {"probe_facts": "1.0"}

    def test_the_tables_hold_every_labelled_plan(self, folder: Path) -> None:
        single = storage.read_table(folder / "single_layers")
        assert set(single["variant"]) == {"intact", "drop", "swap"}
        assert single["plan"].nunique() == 1 + 30 + 29
        variants = storage.read_table(folder / "variants")
        assert set(variants["first"].dropna()) == set(range(0, 15, 2))
        assert set(variants.loc[variants["variant"] == "random", "shuffle_seed"]) == {0, 1, 2}
        assert variants["value"].notna().all()

    def test_the_items_give_the_tables_back(self, folder: Path) -> None:
        for name in ("single_layers", "variants"):
            items = storage.read_table(folder / f"{name}.items.parquet")
            table = storage.read_table(folder / name)
            again = labelled(labels_of(table), summarise(items, intact="0-29"))
            pd.testing.assert_frame_equal(again[[*table]], table, check_dtype=False)

    def test_the_summary_says_which_differences_are_real(self, folder: Path) -> None:
        told = " ".join(report.summary(folder))
        single = storage.read_table(folder / "single_layers").query("metric == 'acc'")
        drops = single.loc[single["variant"] == "drop", "p_adjusted"].lt(0.05).sum()
        assert f"probe_facts: {drops} of 30 single-layer drops and" in told
        assert "at a false discovery rate of 5 %." in told

    def test_figures_are_redrawn_byte_for_byte(self, folder: Path, painters) -> None:
        before = {
            p: p.read_bytes() for p in folder.iterdir() if p.suffix in (".pdf", ".png", ".svg")
        }
        code, out, _ = painters("figures", folder)
        assert code == 0
        assert all(str(path) in out for path in before)
        assert {p: p.read_bytes() for p in before} == before


def test_run_prints_its_cost_first_and_its_findings_last(painters, checkpoint, tmp_path) -> None:
    code, out, err = painters(
        "run",
        "--model",
        checkpoint,
        "--out",
        tmp_path,
        "--limit",
        1,
        "--tasks",
        "probe_grammar",
        "--experiments",
        "variants,loops,internal_loops",
        "--every-window",
    )
    lines = out.splitlines()
    assert code == 0
    assert all(line.startswith("painters: no figure of ") for line in err.splitlines()), err
    assert "shared layer calls" in lines[0]
    assert lines[1].startswith("Estimate: about ")
    assert f"{tmp_path}/variants.csv" in out
    assert storage.read_table(tmp_path / "loops")["times"].max() == 28
    repeated = storage.read_table(tmp_path / "internal_loops")
    assert {*repeated["variant"]} == {"intact", "double", "triple"}
    assert "not clearly above chance: probe_grammar" in lines[-1]


def test_runs_into_one_folder_leave_each_others_tables_as_they_are(
    painters, checkpoint, tmp_path
) -> None:
    words = ("run", "--model", checkpoint, "--out", tmp_path, "--tasks", "probe_facts")
    for experiments, limit in (("variants", 3), ("loops", 2), ("variants", 2)):
        older = {path: path.read_bytes() for path in tmp_path.iterdir()}
        code, out, _ = painters(*words, "--experiments", experiments, "--limit", limit)
        assert code == 0
        listed = [line.strip() for line in out.splitlines() if line.startswith("  ")]
        # A random model gives no figure.
        assert listed == sorted([f"{tmp_path}/{experiments}.csv", f"{tmp_path}/report.html"])
        own = (experiments, "report.html")
        others = [path for path in older if not path.name.startswith(own)]
        assert {path: path.read_bytes() for path in others} == {p: older[p] for p in others}
        saved = report.read(tmp_path / experiments)
        assert set(saved.table["n"]) == {limit}
        assert saved.items["item"].nunique() == limit
    assert {*report.read_run(tmp_path)} == {"variants", "loops"}
    code, out, _ = painters("figures", tmp_path)
    assert code == 0
    assert "Left out of the variants scores" in out


def test_run_decodes_texts_with_both_caches(painters, tmp_path) -> None:
    model = tiny.save("llama", tmp_path / "long-llama", max_position_embeddings=1024)
    words = ("run", "--model", model, "--out", tmp_path, "--limit", 2)
    code, out, err = painters(*words, "--experiments", "decoding")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "3 plans, both caches, 2 texts to decode"
    assert lines[1].startswith("Estimate: about ")
    for part, variant in zip(lines[-2:], ("parallel", "looped"), strict=True):
        assert part.startswith(f"probe_word_problems, 3 middle layers {variant}: gold text, ")
        assert "; own texts, 0.00 (intact 0.00), with the averaged cache +0.00 [" in part
    assert {path.stem for path in tmp_path.glob("*.png")} == {"decoding"}
    table = storage.read_table(tmp_path / "decoding")
    assert len(table) == 3 * 2 * 2
    code, _, err = painters(*words, "--experiments", "decoding", "--tasks", "probe_facts")
    assert (code, err.count("\n")) == (2, 1)
    assert "'probe_facts' is of type multiple_choice, and decodes nothing; give one that" in err


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("the first document\n\nand the second one\n")
    return path


def test_similarity(painters, checkpoint, tmp_path, texts) -> None:
    code, out, _ = painters(
        "similarity", "--model", checkpoint, "--texts", texts, "--out", tmp_path, "--plan", "0-2"
    )
    assert code == 0
    drawn = [f"{name}.{kind}" for name in ("similarity", "depth") for kind in ("pdf", "png", "svg")]
    assert out.split() == [str(tmp_path / name) for name in drawn]
    table = storage.read_table(tmp_path / "similarity")
    assert set(table["measure"]) == {"cosine", "cosine_centered", "cosine_flat", "cka"}
    assert table["row"].max() == 3  # states of a plan of three steps
    assert table["low"].isna().all()  # texts so few have no interval
    depth = storage.read_table(tmp_path / "depth")
    assert set(depth["measure"]) == {"block_influence", "update_ratio"}


def test_similarity_with_nulls_and_another_model(painters, checkpoint, tmp_path, texts) -> None:
    words = ["similarity", "--model", checkpoint, "--texts", texts, "--measures", "cosine,cka"]
    plain = ("--out", tmp_path / "nulls", "--formats", "svg")
    code, _, _ = painters(*words, *plain, "--nulls", "--massive", "both")
    assert code == 0
    for name in ("similarity", "similarity_shuffled", "similarity_random"):
        table = storage.read_table(tmp_path / "nulls" / name)
        assert set(table["measure"]) >= {"cosine", "cka", "cosine_without_massive"}
    facts, shuffled, random = (
        storage.read_provenance(tmp_path / "nulls" / f"similarity{null}")
        for null in ("", "_shuffled", "_random")
    )
    trained = {"model": "tiny-llama", "revision": facts["revision"]}
    assert facts["revision"]
    assert {k: shuffled[k] for k in (*trained, "other")} == trained | {"other": "shuffled tokens"}
    assert (random["model"], random["revision"], random["other"], random["in_place_of"]) == (
        *("tiny-llama, random weights (seed 0)", None, None),
        trained,
    )
    other = tiny.save("llama", tmp_path / "shallow-llama", num_hidden_layers=3)
    place = ("--out", tmp_path / "other", "--formats", "svg")
    code, out, err = painters(*words, *place, "--other", other)
    assert (code, err) == (0, "")
    assert out.split() == [str(tmp_path / "other" / "similarity.svg")]
    assert storage.read_provenance(tmp_path / "other" / "similarity")["other"] == str(other)


def test_classify_prints_and_keeps_what_heads_learn(painters, checkpoint, tmp_path) -> None:
    lines = [f"{'ab' * (n % 7 + 1)}{'xy'[n % 2]},{n % 2}" for n in range(40)]
    (tmp_path / "ends.csv").write_text("\n".join(["words,ends", *lines]))
    words = ("classify", "0-2 5", "--model", checkpoint, "--tasks", tmp_path / "ends.csv")
    columns = ("--text", "words", "--label", "ends")
    code, out, _ = painters(*words, *columns, "--items", "--out", tmp_path / "heads")
    assert code == 0
    shown = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in shown[1:3]] == [["0-5", "ends"], ["0-5", "ends"]]
    table = pd.read_csv(tmp_path / "heads.csv")
    assert table["n"].unique().tolist() == [10]
    assert table["plan"].unique().tolist() == ["0-5", "0-2 5"]
    assert (tmp_path / "heads.svg").is_file()
    facts = json.loads((tmp_path / "heads.json").read_text())
    assert facts["examples"].keys() == {"ends"}
    assert len(pd.read_parquet(tmp_path / "heads.items.parquet")) == 2 * 2 * 10
    tuned = ("--train", "all", "--epochs", "1", "--checkpoints", tmp_path / "kept", "--limit", 12)
    assert painters(*words, *columns, *tuned)[0] == 0
    assert len([*(tmp_path / "kept").iterdir()]) == 2


def test_readers_draws_its_maps_and_can_draw_them_again(painters, checkpoint, tmp_path) -> None:
    words = ("readers", "--model", checkpoint, "--limit", 60, "--out", tmp_path)
    code, out, _ = painters(*words)
    assert code == 0
    raw, standardised, *paths = out.splitlines()
    assert raw.startswith("raw: ")
    assert "lost per layer of distance" in standardised
    assert paths == [str(tmp_path / f"readers.{kind}") for kind in ("pdf", "png", "svg")]
    assert len(pd.read_csv(tmp_path / "readers.csv")) == 4 * (N + 1) ** 2
    (tmp_path / "readers.pdf").unlink()
    assert painters("figures", tmp_path, "--formats", "pdf")[0] == 0
    assert (tmp_path / "readers.pdf").is_file()


def test_readers_of_one_model_read_another(painters, checkpoint, tmp_path) -> None:
    second = tiny.save("gpt2", tmp_path / "second")
    words = ("readers", "--model", checkpoint, "--other", second, "--limit", 40)
    code, out, _ = painters(*words, "--out", tmp_path / "maps", "--formats", "svg")
    assert code == 0
    assert "at best as deep as trained (chance " in out
    table = pd.read_csv(tmp_path / "maps" / "readers.csv")
    assert table["target"].unique().tolist() == ["second"]
    facts = json.loads((tmp_path / "maps" / "readers.json").read_text())
    assert facts["columns"]["revision"] == identity(load_model(second))["revision"]
    narrow = tiny.save("llama", tmp_path / "narrow", hidden_size=32, head_dim=8)
    words = (*words[:3], "--other", narrow, *words[-2:])
    code, out, err = painters(*words, "--out", tmp_path / "no")
    assert (code, out) == (2, "")
    assert "has 32 dimensions and" in err
    assert not (tmp_path / "no").exists()
    stitched = (*words, "--stitch", "2,3", "--out", tmp_path / "stitched", "--formats", "svg")
    assert painters(*stitched)[0] == 0
    facts = json.loads((tmp_path / "stitched" / "readers.json").read_text())
    assert facts["stitch"] == [2, 3]
    model, other = load_model(checkpoint), load_model(narrow)
    task = named("probe_acceptability").limited(40, 0)
    between = fit_stitch(other, model, [text for (text,) in task.train.texts], 2, 3)
    found = pd.read_csv(tmp_path / "stitched" / "readers.csv")["value"]
    assert found.tolist() == readers(model, task, other, between).table()["value"].tolist()


def test_generate_shows_where_texts_part(painters, checkpoint, tmp_path) -> None:
    words = ("generate", "abc", "--new", 6, "--model", checkpoint, "--out", tmp_path / "texts.csv")
    code, out, err = painters(*words, "--plan", "0-5", "--plan", "0-4", "--plan", "1-5")
    assert (code, err) == (0, "")
    prompt, *rest, path = out.splitlines()
    plans, texts = rest[1::3], [line[4:] for line in rest[2::3]]
    assert prompt == "abc"
    assert plans == ["  0-5", "  0-4", "  1-5"]
    own, *others = texts
    for text in others:
        same, _, other = text.partition("||")
        assert own.startswith(same)
        assert not own.startswith(same + other[:1])
    assert path == str(tmp_path / "texts.csv")
    table = storage.read_table(path)
    assert table["text"].tolist() == [text.replace("||", "") for text in texts]
    assert [len(ids) for ids in table["tokens"]] == [6, 6, 6]
    facts = storage.read_provenance(path)
    assert (facts["max_new_tokens"], facts["stop"], facts["cache"]) == (6, [], "exact")


def test_evaluate(painters, checkpoint, tmp_path) -> None:
    code, out, _ = painters(
        "evaluate",
        "0-2 4-5",
        "--plan",
        "5-0",
        "--model",
        checkpoint,
        "--tasks",
        "probe_facts",
        "--limit",
        3,
        "--out",
        tmp_path / "scores",
    )
    assert code == 0
    table = pd.read_csv(tmp_path / "scores.csv")
    assert list(table["label"].unique()) == ["intact", "0-2 4-5", "5-0"]
    header, *rows = (line for line in out.splitlines() if not line.startswith(str(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"scores.{kind}" for kind in ("csv", "json", "pdf", "png", "svg")
    ]
    assert header.split() == ["plan", "task", "metric", "value", "stderr", "chance", "delta",
                              "95", "%", "interval", "p_adj", "n"]  # fmt: skip
    assert len(rows) == len(table)
    assert "0-2 4 5" in out
    assert all("[" in row for row in rows)


def test_evaluate_keeps_its_results_and_adds_metrics(painters, checkpoint, tmp_path) -> None:
    words = ("evaluate", "5-0", "--model", checkpoint, "--tasks", "probe_facts", "--limit", 3,
             "--store", tmp_path / "store", "--metrics", "kl")  # fmt: skip
    code, first, _ = painters(*words)
    assert code == 0
    assert " kl " in first
    assert len([*(tmp_path / "store").rglob("*.parquet")]) == 2  # the task's metrics, and kl
    assert painters(*words)[1] == first


@pytest.mark.parametrize("out", ["tiny-1.7b", "tiny-1.7b.csv"])
def test_evaluate_writes_the_items_that_the_scores_rest_on(
    painters, checkpoint, tmp_path, out
) -> None:
    words = ("evaluate", "5-0", "--model", checkpoint, "--tasks", "probe_facts", "--limit", 3)
    code, _, _ = painters(*words, "--out", tmp_path / out, "--items")
    assert code == 0
    table = storage.read_table(tmp_path / "tiny-1.7b.csv")
    rows = storage.read_table(tmp_path / "tiny-1.7b.items.parquet")
    found = summarise(item_table(rows), intact="0-5").set_index(["plan", "metric"])["value"]
    written = table.set_index(["plan", "metric"])["value"]
    assert len(written) == len(found)
    assert found[written.index].tolist() == pytest.approx(written.tolist(), rel=1e-12)
    beside = storage.read_provenance(tmp_path / "tiny-1.7b.items.parquet")
    assert beside == storage.read_provenance(tmp_path / "tiny-1.7b.csv")


def test_items_need_a_place(painters, checkpoint) -> None:
    code, _, err = painters("evaluate", "5-0", "--model", checkpoint, "--items")
    assert (code, err.count("\n")) == (2, 1)
    assert "add --out" in err


def test_check(painters, checkpoint) -> None:
    code, out, _ = painters("check", "--model", checkpoint, "--plan", "0-2 4-5")
    assert code == 0
    header, row, verdict = out.splitlines()
    assert header.split() == ["gap", "cached", "runner", "padding", "own", "plan"]
    assert row.startswith("ok")
    assert row.endswith("-  0-2 4 5")
    assert verdict.startswith("1 of 1 ok")
    assert "tolerance 0.001 nats" in verdict


def test_check_covers_every_kind_of_step_and_shows_the_models_own_dtype(
    painters, checkpoint
) -> None:
    code, out, _ = painters("check", "--model", checkpoint, "--dtype", "bfloat16")
    rows = out.splitlines()[1:-1]
    assert code == 0
    assert len(rows) == 14
    assert all(row.startswith("ok") for row in rows)
    assert any("*3" in row for row in rows)
    assert any("@sum" in row for row in rows)
    assert any(".attn" in row for row in rows)
    own = [float(row.split()[4]) for row in rows]  # not "-": of bfloat16, which differs from itself
    assert all(0 <= gap < 10 for gap in own)  # on some processors, which is no error


def test_plan_models_and_fetch(painters, checkpoint) -> None:
    assert painters("plan", "0-8 (9-20)*3 21-29")[1].splitlines()[0] == "0-8 (9-20)*3 21-29"
    assert "54 layer calls" in painters("plan", "0-8 (9-20)*3 21-29")[1]
    assert "smollm2-135m" in painters("models")[1]
    assert painters("fetch", checkpoint)[1].strip() == checkpoint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "0-8 (9-20"], "plan '0-8 (9-20'"),
        (["plan", ""], "plan ''"),
        (["plan", "0-30"], "n_layers=30 allows 0..29"),
        (["plan"], "no plan; give one in quotes"),
        (["nonsense"], "No such command 'nonsense'"),
        (["run", "--model", "no-such-model-anywhere"], "no-such-model-anywhere"),
        (["run", "--experiments", "nonsense"], "no experiment 'nonsense'; there are similarity"),
        (["figures", "."], "no tables to draw"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    painters, tmp_path, monkeypatch, words, message
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = painters(*words)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["run", "--tasks", "probe_fact"],
            "no task 'probe_fact'; did you mean probe_facts, probe_cloze",
        ),
        (["evaluate", "0-9"], "n_layers=6 allows 0..5"),
        (
            ["evaluate", "0-5", "--tasks", "probe_facts", "--limit", "1", "--cache", "averaged"],
            "--cache 'averaged' changes how texts are written, and none of these tasks writes any",
        ),
        (["check", "--plan", "9"], "n_layers=6 allows 0..5"),
        (["similarity", "--texts", "missing.txt"], "cannot read texts from missing.txt"),
        (["similarity", "--measures", "nonsense"], "no measure 'nonsense'; there are cosine"),
        (["run", "--dtype", "int4"], "dtype 'int4' is not one of float32"),
    ],
)
def test_bad_input_with_a_model(
    painters, checkpoint, tmp_path, monkeypatch, words, message
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = painters(*words, "--model", checkpoint)
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


def test_an_unwritable_folder_is_found_before_anything_runs(painters, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = painters("run", "--out", tmp_path / "file" / "out")
    assert (code, out) == (2, "")
    assert "cannot write in" in err
    assert err.count("\n") == 1


def test_a_truncated_gguf_is_named(painters, tmp_path) -> None:
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    code, _, err = painters("run", "--model", tmp_path / "cut.gguf", "--out", tmp_path / "out")
    assert code == 2
    announced, failed = err.splitlines()
    assert announced.startswith("converting")
    assert "cut.gguf" in failed
