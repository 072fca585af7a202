"""The server: the same picture in any company, limits, and clients that misbehave."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.export.service import Service
from saddlepoint.families.stargan import StarGANConfig
from saddlepoint.family import DataSpec, build_family
from saddlepoint.run.run import Run
from saddlepoint.serve.api import check_origins, refusals
from saddlepoint.serve.api.access import Limits, access_line
from tests.unit.data_helpers import pictures, png
from tests.unit.serving import (
    CASES,
    client,
    run_of,
)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_a_picture_is_the_same_in_any_company(name: str, preset: str) -> None:
    service = Service(run_of(name, preset), batch=8)
    wanted = service.rows(3, seed=5)
    (alone,) = service.compute([wanted])
    others = [service.rows(n, seed=seed) for n, seed in ((2, 1), (3, 9))]
    first, second, last = service.compute([others[0], wanted, others[1]])
    assert np.array_equal(second, alone, equal_nan=True), "the bits depend on the place or on the neighbours"
    assert not np.array_equal(first[:2], alone[:2], equal_nan=True)
    assert len(last) == 3
    longer = service.compute([service.rows(6, seed=5)])[0]
    assert np.array_equal(longer[:3], alone, equal_nan=True), "a sample depends on how many are asked for"


@pytest.mark.parametrize(("name", "preset"), [("gan", "mnist"), ("dcgan", "small-conditional")])
def test_the_server_makes_what_the_command_makes(name: str, preset: str) -> None:
    run = run_of(name, preset)
    found = Service(run, batch=4).compute([Service(run, batch=4).rows(4, seed=3)])[0]
    assert np.abs(found - run.sample(4, seed=3).numpy()).max() < 1e-5


def test_truncation_pulls_towards_the_mean() -> None:
    service = Service(run_of("stylegan", "tiny-32"), batch=4)
    mean, near, far = (service.compute([service.rows(2, seed=1, truncation=t)])[0] for t in (0.0, 0.5, 1.0))
    assert np.abs(near - mean).mean() < np.abs(far - mean).mean()
    with pytest.raises(ConfigError, match="family 'gan' has no w to truncate; leave the truncation out"):
        Service(run_of("gan", "mnist")).rows(1, truncation=0.5)


def test_a_walk_ends_at_its_seeds() -> None:
    service = Service(run_of("cgan", "mnist"), batch=8)
    walk = service.compute([service.between([3, 7], 5, label="b")])[0]
    ends = [service.compute([service.rows(1, seed=seed, label="b")])[0][0] for seed in (3, 7)]
    assert np.abs(walk[0] - ends[0]).max() < 1e-6
    assert np.abs(walk[-1] - ends[1]).max() < 1e-6
    assert len(walk) == 5


@pytest.fixture(scope="module")
def digits() -> Service:
    return Service(run_of("cgan", "mnist"), batch=8)


def test_samples_come_as_png_npz_and_json(digits: Service) -> None:
    with client(digits) as ask:
        body = {"n": 4, "seed": 2, "label": "b"}
        answer = ask("POST", "/v1/sample", json={**body, "format": "json"}).json()
        assert answer["labels"] == ["b"] * 4
        samples = np.array(answer["samples"])
        arrays = np.load(io.BytesIO(ask("POST", "/v1/sample", json={**body, "format": "npz"}).content))
        assert np.abs(arrays["x"] - samples).max() < 1e-6
        drawn = ask("POST", "/v1/sample", json={**body, "format": "png"})
        assert drawn.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(drawn.content)) as sheet:
            pixels = np.asarray(sheet)
        assert pixels.shape == (32, 32)
        assert np.abs(pixels[:16, :16] / 127.5 - 1 - samples[0, 0]).max() < 1 / 127
        walk = ask("POST", "/v1/interpolate", json={"seeds": [1, 2], "steps": 3, "format": "json"}).json()
        assert walk["shape"] == [3, 1, 16, 16]


def test_the_server_says_what_it_is(digits: Service) -> None:
    with client(digits) as ask:
        assert ask("GET", "/health").json()["classes"] == ["a", "b", "c"]
        ask("POST", "/v1/sample", json={"n": 3})
        text = ask("GET", "/metrics").text
        assert 'saddlepoint_requests_total{path="/v1/sample",status="200"} 1' in text
        assert "saddlepoint_samples_total 3" in text
        assert "saddlepoint_batches_total 1" in text
        read = {s.name: s for family in text_string_to_metric_families(text) for s in family.samples}
        assert read["saddlepoint_answer_seconds_count"].value == 2
        assert read["saddlepoint_memory_bytes"].value == 0
        assert set(ask("GET", "/openapi.json").json()["paths"]) == {
            "/v1/sample", "/v1/interpolate", "/health", "/metrics",
        }  # fmt: skip
        assert ask("POST", "/v1/series", json={}).status_code == 404


def test_series_come_in_the_units_of_their_table() -> None:
    with client(Service(run_of("timegan", "increments"), batch=4)) as ask:
        lines = ask("POST", "/v1/series", json={"n": 2}).text.splitlines()
        assert lines[0].replace('"', "") == "window,x1,x2,x3"
        assert len(lines) == 1 + 2 * 8
        assert ask("POST", "/v1/sample", json={}).status_code == 404


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"n": 0}, "n is 0, but it must be at least 1"),
        ({"n": 257}, "n is 257, but it must be at most 256"),
        ({"n": 1.5}, "n is 1.5, but it must be a whole number"),
        ({"seed": -1}, "seed is -1, but it must be at least 0"),
        ({"seed": "5"}, "seed is '5', but it must be a whole number"),
        ({"seed": None}, "seed is null, but it must be a whole number"),
        ({"label": "0000"}, "label is '0000', but it must be the name of a class, or its index as a number"),
        ({"label": 3}, "there is no class '3' among the 3; choose from: a, b, c"),
        ({"label": ["a"]}, "label is a list of 1, but it must be the name or the index of a class"),
        ({"seed": 2**70}, "but it must be less than 9,007,199,254,740,992"),
        ({"label": "zebra"}, "there is no class 'zebra' among the 3; choose from: a, b, c"),
        ({"truncation": 0.5}, "family 'cgan' has no w to truncate; leave the truncation out"),
        ({"format": "pickle"}, "format is 'pickle', but it must be 'png', 'npz' or 'json'"),
        ({"path": "/etc/passwd"}, "there is no 'path' to ask for; choose from: format, label, n, seed"),
        ({"sed": 1}, "there is no 'sed' to ask for; did you mean 'seed'?"),
        ({"n": 0, "seed": -1}, "n is 0, but it must be at least 1; seed is -1, but it must be at least 0"),
        ([], 'the body is a list of 0, but it must be an object such as {"seed": 1}'),
    ],
)
def test_what_cannot_be_is_refused_in_words(digits: Service, body: Any, message: str) -> None:
    with client(digits) as ask:
        answer = ask("POST", "/v1/sample", json=body)
        assert answer.status_code == 422
        assert message in answer.json()["detail"]
        assert ask("POST", "/v1/sample", json={"n": 1}).status_code == 200


def test_rubbish_is_refused(digits: Service) -> None:
    with client(digits, limits=Limits(body=1000)) as ask:
        said = {"content-type": "application/json"}
        for content in (b"\x00\xff" * 30, b"\xff\xff", b"{", b"[" * 900):
            answer = ask("POST", "/v1/sample", content=content, headers=said)
            assert answer.status_code == 400, content
            assert answer.json()["detail"].startswith("the body is no JSON"), content
        for content in (b'{"n": 1e999}', b'{"n": NaN}'):
            answer = ask("POST", "/v1/sample", content=content, headers=said)
            assert answer.status_code == 422, content
            assert "but it must be a whole number" in answer.json()["detail"]
        for kind in ({}, {"content-type": "application/x-www-form-urlencoded"}):
            answer = ask("POST", "/v1/sample", content=b'{"n": 4}', headers=kind)
            assert answer.status_code == 415
            assert "send JSON with the header Content-Type: application/json" in answer.json()["detail"]
        assert "the body is empty" in ask("POST", "/v1/sample").json()["detail"]
        assert "/openapi.json says what can be asked" in ask("GET", "/docs").json()["detail"]
        answer = ask("DELETE", "/v1/sample")
        assert "does not take DELETE, but GET or POST" in answer.json()["detail"]
        assert answer.headers["allow"] == "GET, POST"
        assert ask("POST", "/v1/sample", content=b"x" * 1001).status_code == 413
        assert ask("POST", "/v1/sample", headers={"content-length": "-1"}).status_code == 413


def test_a_body_that_does_not_say_its_length_is_counted_as_it_comes(digits: Service) -> None:
    said, whole = {"content-type": "application/json"}, b'{"n": 1}'

    async def in_parts(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 400):
            yield body[start : start + 400]

    with client(digits, limits=Limits(small=1000)) as ask:
        for length, status in ((1000, 200), (1001, 413)):
            answer = ask("POST", "/v1/sample", content=in_parts(whole.ljust(length)), headers=said)
            assert answer.status_code == status, length
        assert answer.json()["detail"] == "the body has more than 1,000 bytes"


@pytest.mark.parametrize(
    ("name", "kind", "ctx", "words"),
    [
        ("n", "greater_than_equal", {"ge": 1}, "be at least 1"), ("n", "greater_than", {"gt": 0.5}, "be more than 0.5"),
        ("seed", "less_than", {"lt": 2**53}, "be less than 9,007,199,254,740,992"),
        ("n", "less_than_equal", {"le": 256.0}, "be at most 256"),
        ("seeds", "too_short", {"min_length": 2}, "have at least 2"),
        ("seeds", "too_long", {"max_length": 9}, "have at most 9"),
        ("format", "literal", {"expected": "'a' or 'b'"}, "be 'a' or 'b'"),
        ("seeds", "list_type", {}, "be a list"), ("format", "string_type", {}, "be text"),
        ("truncation", "float_parsing", {}, "be a number"), ("n", "int_parsing", {}, "be a whole number"),
    ],
)  # fmt: skip
def test_a_rule_is_told_in_words(name: str, kind: str, ctx: dict[str, Any], words: str) -> None:
    assert refusals._rule(name, kind, ctx) == words


@pytest.mark.parametrize("asked", [{"backend": "tensorrt"}, {"batch": 0}, {"backend": "", "batch": -1}])
def test_a_service_is_asked_for_what_there_is(asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="choose torch or onnx, and at least 1"):
        Service(run_of("cgan", "mnist"), **asked)


def test_a_label_of_a_generator_without_classes_is_refused_as_the_command_does() -> None:
    with client(Service(run_of("gan", "mnist"), batch=4)) as ask:
        wanted = "label '3' is asked for, but the generator is unconditional; leave the label out"
        for answer in (ask("POST", "/v1/sample", json={"label": 3}), ask("GET", "/v1/sample?label=3")):
            assert (answer.status_code, answer.json()["detail"]) == (422, wanted)


def test_an_address_answers_a_picture(digits: Service) -> None:
    with client(digits) as ask:
        for words in ({"seed": 3}, {"seed": 3, "n": 4, "label": "b"}, {"seed": 3, "label": 2}):
            asked = ask("GET", "/v1/sample", params=words)
            posted = ask("POST", "/v1/sample", json={**words, "format": "png"})
            assert asked.headers["content-type"] == "image/png"
            assert asked.content == posted.content
        assert ask("GET", "/v1/sample?seed=3&format=json").json()["shape"] == [1, 1, 16, 16]
        for query, message in (
            ("seed=x", "seed is 'x', but it must be a whole number"),
            ("n=0", "n is 0, but it must be at least 1"),
            ("label=", "there is no class ''"),
            ("label=zebra", "there is no class 'zebra' among the 3"),
            ("seeds=3", "there is no 'seeds' to ask for; did you mean 'seed'?"),
            ("truncation=0.7", "has no w to truncate"),
            ("format=gif", "but it must be 'png', 'npz' or 'json'"),
        ):
            answer = ask("GET", f"/v1/sample?{query}")
            assert answer.status_code == 422
            assert message in answer.json()["detail"]
    with client(Service(run_of("stylegan", "tiny-32"), batch=4)) as ask:
        one, other = (ask("GET", f"/v1/sample?seed=1&truncation={psi}") for psi in (0.5, 1.0))
        assert one.status_code == other.status_code == 200
        assert one.content != other.content
        assert "truncation is 9, but it must be at most 2" in ask("GET", "/v1/sample?truncation=9").text
    with client(Service(run_of("timegan", "increments"), batch=4)) as ask:
        assert ask("GET", "/v1/series?n=2&seed=1").text == ask("POST", "/v1/series", json={"n": 2, "seed": 1}).text


def test_the_page_asks_no_other_host_and_says_nothing_secret(digits: Service) -> None:
    with client(digits, token="secret") as ask:
        answer = ask("GET", "/")
        assert answer.status_code == 200
        assert not re.findall(r"https?://", answer.text)
        assert "secret" not in answer.text
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        script = re.findall("<script>(.*?)</script>", answer.text, re.DOTALL)
        assert len(script) == 1
        hashed = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
        assert f"script-src 'sha256-{hashed}'" in policy
        health = ask("GET", "/health").json()
        assert health["endpoints"] == ["/v1/interpolate", "/v1/sample"]
        assert health["token"] is True
        assert ask("GET", "/", headers={"host": "evil.example"}).status_code == 421


OURS, OTHER = "https://ours.example", "https://other.example"


def _preflight(ask: Any, origin: str, **headers: str) -> httpx.Response:
    asked = {"origin": origin, "access-control-request-method": "POST", **headers}
    return ask("OPTIONS", "/v1/sample", headers=asked)  # type: ignore[no-any-return]


def test_pages_of_other_origins_read_nothing_unless_they_are_named(digits: Service) -> None:
    with client(digits) as ask:
        answer = ask("GET", "/v1/sample", headers={"origin": OURS})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert _preflight(ask, OURS).status_code == 405
    with client(digits, origins=[OURS], token="secret") as ask:
        token = {"authorization": "Bearer secret"}
        for origin, allowed in ((OURS, OURS), (OTHER, None), (OURS + ".evil.example", None), ("null", None)):
            for answer in (ask("GET", "/v1/sample", headers={"origin": origin, **token}), _preflight(ask, origin)):
                assert answer.headers.get("access-control-allow-origin") == allowed
                assert "access-control-allow-credentials" not in answer.headers
                assert answer.headers["vary"] == "Origin"
        assert _preflight(ask, OURS).headers["access-control-allow-headers"] == "Authorization, Content-Type"
        # The page may read why it is refused; a preflight gives no samples and no way around the host's name.
        refused = ask("GET", "/v1/sample", headers={"origin": OURS})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == OURS
        assert _preflight(ask, OURS, host="evil.example").status_code == 421
        assert ask("OPTIONS", "/v1/sample").status_code == 401
    with client(digits, origins=["*"]) as ask:
        answer = ask("GET", "/v1/sample", headers={"origin": OTHER})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://a.example", "http://localhost:3000", "http://[::1]:80", "*"])
def test_origins_are_as_browsers_send_them(origin: str) -> None:
    check_origins([origin])


@pytest.mark.parametrize(
    "origin", ["", "a.example", "https://a.example/", "https://A.example", "https://*.example", "null"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match="must be as browsers send it"):
        check_origins([origin])


def test_answers_are_logged_a_line_each(digits: Service) -> None:
    lines = list[str]()
    with client(digits, access=lines.append) as ask:
        ask("GET", "/v1/sample?seed=3", headers={"authorization": "Bearer hidden"})
        ask("GET", "/nothing%0Ahere")
    first = re.fullmatch(r"\S+T\S+ 127.0.0.1 GET /v1/sample\?seed=3 200 (\d+) B \d+ ms", lines[0])
    assert first is not None
    assert int(first[1]) > 100
    assert " GET /nothing%0Ahere 404 " in lines[1]
    assert len(lines) == 2
    assert not any("\n" in line or "hidden" in line for line in lines)


def test_a_client_is_one_word_of_the_log() -> None:
    """What a proxy on this machine calls its client is any text: here it would be a line of its own."""
    scope = {"client": ("1.2.3.4 GET /b 200\n\x1b[2J" + "x" * 99, 0), "method": "GET", "path": "/a"}
    line = access_line(scope, 200, 7, 0.001)
    assert line.split(" ")[1:] == ["1.2.3.4?GET?/b?200??[2J" + "x" * 37, "GET", "/a", "200", "7", "B", "1", "ms"]


def test_only_who_knows_the_token_is_let_in(digits: Service) -> None:
    with client(digits, token="secret", hosts=None) as ask:
        assert ask("POST", "/v1/sample", json={}).status_code == 401
        for wrong in ("secre", "secretX", "secret secret", "Secret", "ecret"):
            answer = ask("GET", "/metrics", headers={"authorization": f"Bearer {wrong}"})
            assert answer.status_code == 401, wrong
        assert ask("POST", "/v1/sample", json={}, headers={"authorization": "Bearer secret"}).status_code == 200
        assert ask("GET", "/health").status_code == 200


def test_other_names_are_refused_on_this_machine(digits: Service) -> None:
    with client(digits) as ask:
        assert ask("GET", "/health", headers={"host": "evil.example"}).status_code == 421
        assert ask("GET", "/health", headers={"host": "localhost:99"}).status_code == 200


def test_a_class_is_asked_for_where_images_carry_several() -> None:
    """With one class a row, as the recorded pass takes it, whatever company a request has."""
    data = DataSpec("image", (3, 16, 16), ("red", "blue", "bold"), 20, labelling=((2, 1),))
    options = StarGANConfig(width=4, blocks=1, discriminator_width=4, layers=2)
    family = build_family("stargan", options, data)
    family.reset_parameters(torch.Generator().manual_seed(0))
    family.eval()
    kept = {"modality": "image", "shape": list(data.shape), "classes": list(data.classes)}
    service = Service(Run(Path("made"), {"family": "stargan", "data": kept}, family, 1, True), batch=4)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 16)).astype(np.float32)
    one, other = service.rows_of(x, 0, "bold"), service.rows_of(x, 0, None)
    assert one.tensors["labels"].tolist() == [2, 2]
    together = service.compute([one, other])
    assert np.array_equal(together[0], service.compute([one])[0])


def test_pictures_are_translated_and_come_in_the_formats_asked_for() -> None:
    """Each picture is what the run makes of it, whatever stands beside it in the request."""
    service = Service(run_of("stargan", "tiny-32"))
    side = service.run.family.data.shape[-1]
    given = [png(pixels) for pixels in pictures(3, side, service.run.family.data.shape[0])]
    run, bodies = service.run, [base64.b64encode(data).decode() for data in given]
    with client(service) as ask:

        def translated(pictures: list[str], **words: Any) -> httpx.Response:
            return ask("POST", "/v1/translate", json={"pictures": pictures, "label": "b", "format": "npz", **words})

        found = np.load(io.BytesIO(translated(bodies).content))["x"]
        inputs = run.read_pictures([(str(i), data) for i, data in enumerate(given)])
        wanted = run.generate(inputs, run.target("b").expand(3)).numpy()
        assert np.abs(found - wanted).max() < 1e-5
        assert np.array_equal(np.load(io.BytesIO(translated(bodies[1:2]).content))["x"], found[1:2])
        with Image.open(io.BytesIO(translated(bodies, format="png").content)) as sheet:
            assert sheet.size == (2 * side, 2 * side)
        for wrong, word in (([], "pictures"), (["AAAA"], "picture 0"), (["!"], "base64"), (bodies * 6, "16")):
            refused = translated(wrong)
            assert refused.status_code == 422
            assert word in refused.text


def test_pictures_are_read_safely() -> None:
    from saddlepoint.core.errors import DataError
    from saddlepoint.serve.api.responses import pictures_of

    assert pictures_of([base64.b64encode(b"abc").decode()]) == [("picture 0", b"abc")]
    with pytest.raises(DataError, match="no base64"):
        pictures_of(["../../etc/passwd"])


_OPENED: list[str] | None = None
"""Names of files that are opened, while it is a list: by Python or by a library that tells Python."""


def _hear(event: str, words: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir", "socket.connect") and _OPENED is not None:
        _OPENED.append(f"{event} {words[0]!r}")


@pytest.mark.parametrize(
    ("family", "preset", "paths"),
    [
        ("cgan", "mnist", ("sample", "interpolate")), ("timegan", "increments", ("series",)),
        ("stargan", "tiny-32", ("translate",)),
    ],
)  # fmt: skip
def test_names_in_requests_reach_no_file(
    family: str, preset: str, paths: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a field holds, a path or an address of a picture that is there: it is text, and nothing is opened."""
    secret = tmp_path / "secret.png"
    Image.new("RGB", (32, 32)).save(secret)
    monkeypatch.chdir(tmp_path)
    packed = base64.b64encode(secret.read_bytes()).decode()
    names = [str(secret), secret.name, f"../{tmp_path.name}/secret.png", secret.as_uri(), f"/{tmp_path.name}/secret"]
    names += [f"data:image/png;base64,{packed}", "data:image/svg+xml,<svg/>", "data:text/plain,secret.png"]
    names += ["http://127.0.0.1:9/secret.png", "hf:owner/secret", "~/secret.png", "secret.png\0", "secretpngAAA"]
    fields = ("label", "format", "seed", "seeds", "n", "pictures", "path")
    monkeypatch.setitem(globals(), "_OPENED", None)
    sys.addaudithook(_hear)
    with client(Service(run_of(family, preset), batch=4)) as ask:
        for path in paths:
            fine = {"translate": {"pictures": [packed]}, "interpolate": {"seeds": [1, 2]}}.get(path, {})
            assert ask("POST", f"/v1/{path}", json=fine).status_code == 200  # what is loaded once is loaded
            ask("GET", f"/v1/{path}", params={"seed": "x"})
            heard: list[str] = []
            monkeypatch.setitem(globals(), "_OPENED", heard)
            for name, field in itertools.product(names, fields):
                for value in (name, [name, name]):
                    answer = ask("POST", f"/v1/{path}", json={**fine, field: value})
                    assert answer.status_code == 422, (path, field, value)
                assert field != "label" or ask("GET", f"/v1/{path}", params={field: name}).status_code in (405, 422)
            monkeypatch.setitem(globals(), "_OPENED", None)
            assert heard == []


@pytest.mark.slow
def test_both_backends_agree(tmp_path: Path) -> None:
    options = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}
    run = saddlepoint.train("cgan", data="digits", steps=3, options=options, threads=1, out=tmp_path / "run")
    one, other = Service(run), Service(run, "onnx")
    rows = one.rows(5, seed=1)
    assert np.abs(one.compute([rows])[0] - other.compute([rows])[0]).max() < 1e-5
    assert json.loads((tmp_path / "run" / "export-onnx" / "model.json").read_text())["step"] == run.step
    assert torch.is_tensor(run.sample(1))
