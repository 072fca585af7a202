"""Several labels a row: CelebA's layout, file names of the Radboud Faces Database, joint data sets, known truths."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.ndimage import grey_dilation

from saddlepoint.core.errors import DataError
from saddlepoint.data import inspect_source, known_truth, load_dataset
from saddlepoint.data.images import domains as domains_of_images
from saddlepoint.data.images.domains import DOMAINS, INKS, stroke_width, strokes
from saddlepoint.data.labels.attributes import read_attributes
from saddlepoint.data.load import absolute_source, joined
from saddlepoint.data.plan import OpenQuestion
from tests.unit.data_helpers import own_cache, pictures, png, write_folder, write_named  # noqa: F401

NAMES = ("Black_Hair", "Male", "Smiling")


def faces(root: Path, n: int = 24, channels: int = 3) -> tuple[Path, np.ndarray]:
    """Write a folder as CelebA is given away, with oblong images; return it and its table."""
    table = np.stack([np.arange(n) % 2, np.arange(n) % 3 == 0, np.arange(n) % 5 == 0], 1).astype(int)
    (root / "img_align_celeba").mkdir(parents=True)
    for i, pixels in enumerate(pictures(n, 16, channels)):
        tall = np.concatenate([pixels, pixels[:4]])
        (root / "img_align_celeba" / f"{i + 1:06d}.png").write_bytes(png(tall))
    values = np.where(table == 1, "1", "-1")
    lines = [f"{i + 1:06d}.png  {'  '.join(row)}" for i, row in enumerate(values)]
    # A row more than there are images, as in a part of the data.
    text = "\n".join([str(n + 1), " ".join(NAMES), *lines, "999999.png -1 -1 -1"])
    (root / "list_attr_celeba.txt").write_text(text + "\n")
    parts = [f"{i + 1:06d}.png {0 if i < n - 8 else 1 if i < n - 4 else 2}" for i in range(n)]
    (root / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    return root, table


def test_celeba_as_its_authors_give_it_away(tmp_path: Path) -> None:
    root, table = faces(tmp_path / "celeba")
    dataset = load_dataset(str(root))
    assert dataset.classes == NAMES
    assert dataset.spec.labelling == ((1, 1, 1),)
    parts = {"train": table[:16], "valid": table[16:20], "test": table[20:]}
    for split, rows in parts.items():
        labels = dataset.splits[split].labels
        assert labels is not None
        assert labels.tolist() == rows.tolist()
    assert dataset.spec.shares == pytest.approx(table[:16].mean(0).tolist())
    assert load_dataset(str(root)).splits["train"].labels.tolist() == table[:16].tolist()  # type: ignore[union-attr]
    assert any("list_eval_partition" in note for note in dataset.notes)


def test_attributes_are_chosen_by_name_in_the_order_asked_for(tmp_path: Path) -> None:
    root, table = faces(tmp_path / "celeba")
    dataset = load_dataset(str(root), attributes=("Smiling", "Black_Hair"))
    assert dataset.classes == ("Smiling", "Black_Hair")
    assert dataset.splits["train"].labels.tolist() == table[:16, [2, 0]].tolist()  # type: ignore[union-attr]
    assert dataset.fingerprint != load_dataset(str(root)).fingerprint
    found = inspect_source(str(root), attributes=("Smiling",))
    assert found.classes == {"Smiling": int(table[:, 2].sum())}
    with pytest.raises(DataError, match="did you mean 'Smiling'"):
        load_dataset(str(root), attributes=("Smilling",))
    with pytest.raises(DataError, match="named once"):
        load_dataset(str(root), attributes=("Male", "Male"))
    with pytest.raises(DataError, match="leave the attributes out"):
        load_dataset(str(write_folder(tmp_path / "plain", pictures(8))), attributes=("Male",))


def test_a_zip_and_a_csv_hold_the_same(tmp_path: Path) -> None:
    root, _ = faces(tmp_path / "celeba")
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, path.relative_to(root).as_posix())
    expected = load_dataset(str(root)).fingerprint
    assert load_dataset(str(tmp_path / "faces.zip")).fingerprint == expected
    for kind, header in (
        ("list_attr_celeba", f"image_id,{','.join(NAMES)}"),
        ("list_eval_partition", "image_id,partition"),
    ):
        lines = (root / f"{kind}.txt").read_text().splitlines()[2 if "attr" in kind else 0 :]
        (root / f"{kind}.csv").write_text("\n".join([header, *(",".join(line.split()) for line in lines)]))
        (root / f"{kind}.txt").unlink()
    assert load_dataset(str(root)).fingerprint == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Male Smiling\na.png 1 -1\n", "number of its rows"),
        ("1\nMale Smiling\na.png 1\n", r"row 1 \(a.png\) must hold 2 values"),
        ("1\nMale Smiling\na.png 1 2\n", "1 or -1"),
        ("1\nMale Male\na.png 1 1\n", "1 of them different"),
    ],
)
def test_a_broken_table_is_refused_with_the_row(text: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_attributes("list_attr_celeba.txt", text.encode())


def test_an_image_without_a_row_is_named(tmp_path: Path) -> None:
    root, _ = faces(tmp_path / "celeba")
    (root / "img_align_celeba" / "stray.png").write_bytes(png(pictures(1)[0]))
    with pytest.raises(OpenQuestion, match=r"1 of 17 training images have no label.*list_attr_celeba.txt"):
        load_dataset(str(root))
    assert len(load_dataset(str(root), unlabelled="drop").splits["train"]) == 16


def test_expressions_are_read_from_names_of_the_radboud_faces(tmp_path: Path) -> None:
    for i, pixels in enumerate(pictures(12, 16, 3)):
        expression = ("angry", "happy", "sad")[i % 3]
        (tmp_path / f"Rafd090_{i:02d}_Caucasian_female_{expression}_frontal.png").write_bytes(png(pixels))
    dataset = load_dataset(str(tmp_path))
    assert dataset.classes == ("angry", "happy", "sad")
    assert sum(dataset.spec.shares) == pytest.approx(1)
    (tmp_path / "another.png").write_bytes(png(pictures(1)[0]))
    assert load_dataset(str(tmp_path)).classes == ()


def test_a_path_may_hold_the_sign_that_joins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "c++" / "work"
    write_folder(home / "faces", pictures(12, 16, 3), ["x", "y"] * 6)
    write_folder(home / "others", pictures(12, 16, 3, seed=5), ["v", "w"] * 6)
    (home / "TFD.mat").write_bytes(b"")
    monkeypatch.chdir(home)
    source = absolute_source("faces+others")
    assert source == f"{home}/faces+{home}/others"
    assert joined(source) == [f"{home}/faces", f"{home}/others"]
    assert load_dataset(source).classes == ("x", "y", "v", "w")
    assert joined(f"{home}/TFD.mat#2") == [f"{home}/TFD.mat#2"]
    assert joined(f"{home}/faces+gone") == [f"{home}/faces", "gone"]


def test_two_data_sets_are_one_whose_rows_know_their_own_labels(tmp_path: Path) -> None:
    root, table = faces(tmp_path / "celeba")
    write_folder(tmp_path / "rafd", pictures(12, 16, 3, seed=5), ["angry", "sad"] * 6)
    source = f"{root}+{tmp_path / 'rafd'}"
    joint = load_dataset(source, attributes=("Male", "Smiling"))
    assert joint.classes == ("Male", "Smiling", "angry", "sad")
    assert joint.spec.labelling == ((1, 1), (2,))
    labels = joint.splits["train"].labels
    assert labels is not None
    first = labels[labels[:, 0] >= 0]
    assert first.tolist() == [[*row, -1, -1] for row in table[:16, 1:].tolist()]
    second = labels[labels[:, 0] < 0]
    assert (second[:, :2] == -1).all()
    assert (second[:, 2:].sum(1) == 1).all()
    assert len(joint.splits["test"]) == 4 + len(load_dataset(str(tmp_path / "rafd")).splits["test"])
    assert inspect_source(source, attributes=("Male", "Smiling")).classes.keys() == {*joint.classes}
    assert absolute_source(source) == source
    assert load_dataset(source, attributes=("Male", "Smiling")).fingerprint == joint.fingerprint


def test_a_path_with_a_plus_is_a_path_and_sizes_must_agree(tmp_path: Path) -> None:
    both = write_folder(tmp_path / "a+b", pictures(8), ["x", "y"] * 4)
    assert joined(str(both)) == [str(both)]
    assert load_dataset(str(both)).classes == ("x", "y")
    small = write_folder(tmp_path / "small", pictures(8), ["x", "y"] * 4)
    large = write_folder(tmp_path / "large", pictures(8, 32), ["x", "z"] * 4)
    with pytest.raises(DataError, match="choose one --size"):
        load_dataset(f"{small}+{large}")
    assert load_dataset(f"{small}+{large}", size=16).classes == ("x-1", "y", "x-2", "z")
    bare = write_folder(tmp_path / "bare", pictures(8))
    with pytest.raises(DataError, match="images with labels"):
        load_dataset(f"{small}+{bare}")


def test_known_truths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are the truth of their own labels, in the order of the grey data; other sizes have none."""
    write_named(tmp_path, "mnist", train=60, test=12)
    write_named(tmp_path, "fashion_mnist", train=60, test=12)
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path))
    for name in DOMAINS:
        dataset = load_dataset(name)
        truth = known_truth(dataset)
        assert truth is not None
        assert dataset.spec.shape == (3, 28, 28)
        for split, part in dataset.splits.items():
            assert part.labels is not None
            rows = np.arange(len(part))
            assert np.array_equal(truth.translated(split, rows, part.labels), part.x)
            content = truth.content(split)
            assert content is not None
            assert len(content) == len(part)
        assert known_truth(load_dataset(name, size=16)) is None
    assert known_truth(load_dataset("mnist")) is None


def test_rendering_is_what_its_labels_say() -> None:
    domains = DOMAINS["mnist-domains"]
    grey = np.zeros((1, 9, 9), np.uint8)
    grey[0, 2:5, 2:5], grey[0, 0, 0] = 255, 51
    labels = np.array([[0, 1, 0, 1, 0, 0, 1], [0, 0, 1, 0, 1, 1, 0]])
    thin, bold = domains.render(np.repeat(grey, 2, 0), labels, np.zeros((2, 0)))
    assert thin[:, 2, 2].tolist() == list(INKS["green"])
    assert thin[:, 8, 8].tolist() == [255, 255, 255]
    assert thin[:, 0, 0].tolist() == [round(255 + 0.2 * (c - 255)) for c in INKS["green"]]
    square = {(row, column) for row in range(2, 5) for column in range(2, 5)}
    assert {tuple(place) for place in np.argwhere(thin[1] == INKS["green"][1])} == square
    wide = {(row, column) for row in range(7) for column in range(7)} - {(0, 0), (0, 6), (6, 0), (6, 6)}
    assert {tuple(place) for place in np.argwhere(bold[2] == INKS["blue"][2])} == wide
    assert bold[:, 0, 0].tolist() == [round(0.2 * c) for c in INKS["blue"]]
    assert bold[:, 8, 8].tolist() == [0, 0, 0]
    yellow = DOMAINS["fashion-colours"].render(grey, np.array([3]), np.zeros((1, 0)))
    assert yellow[0, :, 2, 2].tolist() == list(INKS["yellow"])


def bars(widths: tuple[int, ...]) -> np.ndarray:
    """A vertical bar of each width, 60 pixels long."""
    grey = np.zeros((len(widths), 70, 28), np.uint8)
    for one, width in zip(grey, widths, strict=True):
        one[5:65, 5 : 5 + width] = 255
    return grey


def test_the_width_of_a_stroke_is_that_of_a_bar() -> None:
    """Twice the area over the outline: w l / (w + l), but for one corner whose two steps are one diagonal."""
    widths = np.array([1, 2, 3, 5])
    exact = 2 * 60 * widths / (2 * 60 + 2 * widths - 2 + 2**0.5)
    assert stroke_width(bars((1, 2, 3, 5))) == pytest.approx(exact)
    assert stroke_width(np.zeros((1, 8, 8), np.uint8)).tolist() == [0.0]


def test_strokes_are_thin_or_bold_whatever_they_were() -> None:
    """The planted failure: the same dilation of all would leave a wide thin bar wider than a narrow bold one."""
    grey = bars((1, 2, 3, 4))
    thin, bold = (stroke_width(strokes(grey, np.full(4, wide))) for wide in (False, True))
    assert thin.max() < 3 < 3.5 < bold.min()
    same = stroke_width(grey), stroke_width(grey_dilation(grey, footprint=np.ones((1, 3, 3))))
    assert same[0].max() > same[1].min()
    mixed = strokes(grey, np.array([True, False, True, False]))
    assert stroke_width(mixed).tolist() == [bold[0], thin[1], bold[2], thin[3]]


def test_what_no_label_tells_varies_within_a_domain_and_stays_in_the_truth() -> None:
    domains, labelled = DOMAINS["mnist-colours"], DOMAINS["mnist-domains"]
    assert domains.labelling == ()
    colours, varied = domains.draw("train", 400), domains.vary("train", 400)
    assert colours.shape == (400,)
    assert len(np.unique(np.column_stack([colours, varied]), axis=0)) == 3 * 2 * 2
    grey = np.random.default_rng(0).integers(0, 256, (400, 5, 5), dtype=np.uint8)
    several = np.concatenate([np.eye(3, dtype=int)[colours], *(np.eye(2, dtype=int)[kind] for kind in varied.T)], 1)
    assert np.array_equal(domains.render(grey, colours, varied), labelled.render(grey, several, np.zeros((400, 0))))


def test_strokes_are_moved_by_a_pixel_to_all_sides_alike() -> None:
    for footprint, sides in ((domains_of_images._PLUS, 1), (domains_of_images._SQUARE, 2)):
        assert np.array_equal(footprint[0], ndimage.generate_binary_structure(2, sides))
