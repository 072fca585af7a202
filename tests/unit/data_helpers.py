"""Small generated data sets in the layouts that users have."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def pictures(n: int, size: int = 16, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Return uint8 (n, size, size[, 3]) smooth random pictures, all different."""
    rng = np.random.default_rng(seed)
    shape = (n, 4, 4) if channels == 1 else (n, 4, 4, channels)
    coarse = rng.integers(0, 256, size=shape, dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse])


def png(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """Encode pixels as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write_folder(root: Path, images: Sequence[np.ndarray], classes: Sequence[str] | None = None) -> Path:
    """Write a folder of PNG files, one subfolder for each class."""
    for i, pixels in enumerate(images):
        folder = root / classes[i] if classes else root
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:04d}.png").write_bytes(png(pixels))
    return root


def write_parquet(
    path: Path,
    images: Sequence[np.ndarray],
    labels: Sequence[int],
    names: Sequence[str] | None,
    column: str = "image",
    kind: str = "PNG",
) -> Path:
    """Write a parquet file as the hub has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": png(x, kind), "path": f"{i}.png"} for i, x in enumerate(images)]
    table = pa.table({column: cells, "label": pa.array(labels, pa.int64())})
    if names is not None:
        features = {column: {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        info = {"info": {"features": features}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def write_named(root: Path, folder: str, train: int = 60, test: int = 12, size: int = 28, **options: Any) -> Path:
    """Write a small stand-in of a named data set into a data folder."""
    digits = [str(i) for i in range(10)]
    channels = options.pop("channels", 1)
    for split, n, seed in (("train", train, 1), ("test", test, 2)):
        write_parquet(
            root / folder / f"{split}-00000-of-00001.parquet",
            pictures(n, size, channels, seed),
            [i % 10 for i in range(n)],
            digits,
            **options,
        )
    return root / folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a cache of its own, no data folder, and no hub."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(folder))
    monkeypatch.delenv("SADDLEPOINT_DATA_DIR", raising=False)
    monkeypatch.setattr("saddlepoint.data.sources.hub.unreachable", lambda timeout=0.0: "no network in tests")
    monkeypatch.setattr("saddlepoint.data.sources.hub.offline", lambda: False)
    return folder
