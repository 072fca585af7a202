"""A sweep: trials from a store that workers share, until there are as many as were asked for; then the winner."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saddlepoint.core.config import to_json
from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.files import MOST, read_json, write_atomically, written
from saddlepoint.core.logs import Telling
from saddlepoint.core.progress import Say
from saddlepoint.data import absolute_source
from saddlepoint.engine.settings import SILENT, Observer, Settings
from saddlepoint.engine.storage.folder import OWN_NAMES
from saddlepoint.engine.storage.lookup import runs_folder
from saddlepoint.family import FamilyConfig
from saddlepoint.run import api
from saddlepoint.run.plan import Plan
from saddlepoint.run.progress import Line, is_watched
from saddlepoint.run.sweeps.space import Dimension, options_of, read_over
from saddlepoint.run.sweeps.store import Store, Trial, best_of
from saddlepoint.run.sweeps.summary import FILE, PICTURE, ROOT, SUMMARY
from saddlepoint.run.sweeps.trial import Ended, Validation, carry_out, planned
from saddlepoint.run.sweeps.winner import SEEDS, Winner, train_winner


@dataclass(frozen=True)
class Sweep:
    """What is known of a sweep.

    Attributes:
        path: folder.
        family, data: what is trained on what.
        over: dimensions as they could have been written.
        measure: what trials are judged by.
        trials: all that began.
        best: the complete trial with the least figure; None: none is complete.
        winner: the best one's later trainings and figures; None: not trained yet, or not asked for.
        interrupted: whether a Ctrl-C ended it; the same call goes on.
        at_work: trials that other workers are at.
    """

    path: Path
    family: str
    data: str
    over: tuple[str, ...]
    measure: str
    trials: tuple[Trial, ...]
    best: Trial | None
    winner: Winner | None = None
    interrupted: bool = False
    at_work: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; paths of runs are those below the folder."""
        found = asdict(self) | {"path": str(self.path)}
        if self.winner is not None:
            found["winner"]["runs"] = [str(run.relative_to(self.path)) for run in self.winner.runs]
        return found


def sweep(
    family: str,
    data: Any = "mnist",
    *,
    over: Mapping[str, str] | Iterable[str],
    trials: int = 20,
    out: str | Path | None = None,
    storage: str | None = None,
    prune: bool = True,
    n: int = 5_000,
    features: str | None = None,
    seeds: int = SEEDS,
    progress: bool | None = None,
    observer: Observer = SILENT,
    say: Say | None = None,
    **request: Any,
) -> Sweep:
    """Search options of a family: trials that the doctor may prune, judged on validation rows; then train the winner.

    The same call goes on where it stopped; more ``trials`` go on with a sweep that ended. Several processes that make
    the same call, or several machines that see the folder, share the trials. The winner is trained again with
    ``seeds`` seeds that no trial had and measured once, on test rows that nothing before has seen.

    Args:
        family: as in `train`.
        data: as in `train`.
        over: ranges or choices by option, as ``{"lr": "1e-4..1e-2"}``, or texts as after ``--over``; see `read_over`.
        trials: in all, with those that were pruned or failed.
        out: folder; None: in ``sweeps`` beside the folder of runs, by family, data and all that is asked here.
        storage: URL of a database for the trials, as SQLAlchemy writes it; None: a journal file in the folder.
        prune: whether an alarm of the doctor ends a trial.
        n: validation rows and samples that a trial is judged by, at most.
        features: feature extractor of the judgement; None: the best one for the data.
        seeds: trainings of the winner; 0: none.
        progress: as in `train`; nothing is shown where an ``observer`` hears of it.
        observer: hears of each training.
        say: receives a line on each trial.
        **request: everything else that `plan` takes, for every training: a budget, options of data and of the family.

    Raises:
        ConfigError: on an impossible request, another sweep in the folder, or if every trial failed.
        DataError: if the data cannot be used, or has fewer than 50 validation rows.

    Source of the sampler: Bergstra et al. 2011 (TPE), by Optuna.
    """
    if trials < 1 or seeds < 0 or n < 1:
        raise ConfigError(f"trials are {trials}, seeds {seeds}, n is {n}; they must be at least 1, 0 and 1")
    base = _not_private(api.plan(family, data, **request))
    texts = [f"{name}={words}" for name, words in over.items()] if isinstance(over, Mapping) else list(over)
    dimensions = read_over(texts, base.options)
    folder = _folder(base, dimensions, n, features, out)
    store = Store(folder, storage, folder.resolve().name, base.settings.seed, dimensions, trials)
    with _watched(base.settings, progress, observer, say) as (heard, tell):
        resolved = api.resolve(base, tell)
        validation = Validation(resolved.dataset, n, base.settings.seed, features, tell)
        _begin(store, dimensions, resolved.plan.options)
        work = _Work(base, folder, dimensions, store, validation, resolved.dataset.name, heard, tell)
        return work.all(prune, seeds)


@contextmanager
def _watched(
    settings: Settings, progress: bool | None, observer: Observer, say: Say | None
) -> Iterator[tuple[Observer, Say]]:
    """Show how trials stand, as far as that is asked for; the log hears what is told in any case."""
    if observer is not SILENT or not (is_watched() if progress is None else progress):
        yield observer, Telling(say)
        return
    with Line(settings) as line:
        line.begin(())
        heard = Observer(tick=line.tick, diagnosis=line.diagnosis, snapshot=line.snapshot, warn=line.warn)
        yield heard, Telling(say or line.say)


def _not_private(plan: api.Plan) -> api.Plan:
    """Return a plan that is not private; another one is refused."""
    if plan.settings.privacy is not None:
        raise ConfigError(
            "a sweep chooses among trials by what rows say of them, which --private does not count; train one run with "
            "options that were chosen on other data"
        )
    return plan


@dataclass(frozen=True)
class _Work:
    """A sweep at work in this process."""

    base: Plan
    folder: Path
    dimensions: tuple[Dimension, ...]
    store: Store
    validation: Validation
    data: str
    observer: Observer
    say: Callable[[str], None]

    def found(self, winner: Winner | None = None, interrupted: bool = False) -> Sweep:
        """Return what is known now."""
        known = tuple(self.store.known())
        at_work = sum(trial.state == "running" for trial in known)
        over, measure = tuple(map(str, self.dimensions)), self.validation.judge.figure
        return Sweep(
            self.folder, self.base.family, self.data, over, measure, known, best_of(known), winner, interrupted, at_work
        )

    def all(self, prune: bool, seeds: int) -> Sweep:
        """Carry out trials until there is none left for this worker; then train the winner, if this is the last one."""
        if not self.trials(prune):
            return _kept(self.found(interrupted=True))
        _refuse_failures(so_far := self.found())
        if so_far.at_work or so_far.best is None or not seeds:
            return _kept(so_far)
        return self.winner(so_far.best, seeds)

    def trials(self, prune: bool) -> bool:
        """Carry out trials until there is none left for this worker; return False where it was interrupted."""
        while True:
            with self.store.claimed() as trial:
                if trial is None:
                    return True
                ended = self._ended(trial, prune)
                if ended.state == "interrupted":
                    return False
                self.store.tell(trial, ended.state, ended.figure, **ended.about)
                why = ended.about.get("why")
                told = f", {ended.figure:.6g}" if why is None and ended.figure is not None else f" ({why})"
                self.say(f"trial {trial.number}: {ended.state}{told}")

    def _ended(self, trial: Trial, prune: bool) -> Ended:
        """Carry out one trial."""
        options = options_of(self.dimensions, trial.values)
        shown = (f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in options.items())
        self.say(f"trial {trial.number}: {', '.join(shown)}")
        out = self.folder / "trials" / f"{trial.number:04d}"
        try:
            plan = planned(self.base, options, out, self.base.settings.seed, trial=True)
        except ConfigError as error:
            return Ended("failed", about={"why": str(error)})
        return carry_out(plan, prune, self.validation, self.observer)

    def winner(self, best: Trial, seeds: int) -> Sweep:
        """Train the winner and measure it, unless another worker is at it, who keeps what comes of it."""
        with contextlib.ExitStack() as held:
            if not self.store.hold("winner", held):
                self.say("the winner is at work elsewhere; its figures will be in the folder of the sweep")
                return self.found()
            options = options_of(self.dimensions, best.values)
            winner = train_winner(self.base, options, best, self.folder, seeds, self.observer, self.say)
            return _kept(self.found(winner, winner is None))


def _begin(store: Store, dimensions: tuple[Dimension, ...], options: FamilyConfig) -> None:
    """Let the first trial be that of the preset's own values, where they lie in the space."""
    begin = {d.name: d.holds(getattr(options, d.name)) for d in dimensions}
    if None not in begin.values():
        store.begin_with(begin)


def _refuse_failures(found: Sweep) -> None:
    """Raise what went wrong, where no trial could be trained at all."""
    if found.trials and all(trial.state == "failed" for trial in found.trials):
        raise ConfigError(f"every trial failed; the last one: {found.trials[-1].about.get('why', 'nothing was said')}")


def _folder(
    base: Plan, dimensions: tuple[Dimension, ...], n: int, features: str | None, out: str | Path | None
) -> Path:
    """Return the folder of a sweep, which says what the sweep is; one that holds another is refused."""
    settings = {name: value for name, value in asdict(base.settings).items() if name != "remedy"}
    identity = {
        "family": base.family, "preset": base.preset, "options": to_json(base.options),
        "data": {"source": absolute_source(base.source), "options": dict(base.preparation)}, "settings": settings,
        "over": [str(d) for d in dimensions], "n": n, "features": features,
    }  # fmt: skip
    identity = json.loads(json.dumps(identity))
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    label = re.sub(r"[^A-Za-z0-9.]+", "-", Path(base.source).name).strip("-")[:60]
    folder = runs_folder(base.root).parent / ROOT / f"{base.family}-{label}-{digest}" if out is None else Path(out)
    kept = _read(folder)
    if kept is None:
        if taken := [name for name in ("config.json", *OWN_NAMES) if (folder / name).exists()]:
            raise ConfigError(f"'{folder}' is no folder of a sweep, but holds {taken[0]}; choose another --out")
        make_folder(folder)
        write_atomically(folder / FILE, json.dumps(identity, indent=1) + "\n")
    elif different := [name for name, value in identity.items() if kept.get(name) != value]:
        raise ConfigError(
            f"'{folder}' holds another sweep ({', '.join(different)} differ); choose another --out, or leave it out"
        )
    return folder


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        kept: dict[str, Any] = dict(read_json(folder / FILE, MOST))
        return kept
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"'{folder / FILE}' is damaged: {error}") from error


def _kept(found: Sweep) -> Sweep:
    """Write what is known of a sweep into its folder, as JSON and as a picture."""
    from saddlepoint.figures.trials import Point, draw_trials

    write_atomically(found.path / SUMMARY, json.dumps(found.to_json(), indent=1) + "\n")
    points = [Point(trial.number, dict(trial.values), trial.figure, trial.state) for trial in found.trials]
    picture = draw_trials(points, found.over, found.measure, None if found.best is None else found.best.number)
    with written(found.path / PICTURE) as place:
        picture.save(place)
    return found
