"""From C to a library: compilers that fail, hang, lie or lack a part, folders of others, files cut short."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from saddlepoint.core.errors import ConfigError
from saddlepoint.nn.native import build, dispatch, library, products, trial
from saddlepoint.nn.native.build import Unavailable, built

Fake = Callable[[str], Path]
WRITES = 'for last; do :; done; [ "$last" = --version ] && exit; printf ELF > "$last"'
"""A compiler that puts three letters where the library should be."""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return what makes a compiler of a shell script; the processor has what is needed, the cache is empty."""
    monkeypatch.setattr(build, "abilities", lambda: frozenset(build.NEEDED))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path / "cache"))

    def make(script: str) -> Path:
        path = tmp_path / "fake cc"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("CC", f"'{path}'")
        return path

    return make


def test_a_compiler_is_asked_once(fake: Fake, tmp_path: Path) -> None:
    fake(f'echo run >> "{tmp_path}/asked"; {WRITES}')
    first, second = built(), built()
    assert first.path == second.path
    assert first.path.read_bytes()[: -build.DIGEST] == b"ELF"
    assert first.seconds is not None
    assert second.seconds is None
    # Its version twice, each file, and all of them together.
    assert (tmp_path / "asked").read_text().count("run") == 2 + len(build.SOURCES) + 1
    assert [path.name for path in first.path.parent.iterdir()] == [first.path.name]


@pytest.mark.parametrize("name", [*build.SOURCES, *build.HEADERS])
def test_another_source_is_another_library(
    name: str, fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(WRITES)
    copy = shutil.copytree(build.HERE, tmp_path / "sources")
    monkeypatch.setattr(build, "HERE", copy)
    first = built().path
    with open(copy / name, "a") as file:
        file.write("/* planted */\n")
    assert built().path != first


def test_every_source_is_compiled_and_none_is_wide() -> None:
    found = {path.name: path.read_text() for path in build.HERE.iterdir() if path.suffix in (".c", ".h")}
    assert sorted(found) == sorted((*build.SOURCES, *build.HEADERS))
    assert [name for name, text in found.items() if max(map(len, text.splitlines())) > 120] == []


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ('[ "$1" = --version ] || { echo "x.c:1: error: no such thing" >&2; exit 1; }', "error: no such thing"),
        ('echo "licence expired" >&2; exit 3', "licence expired"),
        ('[ "$1" = --version ] || exit 4', "it ends with 4"),
        ('[ "$1" = --version ] || kill -9 $$', "it ends with -9"),
        ("exit 0", "wrote nothing"),
    ],
)
def test_a_compiler_that_fails_is_quoted(script: str, why: str, fake: Fake, tmp_path: Path) -> None:
    fake(script)
    with pytest.raises(Unavailable) as caught:
        built()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").rglob("*.so")) == []


@pytest.mark.parametrize("asked", ["--version", "-o"])
def test_a_compiler_that_hangs_ends_with_all_that_it_began(
    asked: str, fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "SECONDS", 0.5)
    fake(f'case "$*" in *{asked}*) sh -c "echo \\$\\$ > \'{tmp_path}/child\'; sleep 60; :" ;; esac')
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"took more than 0 s|took more than 1 s"):
        built()
    assert time.monotonic() - began < 30
    child = int((tmp_path / "child").read_text())
    with pytest.raises(ProcessLookupError):
        _wait_for_end(child)


def _wait_for_end(process: int) -> None:
    for _ in range(100):
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":  # killed; nobody has waited for it yet
            raise ProcessLookupError
        time.sleep(0.05)


def test_warnings_and_much_talk_are_no_failure(fake: Fake) -> None:
    fake(f"yes 'warning: error in the weather' | head -c 3000000 >&2; {WRITES}")
    assert built().path.is_file()


def test_a_compiler_hears_nothing(fake: Fake) -> None:
    fake(f"cat; {WRITES}")
    assert built().path.is_file()


def test_without_openmp_they_are_compiled_for_one_thread(fake: Fake) -> None:
    fake(f'case "$*" in *-fopenmp*) echo "cannot find -lomp: error" >&2; exit 1 ;; esac; {WRITES}')
    assert built().path.is_file()


def test_cc_may_have_arguments(fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = fake(f'echo "$1" >> "{tmp_path}/asked"; shift; {WRITES}')
    monkeypatch.setenv("CC", f"'{path}' gcc-of-mine")
    assert build.compiler() == [str(path), "gcc-of-mine"]
    assert built().path.is_file()
    assert set((tmp_path / "asked").read_text().split()) == {"gcc-of-mine"}


def test_another_cc_is_another_library(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake(WRITES)
    first = built().path
    monkeypatch.setenv("CC", f"'{path}' -O1")
    assert built().path != first


def test_without_a_compiler_it_is_said(fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for asked in ("", "gcc", "'gcc", "/no/such/cc -O2"):
        monkeypatch.setenv("CC", asked)
        with pytest.raises(Unavailable, match="there is no C compiler"):
            built()


# ---- the folder --------------------------------------------------------------------------------------------------


def test_a_folder_that_others_can_write_to_is_refused(fake: Fake, tmp_path: Path) -> None:
    fake(WRITES)
    folder = tmp_path / "cache" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(Unavailable, match=r"others can write to .*chmod go-w"):
        built()
    folder.chmod(0o755)
    assert built().path.is_file()


def test_a_folder_that_cannot_be_made_is_named(fake: Fake, tmp_path: Path) -> None:
    fake(WRITES)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(Unavailable, match=r"Not a directory: .*cache"):
        built()


def test_a_file_that_others_can_write_to_is_made_again(fake: Fake) -> None:
    fake(WRITES)
    before = os.umask(0)
    try:
        path = built().path
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)
    assert built().seconds is not None
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"ELF", b"ELG" + bytes(32)])
def test_a_damaged_file_is_made_again(damage: bytes, fake: Fake) -> None:
    fake(WRITES)
    path = built().path
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert built().seconds is not None
    assert path.read_bytes() == whole


def test_two_processes_compile_at_once(fake: Fake, tmp_path: Path) -> None:
    fake(f'{WRITES[: WRITES.index("printf")]} sleep .2; printf ELF > "$last"')
    script = (
        "from saddlepoint.nn.native import build\n"
        "build.abilities = lambda: frozenset(build.NEEDED)\n"
        "print(build.built().path.read_bytes()[:3])"
    )
    started = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in started] == ["b'ELF'\n"] * 2
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 1


# ---- the machine -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("system", "name"), [("win32", "Windows"), ("darwin", "Darwin")])
def test_other_systems_are_named(system: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.sys, "platform", system)
    monkeypatch.setattr(build.platform, "system", lambda: name)
    with pytest.raises(Unavailable, match=f"they are for Linux, and this is {name}"):
        built()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "the system does not tell"),
        (b"model name : \xff\xfe\n", "the system does not tell"),
        (b"flags : fpu avx512_bf16 avx512bw avx512dq\n", "the processor has no avx512vl"),
        (b"flags : fpu sse2\n", "the processor has no avx512_bf16"),
        (b"flags : avx512_bf16 avx512bw avx512dq avx512vl amx_bf16\n", "the processor has amx_bf16, which PyTorch"),
    ],
)
def test_processors_that_do_not_suit(
    text: bytes | None, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_bytes(text)
    monkeypatch.setattr(build, "CPUINFO", str(file))
    monkeypatch.setattr(build.sys, "platform", "linux")
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    with pytest.raises(Unavailable, match=why):
        built()
    monkeypatch.setattr(build.platform, "machine", lambda: "aarch64")
    with pytest.raises(Unavailable, match="the processor has no avx512_bf16"):
        built()


# ---- loading, trying, telling ------------------------------------------------------------------------------------


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this test load as a new process does."""
    for name in ("why_not", "load", "compiled"):
        fresh = functools.cache(getattr(dispatch, name).__wrapped__)
        for place in (dispatch, library):
            monkeypatch.setattr(place, name, fresh, raising=False)
    monkeypatch.setattr(dispatch._Process, "asked", False)
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)


def test_what_cannot_be_loaded_is_no_exception(fake: Fake, anew: None) -> None:
    fake(WRITES)
    assert dispatch.why_not().startswith("what ")
    assert "cannot be loaded" in dispatch.why_not()
    with torch.autocast("cpu", torch.bfloat16), dispatch.applied():
        assert dispatch.kernels(torch.ones(2, 2)) is None
    assert dispatch.told() == f"PyTorch's ({dispatch.why_not()})"
    assert dispatch.state() == f"PyTorch: {dispatch.why_not()}"


def test_the_trial_is_carried_out_in_full_precision_wherever_it_is_asked_for() -> None:
    if dispatch.why_not():
        return
    assert trial.first_wrong() == ""
    with torch.autocast("cpu", torch.bfloat16):
        assert trial.first_wrong() == ""


def test_a_library_that_computes_something_else_is_not_used(anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if dispatch.why_not():
        assert dispatch.state() == "PyTorch"
        return
    assert trial.first_wrong() == ""
    dispatch.why_not.cache_clear()
    real = products.weight_gradient
    monkeypatch.setattr(products, "weight_gradient", lambda *a: real(*a) + 1)
    assert dispatch.why_not() == "compiled here they compute something else (weight gradient)"
    monkeypatch.setattr(products, "weight_gradient", lambda *a: real(*a) * torch.nan)
    assert trial.first_wrong() == "weight gradient"


def test_the_environment_asks_for_pytorch(anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dispatch.state() == "PyTorch"  # nothing was computed in bf16 yet, and nothing is compiled for a description
    monkeypatch.setenv(dispatch.VARIABLE, "pytorch")
    with torch.autocast("cpu", torch.bfloat16), dispatch.applied():
        assert dispatch.kernels(torch.ones(2, 2)) is None
    assert dispatch.told() == "PyTorch's (SADDLEPOINT_KERNELS=pytorch)"
    assert dispatch.state() == "PyTorch: SADDLEPOINT_KERNELS=pytorch"
    monkeypatch.setenv(dispatch.VARIABLE, "fast")
    with pytest.raises(ConfigError, match="must be one of: native, pytorch"):
        dispatch.told()


def test_other_threads_and_later_code_compute_by_pytorch() -> None:
    from threading import Thread

    x, found = torch.ones(2, 2, dtype=torch.bfloat16), []
    with dispatch.applied():
        other = Thread(target=lambda: found.append(dispatch.kernels(x)))
        other.start()
        other.join()
        assert (dispatch.kernels(x) is None) == bool(dispatch.why_not())
    assert found == [None]
    assert dispatch.kernels(x) is None
