"""The one way to data: a name, a path, or an id of the hub."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saddlepoint._errors import DataError, suggest
from saddlepoint.data import cache
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.images.prepare import prepare, survey_side
from saddlepoint.data.labels.joint import choose_attributes, joint_source
from saddlepoint.data.names import KNOWN, Say, load_named
from saddlepoint.data.options import Options
from saddlepoint.data.series.table import is_table, names_of
from saddlepoint.data.series.windows import load_series
from saddlepoint.data.sources import hub
from saddlepoint.data.sources.folder import Source
from saddlepoint.data.sources.paths import path_key, path_source
from saddlepoint.data.sources.tfd import split_path


def load_dataset(
    source: str,
    *,
    size: int | None = None,
    channels: int | None = None,
    fit: str = "crop",
    columns: str | Sequence[str] | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
    label_column: str | None = None,
    window: int | None = None,
    attributes: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """Load a data set; the first time it is prepared and cached, later it is memory-mapped at once.

    Args:
        source: a name (`list_datasets`), a path (folder of images, zip, parquet, .npy, .npz; a CSV or a parquet table
            of numbers is a set of series; ``TFD_48x48.mat#2`` is fold 2 of the Toronto Face Database),
            ``hf:owner/name``, or two sets of images joined by ``+``: their rows together, each with the labels of its
            own set.
        size: height and width of images in pixels, 4..1024; None: their own if they are all alike and
            square, else the largest power of two up to 64 that does not exceed the median short side.
        channels: 1 or 3; None: 1 if all images are grey, else 3.
        fit: ``crop`` the centre of oblong images, or ``pad`` them with black.
        columns: features to take from a table, as names or ``"a,b"``; None: all columns of numbers.
        time_column: name of a table's time column; None: the first column of dates, if there is one.
        group_column: name of the column that tells several series apart; None: the table is one series.
        label_column: name of the column that holds the class of each row; None: no labels.
        window: rows in a window of a series; None: 24.
        attributes: columns to use of a table of attributes such as CelebA's (``list_attr_celeba.txt`` in a folder of
            images); empty: all.
        say: receives lines worth telling while it happens (downloads, an unreachable hub); None: silence.

    Returns:
        The data set; its notes say what was done to the data.

    Raises:
        DataError: if there is no such data, it is damaged, or it cannot be used; the text says what to do.

    Example:
        >>> load_dataset("ring8").spec.shape
        (2,)
    """
    features = names_of(columns)
    options = Options(size, channels, fit, features, time_column, group_column, label_column, window, tuple(attributes))
    say = say or _silence
    parts = joined(source)
    if len(parts) > 1:
        return _load_joint(source, parts, options.for_images(source), say)
    if options.attributes and (source in KNOWN or source.startswith("hf:")):
        raise DataError(f"'{source}' has no table of attributes to choose from; leave the attributes out")
    if source in KNOWN:
        return load_named(source, options, say)
    if source.startswith("hf:"):
        return _load_hub(source, options.for_images(source), say)
    if is_table(Path(source).expanduser()) and Path(source).expanduser().is_file():
        return load_series(source, Path(source).expanduser(), options.for_table(source))
    options.for_images(source)
    key = path_key(Path(source).expanduser())
    found = None if key else find_path(source)
    entry = cache.entry_path(source, {"source": found.key if found else key, **options.kept})
    dataset = cache.read(entry, source)
    if dataset is None:
        found = found or find_path(source)
        if found.modality == "vector" and not options.default:
            raise DataError(f"{source} holds vectors; size, channels and fit are for images: leave them out")
        found = choose_attributes(found, options.attributes)
        dataset = prepare(found.with_notes(f"read from {source}"), options, entry)
    return dataset


def joined(source: str) -> list[str]:
    """Return the data sets that a source names: those joined by ``+``, or it alone; a path may hold ``+`` itself.

    >>> joined("mnist"), joined("faces+expressions")
    (['mnist'], ['faces', 'expressions'])
    """
    if _is_there(source) or "+" not in source:
        return [source]
    found, begun = list[str](), ""
    for piece in source.split("+"):
        begun = f"{begun}+{piece}" if begun else piece
        if _is_there(begun):
            found.append(begun)
            begun = ""
    if begun and not found:
        return source.split("+")
    return [*found, begun] if begun else found


def _is_there(source: str) -> bool:
    named = source in KNOWN or source.startswith("hf:")
    return named or (bool(source) and Path(source.split("#")[0]).expanduser().exists())


def _load_joint(source: str, parts: Sequence[str], options: Options, say: Say) -> Dataset:
    """Prepare each part by itself, then the rows of all as one; attributes are those of the part with a table."""
    shape: dict[str, Any] = {"size": options.size, "channels": options.channels, "fit": options.fit}
    tables = [_has_table(part) for part in parts]
    if options.attributes and sum(tables) != 1:
        raise DataError(
            f"attributes are named, and {sum(tables)} of the {len(parts)} data sets of '{source}' have a table of "
            "them; exactly one must have it"
        )
    datasets = [
        load_dataset(part, **shape, attributes=options.attributes if has else (), say=say)
        for part, has in zip(parts, tables, strict=True)
    ]
    found = joint_source(source, datasets)
    entry = cache.entry_path(source, {"source": found.key, **options.kept})
    return cache.read(entry, source) or prepare(found, Options(channels=options.channels), entry)


def _has_table(source: str) -> bool:
    """Whether a path holds a table of attributes."""
    if source in KNOWN or source.startswith("hf:") or path_key(Path(source).expanduser()):
        return False
    return bool(find_path(source).labelling)


def natural_side(source: str) -> int | None:
    """Return the side that pictures at a path have where no size is asked for; None where only loading tells.

    They are not decoded for this: their headers are read once, and the answer is kept.

    Args:
        source: as in `load_dataset`.

    Raises:
        DataError: as `load_dataset`.

    Example:
        >>> natural_side("ring8") is None
        True
    """
    if len(joined(source)) > 1:
        return None
    path = Path(source).expanduser()
    if source in KNOWN or source.startswith("hf:") or path_key(path) or is_table(path):
        return None
    found = find_path(source)
    if found.modality != "image":
        return None
    kept = cache.entry_path(source, {"side of": found.key}).with_suffix(".txt")
    return cache.number(kept, lambda: survey_side(found))


def absolute_source(source: str) -> str:
    """Return ``source`` as it is found from any working directory: paths resolved, names and hub ids as they are.

    Example:
        >>> absolute_source("mnist")
        'mnist'
    """
    parts = joined(source)
    if len(parts) > 1:
        return "+".join(absolute_source(part) for part in parts)
    if source in KNOWN or source.startswith("hf:"):
        return source
    return str(Path(source).expanduser().resolve())


def find_path(source: str) -> Source:
    """Return the source at a path.

    Raises:
        DataError: if there is nothing, with the nearest name of a data set or of a file beside it.
    """
    path = Path(source).expanduser()
    if not source or not split_path(str(path))[0].exists():
        raise DataError(f"there is no data set or path '{source}'; {_nearest(source, path)}")
    return path_source(path)


def _load_hub(source: str, options: Options, say: Say) -> Dataset:
    repository, config = hub.parse_id(source)
    entry = cache.entry_path(source, {"hub": [repository, config], **options.kept})
    cached = cache.read(entry, source)
    if cached is not None:
        return cached
    if not hub.offline():
        reason = hub.unreachable()
        if reason is not None:
            raise DataError(
                f"'{source}' is not in the cache and the Hugging Face hub cannot be reached ({reason}); "
                "connect to the network, or use a local path or 'digits', which needs none"
            )
        say(f"downloading {repository} from the Hugging Face hub")
    return prepare(hub.hub_source(source, repository, config), options, entry)


def _nearest(source: str, path: Path) -> str:
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = [str(entry) for entry in path.parent.iterdir()]
    if "/" not in source and "\\" not in source:
        return suggest(source, [*KNOWN, *(Path(name).name for name in beside)] if _close(source, beside) else KNOWN)
    clause = suggest(str(path), beside) if beside else ""
    return clause if clause.startswith("did") else f"data sets by name: {', '.join(KNOWN)}"


def _close(source: str, beside: list[str]) -> bool:
    return bool(beside) and suggest(source, [Path(name).name for name in beside]).startswith("did")


def _silence(line: str) -> None:
    """Say nothing."""
