"""One tracker of one run, in a thread of its own: training neither waits for it nor ends with it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saddlepoint.core.files import snapshots_in
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.run.trackers import kept
from saddlepoint.run.trackers.content import event_of, numbers_of, place_of
from saddlepoint.run.trackers.names import tracker_names
from saddlepoint.run.trackers.opening import opened
from saddlepoint.run.trackers.tracker import Destination, Tracker

GONE_BACK = "rollback"
"""Event after which lines of earlier steps follow."""

PICTURES, VERDICT, EVENT = "samples", "doctor/verdict", "doctor/event"
"""What pictures, the doctor's words and events are called in every tracker."""

MOST_WAIT = 60.0
"""Seconds that a training waits at its end for what is still to be sent."""

_LONGEST_REASON = 200

Call = Callable[[Tracker], None]


class Sender:
    """Sends what a run wrote to one tracker.

    What fails is said once; nothing is sent after that, and the next start of the run sends what is missing.

    Args:
        name: of the tracker.
        folder: of the run.
        since: step that training goes on from; -1: it begins; None: figures are added, and nothing is made again.
        warn: a line that must be seen.
    """

    def __init__(self, name: str, folder: Path, since: int | None, warn: Callable[[str], None]) -> None:
        self.name, self.folder, self.warn = name, folder, warn
        known = kept.read_sent(folder).get(name)
        self.sent = known or kept.Sent()
        if known is None:  # so that a tracker that cannot even be opened now is tried again at the next start
            kept.keep_sent(folder, name, self.sent)
        self._since, self._failed, self._left = since, False, False
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def call(self, what: Call) -> None:
        """Let something be done with the tracker, after all that was asked before."""
        self._calls.put(what)

    def line(self, line: Mapping[str, Any], verdict: str = "") -> None:
        """Send a line of the log, with the doctor's verdict in words where it is another than before."""
        self.call(lambda tracker: self._line(tracker, line, verdict))

    def picture(self, step: int) -> None:
        """Send the picture of a step from the run folder."""
        self.call(lambda tracker: self._picture(tracker, step, RunFolder(self.folder).samples / f"step{step:08d}.png"))

    def catch_up(self) -> None:
        """Send what the run folder holds and the tracker does not have: of a run that was not logged before, all.

        Lines and pictures after the step that training goes on from are left out: those steps are made again.
        """
        folder, before = RunFolder(self.folder), ""
        for line in folder.read_log():
            if self._since is None or place_of(line)[0] <= self._since:
                verdict = str(line.get("verdict", before))
                self.line(line, verdict if verdict != before else "")
                before = verdict
        for step in snapshots_in(folder.samples):
            if self._since is None or step <= self._since:
                self.picture(step)

    def close(self, state: str) -> None:
        """Wait for what is left to be sent, but not for ever."""
        self.call(lambda tracker: tracker.close(state))
        self._calls.put(None)
        self._thread.join(MOST_WAIT)
        if self._thread.is_alive():
            self._left = True
            self.warn(
                f"{self.name} has not taken all within {MOST_WAIT:.0f} s, and is left; the run itself is whole, and "
                "going on with it sends what is missing"
            )

    def _work(self) -> None:
        """Open the tracker and do what is asked, until nothing more will be."""
        tracker: Tracker | None = None
        while (what := self._calls.get()) is not None:
            if self._failed:
                continue
            try:
                tracker = tracker or self._opened()
                what(tracker)
                self.sent.identity = tracker.identity
                kept.keep_sent(self.folder, self.name, self.sent)
            except Exception as error:  # of any kind: whatever a package raises must not cost the training
                self._failed = True
                if self._left:  # that it is left was said
                    continue
                reason = " ".join((str(error) or type(error).__name__).split())[:_LONGEST_REASON]
                self.warn(f"{self.name}: {reason}; training goes on, and nothing more is sent there")

    def _opened(self) -> Tracker:
        tracker = opened(self.name, Destination(self.folder, self.sent.identity, self._since))
        if self._since is not None and tracker.takes_back:
            self._forget_after(self._since)
        return tracker

    def _forget_after(self, step: int) -> None:
        """Let lines and pictures after a step be sent again."""
        if self.sent.step > step:
            self.sent.step, self.sent.event = step, "~"  # after every event of that step
        self.sent.picture = min(self.sent.picture, step)

    def _line(self, tracker: Tracker, line: Mapping[str, Any], verdict: str) -> None:
        number, (step, event) = int(line.get("number", 0)), place_of(line)
        if number > self.sent.remedies:
            self.sent.remedies = number
            if event == GONE_BACK:
                # Lines of the same steps follow that say something else.
                if tracker.takes_back:
                    tracker.take_back(step)
                self.sent.picture = min(self.sent.picture, step)
        elif (step, event) <= self.sent.place:
            return
        if numbers := numbers_of(line):
            names = tracker_names(numbers)
            tracker.numbers(step, {names[name]: value for name, value in numbers.items()})
        if verdict:
            tracker.note(step, VERDICT, verdict)
        if told := event_of(line):
            tracker.note(step, EVENT, told)
        self.sent.step, self.sent.event = step, event

    def _picture(self, tracker: Tracker, step: int, path: Path) -> None:
        if step > self.sent.picture and path.is_file() and not path.is_symlink():
            tracker.picture(step, PICTURES, path)
            self.sent.picture = step


def senders(names: Sequence[str], folder: Path, since: int | None, warn: Callable[[str], None]) -> list[Sender]:
    """Return who sends what a run writes to each of the trackers."""
    return [Sender(name, folder, since, warn) for name in names]
