"""Data in memory: read by the same rules as files, found again without the object, refused in words."""

from __future__ import annotations

import dataclasses
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import saddlepoint
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data import Dataset, OpenQuestion, Split, cache, in_memory, inspect_source, load_dataset
from saddlepoint.run import api
from tests.unit.data_helpers import own_cache, pictures, png, write_folder  # noqa: F401

SMALL = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 8}


def by_pixels(data: Dataset) -> dict[bytes, Any]:
    """Return the class (or those that hold) of each row, by its bytes."""
    found: dict[bytes, Any] = {}
    for part in data.splits.values():
        for row, x in enumerate(part.x):
            label = None if part.labels is None else part.labels[row]
            if label is None:
                found[x.tobytes()] = None
            else:
                found[x.tobytes()] = (
                    [data.classes[i] for i in np.flatnonzero(label)] if label.ndim else data.classes[label]
                )
    return found


GREY, COLOUR = pictures(24), pictures(24, channels=3)


@pytest.mark.parametrize(
    "given",
    [
        COLOUR,
        COLOUR.transpose(0, 3, 1, 2),
        np.asfortranarray(COLOUR),
        torch.from_numpy(COLOUR.copy()).permute(0, 3, 1, 2),
        (COLOUR / 255).astype(np.float32),
        COLOUR / 127.5 - 1,
        torch.from_numpy(COLOUR / 255).requires_grad_(),
        [Image.fromarray(x) for x in COLOUR],
        list(torch.from_numpy(COLOUR.copy()).permute(0, 3, 1, 2)),
        torch.utils.data.TensorDataset(torch.from_numpy(COLOUR.copy())),
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(COLOUR.copy())), batch_size=5),
        COLOUR.tolist(),
    ],
    ids=[
        "last", "first", "fortran", "tensor", "floats", "signed", "grad", "pictures", "tensors", "torch", "loader",
        "lists",
    ],
)  # fmt: skip
def test_images_are_read_as_files_of_them_are(tmp_path: Path, given: Any) -> None:
    expected = load_dataset(str(write_folder(tmp_path / "d", list(COLOUR))))
    assert load_dataset(given).fingerprint == expected.fingerprint


def test_sequences_are_read_as_files_of_them_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    windows = rng.normal(0, 50, (60, 24, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", windows)
    expected = load_dataset(str(tmp_path / "x.npy"))
    data = load_dataset(torch.from_numpy(windows))
    assert data.modality == "sequence"
    assert data.fingerprint == expected.fingerprint
    assert load_dataset(data.name).fingerprint == expected.fingerprint
    assert load_dataset(list(torch.from_numpy(windows))).fingerprint == expected.fingerprint
    walk = np.cumsum(rng.normal(size=(500, 3)), 0)
    np.save(tmp_path / "walk.npy", walk)
    with pytest.raises(OpenQuestion, match="the data is an array of shape"):
        load_dataset(walk)
    series = load_dataset(walk, modality="sequence")
    assert series.fingerprint == load_dataset(str(tmp_path / "walk.npy"), modality="sequence").fingerprint
    assert load_dataset(walk, modality="vector").modality == "vector"
    with pytest.raises(DataError, match="in several parts"):
        load_dataset({"train": windows, "test": windows})
    run = saddlepoint.train("timegan", data=rng.random((80, 8, 5)), steps=1, out=tmp_path / "run")
    assert run.dataset().spec.shape == (8, 5)


def test_vectors_keep_their_units() -> None:
    x = np.random.default_rng(0).normal(50, 20, (40, 3))
    data = load_dataset(torch.from_numpy(x))
    found = np.concatenate([part.x for part in data.splits.values()])
    assert data.modality == "vector"
    assert sorted(map(tuple, found)) == sorted(map(tuple, x.astype(np.float32)))


WORDS = [("cat", "dog", "bee")[i % 3] for i in range(24)]
NUMBERS = np.arange(24) % 3


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (NUMBERS, "012"),
        (torch.from_numpy(NUMBERS), "012"),
        (NUMBERS[:, None].tolist(), "012"),
        (NUMBERS.astype(float), "012"),
        (np.eye(3)[NUMBERS], "012"),
        (torch.eye(3, dtype=torch.int64)[torch.from_numpy(NUMBERS)], "012"),
        (WORDS, ("cat", "dog", "bee")),
        (np.array(WORDS), ("cat", "dog", "bee")),
        (pd.Series(WORDS, dtype="category"), ("cat", "dog", "bee")),
    ],
    ids=["array", "tensor", "column", "floats", "one-hot", "one-hot tensor", "words", "array of words", "pandas"],
)
def test_labels_beside_an_array(labels: Any, names: Any) -> None:
    found = by_pixels(load_dataset((GREY, labels)))
    assert found == {x.tobytes(): names[i % 3] for i, x in enumerate(GREY)}


def test_several_labels_a_row() -> None:
    table = np.stack([np.arange(24) % 2, np.arange(24) % 3 == 0], 1).astype(np.int64)
    data = load_dataset((GREY, table))
    assert data.labelling == ((1, 1),)
    assert by_pixels(data) == {x.tobytes(): [str(k) for k in (0, 1) if table[i, k]] for i, x in enumerate(GREY)}


@pytest.mark.parametrize(("size", "asked", "trained"), [((40, 48), {}, (48, 40)), ((40, 48), {"size": 16}, (16, 16))])
def test_prepared_pictures_are_trained_at_their_size(
    tmp_path: Path, size: tuple[int, int], asked: dict[str, int], trained: tuple[int, int]
) -> None:
    """A data set loaded at 48 pixels was brought to the 32 that a CPU is given where nothing is said."""
    data = load_dataset(str(write_folder(tmp_path / "d", pictures(24, 64))), size=size)
    run = saddlepoint.train("dcgan", data, steps=1, options={"width": 4}, out=tmp_path / "run", **asked)
    assert run.family.data.shape[1:] == trained
    again = saddlepoint.resume(tmp_path / "run", steps=2)
    assert again.family.data.shape[1:] == trained
    if not asked:
        assert run.dataset().fingerprint == data.fingerprint


class Items(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """A data set as torchvision's are: a picture and the index of its class, whose names it knows."""

    classes = ("cat", "dog", "bee")

    def __init__(self, transform: Callable[[np.ndarray], Any], *, labelled: bool = True) -> None:
        self.transform, self.labelled = transform, labelled

    def __len__(self) -> int:
        return 24

    def __getitem__(self, i: int) -> Any:
        x = self.transform(GREY[i])
        return (x, i % 3) if self.labelled else x


@pytest.mark.parametrize(
    "transform", [Image.fromarray, lambda x: torch.from_numpy(x.copy())[None], lambda x: torch.tensor(x / 255)[None]]
)
def test_a_data_set_of_pytorch_with_its_class_names(transform: Callable[[np.ndarray], Any]) -> None:
    data = load_dataset(Items(transform))
    assert data.classes == Items.classes
    assert by_pixels(data) == {x.tobytes(): WORDS[i] for i, x in enumerate(GREY)}
    part = load_dataset(torch.utils.data.Subset(Items(transform), range(12)))
    assert by_pixels(part) == {x.tobytes(): WORDS[i] for i, x in enumerate(GREY[:12])}
    assert part.classes == Items.classes


def test_random_transforms_are_said() -> None:
    rng = np.random.default_rng(0)
    noisy = Items(lambda x: torch.from_numpy(x ^ rng.integers(0, 8, x.shape, dtype=np.uint8)), labelled=False)
    assert any("random transforms" in note for note in load_dataset(noisy).notes)
    assert not any("random" in note for note in load_dataset(Items(Image.fromarray)).notes)


def test_pictures_of_all_modes_and_sizes_are_read_as_files_of_them_are(tmp_path: Path) -> None:
    made = [Image.fromarray(x) for x in COLOUR]
    made[1] = made[1].convert("P", palette=Image.Palette.ADAPTIVE)
    made[2] = made[2].convert("RGBA")
    made[2].putalpha(Image.fromarray(GREY[2]))
    made[3] = made[3].convert("CMYK")
    made[4] = made[4].resize((40, 24))
    made[5] = made[5].convert("L")
    (tmp_path / "d").mkdir()
    for i, image in enumerate(made):
        image.save(tmp_path / "d" / f"{i:02d}.{'tif' if image.mode == 'CMYK' else 'png'}")
    assert load_dataset(made, size=16).fingerprint == load_dataset(str(tmp_path / "d"), size=16).fingerprint


def test_parts_of_a_mapping_are_splits() -> None:
    data = load_dataset({"train": (GREY[:12], WORDS[:12]), "validation": (GREY[12:16], WORDS[12:16]),
                         "test": (GREY[16:], WORDS[16:])})  # fmt: skip
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 12, "valid": 4, "test": 8}
    assert by_pixels(data) == {x.tobytes(): WORDS[i] for i, x in enumerate(GREY)}
    assert by_pixels(load_dataset({"x": GREY, "y": WORDS})) == by_pixels(data)


def test_data_sets_of_the_hub_library() -> None:
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "bee"])})
    rows = [{"image": Image.fromarray(x), "label": i % 3} for i, x in enumerate(GREY)]
    whole = datasets.Dataset.from_list(rows, features=kinds)
    data = load_dataset(whole)
    assert data.classes == ("cat", "dog", "bee")
    assert by_pixels(data) == {x.tobytes(): WORDS[i] for i, x in enumerate(GREY)}
    both = load_dataset(datasets.DatasetDict({"train": whole.select(range(16)), "test": whole.select(range(16, 24))}))
    assert len(both.splits["test"]) == 8
    assert by_pixels(both) == by_pixels(data)
    with pytest.raises(DataError, match="without streaming"):
        load_dataset(whole.to_iterable_dataset())
    numbers = pd.DataFrame({"t": pd.date_range("2020", periods=200, freq="h"), "a": np.sin(np.arange(200) / 9)})
    series = load_dataset(datasets.Dataset.from_pandas(numbers))
    assert series.fingerprint == load_dataset(numbers).fingerprint


def test_a_table_is_what_a_file_of_it_is(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"time": pd.date_range("2020-01-05", periods=300, freq="h"), "a": np.sin(np.arange(300) / 7), "b": range(300)}
    )
    frame.to_parquet(tmp_path / "x.parquet")
    data, expected = load_dataset(frame, window=12), load_dataset(str(tmp_path / "x.parquet"), window=12)
    assert data.fingerprint == expected.fingerprint
    assert data.name.startswith("memory:")
    assert "given in memory" in data.notes
    with pytest.raises(DataError, match=r"^the data: a series of 300 rows is too short"):
        load_dataset(frame, window=200)
    assert load_dataset(data.name, window=12).fingerprint == expected.fingerprint
    assert inspect_source(frame, window=12).rows == sum(len(part) for part in data.splits.values())


def test_a_prepared_data_set_is_taken_as_it_is() -> None:
    digits = load_dataset("digits")
    assert load_dataset(digits).fingerprint == digits.fingerprint
    assert load_dataset(digits, size=16).spec.shape == (1, 16, 16)
    sines = load_dataset("sines")
    same = load_dataset(sines)
    assert all(np.array_equal(same.splits[split].x, part.x) for split, part in sines.splits.items())
    assert (same.layout, same.static, same.modality) == (sines.layout, sines.static, "sequence")
    rows = {"train": slice(0, 16), "valid": slice(16, 20), "test": slice(20, 24)}
    splits = {split: Split(GREY[:, None][part], NUMBERS[part]) for split, part in rows.items()}
    made = Dataset("own", "image", splits, ("cat", "dog", "bee"), "0" * 64)
    again = load_dataset(made)
    assert by_pixels(again) == {x.tobytes(): WORDS[i] for i, x in enumerate(GREY)}
    assert len(again.splits["test"]) == 4


def test_prepared_data_are_found_by_their_name_alone() -> None:
    """What the cache holds already is not kept twice: a note says where it is."""
    given = load_dataset("digits")
    name = in_memory.PREFIX + given.fingerprint[:16]
    again = load_dataset(given)
    in_memory._HELD.pop(name, None)
    found = load_dataset(name)
    assert found.fingerprint == given.fingerprint
    assert again.splits["train"].x.filename == given.splits["train"].x.filename == found.splits["train"].x.filename
    assert all(np.array_equal(found.splits[split].x, part.x) for split, part in given.splits.items())


def _slices(x: np.ndarray) -> dict[str, np.ndarray]:
    return {"first": x[:40], "again": x[40:80], "turned": x[::-1], "chosen": x[np.arange(40)], "copied": np.array(x)}


@pytest.mark.parametrize("name", ["digits", "sines", "no labels"])
def test_rows_taken_from_a_data_set_are_data_of_their_own(name: str, tmp_path: Path) -> None:
    """The planted trap: `dataclasses.replace` keeps the fingerprint of all rows, and a slice the file of a memory map.

    Two parts of one data set were taken for each other, and a slice for the whole.
    """
    if name == "no labels":  # rows alone tell
        name = str(tmp_path / "pictures.npy")
        np.save(name, pictures(150))
    whole, found = load_dataset(name), []
    for rows in _slices(np.arange(len(whole.splits["train"]))).values():
        x, labels = whole.splits["train"].x[rows], whole.splits["train"].labels
        part = Split(x, None if labels is None else labels[rows])
        found.append(dataclasses.replace(whole, splits={**whole.splits, "train": part}))
    for key, x in _slices(whole.splits["train"].x).items():
        labels = whole.splits["train"].labels
        part = Split(x, None if labels is None else _slices(labels)[key])
        found.append(dataclasses.replace(whole, splits={**whole.splits, "train": part}))
    names = [in_memory.hold(one) for one in found]
    held = [load_dataset(one).splits["train"].x for one in found]
    for one, x in zip(found, held, strict=True):
        np.testing.assert_array_equal(x, one.splits["train"].x)
    half = len(names) // 2
    assert names[:half] == names[half:], "equal content has one name"
    first, _, _, chosen, copied = names[:half]
    assert len(set(names)) == 4
    assert first == chosen
    assert copied != first


def test_other_labels_of_the_same_rows_are_other_data() -> None:
    whole = load_dataset("digits")
    train = whole.splits["train"]
    assert train.labels is not None
    other = dataclasses.replace(whole, splits={**whole.splits, "train": Split(train.x, train.labels[::-1].copy())})
    assert in_memory.hold(other) != in_memory.hold(whole)
    np.testing.assert_array_equal(load_dataset(other).splits["train"].labels, train.labels[::-1])


def test_a_run_goes_on_without_the_object_and_with_it(tmp_path: Path) -> None:
    data = (torch.from_numpy(GREY / 255)[:, None], WORDS)
    run = saddlepoint.train("cgan", data, steps=2, options=SMALL, threads=1, out=tmp_path / "run")
    name = run.config["data"]["source"]
    assert name.startswith("memory:")
    assert name not in in_memory._HELD
    assert run.dataset().classes == ("bee", "cat", "dog")
    assert saddlepoint.resume(tmp_path / "run", steps=3).step == 3
    shutil.rmtree(cache.cache_dir())
    with pytest.raises(DataError, match=r"saddlepoint.resume\(path, data=...\)"):
        run.dataset()
    with pytest.raises(DataError, match="given in memory"):
        saddlepoint.resume(tmp_path / "run", steps=4)
    with pytest.raises(ConfigError, match="trained on other data"):
        saddlepoint.resume(tmp_path / "run", steps=4, data=data[0])
    assert saddlepoint.resume(tmp_path / "run", steps=4, data=data).step == 4
    assert run.dataset().fingerprint == run.config["data"]["fingerprint"]


def test_a_family_that_makes_another_size_still_finds_the_data(tmp_path: Path) -> None:
    run = saddlepoint.train("dcgan", data=pictures(24, 20), steps=1, options={"width": 4}, out=tmp_path / "run")
    assert run.dataset().spec.shape == (1, 16, 16)
    found = api.inspect(pictures(24, 20), "dcgan")
    assert found.shape == (1, 16, 16)
    assert found.rows == 24


def test_large_arrays_are_not_copied(tmp_path: Path) -> None:
    array = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(6000, 64, 64))
    array[:, 0, 0] = np.arange(6000) % 251
    array[:, 0, 1] = np.arange(6000) // 251
    tracemalloc.start()
    data = load_dataset(array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(len(part) for part in data.splits.values()) == 6000
    assert peak < array.nbytes / 2


class Broken:
    """A data set whose third item raises."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int) -> np.ndarray:
        if i == 2:
            raise RuntimeError("disk on fire")
        return GREY[i]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "type NoneType cannot be read; give an array"),
        (3, "type int"),
        (b"abc", "type bytes"),
        (iter([1]), "list_iterator"),
        ([], "empty"),
        ({}, "empty"),
        (np.zeros((0, 8, 8), np.uint8), "empty"),
        (pd.DataFrame(), "empty"),
        (np.zeros(()), "one number"),
        (np.zeros(9), "^the data: a series of 9 rows is too short"),
        (np.zeros((9, 8, 8, 5), np.uint8), "shape"),
        (np.zeros((9, 8), np.uint8), "vectors must be floats"),
        (np.array([GREY[0], None], dtype=object), "Python objects"),
        (np.full((9, 8, 8), np.nan), "finite"),
        (np.zeros((9, 8, 8), complex), "type complex"),
        (np.zeros((9, 3, 32, 3), np.uint8), "neither reading"),
        (np.zeros((9, 4, 32, 4), np.uint8), "first or last"),
        (GREY[:3], "at least 5"),
        ([GREY[0], GREY[1][:8]], r"item 1 .* shape \(8, 16\)"),
        ([Image.fromarray(GREY[0]), GREY[1]], "item 1 .* no picture"),
        ([(GREY[0], 1), GREY[1]], "item 1 .* having a label"),
        ([(GREY[0], 1, 2)], "3 parts"),
        ([{"picture": GREY[0]}], "keys picture"),
        (["a.png", "b.png"], "folder"),
        ([[1, 2], [3]], "do not make an array"),
        ([object()], "item 0 .* type object"),
        (Broken(), r"item 2 .*RuntimeError: disk on fire"),
        ((GREY, WORDS[:5]), "24 rows and 5 labels"),
        ((GREY, GREY), r"second part has shape .*train"),
        ((GREY, np.linspace(0, 1, 24)), "real numbers"),
        ((GREY, np.random.default_rng(0).random((24, 2))), "real values"),
        ((GREY, [object()] * 24), "label"),
        ((GREY, GREY, GREY), "tuple of 3"),
        ({"trian": GREY}, "did you mean 'train'"),
        ({"train": GREY, "test": (GREY / 255, WORDS)}, "part 'test'|test is"),
        (pd.DataFrame({"a": [1, "x", object()]}), "one type"),
        (pd.DataFrame(np.zeros((9, 2)), columns=["a", "a"]), "same name"),
        (pd.DataFrame(np.zeros((9, 2)), columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])), "several levels"),
        (torch.zeros(9, 8, 8).to_sparse(), "dense"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(given)


def test_options_for_images_do_not_fit_vectors() -> None:
    with pytest.raises(DataError, match="size is for images"):
        load_dataset(np.zeros((9, 8)), size=16)


def test_equal_content_has_one_name_and_other_content_another() -> None:
    names = {in_memory.hold(x) for x in (GREY, GREY.copy(), torch.from_numpy(GREY.copy()))}
    assert len(names) == 1
    other = GREY.copy()
    other[5, 3, 3] ^= 1
    assert in_memory.hold(other) not in names
    assert in_memory.hold((GREY, WORDS)) not in names
    assert len(in_memory._HELD) == 2


def test_prepared_pictures_are_described_at_their_size(tmp_path: Path) -> None:
    data = load_dataset(str(write_folder(tmp_path / "d", pictures(24, 64))), size=48)
    assert saddlepoint.inspect(data, family="dcgan").shape == (1, 48, 48)


def test_windows_and_their_labels_are_held_together() -> None:
    windows = np.random.default_rng(0).normal(size=(40, 12, 2)).astype(np.float32)
    words = np.array(["up", "down"] * 20)
    data = load_dataset((windows, words), modality="sequence")
    assert sorted(data.classes) == ["down", "up"]
    assert sum(len(part) for part in data.splits.values()) == 40
    assert data.splits["train"].labels is not None
