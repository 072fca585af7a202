"""The families by name: those that come along, those of installed packages, and those of files of your own.

A family becomes known when the module that holds it is imported. Beside the built-in ones that happens to what the user
names (`--import`, ``SADDLEPOINT_IMPORT``, `import_families`) and to what is installed (entry points of the group
``saddlepoint.families``). A run folder only says where its family came from: nothing that it names is ever imported.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from saddlepoint.core.errors import CheckpointError, ConfigError, enumerated, sentence, suggest
from saddlepoint.core.quoting import for_shell

if TYPE_CHECKING:
    from saddlepoint.family import DataSpec, Family, FamilyConfig

GROUP = "saddlepoint.families"
"""Group of entry points: the name of each is that of a family, its value the module that registers it."""

VARIABLE = "SADDLEPOINT_IMPORT"
"""Environment variable: files and modules of families, separated as the paths of ``PATH`` are."""

_BUILT_IN = "saddlepoint.families."
_REGISTRY: dict[str, type[Family]] = {}
_IMPORTED: dict[str, list[str]] = {}
"""Names of the families that came of an import, by the file or the module that was asked for."""


def add(cls: type[Family]) -> None:
    """Make a family known by its name; the same class, defined again, takes the place of itself.

    Raises:
        ConfigError: if another class has the name already.
    """
    known = _REGISTRY.get(cls.name)
    if known is not None and not _is_same(known, cls):
        both = " and ".join(sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in (known, cls)))
        raise ConfigError(f"two families are called '{cls.name}': {both}; give one of them another name")
    _REGISTRY[cls.name] = cls


def _is_same(one: type, other: type) -> bool:
    """Whether two classes are one: defined again in a notebook, or a script that is its own module, too."""
    files = {_file_of(kind) or kind.__module__ for kind in (one, other)}
    return one.__qualname__ == other.__qualname__ and (one.__module__ == other.__module__ or len(files) == 1)


def _file_of(kind: type) -> Path | None:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return Path(file).resolve() if file is not None and Path(file).is_file() else None


def families() -> dict[str, type[Family]]:
    """Return all families by name: the lineage, then explicit models, by year, then those from elsewhere.

    An installed package whose families cannot be imported is left out; asking for one of them by name says why.

    Raises:
        ConfigError: if a file or module that the environment names cannot be imported.
    """
    _import_named()
    for name in _entry_points():
        if name not in _REGISTRY:
            _import_installed(name)
    return dict(sorted(_REGISTRY.items(), key=lambda item: not is_built_in(item[1])))


def get_family(name: str) -> type[Family]:
    """Return the family called ``name``.

    Raises:
        ConfigError: if there is none, with the nearest name; or if the module that has it cannot be imported.
    """
    if not isinstance(name, str):
        raise ConfigError(f"a family is called by a text, such as 'gan', not by {name!r}")
    if name not in _REGISTRY:
        _import_named()
    if name not in _REGISTRY and name in _entry_points():
        problem = _import_installed(name)
        if problem:
            raise ConfigError(problem)
    if name not in _REGISTRY:
        raise _unknown(name, {*_REGISTRY, *_entry_points()})
    return _REGISTRY[name]


def refuse_unknown(name: str) -> None:
    """Refuse a name that no family has, before any is imported, which takes seconds.

    Raises:
        ConfigError: as `get_family`, if there is none; what the environment names has to be imported to be known.
    """
    known = {*built_in_names(), *_REGISTRY, *_entry_points()}
    if name not in known and not os.environ.get(VARIABLE, "").strip():
        raise _unknown(name, known)


def built_in_names() -> tuple[str, ...]:
    """Return the names of the families that come along: each is called as its file."""
    return tuple(module.name for module in pkgutil.iter_modules([str(Path(__file__).parents[1] / "families")]))


def _unknown(name: str, known: Iterable[str]) -> ConfigError:
    told = sentence(suggest(name, known))
    return ConfigError(f"unknown family '{name}'; {told} One of your own needs --import FILE.py")


def family_of(config: Mapping[str, Any], where: str | Path) -> type[Family]:
    """Return the family of a run.

    Args:
        config: of the run: ``family``, and ``family_source`` as `source_of` made it.
        where: the run, for messages.

    Raises:
        CheckpointError: if it is not known here, with what to pass.
        KeyError: if the configuration names none.
    """
    name = config["family"]
    source = config.get("family_source")
    try:
        return get_family(name)
    except ConfigError as error:
        if not isinstance(source, Mapping):
            raise
        asked = str(source.get("file") or source.get("module"))
        why = f" ({error})" if name in _entry_points() else ""
        raise CheckpointError(
            f"'{where}' is of the family '{name}', which came from '{asked}' and is not known here{why}; if you trust "
            f"that code, pass --import {for_shell(asked)}, set {VARIABLE} to it, or import it in Python first"
        ) from error


def source_of(kind: type[Family]) -> dict[str, str] | None:
    """Return where a family came from, for ``config.json``: module, file and SHA-256 of the file; None: built in."""
    if is_built_in(kind):
        return None
    source, file = {"module": kind.__module__}, _file_of(kind)
    if file is not None:
        source |= {"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    return source


def has_changed(kind: type[Family], config: Mapping[str, Any]) -> bool:
    """Whether the file of a family is another one than a run's configuration says."""
    before, now = config.get("family_source"), source_of(kind)
    return isinstance(before, Mapping) and (now or {}).get("sha256") != before.get("sha256")


def import_option(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words that a command on a run needs to know its family: ("--import", FILE), or none."""
    source, name = config.get("family_source"), config.get("family")
    if not isinstance(source, Mapping) or name in _entry_points() or os.environ.get(VARIABLE, "").strip():
        return ()
    return "--import", str(source.get("file") or source.get("module"))


def is_built_in(kind: type[Family]) -> bool:
    """Whether a family comes along with the package."""
    return kind.__module__.startswith(_BUILT_IN)


def import_families(*sources: str | Path) -> list[str]:
    """Import files or modules that register families; return the names of all families that they brought.

    Args:
        sources: paths of Python files, or names of modules. What was imported before is not imported again. The folder
            of a file is appended to the module search path, so that it may import its neighbours.

    Raises:
        ConfigError: if one cannot be found or imported, or registers no family.
    """
    found: list[str] = []
    for source in map(str, sources):
        key = str(Path(source).resolve()) if _is_path(source) else source
        if key not in _IMPORTED:
            before = set(_REGISTRY)
            module = _import(source).__name__
            own = [name for name, kind in _REGISTRY.items() if f"{kind.__module__}.".startswith(f"{module}.")]
            mine = [*own, *sorted({*_REGISTRY} - before - {*own})]
            if not mine:
                raise ConfigError(f"'{source}' registers no family; put @register of saddlepoint.family on its class")
            _IMPORTED[key] = mine
        found += _IMPORTED[key]
    return found


def remember(*sources: str) -> None:
    """Name files and modules in the environment, so that processes started from here import them too."""
    absolute = [str(Path(source).resolve()) if _is_path(source) else source for source in sources]
    named = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part.strip()]
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*named, *absolute]))


def _import_named() -> None:
    """Import what the environment names."""
    named = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part.strip()]
    if named:
        import_families(*named)


def _entry_points() -> Mapping[str, metadata.EntryPoint]:
    return _read_entry_points(tuple((place, _time_of(place)) for place in sys.path))


@functools.lru_cache(maxsize=1)
def _read_entry_points(places: tuple[tuple[str, int | None], ...]) -> Mapping[str, metadata.EntryPoint]:
    """Read the files of all installed packages: milliseconds, so only where a folder of the search path changed."""
    return MappingProxyType({point.name: point for point in metadata.entry_points(group=GROUP)})


def _time_of(place: str) -> int | None:
    """Return when a folder got or lost a file, in nanoseconds; None: there is none."""
    try:
        return os.stat(place or ".").st_mtime_ns
    except OSError:
        return None


def _import_installed(name: str) -> str:
    """Import the module of an installed family; return what is wrong with it, or nothing."""
    point = _entry_points()[name]
    package = point.dist.name if point.dist is not None else point.module
    try:
        importlib.import_module(point.module)
    except Exception as error:  # of any kind: it is a stranger's module
        return f"the family '{name}' of the package '{package}' cannot be imported: {_reason(error)}"
    if name not in _REGISTRY:
        return f"the package '{package}' says that '{point.module}' has a family '{name}', but it registers none"
    return ""


def _is_path(source: str) -> bool:
    return source.endswith(".py") or os.sep in source or "/" in source


def _import(source: str) -> ModuleType:
    """Import a file or a module."""
    if _is_path(source) and not Path(source).is_file():
        raise ConfigError(f"there is no file '{source}' to import families from")
    try:
        return _import_file(Path(source).resolve()) if _is_path(source) else importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is not None and source.split(".")[0] == error.name.split(".")[0] and not _is_path(source):
            raise ConfigError(
                f"there is no module '{source}' to import families from; name an installed one, or a file.py"
            ) from error
        raise ConfigError(f"'{source}' cannot be imported: {_reason(error)}") from error
    except ConfigError:
        raise
    except Exception as error:  # of any kind: it is the user's code
        raise ConfigError(f"'{source}' cannot be imported: {_reason(error)}") from error


def _import_file(path: Path) -> ModuleType:
    """Import a file as a module called after it."""
    name = re.sub(r"\W", "_", path.stem)
    known = sys.modules.get(name)
    if known is not None and _same_file(getattr(known, "__file__", None), path):
        return known
    found = None if known is not None else importlib.util.find_spec(name)
    if known is not None or (found is not None and not _same_file(found.origin, path)):
        name += "_" + hashlib.sha256(str(path).encode()).hexdigest()[:8]  # the name is another module's
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _same_file(one: str | None, other: Path) -> bool:
    return one is not None and Path(one).resolve() == other


def _reason(error: Exception) -> str:
    """Return why an import failed, and in which line of which file."""
    if isinstance(error, SyntaxError):
        return f"{error.msg} (line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = f" (line {frames[-1].lineno} of {Path(frames[-1].filename).name})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def build_family(name: str, config: FamilyConfig, data: DataSpec) -> Family:
    """Build the networks of a family without touching PyTorch's global random numbers.

    Raises:
        ConfigError: if there is no such family, or it cannot be built for this data.
    """
    import torch  # here, so that names are checked without it

    with torch.random.fork_rng(devices=[]):
        return get_family(name)(config, data)


def get_preset(family: type[Family], name: str | None) -> tuple[str, FamilyConfig]:
    """Return ``(name, configuration)`` of a preset; None means the family's default.

    Raises:
        ConfigError: if the family has no such preset, with the nearest name.
    """
    if name is None:
        name = next(iter(family.PRESETS))
    if name not in family.PRESETS:
        raise ConfigError(f"family '{family.name}' has no preset '{name}'; {suggest(name, family.PRESETS)}")
    return name, family.PRESETS[name]


KINDS = {"image": "pictures", "vector": "points", "sequence": "tables of series"}
"""Kinds of data in words."""


def other_kind(family: type[Family], modality: str) -> str:
    """Return that a family does not train on a kind of data, and which do.

    Args:
        family: that was asked for.
        modality: of the data.
    """
    able = [f"'{name}'" for name, kind in _REGISTRY.items() if modality in kind.tags.modalities]
    takes = enumerated([KINDS[own] for own in family.tags.modalities], "or")
    others = f"{enumerated(able)} train{'s' * (len(able) == 1)}" if able else "no family trains"
    return f"'{family.name}' trains on {takes}, not on {KINDS[modality]}; {others} on {KINDS[modality]}"
