"""Commands that need no run: `bench` measures this machine, `lab` the theory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from saddlepoint.cli.options import JsonOption, OutOption, SeedOption, ThreadsOption, say_aside, tell, tell_json
from saddlepoint.core.errors import ConfigError


def add_experiments(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command(
        epilog="Examples:  saddle bench  |  saddle bench dcgan  |  saddle bench gan-2014 --rounds 9 --json > bench.json"
        "  |  saddle bench --against ../before  |  saddle bench dcgan --operations"
    )(bench)
    app.command(epilog="Examples:  saddle lab  |  saddle lab dirac figure1 --out pictures  |  saddle lab --all")(lab)


def bench(
    cases: Annotated[
        list[str] | None,
        typer.Argument(help="Family or case, such as gan or dcgan-64; also a preset, of --against and --operations."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns; medians and ranges are over them.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time of each variant in a turn.")] = 2.0,
    threads: ThreadsOption = None,
    other: Annotated[
        Path | None,
        typer.Option(
            "--against",
            help="Presets as they come, by this installation and another: a checkout, its src, or another Python.",
        ),
    ] = None,
    operations: Annotated[
        bool, typer.Option("--operations", help="Where the time of a step goes, by kind of operation, of presets.")
    ] = False,
    precision: Annotated[
        str, typer.Option(help="With --against or --operations: fp32, bf16, or auto, what would be chosen.")
    ] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how fast training is here: against a plain PyTorch loop on the same networks, and against the processor.

    Leave the machine alone meanwhile: what else runs is in the figures, though less in their ratios.
    """
    from saddlepoint.cli import tables

    if other is not None and operations:
        raise ConfigError("--against and --operations are two measurements; ask for one of them")
    if other is not None or operations:
        from saddlepoint.engine.machine.runtime import read_threads

        count = read_threads(threads) or 1
    if operations:
        from saddlepoint.lab.against import presets_of
        from saddlepoint.lab.operations import operations as profiled

        found = [profiled(preset, precision, count) for preset in presets_of(cases or ())]
        _tell(found, tables.print_operations, as_json)
    elif other is not None:
        from saddlepoint.lab.against import against

        pairs = against(
            other, cases or (), rounds=rounds, seconds=seconds, threads=count, precision=precision, say=say_aside
        )
        _tell(pairs, tables.print_pairs, as_json)
    else:
        from saddlepoint.lab.bench import bench as measure

        measured = measure(cases or (), rounds=rounds, seconds=seconds, threads=threads)
        if as_json:
            tell_json(json.dumps(measured.to_json(), indent=1))
        else:
            tables.print_bench(measured)


def _tell(found: Sequence[Any], shown: Callable[[Any], None], as_json: bool) -> None:
    """Print what was measured of each preset, as a table or as JSON."""
    if as_json:
        tell_json(json.dumps([dataclasses.asdict(one) for one in found], indent=1))
    else:
        shown(found)


def lab(
    names: Annotated[list[str] | None, typer.Argument(help="Experiments; without any they are listed.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Carry out all of them (some minutes).")] = False,
    out: OutOption = Path("lab"),
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the theory of the game against measurements: closed-form truths, and checks that can fail.

    Pictures go to the folder of --out. A check that does not hold is named, and the exit code is 1.
    """
    from saddlepoint.engine.machine import runtime
    from saddlepoint.lab import EXPERIMENTS, perform

    if names and every:
        raise ConfigError("--all carries out every experiment; leave it out, or leave the names out")
    if not names and not every:
        for experiment in EXPERIMENTS.values():
            tell(f"{experiment.name:22} {experiment.title}: {experiment.claim}")
        tell("", "Carry out one with `saddle lab NAME`, all with `saddle lab --all`.")
        return
    processes, found = runtime.use_threads(threads), []

    def say(line: str) -> None:
        say_aside(line)

    for findings in perform(names or (), out=out, seed=seed, say=say, processes=processes):
        found.append(findings)
        if not as_json:
            tell(f"{findings}")
            for check in findings.broken:
                tell(f"  does not hold: {check}")
            for path in findings.files:
                tell(f"  {path}")
    if as_json:
        tell_json(json.dumps([findings.to_json() for findings in found], indent=1))
    if any(findings.broken for findings in found):
        raise typer.Exit(1)
