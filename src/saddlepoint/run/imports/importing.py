"""`saddle import`: a file of weights that others trained becomes a folder that is used like a run."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saddlepoint.core.config import to_json
from saddlepoint.core.durable import make_folder, move_into_place
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.files import hidden_beside, write_atomically
from saddlepoint.core.logs import logged
from saddlepoint.core.version import __version__
from saddlepoint.engine.machine.runtime import AUTO, machine
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.checkpoint import sha256_of
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.lookup import runs_folder
from saddlepoint.family import Family
from saddlepoint.run import weights
from saddlepoint.run.imports import ada, ports
from saddlepoint.run.imports.archives import read_file
from saddlepoint.run.imports.as_stylegan import family_of_networks
from saddlepoint.run.imports.pickles import Part
from saddlepoint.run.imports.published import Networks, Unsupported

PRESET = "imported"


@dataclass(frozen=True)
class Imported:
    """What `import_weights` made.

    Attributes:
        path: folder with the networks.
        form: which code wrote the file.
        notes: sentences on what was found.
    """

    path: Path
    form: str
    notes: tuple[str, ...]


@logged
def import_weights(
    file: str | Path,
    out: str | Path | None = None,
    *,
    runs: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Imported:
    """Make a run of weights that others trained: StyleGAN2, of a network pickle or a file of `torch.save`.

    Tensors and plain values are read; no name in the file is looked up, and no code in it is executed. What is made is
    a folder as an export of weights: for `load`, sampling, projection, `train(start_from=...)` and `export_run`.

    Args:
        file: a ``.pkl`` of StyleGAN2-ADA for PyTorch, or of StyleGAN3's code for a StyleGAN2 configuration; a ``.pt``
            with ``g_ema``.
        out: the folder, which must not be there yet; None: below ``runs``, named like the file.
        runs: folder of runs; None: ``SADDLEPOINT_RUNS``, or ``runs``.
        say: receives lines worth telling.

    Raises:
        CheckpointError: if the file holds anything but tensors and plain values, is damaged, or has another
            architecture.
        ConfigError: if the folder is there.
    """
    path = Path(file).expanduser()
    place = runs_folder(runs) / _word(path.stem) if out is None else Path(out)
    if place.exists() or place.is_symlink():
        raise ConfigError(f"'{place}' is there already; remove it, or choose another --out")
    found = read_file(path)
    try:
        networks = _networks_of(found)
        say(f"found:    {networks.form}: {_described(networks)}")
        family, notes = family_of_networks(networks)
    except Unsupported as error:
        raise CheckpointError(f"'{path}' cannot be imported: {error}") from error
    for note in notes:
        say(f"note:     {note}")
    about = {"file": path.name, "sha256": sha256_of(path.resolve()), "form": networks.form, "notes": list(notes)}
    _write(place, family, networks, about)
    return Imported(place, networks.form, notes)


def _networks_of(found: Any) -> Networks:
    """Return the networks of what a file holds, whichever code wrote it."""
    if isinstance(found, Part):
        return Networks(ada.FORM, ada.generator_of(found), None)
    if ports.is_state(found):
        return ports.networks_of({"g_ema": found})
    if not isinstance(found, dict):
        raise Unsupported(f"it holds a {type(found).__name__}, no networks; {_READ}")
    if any(isinstance(found.get(name), Part) for name in ("G_ema", "G")):
        return ada.networks_of(found)
    if any(ports.is_state(found.get(name)) for name in ("g_ema", "g")):
        return ports.networks_of(found)
    if "GAN" in found:
        raise Unsupported(
            f"it is of lucidrains' stylegan2-pytorch, whose networks are others, not renamed ones; {_READ}"
        )
    if "mapping.fc0.weight" in found:
        raise Unsupported("it holds the tensors of StyleGAN2-ADA without their factors; take the network pickle (.pkl)")
    names = ", ".join(str(name)[:40] for name in list(found)[:5])
    raise Unsupported(f"it holds no networks that are known here (but {names or 'nothing'}); {_READ}")


_READ = (
    "what is read: network pickles of StyleGAN2-ADA for PyTorch (G_ema, D), of StyleGAN3's code with --cfg=stylegan2, "
    "and .pt files with g_ema in the names of rosinality's port"
)


def _described(networks: Networks) -> str:
    generator, judge = networks.generator, networks.discriminator
    labels = f", {generator.classes} labels" if generator.classes else ""
    return f"G{'' if judge is None else ' and D'}, {generator.side}x{generator.side}{labels}"


def _word(name: str) -> str:
    """Return a name as a folder or a source may have it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "imported"


def _write(place: Path, family: Family, networks: Networks, about: dict[str, Any]) -> None:
    """Write the folder, whole or not at all."""
    temporary = hidden_beside(place)
    try:
        make_folder(temporary)
        digest = weights.write_weights(temporary, family)
        status = {"state": "finished", "reason": f"imported from {about['file']}", "nimg": 0}
        write_atomically(temporary / "status.json", json.dumps(status, indent=1) + "\n")
        config = _config_of(family, networks, about)
        config["export"]["sha256"] = digest
        RunFolder(temporary).write_config(config)
        move_into_place(temporary, place)
    except OSError as error:
        raise CheckpointError(f"'{place}' cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _config_of(family: Family, networks: Networks, about: dict[str, Any]) -> dict[str, Any]:
    """Return ``config.json``: that of an export, with where the weights come from under ``imported``."""
    spec, unknown = family.data, f"data of {_word(about['file'])}"
    data = {
        "source": unknown, "name": _word(networks.data) if networks.data else unknown, "fingerprint": "",
        "modality": spec.modality, "shape": list(spec.shape), "classes": list(spec.classes),
        "shares": list(spec.shares), "rows": 0, "options": {"size": spec.shape[1], "channels": spec.shape[0]},
        "reading": [],
    }  # fmt: skip
    return {
        "saddlepoint": __version__, "family": family.name, "preset": PRESET, "options": to_json(family.config),
        "data": data, "settings": dataclasses.asdict(Settings()), "device": "cpu", "threads": AUTO,
        "machine": machine(), "imported": about,
        "export": {"format": weights.FORMAT, "step": 0, "run": Path(about["file"]).stem},
    }  # fmt: skip
