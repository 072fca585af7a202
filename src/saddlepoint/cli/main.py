"""The command: `saddlepoint`, or `saddle` for short. A thin layer over `saddlepoint.run.api`."""

from __future__ import annotations

import atexit
import gc
import io
import sys
from typing import Annotated

import typer

from saddlepoint.cli import waiting
from saddlepoint.cli.arguments import gather, import_own, in_own_words
from saddlepoint.cli.average import add_averaging
from saddlepoint.cli.completion import add_completion
from saddlepoint.cli.data import data_app
from saddlepoint.cli.edit import add_editing
from saddlepoint.cli.evaluate import add_evaluation
from saddlepoint.cli.experiments import add_experiments
from saddlepoint.cli.explore import add_exploration
from saddlepoint.cli.families import add_families, family_options
from saddlepoint.cli.imports import add_importing
from saddlepoint.cli.options import INTERRUPTED, complain, is_silent, say_aside, tell
from saddlepoint.cli.runs import add_runs
from saddlepoint.cli.sample import add_sampling
from saddlepoint.cli.ship import add_shipping
from saddlepoint.cli.sweep import add_sweeping
from saddlepoint.cli.train import add_training
from saddlepoint.core.errors import ConfigError, SaddlepointError
from saddlepoint.core.logs import warned
from saddlepoint.core.version import __version__
from saddlepoint.data.plan import OpenQuestion

app = typer.Typer(
    name="saddle",
    help="Train, measure, explore and ship generative adversarial networks.",
    epilog="Start with: saddle train        (the 2014 GAN on MNIST, three minutes)",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app)
for add in (
    add_training, add_sampling, add_evaluation, add_averaging, add_sweeping, add_runs, add_exploration, add_editing,
    add_shipping, add_importing, add_experiments, add_families, add_completion,
):  # fmt: skip
    add(app)

# Typer exports the leaves of its error tree only; this is the common base of wrong usage.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def _version(wanted: bool) -> None:
    if wanted:
        tell(f"saddlepoint {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Import a Python file, or module, with families of your own first; before or after the command, "
            "any number of times. SADDLEPOINT_IMPORT does the same.",
        ),
    ] = None,
) -> None:
    pass  # --import is taken out of the words before any command reads them, see `import_own`


def main() -> None:
    """Run the command; expected errors are one line and exit code 2."""
    # A last search for garbage among a million objects of PyTorch takes up to a second of each command.
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files need not be text.
            stream.reconfigure(errors="backslashreplace")
    try:
        quiet = is_silent() or bool({"-q", "--quiet"} & set(sys.argv[1:]))
        with waiting.began(quiet=quiet), warned(lambda line: say_aside(f"warning: {line}")):
            code = app(gather(import_own(sys.argv[1:]), app), standalone_mode=False)
        family_options(sys.argv[1:])
    except OpenQuestion as question:
        code = complain(question.text(["saddle", *sys.argv[1:]]), lines=True)
    except ConfigError as error:
        code = 2 if is_silent() else complain(str(error))
    except SaddlepointError as error:
        code = complain(str(error))
    except _UsageError as error:
        # Without a command, typer has printed the help already and its error is empty.
        message = in_own_words(error, app)
        code = complain(message, lines=True) if message.strip() else 0
    except OSError as error:
        code = complain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
    except (MemoryError, RuntimeError, ImportError) as error:
        # A thread that cannot begin lacks memory for its stack.
        words = ("out of memory", "allocate memory", "tried to allocate", "failed to map segment", "start new thread")
        unbuilt = str(error) == "could not create a primitive"  # oneDNN, without memory for its code
        if not (isinstance(error, MemoryError) or unbuilt or any(word in str(error) for word in words)):
            raise
        code = complain(
            "there is not enough memory; lower --batch-size, or share it with --micro-batch. What is saved stays"
        )
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)
