"""States that go on until they are ended: the server under load, and the studio that trains a run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from saddlepoint.engine.storage.checkpoint import newest_checkpoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.run import jobs
from saddlepoint.run.index import RunIndex
from tests.e2e.campaign.place import Broken, Place, Plant, demand, nothing
from tests.e2e.campaign.states import SMALL, State, contents, digest, known_digests, newest

BODY = json.dumps({"n": 4, "seed": 2, "format": "json"}).encode()


def address(place: Place, child: int, word: str) -> str:
    """Wait until a process says where it listens, and return that."""
    deadline = time.monotonic() + 60
    while (found := re.search(rf"{word}:\s+(http://\S+?)/?\s", place.said())) is None:
        demand(place.alive(child), f"it ended by itself: {place.tail()}")
        demand(time.monotonic() < deadline, "it never said where it listens")
        time.sleep(0.003)
    return found[1]


def asked(url: str, body: bytes | None = None, seconds: float = 20.0) -> bytes:
    """Return an answer."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        return answer.read()


class Serving(State):
    """`saddle serve`, with three clients that never stop asking."""

    name, writes, length, room = "serve", False, 0.5, 4096
    modules = ("saddlepoint.serve.api.app", "saddlepoint.serve.api.timeouts", "uvicorn")

    def __init__(self) -> None:
        self.load: Load | None = None

    def words(self, place: Place) -> tuple[str, ...]:
        return ("serve", str(place.folder / self.source), "--port", "0", "--threads", "1")

    def begin(self, place: Place) -> list[int]:
        child = place.start(*self.words(place))
        self.load = Load(address(place, child, "serving") + "/v1/sample")
        return [child]

    def working(self, place: Place, children: list[int]) -> None:
        """Wait for the first answers."""
        deadline = time.monotonic() + 60
        assert self.load is not None
        while self.load.answered < 3:
            demand(time.monotonic() < deadline and place.alive(children[0]), f"it does not answer: {place.tail()}")
            time.sleep(0.002)

    def carried_out(self, place: Place, before: Plant = nothing) -> int:
        """Serve for a while, then be asked to end."""
        child = place.start(*self.words(place), before=before)
        try:
            self.load = Load(address(place, child, "serving") + "/v1/sample")
        except Broken:  # it ended before it listened
            code = place.ended(child)
            place.clean(code)
            demand(code == 2, f"exit code {code}: {place.tail()}")
            self.load = None
            return code
        try:
            self.working(place, [child])
        finally:
            self.load.stop()
        os.kill(child, signal.SIGINT)
        code = place.ended(child)
        place.clean(code)
        return 0 if code == 130 else code  # it was asked to end

    def whole(self, place: Place, saved: int) -> None:
        if self.load is not None:
            self.load.stop()
            demand(self.load.wrong == 0, f"{self.load.wrong} answers were wrong or half")
        kept = json.loads((place.template / "made" / "run.json").read_text())
        demand(contents(place.run / "checkpoints") == kept, "serving touched the run's checkpoints")

    def again(self, place: Place) -> None:
        started = time.monotonic()
        child = place.start(*self.words(place))
        try:
            found = asked(address(place, child, "serving") + "/v1/sample", BODY)
            place.recovered.append(time.monotonic() - started)
            demand(_hash(found) == self.reference(place), "the same request is answered otherwise")
        finally:
            place.kill(child)

    def keep_reference(self, place: Place) -> None:
        child = place.start(*self.words(place))
        found = _hash(asked(address(place, child, "serving") + "/v1/sample", BODY))
        place.kill(child)
        Load.wanted = found
        (place.template / "made" / f"{self.name}.json").write_text(json.dumps(found))


class Load:
    """Three clients that ask for the same samples until they are stopped, and look at each answer."""

    wanted = ""

    def __init__(self, url: str) -> None:
        self.url, self.answered, self.wrong, self.over = url, 0, 0, threading.Event()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(3)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        while not self.over.is_set():
            try:
                found = asked(self.url, BODY, 5.0)
            except (OSError, urllib.error.URLError, ValueError):  # it is gone, or going
                time.sleep(0.01)
                continue
            except Exception:  # an answer that breaks off is no answer; clients are told so by its length
                continue
            self.answered += 1
            self.wrong += _hash(found) != self.wanted

    def stop(self) -> None:
        """End them."""
        self.over.set()
        for thread in self.threads:
            thread.join(10)


def _hash(answer: bytes) -> str:
    return hashlib.sha256(answer).hexdigest()


class Studying(State):
    """The studio, which has a run go on in a process of its own; another studio sees it, pauses it, and goes on."""

    name, needs, length, writes = "studio", (), 0.3, False
    RUN = "gan-digits"

    def folder(self, place: Place) -> Path:
        """Folder of the run."""
        return place.folder / "runs" / self.RUN

    def words(self, place: Place) -> tuple[str, ...]:
        return ("studio", str(place.folder / "runs"), "--port", "0", "--no-browser")

    def begin(self, place: Place) -> list[int]:
        def plant() -> None:
            """Press the button: what the page does once the studio is up."""
            words = ["gan", "--data", "digits", "--no-report", "--checkpoint", "0.01s", *SMALL, "--budget", "1h"]

            def press() -> None:
                time.sleep(0.1)
                jobs.start(words, self.folder(place))

            threading.Thread(target=press, daemon=True).start()

        child = place.start(*self.words(place), before=plant)
        self.place = address(place, child, "studio")
        return [child]

    def working(self, place: Place, children: list[int]) -> None:
        """Wait until the training has saved something."""
        deadline = time.monotonic() + 60
        while newest(self.folder(place)) < 1:
            demand(time.monotonic() < deadline, f"nothing was trained: {jobs.output(self.folder(place))[-3:]}")
            time.sleep(0.01)

    def saved(self, place: Place) -> int:
        return newest(self.folder(place))

    def whole(self, place: Place, saved: int) -> None:
        demand(newest(self.folder(place)) >= saved, "lost: a checkpoint of the training")

    def again(self, place: Place) -> None:
        folder, started = self.folder(place), time.monotonic()
        child = place.start(*self.words(place))
        try:
            asked(address(place, child, "studio") + "/")
            place.recovered.append(time.monotonic() - started)
            if not folder.exists():  # nothing was trained before the fault
                return
            state = RunIndex(folder.parent).entry(self.RUN).state
            demand(state == "running", f"the training goes on, and the studio calls it {state}")
            self._goes_on(folder)
        finally:
            place.kill(child)
            stop(folder)
        found, _ = newest_checkpoint(folder / "checkpoints")
        assert found is not None
        if known := known_digests(place).get(found.step):
            demand(digest(found) == known, f"step {found.step} is not that of a run that was never disturbed")

    def _goes_on(self, folder: Path) -> None:
        before, deadline = newest(folder), time.monotonic() + 60
        while newest(folder) <= before:
            demand(time.monotonic() < deadline, "the training does not go on")
            time.sleep(0.01)
        jobs.pause(folder)
        while jobs.is_training(folder):
            demand(time.monotonic() < deadline, "the training does not pause")
            time.sleep(0.01)
        demand(RunFolder(folder).read_status().get("state") == "interrupted", "it does not say that it is paused")

    def carried_out(self, place: Place, before: Plant = nothing) -> int:
        """Open the studio, look at its first page, and end it."""
        child = place.start(*self.words(place), before=before)
        asked(address(place, child, "studio") + "/")
        os.kill(child, signal.SIGINT)
        code = place.ended(child)
        place.clean(code)
        return 0 if code == 130 else code  # it was asked to end

    def keep_reference(self, place: Place) -> None:
        pass


def stop(folder: Path) -> None:
    """End a training of the studio, whoever started it."""
    number = RunFolder(folder).trainer()
    if number:
        with suppress(ProcessLookupError):
            os.kill(number, 9)
