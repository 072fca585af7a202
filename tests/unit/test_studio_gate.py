"""What strangers may do to the studio: pages of other origins, bodies, names in addresses, files that are no files."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from fastapi.testclient import TestClient
from nicegui import Client, core
from PIL import Image, ImageFile
from starlette.websockets import WebSocketDisconnect

import saddlepoint
from saddlepoint.core.errors import DataError
from saddlepoint.run import jobs
from saddlepoint.serve.studio import charts, framework, gate, own_images, parts, state, waits
from saddlepoint.serve.studio import run as run_page
from saddlepoint.serve.studio.app import make_app
from saddlepoint.serve.studio.gate import Gate
from saddlepoint.serve.studio.state import Studio
from saddlepoint.serve.studio.uploads import Uploads
from tests.unit.test_studio_limits import pieces

HOST = "localhost:8017"
OWN = f"http://{HOST}"
FOREIGN = ("http://evil.example", "http://localhost:3000", "https://localhost", "null", "", "http://", "file://", "x")
OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[TestClient]:
    """Return a client of a studio over an empty folder."""
    with TestClient(make_app(tmp_path), base_url=OWN, raise_server_exceptions=False) as client:
        yield client


def hung_up(client: TestClient, headers: dict[str, str]) -> None:
    """Begin a live connection, and end it at once."""
    with client.websocket_connect("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", headers=headers):
        pass


def test_pages_of_other_origins_send_nothing_and_hear_nothing(page: TestClient) -> None:
    """W1: the live connection, which moves every slider and starts trainings, took any page of the web."""
    live, query = "/_nicegui_ws/socket.io/", {"EIO": "4", "transport": "polling"}
    assert page.get(live, params=query, headers={"origin": OWN}).status_code == 200
    for origin in FOREIGN:
        assert page.get(live, params=query, headers={"origin": origin}).status_code == 403, origin
        assert page.post("/bring/guessed?path=x", content=b"1", headers={"origin": origin}).status_code == 403, origin
        with pytest.raises(WebSocketDisconnect) as refused:
            hung_up(page, {"origin": origin, "host": HOST})
        assert refused.value.code == 1008, origin


def test_of_two_origins_or_hosts_none_is_believed() -> None:
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/lab", "query_string": b""}
    for twice in (b"origin", b"host"):
        headers = [(b"host", HOST.encode()), (b"origin", OWN.encode())]
        headers += [(name, value) for name, value in headers if name == twice]
        assert gate.refusal({**scope, "headers": headers}) == (
            403,
            gate._FOREIGN,
        )


def test_a_file_that_is_cut_off_is_an_answer_and_no_error(tmp_path: Path) -> None:
    """As an error it would be a line in the terminal for each visitor who leaves."""
    path, words = "/bring/none", []

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def told(message: Any) -> None:
        words.append(message)

    with TestClient(make_app(tmp_path), base_url=OWN) as client:
        found = re.search(r'data-ticket=.{0,2}"([\w-]+)', client.get("/train").text)
        assert found is not None
        path = f"/bring/{found[1]}"
        headers = [(b"host", HOST.encode()), (b"content-length", b"9")]
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"path=a",
                 "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("localhost", 8017),
                 "client": ("127.0.0.1", 1), "root_path": ""}  # fmt: skip
        asyncio.run(client.app(scope, gone, told))  # type: ignore[arg-type]
    assert words[0]["status"] == 400


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("https://lab.example", "lab.example", True), ("https://lab.example", "lab.example:443", True),
        ("http://LAB.example", "lab.example:80", True), ("http://[::1]:8017", "[::1]:8017", True),
        ("http://127.0.0.1:9000", "127.0.0.1:9000", True),  # a port that was forwarded
        ("https://lab.example", "lab.example:80", False), ("http://lab.example", "lab.example:443", False),
        ("https://lab.example", "127.0.0.1:8017", False), ("https://lab.example", "", False),
        ("https://", ":443", False), ("https://", "", False), ("https://lab.example:443", "lab.example", True),
    ],
)  # fmt: skip
def test_the_usual_port_of_a_scheme_may_be_said(origin: str, host: str, own: bool) -> None:
    """Proxies pass on the host with its port, or without."""
    assert gate.is_foreign({b"origin": origin.encode(), b"host": host.encode()}) is not own


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/lab", 200), ("/nowhere", 404), ("/report/none", 404), ("/snapshot/none/0.png", 404), ("/favicon.ico", 200),
        (f"/_nicegui/{framework.client.__version__}/static/nicegui.js", 200), ("/compare?one=%00", 200),
        ("/_nicegui_ws/socket.io/?EIO=1", 400), ("/_nicegui/none", 404),
    ],
)  # fmt: skip
def test_every_answer_may_be_framed_by_nobody(page: TestClient, path: str, status: int) -> None:
    """W2: errors and files of the framework, too."""
    answer = page.get(path)
    assert answer.status_code == status
    told = answer.headers
    assert "frame-ancestors 'none'" in told["content-security-policy"]
    assert (told["x-frame-options"], told["x-content-type-options"]) == ("DENY", "nosniff")
    assert (told["referrer-policy"], told["cross-origin-resource-policy"]) == ("no-referrer", "same-origin")
    assert not [name for name in told if name.startswith("access-control-")]


def test_what_is_refused_or_fails_may_be_framed_by_nobody_either(
    page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2: a wrong host, a wrong method, an error that nobody foresaw."""
    monkeypatch.setattr(Studio, "path", lambda self, name: 1 / 0)
    for answer in (
        page.get("/", headers={"host": "evil.example"}),
        page.put("/"),
        page.post("/"),
        page.get("/report/a"),
        page.get("/", headers={"origin": "http://evil.example"}),
    ):
        assert answer.status_code in (400, 403, 405, 500), answer
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert page.get("/report/a").status_code == 500


def test_scripts_carry_a_word_that_no_text_can_know(page: TestClient) -> None:
    one, two = page.get("/lab"), page.get("/lab")
    words = [re.search(r"'nonce-([\w-]{22})'", each.headers["content-security-policy"]) for each in (one, two)]
    assert words[0]
    assert words[1]
    assert words[0][1] != words[1][1]
    scripts = re.findall(r"<script[^>]*>", one.text)
    assert len(scripts) > 5
    assert all(f'nonce="{words[0][1]}"' in script for script in scripts)
    policy = dict(part.split(" ", 1) for part in one.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert "unsafe-inline" not in policy["script-src"]
    assert not [source for value in policy.values() for source in value.split() if "." in source or "*" in source]
    answer = page.get("/x%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>" not in answer.text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"])
def test_no_page_describes_the_server_with_scripts_of_another_host(page: TestClient, path: str) -> None:
    """W3."""
    answer = page.get(path)
    assert answer.status_code == 404
    assert "cdn" not in answer.text


def test_pages_of_other_origins_embed_nothing(page: TestClient) -> None:
    """Pictures, scripts, frames; a link leads in."""
    sites = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert page.get("/lab", headers=sites).status_code == 403
    assert page.get("/lab", headers={**sites, "sec-fetch-site": "cross-site"}).status_code == 403
    frame = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    assert page.get("/lab", headers=frame).status_code == 403
    assert page.get("/lab", headers={**frame, "sec-fetch-dest": "document"}).status_code == 200
    assert page.get("/lab", headers={**sites, "sec-fetch-site": "same-origin"}).status_code == 200


def test_names_of_others_reach_nothing(tmp_path: Path) -> None:
    """A page of the web that gives itself this machine's address has a name of its own in Host."""
    with TestClient(make_app(tmp_path), base_url=OWN) as client:
        for host in ("evil.example", "evil.example:8017", "localhost.evil.example", "127.0.0.1.nip.io", ""):
            assert client.get("/", headers={"host": host}).status_code == 400, host
            with (
                pytest.raises(WebSocketDisconnect),
                client.websocket_connect("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", headers={"host": host}),
            ):
                pass


def test_the_cookie_goes_nowhere_else(tmp_path: Path) -> None:
    with TestClient(make_app(tmp_path, "10.0.0.1", "secret"), base_url="http://10.0.0.1") as client:
        answer = client.get("/lab?token=secret", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, "./lab")
        for asked, wanted in (
            ("/?token=secret", "/"),
            ("/lab?token=secret", "/lab"),
            ("/run/a%2Fb:c%20d?token=secret", "/run/a%2Fb:c%20d"),
            ("/compare?one=a&token=secret&two=b%2F", "/compare?one=a&two=b%2F"),
            ("//evil.example/x?token=secret", "/evil.example/x"),
        ):
            sent = client.get(f"http://10.0.0.1{asked}", follow_redirects=False)
            assert str(sent.url.join(sent.headers["location"])) == f"http://10.0.0.1{wanted}"
        kept = answer.headers["set-cookie"].lower()
        assert "httponly" in kept
        assert "samesite=strict" in kept
        assert client.get("/lab", headers={"host": "evil.example"}).status_code == 200, "with the cookie"
        client.cookies.clear()
        assert client.get("/lab", headers={"host": "evil.example"}).status_code == 401


def odd_names() -> list[str]:
    return [
        "x" * 300,
        "x" * 5000,
        "%00",
        "%2E%2E",
        "%2E",
        ".uploads",
        "..%2F..",
        "%ff",
        "a%0Ab",
        "%F0%9F%90%8E",
        "-rf",
        "~",
    ]


@pytest.mark.parametrize("name", odd_names())
def test_odd_names_in_addresses_are_no_runs(tmp_path: Path, name: str) -> None:
    """W20: a long name was an error of the server; what is hidden was a run with a button that deletes."""
    (tmp_path / ".uploads").mkdir()
    with TestClient(make_app(tmp_path), base_url=OWN) as client:
        for place in ("run", "report", "lab"):
            answer = client.get(f"/{place}/{name}")
            assert answer.status_code in (200, 404), place
            assert "Delete" not in answer.text
        for place in ("snapshot", "thumbnail"):
            assert client.get(f"/{place}/{name}/0.png").status_code == 404
        assert client.get("/compare", params={"one": name, "two": name}).status_code == 200


@pytest.mark.parametrize("step", ["-1", "1e3", "9" * 13, "9" * 5000, "%00", "0x1", "+1", "\u0661"])
def test_odd_steps_in_addresses_are_no_snapshots(tmp_path: Path, step: str) -> None:
    (tmp_path / "run" / "samples").mkdir(parents=True)
    with TestClient(make_app(tmp_path), base_url=OWN) as client:
        for place in ("snapshot", "thumbnail"):
            assert client.get(f"/{place}/run/{step}.png").status_code == 404


def test_links_in_a_run_show_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("<p>secret")
    (tmp_path / "runs/run/samples").mkdir(parents=True)
    (tmp_path / "runs/run/report").mkdir()
    (tmp_path / "runs/run/samples/step00000000.png").symlink_to(tmp_path / "secret")
    (tmp_path / "runs/run/report/index.html").symlink_to(tmp_path / "secret")
    with TestClient(make_app(tmp_path / "runs"), base_url=OWN) as client:
        for path in ("/snapshot/run/0.png", "/thumbnail/run/0.png", "/report/run"):
            answer = client.get(path)
            assert answer.status_code == 404, path
            assert "secret" not in answer.text


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gate")
    saddlepoint.train("gan", data="digits", steps=3, options=OPTIONS, threads=1, out=folder / "whole")
    return folder


def test_no_folder_keeps_the_pages_waiting(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W5: whatever a look at a folder takes, other pages are answered meanwhile."""
    shutil.copytree(trained / "whole", tmp_path / "whole")
    begun, go_on, seen = threading.Event(), threading.Event(), list[str]()

    def slow(self: Any, *names: str) -> Any:
        begun.set()
        go_on.wait(20)
        return [] if not names else state.Entry("whole", "broken", "slow")

    monkeypatch.setattr("saddlepoint.run.index.RunIndex.entries", slow)
    monkeypatch.setattr("saddlepoint.run.index.RunIndex.entry", slow)
    with TestClient(make_app(tmp_path), base_url=OWN) as client:
        for path in ("/", "/run/whole", "/compare"):
            begun.clear()
            go_on.clear()
            asking = threading.Thread(target=lambda path=path: seen.append(f"{path} {client.get(path).status_code}"))
            asking.start()
            assert begun.wait(20), path
            assert client.get("/lab").status_code == 200
            assert not go_on.is_set()
            go_on.set()
            asking.join(20)
    assert seen == ["/ 200", "/run/whole 200", "/compare 200"]


def test_a_pipe_in_a_run_is_passed_by(trained: Path, tmp_path: Path) -> None:
    """W5: a reader would wait for ever for whoever writes into it."""
    shutil.copytree(trained / "whole", tmp_path / "whole")
    for name in (jobs.OUTPUT, "report/index.html", "samples/step00000000.png"):
        path = tmp_path / "whole" / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    assert run_page.output_of(tmp_path / "whole") == ""
    with TestClient(make_app(tmp_path), base_url=OWN) as client:
        assert client.get("/report/whole").status_code == 404
        assert client.get("/snapshot/whole/0.png").status_code == 404


def test_what_a_process_said_is_text_and_its_end_only(tmp_path: Path) -> None:
    """W4: it was read whole, and taken for Markdown."""
    words = tmp_path / jobs.OUTPUT
    with words.open("wb") as file:
        file.truncate(10 * 1024**3)  # a hole: read whole, it would take the memory of the machine
        file.seek(0, os.SEEK_END)
        file.write(b"\n```\n<img src=x onerror=alert(1)>\n\x1b[2Jgone\n" + b"x" * 5000 + b"\n")
    said = run_page.output_of(tmp_path)
    assert said.splitlines() == ["```", "<img src=x onerror=alert(1)>", r"\x1b[2Jgone", "x" * 1000]
    assert not [path for path in Path(run_page.__file__).parent.glob("*.py") if "ui.markdown" in path.read_text()]
    assert "ui.code(" not in Path(run_page.__file__).read_text()


def test_bodies_have_limits_before_they_are_read(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """W14: sizes were looked at in the browser only; a body that nobody asks for is not read at all."""
    monkeypatch.setattr(gate, "MOST_BYTES", 10)
    monkeypatch.setattr(gate, "MOST_MESSAGE", 5)

    def never() -> Iterator[bytes]:
        raise AssertionError("the body is read")
        yield b""

    def sent(method: str, path: str, length: str) -> int:
        return page.request(method, path, content=never(), headers={"content-length": length}).status_code

    assert sent("POST", "/bring/x?path=a", "11") == 413
    assert sent("POST", "/_nicegui_ws/socket.io/?EIO=4&transport=polling&sid=x", "6") == 413
    assert sent("GET", "/lab", "1") == 413
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert sent(method, "/", "1") == 405
        assert sent(method, "/_nicegui/client/x/upload/1", "1") == 405, "the framework's own uploads are not used"
    assert sent("POST", "/bring/x?path=a", "many") == 411
    assert sent("POST", "/bring/x?path=a", "9" * 5000) == 413


def test_pictures_of_visitors_are_small_before_they_are_decoded(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """B4: 20 million pixels are 2.5 kB of PNG; here neither a byte of them is unpacked, nor another kind opened."""
    used: list[Any] = []
    zones: list[Any] = []
    monkeypatch.setattr(own_images, "DropZone", lambda uploads, words, take, **limits: zones.append((take, limits)))
    monkeypatch.setattr(own_images.waits, "here", lambda waited: waited)
    monkeypatch.setattr(own_images.ui, "column", lambda: MagicMock())
    monkeypatch.setattr(own_images.ui, "timer", lambda *words, **more: None)
    monkeypatch.setattr(own_images.parts, "waiting", lambda words: None)

    async def use(images: Any) -> None:
        used.append(images(saddlepoint.load(trained / "whole")))

    here = Studio(tmp_path)
    own_images.ways_in(here, "whole", use)
    take, limits = zones[0]
    assert limits == {"accept": "image/*", "most_files": 16, "most_bytes": 20_000_000}
    for name, size, kind in (("large", (5000, 4000), "PNG"), ("odd", (9, 9), "EPS")):
        file = io.BytesIO()
        Image.new("L", size).save(file, kind)
        word = here.uploads.ticket()
        asyncio.run(here.uploads.take(word, f"{name}.png", pieces(file.getvalue())))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it is decoded"))
            with pytest.raises(DataError, match=r"5,000x4,000 pixels, and at most 16,000,000|odd\.png"):
                asyncio.run(take(word))
    assert used == []


def test_words_of_uploads_and_pages_cannot_be_guessed(page: TestClient, tmp_path: Path) -> None:
    brought = Uploads(tmp_path)
    words = {brought.ticket() for _ in range(100)}
    assert len(words) == 100
    assert all(len(word) >= 22 for word in words), "128 bits"
    found = [re.search(r"'client_id': '([0-9a-f-]{36})'", page.get("/lab").text) for _ in range(2)]
    assert found[0]
    assert found[1]
    assert found[0][1][14] == "4", "a random UUID"
    assert sum(a != b for a, b in zip(found[0][1], found[1][1], strict=True)) > 20


def test_pages_beyond_a_number_are_refused_until_others_are_closed(
    page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    Client.prune_instances(client_age_threshold=-1)
    monkeypatch.setattr(gate, "MOST_PAGES", 3)
    assert [page.get("/lab").status_code for _ in range(5)] == [200, 200, 200, 503, 503]
    assert page.get("/favicon.ico").status_code == 200
    there = len(Client.instances)
    for name in ("snapshot/a", "thumbnail/a/b/c.png", "report/a/b", "bring/a/b", "_nicegui/none", "favicon.ico/a"):
        assert page.get(f"/{name}").status_code in (404, 405)
    assert len(Client.instances) == there, "what is no page is not answered with one"
    for client in Client.instances.values():
        client.created -= 6  # nobody connected in so many seconds
    assert page.get("/lab").status_code == 200


def test_one_page_does_not_do_everything_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(waits, "complain", lambda error: said.append(str(error)))

    class Page:
        is_deleted = False

    one, other = Page(), Page()
    monkeypatch.setattr(parts.ui, "context", SimpleNamespace(client=one))

    async def flood() -> int:
        done, go_on = 0, asyncio.Event()

        async def act() -> None:
            nonlocal done
            await go_on.wait()
            done += 1

        asked = [asyncio.ensure_future(waits.guarded(act)()) for _ in range(1000)]
        await asyncio.sleep(0)
        monkeypatch.setattr(parts.ui, "context", SimpleNamespace(client=other))
        asked.append(asyncio.ensure_future(waits.guarded(act)()))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*asked)
        return done

    assert asyncio.run(flood()) == waits.MOST_AT_ONCE + 1
    assert len(said) == 1000 - waits.MOST_AT_ONCE
    assert "this page is at 16 things already" in said[0]


def test_odd_words_of_a_run_make_no_endless_page() -> None:
    told = {"evidence": ["x" * 10_000] * 1000}
    assert [len(line) for line in state.evidence_of(told)] == [500] * 20
    for odd in (5, "text", {"a": 1}, None, True):
        assert state.evidence_of({"evidence": odd}) == []
    assert state.evidence_of({"evidence": [1, None]}) == ["1", "None"]
    lines: list[dict[str, Any]] = [{"nimg": 10**400, "V": 10**400}, {"nimg": 1000, "V": "x"}, {"nimg": 2000, "V": 1}]
    drawn = charts.line_options({"V": charts.column(lines, "V")})["series"][0]["data"]
    assert drawn == [[None, None], [2.0, 1.0]]


def test_lines_of_the_framework_are_harmless_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    framework.tame()
    framework.tame()
    log = logging.getLogger("nicegui")
    assert sum(isinstance(found, framework.Harmless) for found in log.filters) == 1
    shown = logging.StreamHandler()
    log.addHandler(shown)
    try:
        log.error("a\x1b[2Jb\nc" + "x" * 10_000)
        try:
            raise ValueError("q\x1b]0;owned\x07")
        except ValueError:
            log.exception("failed")
    finally:
        log.removeHandler(shown)
    said = capsys.readouterr().err
    assert r"a\x1b[2Jb\nc" in said
    assert r"ValueError: q\x1b]0;owned\x07" in said
    assert "\x1b" not in said
    assert len(said) < 5000


def test_a_page_moves_nothing_of_another_page(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not know a page's word, which is random, names no element of it."""
    shown = page.get("/lab/dirac").text
    word = re.search(r"'client_id': '([0-9a-f-]{36})'", shown)
    assert word
    moved: list[Any] = []
    client = Client.instances[word[1]]
    monkeypatch.setattr(client, "handle_event", moved.append)
    for guess in ("", "*", word[1].upper(), word[1][:-1], None):
        asyncio.run(core.sio.handlers["/"]["event"]("other", {"client_id": guess, "id": 1, "args": []}))
    assert moved == []


def test_the_gate_passes_on_what_is_no_request() -> None:
    passed: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    asyncio.run(Gate(app)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert passed == ["lifespan"]
    assert json.dumps(gate.policy("w")).count("'nonce-w'") == 1
