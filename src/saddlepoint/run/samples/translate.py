"""Folders of pictures translated by a run: names, sizes and transparency stay, nothing is lost or written over."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.files import write_atomically
from saddlepoint.core.logs import logged
from saddlepoint.core.quoting import for_file_names, for_shell, shortened
from saddlepoint.core.types import from_bytes, to_bytes
from saddlepoint.data import limits
from saddlepoint.data.images.decode import (
    Look,
    decode,
    open_picture,
    orientation_of,
    strict_pillow,
    upright,
)
from saddlepoint.data.images.opening import Unreadable
from saddlepoint.data.images.shape import Colour, grounded, place_within, shape_to
from saddlepoint.data.inputs import look_of
from saddlepoint.data.options import preparation_of
from saddlepoint.data.sources.folder import picture_bytes, walk
from saddlepoint.family.capabilities import Translator
from saddlepoint.run.run import Run

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG",
    ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF",
}  # fmt: skip
"""Kinds of files that can be read and written again, by their ending."""

_OPAQUE = ("JPEG", "BMP")
"""Kinds that hold no transparency."""

_PROFILED = {"RGB": ("RGB", "RGBA"), "L": ("L", "LA")}
"""Modes of a file whose colour profile holds for a picture decoded to the key."""

LONGEST = 8
"""Long side over short side; pictures that are longer are squeezed to it."""


@dataclass(frozen=True)
class Translated:
    """What became of a folder.

    Attributes:
        written: files that were written.
        refused: (name, reason) of every translation that is missing; once for a file that cannot be read.
    """

    written: tuple[Path, ...]
    refused: tuple[tuple[str, str], ...]


@logged
def translate_folder(
    run: Run, folder: str | Path, targets: Sequence[str], out: str | Path, *, overwrite: bool = False,
    reference: Path | None = None, seed: int = 0, say: Callable[[str], None] = lambda line: None,
) -> Translated:  # fmt: skip
    """Translate every picture below a folder, or one; what cannot be read is named and left out, the rest is done.

    A picture is resized to the short side of training (padded where that padded), translated, and resized back.

    Args:
        run: with a generator that transforms images.
        folder: pictures, in subfolders or not; or a single picture.
        targets: domains as `Run.target` reads them. With several, each gets a subfolder of ``out`` with its name,
            where `for_file_name` leaves a dash for what no name of a file should hold.
        out: where to; made if it is not there. Of a single picture and a single target it may be a file, which ends as
            the kinds of pictures do and may be of another kind than the picture.
        overwrite: replace files that are there, but none of the pictures themselves.
        reference: a picture whose style the translations take, for a family that can; None: the style of the seed.
        seed: of the style, where a domain has several; the same for all pictures.
        say: hears of every refused file, and of pictures left out because they lie below ``out``.

    Raises:
        ConfigError: if the generator transforms no images, there is no such domain, ``out`` is the pictures' folder, or
            one file for several translations.
        DataError: if the folder is empty, or it or the reference cannot be read.
    """
    source, out = Path(folder).expanduser(), Path(out).expanduser()
    root = source.parent if (single := source.is_file()) else source
    _check(run, root, targets, out, single)
    domains = list(dict.fromkeys(targets))
    labels = {own: run.target(names) for own, names in zip(for_file_names(domains), domains, strict=True)}
    style = None if reference is None else run.read_pictures([(reference.name, _bytes(reference))])
    written, refused = list[Path](), list[tuple[str, str]]()

    def refuse(name: str, problem: object) -> None:
        refused.append((name, str(problem)))
        say(f"refused: {name}: {problem}")

    files, notes = ([source], []) if single else _files(root, out, say)
    for note in notes:
        refuse(root.name, note)
    originals = {path.resolve() for path in files}
    look = replace(look_of(run.config["data"]), depth=8, alpha=False)
    for path in files:
        name = path.relative_to(root)
        try:
            picture = _read(path, look)
        except (Unreadable, DataError, OSError) as problem:
            refuse(name.as_posix(), problem)
            continue
        for own, label in labels.items():
            place = _place(out, own if len(labels) > 1 else "", name)
            try:
                _check_place(place, originals, overwrite)
                _write(place, picture.written_as(place).translated(run, label, style, seed))
                written.append(place)
            except (Unreadable, OSError) as problem:
                refuse(name.as_posix(), problem)
    return Translated(tuple(written), tuple(refused))


def _place(out: Path, domain: str, name: Path) -> Path:
    """Return where a translation goes; a domain of several has a folder."""
    return out if _names_a_file(out) else out / domain / name


def _names_a_file(out: Path) -> bool:
    """Say whether a place is a picture's name, and no folder of such a name is there."""
    return out.suffix.lower() in FORMATS and not out.is_dir()


def _files(root: Path, out: Path, say: Callable[[str], None]) -> tuple[list[Path], list[str]]:
    """Return the files below a folder, and what cannot be looked into; results of an earlier call are left out."""
    found, notes = walk(root)
    if not found and not notes:
        raise DataError(f"'{root}' holds no files; name a folder with pictures")
    if not out.resolve().is_relative_to(root.resolve()):
        return found, notes
    files = [path for path in found if not path.resolve().is_relative_to(out.resolve())]
    if len(found) > len(files):
        say(f"left out: {len(found) - len(files)} files below {out}, where the translations go")
    return files, notes


def _check(run: Run, folder: Path, targets: Sequence[str], out: Path, single: bool) -> None:
    if run.family.tags.input != "image":
        raise ConfigError(f"'{run.path.name}' makes images from noise; only families of translation take pictures")
    if not folder.is_dir():
        raise DataError(f"'{folder}' is neither a picture nor a folder of them; name one that is there")
    if not targets:
        raise ConfigError(f"no domain was named; choose of: {shortened(run.family.data.classes, 40)}")
    if out.resolve() == folder.resolve():
        raise ConfigError(
            f"'{out}' is the folder of the pictures themselves; choose another --out, so that none is lost"
        )
    if _names_a_file(out) and not (single and len(targets) == 1):
        many = f"{len(targets)} domains" if single else "a folder of pictures"
        raise ConfigError(f"'{out}' names one file, but {many} make several; give a folder as --out")


def _check_place(place: Path, originals: Collection[Path], overwrite: bool) -> None:
    if place.resolve() in originals:
        raise Unreadable(f"{place} is one of the pictures themselves; choose another --out")
    if place.exists() and not overwrite:
        raise Unreadable(f"{place} is there already; --overwrite replaces it")


def _bytes(path: Path) -> bytes:
    try:
        return picture_bytes(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


@dataclass(frozen=True)
class _Picture:
    """A picture with what must come back: its size, transparency, kind of file, colour profile.

    Attributes:
        image: as it looks on the ground.
        layered: the same, RGBA.
    """

    image: Image.Image
    layered: Image.Image
    alpha: Image.Image | None
    kind: str
    profile: bytes | None

    def written_as(self, place: Path) -> _Picture:
        """Return this picture, to be written as the kind that a name ends in.

        Raises:
            Unreadable: if that kind cannot hold its transparency.
        """
        kind = FORMATS[place.suffix.lower()]
        if kind == self.kind:
            return self
        if kind in _OPAQUE and self.alpha is not None and (np.asarray(self.alpha) < 255).any():
            raise Unreadable(
                f"its transparency would be lost in a {kind}; give {for_shell('--out', f'{place.stem}.png')}"
            )
        return replace(self, kind=kind, alpha=None if kind in _OPAQUE else self.alpha)

    def translated(self, run: Run, label: Tensor, style: Tensor | None, seed: int) -> bytes:
        """Return the bytes of the translated picture's file."""
        channels, height, width = run.family.data.shape
        given = self.layered if channels == 4 else self.image.convert("L" if channels == 1 else "RGB")
        ground = look_of(run.config["data"]).ground
        if preparation_of(run.config["data"]).get("fit") == "pad":
            pixels = shape_to(given, (width, height), channels, "pad", ground)
            box = place_within(given.size, (width, height))
        else:
            pixels, box = _whole(
                given, min(height, width), run.family.stride if isinstance(run.family, Translator) else 1, ground
            )
        x = from_bytes(torch.from_numpy(pixels)[None])
        y = run.generate(x, label, seed=seed) if style is None else run.guided(x, style, label)
        found = to_bytes(y)[0].numpy().transpose(1, 2, 0)
        made = Image.fromarray(found[..., 0] if channels == 1 else found).crop(box)
        if made.size != self.image.size:
            made = made.resize(self.image.size, Image.Resampling.LANCZOS)
        if channels == 4:
            made = made.convert("RGB") if self.kind in _OPAQUE else made
        elif self.alpha is not None:
            made = made.convert("LA" if channels == 1 and self.kind == "PNG" else "RGBA")
            made.putalpha(self.alpha)
        buffer = io.BytesIO()
        options: dict[str, Any] = {"quality": 95} if self.kind in ("JPEG", "WEBP") else {}
        if self.profile is not None and made.mode in _PROFILED[given.mode] and given.mode == self.image.mode:
            options["icc_profile"] = self.profile
        made.save(buffer, self.kind, **options)
        return buffer.getvalue()


def _whole(image: Image.Image, side: int, stride: int, ground: Colour) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Resize a picture until its short side is ``side``: uint8 (channel, height, width), and its place in that.

    Generators of translation are convolutions, so the long side can be any. It is continued, mirrored, to multiples of
    ``stride``.
    """
    width, height = (min(round(side * length / min(image.size)), LONGEST * side) for length in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.array(image).reshape(height, width, -1)
    pixels = (grounded(pixels, ground) if pixels.shape[2] == 4 else pixels).transpose(2, 0, 1)
    pixels = np.pad(pixels, ((0, 0), (0, -height % stride), (0, -width % stride)), "symmetric")
    return np.ascontiguousarray(pixels), (0, 0, width, height)


def _read(path: Path, look: Look) -> _Picture:
    """Open a picture whose kind can be written again, decoded as the pictures of the training were.

    Raises:
        Unreadable: if it is none, is of another kind than its name says, holds several frames, is damaged, or has
            transparency that its kind cannot hold when written again.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise Unreadable(f"not a picture that can be written again ({', '.join(FORMATS)})")
    with strict_pillow():
        payload = picture_bytes(path)
        if not payload and path.stat().st_size:
            raise Unreadable(f"it has more than {limits.MOST_MEMBER:,} bytes, the most that a picture may have")
        opened = open_picture(payload, path.name)
        # A camera's JPEG with a preview beside it is an MPO; with one frame it is a JPEG.
        if opened.format not in (kind, "MPO" if kind == "JPEG" else kind):
            raise Unreadable(f"it is {opened.format}, not {kind} as its name says; rename it")
        if _frames(opened) > 1:
            raise Unreadable("it holds several frames")
        profile = opened.info.get("icc_profile")
        image = decode(opened, Counter(), look)
        layered = decode(open_picture(payload, path.name), Counter(), replace(look, alpha=True))
        assert isinstance(image, Image.Image)
        assert isinstance(layered, Image.Image)
        alpha = _transparency(opened)
        if kind in _OPAQUE and alpha is not None and (np.asarray(alpha) < 255).any():
            raise Unreadable(f"its transparency would be lost in a {kind}; save it as PNG")
        alpha = None if kind in _OPAQUE else alpha
        # A profile of inks or of grey says nothing about the colours of what `decode` made of them.
        profile = profile if opened.mode in _PROFILED.get(image.mode, ()) else None
    return _Picture(image, layered.convert("RGBA"), alpha, kind, profile)


def _frames(opened: Image.Image) -> int:
    """Return how many pictures a file holds; for some kinds it is read to its end."""
    try:
        return getattr(opened, "n_frames", 1)
    except Exception as error:  # Pillow raises whatever it stumbles over
        raise Unreadable(f"damaged ({error})") from error


def _transparency(opened: Image.Image) -> Image.Image | None:
    """Return the transparency of a loaded picture, turned upright as `decode` turns the picture."""
    if not opened.has_transparency_data:
        return None
    return upright(opened.convert("RGBA").getchannel("A"), orientation_of(opened))


def _write(place: Path, data: bytes) -> None:
    make_folder(place.parent)
    write_atomically(place, data)
