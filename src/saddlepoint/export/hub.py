"""Uploading an exported folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.sources.hub import no_progress_bars, reason_of
from saddlepoint.export.card import REPOSITORY

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
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ConfigError(f"the repository is '{repository}', but it must be OWNER/NAME")
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
        raise ConfigError(
            f"'{repository}' cannot be uploaded ({reason_of(error)}); log in with `hf auth login`, and check that "
            "you may write there"
        ) from error
    return address
