"""The notebook of the documents is carried out as a reader would, in a kernel of its own."""

from __future__ import annotations

import ast
import base64
import io
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "digits.ipynb"


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kernels import this tree, and keep their files out of the user's home."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


def carried_out(notebook: nbformat.NotebookNode, folder: Path) -> list[nbformat.NotebookNode]:
    """Carry a notebook out in a folder, and return its code cells."""
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cell: nbformat.NotebookNode) -> list[Image.Image]:
    """Return the pictures that a cell showed."""
    held = [output.get("data", {}).get("image/png") for output in cell.outputs]
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in held if data]


def test_the_kept_notebook_has_no_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) > 5
    assert [cell for cell in cells if cell.outputs or cell.execution_count is not None] == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.slow
@pytest.mark.usefixtures("kernels")
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    train, run, ranges, grid, judged, curve, beside = carried_out(nbformat.read(NOTEBOOK, as_version=4), tmp_path)
    (folder,) = (tmp_path / "runs").iterdir()
    assert pictures(train), "progress in a notebook shows samples"
    assert any(folder.name in output["data"].get("text/html", "") for output in run.outputs)
    shape, least, most = ast.literal_eval(ranges.outputs[0]["data"]["text/plain"].replace("torch.Size", ""))
    assert shape == [64, 1, 8, 8]
    assert -1 <= least < -0.9 < 0.9 < most <= 1
    for cell in (grid, curve, beside):
        (picture,) = pictures(cell)
        assert len(set(picture.convert("L").tobytes())) > 20, "no empty picture"
    assert judged.outputs[-1]["text"].strip()


@pytest.mark.slow
@pytest.mark.usefixtures("kernels")
def test_a_notebook_that_fails_is_found(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [nbformat.v4.new_code_cell("import saddlepoint\nsaddlepoint.train('gan', 'no-such-data')")]
    with pytest.raises(CellExecutionError, match="no-such-data"):
        carried_out(notebook, tmp_path)
