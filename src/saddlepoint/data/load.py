"""The one way to data: a name, a path, or an id of the hub."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from saddlepoint._errors import DataError, suggest
from saddlepoint.data import cache
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.images.prepare import prepare, survey_side
from saddlepoint.data.labels.joint import choose_attributes, joint_source
from saddlepoint.data.names import KNOWN, Say, load_named
from saddlepoint.data.options import Options, Preparation
from saddlepoint.data.series.table import is_table
from saddlepoint.data.series.windows import load_series
from saddlepoint.data.sources import hub
from saddlepoint.data.sources.folder import Source
from saddlepoint.data.sources.paths import path_key, path_source
from saddlepoint.data.sources.tfd import split_path


def load_dataset(
    source: str, *, say: Callable[[str], None] | None = None, **preparation: Unpack[Preparation]
) -> Dataset:
    """Load a data set; the first time it is prepared and cached, later it is memory-mapped at once.

    Args:
        source: a name (`list_datasets`), a path (folder of images, zip, parquet, .npy, .npz; a CSV or a parquet table
            of numbers is a set of series; ``TFD_48x48.mat#2`` is fold 2 of the Toronto Face Database),
            ``hf:owner/name``, or two sets of images joined by ``+``: their rows together, each with the labels of its
            own set.
        say: receives lines worth telling while it happens (downloads, an unreachable hub); None: silence.
        preparation: fields of `Options`, as they are or as words of the command line: ``size=64``, ``columns="a,b"``.

    Returns:
        The data set; its notes say what was done to the data.

    Raises:
        DataError: if there is no such data, it is damaged, or it cannot be used; the text says what to do.

    Example:
        >>> load_dataset("ring8").spec.shape
        (2,)
    """
    options = Options.of(**preparation)
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
    entry = cache.entry_path(source, {"source": found.key if found else key, **options.kept("image")})
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
    shared = {key: value for key, value in options.kept("image").items() if key != "attributes"}
    tables = [_has_table(part) for part in parts]
    if options.attributes and sum(tables) != 1:
        raise DataError(
            f"attributes are named, and {sum(tables)} of the {len(parts)} data sets of '{source}' have a table of "
            "them; exactly one must have it"
        )
    datasets = [
        load_dataset(part, **shared, attributes=options.attributes if has else (), say=say)
        for part, has in zip(parts, tables, strict=True)
    ]
    found = joint_source(source, datasets)
    entry = cache.entry_path(source, {"source": found.key, **options.kept("image")})
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
    entry = cache.entry_path(source, {"hub": [repository, config], **options.kept("image")})
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
