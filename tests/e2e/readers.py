"""Everything of saddlepoint that reads a file which somebody else may have made: how a whole one is made, and read."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import saddlepoint
from saddlepoint.core.errors import DataError, SaddlepointError
from saddlepoint.core.files import read_json
from saddlepoint.data import load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.data.inputs import load_samples, read_picture
from saddlepoint.data.sources.idx import read_idx
from saddlepoint.data.sources.wheel import unpickle_arrays
from saddlepoint.engine.storage.checkpoint import list_checkpoints
from saddlepoint.evaluation import read_results
from saddlepoint.export import export_run
from saddlepoint.metrics.lenet import load_classifier
from saddlepoint.run import api, weights
from saddlepoint.run.imports.importing import import_weights
from saddlepoint.run.index import RunIndex
from saddlepoint.run.samples.translate import translate_folder
from tests.unit.data_helpers import pictures, png, write_folder, write_parquet
from tests.unit.format_files import FILES, read_whole
from tests.unit.reference_stylegan2 import Drawn, as_port, pickled

SMALL = {"generator_widths": "8", "discriminator_widths": "8", "batch_size": 8}
ROWS = "time,group,label,open,close,volume\n" + "".join(
    f"2024-{1 + day // 28:02d}-{1 + day % 28:02d},{group},{'up' if group == 'a' else 'down'},"
    f"{100 + np.sin(day / 3):.3f},{101 + np.cos(day / 4):.3f},{1000 + 7 * day}\n"
    for group in "ab"
    for day in range(120)
)
TABLE = {"window": 8, "group_column": "group", "time_column": "time", "label_column": "label"}
ATTRIBUTES = "6\nBlond Smiling\n" + "".join(
    f"{i:04d}.png {1 if i % 2 else -1} {1 if i % 3 else -1}\n" for i in range(6)
)


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        write: makes whole input in an empty folder.
        read: reads it.
        files: patterns of the files that are damaged, each as often as the others.
        mend: makes checksums right again after the damage, so that more than these is read.
        words: errors that are refusals in words.
    """

    write: Callable[[Path], object]
    read: Callable[[Path], object]
    files: tuple[str, ...] = ("*",)
    mend: Callable[[Path], object] = field(default=lambda folder: None)
    words: tuple[type[Exception], ...] = (SaddlepointError,)


def _picture(kind: str, mode: str = "RGB", **options: object) -> Reader:
    def write(folder: Path) -> None:
        image = Image.fromarray(pictures(1, 24, 3)[0]).convert(mode)
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        (folder / "x").write_bytes(buffer.getvalue())

    def read(folder: Path) -> object:
        return read_picture((folder / "x").read_bytes(), "x", (3, 16, 16))

    return Reader(write, read)


def _data(write: Callable[[Path], object], name: str, *files: str, **options: object) -> Reader:
    """A path given to `load_dataset`; prepared data of the last input is thrown away."""

    def read(folder: Path) -> object:
        shutil.rmtree(cache_dir() / "datasets", ignore_errors=True)
        return load_dataset(str(folder / name), **options)  # type: ignore[arg-type]

    return Reader(write, read, files or (name,))


def _arrays(folder: Path) -> None:
    np.save(folder / "x.npy", pictures(40))
    np.savez(folder / "x.npz", x_train=pictures(40), y_train=np.arange(40) % 4)
    np.savez_compressed(folder / "y.npz", images=pictures(40, channels=3), labels=np.arange(40) % 4)


def _labelled(folder: Path) -> None:
    write_folder(folder / "d", pictures(6))
    (folder / "d" / "labels.csv").write_text("file,label\n" + "".join(f"{i:04d}.png,{'ab'[i % 2]}\n" for i in range(6)))


def _described(folder: Path) -> None:
    write_folder(folder / "d", pictures(6))
    (folder / "d" / "dataset.json").write_text(json.dumps({"labels": [[f"{i:04d}.png", i % 2] for i in range(6)]}))


def _celeba(folder: Path) -> None:
    write_folder(folder / "d", pictures(6))
    (folder / "d" / "list_attr_celeba.txt").write_text(ATTRIBUTES)
    split = "".join(f"{i:04d}.png {i % 3}\n" for i in range(6))
    (folder / "d" / "list_eval_partition.txt").write_text(split)


def _zipped(folder: Path) -> None:
    write_folder(folder / "d", pictures(8), ["a", "b"] * 4)
    shutil.make_archive(str(folder / "x"), "zip", folder / "d")


def _images_in_parquet(folder: Path) -> None:
    write_parquet(folder / "x.parquet", pictures(12), [i % 3 for i in range(12)], ["a", "b", "c"])


def _table(folder: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    (folder / "x.csv").write_text(ROWS)
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(folder / "x.csv"), folder / "x.parquet")


def _one_series(folder: Path) -> None:
    (folder / "x.csv").write_text("a,b\n" + "".join(f"{t % 7},{(t / 5) ** 0.5}\n" for t in range(150)))


def _idx(folder: Path) -> None:
    header = b"\x00\x00\x08\x03" + struct.pack(">III", 5, 4, 4)
    (folder / "x").write_bytes(header + bytes(range(80)))
    (folder / "x.gz").write_bytes(gzip.compress(header + bytes(range(80))))


def _faces(folder: Path) -> None:
    from tests.unit.test_tfd import faces

    faces(folder / "x.mat", side=48, n=90)


def _pickled(folder: Path) -> None:
    pairs = [(np.zeros((3, 784), np.float32), np.arange(3)) for _ in range(3)]
    (folder / "x").write_bytes(pickle.dumps(pairs, 3))


def _samples_of_images(folder: Path) -> None:
    np.save(folder / "x.npy", pictures(6, 8)[:, None])
    np.savez(folder / "y.npz", x=pictures(6, 8)[:, None], y=np.arange(6))
    write_folder(folder / "d", pictures(6, 8), list("012345"))
    shutil.make_archive(str(folder / "z"), "zip", folder / "d")


def _samples_of_series(folder: Path) -> None:
    days = [f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(120)]
    rows = "".join(f"{day},{100 + t % 9},{101 + t % 7},{1000 + t}\n" for t, day in enumerate(days))
    (folder / "x.csv").write_text("time,open,close,volume\n" + rows)
    rows = [f"{window},2024-01-{1 + t:02d},{100 + t},{101 + t},{1000 + t}" for window in range(5) for t in range(8)]
    (folder / "samples.csv").write_text("window,time,open,close,volume\n" + "\n".join(rows) + "\n")
    values = np.random.default_rng(0).uniform(100, 110, (5, 8, 3)).astype(np.float32)
    np.savez(folder / "samples.npz", x=values, columns=np.array(["open", "close", "volume"]))


def _read_samples_of_series(folder: Path) -> object:
    options = {"columns": "open,close,volume", "time_column": "time", "window": 8, "calendar": "off"}
    dataset = load_dataset(str(folder / "x.csv"), **options)  # type: ignore[arg-type]
    found = [
        _outcome(lambda name=name: load_samples(folder / name, dataset)) for name in ("samples.csv", "samples.npz")
    ]
    return _raised(found)


def _run(folder: Path) -> None:
    api.train("cgan", "digits", steps=2, threads=1, options=SMALL, out=folder / "run")


def _read_run(folder: Path) -> object:
    """Everything that looks into a run folder."""
    RunIndex(folder).entries()
    run = folder / "run"

    def sampled() -> object:
        loaded = saddlepoint.load(run)
        loaded.sample(1)
        return loaded.diagnosis

    return _raised([_outcome(sampled), _outcome(lambda: api.plan_to_resume(run, steps=3))])


def _right_sums(folder: Path) -> None:
    """Make the checksums of checkpoints those of the files that are there."""
    for path in list_checkpoints(folder / "run" / "checkpoints"):
        try:
            record = read_json(path / "state.json")
            record.pop("digest", None)
            for name in record["sha256"]:
                record["sha256"][name] = hashlib.sha256((path / name).read_bytes()).hexdigest()
            digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
            (path / "state.json").write_text(json.dumps({**record, "digest": digest}))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue


def _translator(folder: Path) -> None:
    write_folder(folder / "d", pictures(20, 32, 3), ["a", "b"] * 10)
    options = {"width": 4, "discriminator_width": 4, "blocks": 1, "layers": 3, "batch_size": 4}
    api.train("stargan", str(folder / "d"), size=32, steps=1, threads=1, options=options, out=folder / "run")
    (folder / "in").mkdir()
    for kind in ("png", "jpg", "webp", "bmp", "tif", "gif"):
        formats = {"jpg": "jpeg", "tif": "tiff"}
        (folder / "in" / f"x.{kind}").write_bytes(png(pictures(1, 24, 3)[0], formats.get(kind, kind)))
    Image.fromarray(pictures(1, 24, 3)[0]).convert("RGBA").save(folder / "in" / "alpha.png")


def _translate(folder: Path) -> object:
    found = translate_folder(saddlepoint.load(folder / "run"), folder / "in", ["b"], folder / "out", overwrite=True)
    for name, problem in found.refused:
        raise DataError(f"{name}: {problem}")
    return found


def _exported(folder: Path) -> None:
    _run(folder)
    export_run(saddlepoint.load(folder / "run"), "safetensors", folder / "export")
    shutil.rmtree(folder / "run")


def _read_export(folder: Path) -> object:
    return saddlepoint.load(folder / "export").sample(1)


def _right_sum_of_weights(folder: Path) -> None:
    try:
        config = json.loads((folder / "export" / "config.json").read_text())
        config["export"]["sha256"] = hashlib.sha256((folder / "export" / weights.FILE).read_bytes()).hexdigest()
        (folder / "export" / "config.json").write_text(json.dumps(config))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return


def _onnx(folder: Path) -> None:
    _run(folder)
    export_run(saddlepoint.load(folder / "run"), "onnx", folder / "export")
    shutil.rmtree(folder / "run")


def _read_onnx(folder: Path) -> object:
    from saddlepoint.export.sampler.generator import Generator

    generator = Generator(folder / "export", threads=1)
    rng = np.random.default_rng(0)
    return generator.generate(generator.inputs(2, rng), generator.labels(2, rng))


def _right_sums_of_export(folder: Path) -> None:
    try:
        spec = json.loads((folder / "export" / "model.json").read_text())
        for graph in spec["graphs"]:
            graph["sha256"] = hashlib.sha256((folder / "export" / graph["file"]).read_bytes()).hexdigest()
        (folder / "export" / "model.json").write_text(json.dumps(spec))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return


def _report(folder: Path) -> None:
    _run(folder)
    run = saddlepoint.load(folder / "run")
    run.save_report(run.evaluate(["memorisation"]))
    shutil.rmtree(folder / "run" / "checkpoints")


def _read_report(folder: Path) -> object:
    RunIndex(folder).entries()
    results = read_results(folder / "run" / "report" / "metrics.jsonl")
    saddlepoint.compare_runs([folder / "run", folder / "run"])
    return results


def _classifier(folder: Path) -> None:
    from importlib.resources import files

    with (files("saddlepoint.metrics") / "weights").joinpath("mnist-lenet.safetensors").open("rb") as file:
        (folder / "x").write_bytes(file.read())


def _kept(folder: Path) -> None:
    np.save(folder / "x.npy", pictures(40))
    shutil.rmtree(cache_dir() / "datasets", ignore_errors=True)
    load_dataset(str(folder / "x.npy"))
    shutil.copytree(cache_dir() / "datasets", folder / "kept")


def _read_kept(folder: Path) -> object:
    """Prepared data in the cache; damaged, it is prepared again."""
    shutil.rmtree(cache_dir() / "datasets", ignore_errors=True)
    shutil.copytree(folder / "kept", cache_dir() / "datasets")
    return load_dataset(str(folder / "x.npy"))


def _outcome(read: Callable[[], object]) -> object:
    """Return what a reader returns, or its error in words."""
    try:
        return read()
    except SaddlepointError as error:
        return error


def _raised(found: list[object]) -> object:
    """Return what was found; raise the first error in words, once all have been tried."""
    for each in found:
        if isinstance(each, SaddlepointError):
            raise each
    return found


def _format(file: str, write: Callable[[Path], None]) -> Reader:
    return Reader(lambda folder: write(folder / file), lambda folder: read_whole(folder / file))


def _network(name: str) -> Reader:
    def write(folder: Path) -> None:
        drawn = Drawn((4, 4), w=8, classes=2 if name.endswith(".pkl") else 0)
        if name.endswith(".pkl"):
            pickled(folder / name, {"D": drawn.d, "G_ema": drawn.g})
        else:
            torch.save(as_port(drawn), folder / name, _use_new_zipfile_serialization=name != "old.pt")

    def read(folder: Path) -> object:
        shutil.rmtree(folder / "made", ignore_errors=True)
        return import_weights(folder / name, folder / "made")

    return Reader(write, read)


READERS: Mapping[str, Reader] = {
    "PNG": _picture("PNG"),
    "PNG with palette": _picture("PNG", "P"),
    "JPEG": _picture("JPEG"),
    "GIF": _picture("GIF", "P"),
    "BMP": _picture("BMP"),
    "WebP": _picture("WEBP"),
    "folder with labels.csv": _data(_labelled, "d", "d/labels.csv"),
    "folder with dataset.json": _data(_described, "d", "d/dataset.json"),
    "folder with attributes": _data(_celeba, "d", "d/list_*"),
    "zip of images": _data(_zipped, "x.zip"),
    "npy": _data(_arrays, "x.npy"),
    "npz": _data(_arrays, "x.npz"),
    "npz, compressed": _data(_arrays, "y.npz"),
    "parquet of images": _data(_images_in_parquet, "x.parquet"),
    "CSV": _data(_table, "x.csv", **TABLE),
    "CSV, one series": _data(_one_series, "x.csv", window=8),
    "parquet of series": _data(_table, "x.parquet", **TABLE),
    "idx": Reader(_idx, lambda folder: (read_idx(folder / "x"), read_idx(folder / "x.gz"))),
    "MATLAB": _data(_faces, "x.mat"),
    "pickle of the wheel": Reader(_pickled, lambda folder: unpickle_arrays((folder / "x").read_bytes())),
    "samples, images": Reader(_samples_of_images, lambda folder: _raised([
        _outcome(lambda name=name: load_samples(folder / name, load_dataset("digits")))
        for name in ("x.npy", "y.npz", "z.zip")
    ]), ("*.npy", "*.npz", "*.zip")),
    "samples, series": Reader(_samples_of_series, _read_samples_of_series, ("samples.*",)),
    "run": Reader(_run, _read_run, ("run/*.json*", "run/checkpoints/*/*")),
    "run, checksums right": Reader(_run, _read_run, ("run/checkpoints/*/*",), _right_sums),
    "pictures to translate": Reader(_translator, _translate, ("in/*",)),
    "export of weights": Reader(_exported, _read_export, ("export/config.json", f"export/{weights.FILE}")),
    "export of weights, checksum right": Reader(
        _exported, _read_export, ("export/config.json", f"export/{weights.FILE}"), _right_sum_of_weights,
    ),
    "export to ONNX": Reader(_onnx, _read_onnx, ("export/model.json", "export/*.onnx"), words=(ValueError,)),
    "export to ONNX, checksums right": Reader(
        _onnx, _read_onnx, ("export/model.json", "export/*.onnx"), _right_sums_of_export,
        (ValueError,),
    ),
    "network pickle": _network("x.pkl"),
    "network of a port": _network("new.pt"),
    "network of a port, before 1.6": _network("old.pt"),
    "report": Reader(_report, _read_report, ("run/report/metrics.jsonl", "run/*.json*")),
    "classifier": Reader(_classifier, lambda folder: load_classifier(folder / "x")),
    "cache": Reader(_kept, _read_kept, ("kept/*/*",)),
    **{f"format {name}": _format(*made) for name, made in FILES.items()},
}  # fmt: skip
