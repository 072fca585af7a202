"""A run as something that others can use: weights, ONNX files, a page that samples, a repository on the hub,
answers to many small questions."""

from __future__ import annotations

import shutil
from pathlib import Path

from saddlepoint.core.durable import make_folder, move_into_place
from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.files import hidden_beside
from saddlepoint.core.logs import logged
from saddlepoint.core.progress import Say
from saddlepoint.run.run import Run, load

FORMATS = ("onnx", "safetensors", "hub", "web")
"""What `export_run` can make."""


@logged
def export_run(
    run: Run | str | Path,
    kind: str = "onnx",
    out: str | Path | None = None,
    *,
    measure: bool = True,
    target: str | None = None,
    opset: int | None = None,
    batch: str | int | None = None,
    say: Say = lambda line: None,
) -> Path:
    """Write a run's generator as a folder that others can use, and return its path.

    ``onnx``: graphs for onnxruntime, checked against PyTorch, with a description and a program that samples.
    ``safetensors``: weights and configuration, for `load`. ``hub``: the same with a model card, ready to be uploaded.
    ``web``: a page that samples in the browser.

    Args:
        run: a run, or the path of one.
        kind: one of `FORMATS`.
        out: the folder, which must not be there yet; None: ``RUN/export-KIND``, which is replaced (with ``target``
            ``RUN/export-onnx-TARGET``).
        measure: measure what the weights in 16 bits cost (onnx, web), where the run's data is there.
        target: the runtime that graphs are written for (onnx), a key of `forms.TARGETS`; None: onnxruntime. They are
            tried in it where it is installed.
        opset: version of ONNX's operators (onnx); None: `forms.OPSET`.
        batch: rows that graphs take at once (onnx), or "dynamic"; None: what the target needs.
        say: receives one line for each part of the work.

    Raises:
        ConfigError: on an unknown format, runtime, opset or batch; if a package or a program is missing; if the folder
            is there; if the generator cannot be exported, or what was exported is not what PyTorch makes.
        CheckpointError: if the run cannot be loaded.
    """
    from saddlepoint.export import formats, forms

    if kind not in FORMATS:
        raise ConfigError(f"unknown format '{kind}'; {suggest(kind, FORMATS)}")
    if kind != "onnx" and not target is opset is batch is None:
        raise ConfigError(f"a runtime, an opset and a batch are for format onnx, not {kind}; leave them out")
    choices = formats.Choices(measure, say, target, *forms.chosen(target, opset, batch))
    run = run if isinstance(run, Run) else load(run)
    if run.device.type != "cpu":
        run = load(run.path, averaged=run.averaged)
    usual = f"export-{kind}" + ("" if target is None else f"-{target}")
    final = run.path / usual if out is None else Path(out)
    if out is not None and final.exists():
        raise ConfigError(f"'{final}' is there already; remove it, or choose another --out")
    if final.is_symlink():
        raise ConfigError(f"'{final}' is a link to another place; remove it, or choose another place with --out")
    temporary = hidden_beside(final)
    make_folder(temporary)
    try:
        formats.WRITERS[kind](run, temporary, choices)
        if final.exists():
            shutil.rmtree(final)
        move_into_place(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final
