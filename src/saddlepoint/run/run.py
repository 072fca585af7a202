"""A finished or unfinished run as an object: its configuration, its log, its generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.quoting import for_terminal
from saddlepoint.core.types import Samples
from saddlepoint.data import Dataset, absolute_source
from saddlepoint.data.series.layout import Layout, layout_from_json, plain_layout
from saddlepoint.engine.doctor.verdict import Diagnosis, diagnose
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.standing import standing_of
from saddlepoint.family import Family
from saddlepoint.family.translation import target_of
from saddlepoint.run import sample_files, sampling, show, training_data, weights

if TYPE_CHECKING:
    from saddlepoint.evaluation import Report, Subject

# Evaluation is imported where it is asked for: training and sampling do not wait for it.


class Run:
    """A trained run: its configuration, its log, and its generator.

    Attributes:
        path: the run folder.
        config: the resolved configuration.
        family: the networks, with averaged weights for the generators.
        step: step of the checkpoint in use.
        averaged: whether the generators have their averaged weights.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], family: Family, step: int, averaged: bool) -> None:
        self.path, self.config, self.family, self.step, self.averaged = path, config, family, step, averaged
        self.device = next(family.parameters()).device

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

    def inputs(self, n: int, *, seed: int = 0) -> Tensor:
        """Return the generator's inputs for ``n`` samples; the i-th depends on (seed, i) only.

        They are latent vectors, or training images where the generator transforms images.
        """
        return sampling.inputs(self.family, n, seed)

    def labels(self, n: int, *, seed: int = 0, label: int | str | None = None) -> Tensor | None:
        """Return the labels of ``n`` samples, int64, (n,) or as `target` gives them; None if unconditional.

        Args:
            n: how many.
            seed: the i-th label depends on (seed, i) only, and comes from the shares of the training data.
            label: index or name of one class for all of them; words as in `target` where samples carry several labels.

        Raises:
            ConfigError: if the generator is unconditional and a label is asked for, or has no such class.
        """
        if label is not None and self.family.classes and self.family.data.labelling:
            return self.target(str(label)).repeat(n, 1)
        return sampling.labels(self.family, n, seed, label)

    @torch.no_grad()
    def sample(
        self, n: int, *, seed: int = 0, label: int | str | None = None, truncation: float | None = None
    ) -> Samples:
        """Return ``n`` samples on the CPU: (n, *sample), images in [-1, 1].

        Args:
            n: how many.
            seed: the i-th sample depends on (seed, i) and the label only.
            label: index or name of a class, for a conditional generator; None: in the shares of the training data.
            truncation: of families with w: share of the way from the mean of w to each sample's own w, such as 0.7;
                they then differ in w alone, not in their noise. None: as the generator samples.

        Raises:
            ConfigError: if ``n`` is below 1, there is no such class, or a truncation is asked of a family without w.
        """
        if n < 1:
            raise ConfigError(f"the number of samples is {n}, but it must be at least 1")
        labels = self.labels(n, seed=seed, label=label)
        return self.generate(self.inputs(n, seed=seed), labels, seed=seed, truncation=truncation)

    def sample_seeds(
        self, seeds: Sequence[int], *, label: int | str | None = None, truncation: float | None = None
    ) -> Samples:
        """Return one sample for each seed, on the CPU: (seeds, *sample), the first that `sample` draws with that seed.

        Each is computed alone, so it is the same bit for bit whatever other seeds are asked for.

        Args:
            seeds: 0 or more each.
            label: as in `sample`; without one a conditional generator takes the label of the seed.
            truncation: as in `sample`.

        Raises:
            ConfigError: if there are no seeds, and as `sample`.
        """
        if not seeds:
            raise ConfigError("no seed is given; name at least one")
        return torch.cat([self.sample(1, seed=seed, label=label, truncation=truncation) for seed in seeds])

    @torch.no_grad()
    def generate(
        self, inputs: Tensor, labels: Tensor | None = None, *, seed: int = 0, truncation: float | None = None
    ) -> Samples:
        """Return the samples of given inputs, computed in pieces, on the CPU.

        Args:
            inputs: (n, latent), as `inputs` draws them; or images (n, *sample) in [-1, 1].
            labels: (n,) class indices, for a conditional generator; or (n, classes), as `target` gives them.
            seed: of further randomness.
            truncation: as in `sample`.

        Raises:
            ConfigError: if the generator is conditional and there are no labels, or a truncation is asked of a family
                without w.
        """
        if labels is None and self.family.classes:
            raise ConfigError(f"'{self.path.name}' is a conditional generator: give the labels of its samples too")
        if truncation is not None:
            check_truncation(self.family, truncation)
            return self.synthesise(sampling.truncated(self.family, self.codes(inputs, labels), truncation), seed)
        return sampling.generate(self.family, inputs, labels, seed)

    @torch.no_grad()
    def codes(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the points of w of inputs, (n, w), on the CPU; for families with w."""
        return self.family.mapping(inputs.to(self.device), None if labels is None else labels.to(self.device)).cpu()

    @torch.no_grad()
    def synthesise(self, styles: Tensor, seed: int = 0) -> Samples:
        """Return the samples of styles (n, layers, w), all with the noise of the seed, on the CPU; families with w."""
        return sampling.synthesise(self.family, styles, seed)

    def target(self, names: str) -> Tensor:
        """Return the domain that names of classes describe, as labels of one sample.

        Args:
            names: a class; where samples carry several labels, classes of different groups separated by commas, and
                ``not-NAME`` for an attribute that shall not hold. Groups that are not named stay as they are.

        Returns:
            (1,) a class index, or (1, classes): 1 where a class shall hold, 0 where not, -1 in what stays.

        Raises:
            ConfigError: if there is no such class, or two of them exclude each other.
        """
        return target_of(names, self.family.data)

    def guided(self, inputs: Tensor, references: Tensor, labels: Tensor) -> Samples:
        """Translate images into the style of reference images, in pieces, on the CPU; see `Family.guided`."""
        return sampling.guided(self.family, inputs, references, labels)

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
        return layout_from_json(data["layout"]) if "layout" in data else plain_layout(data["shape"][1])

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

        Raises:
            ConfigError: if the run is of vectors, on another ending or a folder in use, or as `sample`.
            DataError: if ``start`` is no time of this data.
        """
        return sample_files.write(
            self, Path(path), n, kind=kind, start=start, seed=seed, label=label, truncation=truncation
        )

    def dataset(self, say: Callable[[str], None] | None = None) -> Dataset:
        """Return the data the run was trained on, prepared in the same way.

        Raises:
            DataError: if it cannot be found, or has changed.
        """
        return training_data.load(self, say)

    def subject(self, dataset: Dataset | None = None) -> Subject:
        """Return the generator as the evaluation sees it.

        Args:
            dataset: the run's data: a generator that transforms images gets its held-out images. None: those images of
                the training data that the run keeps.
        """
        from saddlepoint.run import subject

        return subject.of(self, dataset)

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
            protocols: kinds, aliases or full names; None: all that fit the data.
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
        from saddlepoint.run import report

        return report.measure(
            self, protocols, seed=seed, features=features, say=say, detail=detail, partial=partial, threads=threads
        )

    def check_report_place(self) -> None:
        """Refuse a run whose report would be written elsewhere, before the long work of measuring.

        Raises:
            CheckpointError: if ``report/`` is a link, or the figures in it are.
        """
        RunFolder(self.path).refuse_links(("report", "report/metrics.jsonl"))

    def save_report(self, report: Report, folder: str | Path | None = None) -> Path:
        """Write ``metrics.jsonl`` (one line a protocol is added) and ``index.html``; return the page's path.

        Args:
            report: of this run.
            folder: where; None: ``report/`` in the run folder.
        """
        from saddlepoint.run import report as writing

        return writing.save(self, report, folder)

    @property
    def seconds(self) -> float | None:
        """Training time until the newest checkpoint, in seconds: what a budget counts, of all processes that trained.

        The log, which is written at reports only, ends earlier. None of an export, which has no checkpoints.
        """
        return standing_of(RunFolder(self.path)).seconds or None


def check_truncation(family: Family, truncation: float | None) -> None:
    """Raise a `ConfigError` if a truncation is asked of a family without w."""
    if truncation is not None and not family.tags.has_w:
        raise ConfigError(f"family '{family.name}' has no w to truncate; leave the truncation out")


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
    folder = RunFolder(weights.local(path))
    config = weights.read_config(folder)
    if data is not None:
        config = {**config, "data": {**config["data"], "source": absolute_source(str(data))}}
    family, step = weights.open_networks(folder, config, averaged)
    family.to(runtime.resolve_device(device)).eval().requires_grad_(False)
    return Run(folder.path, config, family, step, averaged)
