"""What may be asked of a training, a drawing and a measurement: each field once, with its help, range and type.

The fields are keyword arguments of the library and options of the command (`saddlepoint.cli.options.with_fields`).
Nothing here loads PyTorch: the command reads this file as it starts.
"""

# ruff: noqa: RUF009 - fields, each declared by `option`

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from saddlepoint.core.config import check, option
from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.engine.storage.lookup import VARIABLE

Room = Literal["", "limits", "start", "place", "machine", "doctor", "privacy", "sweep"]
"""What a field is for: the help of a command has a panel for each."""


@dataclass(frozen=True)
class TrainRequest:
    """How a family is trained, beside its data and its own options.

    Attributes:
        preset: named configuration of the family; None: its default.
        budget: training time, such as ``"90s"``, ``"3m"``, ``"1.5h"``; a number (no text) is seconds.
        kimg: budget in thousands of samples seen.
        steps: budget in steps. The first spent ends training; none: the family's.
        seed: of weights, data order and noise; 0 or more.
        out: run folder; if it holds the same training, that goes on. None: a new folder below ``runs/``, or that
            of an unfinished run of the same configuration.
        name: of the run, instead of ``out``: its folder below ``runs``.
        runs: folder of runs; None: ``SADDLEPOINT_RUNS``, or ``runs`` in the working directory.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: of the CPU: a number, which never changes; ``auto`` or None: what is measured to be fastest.
        checkpoint: time between checkpoints, as ``budget``.
        remedy: ``auto``: on an alarm the doctor may change one thing; ``off``: it tells. None: off for paper presets.
        stop_when: ``finished`` ends training when the doctor finds no more improvement; None: the budget alone does.
        micro_batch: samples computed at once; a minibatch is gone through in such pieces, which takes less memory.
            None: a process's whole part at once.
        precision: of matrix products: ``fp32``, ``bf16`` (all else stays fp32), or ``auto``: what is faster here.
        compile: try `torch.compile` on each network, and keep it where the gradients stay the same.
        deterministic: on a GPU, only operations that give the same bits every time, so that resuming does, too; they
            are slower. On a CPU all are.
        averages: of lengths to be chosen after training, see `average_run`: ``auto``: kept where they take less than
            1 GiB; ``on``; ``off``.
        start_from: begin with the weights of a run of the same family: its folder or name, an export, or
            ``hf:owner/name``. Options that are not named are that run's, sizes of images too; what does not fit is
            drawn anew, and said. Learning rates, averages and counts begin anew.
        freeze_discriminator: layers of D, from the sample on, that keep the weights they begin with (Mo et al. 2020).
        private: train with differential privacy (DP-SGD): what D learns of rows, and G of D, is bounded.
        epsilon: what may be spent at most; it chooses the noise, for ``steps`` or ``kimg``. None: no limit.
        delta: probability with which more may be told; below 1 / training rows.
        clip: norm that the gradient of one pair of a row and a sample may have at most.
        noise_multiplier: standard deviation of the noise over ``clip``; None: as ``epsilon`` asks.
        log_to: trackers that hear of the training: ``tensorboard``, ``wandb``, ``mlflow``, a list, or text with commas
            between them; ``off``: none any more. None: those that the run had before.

    Raises:
        ConfigError: on a word that is none of a field's choices.
    """

    preset: str | None = option(None, "Named configuration; `saddle families gan` lists them.")
    budget: str | float | None = option(
        None, "Training time in all: 90s, 3m, 1.5h; with --resume also +10m: so much more. Default: by the family.",
        room="limits",
    )  # fmt: skip
    kimg: float | None = option(None, "Limit in thousands of samples seen.", room="limits")
    steps: int | None = option(None, "Limit in steps. The first limit reached ends training.", room="limits")
    seed: int = option(0, "Seed of everything random.", min=0)
    out: str | Path | None = option(None, "Folder of this run.", room="place", flags=("--out", "-o"))
    name: str | None = option(None, "Name of the run: its folder in the folder of runs.", room="place")
    runs: str | Path | None = option(
        None,
        "Folder of runs, where names are looked for. Default: runs.",
        room="place",
        envvar=VARIABLE,
        flags=("--runs",),
    )
    device: str = option("auto", "auto, cpu, cuda or mps.", room="machine")
    threads: int | str | None = option(
        None, "CPU threads: a number, or auto, the default: what is fastest here, measured.", room="machine",
        metavar="N|auto",
    )  # fmt: skip
    checkpoint: str | float = option("60s", "Time between checkpoints.", room="place")
    remedy: str | None = option(
        None, "auto: on an alarm the doctor may change one thing; off: it tells. Default: off for paper presets.",
        room="doctor", choices=("auto", "off"),
    )  # fmt: skip
    stop_when: str | None = option(
        None, "finished: stop when the doctor finds no more improvement.", room="limits", choices=("finished",)
    )
    micro_batch: int | None = option(
        None, "Samples computed at once: less memory, the same minibatch. Default: all.", room="machine"
    )
    precision: str = option(
        "auto", "Of matrix products: fp32, bf16 (all else stays fp32), auto: what is faster here.", room="machine",
        choices=("auto", "fp32", "bf16"),
    )  # fmt: skip
    compile: bool = option(
        False, "Try torch.compile on each network; kept where its gradients stay the same.", room="machine"
    )
    deterministic: bool = option(
        False, "On a GPU: only what gives the same bits every time, so that resuming does; slower.", room="machine"
    )
    averages: str = option(
        "auto", "Averages of G of other lengths, for `saddle average`: on, off, auto: where they take under 1 GiB.",
        room="place", choices=("auto", "on", "off"),
    )  # fmt: skip
    start_from: str | Path | None = option(
        None, "Begin with the weights of a run of the same family: folder, name, latest, export or hf:owner/name.",
        flags=("--from",), room="start",
    )  # fmt: skip
    freeze_discriminator: int = option(
        0, "With --from: first layers of D that keep those weights.", min=0, room="start"
    )
    private: bool = option(
        False, "Differential privacy (DP-SGD) for D, and so for G; docs/privacy.md says what it covers.", room="privacy"
    )
    epsilon: float | None = option(
        None, "With --private: spend at most so much; chooses the noise for --steps or --kimg.", room="privacy"
    )
    delta: float | None = option(
        None, "With --private: probability of telling more; below 1 / training rows. Default: 1e-5.", room="privacy"
    )
    clip: float | None = option(
        None, "With --private: norm to which the gradient of one row is clipped. Default: 1.", room="privacy"
    )
    noise_multiplier: float | None = option(
        None, "With --private, instead of --epsilon: deviation of the noise over --clip.", room="privacy"
    )
    log_to: str | Sequence[str] | None = option(
        None, "Trackers, with commas between them: tensorboard, wandb, mlflow; off. Default: those of before.",
        room="doctor",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            word, choices = getattr(self, field.name), field.metadata["choices"]
            if choices and word is not None and word not in choices:
                raise ConfigError(f"{field.name.replace('_', '-')} is '{word}'; {suggest(word, choices)}")
        for name in ("seed", "kimg", "steps", "micro_batch", "freeze_discriminator"):
            value = getattr(self, name)
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            check(value is None or is_number, name, repr(value), "a number")
        check(isinstance(self.seed, Integral), "seed", self.seed, "a whole number")
        self._check_private()
        if self.freeze_discriminator and self.start_from is None:
            raise ConfigError(
                f"freeze-discriminator is {self.freeze_discriminator}, but layers that never learned would stay as "
                "they were drawn; name a run to begin with: --from RUN"
            )

    def _check_private(self) -> None:
        """Refuse options of privacy without it, and others that would go round it, or bring nothing with it."""
        own = {name: getattr(self, name) for name in ("epsilon", "delta", "clip", "noise_multiplier")}
        named = [name for name, value in own.items() if value is not None]
        if not self.private:
            if named:
                word = named[0].replace("_", "-")
                raise ConfigError(f"{word} is {own[named[0]]}, but nothing is private; add --private")
            return
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ConfigError(
                "--private needs to know how much noise: --epsilon E with --steps or --kimg, or --noise-multiplier S; "
                "one of the two"
            )
        if self.epsilon is not None and self.steps is None and self.kimg is None:
            raise ConfigError(
                f"epsilon is {self.epsilon:g}, but how much noise it takes depends on the number of steps, which a "
                "time does not say; add --steps or --kimg"
            )
        reasons = {
            "--from: what its training told of these rows is not counted": self.start_from is not None,
            "--micro-batch: gradients are taken row by row anyway": self.micro_batch is not None,
            "--compile: D's gradients are mapped over rows": self.compile,
            "--remedy auto: the doctor looks at rows, which is not counted": self.remedy == "auto",
            "--stop-when finished: the doctor looks at rows, which is not counted": self.stop_when is not None,
        }
        for reason, holds in reasons.items():
            if holds:
                raise ConfigError(f"--private does not go with {reason}; leave one of the two out")


class Picture(StrEnum):
    """What can be drawn of a run."""

    grid = "grid"
    filmstrip = "filmstrip"
    neighbours = "neighbours"
    interpolation = "interpolation"
    styles = "styles"
    truncation = "truncation"
    references = "references"


@dataclass(frozen=True)
class SampleRequest:
    """Which samples of a run are drawn, and where to.

    Attributes:
        n: samples; columns of a filmstrip, rows of an interpolation or of a truncation, rows and columns of styles and
            references; of seeds of series windows of each; None: as many as look well.
        picture: what is drawn of them.
        label: index or name of one class, for a conditional generator; None: a column or a row for each class.
        seed: of the samples; 0 or more.
        seeds: one sample for each of these instead, as ``0-63,100``; see `Run.sample_seeds`.
        out: a file ending in .png, .jpg, .webp or .npz, of series also .csv or .parquet; of images a folder for a file
            each (``seed0000.png`` of seeds); None: in the run folder.
        kind: csv, parquet or npz: write the samples of series in the units of their data; png, jpg or webp: write
            images as a file each; None: by ``out``.
        truncation: of a grid or files; see `Run.sample`.
        evaluations: of families that ask their network many times for a sample: how often; None: by their options.
        start: of a file of series: time of the first step; see `Run.write`.
        given, fill, length: of a file of series: see `Run.write`.
    """

    n: int | None = option(None, "Samples; columns of a filmstrip, rows of an interpolation.", flags=("-n",), min=1)
    picture: Picture = option(Picture.grid, "What to draw.")
    label: int | str | None = option(
        None, "Name or index of a class, for a conditional generator; default: every class."
    )
    seed: int = option(0, "Seed of everything random.", min=0)
    seeds: str | None = option(None, "One sample for each of these seeds, such as 0-63,100, the same in any company.")
    out: Path | None = option(None, "Where to write.", flags=("--out", "-o"))
    kind: str | None = option(
        None, "Of series: csv, parquet or npz, in the units of the data. Of images: png, webp or jpg, a file each.",
        flags=("--format",),
    )  # fmt: skip
    truncation: float | None = option(None, "Of families with w: pull samples towards the mean, as 0.7; 1: not at all.")
    evaluations: int | None = option(None, "Of diffusion: passes of the network for each sample; 1 or more.", min=1)
    start: str | None = option(None, "Of series: time of the first step, as 2016-07-01. Default: after the data.")
    given: Path | None = option(None, "Of series: go on from the rows of this table, as history.csv.")
    fill: Path | None = option(None, "Of series: fill the empty cells of this table, each time anew.")
    length: int | None = option(
        None, "Of series: steps of each, as 5000, without seams; with --given new ones. Default: a window.", min=1
    )

    def sampling(self) -> dict[str, Any]:
        """Return what `Run.sample` takes of it."""
        return {"seed": self.seed, "label": self.label, "truncation": self.truncation}


@dataclass(frozen=True)
class EvaluateRequest:
    """By what samples are measured, and where the report goes; see `Run.evaluate`."""

    protocols: Sequence[str] | None = option(
        None, "Protocol, such as fd, parzen or fd2k_pixels_test; may be given several times. Default: all.",
        flags=("--protocol",),
    )  # fmt: skip
    features: str | None = option(
        None, "Feature extractor: imagenet-lite, mnist-lenet, pixels, ... Default: by the data."
    )
    evaluations: int | None = option(None, "Of diffusion: passes of the network for each sample; 1 or more.", min=1)
    seed: int = option(0, "Seed of everything random.", min=0)
    out: Path | None = option(
        None, "Folder of the report; default: RUN/report, of --samples NAME: ./NAME-report.", flags=("--out", "-o")
    )


@dataclass(frozen=True)
class AverageRequest:
    """Which average of a run's weights is made after training, and where; see `average_run`."""

    length: float | None = option(
        None, "Of the average, as a share of the training: .01 to .28. Default: the best of ten.",
        flags=("--length", "-l"),
    )  # fmt: skip
    end: float | None = option(
        None,
        "Where it ends: the kept moment nearest to so many thousands of samples. Default: the last.",
        metavar="KIMG",
    )
    n: int = option(5_000, "Rows and samples by which a length is chosen, at most.", flags=("-n",), min=1)
    features: str | None = option(
        None, "Feature extractor of the choice: pixels, inception-v3, ... Default: by the data."
    )
    seed: int = option(0, "Seed of the samples by which a length is chosen.", min=0)
    out: Path | None = option(
        None, "Folder of the average; default: RUN-average-LENGTH, beside the run.", flags=("--out", "-o")
    )


@dataclass(frozen=True)
class SweepRequest:
    """What a sweep searches, and how its trials are judged; see `sweep`."""

    over: Sequence[str] | None = option(
        None, "Option of the family and its range (:log or :linear behind it) or choices; may be given repeatedly.",
        room="sweep", metavar="NAME=LOW..HIGH|NAME=A,B",
    )  # fmt: skip
    trials: int = option(20, "Trainings in all.", min=1, room="sweep")
    storage: str | None = option(
        None, "Database of the trials. Default: a file in the folder.", room="sweep", metavar="URL"
    )
    prune: bool = option(True, "End a trial on an alarm of the doctor.", room="doctor", flags=("--prune/--no-prune",))
    n: int = option(5_000, "Validation rows that judge a trial, at most.", flags=("-n",), min=1, room="sweep")
    features: str | None = option(None, "Feature extractor of the figure. Default: by the data.", room="sweep")
    seeds: int = option(3, "Trainings of the winner; 0: none.", min=0, room="sweep")
