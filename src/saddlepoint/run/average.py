"""Averages of a run's weights of any length, made after training, and chosen between by a figure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from saddlepoint.core.config import check
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.logs import logged
from saddlepoint.core.progress import duration
from saddlepoint.data import absolute_source
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.power import LENGTHS, LONGEST, SHORTEST, gamma_of
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.updates import trained
from saddlepoint.family import Family
from saddlepoint.family.capabilities import BatchNormalised
from saddlepoint.run import weights
from saddlepoint.run.derived import refuse_present, write_derived
from saddlepoint.run.kept_averages import KeptAverages
from saddlepoint.run.request import AverageRequest
from saddlepoint.run.run import Run

GRID = (0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.14, 0.20, 0.25)
"""Lengths that are tried."""

PRESENT, LAST = "present average", "last weights"

_LONG = 20.0
"""Seconds from which it is said how long a choice takes."""

_MOST_OFF = {"tried": 0.1, "made": 0.5}
"""How far off a profile may be, as a share of its norm, to be tried, and to be made where it is asked for."""


@dataclass(frozen=True)
class Trial:
    """One set of weights that was measured.

    Attributes:
        name: of the weights: a length, `PRESENT` or `LAST`.
        length: of the average, as a share of the training; None of weights that were not rebuilt.
        value: of the figure, lower is better.
        error: standard error of it, or None.
        off: distance of the rebuilt profile from the wanted one, as a share of its norm.
    """

    name: str
    length: float | None
    value: float
    error: float | None = None
    off: float = 0.0

    @property
    def title(self) -> str:
        """The weights in words."""
        return self.name if self.length is None else f"length {self.name}"


@dataclass(frozen=True)
class Averaging:
    """What `average_run` found and made.

    Attributes:
        path: folder with the rebuilt average; None where the present average, or the last weights, are the best, and
            nothing was made.
        length: of the average that was made; None: none was.
        off: as in `Trial`, of what was made.
        figure: what the lengths were chosen by; "" where one was asked for.
        trials: all that were measured, in the order in which they were.
        verdict: which is best, and whether the present average is, in a sentence; "" where nothing was measured.
    """

    path: Path | None
    length: float | None
    off: float = 0.0
    figure: str = ""
    trials: tuple[Trial, ...] = ()
    verdict: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {**asdict(self), "path": None if self.path is None else str(self.path)}


@logged
def average_run(
    run: str | Path,
    length: float | None = None,
    *,
    end: float | None = None,
    out: str | Path | None = None,
    n: int = 5_000,
    seed: int = 0,
    features: str | None = None,
    data: str | Path | None = None,
    device: str = "cpu",
    threads: int | str | None = None,
    say: Callable[[str], None] = lambda line: None,
    measured: Callable[[Trial], None] = lambda trial: None,
) -> Averaging:
    """Make an average of a run's weights of another length than training chose, as a folder that is used like a run.

    Args:
        run: run folder, ``latest``, the name of a run or its beginning.
        length: standard deviation of the average's profile as a share of the training, .01 to .28; None: lengths are
            tried, and the best by one figure on validation rows is made. Test rows are not looked at.
        end: thousands of samples at which the average ends, moved to the nearest kept moment; None: where the run
            stands.
        out: the folder, which must not be there yet; None: beside the run, ``RUN-average-LENGTH``.
        n: rows and samples by which a length is chosen, at most.
        seed: of the samples.
        features: name of a feature extractor for the choice; None: the best one for the data.
        data: where the run's data is now, if it was moved.
        device: where samples of the choice are computed.
        threads: of the CPU, for the choice; ``auto`` or None: what is fastest here.
        say: receives lines worth telling.
        measured: receives each trial as it ends.

    Raises:
        CheckpointError: if there is no such run, or it keeps no averages of other lengths.
        ConfigError: if the length or the end is out of range, or the folder is there.
        DataError: if the data cannot be found, has changed, or has too few validation rows to choose by.

    Source: Karras et al. 2024, section 3.
    """
    folder = RunFolder(weights.local(run))
    config = weights.read_config(folder)
    if data is not None:
        config = {**config, "data": {**config["data"], "source": absolute_source(str(data))}}
    asked = AverageRequest(length, end, n, features, seed, None if out is None else Path(out))
    _refuse_impossible(asked)
    kept = KeptAverages(folder, config, say)
    at = kept.end_of(end)
    if end is not None:
        say(f"it ends at {at * kept.batch_size / 1000:g} kimg, the kept moment nearest to {end:g}")
    found = Averaging(None, length)
    if length is None:
        found = _chosen(folder, config, kept, at, asked, device, threads, say, measured)
        if found.length is None:
            return found
    assert found.length is not None
    return _made(folder, config, kept, found, at, asked.out)


def _refuse_impossible(asked: AverageRequest) -> None:
    """Raise a `ConfigError` on what no run can give, before anything is read."""
    if asked.length is not None and not SHORTEST <= asked.length < LONGEST:
        raise ConfigError(f"length is {asked.length:g}, but it must be from {SHORTEST} to below {LONGEST:.4f}")
    check(asked.n >= 1, "n", asked.n, "at least 1")
    check(asked.seed >= 0, "seed", asked.seed, "0 or more")
    if asked.out is not None:
        refuse_present(asked.out)


def _chosen(
    folder: RunFolder, config: Mapping[str, Any], kept: KeptAverages, end: int,
    asked: AverageRequest, device: str, threads: int | str | None, say: Callable[[str], None],
    measured: Callable[[Trial], None],
) -> Averaging:  # fmt: skip
    """Measure the last weights, the present average and all lengths that can be made, and return which is best."""
    from saddlepoint.engine.machine.threads import measured_threads
    from saddlepoint.evaluation.choosing import judge_for

    place, trials = runtime.resolve_device(device), list[Trial]()
    last = _run_of(folder, config, weights.open_networks(folder, config, False)[0].to(place), kept.step)
    present = _run_of(folder, config, weights.open_networks(folder, config, True)[0].to(place), kept.step)
    dataset = last.dataset(say)
    with measured_threads(threads, lambda: present.sample(16), say):
        judge = judge_for(dataset, asked.n, asked.seed, asked.features, say)
        say(f"chosen by: {judge.figure}")
        for line in judge.notes:
            say(line)

        def measure(run: Run, name: str, length: float | None = None) -> None:
            estimate, off = judge.measure(run.subject(dataset)), kept.off(length, end) if length else 0.0
            trials.append(Trial(name, length, estimate.value, estimate.standard_error, off))
            measured(trials[-1])

        lengths = [length for length in GRID if kept.off(length, end) <= _MOST_OFF["tried"]]
        started = time.monotonic()
        measure(last, LAST)
        seconds = (time.monotonic() - started) * (len(lengths) + 1)
        if seconds > _LONG:
            say(f"{len(lengths)} lengths and the {PRESENT} take about {duration(seconds)} more")
        measure(present, PRESENT)
        for length in lengths:
            measure(_average_of(present, kept, length, end), f"{length:g}", length)
    return _verdict(judge.figure, trials)


def _verdict(figure: str, trials: Sequence[Trial]) -> Averaging:
    """Return the best of the trials, and a sentence on whether the present average is."""
    best = min(trials, key=lambda trial: (trial.value, trial.name != PRESENT))  # equal ones: what is there stays
    present = next(trial for trial in trials if trial.name == PRESENT)
    if best is present:
        return Averaging(None, None, 0.0, figure, tuple(trials), f"best: the {PRESENT} ({present.value:.4g})")
    gap = present.value - best.value
    errors = [trial.error for trial in (best, present) if trial.error is not None]
    near = len(errors) == 2 and gap <= 2 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
    name = best.title if best.length is not None else f"the {best.name}"
    text = f"best: {name} ({best.value:.4g}); the {PRESENT} has {present.value:.4g}"
    text += ", within the error of the figure" if near else ""
    return Averaging(None, best.length, best.off, figure, tuple(trials), text)


def _run_of(folder: RunFolder, config: Mapping[str, Any], family: Family, step: int) -> Run:
    return Run(folder.path, config, family.eval().requires_grad_(False), step, averaged=True)


@torch.no_grad()
def _average_of(run: Run, kept: KeptAverages, length: float, end: int) -> Run:
    """Put the average of a length and end into a run's networks."""
    own, found = run.family.state_dict(), kept.rebuilt(length, end)
    if not trained(run.family, run.family.averaged).keys() <= found.keys():
        raise CheckpointError("the kept averages belong to other networks")
    for name, value in found.items():
        if name not in own or own[name].shape != value.shape:
            raise CheckpointError(f"the kept averages belong to other networks: '{name[:60]}'")
        own[name].copy_(value)
    if isinstance(run.family, BatchNormalised):
        # As for the present average: statistics of minibatches belong to the weights that they were taken with.
        run.family.recalibrate_batch_norm(runtime.stream(run.device, "settle"))
        run.family.eval()
    return run


def _made(
    folder: RunFolder, config: Mapping[str, Any], kept: KeptAverages, found: Averaging, end: int, out: Path | None
) -> Averaging:
    """Write the folder of an average: weights as an export has them, and where they come from."""
    length = found.length
    assert length is not None
    off = kept.off(length, end)
    if off > _MOST_OFF["made"]:
        raise ConfigError(
            f"of length {length:g}, {len(kept.steps)} kept moments give {1 - off:.0%} at best; choose one nearer to "
            f"{' or '.join(map(str, LENGTHS))}, or train for longer"
        )
    at = "" if end == kept.newest else f"-at-{end * kept.batch_size / 1000:g}k"
    final = out or folder.path.with_name(f"{folder.path.resolve().name}-average-{length:g}{at}")
    refuse_present(final)
    run = _average_of(
        _run_of(folder, config, weights.open_networks(folder, config, True)[0], kept.step), kept, length, end
    )
    name = folder.path.resolve().name
    about = {
        "run": name, "length": length, "gamma": gamma_of(length), "step": end, "nimg": end * kept.batch_size,
        "moments": len(kept.steps), "off": off, "chosen_by": found.figure,
    }  # fmt: skip
    write_derived(
        final, {**config, "average": about}, run.family, origin=name, step=end,
        log=[line for line in folder.read_log() if line.get("step", 0) <= end],
        status={"reason": f"average of length {length:g}", "nimg": end * kept.batch_size},
    )  # fmt: skip
    return replace(found, path=final, off=off)
