"""A page that samples in the browser: one folder that works from a disk, a server or a stick, and asks no other host.

The runtime is onnxruntime-web, 13 MB of WebAssembly: too much for saddlepoint's own wheel. It is fetched once, when the
first page is exported, by the npm client, in a pinned version whose SHA-512 is checked, and copied into the folder.
Browsers refuse modules and fetches of pages that are opened from a disk, so code and weights are scripts that set
variables.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saddlepoint.core.cache import cache_dir
from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.files import write_atomically
from saddlepoint.core.progress import Say
from saddlepoint.core.templates import render
from saddlepoint.data.names import data_file

PACKAGE, VERSION = "onnxruntime-web", "1.27.0"
SHA512 = "ogDLsqIozHZwifPuN37OproAo0byX6t43/bP8GzeZWBWD6MOGExswFAx3up4NS/vvWBOg2u2PXomDt3rMmdQSg=="
"""Of the package's file, as npm's integrity field has it."""

_MODULE, _WASM = "package/dist/ort.wasm.bundle.min.mjs", "package/dist/ort-wasm-simd-threaded.wasm"
_FILE = f"{PACKAGE}-{VERSION}.tgz"
_SECONDS = 600


def write_page(description: Mapping[str, Any], graphs: Mapping[str, bytes], folder: Path, say: Say) -> None:
    """Write ``index.html``, ``model.js`` and ``runtime.js``.

    Args:
        description: as ``model.json`` has it.
        graphs: ONNX files by name.
        folder: where.
        say: receives one line.

    Raises:
        ConfigError: if the runtime is not here and cannot be fetched.
    """
    module, wasm = runtime(say)
    model = {"description": description, "graphs": {name: _text(content) for name, content in graphs.items()}}
    _write_script(folder / "model.js", "SADDLEPOINT_MODEL", model)
    _write_script(folder / "runtime.js", "SADDLEPOINT_RUNTIME", {"module": module.decode(), "wasm": _text(wasm)})
    (folder / "index.html").write_text(render(__file__, "page.html.jinja"), encoding="utf-8")
    (folder / "NOTICE").write_text(
        f"runtime.js holds {PACKAGE} {VERSION}, copyright Microsoft Corporation, MIT licence.\n", encoding="utf-8"
    )


def _write_script(path: Path, name: str, content: Mapping[str, Any]) -> None:
    path.write_text(f"window.{name} = {json.dumps(content)};\n", encoding="utf-8")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def runtime(say: Say) -> tuple[bytes, bytes]:
    """Return the runtime's module and its WebAssembly: from the cache, the data folder, or npm.

    Raises:
        ConfigError: if it is in none of them, or is not what it should be.
    """
    kept = cache_dir() / "web" / _FILE
    content = _read(kept) or _read(data_file(_FILE))
    if content is None:
        say(f"web: fetching {PACKAGE} {VERSION} by npm, once (31 MB)")
        content = _fetched()
    if not _is_right(content):
        raise ConfigError(
            f"{_FILE} is not the published file (its SHA-512 differs); remove it from {kept.parent} and from "
            "SADDLEPOINT_DATA_DIR, and try again"
        )
    if not kept.is_file():
        make_folder(kept.parent)
        write_atomically(kept, content)
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            parts = [archive.extractfile(name) for name in (_MODULE, _WASM)]
            found = [part.read() for part in parts if part is not None]
    return found[0], found[1]


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None and path.is_file() else None


def _is_right(content: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(content).digest()).decode() == SHA512


def _fetched() -> bytes:
    npm = shutil.which("npm")
    remedy = f"install npm, or put {_FILE} (npm pack {PACKAGE}@{VERSION}) into SADDLEPOINT_DATA_DIR"
    if npm is None:
        raise ConfigError(f"a page needs {PACKAGE} {VERSION}, and there is no npm to fetch it; {remedy}")
    with tempfile.TemporaryDirectory() as place:
        words = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--ignore-scripts"]
        try:
            subprocess.run(words, cwd=place, check=True, capture_output=True, timeout=_SECONDS)
            return (Path(place) / _FILE).read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigError(f"npm could not fetch {PACKAGE} {VERSION} ({error}); {remedy}") from error
