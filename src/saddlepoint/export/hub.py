"""Uploading an exported folder to the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.logs import logged
from saddlepoint.core.progress import Say
from saddlepoint.data.sources.hub import no_progress_bars, reason_of, way_out
from saddlepoint.export import export_run
from saddlepoint.export.card import REPOSITORY
from saddlepoint.run.run import Run

FILES = ("README.md", "config.json", "model.safetensors", "metrics.jsonl", "samples.png")
"""What is uploaded, and nothing else that may lie in the folder."""


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Upload an export as a repository of models, which is made if it is not there; return its address.

    Args:
        folder: of `export_run` with kind "hub".
        repository: ``owner/name``.
        private: of a new repository: only its owner can see it.

    Raises:
        ConfigError: if the name has another form, or the hub refuses or cannot be reached.
    """
    _refuse_other_name(repository)
    from huggingface_hub import HfApi

    page = folder / "README.md"
    page.write_text(page.read_text(encoding="utf-8").replace(REPOSITORY, repository), encoding="utf-8")
    api = HfApi()
    try:
        with no_progress_bars():
            address = str(api.create_repo(repository, private=private, exist_ok=True))
            api.upload_folder(
                repo_id=repository, folder_path=folder, allow_patterns=list(FILES), commit_message="Export of a run"
            )
    except Exception as error:  # of many kinds
        way = way_out("log in with `hf auth login`, and check that you may write there")
        raise ConfigError(f"'{repository}' cannot be uploaded ({reason_of(error)}); {way}") from error
    return address


def _refuse_other_name(repository: str) -> None:
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ConfigError(f"the repository is '{repository}', but it must be OWNER/NAME")


@logged
def push_to_hub(run: Run | str | Path, repository: str, *, private: bool = False, say: Say = lambda line: None) -> str:
    """Upload a run's generator with a model card to the Hugging Face hub, and return its address.

    `from_pretrained` loads it again. The token is that of ``hf auth login``, or ``HF_TOKEN``.

    Args:
        run: a run, or the path of one.
        repository: ``owner/name``, which is made if it is not there.
        private: of a new repository: only its owner can see it.
        say: receives one line for each part of the work.

    Raises:
        ConfigError: if the name has another form, or the hub refuses or cannot be reached.
        CheckpointError: if the run cannot be loaded.
    """
    _refuse_other_name(repository)
    with tempfile.TemporaryDirectory() as place:
        return push(export_run(run, "hub", Path(place) / "export", say=say), repository, private=private)
