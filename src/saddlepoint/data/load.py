"""The one way to data: a name, a path, or an id of the hub."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.core.logs import logged
from saddlepoint.core.progress import Say
from saddlepoint.data import cache, in_memory
from saddlepoint.data.catalogue import KNOWN
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.flags import flag
from saddlepoint.data.images.prepare import prepare, survey_side
from saddlepoint.data.kinds import ARRAYS, is_windows, kind_of
from saddlepoint.data.labels.multi_label import choose_attributes, choose_labels, multi_label_source
from saddlepoint.data.names import is_series, load_named
from saddlepoint.data.options import Options, Preparation
from saddlepoint.data.series.ready import load_ready
from saddlepoint.data.series.windows import load_series
from saddlepoint.data.sources import hub
from saddlepoint.data.sources.folder import IMAGE_SUFFIXES, Source, walk
from saddlepoint.data.sources.paths import path_key, path_source
from saddlepoint.data.sources.tfd import split_path


@logged
def load_dataset(source: Any, *, say: Say | None = None, **preparation: Unpack[Preparation]) -> Dataset:
    """Load a data set; the first time it is prepared and cached, later it is memory-mapped at once.

    Args:
        source: a name (`list_datasets`), a path (folder of images, zip, parquet, .npy, .npz; a CSV or a parquet table
            of numbers is a set of series; ``TFD_48x48.mat#2`` is fold 2 of the Toronto Face Database),
            ``hf:owner/name``, or two sets of images joined by ``+``: their rows together, each with the labels of its
            own set. Or data in memory: an array or tensor, (x, labels), a list of pictures, a data set of PyTorch or of
            `datasets`, a pandas.DataFrame, a `Dataset`, or a mapping from split names to these.
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
    source = str(source) if in_memory.is_name(source) else in_memory.hold(source, options)
    if in_memory.in_memory(source):
        return _load_memory(source, options, preparation, say)
    parts = joined(source)
    if len(parts) > 1:
        return _load_multi_label(source, parts, options.for_images(source), say)
    if options.attributes and (source in KNOWN or source.startswith("hf:")):
        raise DataError(f"'{source}' has no table of attributes to choose from; leave the attributes out")
    if source in KNOWN:
        refuse_choices(source, options)
        return load_named(source, options, say)
    if source.startswith("hf:"):
        return _load_hub(source, options.for_images(source), say)
    refuse_kind(source, options)
    if kind_of(Path(source).expanduser(), options) == "sequence":
        return _load_sequences(source, Path(source).expanduser(), options.for_table(source))
    options.for_images(source)
    key = path_key(Path(source).expanduser())
    found = None if key else find_path(source, options)
    entry = cache.entry_path(source, {"source": found.key if found else key, **options.kept("image")})
    dataset = cache.read(entry, source)
    if dataset is None:
        found = found or find_path(source, options)
        if found.modality == "vector" and options.set_for("image"):
            raise DataError(f"{source} holds vectors; size, channels and fit are for images: leave them out")
        found = choose_attributes(found, options.attributes)
        dataset = prepare(found.with_notes(f"read from {source}"), options, entry)
    return dataset


def refuse_kind(source: str, options: Options) -> None:
    """Refuse a kind that a path cannot be read as, and an array of a file that holds none: options never do nothing.

    Raises:
        DataError: if one was asked for.
    """
    path = Path(source).expanduser()
    if not path.exists() or path.suffix.lower() in ARRAYS:
        return
    if options.modality is not None and (kind := kind_of(path)) is not None and options.modality != kind:
        raise DataError(f"{source} holds {kind}s, and can be read as nothing else; leave --modality out")
    if (
        options.array is not None
        and path.is_dir()
        and any(file.suffix.lower() in IMAGE_SUFFIXES for file in walk(path)[0])
    ):
        raise DataError(f"{source} is a folder of image files, which hold no arrays; leave --array out")


def refuse_choices(name: str, options: Options) -> None:
    """Refuse choices of labels and splits for a data set that is known by name.

    Raises:
        DataError: if there are some.
    """
    wrong = [key for key in ("labels", "splits", "unlabelled") if getattr(options, key) is not None]
    if options.label_column is not None and not is_series(name):
        wrong.append("label_column")
    if wrong:
        raise DataError(f"'{name}' has labels and splits of its own; leave {flag(wrong[0])} out")


def _load_memory(source: str, options: Options, preparation: Preparation, say: Say) -> Dataset:
    """Load data that was given in memory: a table or series from its file in the cache, rows as they are held."""
    if (path := in_memory.path_of(source)) is not None:
        with in_memory.named_the_data(path):
            dataset = load_dataset(str(path), say=say, **preparation)
        found = tuple(in_memory.renamed(finding, path) for finding in dataset.findings)
        return replace(dataset, name=source, findings=found)
    return in_memory.load_rows(source, options.for_images("the data"))


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


def _load_multi_label(source: str, parts: Sequence[str], options: Options, say: Say) -> Dataset:
    """Prepare each part by itself, then the rows of all as one; attributes are those of the part with a table."""
    shared = {key: value for key, value in options.kept("image").items() if key != "attributes"}
    tables = [_has_table(part, options) for part in parts]
    if options.attributes and sum(tables) != 1:
        raise DataError(
            f"attributes are named, and {sum(tables)} of the {len(parts)} data sets of '{source}' have a table of "
            "them; exactly one must have it"
        )
    datasets = [
        load_dataset(part, **shared, attributes=options.attributes if has else (), say=say)
        for part, has in zip(parts, tables, strict=True)
    ]
    found = multi_label_source(source, datasets)
    entry = cache.entry_path(source, {"source": found.key, **options.kept("image")})
    # What is prepared in 16 bits uses their whole range.
    again = Options(channels=options.channels, background=options.background, depth=options.depth,
                    levels=(0, 65535) if options.depth == 16 else None)  # fmt: skip
    return cache.read(entry, source) or prepare(found, again, entry)


def _has_table(source: str, options: Options) -> bool:
    """Whether a path holds a table of attributes."""
    if source in KNOWN or source.startswith("hf:") or path_key(Path(source).expanduser()):
        return False
    return bool(find_path(source, options).labelling)


def natural_side(source: str, **preparation: Unpack[Preparation]) -> int | None:
    """Return the side that pictures at a path have where no size is asked for; None where only loading tells.

    They are not decoded for this: their headers are read once, and the answer is kept.

    Args:
        source: as in `load_dataset`.
        **preparation: as in `load_dataset`.

    Raises:
        DataError: as `load_dataset`.

    Example:
        >>> natural_side("ring8") is None
        True
    """
    if in_memory.in_memory(source) or len(joined(source)) > 1:
        return None
    path = Path(source).expanduser()
    if source in KNOWN or source.startswith("hf:") or path_key(path) or kind_of(path) == "sequence":
        return None
    found = find_path(source, Options.of(**preparation))
    if found.modality != "image":
        return None
    kept = cache.entry_path(source, {"side of": found.key}).with_suffix(".txt")
    return cache.number(kept, lambda: survey_side(found))


def gone(source: str) -> str | None:
    """Return the path in ``source`` where nothing is, or None: names, ids of the hub and data in memory have no path.

    Example:
        >>> gone("mnist"), gone("no/such/folder")
        (None, 'no/such/folder')
    """
    if in_memory.in_memory(source):
        return None
    return next((part for part in joined(source) if not _is_there(part)), None)


def absolute_source(source: str) -> str:
    """Return ``source`` as it is found from any working directory: paths resolved, names and hub ids as they are.

    Example:
        >>> absolute_source("mnist")
        'mnist'
    """
    parts = joined(source)
    if len(parts) > 1:
        return "+".join(absolute_source(part) for part in parts)
    if source in KNOWN or source.startswith(("hf:", in_memory.PREFIX)):
        return source
    return str(Path(source).expanduser().resolve())


def find_path(source: str, options: Options | None = None) -> Source:
    """Return the source at a path, with labels and splits as the options choose.

    Raises:
        DataError: if there is nothing, with the nearest name of a data set or of a file beside it.
    """
    path = Path(source).expanduser()
    if not source or not split_path(str(path))[0].exists():
        raise DataError(f"there is no data set or path '{source}'; {_nearest(source, path)}")
    return choose_labels(path_source(path, options), options or Options())


def _load_sequences(source: str, path: Path, options: Options) -> Dataset:
    """Load a table of series, or an array of windows that are ready."""
    if path.suffix.lower() in ARRAYS and is_windows(path, options):
        return load_ready(source, path, options)
    return load_series(source, path, options)


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
    return prepare(choose_labels(hub.hub_source(source, repository, config, options), options), options, entry)


def _nearest(source: str, path: Path) -> str:
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = [str(entry) for entry in path.parent.iterdir()]
    if "/" not in source and "\\" not in source:
        return suggest(source, [*KNOWN, *(Path(name).name for name in beside)] if _close(source, beside) else KNOWN)
    clause = suggest(os.path.normpath(path), map(os.path.normpath, beside)) if beside else ""
    return clause if clause.startswith("did") else f"data sets by name: {', '.join(KNOWN)}"


def _close(source: str, beside: list[str]) -> bool:
    return bool(beside) and suggest(source, [Path(name).name for name in beside]).startswith("did")


def _silence(line: str) -> None:
    """Say nothing."""
