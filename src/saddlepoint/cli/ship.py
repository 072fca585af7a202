"""Commands that hand a run to others: `export` writes files, `serve` answers requests."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from saddlepoint.cli.options import (
    DeviceOption,
    MovedDataOption,
    OutOption,
    QuietOption,
    RunArgument,
    ThreadsOption,
    fastest_threads,
    say_aside,
    tell,
    with_runs,
)
from saddlepoint.core.errors import ConfigError
from saddlepoint.serve.address import API_PORT


class Format(StrEnum):
    """What `saddle export` can write."""

    onnx = "onnx"
    safetensors = "safetensors"
    hub = "hub"
    web = "web"


class Runtime(StrEnum):
    """What `saddle export` writes graphs for."""

    openvino = "openvino"
    opencv = "opencv"
    tract = "tract"
    ncnn = "ncnn"
    web = "web"
    tensorrt = "tensorrt"
    coreml = "coreml"
    litert = "litert"


class Backend(StrEnum):
    """What can compute samples."""

    torch = "torch"
    onnx = "onnx"


def add_shipping(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command(
        epilog="Examples:  saddle export runs/my-run  |  saddle export runs/my-run --format web --out page  |  "
        "saddle export runs/my-run --for openvino  |  "
        "saddle export runs/my-run --format hub --push me/my-digits"
    )(export)
    app.command(
        epilog="Examples:  saddle serve runs/my-run  |  saddle serve runs/my-run --backend onnx --host 0.0.0.0  |  "
        "saddle serve hf:me/my-digits --port 9000  |  saddle serve runs/my-run --allow-origin http://localhost:3000"
    )(serve)


@with_runs("run")
def export(
    run: RunArgument,
    format: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.onnx,
    out: OutOption = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="With --format hub: upload it as this repository.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="With --push: only you can see it.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure what weights in 16 bits cost (onnx, web).")
    ] = True,
    target: Annotated[
        Runtime | None,
        typer.Option("--for", help="Runtime that ONNX files are written for, and tried in if it is here."),
    ] = None,
    opset: Annotated[int | None, typer.Option(help="Version of ONNX's operators, 17 to 23; default: 20.")] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="N|dynamic", help="Rows that ONNX files take at once; default: by --for.")
    ] = None,
    data: MovedDataOption = None,
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a run's generator for others.

    onnx: files for onnxruntime with a program that samples. safetensors: weights for saddlepoint.load. hub: the same
    with a model card. web: a page that samples in the browser.
    """
    from saddlepoint.export import export_run
    from saddlepoint.run import api

    if push is not None and format is not Format.hub:
        raise ConfigError(f"--push is for --format hub, not {format.value}; change one of the two")
    say, loaded = (lambda line: None) if quiet else say_aside, api.load(run, data=data)
    # The figures of 16 bits are what takes long.
    with fastest_threads(loaded, threads, say, worth=measure and format in (Format.onnx, Format.web)):
        folder = export_run(
            loaded, format.value, out, measure=measure, target=None if target is None else target.value, opset=opset,
            batch=batch, say=say,
        )  # fmt: skip
    tell(folder)
    if push is not None:
        from saddlepoint.export.hub import push as upload

        tell(upload(folder, push, private=private))


@with_runs("run")
def serve(
    run: Annotated[
        str, typer.Argument(help="Run (folder, name, its beginning, latest), export of weights, or hf:owner/name.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine a token is asked for.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = API_PORT,
    backend: Annotated[Backend, typer.Option(help="What computes: PyTorch, or onnxruntime.")] = Backend.torch,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Rows that are computed at once.")] = 32,
    waiting: Annotated[int, typer.Option(min=1, help="Rows that may wait; beyond them requests get a 429.")] = 4096,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Pages of this origin may read answers (CORS); may be given repeatedly."),
    ] = None,
    grace: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds for requests at work when it is stopped; others get a 503.")
    ] = 5.0,
    access_log: Annotated[bool, typer.Option("--access-log", help="Say a line for each answer.")] = False,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Answer requests for samples over HTTP: PNG, NPZ, JSON, CSV. A page at / shows how."""
    from saddlepoint.serve.api import serve_run

    serve_run(
        str(run), host=host, port=port, backend=backend.value, batch=batch, device=device, threads=threads,
        waiting=waiting, origins=allow_origin or (), grace=grace, access_log=access_log, say=tell,
    )  # fmt: skip
