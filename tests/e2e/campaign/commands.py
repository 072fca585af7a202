"""States of commands that use a run: what they make is there whole or not at all, and the run stays as it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.run.run import load
from tests.e2e.campaign.place import Broken, Place, demand
from tests.e2e.campaign.states import State, contents

QUICK = ("--protocol", "memorisation", "--features", "pixels")


class Using(State):
    """A command that makes something of a run."""

    def out(self, place: Place) -> Path:
        """Where it goes."""
        return place.folder / "made"

    def whole(self, place: Place, saved: int) -> None:
        kept = json.loads((place.template / "made" / f"{self.source}.json").read_text())
        now = contents(place.folder / self.source / "checkpoints")
        demand(now == kept, "the command touched the run's checkpoints")
        if self.out(place).exists():
            demand(self.made(place) == self.reference(place), "half of what it makes is there")

    def again(self, place: Place) -> None:
        if self.out(place).exists():  # it was done before the fault: it says so, and is as it was
            demand(self.made(place) == self.reference(place), "what was there is not as it was")
        else:
            super().again(place)


class Averaging(Using):
    """`saddle average` with a length: a folder of weights."""

    name = "average"
    modules = ("saddlepoint.run.average",)

    def words(self, place: Place) -> tuple[str, ...]:
        return ("average", str(place.run), "--length", "0.1", "--out", str(self.out(place)), "--threads", "1")

    def made(self, place: Place) -> Any:
        load(self.out(place))
        found = contents(self.out(place))
        return [found["model.safetensors"], sorted(found)]


class Exporting(Using):
    """`saddle export` of weights."""

    name = "export"
    modules = ("saddlepoint.export.formats", "saddlepoint.export.forms")

    def words(self, place: Place) -> tuple[str, ...]:
        return ("export", str(place.run), "--format", "safetensors", "--out", str(self.out(place)))

    def made(self, place: Place) -> Any:
        load(self.out(place))
        found = contents(self.out(place))
        return [found["model.safetensors"], sorted(found)]


class Sampling(Using):
    """`saddle sample` into one file."""

    name = "sample"
    modules = ("saddlepoint.run.sample_files",)

    def out(self, place: Place) -> Path:
        return place.folder / "samples.npz"

    def words(self, place: Place) -> tuple[str, ...]:
        return ("sample", str(place.run), "-n", "5000", "--out", str(self.out(place)), "--threads", "1")

    def made(self, place: Place) -> Any:
        with np.load(self.out(place)) as arrays:
            return {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in arrays.files}


class Evaluating(Using):
    """`saddle evaluate` with a quick protocol: a report in the run's folder."""

    name = "evaluate"
    modules = ("saddlepoint.evaluation", "saddlepoint.evaluation.report.page")

    def out(self, place: Place) -> Path:
        return place.run / "report" / "metrics.jsonl"

    def words(self, place: Place) -> tuple[str, ...]:
        return ("evaluate", str(place.run), *QUICK, "--threads", "1")

    def again(self, place: Place) -> None:
        place.succeeds(*self.words(place))
        demand(self.made(place) == self.reference(place), "the figures are not those of an undisturbed command")
        demand((place.run / "report" / "index.html").stat().st_size > 1000, "there is no page")

    def made(self, place: Place) -> Any:
        try:
            rows = [json.loads(line) for line in self.out(place).read_text().splitlines()]
        except ValueError as error:
            raise Broken(f"half a line in the report: {error}") from error
        return {name: value for name, value in rows[-1].items() if name in ("protocol", "fingerprint", "rows")}


class Translating(Using):
    """`saddle translate` of a folder of pictures."""

    name, needs, source = "translate", ("translator", "pictures"), "translator"
    modules = ("saddlepoint.run.samples.translate",)

    def out(self, place: Place) -> Path:
        return place.folder / "translated"

    def words(self, place: Place) -> tuple[str, ...]:
        source, out = place.folder / "translator", self.out(place)
        return ("translate", str(source), str(place.folder / "pictures"), "--to", "dog", "--out", str(out),
                "--threads", "1", "--overwrite")  # fmt: skip

    def whole(self, place: Place, saved: int) -> None:
        wanted = self.reference(place)
        for name, held in self.made(place).items():
            demand(_hidden(name) or wanted.get(name) == held, f"half a picture: {name}")

    def again(self, place: Place) -> None:
        place.succeeds(*self.words(place))
        found = {name: held for name, held in self.made(place).items() if not _hidden(name)}
        demand(found == self.reference(place), "the pictures are not those of an undisturbed command")

    def made(self, place: Place) -> Any:
        return contents(self.out(place)) if self.out(place).exists() else {}


def _hidden(name: str) -> bool:
    """Whether it is what a killed process had not finished."""
    return Path(name).name.startswith(".")
