"""A finished or unfinished run as an object: its configuration, its log, its generator."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.config import from_json
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError
from saddlepoint.core.quoting import for_python, for_terminal
from saddlepoint.core.types import Samples, from_bytes, to_uint16
from saddlepoint.data import Dataset, absolute_source, load_dataset, read_picture, short_name
from saddlepoint.data.cache import cache_dir
from saddlepoint.data.images.write import write_images
from saddlepoint.data.inputs import look_of
from saddlepoint.data.labels.files import class_index
from saddlepoint.data.options import Options, preparation_of
from saddlepoint.data.series.calendar import phases
from saddlepoint.data.series.layout import Layout, default_layout, layout_from_json
from saddlepoint.data.series.positions import consecutive
from saddlepoint.data.series.samples import FORMATS, write_samples
from saddlepoint.engine.doctor.verdict import Diagnosis, diagnose
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.threads import told_threads
from saddlepoint.engine.plan import unfinished
from saddlepoint.engine.storage.checkpoint import newest_checkpoint
from saddlepoint.engine.storage.entries import check_complete
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.origin import counted, refuse_gone
from saddlepoint.engine.storage.standing import standing_of
from saddlepoint.engine.training import load_weights
from saddlepoint.family import Family, build_family
from saddlepoint.family.registry import family_of
from saddlepoint.family.translation import target_of
from saddlepoint.run import show, weights

if TYPE_CHECKING:
    from saddlepoint.evaluation import Report, Subject
    from saddlepoint.evaluation.report.page import Training

# Evaluation is imported where it is asked for: training and sampling do not wait for it.

_CHUNK = 250


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
        chunks = [
            self.family.sample_inputs(_CHUNK, runtime.stream("cpu", "sample", seed, chunk))
            for chunk in range(-(-n // _CHUNK))
        ]
        return torch.cat(chunks)[:n]

    def labels(self, n: int, *, seed: int = 0, label: int | str | None = None) -> Tensor | None:
        """Return the labels of ``n`` samples, int64, (n,) or as `target` gives them; None if unconditional.

        Args:
            n: how many.
            seed: the i-th label depends on (seed, i) only, and comes from the shares of the training data.
            label: index or name of one class for all of them; words as in `target` where samples carry several labels.

        Raises:
            ConfigError: if the generator is unconditional and a label is asked for, or has no such class.
        """
        names = self.family.data.classes[: self.family.classes]
        if label is not None and names and self.family.data.labelling:
            return self.target(str(label)).repeat(n, 1)
        if label is not None:
            return torch.full((n,), class_index(label, names))
        if not names:
            return None
        chunks = [
            self.family.sample_labels(_CHUNK, runtime.stream("cpu", "sample-labels", seed, chunk))
            for chunk in range(-(-n // _CHUNK))
        ]
        return torch.cat([chunk for chunk in chunks if chunk is not None])[:n]

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
            w = self.codes(inputs, labels)
            near = torch.lerp(self.family.w_average.cpu().expand_as(w), w, truncation)
            return self.synthesise(near[:, None].expand(-1, self.family.w_layers, -1), seed)
        samples = torch.empty(0)
        for number, start in enumerate(range(0, len(inputs), _CHUNK)):
            stream = runtime.stream(self.device, "generate", seed, number)
            for part in runtime.pieces(start, min(start + _CHUNK, len(inputs)), self.family.data.shape):
                asked = None if labels is None else labels[part].to(self.device)
                piece = self.family.generate(inputs[part].to(self.device), asked, generator=stream)
                if part.start == 0:
                    samples = piece.new_empty((len(inputs), *piece.shape[1:]), device="cpu")
                samples[part] = piece
        return samples

    @torch.no_grad()
    def codes(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the points of w of inputs, (n, w), on the CPU; for families with w."""
        return self.family.mapping(inputs.to(self.device), None if labels is None else labels.to(self.device)).cpu()

    @torch.no_grad()
    def synthesise(self, styles: Tensor, seed: int = 0) -> Samples:
        """Return the samples of styles (n, layers, w), all with the noise of the seed, on the CPU; families with w."""
        pieces = []
        for part in runtime.pieces(0, len(styles), self.family.data.shape):
            stream = runtime.stream(self.device, "generate", seed, 0)
            pieces.append(self.family.synthesis(styles[part].to(self.device), generator=stream).cpu())
        return torch.cat(pieces)

    def target(self, words: str) -> Tensor:
        """Return the domain that words name, as labels of one sample.

        Args:
            words: a class; where samples carry several labels, classes of different groups separated by commas, and
                ``not-NAME`` for an attribute that shall not hold. Groups that are not named stay as they are.

        Returns:
            (1,) a class index, or (1, classes): 1 where a class shall hold, 0 where not, -1 in what stays.

        Raises:
            ConfigError: if there is no such class, or two of them exclude each other.
        """
        return target_of(words, self.family.data)

    def guided(self, inputs: Tensor, references: Tensor, labels: Tensor) -> Samples:
        """Translate images into the style of reference images, in pieces, on the CPU; see `Family.guided`."""
        pieces = [
            self.family.guided(*(whole[part].to(self.device) for whole in (inputs, references, labels))).cpu()
            for part in runtime.pieces(0, len(inputs), self.family.data.shape)
        ]
        return torch.cat(pieces)

    def read_pictures(self, files: Sequence[tuple[str, bytes]], most_pixels: int | None = None) -> Samples:
        """Return image files as the generator's images: (n, *sample) in [-1, 1], cropped or padded as in training.

        Args:
            files: (name, content) of each.
            most_pixels: that one may have, for pictures of strangers; see `saddlepoint.data.read_picture`.

        Raises:
            DataError: if there are none, one cannot be read or is too large, or the run is not about images.
        """
        if self.family.data.modality != "image" or not files:
            raise DataError(
                f"{len(files)} pictures for a run on {self.family.data.modality}s: give pictures to one on images"
            )
        fit, look = preparation_of(self.config["data"]).get("fit") or "crop", look_of(self.config["data"])
        shape = self.family.data.shape
        rows = [read_picture(content, name, shape, fit, look, most_pixels) for name, content in files]
        return from_bytes(torch.from_numpy(np.stack(rows)))

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
        if self.family.data.modality == "image" and Path(path).suffix.lower().removeprefix(".") not in FORMATS:
            from saddlepoint.figures.grids import to_uint8

            asked = self.labels(n, seed=seed, label=label)
            samples = self.sample(n, seed=seed, label=label, truncation=truncation)
            pixels = to_uint8(samples)
            if preparation_of(self.config["data"]).get("depth") == 16:
                pixels = to_uint16(samples).numpy()
            held = None if asked is None else asked.numpy()
            return write_images(Path(path), pixels, kind, held, self.family.data.classes)
        layout, labels = self.layout, self.labels(n, seed=seed, label=label)
        if n < 1:
            raise ConfigError(f"the number of samples is {n}, but it must be at least 1")
        inputs, kept = self.inputs(n, seed=seed), None if labels is None else labels.numpy()
        lengths = inputs.isfinite().all(2).sum(1).numpy()
        times = consecutive(layout, lengths, inputs.shape[1], kept, start)
        if layout.calendar and times is not None:
            inputs = self.at(inputs, phases(times, layout.calendar))
        x = self.generate(inputs, labels, seed=seed).numpy()
        return write_samples(Path(path), x, layout, kept, self.family.data.classes, times)

    def at(self, inputs: Tensor, turns: np.ndarray) -> Tensor:
        """Return inputs that are told other times: phases of the calendar (n, time, part), as `calendar.phases`."""
        known = torch.from_numpy(turns).to(inputs.dtype)
        rest = inputs[:, :, : inputs.shape[2] - known.shape[2]]
        return torch.cat([rest, known.masked_fill(rest[:, :, :1].isnan(), torch.nan)], 2)

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
        if dataset.fingerprint != data["fingerprint"]:
            now = sum(len(split) for split in dataset.splits.values())
            raise DataError(
                f"'{data['source']}' has changed since the run was trained on it: "
                f"{counted(data, {'total': now, 'rows': dataset.spec.rows})} (fingerprint "
                f"{dataset.fingerprint[:12]} now, {data['fingerprint'][:12]} then); restore it, or train again"
            )
        self._keep_place()
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
        from saddlepoint.evaluation import Latents, Subject

        label, tags = "generator (EMA)" if self.averaged else "generator", self.family.tags
        if tags.input == "image":
            return self._translator(label, dataset)
        latents = styles = None
        if tags.has_w:
            # Both ends of a path are of one class.
            styles = Latents(
                lambda n, draws: self.codes(self.family.sample_inputs(n, draws), self.labels(n)),
                lambda w: self.synthesise(w[:, None].expand(-1, self.family.w_layers, -1)),
            )
        if tags.input == "latent":
            # Every mapping network here scales z to unit root mean square first, as published.
            latents = Latents(
                self.family.sample_inputs, lambda z: self.generate(z, self.labels(len(z)), seed=0), tags.has_w
            )
        labels = self._asked if self.family.classes else None
        return Subject(label, self._as_written, labels=labels, latents=latents, styles=styles)

    def _asked(self, n: int, seed: int) -> np.ndarray:
        labels = self.labels(n, seed=seed)
        assert labels is not None
        return labels.numpy()

    def _as_written(self, n: int, seed: int) -> Tensor:
        """Return samples as a file of them would hold them: series with constants and decimals of their columns."""
        x = self.sample(n, seed=seed)
        if self.family.data.modality != "sequence":
            return x
        return torch.from_numpy(self.layout.as_written(x.numpy()))

    def _translator(self, label: str, dataset: Dataset | None) -> Subject:
        """Return a generator that transforms images: its samples are held-out images in domains drawn anew."""
        from saddlepoint.evaluation import Subject

        def sample(n: int, seed: int) -> Tensor:
            return self.generate(self._given(n, seed, dataset), self.labels(n, seed=seed), seed=seed)

        return Subject(
            label, sample, labels=self._asked, translate=lambda x, c, seed: self.generate(x, c, seed=seed),
            guided=self.guided if self.family.tags.guided else None,
        )  # fmt: skip

    def _given(self, n: int, seed: int, dataset: Dataset | None) -> Tensor:
        if dataset is None:
            return self.inputs(n, seed=seed)
        held_out, rng = dataset.splits["valid"].x, np.random.default_rng(seed)
        rows = rng.permutation(len(held_out))[:n] if n <= len(held_out) else rng.integers(0, len(held_out), n)
        return from_bytes(torch.from_numpy(np.asarray(held_out)[rows]))

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
        first = (f"{early[:1].upper()}{early[1:]}.",) if early else ()
        return dataclasses.replace(report, limits=(*first, *report.limits))

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
        from saddlepoint.evaluation.report.page import save_report

        place = RunFolder(self.path).own("report") if folder is None else folder
        return save_report(place, report, self._training())

    @property
    def seconds(self) -> float | None:
        """Training time until the newest checkpoint, in seconds: what a budget counts, of all processes that trained.

        The log, which is written at reports only, ends earlier. None of an export, which has no checkpoints.
        """
        return standing_of(RunFolder(self.path)).seconds or None

    def _training(self) -> Training:
        from saddlepoint.evaluation.report.facts import changed_options, chosen_options
        from saddlepoint.evaluation.report.page import Training

        config, diagnosis = self.config, self.diagnosis
        machine, seconds = config.get("machine", {}), self.seconds
        facts = {
            "run": self.path.name,
            "family": f"{config['family']}, preset {config['preset']}, seed of training {config['settings']['seed']}",
            "trained": f"{self.step * self.family.config.batch_size:,} samples seen, step {self.step:,}"
            + ("" if seconds is None else f", {seconds:,.0f} s of training"),
            "machine": ", ".join(str(machine[key]) for key in ("processor", "torch") if key in machine)
            + f", {told_threads(self.log, config.get('threads'))}, {config['device']}",
            "saddlepoint": str(config.get("saddlepoint", "?")),
        }
        about = {
            "run": f"{self.path.resolve().name}, {facts['trained']}",
            "family": f"{self.family.summary}; preset {config['preset']}",
            "options that differ from the preset": ", ".join(changed_options(config)) or "none",
            "chosen automatically": "; ".join(chosen_options(config)),
        }
        title = f"{config['family']} on {short_name(str(config['data']['name']))}"
        snapshots = RunFolder(self.path).samples
        return Training(self.log, diagnosis.verdict, diagnosis.evidence, facts, title, about, snapshots)


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
    model, averages, step = _kept(folder, config, averaged)
    try:
        check_complete(config)
        Options.of(**preparation_of(config["data"]))
        kind, spec = family_of(config, folder.path), weights.spec_of(config["data"])
        with weights.no_larger_than(sum(tensor.numel() for tensor in model.values())):
            family = build_family(kind.name, from_json(kind.Config, config["options"]), spec)
        look_of(config["data"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, DataError) as error:
        raise CheckpointError(f"'{folder.path}/config.json' is damaged: {error}") from error
    load_weights(family, model)
    for name in family.averaged if averages else ():
        start = name + "."
        own = {key.removeprefix(start): tensor for key, tensor in averages.items() if key.startswith(start)}
        load_weights(family.get_submodule(name), own)
    family.to(runtime.resolve_device(device)).eval().requires_grad_(False)
    return Run(folder.path, config, family, step, averaged)


def _kept(
    folder: RunFolder, config: Mapping[str, Any], averaged: bool
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor], int]:
    """Return a run's tensors, those of its averages (none: they are in place), and their step."""
    if weights.is_export(folder.path):
        if not averaged:
            raise ConfigError(f"'{folder.path}' is an export, which holds the averaged weights only; leave --raw out")
        model, step = weights.read_weights(folder.path, config)
        return model, {}, step
    checkpoint, problems = newest_checkpoint(folder.checkpoints, ("model", "averages") if averaged else ("model",))
    if checkpoint is None:
        detail = f" ({'; '.join(problems.values())})" if problems else "; train it first"
        raise CheckpointError(f"run '{folder.path}' has no whole checkpoint{detail}")
    return checkpoint.tensors["model"], checkpoint.tensors.get("averages", {}), checkpoint.step
