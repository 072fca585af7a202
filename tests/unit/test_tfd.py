"""A generated file with the layout of the Toronto Face Database: splits, folds, sizes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from saddlepoint.core.errors import DataError
from saddlepoint.data import list_datasets, load_dataset
from saddlepoint.data.sources.matlab import matlab_arrays, matlab_shapes
from saddlepoint.data.sources.tfd import split_path
from tests.unit.data_helpers import own_cache  # noqa: F401


def faces(path: Path, side: int = 48, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Write random images; fold f has rows f, f + 5 ... of the labelled ones as valid, the next as test."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (n, side, side), dtype=np.uint8)
    folds = np.zeros((n, 5), np.uint8)
    labelled = np.arange(n) >= 80
    for fold in range(5):
        folds[labelled, fold] = 1
        folds[labelled & (np.arange(n) % 5 == fold), fold] = 2
        folds[labelled & (np.arange(n) % 5 == (fold + 1) % 5), fold] = 3
    savemat(path, {"images": images, "folds": folds, "labs_ex": np.full((n, 1), -1, np.int16)})
    return images, folds


@pytest.mark.parametrize("side", [48, 96])
@pytest.mark.parametrize("fold", [0, 3])
def test_the_splits_are_those_of_the_fold(tmp_path: Path, side: int, fold: int) -> None:
    images, folds = faces(tmp_path / "TFD.mat", side)
    data = load_dataset(f"{tmp_path / 'TFD.mat'}#{fold}")
    for split, code in (("train", 0), ("valid", 2), ("test", 3)):
        assert np.array_equal(data.splits[split].x[:, 0], images[folds[:, fold] == code])
    assert any("labelled training images are left out" in note for note in data.notes)
    assert data.spec.shape == (1, side, side)


def test_a_folder_of_the_data_folder_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tfd").mkdir()
    images, _ = faces(tmp_path / "tfd" / "TFD_48x48.mat")
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path))
    assert np.array_equal(load_dataset("tfd").splits["train"].x[:, 0], images[:80])
    assert load_dataset("tfd", size=24).spec.shape == (1, 24, 24)


def test_without_the_files_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="ask its author, Josh Susskind"):
        load_dataset("tfd")
    assert "tfd" in {info.name for info in list_datasets()}


def test_a_fold_that_is_not_there_is_refused() -> None:
    assert split_path("faces.mat") == (Path("faces.mat"), 0)
    assert split_path("a#b/faces.mat#4") == (Path("a#b/faces.mat"), 4)
    for text in ("faces.mat#5", "faces.mat#two"):
        with pytest.raises(DataError, match="folds are 0 to 4"):
            split_path(text)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_arrays_of_every_type_are_what_scipy_wrote(tmp_path: Path, kind: str, packed: bool) -> None:
    info = np.iinfo(kind) if kind[0] in "iu" else np.finfo(kind)
    x = np.array([[info.min, info.max, 0], [1, 2, 3]], dtype=kind)
    y = (np.arange(24).reshape(2, 3, 4) % 7).astype(kind)
    savemat(tmp_path / "x.mat", {"x": x, "y": y, "word": "none"}, do_compression=packed)
    found = matlab_arrays(tmp_path / "x.mat", ("x", "y", "word", "not_there"))
    assert set(found) == {"x", "y"}
    for name, wanted in (("x", x), ("y", y)):
        assert found[name].dtype == wanted.dtype
        assert np.array_equal(found[name], wanted)
    assert matlab_shapes(tmp_path / "x.mat")["y"] == (2, 3, 4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((4, 48, 48), np.uint8)}, "holds no folds"),
        ({"images": np.zeros((4, 48, 40), np.uint8), "folds": np.zeros((4, 5))}, "must be uint8"),
        ({"images": np.zeros((4, 48, 48)), "folds": np.zeros((4, 5))}, "must be uint8"),
        ({"images": np.zeros((4, 48, 48), np.uint8), "folds": np.zeros((3, 5))}, r"must be \(4, 5\)"),
        ({"images": np.zeros((4, 48, 48), np.uint8), "folds": np.zeros((4, 5))}, "no valid images in fold 0"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    savemat(tmp_path / "other.mat", arrays)
    with pytest.raises(DataError, match=message):
        load_dataset(str(tmp_path / "other.mat"))


def test_a_text_file_with_that_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "faces.mat").write_text("no matlab")
    with pytest.raises(DataError, match="cannot be read as a MATLAB file"):
        load_dataset(str(tmp_path / "faces.mat"))
