"""Runs that transform images: inputs, snapshots, pictures, evaluation, targets in words, folders translated."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps
from typer.testing import CliRunner

from saddlepoint.cli.main import app
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data import Truth, known_truth, limits, load_dataset
from saddlepoint.data.dataset import Dataset
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.evaluation import Subject, evaluate
from saddlepoint.evaluation.measurements.translation import CYCLE, DIVERSITY, DOMAIN, IDENTITY, TRUTH, exercise
from saddlepoint.family import DataSpec
from saddlepoint.family.translation import target_of
from saddlepoint.figures import grids, snapshots
from saddlepoint.run import api
from saddlepoint.run.run import Run
from saddlepoint.run.samples import pictures, sheets
from saddlepoint.run.samples.translate import Translated, translate_folder
from tests.unit.data_helpers import pictures as drawn
from tests.unit.data_helpers import png, write_folder, write_named
from tests.unit.test_data_attributes import faces

OPTIONS = {"width": 4, "blocks": 1, "discriminator_width": 4, "layers": 2, "batch_size": 4}
SPEC = DataSpec("image", (3, 16, 16), ("red", "blue", "thin", "bold", "old", "young"), labelling=((2, 2, 1), (1,)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """One run of each family on a folder with a subfolder for each domain."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(root / "cache"))
        data = write_folder(root / "data", drawn(40, 16, 3), ["cat", "dog", "fox", "owl"] * 10)
        small2 = {"width": 4, "style_width": 4, "style_size": 4, "batch_size": 4}
        yield {
            name: api.train(name, str(data), options=options, steps=2, out=root / name)
            for name, options in (("stargan", OPTIONS), ("stargan2", small2))
        }


@pytest.mark.parametrize("name", ["stargan", "stargan2"])
def test_inputs_are_training_images_chosen_by_the_seed(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    train = {x.tobytes() for x in run.dataset().splits["train"].x}
    inputs = grids.to_uint8(run.inputs(8, seed=1))
    assert all(x.tobytes() in train for x in inputs)
    assert torch.equal(run.inputs(3, seed=1), run.inputs(8, seed=1)[:3])
    assert not torch.equal(run.inputs(8, seed=1), run.inputs(8, seed=2))
    assert run.sample(5, label="dog").shape == (5, 3, 16, 16)


def test_snapshots_show_one_input_in_each_domain_a_row(runs: dict[str, Run]) -> None:
    run = runs["stargan"]
    tiles = snapshots.read_snapshot(sorted((run.path / "samples").glob("step*.png"))[-1])
    inputs = run.family.sample_inputs(len(tiles), stream("cpu", "snapshot", run.config["settings"]["seed"]))
    assert len(tiles) % 4 == 0
    for i, tile in enumerate(tiles):
        expected = grids.to_uint8(run.generate(inputs[i // 4][None], torch.tensor([i % 4])))[0]
        assert np.abs(tile.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", ["stargan", "stargan2"])
def test_pictures_put_inputs_beside_their_translations(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    table = pictures.translation(run, run.inputs(3, seed=5))
    headings = ["input", *run.family.data.classes]
    assert table.size == grids.grid(torch.zeros(15, 3, 16, 16), 5, headings=headings).size
    assert table.tobytes() == pictures.translation(run, run.inputs(3, seed=5)).tobytes()
    assert pictures.made(run, "grid", 15).width == table.width
    pairs = grids.grid(torch.zeros(8, 3, 16, 16), 8, headings=["input", "fox"] * 4)
    assert pictures.made(run, "grid", 8, label="fox").size == pairs.size
    assert pairs.height > grids.grid(torch.zeros(8, 3, 16, 16), 8).height, "headings name the columns"
    assert pictures.made(run, "filmstrip").height > 0
    assert pictures.made(run, "neighbours", 12).height > 0
    with pytest.raises(ConfigError, match="no z to walk in"):
        pictures.made(run, "interpolation")


def test_a_style_belongs_to_a_column_and_to_the_seed(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["stargan2"]
    with np.load(pictures.draw(run, "styles", 3, seed=4, label="fox", out=tmp_path / "styles.npz")) as arrays:
        table = arrays["x"].reshape(3, 4, 3, 16, 16)
    inputs = run.inputs(3, seed=4)
    assert np.array_equal(table[:, 0], grids.to_uint8(inputs))
    for row in range(3):
        for column in range(3):
            alone = run.generate(inputs[row, None], torch.tensor([2]), seed=4 + column)
            assert np.array_equal(table[row, 1 + column], grids.to_uint8(alone)[0])
    drawn = sheets.sheet(run, "styles", 4, 4, "fox")
    assert drawn.headings == ("input", "fox, seed 4", "fox, seed 5", "fox, seed 6", "fox, seed 7")
    plain = grids.grid(drawn.samples, 5)
    assert np.array_equal(np.asarray(drawn.drawn())[-plain.height :], np.asarray(plain))
    with pytest.raises(ConfigError, match="has no styles"):
        pictures.made(runs["stargan"], "styles")


def test_references_give_their_style_and_domain(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["stargan2"]
    train = run.dataset().splits["train"]
    assert train.labels is not None
    for label in (None, "dog"):
        with np.load(pictures.draw(run, "references", 3, seed=1, label=label, out=tmp_path / "table.npz")) as arrays:
            table = arrays["x"].reshape(4, 4, 3, 16, 16)
        assert not table[0, 0].any()
        inputs = run.inputs(3, seed=1)
        for column in range(3):
            (index,) = np.flatnonzero([np.array_equal(x, table[0, 1 + column]) for x in train.x])
            domain = torch.tensor([int(train.labels[index])])
            assert label is None or int(domain) == 1
            given = torch.from_numpy(train.x[index].copy())[None] / 127.5 - 1
            for row in range(3):
                alone = grids.to_uint8(run.guided(inputs[row, None], given, domain))[0]
                assert np.abs(table[1 + row, 1 + column].astype(int) - alone).max() <= 1
    assert sheets.sheet(run, "references", 3, 1, "dog").headings == ("", "dog", "dog", "dog")
    assert pictures.made(run, "references").height > 0
    with pytest.raises(ConfigError, match=r"there are \d+ training images of this class"):
        pictures.made(run, "references", 30, label="dog")
    with pytest.raises(ConfigError, match="takes no style from a reference"):
        pictures.made(runs["stargan"], "references")


def test_a_run_on_attributes_knows_them_and_finds_its_data_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path / "cache"))
    root, _ = faces(tmp_path / "celeba")
    request = {"options": OPTIONS, "attributes": ("Smiling", "Male"), "out": tmp_path / "run"}
    run = api.train("stargan", str(root), steps=1, **request)
    assert run.family.data.classes == ("Smiling", "Male")
    assert run.family.data.labelling == ((1, 1),)
    assert run.dataset().classes == ("Smiling", "Male")
    assert api.resume(run.path, steps=2).step == 2
    x = run.inputs(3)
    assert torch.equal(run.sample(3, label="Smiling,Male"), run.generate(x, run.target("Smiling,Male").repeat(3, 1)))
    both, only = (run.generate(x, run.target(words).repeat(3, 1)) for words in ("Smiling,Male", "Smiling,not-Male"))
    assert not torch.equal(both, only)
    seen = run.family.discriminator(x)[1]
    held = torch.where(seen[:, 1] > 0, 1, 0)
    expected = torch.where(held[:, None, None, None] == 1, both, only)
    torch.testing.assert_close(run.generate(x, torch.zeros(3, dtype=torch.long)), expected)


def test_targets_in_words() -> None:
    assert target_of("bold, red", SPEC).tolist() == [[1, 0, 0, 1, -1, -1]]
    assert target_of("not-old", SPEC).tolist() == [[-1, -1, -1, -1, 0, -1]]
    assert target_of("young", SPEC).tolist() == [[-1, -1, -1, -1, -1, 1]]
    plain = DataSpec("image", (3, 16, 16), ("cat", "dog", "cat, asleep"))
    assert target_of("dog", plain).tolist() == [1]
    assert target_of("cat, asleep", plain).tolist() == [2]
    for words, spec, what in (
        ("red,blue", SPEC, "exclude each other"), ("not-red", SPEC, "name that one"),
        ("old,young", SPEC, "one label set"),
        ("", SPEC, "at least one class"), ("purple", SPEC, "no class 'purple'"), ("cat,dog", plain, "one class"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=what):
            target_of(words, spec)


def folder(root: Path) -> Path:
    """Write pictures of several kinds, and files that are none."""
    root.mkdir()
    (root / "deep").mkdir()
    grey = drawn(1, 16)[0]
    colour = drawn(1, 32, 3)[0]
    (root / "square.png").write_bytes(png(drawn(1, 16, 3)[0]))
    (root / "deep" / "wide.jpg").write_bytes(png(np.concatenate([colour, colour], 1), "JPEG"))
    (root / "grey.PNG").write_bytes(png(grey))
    alpha = np.concatenate([colour, np.arange(1024, dtype=np.uint8).reshape(32, 32, 1)], 2)
    (root / "clear.png").write_bytes(png(alpha))
    (root / "broken.png").write_bytes(png(colour)[:40])
    (root / "notes.txt").write_text("no picture")
    return root


def test_a_folder_keeps_names_sizes_and_transparency_and_says_what_it_refused(
    runs: dict[str, Run], tmp_path: Path
) -> None:
    source, out = folder(tmp_path / "in"), tmp_path / "out"
    words = [str(runs["stargan"].path), str(source), "--to", "dog", "--out", str(out)]
    result = CliRunner().invoke(app, ["translate", *words])
    assert result.exit_code == 2
    assert "translated: 4 files" in result.output
    assert "refused:    2 files" in result.output
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    assert found == ["clear.png", "deep/wide.jpg", "grey.PNG", "square.png"]
    for name in found:
        with Image.open(source / name) as before, Image.open(out / name) as after:
            assert (after.size, after.format) == (before.size, before.format)
    alpha = [np.asarray(Image.open(place / "clear.png").getchannel("A")) for place in (source, out)]
    assert np.array_equal(*alpha)
    run, given = runs["stargan"], np.asarray(Image.open(source / "square.png")).transpose(2, 0, 1)
    expected = run.generate(torch.from_numpy(given.copy())[None] / 127.5 - 1, torch.tensor([1]))
    assert np.array_equal(np.asarray(Image.open(out / "square.png")).transpose(2, 0, 1), grids.to_uint8(expected)[0])


def test_one_picture_is_translated_as_in_its_folder(runs: dict[str, Run], tmp_path: Path) -> None:
    source = folder(tmp_path / "in")
    whole = translate_folder(runs["stargan"], source, ["dog"], tmp_path / "whole")
    assert len(whole.written) == 4
    one = translate_folder(runs["stargan"], source / "deep" / "wide.jpg", ["dog"], tmp_path / "one")
    assert one == Translated((tmp_path / "one" / "wide.jpg",), ())
    assert one.written[0].read_bytes() == (tmp_path / "whole" / "deep" / "wide.jpg").read_bytes()
    inner = translate_folder(runs["stargan"], source / "deep" / "wide.jpg", ["dog"], source)
    assert inner.written == (source / "wide.jpg",)
    broken = translate_folder(runs["stargan"], source / "broken.png", ["dog"], tmp_path / "none")
    assert [name for name, _ in broken.refused] == ["broken.png"]
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        translate_folder(runs["stargan"], tmp_path / "bare", ["dog"], tmp_path / "none")
    with pytest.raises(ConfigError, match="none is lost"):
        translate_folder(runs["stargan"], source / "square.png", ["dog"], source, overwrite=True)
    # Below the folder of its domain, a second target would lead to the picture itself.
    original = tmp_path / "dog" / "square.png"
    original.parent.mkdir()
    original.write_bytes((source / "square.png").read_bytes())
    two = translate_folder(runs["stargan"], original, ["dog", "cat"], tmp_path, overwrite=True)
    assert two.written == (tmp_path / "cat" / "square.png",)
    assert "choose another --out" in two.refused[0][1]
    assert original.read_bytes() == (source / "square.png").read_bytes()
    with pytest.raises(DataError, match="neither a picture nor a folder"):
        translate_folder(runs["stargan"], source / "gone.png", ["dog"], tmp_path / "none")


def test_one_picture_can_be_named_and_several_cannot(runs: dict[str, Run], tmp_path: Path) -> None:
    source, run = folder(tmp_path / "in"), runs["stargan"]
    whole = translate_folder(run, source / "square.png", ["dog"], tmp_path / "whole")
    words = ["translate", str(run.path), str(source / "square.png"), "--to", "dog", "--out", str(tmp_path / "one.png")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert result.stdout.strip() == f"translated: {tmp_path / 'one.png'}"
    assert (tmp_path / "one.png").read_bytes() == whole.written[0].read_bytes()
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "is there already; --overwrite replaces it" in again.output
    other = translate_folder(run, source / "square.png", ["dog"], tmp_path / "deep" / "one.jpg")
    with Image.open(tmp_path / "deep" / "one.jpg") as image, Image.open(tmp_path / "one.png") as exact:
        assert (image.format, image.size) == ("JPEG", exact.size)
        assert np.abs(np.asarray(image, float) - np.asarray(exact, float)).mean() < 20
    assert other.written == (tmp_path / "deep" / "one.jpg",)
    (refused,) = translate_folder(run, source / "clear.png", ["dog"], tmp_path / "clear.jpg").refused
    assert "its transparency would be lost in a JPEG; give --out clear.png" in refused[1]
    for given, targets, message in (
        (source, ["dog"], "a folder of pictures make several; give a folder as --out"),
        (source / "square.png", ["dog", "cat"], "2 domains make several; give a folder as --out"),
    ):
        with pytest.raises(ConfigError, match=message):
            translate_folder(run, given, targets, tmp_path / "new.png")
    assert not (tmp_path / "new.png").exists()


def test_a_run_on_padded_pictures_translates_padded_ones(
    runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs["stargan"]
    monkeypatch.setitem(run.config["data"], "options", {"fit": "pad"})
    (tmp_path / "in").mkdir()
    flat = drawn(1, 16, 3)[0][3:11]
    (tmp_path / "in" / "flat.png").write_bytes(png(flat))
    assert len(translate_folder(run, tmp_path / "in", ["dog"], tmp_path / "out").written) == 1
    padded = np.full((16, 16, 3), 255, np.uint8)
    padded[4:12] = flat
    expected = run.generate(torch.from_numpy(padded.transpose(2, 0, 1).copy())[None] / 127.5 - 1, torch.tensor([1]))
    found = np.asarray(Image.open(tmp_path / "out" / "flat.png")).transpose(2, 0, 1)
    assert np.array_equal(found, grids.to_uint8(expected)[0][:, 4:12])


@pytest.mark.parametrize("name", ["stargan", "stargan2"])
def test_an_oblong_picture_is_neither_cut_nor_squeezed(runs: dict[str, Run], tmp_path: Path, name: str) -> None:
    run, wide = runs[name], drawn(1, 48, 3)[0][:16]
    short = wide[:, :41]
    continued = np.pad(short, ((0, 0), (0, 3), (0, 0)), "symmetric")
    for given, seen in ((wide, wide), (short, continued), (short.swapaxes(0, 1), continued.swapaxes(0, 1))):
        (tmp_path / "in.png").write_bytes(png(given))
        translate_folder(run, tmp_path / "in.png", ["dog"], tmp_path / "out", overwrite=True)
        x = torch.from_numpy(seen.transpose(2, 0, 1).copy())[None] / 127.5 - 1
        expected = grids.to_uint8(run.generate(x, torch.tensor([1])))[0].transpose(1, 2, 0)
        with Image.open(tmp_path / "out" / "in.png") as found:
            assert np.array_equal(np.asarray(found), expected[: given.shape[0], : given.shape[1]])


@pytest.mark.parametrize("kind", ["gif", "tiff"])
def test_files_cut_anywhere_are_refused_and_the_rest_is_done(runs: dict[str, Run], tmp_path: Path, kind: str) -> None:
    """Pillow counts the frames of these by reading on, and raises whatever it stumbles over."""
    frames = [Image.fromarray(each) for each in drawn(3, 16, 3)]
    frames[0].save(tmp_path / f"whole.{kind}", kind, save_all=True, append_images=frames[1:])
    whole = (tmp_path / f"whole.{kind}").read_bytes()
    (tmp_path / "in").mkdir()
    cuts = range(8, len(whole), max(1, len(whole) // 60))
    for cut in cuts:
        (tmp_path / "in" / f"{cut}.{kind}").write_bytes(whole[:cut])
    (tmp_path / "in" / "z.png").write_bytes(png(drawn(1, 16, 3)[0]))
    found = translate_folder(runs["stargan"], tmp_path / "in", ["dog"], tmp_path / "out")
    assert tmp_path / "out" / "z.png" in found.written
    assert len(found.written) + len(found.refused) == len(cuts) + 1
    assert len(found.refused) > 40


def test_a_colour_profile_stays_where_it_holds(runs: dict[str, Run], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colour = Image.fromarray(drawn(1, 16, 3)[0])
    colour.save(tmp_path / "in" / "photo.jfif", "JPEG", icc_profile=profile)
    colour.convert("RGBA").save(tmp_path / "in" / "clear.png", icc_profile=profile)
    colour.convert("L").save(tmp_path / "in" / "grey.png", icc_profile=profile)
    assert not translate_folder(runs["stargan"], tmp_path / "in", ["dog"], tmp_path / "out").refused
    kept = {}
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as found:
            kept[path.name] = found.info.get("icc_profile")
    assert kept == {"photo.jfif": profile, "clear.png": profile, "grey.png": None}


def test_a_panorama_does_not_fill_the_memory(
    runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[tuple[int, ...]]()

    def copied(x: torch.Tensor, label: torch.Tensor, *, seed: int) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return x

    monkeypatch.setattr(runs["stargan"], "generate", copied)
    (tmp_path / "strip.png").write_bytes(png(np.full((4, 9000, 3), 77, np.uint8)))
    done = translate_folder(runs["stargan"], tmp_path / "strip.png", ["dog"], tmp_path / "out")
    assert not done.refused
    assert seen == [(1, 3, 16, 128)]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "strip.png")), np.full((4, 9000, 3), 77, np.uint8))


def test_nothing_is_written_over_unless_told(runs: dict[str, Run], tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.png").write_bytes(png(drawn(1, 16, 3)[0]))
    run = runs["stargan"]
    assert not translate_folder(run, source, ["cat"], out).refused
    before = (out / "a.png").read_bytes()
    again = translate_folder(run, source, ["dog"], out)
    assert not again.written
    assert "there already" in again.refused[0][1]
    assert (out / "a.png").read_bytes() == before
    assert translate_folder(run, source, ["dog"], out, overwrite=True).written
    assert (out / "a.png").read_bytes() != before
    both = translate_folder(run, source, ["cat", "dog"], tmp_path / "both")
    both.written[0].unlink()
    third = translate_folder(run, source, ["cat", "dog"], tmp_path / "both")
    assert third.written == both.written[:1]
    assert len(third.refused) == 1
    with pytest.raises(ConfigError, match="choose another --out"):
        translate_folder(run, source, ["dog"], source, overwrite=True)


def test_no_link_leads_a_translation_to_an_original(runs: dict[str, Run], tmp_path: Path) -> None:
    """A folder of the results may be a link to one of the pictures."""
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    out.mkdir()
    original = png(drawn(1, 16, 3)[0])
    (source / "sub" / "a.png").write_bytes(original)
    (out / "sub").symlink_to(source / "sub")
    done = translate_folder(runs["stargan"], source, ["dog"], out, overwrite=True)
    assert not done.written
    assert "one of the pictures themselves" in done.refused[0][1]
    assert (source / "sub" / "a.png").read_bytes() == original


def test_a_folder_above_the_pictures_takes_their_translations_and_own_results_are_left_out(
    runs: dict[str, Run], tmp_path: Path
) -> None:
    source, told = tmp_path / "photos" / "mine", list[str]()
    source.mkdir(parents=True)
    (source / "a.png").write_bytes(png(drawn(1, 16, 3)[0]))
    above = translate_folder(runs["stargan"], source, ["cat"], tmp_path / "photos", say=told.append)
    assert above.written == (tmp_path / "photos" / "a.png",)
    assert not told
    for _ in range(2):
        below = translate_folder(runs["stargan"], source, ["cat"], source / "out", overwrite=True, say=told.append)
        assert below.written == (source / "out" / "a.png",)
    assert told == [f"left out: 1 files below {source / 'out'}, where the translations go"]


def test_a_picture_of_another_kind_than_its_name_is_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    pixels = np.concatenate([drawn(1, 16, 3)[0], np.arange(256, dtype=np.uint8).reshape(16, 16, 1)], 2)
    (source / "a.jpg").write_bytes(png(pixels))
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII4I4s48x", 108, 16, 16, 1, 32, 3, 1024, 0, 0, 0, 0, *masks, b"BGRs")
    body = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    (source / "b.bmp").write_bytes(struct.pack("<2sIII", b"BM", 122 + len(body), 0, 122) + header + body)
    refused = dict(translate_folder(runs["stargan"], source, ["cat"], tmp_path / "out").refused)
    assert refused == {
        "a.jpg": "it is PNG, not JPEG as its name says; rename it",
        "b.bmp": "its transparency would be lost in a BMP; save it as PNG",
    }


@pytest.mark.parametrize("orientation", range(1, 9))
def test_transparency_turns_with_the_picture(runs: dict[str, Run], tmp_path: Path, orientation: int) -> None:
    source, exif = tmp_path / "in", Image.Exif()
    source.mkdir()
    exif[0x0112] = orientation
    pixels = np.concatenate([drawn(1, 16, 3)[0], np.arange(256, dtype=np.uint8).reshape(16, 16, 1)], 2)[:8]
    (source / "a.png").write_bytes(png(pixels, exif=exif))
    assert not translate_folder(runs["stargan"], source, ["cat"], tmp_path / "out").refused
    with Image.open(source / "a.png") as before, Image.open(tmp_path / "out" / "a.png") as after:
        assert np.array_equal(ImageOps.exif_transpose(before).getchannel("A"), after.getchannel("A"))
        assert ImageOps.exif_transpose(after).size == after.size


def test_a_file_larger_than_any_picture_is_not_read(
    runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with holes may seem to have terabytes."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.png").write_bytes(png(drawn(1, 16, 3)[0]))
    with (source / "b.png").open("wb") as file:
        file.truncate(2**40)
    monkeypatch.setattr(limits, "MOST_MEMBER", 10_000)
    found = translate_folder(runs["stargan"], source, ["dog"], tmp_path / "out")
    assert [path.name for path in found.written] == ["a.png"]
    assert found.refused == (("b.png", "it has more than 10,000 bytes, the most that a picture may have"),)


def test_a_link_that_leads_nowhere_is_named(runs: dict[str, Run], tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.png").write_bytes(png(drawn(1, 16, 3)[0]))
    (source / "gone.png").symlink_to(tmp_path / "nothing.png")
    done = translate_folder(runs["stargan"], source, ["cat"], tmp_path / "out")
    assert len(done.written) == 1
    assert "gone.png" in done.refused[0][1]


def test_several_targets_get_folders_and_a_reference_gives_the_style(runs: dict[str, Run], tmp_path: Path) -> None:
    source, run = tmp_path / "in", runs["stargan2"]
    source.mkdir()
    for i, pixels in enumerate(drawn(2, 16, 3)):
        (source / f"{i}.png").write_bytes(png(pixels))
    done = translate_folder(run, source, ["cat", "dog"], source / "out")
    assert sorted(path.relative_to(source).as_posix() for path in done.written) == [
        f"out/{word}/{i}.png" for word in ("cat", "dog") for i in (0, 1)
    ]
    for i in (0, 1):
        translate_folder(run, source, ["cat"], tmp_path / f"as{i}", reference=source / f"{i}.png")
    assert (tmp_path / "as0" / "0.png").read_bytes() != (tmp_path / "as1" / "0.png").read_bytes()
    with pytest.raises(ConfigError, match="takes no reference"):
        translate_folder(runs["stargan"], source, ["cat"], tmp_path / "none", reference=source / "0.png")


def test_targets_of_the_exercise_differ_from_the_images_own_domains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_named(tmp_path, "mnist", train=60, test=40)
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path / "cache"))
    given = exercise(load_dataset("mnist-domains"), 40, 0)
    assert (given.own != given.target).any(1).all()
    assert (np.add.reduceat(given.target, [0, 3, 5], axis=1) == 1).all()
    assert np.array_equal(given.target, exercise(load_dataset("mnist-domains"), 40, 0).target)


@pytest.fixture
def domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, Truth]:
    """`mnist-domains` of a few made digits, and its truth."""
    write_named(tmp_path, "mnist", train=160, test=40)
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path / "cache"))
    dataset = load_dataset("mnist-domains")
    truth = known_truth(dataset)
    assert truth is not None
    return dataset, truth


def test_the_protocol_calls_the_truth_true_and_the_copy_a_copy(domains: tuple[Dataset, Truth]) -> None:
    """A translator that knows the truth has no error; one that shows grey has an error, a cycle error, no diversity."""
    dataset, truth = domains

    def exact(x: torch.Tensor, labels: torch.Tensor, seed: int) -> torch.Tensor:
        return torch.from_numpy(truth.translated("test", np.arange(len(x)), labels.numpy())).float() / 127.5 - 1

    def grey(x: torch.Tensor, labels: torch.Tensor, seed: int) -> torch.Tensor:
        return torch.zeros_like(x)

    def rows(translate: object) -> dict[str, dict[str, float]]:
        subject = Subject("t", lambda n, seed: torch.zeros(n, 3, 28, 28), translate=translate)  # type: ignore[arg-type]
        (result,) = evaluate(subject, dataset, ["translation"]).results
        assert result.protocol == "translation40_lenet_test"
        found: dict[str, dict[str, float]] = {}
        for row in result.rows:
            found.setdefault(row.row, {})[row.metric] = row.value
        return found

    true, dull = rows(exact), rows(grey)
    for name in (TRUTH.name, CYCLE.name, DIVERSITY.name):
        assert true["t"][name] == pytest.approx(0, abs=1e-6)
    assert true["t"][DOMAIN.name] == true["known truth"][DOMAIN.name]
    assert true["known truth"][TRUTH.name] == 0
    assert true["inputs copied"][IDENTITY.name] == 1
    assert true["inputs copied"][TRUTH.name] > 0.05
    assert true["uniform noise"][TRUTH.name] > true["inputs copied"][TRUTH.name] / 2
    # The way back of a translator with styles takes the image's own, and here finds it.
    subject = Subject(
        "t", lambda n, seed: torch.zeros(n, 3, 28, 28), translate=grey, guided=lambda x, reference, labels: reference
    )
    (result,) = evaluate(subject, dataset, ["translation"]).results
    assert next(row.value for row in result.rows if row.metric == CYCLE.name) == pytest.approx(0, abs=1e-6)
    x = np.asarray(dataset.splits["test"].x[:40]) / 255
    assert dull["t"][CYCLE.name] == pytest.approx(np.abs(x - 0.5).mean(), abs=1e-6)
    assert dull["t"][DIVERSITY.name] == 0


def test_errors_are_told_apart_by_what_had_to_change(domains: tuple[Dataset, Truth]) -> None:
    """Of a translator that knows the truth but leaves strokes as they are."""
    dataset, truth = domains
    given = exercise(dataset, 40, 0)

    def same_strokes(x: torch.Tensor, labels: torch.Tensor, seed: int) -> torch.Tensor:
        target = np.where(np.isin(dataset.classes, ("thin", "bold")), given.own, labels.numpy())
        return torch.from_numpy(truth.translated("test", np.arange(len(x)), target)).float() / 127.5 - 1

    subject = Subject("t", lambda n, seed: torch.zeros(n, 3, 28, 28), translate=same_strokes)
    (result,) = evaluate(subject, dataset, ["translation"]).results
    error = next(row for row in result.rows if row.role == "model" and row.metric == TRUTH.name)
    ways = error.details["by_change"]
    assert ways["thin/bold stays"] == 0
    assert ways["thin to bold"] > 0.02
    assert ways["bold to thin"] > 0.02
    changed = (given.own != given.target)[:, list(dataset.classes).index("bold")]
    bolder = changed & (given.target[:, list(dataset.classes).index("bold")] == 1)
    whole = (bolder.sum() * ways["thin to bold"] + (changed & ~bolder).sum() * ways["bold to thin"]) / 40
    assert whole == pytest.approx(error.value, abs=1e-4)
    copied = next(row for row in result.rows if row.row == "inputs copied" and row.metric == IDENTITY.name)
    assert set(copied.details["by_change"].values()) == {1.0}
    assert len(copied.details["by_change"]) == 1 + 6 + 1 + 2 + 1 + 2
    assert "least in" in result.verdict


def test_a_run_is_measured_by_what_suits_it(runs: dict[str, Run]) -> None:
    run = runs["stargan2"]
    subject = run.subject(run.dataset())
    assert subject.translate is not None
    assert subject.latents is None
    x = run.inputs(4)
    one, two = (subject.translate(x, torch.zeros(4, dtype=torch.long), seed) for seed in (0, 1))
    assert not torch.equal(one, two)
    assert subject.sample(6, 0).shape == (6, 3, 16, 16)
