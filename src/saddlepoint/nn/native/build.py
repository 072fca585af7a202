"""From sources in C to a file that can be loaded: the processor, the compiler, the cache. No PyTorch here."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from saddlepoint.core.cache import cache_dir

HERE = Path(__file__).parent
SOURCES = (
    "tiles.c", "gru.c", "steps.c", "weight_gradient.c", "elementwise.c", "maps.c", "style.c", "convolution.c",
    "packing.c", "affine.c",
)  # fmt: skip
"""Those that take longest come first, so that none is waited for in the end."""
HEADERS = ("vectors.h", "room.h", "functions.h", "products.h", "steps.h")
FLAGS = ("-O2", "-march=native", "-std=gnu11", "-shared", "-fPIC")
THREADED = "-fopenmp"
"""Not every compiler has the library for it; without it the kernels compute with one thread."""

NEEDED = ("avx512_bf16", "avx512bw", "avx512dq", "avx512vl")
"""What the processor must be able to do."""

TOO_GOOD = "amx_bf16"
"""Where PyTorch has matrix units, which these kernels do not use."""

SECONDS = 120.0
"""A compiler may take; it needs four."""

CPUINFO = "/proc/cpuinfo"
DIGEST = hashlib.sha256().digest_size


class Unavailable(Exception):
    """There are no kernels here; the message says why."""


class _TooSlow(Unavailable):
    pass


@dataclass(frozen=True)
class Built:
    """A library that can be loaded.

    Attributes:
        path: of the file.
        compiler: the command that made it.
        seconds: that compiling took just now; None: it was made before.
    """

    path: Path
    compiler: str
    seconds: float | None


def built() -> Built:
    """Return the compiled sources, from the cache if they are there.

    Raises:
        Unavailable: if they cannot be had: another system or processor, no compiler or one that fails, no folder.
    """
    if sys.platform != "linux":
        raise Unavailable(f"they are for Linux, and this is {platform.system() or sys.platform}")
    able = abilities()
    if missing := [name for name in NEEDED if name not in able]:
        raise Unavailable(f"the processor has no {missing[0]}" if able else "the system does not tell the processor's")
    if TOO_GOOD in able:
        raise Unavailable(f"the processor has {TOO_GOOD}, which PyTorch uses")
    try:
        return _compiled(compiler(), able)
    except OSError as error:
        raise Unavailable(f"{error.strerror or error}: {error.filename or cache_dir()}") from error


def abilities() -> frozenset[str]:
    """Return the flags of the processor; none where the system does not tell them."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset((platform.machine(),))
    try:
        with open(CPUINFO, errors="replace") as lines:
            return frozenset(next((line.split() for line in lines if line.startswith("flags")), []))
    except OSError:
        return frozenset()


def compiler() -> list[str]:
    """Return the command of the C compiler: that of ``CC``, which may have arguments, else cc, gcc, clang.

    Raises:
        Unavailable: if there is none.
    """
    try:
        asked = shlex.split(os.environ.get("CC", ""))
    except ValueError:  # a quote that is not closed
        asked = []
    for command in (asked, ["cc"], ["gcc"], ["clang"]):
        if command and (found := shutil.which(command[0])):
            return [found, *command[1:]]
    raise Unavailable("there is no C compiler")


def _compiled(command: Sequence[str], able: frozenset[str]) -> Built:
    """Return the library's file: that of these sources, this compiler and this processor."""
    name, texts = shlex.join(command), [(HERE / each).read_bytes() for each in (*SOURCES, *HEADERS)]
    version = _ran([*command, "--version"])
    told = "\0".join([*FLAGS, THREADED, name, version, *sorted(able)]).encode()
    key = hashlib.sha256(b"\0".join([*texts, told])).hexdigest()[:32]
    path = _folder() / f"kernels-{key}.so"
    if _is_whole(path):
        return Built(path, name, None)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=path.parent, ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "kernels.so"
        _compile(command, made)
        contents = made.read_bytes()
        # Its checksum is its end, which loaders do not look at: a file cut short would end the process that loads it.
        made.write_bytes(contents + hashlib.sha256(contents).digest())
        made.chmod(0o600)  # whatever the umask: what others can write to is not loaded
        os.replace(made, path)  # at once: another process that compiles the same puts the same file there
    return Built(path, name, time.monotonic() - started)


def _compile(command: Sequence[str], to: Path) -> None:
    try:
        _compile_with(command, (*FLAGS, THREADED), to)
    except _TooSlow:
        raise
    except Unavailable:
        _compile_with(command, FLAGS, to)
    if not to.is_file():
        raise Unavailable(f"{Path(command[0]).name} says that it compiled them, but wrote nothing")


def _compile_with(command: Sequence[str], flags: Sequence[str], to: Path) -> None:
    parts = {str(HERE / each): str(to.with_name(f"{each}.o")) for each in SOURCES}
    # Side by side: a run waits for them.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda source: _ran([*command, *flags, "-c", source, "-o", parts[source]]), parts))
    _ran([*command, *flags, *parts.values(), "-o", str(to)])


def _ran(command: Sequence[str]) -> str:
    """Return what a program prints; it hears nothing, and leaves nothing running behind.

    Raises:
        Unavailable: if it fails or takes longer than `SECONDS`.
    """
    # In a session of its own: a compiler is several processes, and those that hang must end with it.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*command], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
            raise _TooSlow(f"{Path(command[0]).name} took more than {SECONDS:.0f} s") from None
        except BaseException:
            _end(process)
            raise
        said.seek(0)
        text = said.read(2**20).decode(errors="replace")
    if code:
        raise Unavailable(
            f"{Path(command[0]).name} cannot compile them: {_first_error(text) or f'it ends with {code}'}"
        )
    return text


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _first_error(text: str) -> str:
    """Return the line that says what is wrong: the first with "error", else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")[:200]


def _folder() -> Path:
    """Return a folder that nobody else can write to: what lies in it is carried out."""
    folder = cache_dir() / "kernels"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _is_ours(folder):
        raise Unavailable(f"others can write to {folder}: take that right away (chmod go-w), or remove it")
    return folder


def _is_ours(path: Path) -> bool:
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _is_whole(path: Path) -> bool:
    """Whether the file is there, as it was written, by us."""
    if not path.is_file() or not _is_ours(path):
        return False
    contents = path.read_bytes()
    return len(contents) > DIGEST and hashlib.sha256(contents[:-DIGEST]).digest() == contents[-DIGEST:]
