"""Draw samples from an exported folder. Needs numpy and onnxruntime, nothing else.

python sample.py -n 16 --seed 0 --out samples.png
python sample.py -n 16 --label 3 --out samples.npz
python sample.py -n 100 --out folder
python sample.py --images mine.npy --label blond --out translated.png
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import re
import stat
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

TYPES = ("int64", "float32")
MOST = 2**28
"""Numbers that one sample's noise may take; what asks for more is damaged."""
MOST_BYTES = 2**31
"""Bytes of a graph: protocol buffers hold no more."""
MOST_DECIMALS = 10
TILE, GAP, GROUND = 56, 2, 64
"""Pixels to which small pictures are enlarged about, those between pictures of a sheet, and their grey level."""


def read_description(path: Path) -> dict[str, Any]:
    """Return what ``model.json`` says.

    Raises:
        ValueError: if it cannot be read, or does not describe a generator.
    """
    try:
        spec: dict[str, Any] = json.loads(read_file(path, 64 * 1024**2))
        demand(spec["modality"] in ("image", "vector", "sequence"), "modality")
        demand(all(isinstance(name, str) for name in spec["classes"]), "classes")
        shares = np.asarray(spec["shares"], dtype=np.float64)
        demand(shares.shape in ((0,), (len(spec["classes"]),)), "shares")
        demand(not shares.size or bool(shares.min() >= 0 and 0 < shares.sum() < np.inf), "shares")
        spec["shares"] = shares.tolist()
        demand({graph["name"] for graph in spec["graphs"]} >= {"model"}, "graphs")
        for graph in spec["graphs"]:
            for kept in (graph, graph.get("half") or graph):
                demand(isinstance(kept["sha256"], str), "sha256")
                demand(Path(kept["file"]).name == kept["file"], f"'{kept['file']}', which is no file of this folder,")
            for of in graph["inputs"]:
                sizes = [1 if size is None else size for size in of["shape"]]
                whole = all(isinstance(size, int) and 0 < size <= MOST for size in sizes)
                demand(whole and math.prod(sizes) <= MOST, "shape")
                demand(of["kind"] != "integers" or (of["low"] < of["high"] and of["type"] in TYPES), "integers")
        for column in spec["layout"]["columns"] if spec["modality"] == "sequence" else ():
            demand(isinstance(column["name"], str) and math.isfinite(column["high"] - column["low"]), "columns")
            demand(column["decimals"] is None or isinstance(column["decimals"], int), "decimals")
            demand(isinstance(column.get("values", []), list), "values")
            demand(isinstance(column.get("spike", 0.0), int | float), "spike")
            demand(isinstance(column.get("step", 1.0), int | float) and column.get("step", 1.0) > 0, "step")
        demand(not rules_in_a_circle(spec), "rules")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} does not describe a generator ({reason}): take the folder from its source again"
        ) from error
    return spec


def read_file(path: Path, most: int) -> bytes:
    """Return what a file holds, if it is one: a pipe would keep the reader waiting.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is a pipe or a device, or has more than ``most`` bytes.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file, but a pipe or a device")
        # Python takes as much memory as a read asks for before it knows what is there.
        content = file.read(min(found.st_size, most) + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
}
"""Numbers of the fields of ONNX's messages that may hold a tensor, by kind of message (onnx.proto)."""
EXTERNAL, PLACE = 13, 14
"""Fields of a tensor whose numbers lie in another file: its name, and that they do."""


def reads_other_files(content: bytes) -> bool:
    """Whether an ONNX file has numbers of a tensor in another file, which may be any on this machine.

    Raises:
        ValueError, IndexError: if it is no ONNX file.
    """
    waiting = [("model", memoryview(content))]
    while waiting:
        kind, message = waiting.pop()
        for number, value in fields(message):
            if kind == "tensor":
                if number == EXTERNAL or (number == PLACE and value != 0):
                    return True
            elif number in PARTS[kind]:
                if isinstance(value, int):
                    raise ValueError("it is no ONNX file")
                waiting.append((PARTS[kind][number], value))
    return False


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield numbers and values of the fields of a message, as protocol buffers write it."""
    at = 0
    while at < len(message):
        tag, at = whole(message, at)
        size = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 == 0:
            value, at = whole(message, at)
            yield tag >> 3, value
            continue
        if tag & 7 == 2:
            size, at = whole(message, at)
        elif not size:
            raise ValueError("it is no ONNX file")
        if at + size > len(message):
            raise ValueError("it ends too early")
        yield tag >> 3, message[at : at + size]
        at += size


def whole(message: memoryview, at: int) -> tuple[int, int]:
    """Return the whole number that is written at a place, and the place after it."""
    value = shift = 0
    while True:
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("it is no ONNX file")


def rules_in_a_circle(spec: dict[str, Any]) -> bool:
    """Whether rules between columns name none, or bound a column by itself."""
    columns = spec["layout"]["columns"] if spec["modality"] == "sequence" else []
    above = {column["name"]: set(column.get("above", [])) for column in columns}
    while free := [name for name, bounds in above.items() if not bounds & set(above)]:
        for name in free:
            if not above.pop(name) <= {column["name"] for column in columns}:
                return True
    return bool(above)


def demand(holds: bool, what: str) -> None:
    """Refuse a description that does not keep a rule."""
    if not holds:
        raise ValueError(f"its {what} cannot be right")


class Generator:
    """An exported generator.

    Args:
        folder: with ``model.json`` and the ONNX files that it names.
        half: take the weights that are kept in 16 bits.
        threads: of the processor; 0: all cores.

    Raises:
        ValueError: if the folder is damaged.
    """

    def __init__(self, folder: str | Path, half: bool = False, threads: int = 0) -> None:
        folder = Path(folder)
        self.spec = read_description(folder / "model.json")
        self.graphs: dict[str, dict[str, Any]] = {graph["name"]: graph for graph in self.spec["graphs"]}
        self.sessions: dict[str, ort.InferenceSession] = {}
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        for name, graph in self.graphs.items():
            kept = graph["half"] if half and graph.get("half") else graph
            try:
                content = read_file(folder / kept["file"], MOST_BYTES)
            except (OSError, ValueError) as error:
                raise ValueError(f"{folder / kept['file']} cannot be read: {error}") from error
            if hashlib.sha256(content).hexdigest() != kept["sha256"]:
                raise ValueError(f"{folder / kept['file']} is damaged: its checksum does not match")
            try:
                if reads_other_files(content):
                    raise ValueError("it has numbers in another file, which no export has")
                self.sessions[name] = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime's errors have no kind in common
                raise ValueError(f"{folder / kept['file']} is no graph that can be run: {error}") from error

    def noise(self, graph: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw what a graph takes at random for ``n`` samples."""
        drawn = {}
        for of in self.graphs[graph]["inputs"]:
            shape = [n if size is None else size for size in of["shape"]]
            if of["kind"] == "normal":
                drawn[of["name"]] = rng.standard_normal(shape, dtype=np.float32)
            elif of["kind"] == "uniform":
                drawn[of["name"]] = rng.random(shape, dtype=np.float32)
            elif of["kind"] == "integers":
                drawn[of["name"]] = rng.integers(of["low"], of["high"], shape).astype(of["type"])
        return drawn

    def inputs(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw inputs z for ``n`` samples; of a generator that translates images, there are none to draw."""
        if "inputs" not in self.graphs:
            raise ValueError("this generator translates images: give it some (--images)")
        return self.run("inputs", self.noise("inputs", n, rng))

    def labels(self, n: int, rng: np.random.Generator, label: str | None = None) -> np.ndarray | None:
        """Return the class of each sample: the one asked for, else in the shares of the training data."""
        classes = self.spec["classes"]
        if not classes:
            if label is not None:
                raise ValueError(f"label '{label}' is asked for, but the generator is unconditional")
            return None
        if label is None:
            shares = np.asarray(self.spec["shares"] or [1.0] * len(classes))
            return rng.choice(len(classes), n, p=shares / shares.sum())
        if label not in classes and not (label.isdecimal() and int(label) < len(classes)):
            raise ValueError(f"there is no class '{label}'; choose from: {', '.join(classes)}")
        return np.full(n, classes.index(label) if label in classes else int(label))

    def generate(
        self,
        inputs: np.ndarray,
        labels: np.ndarray | None = None,
        noise: dict[str, np.ndarray] | None = None,
        truncation: float = 1.0,
    ) -> np.ndarray:
        """Return the samples of inputs: images in [-1, 1], vectors, or windows in [0, 1] with NaN after their ends.

        Args:
            inputs: as `inputs` draws them, or images (n, channel, height, width) in [-1, 1].
            labels: (n,) classes, for a conditional generator.
            noise: as `noise` draws it for "model"; None: drawn from seed 0.
            truncation: distance from the mean of w: 0 is the mean; of generators without w only 1 is possible.
        """
        n = len(inputs)
        ended = np.isnan(inputs).any(2) if inputs.ndim == 3 else None
        given = {"inputs": np.nan_to_num(inputs).astype(np.float32)}
        if labels is not None:
            given["labels"] = np.asarray(labels, dtype=np.int64)
        if "mapping" in self.graphs:
            given["truncation"] = np.full(n, truncation, dtype=np.float32)
            given["styles"] = self.run("mapping", given)
        elif truncation != 1.0:
            raise ValueError(f"truncation is {truncation}, but only generators with an intermediate space have one")
        samples = self.run("model", {**given, **(noise or self.noise("model", n, np.random.default_rng(0)))})
        if self.spec["modality"] == "image":
            # onnxruntime's tanh may end one unit in the last place beyond 1.
            samples = np.clip(samples, -1, 1)
        if ended is not None and ended.any():
            samples[ended] = np.nan
        return samples

    def restored(self, windows: np.ndarray) -> np.ndarray:
        """Return windows in the units of their table, (n, step, column); categories by their place among ``values``."""
        columns = self.spec["layout"]["columns"]
        found = np.empty((*windows.shape[:2], len(columns)), dtype=np.float64)
        number, group = 0, sum(not column.get("values") and not column.get("static") for column in columns)
        for place, column in enumerate(columns):
            values = column.get("values")
            if values:
                hot = windows[..., group : group + len(values)]
                found[..., place] = np.where(np.isnan(hot).any(-1), np.nan, np.nan_to_num(hot).argmax(-1))
                group += len(values)
                continue
            at, number, group = (group, number, group + 1) if column.get("static") else (number, number + 1, group)
            found[..., place] = scaled_back(windows[..., at].astype(np.float64), column)
            if column.get("spike") is not None:
                often = windows[..., group] > windows[..., group + 1]
                other = beside(found[..., place], windows[..., at], column)
                found[..., place] = np.where(np.isnan(other) | ~often, other, column["spike"])
                group += 2
        names = [column["name"] for column in columns]
        waiting = [place for place, column in enumerate(columns) if column.get("above")]
        while waiting:
            # A column that is above others by rule holds the difference to the largest of them.
            bounds = {place: [names.index(name) for name in columns[place]["above"]] for place in waiting}
            place = next(place for place in waiting if not set(bounds[place]) & set(waiting))
            base, decimals = found[..., bounds[place]].max(-1), columns[place]["decimals"]
            value = np.clip(base + found[..., place], *columns[place]["range"])
            if decimals is not None:
                value = np.round(value, decimals)
                value = np.where(value < base, np.ceil(base * 10.0**decimals) / 10.0**decimals, value)
            found[..., place] = value
            waiting.remove(place)
        return found

    def run(self, graph: str, given: dict[str, np.ndarray]) -> np.ndarray:
        """Return what one of the graphs makes of tensors by their names."""
        session = self.sessions[graph]
        wanted = [node.name for node in session.get_inputs()]
        try:
            return session.run(None, {name: given[name] for name in wanted})[0]
        except Exception as error:  # onnxruntime's errors have no kind in common
            raise ValueError(f"the graph '{graph}' cannot be run on these inputs: {error}") from error


def scaled_back(values: np.ndarray, column: dict[str, Any]) -> np.ndarray:
    """Return values of [0, 1] in the units of their column, rounded to its decimals."""
    low, high, decimals = column["low"], column["high"], column["decimals"]
    if low == high:
        return np.where(np.isnan(values), np.nan, low)
    restored = values * (high - low) + low
    if column.get("step"):
        restored = low + np.rint((restored - low) / column["step"]) * column["step"]
        decimals = MOST_DECIMALS if decimals is None else decimals
    return restored if decimals is None else np.round(restored, decimals)


def beside(restored: np.ndarray, values: np.ndarray, column: dict[str, Any]) -> np.ndarray:
    """Return values that are not the frequent one: what was rounded to it takes the nearest other value."""
    spike, low, high, decimals = column["spike"], column["low"], column["high"], column["decimals"]
    if decimals is None and not column.get("step"):
        return restored
    decimals = MOST_DECIMALS if decimals is None else decimals
    unit, exact = column.get("step") or 10.0**-decimals, values.astype(np.float64) * (high - low) + low
    up = (exact >= spike) & (spike + unit <= high) | (spike - unit < low)
    return np.where(
        np.abs(restored - spike) < unit / 2, np.round(np.where(up, spike + unit, spike - unit), decimals), restored
    )


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Return images of [-1, 1] as bytes."""
    return np.clip(np.round(127.5 * (images.astype(np.float64) + 1)), 0, 255).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    """Return a picture (channel, height, width) of bytes as a PNG file."""
    channels, height, width = image.shape
    rows = image.transpose(1, 2, 0).reshape(height, width * channels)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    packed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def grid(images: np.ndarray) -> np.ndarray:
    """Return pictures (n, channel, height, width) of bytes as one sheet: enlarged by a whole number, with gaps."""
    n, channels, height, width = images.shape
    columns = max(1, round(math.sqrt(n * height / width)))
    rows = -(-n // columns)
    scale = max(1, round(TILE / max(height, width)))
    images = images.repeat(scale, 2).repeat(scale, 3)
    high, wide = images.shape[2] + GAP, images.shape[3] + GAP
    sheet = np.full((channels, rows * high + GAP, columns * wide + GAP), GROUND, np.uint8)
    sheet[3:] = 255  # the ground is no part of any picture: it can't be seen through
    for place, image in enumerate(images):
        top, left = GAP + place // columns * high, GAP + place % columns * wide
        sheet[:, top : top + high - GAP, left : left + wide - GAP] = image
    return sheet


def write(path: Path, generator: Generator, samples: np.ndarray, labels: np.ndarray | None) -> None:
    """Write samples: a PNG sheet or a folder of PNGs, an .npz of arrays, or of series a CSV in the units of the data.

    Raises:
        ValueError: on a name that says none of these, or a folder that holds something.
    """
    kind, modality = path.suffix.lower(), generator.spec["modality"]
    if modality == "image" and not kind:
        write_files(path, to_bytes(samples))
    elif modality == "image" and kind == ".png":
        path.write_bytes(png(grid(to_bytes(samples))))
    elif kind == ".npz":
        x = generator.restored(samples) if modality == "sequence" else samples
        if labels is None:
            np.savez_compressed(path, x=x)
        else:
            np.savez_compressed(path, x=x, labels=labels)
    elif modality == "sequence" and kind == ".csv":
        write_table(path, generator, samples, labels)
    else:
        raise ValueError(
            f"'{path}' should end in .npz, or .png for images, or .csv for series; of images it may be a folder"
        )


def write_files(folder: Path, images: np.ndarray) -> None:
    """Write pictures of bytes as a file each, ``000000.png`` and so on, of their own size."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"'{folder}' exists and is not an empty folder; name another, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (folder / f"{number:06d}.png").write_bytes(png(image))


def harmless(text: object) -> object:
    """Return a text with an apostrophe before it where a spreadsheet would take it for a formula."""
    if not isinstance(text, str) or re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return text
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_table(path: Path, generator: Generator, windows: np.ndarray, labels: np.ndarray | None) -> None:
    """Write windows of series as a CSV in the units of the data, a row a step."""
    layout, classes = generator.spec["layout"], generator.spec["classes"]
    label = [] if labels is None else [layout.get("label") or layout.get("group") or "label"]
    named = [column.get("values") for column in layout["columns"]]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["window", *(harmless(column["name"]) for column in layout["columns"]), *map(harmless, label)])
        for number, window in enumerate(generator.restored(windows)):
            asked = [] if labels is None else [harmless(classes[int(labels[number])])]
            for row in window[~np.isnan(window).any(1)]:
                pairs = zip(row, named, strict=True)
                cells = [harmless(words[int(x)]) if words else f"{x:.15g}" for x, words in pairs]
                table.writerow([number, *cells, *asked])


def printable(text: str) -> str:
    """Return a text on one line, with what would act on a terminal as its escapes; names come from elsewhere."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Draw samples of the generator in this folder.")
    parser.add_argument("-n", type=int, default=16, help="samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", help="name or index of a class; default: in the shares of the training data")
    parser.add_argument("--truncation", type=float, default=1.0, help="for generators with w: 0 is the mean")
    parser.add_argument("--images", type=Path, help=".npy of images to translate: bytes, (n, channel, height, width)")
    parser.add_argument("--half", action="store_true", help="take the weights that are kept in 16 bits")
    parser.add_argument(
        "--out", type=Path, default=Path("samples.npz"), help=".png, .npz, .csv, or a folder for a PNG each"
    )
    words = parser.parse_args()
    try:
        if words.n < 1:
            raise ValueError(f"-n is {words.n}, but at least one sample must be asked for")
        generator, rng = Generator(Path(__file__).parent, words.half), np.random.default_rng(words.seed)
        if words.images is not None:
            given = np.load(words.images, allow_pickle=False)
            if not isinstance(given, np.ndarray):
                raise ValueError(f"'{words.images}' holds several arrays; give an .npy of images")
            inputs = given.astype(np.float32) / 127.5 - 1
        else:
            inputs = generator.inputs(words.n, rng)
        labels = generator.labels(len(inputs), rng, words.label)
        noise = generator.noise("model", len(inputs), rng)
        write(words.out, generator, generator.generate(inputs, labels, noise, words.truncation), labels)
    except (ValueError, OSError, KeyError, EOFError) as error:
        sys.exit(f"error: {printable(str(error))}")
    sys.stdout.write(f"{printable(str(words.out))}\n")


if __name__ == "__main__":
    main()
