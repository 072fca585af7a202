"""The studio without a browser: who may ask, which pages answer, what the diagrams hold."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import io
import math
import shutil
import time
import warnings
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect
from typer.testing import CliRunner

import saddlepoint
from saddlepoint.cli import tables
from saddlepoint.cli.main import app as command
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError
from saddlepoint.data import load_dataset
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.evaluation import Metric, Report, Result, Row, ranks
from saddlepoint.evaluation.report.page import save_report
from saddlepoint.family import families
from saddlepoint.figures import snapshots
from saddlepoint.lab import Curve, Panel
from saddlepoint.run import api, jobs
from saddlepoint.run.entries import Entry, Figure, snapshot_steps
from saddlepoint.run.index import RunIndex
from saddlepoint.serve.address import listen
from saddlepoint.serve.studio import charts, compare, figures, open_studio, parts, training
from saddlepoint.serve.studio import runs as table
from saddlepoint.serve.studio.app import make_app
from saddlepoint.serve.studio.bringing import below, listing
from saddlepoint.serve.studio.choices import group_of
from saddlepoint.serve.studio.framework import quiet
from saddlepoint.serve.studio.gate import TokenGate
from saddlepoint.serve.studio.parts import formula
from saddlepoint.serve.studio.state import Studio
from saddlepoint.serve.studio.thumbnails import examples, rows_of, thumbnail
from saddlepoint.serve.studio.uploads import Uploads

OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studio")
    saddlepoint.train("gan", data="digits", steps=700, options=OPTIONS, threads=1, out=folder / "whole")
    return folder


def test_what_is_not_finite_is_a_gap() -> None:
    panel = Panel("p", (Curve("a", (0, 1, 2), (1.0, math.nan, math.inf)), Curve("", (0.0,), (1 / 3,), style="points")))
    options = charts.panel_options(panel)
    assert options["series"][0]["data"] == [[0.0, 1.0], [None, None], [None, None]]
    assert options["series"][1]["data"] == [[0.0, 0.33333]]
    assert [line["name"] for line in options["series"]] == ["a", ""]


def test_curves_are_drawn_in_their_style() -> None:
    styles = ("line", "thick", "dotted", "points", "crosses")
    curves = tuple(Curve(style, (0.0, 1.0), (0.0, 1.0), style=style) for style in styles)
    drawn = {line["name"]: line for line in charts.panel_options(Panel("p", curves))["series"]}
    assert [drawn[style]["type"] for style in styles] == ["line", "line", "line", "scatter", "scatter"]
    lines = {style: drawn[style]["lineStyle"] for style in styles[:3]}
    assert [lines[style]["type"] for style in styles[:3]] == ["solid", "solid", "dotted"]
    assert lines["thick"]["width"] > lines["dotted"]["width"] > lines["line"]["width"]
    assert lines["thick"]["opacity"] < lines["line"]["opacity"] == lines["dotted"]["opacity"] == 1
    assert drawn["points"]["symbolSize"] < drawn["crosses"]["symbolSize"]
    assert "itemStyle" in drawn["crosses"]


def test_pictures_to_try_things_with_are_held_out_where_there_are_such() -> None:
    splits = {name: Split(np.full((9, 1, 4, 4), k, np.uint8)) for k, name in enumerate(("train", "valid", "test"))}
    none = Split(np.zeros((0, 1, 4, 4), np.uint8))
    for left_out, level, words in (
        ((), 2, "images held out from training"), (("test",), 1, "images held out from training"),
        (("test", "valid"), 0, "training images"),
    ):  # fmt: skip
        parts = {name: none if name in left_out else split for name, split in splits.items()}
        shown, said = examples(Dataset("made", "image", parts, (), "0"), 4)
        assert said == words
        assert shown.shape == (4, 1, 4, 4)
        assert set(shown.ravel().tolist()) == {level}


def test_long_curves_keep_their_last_point() -> None:
    x, y = charts.thinned(range(5000), list(range(5000)))
    assert len(x) <= 600
    assert (x[-1], y[-1]) == (4999, 4999)
    assert charts.thinned([1.0], [2.0]) == ([1.0], [2.0])


def test_curves_of_a_training_stand_beside_theory(runs: Path) -> None:
    log = saddlepoint.load(runs / "whole").log
    found = charts.training_charts(log)
    assert list(found) == ["V(D, G), nats", "D(x) and D(G(z))", "losses"]
    assert found["V(D, G), nats"]["series"][0]["markLine"]["data"] == [{"yAxis": pytest.approx(-math.log(4))}]
    assert found["D(x) and D(G(z))"]["series"][0]["markLine"]["data"] == [{"yAxis": 0.5}]
    last = log[-1]
    assert found["V(D, G), nats"]["series"][0]["data"][-1] == pytest.approx([last["nimg"] / 1000, last["V"]], rel=1e-4)
    assert charts.training_charts([]) == {}
    name = charts.sign_names(log)[0]
    assert charts.sign_options(log, name)["series"][0]["data"]


def test_a_run_is_opened_again_when_it_was_saved_again(runs: Path) -> None:
    studio = Studio(runs)
    first, explorer = studio.open("whole")
    assert studio.open("whole")[0] is first
    assert explorer is not None
    saddlepoint.resume(runs / "whole", steps=720)
    assert studio.open("whole")[0].step == 720
    with pytest.raises(CheckpointError, match="there is no run 'hole'"):
        studio.open("hole")


def test_a_training_gets_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], Path]] = []

    def start(words: list[str], folder: Path) -> int:
        folder.mkdir(parents=True)
        asked.append((words, folder))
        return 1

    monkeypatch.setattr(jobs, "start", start)
    studio = Studio(tmp_path / "runs")
    names = [studio.train("gan", "../my photos", ["--seed", "1"]) for _ in range(2)]
    assert names[0] != names[1]
    assert all(name.startswith("gan-my-photos-") for name in names)
    assert asked[0] == (["gan", "--data", "../my photos", "--seed", "1"], tmp_path / "runs" / names[0])


@pytest.mark.parametrize("quietly", [False, True])
def test_a_warning_that_concerns_nobody_is_kept_from_who_starts_the_studio(quietly: bool) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if quietly:
            quiet()
        isinstance(torch.distributed.reduce_op, FastAPI)
        warnings.warn("another", FutureWarning, stacklevel=1)
    assert ["reduce_op" in str(one.message) for one in told] == ([False] if quietly else [True, False])


def test_a_token_is_asked_for_once() -> None:
    app = FastAPI()
    app.add_middleware(TokenGate, token="secret")
    app.get("/")(lambda: "here")

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("here")

    with TestClient(app) as client:
        assert client.get("/").status_code == 401
        assert client.get("/?token=wrong").status_code == 401
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/live"):
            pass
        assert client.get("/?token=secret").json() == "here"
        assert client.get("/").json() == "here"
        with client.websocket_connect("/live") as socket:
            assert socket.receive_text() == "here"


def test_a_port_that_is_taken_is_said() -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 cannot be used"):
            open_studio("runs", port=port, show=False)


def test_whoever_hears_the_address_can_connect_before_the_server_runs() -> None:
    import socket

    listener, address = listen("127.0.0.1", 0)
    with listener, socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5) as client:
        assert client.getpeername() == listener.getsockname()
        assert address.startswith("http://127.0.0.1:")


def test_without_its_packages_the_studio_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"pip install 'saddlepoint\[studio\]'"):
        CliRunner().invoke(command, ["studio", "--no-browser"], catch_exceptions=False)


def test_panels_follow_the_tags_of_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    from saddlepoint.families.gan import GAN
    from saddlepoint.family import contract, registry
    from saddlepoint.run.entries import Entry
    from saddlepoint.serve.studio.run import panels

    class Translator(GAN):
        name, tags = "translator", contract.Tags(modalities=("image",), input="image")

    class Sequences(GAN):
        name, tags = "sequences", contract.Tags(modalities=("sequence",))

    for kind in (Translator, Sequences):
        monkeypatch.setitem(registry._REGISTRY, kind.name, kind)
    always = {"Overview", "Training", "Samples", "Figures", "Data"}
    for name, modality, more in (
        ("gan", "image", {"Neighbours", "Explorer", "Projection", "Edit"}), ("gan", "vector", {"Explorer"}),
        ("translator", "image", {"Neighbours", "Translation"}), ("sequences", "sequence", set()),
        ("gone", "image", {"Neighbours"}),
    ):  # fmt: skip
        found = panels(Entry("run", "finished", family=name, modality=modality))
        assert set(found) == always | more
        assert next(iter(found)) == "Overview"


async def _ticks_while(waited: Awaitable[object]) -> int:
    """Return how often the loop turned while something was waited for."""
    task, ticks = asyncio.ensure_future(waited), 0
    while not task.done():
        await asyncio.sleep(0.01)
        ticks += 1
    await task
    return ticks


def test_pages_stay_alive_while_a_run_loads(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, asked = saddlepoint.load(runs / "whole"), []

    def slow(path: Path) -> saddlepoint.Run:
        asked.append(path)
        time.sleep(0.5)
        return whole

    monkeypatch.setattr(api, "load", slow)
    studio = Studio(runs)

    async def twice() -> None:
        one, two = await asyncio.gather(studio.opened("whole"), studio.opened("whole"))
        assert one[0] is two[0] is whole

    assert asyncio.run(_ticks_while(twice())) >= 5
    assert asked == [runs / "whole"], "two visitors at once load a run once"


def test_formulas_are_set_as_such_and_nothing_else_is() -> None:
    optimal = "<i>D</i><sup>*</sup> = <i>p</i><sub>data</sub> / (<i>p</i><sub>data</sub> + <i>p</i><sub>g</sub>)"
    assert formula("D* = p_data / (p_data + p_g)") == optimal
    assert formula("-log 4 + 2 JSD") == "-log 4 + 2 JSD"
    assert formula("d^2 / 2 - d x") == "d<sup>2</sup> / 2 - d x"
    assert formula("V(D, G) < 1") == "<i>V</i>(<i>D</i>, <i>G</i>) &lt; 1"
    assert formula("the seed_1_x of a <b>Dog</b>") == "the seed_1_x of a &lt;b&gt;Dog&lt;/b&gt;"


def test_no_verdict_of_the_doctor_is_green() -> None:
    from saddlepoint.engine.doctor.verdict import ALARMS, VERDICTS

    tones = {verdict: parts.tone_of(verdict) for verdict in VERDICTS}
    assert {verdict for verdict, tone in tones.items() if tone} == set(ALARMS)
    assert set(tones.values()) == {"", "amber", "red"}


def measured(folder: Path, features: str = "mnist-lenet") -> None:
    """Give a run a report: a distance with an interval, one without a value, and a recall."""
    rows = (
        Row("distance", "generator (EMA)", 12.5, interval=(11.0, 14.0)),
        Row("distance", "held-out images", 0.5, role="control"),
    )
    recall = (Row("recall", "generator (EMA)", 0.2), Row("recall", "held-out images", 0.8, role="control"))
    shared: dict[str, Any] = {"summary": "how far", "verdict": "It is far.", "data": "digits", "fingerprint": "ab"}
    shared |= {"seed": 0, "version": 1, "seconds": 1.0}
    distances = (Metric("distance", "lower"), Metric("unbiased", "lower"))
    results = (
        Result(f"fd180_{features}_test", metrics=distances, rows=rows, **shared),
        Result(f"prdc180_{features}_test", metrics=(Metric("recall", "higher"),), rows=recall, **shared),
    )
    omitted = {"cas": "the samples carry no labels"}
    report = Report(results, "generator (EMA)", "It is far.", omitted, ("Only 180 rows.",))
    save_report(folder / "report", report)


def test_figures_have_directions_limits_and_no_empty_line(runs: Path, tmp_path: Path) -> None:
    assert figures.lines_of(figures.results_of(tmp_path)) == [["", "generator"]]
    assert figures.verdict_of([]) == ""
    assert figures.limits_of(tmp_path) == []
    measured(tmp_path)
    results = figures.results_of(tmp_path)
    assert figures.lines_of(results) == [
        ["", "generator (EMA)", "held-out images"],
        ["distance \u2193\nlower is better", "12.5\n[11.0, 14.0]", "0.50"],
        ["recall \u2191\nhigher is better", "0.20", "0.80"],
    ]
    assert "recall 0.20, held-out 0.80" in figures.verdict_of(results)
    assert figures.limits_of(tmp_path) == ["Only 180 rows.", "Not measured: cas: the samples carry no labels."]
    (tmp_path / "report" / "summary.json").write_text("[]")
    assert figures.limits_of(tmp_path) == []


def test_the_table_of_runs_sorts_by_numbers(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "whole", tmp_path / "measured")
    shutil.copytree(runs / "whole", tmp_path / "new")
    measured(tmp_path / "measured")
    entries = RunIndex(tmp_path).entries()
    headings = table.headline(entries)
    assert set(headings) == {("fd", "distance", "lower"), ("prdc", "recall", "higher")}
    columns = {column["label"]: column for column in table._columns(headings)}
    assert {"distance \u2193", "recall \u2191"} <= set(columns)
    assert list(columns).index("samples are") < list(columns).index("distance \u2193"), "the verdict stands first"
    rows = {entry.name: table._row(entry, headings) for entry in entries}
    place = columns["distance \u2193"]["field"]
    assert (rows["measured"][place], rows["new"][place]) == (12.5, None)
    assert rows["measured"]["shown"][place] == {
        "value": "12.5",
        "error": "[11.0, 14.0]",
        "protocol": "fd180_mnist-lenet_test",
    }
    assert (rows["measured"]["worth"], rows["measured"]["worth_tone"]) == ("a part of the data's variety", "amber")
    assert (rows["new"]["worth"], rows["new"]["standing"] > rows["measured"]["standing"]) == ("", True)
    assert rows["measured"]["reported"]
    assert not rows["new"]["reported"]
    assert rows["new"]["share"] is None, "a bar is for runs that are being trained"
    assert [entry.name for entry in entries if table._fits(entry, ["digits", "new"])] == ["new"]


def fog(folder: Path) -> None:
    """Give a run the report of grey fog: by plain pixels its precision is 1, and all else says that it is worthless."""
    shared: dict[str, Any] = {"summary": "precision and recall", "verdict": "", "data": "digits", "fingerprint": "ab"}
    values = {"precision": (1.0, 0.9), "recall": (0.0, 0.8), "coverage": (0.01, 0.9)}
    rows = [
        row
        for name, (own, real) in values.items()
        for row in (
            Row(name, "generator", own, details={"n": 180}),
            Row(name, "held-out images", real, role="control", details={"n": 180}),
        )
    ]
    metrics = tuple(Metric(name, "higher", digits=3) for name in values)
    bound = (Row("JSD", "generator", 0.6, interval=(0.55, 0.62)), Row("JSD", "held-out images", 0.0, role="control"))
    results = (
        Result(
            "jsd180_pixels_test",
            metrics=(Metric("JSD", "lower"),),
            rows=bound,
            seed=0,
            version=1,
            seconds=1.0,
            **shared,
        ),
        Result("prdc180_pixels_test", metrics=metrics, rows=tuple(rows), seed=0, version=1, seconds=1.0, **shared),
    )
    save_report(folder / "report", Report(results, "generator", ""))


def test_grey_fog_is_nowhere_the_best_run(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "whole", tmp_path / "fog")
    fog(tmp_path / "fog")
    entry = RunIndex(tmp_path).entry("fog")
    assert entry.standing == "far"
    assert [(f.metric, f.number, f.ranks) for f in entry.figures] == [
        ("JSD", 0.6, True), ("precision", 1.0, False), ("recall", 0.0, False), ("coverage", 0.01, False),
    ]  # fmt: skip
    headings = table.headline([entry])
    assert headings == [("jsd", "JSD", "lower")], "what cannot judge is nothing to sort by"
    for protocol in ("ppl180_mnist-lenet_z", "memorisation180_pixels_test", "leave-out180_pieces_train"):
        assert not ranks(protocol), "one picture, of no path and no copy, would be the best"
    row = table._row(entry, headings)
    assert (row["worth"], row["worth_tone"]) == ("far from the data", "red")
    assert row["lines"] == ["JSD \u2193 0.60 [0.55, 0.62]"]
    shown = figures.lines_of(figures.results_of(tmp_path / "fog"))
    assert [line[0] for line in shown if "precision" in line[0]] == [
        "precision \u2191\nhigher is better, by plain pixels: a good value says nothing"
    ]


def test_the_list_of_runs_says_where_samples_stand(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "whole", tmp_path / "fog")
    fog(tmp_path / "fog")
    tables.print_runs(RunIndex(tmp_path).entries(), [0])
    said = capsys.readouterr().out
    assert "far from the data" in said
    assert "precision" not in said


def test_precision_stands_beside_recall_and_coverage() -> None:
    own = [Figure("prdc180_mnist-lenet_test", name, "1", 1.0, "higher") for name in ("precision", "recall", "coverage")]
    entries = [Entry("a", "finished", figures=(Figure("jsd180_whole", "JSD", "0", 0.0, "lower"), *own))]
    entries.append(Entry("b", "finished", figures=tuple(own)))
    assert [metric for _, metric, _ in table.headline(entries)] == ["precision", "recall", "coverage"]


def test_compare_begins_with_two_runs_on_the_same_data() -> None:
    entries = [Entry(name, "finished", family="gan", data=data) for name, data in (("a", "x"), ("b", "y"), ("c", "y"))]
    assert compare.pair_of(entries) == ("b", "c")
    assert compare.pair_of(entries, "c", "a") == ("c", "a")
    assert compare.pair_of(entries, "c", "gone") == ("c", "b")
    assert compare.pair_of(entries[:2]) == ("a", "b")
    known = {entry.name: entry for entry in entries}
    assert compare.partners(known, "c") == {"b": "b", "a": "a (on other data: x)"}


def test_data_is_the_same_by_what_it_holds_not_by_its_path() -> None:
    """One run was given a relative path, one the whole; the newest is on data that no other run has."""
    entries = [
        Entry(name, "finished", family="gan", data=data, fingerprint=fingerprint)
        for name, data, fingerprint in (
            ("flags", "/pictures/flags", "f"), ("dcgan", "/pictures/emoji", "e"), ("small", "emoji", "e16"),
            ("stylegan", "emoji", "e"),
        )
    ]  # fmt: skip
    assert compare.pair_of(entries) == ("dcgan", "stylegan")
    assert next(iter(compare.partners({e.name: e for e in entries}, "stylegan"))) == "dcgan"
    assert not compare.same_data(entries[2], entries[3]), "the same path at another size is other data"


def test_small_pictures_show_the_first_samples(tmp_path: Path) -> None:
    x = torch.linspace(-1, 1, 12)[:, None, None, None].expand(12, 1, 16, 16)
    path = snapshots.save_snapshot(tmp_path, 10, x, columns=4)
    small = np.asarray(Image.open(io.BytesIO(thumbnail(path, 64))))
    tiles = snapshots.read_snapshot(path)[:, 0, 0, 0]
    assert small.shape == (3 * 17 + 1, 3 * 17 + 1)
    seen = [int(small[17 * row + 5, 17 * column + 5]) for row in range(3) for column in range(3)]
    assert seen == tiles[[0, 1, 2, 4, 5, 6, 8, 9, 10]].tolist()
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(DataError, match="is not a grid of samples"):
        thumbnail(tmp_path / "no.png")


def test_pictures_and_reports_are_served_and_a_report_carries_out_nothing(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "whole", tmp_path / "a run")
    client = TestClient(make_app(tmp_path), base_url="http://localhost")
    step = max(snapshot_steps(tmp_path / "a run"))
    answer = client.get(f"/thumbnail/a%20run/{step}.png")
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).width <= 160
    assert client.get("/thumbnail/a%20run/7777777.png").status_code == 404
    assert client.get("/thumbnail/..%2Fx/0.png").status_code == 404
    assert client.get("/report/a%20run").status_code == 404
    measured(tmp_path / "a run")
    page = client.get("/report/a%20run")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "sandbox" in page.headers["content-security-policy"]
    assert client.post("/bring/guessed?path=x.png", content=b"1").status_code == 400
    assert client.get("/report/a%20run", headers={"host": "elsewhere"}).status_code == 400


def test_every_option_of_every_family_stands_in_a_group() -> None:
    titles = {group_of(field.name) for kind in families().values() for field in dataclasses.fields(kind.Config)}
    assert titles == {"Networks", "Data and augmentation", "Steps and learning rates", "The game and its penalties"}
    assert [group_of(name) for name in ("lr", "batch_size", "k", "width", "augment", "objective")] == [
        *["Steps and learning rates"] * 3, "Networks", "Data and augmentation", "The game and its penalties",
    ]  # fmt: skip


def test_data_is_looked_at_by_the_likeliest_family_first() -> None:
    likely = {source: training._likely(source)[0] for source in ("digits", "sines", "ring8", "../few", "a/t.CSV.gz")}
    assert likely == {"digits": "dcgan", "sines": "timegan", "ring8": "gan", "../few": "dcgan", "a/t.CSV.gz": "timegan"}


def test_rows_of_a_table_are_shown_in_its_columns(tmp_path: Path) -> None:
    days = [datetime.date(2016, 1, 1) + datetime.timedelta(number) for number in range(200)]
    lines = [f"{day},{number * number % 97}" for number, day in enumerate(days)]
    (tmp_path / "prices.csv").write_text("day,price\n" + "\n".join(lines))
    dataset = load_dataset(str(tmp_path / "prices.csv"), calendar="on")
    assert dataset.layout is not None
    assert dataset.spec.shape[1] > len(dataset.layout.columns), "the calendar is no column of the table"
    for source in (dataset, load_dataset("digits"), load_dataset("ring8"), load_dataset("sines")):
        assert rows_of(source).width > 100


def test_choosing_stays_below_its_root(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "faces" / ".hidden").mkdir(parents=True)
    for name in ("a.png", "B.JPG", "table.csv", "notes.md", ".secret.csv"):
        (root / "faces" / name).write_text("")
    assert listing(root) == (["faces"], [], 0)
    assert listing(root / "faces") == ([], ["table.csv"], 2)
    assert listing(root / "nowhere") == ([], [], 0)
    (root / "out").symlink_to(tmp_path)
    assert below(root, root / "faces")
    assert not below(root, root / "out")
    assert not below(root, root / ".." / "other")


async def _pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


def brought(uploads: Uploads, files: dict[str, bytes], **limits: int) -> str:
    ticket = uploads.ticket(**limits)
    for path, content in files.items():
        asyncio.run(uploads.take(ticket, path, _pieces(content[:1], content[1:])))
    return ticket


def test_what_is_brought_is_kept_by_its_content(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "up")
    one = uploads.keep(brought(uploads, {"prices.csv": b"a,b"}))
    again = uploads.keep(brought(uploads, {"prices.csv": b"a,b"}))
    other = uploads.keep(brought(uploads, {"prices.csv": b"a,c"}))
    assert (one.name, one.read_bytes(), other.read_bytes()) == ("prices.csv", b"a,b", b"a,c")
    assert one == again
    folder = uploads.keep(brought(uploads, {"pets/cat/1.png": b"c", "pets/dog/1.png": b"d"}))
    assert folder.name == "pets"
    assert (folder / "dog" / "1.png").read_bytes() == b"d"
    several = uploads.keep(brought(uploads, {"1.png": b"c", "2.png": b"d"}))
    assert sorted(path.name for path in several.iterdir()) == ["1.png", "2.png"]
    assert uploads.read(brought(uploads, {"b.png": b"2", "a.png": b"1"})) == [("a.png", b"1"), ("b.png", b"2")]
    assert not [path for path in (tmp_path / "up").iterdir() if path.name.startswith(".")], "nothing half is left"


@pytest.mark.parametrize(
    "path", ["../x.png", "/x.png", "a/../../x", ".x", "a/.b/c", "", "a\\b", "a\nb", "a/" * 9 + "x"]
)
def test_what_is_brought_lands_nowhere_else(tmp_path: Path, path: str) -> None:
    uploads = Uploads(tmp_path / "up")
    with pytest.raises(ConfigError, match="is no name for a file of data"):
        brought(uploads, {path: b"1"})
    assert not list(tmp_path.rglob("x*"))


def test_what_is_brought_has_limits(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "up")
    with pytest.raises(DataError, match="more than 1 files"):
        brought(uploads, {"a": b"1", "b": b"2"}, most_files=1)
    with pytest.raises(DataError, match="more than 0 MB"):
        brought(uploads, {"a": b"123"}, most_bytes=2)
    with pytest.raises(ConfigError, match="load it again"):
        asyncio.run(uploads.take("guessed", "a", _pieces(b"1")))
    with pytest.raises(DataError, match="no file was brought"):
        uploads.keep(uploads.ticket())
