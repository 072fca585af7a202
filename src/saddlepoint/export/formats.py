"""The kinds of folders that a run is exported to."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.progress import Say
from saddlepoint.core.quoting import for_shell
from saddlepoint.core.types import from_bytes
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import read_results
from saddlepoint.export.describe import describe, public_config
from saddlepoint.export.files import write_json
from saddlepoint.export.forms import Forms, Target
from saddlepoint.run import weights
from saddlepoint.run.run import Run


@dataclass(frozen=True)
class Choices:
    """What is asked of an export beside its format.

    Attributes:
        measure: measure what weights in 16 bits cost, where the data is there.
        say: receives one line for each part of the work.
        name: of the runtime that graphs are written for; None: onnxruntime.
        target, forms: what follows from it.
    """

    measure: bool = True
    say: Say = lambda line: None
    name: str | None = None
    target: Target = field(default_factory=Target)
    forms: Forms = field(default_factory=Forms)


def write_onnx(run: Run, folder: Path, choices: Choices) -> None:
    """Write ``model.onnx`` and its kin, ``model.json`` and ``sample.py``."""
    description = write_model(run, folder, choices)
    from saddlepoint.export.onnx_file import copy_sampler, write_check
    from saddlepoint.export.trial import tried

    write_check(run.family, folder)
    copy_sampler(folder)
    if choices.name is not None:
        write_json(folder / "model.json", description | tried(folder, choices.name, choices.target, choices.say))


def write_model(run: Run, folder: Path, choices: Choices) -> dict[str, Any]:
    """Write the graphs and ``model.json``, check them, measure what 16 bits cost; return the description.

    Raises:
        ConfigError: if the extra ``[export]`` is not installed, or the check fails.
    """
    say, forms = choices.say, choices.forms
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"ONNX needs packages that are not installed ({error.name}); run: pip install 'saddlepoint[export]'"
        ) from error
    from saddlepoint.export import kept
    from saddlepoint.export.onnx_file import write_graphs
    from saddlepoint.export.parity import check

    key = kept.identity(run, forms)
    before = kept.earlier(run, key)
    say("onnx: writing the graphs" if before is None else f"onnx: the graphs of {kept.PLACE}, of the same weights")
    graphs = write_graphs(run.family, folder, forms) if before is None else kept.take(before["graphs"], run, folder)
    description = describe(run) | {"identity": key, **_form(choices), "graphs": graphs}
    write_json(folder / "model.json", description)
    description["parity"] = parity = check(run.family, folder, _real_images(run))
    exact = f", {parity['from_64_bits']:.1e} from 64 bits" if "from_64_bits" in parity else ""
    say(f"onnx: at most {parity['largest']:.1e} from PyTorch{exact} in batches of 1 to {parity['batch_sizes'][-1]}")
    description["half"] = _cost(run, folder, graphs, before, choices)
    write_json(folder / "model.json", description)
    return description


def _form(choices: Choices) -> dict[str, Any]:
    forms = choices.forms
    return {
        "for": choices.name,
        "note": choices.target.note,
        "runtime": choices.target.runtime,
        "precision": "f32",
        "opset": forms.opset,
        "batch": forms.batch,
    }


def _cost(
    run: Run, folder: Path, graphs: list[dict[str, Any]], before: dict[str, Any] | None, choices: Choices
) -> dict[str, Any] | None:
    """Return what weights in 16 bits cost; where it is too much, take them away."""
    from saddlepoint.export.quality import MOST, cost_of_fp16

    cost: dict[str, Any] | None = None if before is None else before.get("half")
    if cost is None or (choices.measure and "protocol" not in cost and not cost.get("refused")):
        cost = cost_of_fp16(run, folder, choices.measure, choices.say)
    if cost is None or cost["largest"] <= MOST:
        return cost
    for graph in graphs:
        if graph["half"]:
            (folder / graph["half"]["file"]).unlink()
            graph["half"] = None
    choices.say(f"16 bits: more than {MOST:g} away, so no weights are kept in them")
    return {"largest": cost["largest"], "mean": cost["mean"], "refused": True}


def _real_images(run: Run) -> torch.Tensor | None:
    """Return held-out images for a generator that translates them, where the data is there."""
    if run.family.tags.input != "image":
        return None
    try:
        rows = run.dataset().splits["valid"].x[:64]
    except DataError:
        return None
    return from_bytes(torch.from_numpy(np.array(rows)))


def write_safetensors(run: Run, folder: Path, choices: Choices) -> None:
    """Write ``config.json`` and ``model.safetensors``: all networks, averages in the place of the last weights.

    Raises:
        ConfigError: if the run was loaded with its last weights.
    """
    if not run.averaged:
        raise ConfigError("an export holds averaged weights, but the run was loaded with its last ones; load it anew")
    config = public_config(run)
    config["export"]["sha256"] = weights.write_weights(folder, run.family)
    write_json(folder / "config.json", config)
    choices.say(f"safetensors: {sum(tensor.numel() for tensor in run.family.state_dict().values()):,} numbers")


def write_hub(run: Run, folder: Path, choices: Choices) -> None:
    """Write weights with a model card, a picture of samples and the figures; raises as `write_safetensors`."""
    from saddlepoint.export.card import write_card

    write_safetensors(run, folder, choices)
    write_card(run, folder)
    kept = RunFolder(run.path).report / "metrics.jsonl"
    if kept.is_file():
        # Data given by a path is called by its last part: no path of this machine goes out.
        named = [{**asdict(result), "data": Path(result.data).name} for result in read_results(kept)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in named), encoding="utf-8")
    else:
        choices.say(f"hub: the card has no figures; {for_shell('saddle', 'evaluate', run.path)} measures them")


def write_web(run: Run, folder: Path, choices: Choices) -> None:
    """Write a page that samples in the browser; raises as `write_model`, and if its runtime is not to be had."""
    from saddlepoint.export.web import write_page

    # The page's own reader knows numbers and nothing else; times of the calendar it leaves aside.
    beyond = run.config["data"]["modality"] == "sequence" and not replace(run.layout, calendar=()).one_to_one
    if beyond:
        raise ConfigError(
            f"'{run.path.name}' makes categories, frequent values or rules between columns, which the page cannot give "
            "back; export it with --format onnx, whose program can, or --format safetensors"
        )
    with tempfile.TemporaryDirectory() as place:
        description = write_model(run, Path(place), choices)
        kept = {graph["name"]: (graph["half"] or graph)["file"] for graph in description["graphs"]}
        write_page(
            description, {name: (Path(place) / file).read_bytes() for name, file in kept.items()}, folder, choices.say
        )


WRITERS: Mapping[str, Callable[[Run, Path, Choices], None]] = {
    "onnx": write_onnx,
    "safetensors": write_safetensors,
    "hub": write_hub,
    "web": write_web,
}
"""What writes a format into an empty folder: (run, folder, choices)."""
