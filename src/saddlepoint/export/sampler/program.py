"""The command of an exported folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from .files import write
from .generator import Generator
from .runtimes import PRECISIONS, RUNTIMES


def printable(text: str) -> str:
    """Return a text on one line, with what would act on a terminal as its escapes; names come from elsewhere."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check(generator: Generator) -> None:
    """Say how far each graph is from PyTorch.

    Raises:
        ValueError: if one is further than the folder says is right.
    """
    parity, far = generator.spec["parity"], []
    most = max(parity["tolerance"], 2 * parity.get("from_64_bits", 0.0))
    for name, distance in generator.distances().items():
        sys.stdout.write(f"{printable(name)}: {distance:.1e} from PyTorch in {generator.runtime}\n")
        far += [] if distance < most else [f"'{printable(name)}' {distance:.2g}"]
    if far:
        raise ValueError(f"away from PyTorch's: {', '.join(far)}, but it must be within {most:.1g}")


def main(folder: Path) -> None:
    """Run the command on the generator in a folder."""
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
    parser.add_argument("--runtime", choices=RUNTIMES, help="what computes; default: what the folder was exported for")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: 32 bits, or what the export found harmless")
    parser.add_argument("--check", action="store_true", help="only compare with what PyTorch made of check.npz")
    parser.add_argument("--model", type=Path, help="another file in the place of model.onnx, as a converter made it")
    words = parser.parse_args()
    try:
        if words.n < 1:
            raise ValueError(f"-n is {words.n}, but at least one sample must be asked for")
        generator = Generator(folder, words.half, 0, words.runtime, words.precision, words.model)
        if words.check:
            check(generator)
            return
        rng = np.random.default_rng(words.seed)
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
