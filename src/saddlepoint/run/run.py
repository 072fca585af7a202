"""A finished or unfinished run as an object: its configuration, its log, its generator."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError
from saddlepoint.core.logs import logged
from saddlepoint.core.quoting import for_python, for_terminal
from saddlepoint.core.types import Samples
from saddlepoint.data import Dataset, absolute_source, load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.data.options import preparation_of
from saddlepoint.data.series.layout import Layout, default_layout, layout_from_json
from saddlepoint.engine.doctor.verdict import Diagnosis, diagnose
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.plan import unfinished
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.origin import counted, refuse_gone
from saddlepoint.engine.storage.standing import standing_of
from saddlepoint.family import Family, Iterative
from saddlepoint.run import sample_files, show, weights
from saddlepoint.run.conditional import Asked, write_asked
from saddlepoint.run.generator import Generator
from saddlepoint.run.privacy import Spent, privacy_of
from saddlepoint.run.trackers.follow import send_report

if TYPE_CHECKING:
    from saddlepoint.evaluation import Report, Subject

# Evaluation is imported where it is asked for: training and sampling do not wait for it.


class Run(Generator):
    """A trained run: its configuration, its log, and its generator.

    Attributes:
        path: the run folder.
        config: the resolved configuration.
        family: the networks, with averaged weights for the generators.
        step: step of the checkpoint in use.
        averaged: whether the generators have their averaged weights.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], family: Family, step: int, averaged: bool) -> None:
        super().__init__(family, path.name)
        self.path, self.config, self.step, self.averaged = path, config, step, averaged

    def __repr__(self) -> str:
        config = self.config
        name = config["data"].get("name", "?")
        return for_terminal(f"<Run '{self.path}': {config['family']} on {name}, step {self.step:,}>")

    def __str__(self) -> str:
        return show.text(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: samples, what the run is, its figures."""
        return show.page(self)

    def grid(
        self, n: int = 64, *, seed: int = 0, label: int | str | None = None, truncation: float | None = None
    ) -> Image.Image:
        """Return ``n`` samples as one picture: images in a grid, series as paths, points as a scatter plot.

        Args:
            n: how many; of a conditional generator with few classes a class in each column.
            seed: as in `sample`.
            label: as in `sample`.
            truncation: as in `sample`.

        Raises:
            ConfigError: as `sample`.
        """
        return show.sheet(self, n, seed=seed, label=label, truncation=truncation)

    def show(
        self, n: int = 64, *, seed: int = 0, label: int | str | None = None, truncation: float | None = None
    ) -> None:
        """Show what `grid` returns: in a notebook below the cell, else in the viewer of the system."""
        show.display(self.grid(n, seed=seed, label=label, truncation=truncation))

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of ``log.jsonl``."""
        return RunFolder(self.path).read_log()

    @property
    def diagnosis(self) -> Diagnosis:
        """The training doctor's verdict on the log."""
        return diagnose(self.log)

    def read_pictures(self, files: Sequence[tuple[str, bytes]], most_pixels: int | None = None) -> Samples:
        """Return image files as the generator's images: (n, *sample) in [-1, 1], cropped or padded as in training.

        Args:
            files: (name, content) of each.
            most_pixels: that one may have, for pictures of strangers; see `saddlepoint.data.read_picture`.

        Raises:
            DataError: if there are none, one cannot be read or is too large, or the run is not about images.
        """
        return sample_files.read_pictures(self, files, most_pixels)

    @property
    def layout(self) -> Layout:
        """Columns, units and times of the table that a sequence family learnt from; the data need not be there.

        Raises:
            ConfigError: if the run is of images or vectors.
        """
        data = self.config["data"]
        if data["modality"] != "sequence":
            raise ConfigError(f"'{self.path.name}' makes {data['modality']}s, which have no columns and units")
        return layout_from_json(data["layout"]) if "layout" in data else default_layout(data["shape"][1])

    def write(
        self,
        path: str | Path,
        n: int,
        *,
        seed: int = 0,
        label: int | str | None = None,
        kind: str = "png",
        truncation: float | None = None,
        start: str | None = None,
        given: str | Path | None = None,
        fill: str | Path | None = None,
        length: int | None = None,
    ) -> Path:
        """Write samples: images as one file each, series in the units of their data; return the path.

        Windows of series follow one another in time, from one step after the data's last time on, so that no time comes
        twice; what was told the calendar in training is told that of these times.

        Args:
            path: of images a new or empty folder, see `write_images`; of series a file ending in .csv, .parquet or
                .npz, see `write_samples`.
            n: images, or windows.
            seed: as in `sample`.
            label: as in `sample`.
            kind: of images: png, webp or jpg.
            truncation: as in `sample`.
            start: of series: time of the first step, as ``2016-07-01``; None: after the data.
            given: of series: a table whose rows the samples go on from; they are not repeated.
            fill: of series: a table whose empty cells are filled, each time anew.
            length: of series: steps of each, longer than a window without seams; with ``given`` new ones.

        Raises:
            ConfigError: if the run is of vectors, on another ending or a folder in use, or as `sample`.
            DataError: if ``start`` is no time of this data, or a given table does not fit it.
        """
        place, sampling = Path(path), {"seed": seed, "label": label, "truncation": truncation}
        tables = [None if table is None else Path(table) for table in (given, fill)]
        asked = Asked(tables[0], tables[1], length, start)
        if asked.more:
            return write_asked(self, place, n, asked, seed=seed, label=label)
        return sample_files.write(self, place, n, kind=kind, start=start, **sampling)

    @logged
    def dataset(self, say: Callable[[str], None] | None = None) -> Dataset:
        """Return the data the run was trained on, prepared in the same way.

        Raises:
            DataError: if it cannot be found, or has changed.
        """
        data = self.config["data"]
        refuse_gone(
            data["source"], self.path, f"--data NEW, or saddlepoint.load({for_python(str(self.path))}, data=NEW)"
        )
        dataset = load_dataset(data["source"], say=say, **preparation_of(data))
        if not data["fingerprint"]:
            return self._measured_by(dataset)
        if dataset.fingerprint != data["fingerprint"]:
            now = sum(len(split) for split in dataset.splits.values())
            raise DataError(
                f"'{data['source']}' has changed since the run was trained on it: "
                f"{counted(data, {'total': now, 'rows': dataset.spec.rows})} (fingerprint "
                f"{dataset.fingerprint[:12]} now, {data['fingerprint'][:12]} then); restore it, or train again"
            )
        self._keep_place()
        return dataset

    def _measured_by(self, dataset: Dataset) -> Dataset:
        """Return data that imported weights are held against: whichever has their labels, theirs being unknown."""
        labels = len(dataset.spec.classes)
        if self.family.classes and labels != self.family.classes:
            raise DataError(
                f"'{self.config['data']['source']}' has {labels} classes, and '{self.path}' {self.family.classes} "
                "labels; name data with as many, in the same order"
            )
        return dataset

    def _keep_place(self) -> None:
        """Note in ``config.json`` where the data is now, once it was found to be the same; an export stays as it is."""
        folder = RunFolder(self.path)
        with contextlib.suppress(CheckpointError, KeyError, TypeError):
            kept = folder.read_config()
            now, then = self.config["data"], kept["data"]
            if now["source"] != then["source"] and "export" not in kept and now["fingerprint"] == then["fingerprint"]:
                folder.write_config({**kept, "data": {**then, "source": now["source"]}})

    def subject(self, dataset: Dataset | None = None) -> Subject:
        """Return the generator as the evaluation sees it.

        Args:
            dataset: the run's data: a generator that transforms images gets its held-out images. None: those images of
                the training data that the run keeps.
        """
        from saddlepoint.run.subject import subject_of

        return subject_of(self, dataset)

    @logged
    def evaluate(
        self,
        protocols: Sequence[str] | None = None,
        *,
        seed: int = 0,
        features: str | None = None,
        say: Callable[[str], None] | None = None,
        detail: Callable[[str], None] | None = None,
        partial: bool = False,
        threads: int | str | None = None,
    ) -> Report:
        """Measure the generator by named protocols, beside the reference rows.

        Args:
            protocols: kinds, aliases or full names, or one of them; None: all that fit the data.
            seed: of the samples and of the reference rows.
            features: name of a feature extractor; None: the best one for the data.
            say: receives a line on how long it will take, and one for each protocol.
            detail: receives lines on the parts of a protocol; None: ``say`` does.
            partial: an interrupt (Ctrl-C) returns what was measured until then.
            threads: of the CPU; ``auto`` or None: what is fastest here, measured at the start.

        Raises:
            ConfigError: on an unknown protocol or extractor, or one that does not fit the data.
            DataError: if the data has changed, or samples are not finite.
        """
        from saddlepoint.evaluation import evaluate

        shown = contextlib.nullcontext() if weights.is_export(self.path) else RunFolder(self.path).measured()
        with shown as note:

            def tell(line: str) -> None:
                if note is not None:
                    note(line)
                if say is not None:
                    say(line)

            dataset = self.dataset(say)
            report = evaluate(
                self.subject(dataset), dataset, protocols, seed=seed, features=features,
                cache_dir=cache_dir() / "controls", progress=tell, detail=detail or say, partial=partial,
                threads=threads,
            )  # fmt: skip
        early = unfinished(self.family.stages(), self.step)
        first: tuple[str, ...] = (f"{early[:1].upper()}{early[1:]}.",) if early else ()
        if isinstance(self.family, Iterative):
            first += (f"A sample takes {self.family.evaluations} evaluations of the network.",)
        return dataclasses.replace(report, limits=(*first, *report.limits))

    def check_report_place(self) -> None:
        """Refuse a run whose report would be written elsewhere, before the long work of measuring.

        Raises:
            CheckpointError: if ``report/`` is a link, or the figures in it are.
        """
        RunFolder(self.path).refuse_links(("report", "report/metrics.jsonl"))

    def save_report(
        self, report: Report, folder: str | Path | None = None, warn: Callable[[str], None] = lambda line: None
    ) -> Path:
        """Write ``metrics.jsonl`` (one line a protocol is added) and ``index.html``; return the page's path.

        Trackers that the run is logged to get the figures, too.

        Args:
            report: of this run.
            folder: where; None: ``report/`` in the run folder.
            warn: receives a line where a tracker cannot be reached.
        """
        from saddlepoint.evaluation.report.page import save_report
        from saddlepoint.run.subject import training_of

        place = RunFolder(self.path).own("report") if folder is None else folder
        page = save_report(place, report, training_of(self))
        if not weights.is_export(self.path):
            send_report(self.path, report, self.step, warn)
        return page

    @property
    def privacy(self) -> Spent | None:
        """What training with differential privacy has spent up to this checkpoint; None: it was none."""
        return privacy_of(self.config, RunFolder(self.path).read_status(), self.family, self.step)

    @property
    def seconds(self) -> float | None:
        """Training time until the newest checkpoint, in seconds: what a budget counts, of all processes that trained.

        The log, which is written at reports only, ends earlier. None of an export, which has no checkpoints.
        """
        return standing_of(RunFolder(self.path)).seconds or None


def load(path: str | Path, *, device: str = "cpu", averaged: bool = True, data: str | Path | None = None) -> Run:
    """Load a run's newest whole checkpoint, or an export, for sampling; nothing in it is executed.

    Args:
        path: run folder, ``latest``, the name of a run or its beginning (see `find_run`), folder of an export, or
            ``hf:owner/name``.
        device: where to put the networks.
        averaged: use the moving average of the generator's weights, not the last ones.
        data: where the run's data is now, if it was moved; it is compared when it is read.

    Raises:
        CheckpointError: if there is no run, no whole checkpoint, or it belongs to other networks.
        ConfigError: if the last weights of an export are asked for: it has the averages only.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"a run is called by its folder or its name, not by {path!r}")
    folder = RunFolder(weights.local(path))
    config = weights.read_config(folder)
    if data is not None:
        config = {**config, "data": {**config["data"], "source": absolute_source(str(data))}}
    family, step = weights.open_networks(folder, config, averaged)
    place = runtime.resolve_device(device)
    runtime.use_device(place)
    family.to(place).eval().requires_grad_(False)
    return Run(folder.path, config, family, step, averaged)


def from_pretrained(name: str | Path, *, device: str = "cpu") -> Run:
    """Load an exported generator from the Hugging Face hub, or from a folder; nothing in it is executed.

    Args:
        name: ``owner/name`` on the hub, or a folder that is there: an export, or a run.
        device: where to put the networks.

    Raises:
        CheckpointError: if it is in neither place, or is no generator of saddlepoint.
    """
    there = Path(name).expanduser().is_dir() or str(name).startswith(weights.HUB)
    return load(name if there else f"{weights.HUB}{name}", device=device)
