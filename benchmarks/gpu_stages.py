"""The stages of the script for GPUs; each keeps its rows in one JSON file, and goes on with those that are missing.

Called by `gpu.py`, one process for each stage: what hangs or breaks takes nothing else along.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_cases import CASES, Case, cycle_of, measured, rate, steps_of, trainer_of
from gpu_graphs import graphed_steps
from records import commit, figures_of

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.core.files import write_atomically
from saddlepoint.engine.compiled import Compiled
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.distributed import ProcessGroup
from saddlepoint.engine.settings import Observer
from saddlepoint.metrics.imagenet import imagenet_lite
from saddlepoint.run import api
from saddlepoint.run.samples import pictures

HERE = Path(__file__).parent
BROUGHT = HERE.parent / ".gpu"
PICTURES = BROUGHT / "pictures.parquet"


@dataclass(frozen=True)
class Setting:
    """Where and how long a stage works: device, results, runs, the clock's end, and whether it is a dry run."""

    device: torch.device
    out: Path
    runs: Path
    until: float
    small: bool

    @property
    def left(self) -> float:
        """Seconds until the stage must end."""
        return self.until - time.monotonic()

    def moment(self, seconds: float) -> float:
        """Return how long to measure."""
        return 0.05 if self.small else seconds


class Kept:
    """The rows of a stage, in a file that is written after each of them.

    Args:
        path: of the file.
        setting: whose clock decides whether a further row is begun.
    """

    def __init__(self, path: Path, setting: Setting) -> None:
        self.path, self.setting = path, setting
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.rows: dict[str, Any] = {name: row for name, row in kept.get("rows", {}).items() if "failed" not in row}
        self.skipped: list[str] = []

    def row(self, name: str, seconds: float, make: Callable[[], Mapping[str, Any]]) -> None:
        """Make a row unless it is there, or there is less time than it needs; a failure is kept as its text."""
        if name in self.rows:
            return
        if self.setting.left < seconds and not self.setting.small:
            self.skipped.append(name)
            return
        started = time.monotonic()
        try:
            found = dict(make())
        except Exception as error:  # a row that fails must not take the others along
            found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"}
        self.rows[name] = {**found, "took": round(time.monotonic() - started, 2)}
        print(f"{name}: {json.dumps(self.rows[name])[:300]}", flush=True)
        self.write()

    def write(self) -> None:
        """Write what there is."""
        about = {"machine": runtime.machine(), "device": str(self.setting.device), "commit": commit()}
        found = {"rows": self.rows, "skipped": self.skipped, "dry": self.setting.small, **about}
        write_atomically(self.path, json.dumps(found, indent=1, default=str) + "\n")


def machine(kept: Kept) -> None:
    """The ceilings: products and copies of this device; and NCCL with one process."""
    device, seconds, small = kept.setting.device, kept.setting.moment(1.0), kept.setting.small
    side = 128 if small else 8192

    def product(kind: torch.dtype) -> dict[str, float]:
        # Not of ones: products of equal numbers may run faster.
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        return {"operations_per_second": 2 * side**3 * rate(lambda: a @ b, 1, seconds, device)}

    def copies() -> dict[str, float]:
        source = torch.randn(1 << (16 if small else 30), device=device)
        target = torch.empty_like(source)
        return {"bytes_per_second": 8 * len(source) * rate(lambda: target.copy_(source), 1, seconds, device)}

    def launches() -> dict[str, float]:
        x = torch.zeros(8, device=device)
        return {"per_second": rate(lambda: x.add_(1), 100, seconds, device)}

    kept.row("bf16 product", 2, lambda: product(torch.bfloat16))
    kept.row("fp32 product", 2, lambda: product(torch.float32))
    kept.row("copy", 2, copies)
    kept.row("small kernels", 2, launches)
    kept.row("first step", 20, lambda: first_step(kept.setting))
    kept.row("NCCL", 10, lambda: talks(device))


def first_step(setting: Setting) -> dict[str, float]:
    """Return the seconds from a new process to the end of its first step, imports and the device's start included."""
    out = setting.runs / f"first-{time.time_ns()}"
    asked = f"data='digits', steps=1, device={setting.device.type!r}, out={str(out)!r}"
    code = f"import saddlepoint; saddlepoint.train('gan', {asked})"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
    return {"seconds": time.monotonic() - started}


def talks(device: torch.device) -> dict[str, Any]:
    """Hold a group's messages of tensors on the device against what they must be: with one process they are known."""
    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29571", "RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        group = ProcessGroup(0, 2)  # so that it talks: the sum over one is halved
        held = [torch.arange(6.0, device=device).view(2, 3), torch.ones(4, 2, 3, 3, device=device)]
        held[1] = held[1].contiguous(memory_format=torch.channels_last)
        means = group.averaged(held)
        right = all(torch.equal(mean, one / 2) for mean, one in zip(means, held, strict=True))
        group.copy_(held)
        group.total_([held[0]])
        right &= torch.equal(held[0].cpu(), torch.arange(6.0).view(2, 3))
        return {"right": right, "agreed": list(group.agree("budget", True)), "backend": dist.get_backend_config()}
    finally:
        dist.destroy_process_group()


def contract(kept: Kept) -> None:
    """The contract tests marked gpu."""
    setting = kept.setting
    report = setting.runs / "contract.xml"

    def tested() -> dict[str, Any]:
        some = ["-k", "gan-mnist or flow or minibatches"] if setting.small else []
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/contract/test_gpu.py", f"--junitxml={report}"]
        several = [] if setting.small or not _known("xdist") else ["-n", "6"]
        if _known("pytest_timeout"):  # what was tested until then is kept
            several.append(f"--session-timeout={max(20.0, setting.left - 15):.0f}")
        environment = os.environ | {"SADDLEPOINT_TEST_DEVICE": str(setting.device)}
        done = subprocess.run(
            [*command, *several, *some, "-p", "no:cacheprovider"], cwd=HERE.parent, env=environment, text=True,
            capture_output=True, timeout=max(30.0, setting.left - 2),
        )  # fmt: skip
        if not report.exists():
            return {"failed": done.stdout[-1500:] + done.stderr[-1500:]}
        return outcomes(report)

    kept.row("tests", 30, tested)


def outcomes(report: Path) -> dict[str, Any]:
    """Return how many tests passed, and the reason of each that did not."""
    cases = ET.parse(report).getroot().iter("testcase")
    told: dict[str, str] = {}
    count = 0
    for case in cases:
        count += 1
        for kind in ("failure", "error", "skipped"):
            if (found := case.find(kind)) is not None:
                told[str(case.get("name"))] = f"{kind}: {(found.get('message') or '')[:300]}"
    return {"tests": count, "passed": count - len(told), "others": told}


def _known(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def speed(kept: Kept) -> None:
    """Images a second, operations and peak memory of presets as they are."""
    setting = kept.setting
    for case in CASES:
        for precision in case.precisions:
            work = lambda c=case, p=precision: measured(c, setting.device, p, setting.moment(1.5), setting.small)  # noqa: E731
            kept.row(f"{case.name}, {precision}", 5, work)


def graphs(kept: Kept) -> None:
    """The same steps by CUDA graphs, with cuDNN's trials, and compiled: ratios to plain steps of the same moment."""
    chosen = [case for case in CASES if case.family in ("gan", "dcgan", "stylegan", "timegan")]
    names = ("gan-mnist-1x28x28", "dcgan-small-3x32x32", "dcgan-paper-3x64x64", "stylegan-cifar10-3x32x32",
             "stylegan-paper-ffhq-256-3x256x256", "timegan-increments-24x6")  # fmt: skip
    cases = [case for name in names for case in chosen if case.name == name]
    for how, seconds in (("graph", 8), ("cudnn trials", 6), ("compiled", 40)):
        for case in cases:
            if how != "cudnn trials" or case.family in ("dcgan", "stylegan"):
                kept.row(f"{case.name}, {how}", seconds, lambda c=case, h=how: compared(c, h, kept.setting))  # type: ignore[misc]


def compared(case: Case, how: str, setting: Setting) -> dict[str, Any]:
    """Return the steps a second in a way, those of plain steps, and what is to be said of it."""
    device, precision = setting.device, "fp32" if setting.small else "bf16"
    trainer, other = (trainer_of(case, device, precision, setting.small) for _ in range(2))
    cycle = 1 if setting.small else cycle_of(trainer)

    def timed(step: Callable[[], object]) -> float:
        return rate(step, cycle, setting.moment(1.0), device)

    before = timed(steps_of(trainer))
    if how == "graph":
        step, facts = graphed_steps(other)
        after = timed(step)
    elif how == "cudnn trials":
        torch.backends.cudnn.benchmark, facts = True, {}
        try:
            after = timed(steps_of(other))
        finally:
            torch.backends.cudnn.benchmark = False
    else:
        told: list[str] = []
        other.compiled = Compiled(other.state.family, "aot_eager" if setting.small else "inductor")
        other.compiled.compile(other.state, other.rehearse, precision, told.append)
        facts, after = {"said": told}, timed(steps_of(other))
    return {"plain": before, "steps_per_second": after, "ratio": after / before, **facts}


TRAININGS = (
    ("stylegan", "cifar10", {}, {}, 32), ("dcgan", "paper", {"size": "64"}, {}, 20),
    ("gan", "cifar10-conv-2014", {}, {}, 14),
)  # fmt: skip
"""Family, preset, options of data and of the family, seconds of training."""


def train(kept: Kept) -> None:
    """Short trainings with a picture each."""
    setting = kept.setting
    for family, preset, preparation, options, seconds in TRAININGS:
        work = lambda f=family, p=preset, d=preparation, o=options, s=seconds: trained(f, p, d, o, s, setting)  # noqa: E731
        kept.row(f"{family} {preset}", seconds + 8, work)


def trained(
    family: str, preset: str, preparation: Mapping[str, Any], options: Mapping[str, Any], seconds: float,
    setting: Setting,
) -> dict[str, Any]:  # fmt: skip
    """Train for a while, and keep a picture; its run is what the next stage measures."""
    folder = setting.runs / f"{family}-{preset}"
    if setting.small:
        family, preset, preparation = ("dcgan", "small", {}) if family != "gan" else ("gan", "mnist", {})
    data = str(PICTURES) if PICTURES.exists() and not setting.small else "digits"
    limit: dict[str, Any] = {"steps": 4} if setting.small else {"budget": f"{seconds}s"}
    plan = api.plan(
        family, data, preset=preset, options=dict(options), seed=0, out=folder, device=setting.device.type,
        remedy="off", **limit, **preparation,
    )  # fmt: skip
    lines: list[str] = []
    run, outcome = api.start(plan, Observer(say=lines.append, warn=lines.append))
    picture = pictures.draw(run, "grid", seed=0, out=setting.runs / f"{folder.name}.png")
    with zipfile.ZipFile(setting.out / "pictures.zip", "a") as held:
        if picture.name not in held.namelist():
            held.write(picture, picture.name)
    found = {"nimg": outcome.progress.nimg, "seconds": outcome.seconds, "reason": outcome.reason, "data": data}
    return found | {"precision": run.config["precision"]["name"], "verdict": run.diagnosis.verdict, "said": lines}


def evaluate(kept: Kept) -> None:
    """How fast samples are made and looked at, and distances of what was trained."""
    setting = kept.setting
    for family, preset, *_ in TRAININGS:
        folder = setting.runs / f"{family}-{preset}"
        if (folder / "config.json").exists():
            kept.row(f"{folder.name}, samples", 6, lambda f=folder: sampled(f, setting))  # type: ignore[misc]
            kept.row(f"{folder.name}, distances", 20, lambda f=folder: distances(f, setting))  # type: ignore[misc]
    kept.row("features", 10, lambda: looked_at(setting))


def sampled(folder: Path, setting: Setting) -> dict[str, float]:
    """Return samples a second, on their way to the CPU included."""
    run, n = api.load(folder, device=setting.device.type), 32 if setting.small else 10_000
    run.sample(n, seed=1)
    started = time.perf_counter()
    run.sample(n, seed=0)
    return {"samples_per_second": n / (time.perf_counter() - started), "n": n}


def distances(folder: Path, setting: Setting) -> dict[str, Any]:
    """Return the report's figures, and the time they took."""
    run, features = api.load(folder, device=setting.device.type), "pixels" if setting.small else None
    started, lines = time.perf_counter(), list[str]()
    report = run.evaluate(("fd", "kd"), seed=0, features=features, say=lines.append)
    return {"seconds": time.perf_counter() - started, "figures": figures_of(report), "said": lines}


def looked_at(setting: Setting) -> dict[str, float]:
    """Return images a second through the features of colour pictures on the device; their weights are brought along."""
    extractor = imagenet_lite(str(setting.device), download=False)
    n = 8 if setting.small else 2000
    rows = np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    extractor.extract(rows[: n // 4])
    started = time.perf_counter()
    extractor.extract(rows)
    return {"images_per_second": n / (time.perf_counter() - started)}


STAGES: Mapping[str, tuple[Callable[[Kept], None], int]] = {
    "machine": (machine, 45), "contract": (contract, 130), "speed": (speed, 95), "graphs": (graphs, 75),
    "train": (train, 100), "evaluate": (evaluate, 35),
}  # fmt: skip
"""What each does, and its seconds; 480 in all."""


def run_stage(name: str, setting: Setting) -> None:
    """Work on one stage."""
    runtime.use_device(setting.device)
    kept = Kept(setting.out / f"{name}.json", setting)
    STAGES[name][0](kept)
    kept.write()
