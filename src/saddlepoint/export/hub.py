"""Uploading an exported folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from saddlepoint._errors import ConfigError
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
    from huggingface_hub import HfApi, utils

    page = folder / "README.md"
    page.write_text(page.read_text(encoding="utf-8").replace(REPOSITORY, repository), encoding="utf-8")
    api, were = HfApi(), utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        address = str(api.create_repo(repository, private=private, exist_ok=True))
        api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=list(FILES), commit_message="Export of a run"
        )
    except Exception as error:  # the hub's own errors, the connection's, those of a proxy
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"'{repository}' cannot be uploaded ({reason}); log in with `hf auth login`, and check that "
            "you may write there"
        ) from error
    finally:
        if not were:
            utils.enable_progress_bars()
    return address
