"""The studio without a browser: who may ask, which pages answer, what the diagrams hold."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from typer.testing import CliRunner

import saddlepoint
from saddlepoint import jobs
from saddlepoint._errors import CheckpointError, ConfigError
from saddlepoint.cli import app as command
from saddlepoint.lab import Curve, Panel
from saddlepoint.serve.address import listen
from saddlepoint.serve.studio import charts, open_studio
from saddlepoint.serve.studio.app import TokenGate
from saddlepoint.serve.studio.desk import Desk

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
    assert options["legend"]["data"] == ["a"]


def test_long_curves_keep_their_last_point() -> None:
    x, y = charts.thinned(range(5000), list(range(5000)))
    assert len(x) <= 600
    assert (x[-1], y[-1]) == (4999, 4999)
    assert charts.thinned([1.0], [2.0]) == ([1.0], [2.0])


def test_curves_of_a_training_stand_beside_theory(runs: Path) -> None:
    log = saddlepoint.load(runs / "whole").log
    found = charts.training_curves(log)
    assert list(found) == ["V(D, G), nats", "D(x) and D(G(z))", "losses"]
    assert found["V(D, G), nats"]["series"][0]["markLine"]["data"] == [{"yAxis": pytest.approx(-math.log(4))}]
    assert found["D(x) and D(G(z))"]["series"][0]["markLine"]["data"] == [{"yAxis": 0.5}]
    last = log[-1]
    assert found["V(D, G), nats"]["series"][0]["data"][-1] == pytest.approx([last["nimg"] / 1000, last["V"]], rel=1e-4)
    assert charts.training_curves([]) == {}
    name = charts.sign_names(log)[0]
    assert charts.sign_options(log, name)["series"][0]["data"]


def test_a_run_is_opened_again_when_it_was_saved_again(runs: Path) -> None:
    desk = Desk(runs)
    first, explorer = desk.open("whole")
    assert desk.open("whole")[0] is first
    assert explorer is not None
    saddlepoint.resume(runs / "whole", steps=720)
    assert desk.open("whole")[0].step == 720
    with pytest.raises(CheckpointError, match="there is no run 'hole'"):
        desk.open("hole")


def test_a_training_gets_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], Path]] = []

    def start(words: list[str], folder: Path) -> int:
        folder.mkdir(parents=True)
        asked.append((words, folder))
        return 1

    monkeypatch.setattr(jobs, "start", start)
    desk = Desk(tmp_path / "runs")
    names = [desk.train("gan", "../my photos", ["--seed", "1"]) for _ in range(2)]
    assert names[0] != names[1]
    assert all(name.startswith("gan-my-photos-") for name in names)
    assert asked[0] == (["gan", "--data", "../my photos", "--seed", "1"], tmp_path / "runs" / names[0])


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
    from saddlepoint import family, registry
    from saddlepoint.families.gan import GAN
    from saddlepoint.serve.studio.run import panels
    from saddlepoint.shelf import Entry

    class Translator(GAN):
        name, tags = "translator", family.Tags(modalities=("image",), input="image")

    class Sequences(GAN):
        name, tags = "sequences", family.Tags(modalities=("sequence",))

    for kind in (Translator, Sequences):
        monkeypatch.setitem(registry._REGISTRY, kind.name, kind)
    always = {"Training", "Filmstrip", "Samples", "Figures", "Data"}
    for name, modality, more in (
        ("gan", "image", {"Neighbours", "Explorer", "Projection"}), ("gan", "vector", {"Explorer"}),
        ("translator", "image", {"Neighbours", "Translation"}), ("sequences", "sequence", set()),
        ("gone", "image", {"Neighbours"}),
    ):  # fmt: skip
        assert set(panels(Entry("run", "finished", family=name, modality=modality))) == always | more
