"""The model card, and the way to the hub and back, against a stand-in that listens on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub import ModelCard

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.data.sources import hub as sources
from saddlepoint.evaluation import kept_report
from saddlepoint.evaluation.rows import kind_of
from saddlepoint.export import export_run
from saddlepoint.export.card import card
from saddlepoint.export.hub import push
from saddlepoint.run.run import Run
from tests.unit.measured import measured

COMMIT = "c0ffee" * 6 + "abcd"


class StandIn(BaseHTTPRequestHandler):
    """As much of the hub as an upload and a download ask for."""

    files: dict[str, bytes]
    token: str
    visibility: str = ""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def answer(self, content: object, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {self.token}":
            self.answer({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            type(self).visibility = json.loads(body)["visibility"]
            self.answer({"url": f"{huggingface_hub.constants.ENDPOINT}/me/digits"})
        elif "/preupload/" in self.path:
            found = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.answer({"files": found})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                {
                    "commitUrl": f"{huggingface_hub.constants.ENDPOINT}/me/digits/commit/{COMMIT}",
                    "commitOid": COMMIT,
                    "success": True,
                }
            )
        else:
            self.answer({"error": f"what is {self.path}?"}, 404)

    def do_GET(self) -> None:
        name = self.path.partition(f"/resolve/{COMMIT}/")[2]
        if self.path.startswith("/api/models/me/digits/tree/"):
            sizes = {path: len(content) for path, content in self.files.items()}
            oid = {path: hashlib.sha1(content).hexdigest() for path, content in self.files.items()}
            self.answer([{"type": "file", "path": p, "size": size, "oid": oid[p]} for p, size in sizes.items()])
        elif self.path.startswith("/api/models/me/digits"):
            siblings = [{"rfilename": path} for path in self.files]
            self.answer({"id": "me/digits", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
        elif name in self.files:
            tag = hashlib.sha256(self.files[name]).hexdigest()
            self.answer(self.files[name], X_Repo_Commit=COMMIT, ETag=f'"{tag}"')
        else:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[StandIn]]:
    """Return a hub on this machine, empty."""
    handler = type("Handler", (StandIn,), {"files": {}, "token": "hf_secret"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    constants = huggingface_hub.constants
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": address, "HF_HUB_OFFLINE": False, "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_TOKEN_PATH": str(tmp_path / "token"), "HUGGINGFACE_CO_URL_TEMPLATE": template,
    }.items():  # fmt: skip
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a conditional run on digits with figures."""
    return measured(tmp_path_factory, ["fd", "memorisation"])


def test_up_to_the_hub_and_back(run: Run, hub: type[StandIn], tmp_path: Path) -> None:
    folder = export_run(run, "hub", tmp_path / "out")
    (folder / "secret.txt").write_text("not to be uploaded")
    push(folder, "me/digits")
    assert set(hub.files) == {"README.md", "config.json", "model.safetensors", "metrics.jsonl", "samples.png"}
    assert hub.files["metrics.jsonl"].count(b"\n") == 2
    assert b'saddlepoint.load("hf:me/digits")' in hub.files["README.md"]
    again = saddlepoint.load("hf:me/digits")
    assert torch.equal(again.sample(8, seed=2, label=3), run.sample(8, seed=2, label=3))


def test_a_push_and_a_name_are_enough(run: Run, hub: type[StandIn]) -> None:
    saddlepoint.push_to_hub(run, "me/digits")
    again = saddlepoint.from_pretrained("me/digits")
    assert torch.equal(again.sample(8, seed=2), run.sample(8, seed=2))
    assert not (run.path / "export-hub").exists(), "nothing is left in the run"


@pytest.mark.parametrize("visibility", ["private", "public"])
def test_a_private_repository_is_asked_for_as_one(visibility: str, run: Run, hub: type[StandIn]) -> None:
    saddlepoint.push_to_hub(run, "me/digits", private=visibility == "private")
    assert hub.visibility == visibility


def test_no_path_of_this_machine_goes_out(run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(run.path, moved)
    kept = moved / "report" / "metrics.jsonl"
    kept.write_text(kept.read_text().replace('"data": "digits"', f'"data": "{tmp_path}/photos"'))
    folder = export_run(saddlepoint.load(moved), "hub", tmp_path / "out")
    assert '"data": "photos"' in (folder / "metrics.jsonl").read_text()
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name


def test_refusals_of_the_hub_are_told(
    run: Run, hub: type[StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "another"
    folder = export_run(run, "hub", tmp_path / "out")
    with pytest.raises(ConfigError, match="hf auth login"):
        push(folder, "me/digits")
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        push(folder, "digits")
    with pytest.raises(CheckpointError, match=r"cannot be loaded from the hub .*; check the id"):
        saddlepoint.load("hf:me/nothing")
    monkeypatch.setattr(sources, "unreachable", lambda: "no answer within 2.5 s")
    with pytest.raises(CheckpointError, match=r"the hub does not answer \(no answer within 2.5 s\)"):
        saddlepoint.from_pretrained("me/nothing")
    monkeypatch.setattr(sources, "offline", lambda: True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        push(folder, "me/digits")
    with pytest.raises(CheckpointError, match="is not a hub id"):
        saddlepoint.load("hf:../../etc/passwd")


def test_the_card_says_what_a_reader_must_know(run: Run) -> None:
    text = card(run, "me/digits")
    assert text.startswith("---\nlibrary_name: saddlepoint\n")
    front = text.split("---")[1]
    assert "license: unknown" in front, "the licence of a generator is not the tool's to choose"
    assert 'explore.grid(samples).save("samples.png")' in text
    for word in ("fd", "held-out data", "95% interval", "Memorisation", "licence of the data", "doctor", "seed of"):
        assert word in text or word == "seed of", word
    row = next(line for line in text.splitlines() if line.startswith("| `fd"))
    value = run.path / "report" / "metrics.jsonl"
    kept = next(json.loads(line) for line in value.read_text().splitlines() if '"fd' in line)
    shown = f"{kept['rows'][0]['value']:,.1f}"[:3].replace(",", "")
    assert shown[:2] in row.replace(",", "")
    assert str(run.path.parent) not in text


def test_the_hub_reads_the_figures_of_the_card(run: Run) -> None:
    """As the hub's own reader does; the verdict is in words, and the doctor's word comes last."""
    text = card(run, "me/digits")
    read: Any = ModelCard(text).data
    (kept,) = [row for row in kept_report(run.path / "report").results if kind_of(row.protocol) == "fd"]
    found = {result.metric_name: result.metric_value for result in read.eval_results}
    name = f"{kept.rows[0].metric} ({kept.protocol})"
    assert found[name] == pytest.approx(kept.rows[0].value, rel=1e-5)
    assert read.license == "unknown"
    assert {result.dataset_name for result in read.eval_results} == {"digits"}
    verdict = kept_report(run.path / "report").verdict
    assert verdict
    assert verdict in text
    hub = Run(run.path, {**run.config, "data": {**run.config["data"], "source": "mnist"}}, run.family, 1, True)
    other: Any = ModelCard(card(hub)).data
    assert other.datasets == ["ylecun/mnist"]


def test_a_run_without_figures_says_so(run: Run, tmp_path: Path) -> None:
    bare = Run(tmp_path / "bare", run.config, run.family, run.step, True)
    text = card(bare)
    assert "Not measured" in text
    assert "nobody has looked whether samples copy" in text
