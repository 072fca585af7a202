"""Labels and splits as people bring them: read as their own tools read them, or asked about, never lost in silence."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data import Dataset, inspect_source, load_dataset
from saddlepoint.data.labels.arrange import arrange
from saddlepoint.data.labels.attributes import read_attributes
from saddlepoint.data.labels.splits import split_word
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.families.cgan import CGAN
from tests.unit.data_helpers import own_cache, pictures, png, write_folder, write_parquet  # noqa: F401


def images(root: Path, names: Sequence[str], seed: int = 0) -> dict[str, bytes]:
    """Write a different picture under each name; return their pixels by name."""
    found = {}
    for name, pixels in zip(names, pictures(len(names), seed=seed), strict=True):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))
        found[name] = pixels.tobytes()
    return found


def read(data: Dataset, known: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the class (or the classes that hold) of each image, by its name."""
    names = {pixels: name for name, pixels in known.items()}
    found: dict[str, Any] = {}
    for part in data.splits.values():
        for row, x in enumerate(part.x):
            label = None if part.labels is None else part.labels[row]
            if label is None:
                found[names[x.tobytes()]] = None
            elif label.ndim:
                found[names[x.tobytes()]] = [data.classes[i] for i in np.flatnonzero(label)]
            else:
                found[names[x.tobytes()]] = data.classes[label]
    return found


def said(data: Dataset, words: str) -> bool:
    return any(words in note for note in data.notes)


def flat(n: int) -> list[str]:
    return [f"{i:04d}.png" for i in range(n)]


SHARDS = [f"{i // 10:05d}/img{i:08d}.png" for i in range(20)]


def test_stylegan_labels_of_null_are_none(tmp_path: Path) -> None:
    known = images(tmp_path / "d", SHARDS)
    (tmp_path / "d" / "dataset.json").write_text(json.dumps({"labels": None}))
    data = load_dataset(str(tmp_path / "d"))
    assert data.classes == ()
    assert read(data, known) == dict.fromkeys(SHARDS)
    assert said(data, "dataset.json says so")
    with pytest.raises(ConfigError, match="needs labels"):
        CGAN(CGAN.PRESETS[next(iter(CGAN.PRESETS))], data.spec)
    # the option that is told overrides it
    folders = load_dataset(str(tmp_path / "d"), labels="folders")
    assert read(folders, known) == {name: name[:5] for name in SHARDS}


@pytest.mark.parametrize("vectors", [False, True])
def test_stylegan_labels_as_numbers_and_one_hot(tmp_path: Path, vectors: bool) -> None:
    known = images(tmp_path / "d", SHARDS)
    which = {name: (i * 7) % 3 for i, name in enumerate(SHARDS)}
    rows = [[name, [float(k == c) for k in range(3)] if vectors else c] for name, c in which.items()]
    (tmp_path / "d" / "dataset.json").write_text(json.dumps({"labels": rows}))
    data = load_dataset(str(tmp_path / "d"))
    assert data.classes == ("0", "1", "2")
    assert read(data, known) == {name: str(c) for name, c in which.items()}
    assert said(data, "one-hot") == vectors


def test_stylegan_vectors_of_several_labels_and_of_real_values(tmp_path: Path) -> None:
    known = images(tmp_path / "d", SHARDS)
    rows = [[name, [i % 2, 1, int(i % 3 == 0)]] for i, name in enumerate(SHARDS)]
    file = tmp_path / "d" / "dataset.json"
    file.write_text(json.dumps({"labels": rows}))
    data = load_dataset(str(tmp_path / "d"))
    assert data.labelling == ((1, 1, 1),)
    assert read(data, known) == {name: [str(k) for k in range(3) if vector[k]] for name, vector in rows}
    file.write_text(json.dumps({"labels": [[name, [0.25, 0.75]] for name in SHARDS]}))
    with pytest.raises(DataError, match=r"real values.*--labels none"):
        load_dataset(str(tmp_path / "d"))
    assert load_dataset(str(tmp_path / "d"), labels="none").classes == ()
    file.write_text(json.dumps({"labels": [[name, [1, 0][: 1 + i % 2]] for i, name in enumerate(SHARDS)]}))
    with pytest.raises(DataError, match="different lengths"):
        load_dataset(str(tmp_path / "d"))


def test_shards_without_a_word_are_asked_about(tmp_path: Path) -> None:
    known = images(tmp_path / "d", SHARDS)
    with pytest.raises(OpenQuestion, match="parts of one long list") as asked:
        load_dataset(str(tmp_path / "d"))
    answers = [load_dataset(str(tmp_path / "d"), **reading.options) for reading in asked.value.readings]  # type: ignore[arg-type]
    assert [data.classes for data in answers] == [(), ("00000", "00001")]
    assert len(read(answers[0], known)) == 20


def test_years_as_folders_are_classes(tmp_path: Path) -> None:
    """Four digits, but files that are counted anew in each: no parts of a list."""
    images(tmp_path / "d", [f"{year}/{i}.png" for year in ("1990", "2000") for i in range(8)])
    assert load_dataset(str(tmp_path / "d")).classes == ("1990", "2000")


def test_metadata_in_each_split_as_datasets_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    known = images(tmp_path / "d", [f"{split}/{i}.png" for split, n in (("train", 12), ("test", 6)) for i in range(n)])
    for split in ("train", "test"):
        names = [name.removeprefix(f"{split}/") for name in known if name.startswith(split)]
        rows = [{"file_name": n, "label": "ab"[int(n[:-4]) % 2], "caption": f"words {n}"} for n in names]
        (tmp_path / "d" / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    theirs = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "d"), cache_dir=str(tmp_path / "cache"))
    data = load_dataset(str(tmp_path / "d"))
    expected = {np.asarray(row["image"]).tobytes(): row["label"] for part in theirs.values() for row in part}
    assert {known[name]: label for name, label in read(data, known).items()} == expected
    test = {np.asarray(row["image"]).tobytes() for row in theirs["test"]}
    assert {x.tobytes() for x in data.splits["test"].x} == test
    assert said(data, "train/metadata.jsonl, column 'label'")


def test_classes_of_folders_are_those_of_datasets_but_numbers_come_as_numbers(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    labels = ["10", "9", "C", "A", "b"]
    known = images(
        tmp_path / "d", [f"{split}/{c}/{i}.png" for split in ("train", "test") for c in labels for i in (1, 2)]
    )
    theirs = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "d"), cache_dir=str(tmp_path / "cache"))
    data = load_dataset(str(tmp_path / "d"))
    assert set(data.classes) == set(theirs["train"].features["label"].names)
    assert data.classes == ("9", "10", "A", "C", "b")
    assert read(data, known) == {name: name.split("/")[1] for name in known}


def test_metadata_of_some_images_is_asked_about_and_each_answer_is_what_it_says(tmp_path: Path) -> None:
    """`datasets` reads 10 rows and says nothing of the other 30."""
    known = images(tmp_path / "d", [f"{'xy'[i % 2]}/{i}.png" for i in range(40)])
    rows = "".join(f"{name},{'uv'[i % 3 == 0]}\n" for i, name in enumerate([*known][:10]))
    (tmp_path / "d" / "metadata.csv").write_text("file_name,label\n" + rows)
    with pytest.raises(OpenQuestion, match=r"30 of 40 training images have no label.*metadata.csv") as asked:
        load_dataset(str(tmp_path / "d"))
    told, folders, bare = (load_dataset(str(tmp_path / "d"), **r.options) for r in asked.value.readings)  # type: ignore[arg-type]
    assert read(told, known) == {name: "uv"[i % 3 == 0] for i, name in enumerate([*known][:10])}
    assert read(folders, known) == {name: name[0] for name in known}
    assert read(bare, known) == dict.fromkeys(known)
    assert said(bare, "30 of 40 images have no label")


def test_a_few_images_without_a_label_are_left_out_and_said(tmp_path: Path) -> None:
    known = images(tmp_path / "d", [*(f"{'xy'[i % 2]}/{i}.png" for i in range(40)), "cover.png"])
    data = load_dataset(str(tmp_path / "d"))
    assert read(data, known) == {name: name[0] for name in known if name != "cover.png"}
    assert said(data, "1 of 41 images have no label and are left out (1 of train) (else --unlabelled keep)")
    assert len(read(load_dataset(str(tmp_path / "d"), unlabelled="keep"), known)) == 41


def test_test_pictures_without_labels_do_not_cost_the_classes(tmp_path: Path) -> None:
    names = [f"train/{c}/{i}.png" for c in ("low", "med", "high") for i in range(15)]
    known = images(tmp_path / "d", [*names, *(f"test/{i}.png" for i in range(6))])
    data = load_dataset(str(tmp_path / "d"))
    assert read(data, known) == {name: name.split("/")[1] for name in names}
    assert inspect_source(str(tmp_path / "d")).classes == {"high": 15, "low": 15, "med": 15}
    assert said(data, "6 of 51 images have no label and are left out (6 of test)")
    keeping = load_dataset(str(tmp_path / "d"), unlabelled="keep")
    assert len(keeping.splits["test"]) == 6
    assert keeping.classes == ()


def test_withheld_labels_of_a_test_split_in_parquet_too(tmp_path: Path) -> None:
    write_parquet(tmp_path / "d" / "train-0.parquet", pictures(20), [0, 1] * 10, ["a", "b"])
    write_parquet(tmp_path / "d" / "test-0.parquet", pictures(6, seed=1), [-1] * 6, ["a", "b"])
    data = load_dataset(str(tmp_path / "d"))
    assert data.classes == ("a", "b")
    assert sum(len(part) for part in data.splits.values()) == 20
    assert said(data, "6 of 26 images have no label and are left out (6 of test)")


@pytest.mark.parametrize(
    ("header", "file", "folder"),
    [
        ("id,breed", "labels.csv", "train/"),
        ("Id,Category", "train.csv", "train/"),
        ("image_id,dx", "HAM_metadata.csv", "images/part_1/"),
        ("id,class", "trainLabels.csv", "train/"),
        ("id;label", "labels.csv", ""),
        ("image\tspecies", "species.tsv", "images/"),
    ],
)
def test_kaggles_tables_name_images_without_ending_and_folder(
    tmp_path: Path, header: str, file: str, folder: str
) -> None:
    labels = {f"{i}": ("collie", "pug", "beagle")[i % 3] for i in range(30)}
    known = images(tmp_path / "d", [f"{folder}{name}.png" for name in labels])
    comma = next(mark for mark in ",;\t" if mark in header)
    text = "\n".join([header, *(f"{name}{comma}{label}" for name, label in labels.items())])
    (tmp_path / "d" / file).write_text(text)
    data = load_dataset(str(tmp_path / "d"))
    assert read(data, known) == {f"{folder}{name}.png": label for name, label in labels.items()}
    assert said(data, f"labels were read from {file}, column '{header.split(comma)[1]}'")


def test_the_name_of_a_table_says_which_of_two_equal_names_it_means(tmp_path: Path) -> None:
    """CIFAR-10 as Kaggle gives it: train/1.png and test/1.png, labels of the first only."""
    known = images(tmp_path / "d", [f"{split}/{i}.png" for split in ("train", "test") for i in range(12)])
    text = "id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(12))
    (tmp_path / "d" / "trainLabels.csv").write_text(text)
    (tmp_path / "d" / "sampleSubmission.csv").write_text("id,label\n" + "".join(f"{i},cat\n" for i in range(12)))
    data = load_dataset(str(tmp_path / "d"))
    assert read(data, known) == {f"train/{i}.png": "ab"[i % 2] for i in range(12)}
    assert said(data, "examples of an answer: sampleSubmission.csv")
    (tmp_path / "d" / "trainLabels.csv").rename(tmp_path / "d" / "labels.csv")
    with pytest.raises(DataError, match=r"names '0', which may be test/0.png, train/0.png"):
        load_dataset(str(tmp_path / "d"))


def test_which_column_holds_the_label_is_asked_where_several_could(tmp_path: Path) -> None:
    known = images(tmp_path / "d", flat(30))
    rows = [f"{n},{'mf'[i % 2]},{('old', 'young', 'new')[i % 3]},{i / 7:.3f},words {i}" for i, n in enumerate(known)]
    (tmp_path / "d" / "people.csv").write_text("\n".join(["file,sex,age,score,note", *rows]))
    with pytest.raises(OpenQuestion, match=r"several columns of .*people.csv") as asked:
        load_dataset(str(tmp_path / "d"))
    sex, age, none = asked.value.readings
    assert sex.options == {"label_column": "sex"}
    assert sex.rows[0] == "0000.png: m"
    assert read(load_dataset(str(tmp_path / "d"), **sex.options), known)["0001.png"] == "f"  # type: ignore[arg-type]
    assert read(load_dataset(str(tmp_path / "d"), **age.options), known)["0002.png"] == "new"  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no folders"):
        load_dataset(str(tmp_path / "d"), **none.options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="did you mean 'sex'"):
        load_dataset(str(tmp_path / "d"), label_column="sexe")
    with pytest.raises(DataError, match="real numbers"):
        load_dataset(str(tmp_path / "d"), label_column="score")


def test_a_name_and_its_number_are_one_label_and_a_column_may_name_splits(tmp_path: Path) -> None:
    known = images(tmp_path / "d", [f"all/{i}.png" for i in range(30)])
    parts = ["train"] * 20 + ["valid"] * 4 + ["test"] * 6
    rows = [f"{i % 3},{name},{('KESTREL', 'HERON', 'OWL')[i % 3]},{parts[i]}" for i, name in enumerate(known)]
    (tmp_path / "d" / "birds.csv").write_text("\n".join(["class id,filepaths,labels,data set", *rows]))
    data = load_dataset(str(tmp_path / "d"))
    assert read(data, known) == {name: ("KESTREL", "HERON", "OWL")[i % 3] for i, name in enumerate(known)}
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 20, "valid": 4, "test": 6}
    assert len(load_dataset(str(tmp_path / "d"), splits="none").splits["test"]) == 3


@pytest.mark.parametrize("several", [False, True])
def test_a_column_for_each_class(tmp_path: Path, several: bool) -> None:
    known = images(tmp_path / "d", flat(30))
    table = np.eye(3, dtype=int)[np.arange(30) % 3]
    table[:, 0] |= several
    rows = [f"{name}," + ",".join(f"{x}.0" for x in row) for name, row in zip(known, table, strict=True)]
    (tmp_path / "d" / "_classes.csv").write_text("\n".join(["filename,MEL,NV,BCC", *rows]))
    data = load_dataset(str(tmp_path / "d"))
    names = np.array(["MEL", "NV", "BCC"])
    assert bool(data.labelling) == several
    held = {name: list(names[row == 1]) for name, row in zip(known, table, strict=True)}
    assert read(data, known) == (held if several else {name: one[0] for name, one in held.items()})


def test_lists_of_labels_are_several_labels(tmp_path: Path) -> None:
    known = images(tmp_path / "d", flat(20))
    held = {name: [["sky", "sea"], ["sea"], ["sand", "sky"]][i % 3] for i, name in enumerate(known)}
    lines = [json.dumps({"file_name": name, "labels": labels}) for name, labels in held.items()]
    (tmp_path / "d" / "metadata.jsonl").write_text("\n".join(lines))
    data = load_dataset(str(tmp_path / "d"))
    assert data.classes == ("sand", "sea", "sky")
    assert read(data, known) == {name: sorted(labels) for name, labels in held.items()}
    assert read(load_dataset(str(tmp_path / "d"), attributes=("sea",)), known)["0002.png"] == []


def test_rows_of_missing_files_are_left_out_and_counted(tmp_path: Path) -> None:
    known = images(tmp_path / "d", flat(20))
    rows = "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate([*known, "gone.png", "lost.png"]))
    (tmp_path / "d" / "labels.csv").write_text("file_name,label\n" + rows)
    data = load_dataset(str(tmp_path / "d"))
    assert read(data, known) == {name: "ab"[i % 2] for i, name in enumerate(known)}
    assert said(data, "2 of 22 rows of labels.csv name files that are not there (gone.png, lost.png)")


def test_a_table_without_a_header_loses_no_row(tmp_path: Path) -> None:
    known = images(tmp_path / "d", flat(20))
    text = "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(known))
    (tmp_path / "d" / "labels.csv").write_text(text)
    data = load_dataset(str(tmp_path / "d"))
    assert read(data, known) == {name: "ab"[i % 2] for i, name in enumerate(known)}
    assert said(data, "labels.csv has no header")
    assert load_dataset(str(tmp_path / "d"), label_column="column 2").fingerprint == data.fingerprint


@pytest.mark.parametrize("seed", range(3))
def test_mutated_label_files_are_read_or_refused_in_words(seed: int) -> None:
    """Bytes of good tables changed, cut and put twice: labels, a question, or an error that says what to do."""
    rng = np.random.default_rng(seed)
    names = [f"{folder}{i}.png" for folder in ("", "train/", "test/") for i in range(6)]
    rows = [{"file_name": name, "label": "ab"[i % 2], "x": i / 3} for i, name in enumerate(names)]
    good = {
        "labels.csv": "file_name,label,x\n" + "".join(f"{r['file_name']},{r['label']},{r['x']}\n" for r in rows),
        "metadata.jsonl": "\n".join(map(json.dumps, rows)),
        "dataset.json": json.dumps({"labels": [[name, [i % 2, 1 - i % 2]] for i, name in enumerate(names)]}),
        "list_attr_celeba.txt": f"{len(names)}\nOld Big\n" + "".join(f"{name} 1 -1\n" for name in names),
    }
    for file, text in good.items():
        for _ in range(150):
            data = bytearray(text.encode())
            for place in rng.integers(0, len(data), rng.integers(1, 8)):
                data[place] = rng.choice(bytearray(b'\x00\xff,;"\n\t{}[]:0-.aZ '))
            cut, again = sorted(rng.integers(0, len(data), 2))
            data = data[:again] + data[cut:] if rng.random() < 0.5 else data[:again]
            with contextlib.suppress(DataError):
                arranged = arrange("d", names, {file: bytes(data)})
                labels = [arranged.labels.get(name) for name in arranged.images]
                assert set(arranged.images) <= set(names)
                assert all(label is None for label in labels) or None not in labels
                assert len({len(label) if isinstance(label, tuple) else -1 for label in labels}) == 1


def test_two_tables_that_disagree_are_asked_about(tmp_path: Path) -> None:
    known = images(tmp_path / "d", flat(20))
    for file, words in (("labels.csv", "ab"), ("expert.csv", "ba")):
        rows = "".join(f"{name},{words[i % 2]}\n" for i, name in enumerate(known))
        (tmp_path / "d" / file).write_text("file_name,label\n" + rows)
    with pytest.raises(OpenQuestion, match="different labels") as asked:
        load_dataset(str(tmp_path / "d"))
    answers = [read(load_dataset(str(tmp_path / "d"), **r.options), known) for r in asked.value.readings]  # type: ignore[arg-type]
    assert {answer["0000.png"] for answer in answers} == {"a", "b"}
    with pytest.raises(DataError, match=r"did you mean 'labels\.csv'"):
        load_dataset(str(tmp_path / "d"), labels="label.csv")


def test_labels_that_pandas_would_take_for_missing_are_said(tmp_path: Path) -> None:
    known = images(tmp_path / "d", flat(20))
    rows = "".join(f"{name},{('None', 'mild')[i % 2]}\n" for i, name in enumerate(known))
    (tmp_path / "d" / "labels.csv").write_text("file_name,label\n" + rows)
    data = load_dataset(str(tmp_path / "d"))
    assert data.classes == ("None", "mild")
    assert said(data, "'None' is a class in labels.csv")


def test_a_table_that_is_no_label_table_is_left_aside(tmp_path: Path) -> None:
    known = images(tmp_path / "d", [f"{'xy'[i % 2]}/{i}.png" for i in range(20)])
    (tmp_path / "d" / "prices.csv").write_text("day,price\n2020-01-01,3\n2020-01-02,4\n")
    (tmp_path / "d" / "broken.csv").write_bytes(b"\xff\xfe\x00a,b\n1,2,3\n")
    data = load_dataset(str(tmp_path / "d"))
    assert read(data, known) == {name: name[0] for name in known}
    assert said(data, "2 files are not images by their name and were left aside: broken.csv, prices.csv")


def test_a_class_without_training_images_is_no_class(tmp_path: Path) -> None:
    names = [f"train/{c}/{i}.png" for c in "ab" for i in range(8)] + [
        f"test/{c}/{i}.png" for c in "abz" for i in range(3)
    ]
    known = images(tmp_path / "d", names)
    data = load_dataset(str(tmp_path / "d"))
    assert data.classes == ("a", "b")
    assert len(data.splits["test"]) == 6
    assert read(data, known) == {name: name.split("/")[1] for name in names if "/z/" not in name}
    assert said(data, "z: no class, since no training image has this label; 3 rows of other splits are left out")
    path = write_parquet(tmp_path / "x.parquet", pictures(20), [0, 2] * 10, ["a", "nothing", "c"])
    declared = load_dataset(str(path))
    assert declared.classes == ("a", "c")
    assert set(declared.splits["train"].labels) == {0, 1}  # type: ignore[arg-type]


def test_a_test_split_of_such_a_class_alone_is_carved_from_training(tmp_path: Path) -> None:
    names = [*(f"train/{c}/{i}.png" for c in "ab" for i in range(10)), *(f"test/z/{i}.png" for i in range(4))]
    known = images(tmp_path / "d", names)
    data = load_dataset(str(tmp_path / "d"))
    assert data.classes == ("a", "b")
    assert set(read(data, known)) == {name for name in names if "/z/" not in name}
    assert any("z: no class" in line for line in inspect_source(str(tmp_path / "d")).plan)


def test_a_class_of_one_image_is_trained_on(tmp_path: Path) -> None:
    for n in range(6):
        names = [*(f"a/{i}.png" for i in range(20)), "b/0.png"]
        known = images(tmp_path / f"d{n}", names, seed=n)
        data = load_dataset(str(tmp_path / f"d{n}"))
        assert data.classes == ("a", "b")
        assert 1 in set(data.splits["train"].labels)  # type: ignore[arg-type]
        assert len(read(data, known)) == 21


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("TRAIN", "train"), ("Training", "train"), ("training_set", "train"), ("train2017", "train"),
        ("seg_train", "train"), ("train-images", "train"), ("trainA", "train"), ("trainLabels", ""),
        ("Validation Set", "valid"), ("val", "valid"), ("dev", "valid"), ("valid_images", "valid"),
        ("Testing", "test"), ("test_set", "test"), ("eval", "test"), ("testImages", "test"),
        ("trains", ""), ("contest", ""), ("value", ""), ("train_test", ""), ("devices", ""), ("testing_ground", ""),
    ],
)  # fmt: skip
def test_spellings_of_splits(word: str, split: str) -> None:
    assert split_word(word) == split


def test_splits_in_usual_spellings(tmp_path: Path) -> None:
    names = [
        f"{part}/{part}/{c}/{i}.png" for part in ("seg_train", "seg_test") for c in ("sea", "street") for i in range(8)
    ]
    known = images(tmp_path / "d", names)
    data = load_dataset(str(tmp_path / "d"))
    assert read(data, known) == {name: name.split("/")[2] for name in names}
    assert len(data.splits["test"]) == 16


def test_a_class_called_train_is_asked_about(tmp_path: Path) -> None:
    known = images(tmp_path / "d", [f"{c}/{i}.png" for c in ("bus", "car", "train") for i in range(10)])
    with pytest.raises(OpenQuestion, match="folders train may be splits, but stand beside bus, car") as asked:
        load_dataset(str(tmp_path / "d"))
    splits, classes = asked.value.readings
    data = load_dataset(str(tmp_path / "d"), **classes.options)  # type: ignore[arg-type]
    assert read(data, known) == {name: name.split("/")[0] for name in known}
    with pytest.raises(OpenQuestion, match="10 of 30 training images have no label"):
        load_dataset(str(tmp_path / "d"), **splits.options)  # type: ignore[arg-type]
    within = tmp_path / "split"
    names = images(within, [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in ("bus", "train") for i in range(8)])
    assert read(load_dataset(str(within)), names) == {name: name.split("/")[1] for name in names}


def test_choices_of_labels_are_heeded_or_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=pictures(12), y=np.arange(12) % 2)
    assert load_dataset(str(tmp_path / "x.npz")).classes == ("0", "1")
    assert load_dataset(str(tmp_path / "x.npz"), labels="none").classes == ()
    assert load_dataset((pictures(12), np.arange(12) % 2), labels="none").classes == ()
    for option in ({"labels": "folders"}, {"label_column": "y"}, {"splits": "none"}):
        with pytest.raises(DataError, match="leave it out"):
            load_dataset(str(tmp_path / "x.npz"), **option)  # type: ignore[arg-type]
    for open_it in (load_dataset, inspect_source):
        with pytest.raises(DataError, match="leave --labels out"):
            open_it("digits", labels="none")
        with pytest.raises(DataError, match="leave --label-column out"):
            open_it("digits", label_column="y")


def test_zips_say_the_same_as_folders(tmp_path: Path) -> None:
    known = images(tmp_path / "d", [f"{split}/{i}.png" for split in ("train", "test") for i in range(12)])
    for split in ("train", "test"):
        lines = [json.dumps({"file_name": f"{i}.png", "label": "ab"[i % 2]}) for i in range(12)]
        (tmp_path / "d" / split / "metadata.jsonl").write_text("\n".join(lines))
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for path in sorted((tmp_path / "d").rglob("*.*")):
            archive.write(path, "top/" + path.relative_to(tmp_path / "d").as_posix())
    folder, packed = load_dataset(str(tmp_path / "d")), load_dataset(str(tmp_path / "d.zip"))
    assert packed.fingerprint == folder.fingerprint
    assert read(folder, known)["test/3.png"] == "b"


def test_celeba_with_blanks_in_names(tmp_path: Path) -> None:
    table = read_attributes("list_attr_celeba.txt", b"2\nBlack Hair  Male\nmy face 1.jpg  1 -1\nmy face 2.jpg -1  1\n")
    assert table.names == ("Black Hair", "Male")
    assert table.rows == {"my face 1.jpg": (1, 0), "my face 2.jpg": (0, 1)}
    table = read_attributes("list_attr_celeba.csv", b'image_id,Black Hair,Male\n"my face, 1.jpg",1,-1\n')
    assert table.rows == {"my face, 1.jpg": (1, 0)}
    with pytest.raises(DataError, match="must hold 3 values"):
        read_attributes("list_attr_celeba.txt", b"1\nBlack Hair Male\na b.jpg 1 -1\n")


def test_metadata_parquet_beside_images(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = images(tmp_path / "d", flat(12))
    pq.write_table(pa.table({"file_name": [*known], "label": ["a", "b"] * 6}), tmp_path / "d" / "metadata.parquet")
    assert read(load_dataset(str(tmp_path / "d")), known) == {name: "ab"[i % 2] for i, name in enumerate(known)}


def test_which_column_of_parquet_is_said_and_chosen(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "fine_label": datasets.ClassLabel(names=["rose", "tulip", "oak"]),
            "coarse_label": datasets.ClassLabel(names=["flower", "tree"]),
            "tags": datasets.Sequence(datasets.ClassLabel(names=["red", "tall"])),
        }
    )
    rows = [
        {
            "img": {"bytes": png(x), "path": None},
            "fine_label": i % 3,
            "coarse_label": int(i % 3 == 2),
            "tags": [0, 1][: i % 3],
        }
        for i, x in enumerate(pictures(20))
    ]
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(tmp_path / "x.parquet"))
    data = load_dataset(str(tmp_path / "x.parquet"))
    assert data.classes == ("rose", "tulip", "oak")
    assert said(data, "labels are the column 'fine_label' (there is coarse_label, tags too; else --label-column NAME)")
    assert load_dataset(str(tmp_path / "x.parquet"), label_column="coarse_label").classes == ("flower", "tree")
    tagged = load_dataset(str(tmp_path / "x.parquet"), label_column="tags")
    assert tagged.labelling == ((1, 1),)
    assert np.concatenate([p.labels.sum(0, keepdims=True) for p in tagged.splits.values()]).sum(0).tolist() == [13, 6]  # type: ignore[union-attr]
    with pytest.raises(DataError, match="did you mean 'tags'"):
        load_dataset(str(tmp_path / "x.parquet"), label_column="tag")
    assert load_dataset(str(tmp_path / "x.parquet"), labels="none").classes == ()
