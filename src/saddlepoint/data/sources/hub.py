"""The Hugging Face hub: is it there, and data sets from it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.data.options import Options
from saddlepoint.data.sources.folder import Item, Source, picture_bytes, split_word
from saddlepoint.data.sources.parquet import Layout, cell_bytes, cell_items, cell_label, features_layout

TIMEOUT = 2.5
"""Seconds in which the hub must answer."""


def offline() -> bool:
    """Whether the user has switched the hub off (``HF_HUB_OFFLINE``)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def unreachable(timeout: float = TIMEOUT) -> str | None:
    """Ask the hub for a sign of life; return None if it gives one, else the reason in words.

    Never takes longer than ``timeout`` seconds, also when the look-up of the address or the connection
    hangs: the attempt runs in a thread that is left behind.
    """
    from huggingface_hub import constants

    outcome: list[str | None] = [f"no answer within {timeout:g} s"]
    thread = threading.Thread(target=lambda: outcome.append(_ask(constants.ENDPOINT, timeout)), daemon=True)
    thread.start()
    thread.join(timeout + 0.25)
    return outcome[-1]


def way_out(usual: str) -> str:
    """Return what can be done where the hub gave an error: ``usual``, unless it is switched off or does not answer."""
    if offline():
        return "HF_HUB_OFFLINE is set, which switches the hub off"
    away = unreachable()
    return usual if away is None else f"the hub does not answer ({away}): look at the network, or give a folder"


def hub_source(name: str, repository: str, config: str | None = None, options: Options | None = None) -> Source:
    """Download a data set of images (or open it in the hub's own cache) and return it as a source.

    Args:
        name: what the user asked for.
        repository: ``owner/name``, or a local folder in any layout the `datasets` library reads.
        config: name of a configuration, for repositories with several.
        options: ``label_column`` and ``labels`` choose among columns.

    Raises:
        DataError: if it does not exist, is gated, needs code to load, has no image column, or the
            download fails.
    """
    import datasets

    try:
        with _no_bars_of_datasets():
            loaded = datasets.load_dataset(repository, config)
    except Exception as error:  # the library raises its own, huggingface_hub's, httpx's and plain errors
        raise DataError(
            f"'{repository}' cannot be loaded from the hub ({reason_of(error)}); check the id and the configuration "
            "(hf:owner/name/config), and log in with `hf auth login` if it is gated"
        ) from error
    parts = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    layout = layout_of(f"'{repository}'", parts, options)
    fingerprints = "\n".join(f"{split} {part._fingerprint}" for split, part in parts.items())

    def items() -> Iterator[Item]:
        for split, part in parts.items():
            yield from rows_of(part.with_format(None), layout, split, _roots(repository))

    return Source(
        name, f"hub {repository} {config}\n{fingerprints}", items, classes=layout.classes,
        notes=(f"from the Hugging Face hub: {repository}" + (f" ({config})" if config else ""), *layout.findings),
        labelling=layout.labelling, heeds=("labels", "label_column"),
    )  # fmt: skip


def _roots(repository: str) -> list[Path]:
    """Return the folders in which the files of a repository may lie: the caches of the hub's clients, or itself."""
    from datasets import config
    from huggingface_hub import constants

    roots = [constants.HF_HUB_CACHE, config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH]
    return [Path(root).resolve() for root in (*roots, *([repository] if Path(repository).is_dir() else []))]


def _within(path: str, roots: Sequence[Path] | None) -> bool:
    """Whether a path is a regular file, and lies in one of the folders after links are followed."""
    try:
        found = Path(path).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return False
    return found.is_file() and (roots is None or any(found.is_relative_to(root) for root in roots))


def layout_of(where: str, parts: Mapping[str, Any], options: Options | None) -> Layout:
    """Return which columns of the parts of a `datasets.DatasetDict` matter; the first part decides.

    Raises:
        DataError: as `features_layout`.
    """
    first = next(iter(parts.values()))
    features = first.features.to_dict() if hasattr(first.features, "to_dict") else {}
    columns = {
        column: str(kind) for column, kind in zip(first.column_names, first.features.arrow_schema.types, strict=True)
    }
    return features_layout(where, features, columns, options)


def parse_id(source: str) -> tuple[str, str | None]:
    """Split ``hf:owner/name`` or ``hf:owner/name/config``.

    Raises:
        DataError: if it has another form.

    Example:
        >>> parse_id("hf:uoft-cs/cifar100")
        ('uoft-cs/cifar100', None)
    """
    parts = source.removeprefix("hf:").split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise DataError(f"'{source}' is not a hub id; write hf:owner/name, or hf:owner/name/configuration")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Let the hub's client transfer files without its bars."""
    from huggingface_hub import utils

    were = utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        if not were:
            utils.enable_progress_bars()


def reason_of(error: Exception) -> str:
    """Return the first line of what the hub's client says; its errors are its own, the connection's, a proxy's."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _no_bars_of_datasets() -> Iterator[None]:
    import datasets
    from huggingface_hub import utils

    were = utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with no_progress_bars():
            yield
    finally:
        if not were:
            datasets.enable_progress_bars()


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: an answer that points elsewhere is a sign of life as well."""

    def redirect_request(self, *_: Any) -> None:
        """Return nothing, so that the answer becomes an HTTPError."""


_DIRECT = urllib.request.build_opener(_Stay)


def _ask(address: str, timeout: float) -> str | None:
    try:
        with _DIRECT.open(urllib.request.Request(address, method="HEAD"), timeout=timeout):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        # a 404 for the bare address still shows a live hub; refusals come from a proxy in between
        return None if error.code < 500 and error.code not in (403, 407) else f"it answers {error.code}"
    except urllib.error.URLError as error:
        return str(getattr(error.reason, "strerror", None) or error.reason)
    except (OSError, ValueError) as error:
        return str(error)


def rows_of(part: Any, layout: Layout, split: str, roots: Sequence[Path] | None = None) -> Iterator[Item]:
    """Read one part of a `datasets.DatasetDict`, its images undecoded.

    Args:
        part: of it.
        layout: which columns matter.
        split: its name.
        roots: folders in which files of images may lie that cells only point at: a foreign table could point at any
            file of this machine. None: anywhere, for data of the user's own.
    """
    import datasets

    feature = part.features[layout.image]
    if isinstance(feature, datasets.Image):
        part = part.cast_column(layout.image, datasets.Image(decode=False))
    elif layout.pages:
        part = part.cast_column(layout.image, datasets.List(datasets.Image(decode=False)))
    place = split_word(split)
    for number, row in enumerate(part):
        cell = row[layout.image]
        label = cell_label(row[layout.label], layout) if layout.label else None
        if layout.pages:
            yield from cell_items(cell, layout, label, f"{split} row {number}", place)
            continue
        data = cell_bytes(cell)
        if not data and isinstance(cell, dict) and cell.get("path") and _within(cell["path"], roots):
            data = picture_bytes(Path(cell["path"]))
        yield Item(data, label, f"{split} row {number}", place)
