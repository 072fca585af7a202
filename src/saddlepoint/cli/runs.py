"""Commands about many runs: `runs` lists, renames, tags and removes them; `compare` sets them side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saddlepoint.cli.options import (
    INTERRUPTED,
    JsonOption,
    MovedDataOption,
    RunsOption,
    say_aside,
    tell,
    tell_json,
    with_runs,
)
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.quoting import for_shell, for_terminal

if TYPE_CHECKING:
    from saddlepoint.evaluation import Comparison

runs_app = typer.Typer(
    name="runs",
    help="List runs; rename, tag and remove them.",
    invoke_without_command=True,
    epilog="Examples:  saddle runs  |  saddle runs --tag good  |  saddle runs rename dcgan-apple-2026 apples  |  "
    "saddle runs tag apples good  |  saddle runs remove apples",
)


def add_runs(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.add_typer(runs_app)
    app.command(
        epilog="Examples:  saddle compare one two  |  saddle compare runs/one runs/two --protocol fd --protocol pr"
    )(compare)


@runs_app.callback()
def list_runs(
    ctx: typer.Context,
    tag: Annotated[list[str] | None, typer.Option(help="Only runs with this tag; may be given several times.")] = None,
    as_json: JsonOption = False,
    where: RunsOption = None,
) -> None:
    """List the runs of a folder, the last changed first: what each is, how it stands, what was measured.

    Every command that takes a run finds it by its name, by the beginning of exactly one name, or as `latest`.
    """
    if ctx.invoked_subcommand is not None:
        if tag or as_json or where:
            raise ConfigError(f"write options after the command: saddle runs {ctx.invoked_subcommand} NAME --runs ...")
        return
    from saddlepoint.cli import tables
    from saddlepoint.engine.storage.lookup import runs_folder
    from saddlepoint.run import index

    root = runs_folder(where)
    found = [entry for entry in index.runs(root) if set(tag or ()) <= set(entry.tags)]
    sizes = [index.size_of(entry.path) for entry in found]
    if as_json:
        tell_json(json.dumps([tables.run_to_json(entry, size) for entry, size in zip(found, sizes, strict=True)]))
    elif not found:
        say_aside(f"no run in '{root}'" + (f" has the tag '{', '.join(tag)}'" if tag else "; start with: saddle train"))
    else:
        tables.print_runs(found, sizes)


RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, its beginning, or latest.")]


@runs_app.command("rename", epilog="Example:  saddle runs rename dcgan-apple-20261128-212017 apples")
def rename(
    run: RunName,
    name: Annotated[str, typer.Argument(help="New name: a word without /.")],
    where: RunsOption = None,
) -> None:
    """Give a run another name: that of its folder."""
    from saddlepoint.run import index

    root, own = _chosen(run, where)
    tell(index.rename_run(root, own, name))


@runs_app.command("tag", epilog="Examples:  saddle runs tag apples good keep  |  saddle runs tag apples --drop keep")
def tag(
    run: RunName,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG]...", help="Words to add.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Word to take away; may be given several times.")] = None,
    where: RunsOption = None,
) -> None:
    """Add words to a run, or take some away; without any, say which it has."""
    from saddlepoint.run import entries, index

    root, own = _chosen(run, where)
    kept = index.tag_run(root, own, add=tags or (), drop=drop or ()) if tags or drop else entries.read_tags(root / own)
    tell(", ".join(kept) or "no tags")


@runs_app.command("remove", epilog="Example:  saddle runs remove apples --yes")
def remove(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of runs.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    where: RunsOption = None,
) -> None:
    """Remove runs with all that is in their folders, after asking. A run that is being trained stays."""
    from saddlepoint.run import index

    chosen = dict.fromkeys(_chosen(run, where) for run in runs)
    for root, own in chosen:
        megabytes = index.size_of(root / own) / 1e6
        if not yes and not typer.confirm(for_terminal(f"remove '{root / own}' ({megabytes:,.1f} MB)?"), err=True):
            say_aside(f"'{own}' stays")
            continue
        index.remove_run(root, own)
        tell(f"removed: {root / own}")


def _chosen(run: str, where: Path | None) -> tuple[Path, str]:
    """Return the folder of runs and the name of a run in it; a run elsewhere is refused."""
    from saddlepoint.engine.storage.lookup import find_run, runs_folder

    root = runs_folder(where)
    # A folder of this name that is damaged is meant as well: it can be removed.
    path = root / run if Path(run).name == run and (root / run).is_dir() else find_run(run, root)
    if path.parent.resolve() != root.resolve():
        raise ConfigError(
            f"'{run}' is not in '{root}'; say with {for_shell('--runs', path.parent)} that its folder is meant"
        )
    return root, path.name


@with_runs("runs")
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Runs that were evaluated (folder, name, its beginning, latest), or reports.")
    ],
    protocol: Annotated[
        list[str] | None, typer.Option(help="Compare these protocols only; default: all that both have.")
    ] = None,
    data: MovedDataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put evaluated runs side by side; say which differences are larger than chance.

    Figures of a few rows have no error of their own: there the samples of both runs are drawn again and shuffled. What
    is known before is shown first; Ctrl-C leaves it at that.
    """
    from saddlepoint.cli import tables
    from saddlepoint.run.compare import compare_runs

    def known(so_far: Comparison) -> None:
        if not as_json:
            tables.print_comparison(so_far, aside=True)

    found = compare_runs(runs, protocol, data=data, say=say_aside, known=known, partial=True)
    if as_json:
        tell_json(json.dumps(found.to_json(), indent=1))
    else:
        tables.print_comparison(found)
    if found.pending:
        say_aside("stopped: what is not judged yet takes shuffled samples; the same command goes on with it")
        raise typer.Exit(INTERRUPTED)
