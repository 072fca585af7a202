"""What is known of named data sets before they are read: one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from saddlepoint.data.options import Options
from saddlepoint.data.series import simulated, sines
from saddlepoint.data.sources import wheel

_FASHION_SHA256 = {
    "train": "0a8ba65008484d4904cd260c7f0385a17a7468ab1df51c36368300fa206ac2c8",
    "valid": "36c6e3dcb65f0d5f66123bdf3a6fa7839bb1198f24efa344724200bc92c0bbf0",
    "test": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
}


@dataclass(frozen=True)
class Known:
    """What is known of a named data set before it is read.

    Attributes:
        description: one line.
        rows: train, valid and test rows.
        shape: shape of one row as prepared by default.
        licence: licence or terms.
        folders: names of its folder in ``SADDLEPOINT_DATA_DIR``.
        repository: its id on the hub, or None.
        valid_tail: how many of the last training rows are the valid split; None: by content.
        published: SHA-256 of the uint8 pixels of each split.
        file: name of its CSV in ``SADDLEPOINT_DATA_DIR`` or in the folder ``series`` there.
        series: whether it holds series.
    """

    description: str
    rows: tuple[int, int, int]
    shape: tuple[int, ...]
    licence: str
    folders: tuple[str, ...] = ()
    repository: str | None = None
    valid_tail: int | None = None
    published: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    series: bool = False

    def as_default(self, options: Options) -> Options:
        """Return options without those that repeat the data's own (square) shape."""
        own = {"size": self.shape[:0:-1], "channels": self.shape[0], "fit": "crop"}
        return replace(options, **{key: getattr(Options(), key) for key in own if getattr(options, key) == own[key]})


KNOWN: Mapping[str, Known] = {
    "mnist": Known(
        "handwritten digits 0-9 (LeCun, Cortes, Burges)", (50_000, 10_000, 10_000), (1, 28, 28), "CC BY-SA 3.0",
        ("mnist",), "ylecun/mnist", 10_000, {split: digests[0] for split, digests in wheel.ARRAYS_SHA256.items()},
    ),
    "fashion-mnist": Known(
        "grey photographs of ten kinds of clothing (Zalando Research)",
        (50_000, 10_000, 10_000), (1, 28, 28), "MIT", ("fashion_mnist", "fashion-mnist"),
        "zalando-datasets/fashion_mnist", 10_000, _FASHION_SHA256,
    ),
    "cifar10": Known(
        "colour photographs of ten kinds of things (Krizhevsky 2009)",
        (40_000, 10_000, 10_000), (3, 32, 32), "no licence stated; cite Krizhevsky 2009", ("cifar10",),
        "uoft-cs/cifar10", 10_000,
    ),
    "cifar10-jpeg": Known(
        "a lossy JPEG copy of CIFAR-10; figures on it are not CIFAR-10 figures",
        (40_000, 10_000, 10_000), (3, 32, 32), "no licence stated; cite Krizhevsky 2009",
        ("cifar10_jpeg", "cifar10-jpeg"), None, 10_000,
    ),
    "stacked-mnist": Known(
        "three digits of MNIST in the channels of one picture: 1,000 modes (Metz et al. 2017)",
        (60_000, 5_000, 26_000), (3, 28, 28), "CC BY-SA 3.0",
    ),
    "mnist-domains": Known(
        "digits of MNIST in three inks, two strokes, on black or white; translations between them are known",
        (50_000, 10_000, 10_000), (3, 28, 28), "CC BY-SA 3.0",
    ),
    "mnist-colours": Known(
        "digits of MNIST in three inks, which are the domains; strokes and ground vary within them",
        (50_000, 10_000, 10_000), (3, 28, 28), "CC BY-SA 3.0",
    ),
    "fashion-colours": Known(
        "clothes of Fashion-MNIST in four colours; translations between them are known",
        (50_000, 10_000, 10_000), (3, 28, 28), "MIT",
    ),
    "att-faces": Known(
        "400 grey portraits of 40 people, 92x112 (AT&T Laboratories Cambridge)",
        (320, 40, 40), (1, 64, 64), "credit to AT&T Laboratories Cambridge required", ("att_faces", "att-faces"),
    ),
    "tfd": Known(
        "grey faces 48x48, unlabeled, fold 0 (Toronto Face Database, Susskind et al. 2010)",
        (98_058, 418, 835), (1, 48, 48), "on request from its author", ("tfd", "TFD"),
    ),
    "digits": Known(
        "handwritten digits 0-9, 8x8; comes with scikit-learn, needs no network",
        (1444, 177, 176), (1, 8, 8), "CC BY 4.0 (UCI)",
    ),
    "ring8": Known("eight Gaussians on the unit circle, sigma 0.01", (100_000, 10_000, 10_000), (2,), "none needed"),
    "grid25": Known("twenty-five Gaussians on a grid, sigma 0.05", (100_000, 10_000, 10_000), (2,), "none needed"),
    "gaussian1d": Known("one Gaussian N(4, 1.25^2)", (100_000, 10_000, 10_000), (1,), "none needed"),
    "sines": Known(
        "five independent sines of slow frequencies, as TimeGAN's released code draws them",
        sines.ROWS, (24, 5), "none needed", series=True,
    ),
    "stocks": Known(
        "daily prices and volume of one share, windows of 24 days, split by time (TimeGAN's google_stock.csv)",
        (2926, 345, 345), (24, 6), "no licence stated", file="google_stock.csv",
        series=True,
    ),
    "stocks-2019": Known(
        "the same as TimeGAN's released code takes it: upside down, nothing held out",
        (3661, 3661, 3661), (24, 6), "no licence stated", file="google_stock.csv",
        series=True,
    ),
    "etth1": Known(
        "hourly load and oil temperature of a power transformer, windows of 24 hours, split by time (ETDataset)",
        (13_913, 1719, 1719), (24, 7), "CC BY-ND 4.0", file="etth1.csv",
        series=True,
    ),
    "sines-paper": Known(
        "five independent sines, as the TimeGAN paper describes them",
        sines.ROWS, (24, 5), "none needed", series=True,
    ),
    **{
        name: Known(
            process.summary, (simulated.rows_of(simulated.WINDOW),) * 3, (simulated.WINDOW, len(process.columns)),
            "none needed", series=True,
        )
        for name, process in simulated.PROCESSES.items()
    },
    "seattle-weather": Known(
        "rain, temperatures, wind and weather of Seattle by the day, 2012 to 2015 (NOAA)", (1146, 123, 123), (24, 13),
        "public domain", series=True,
    ),
    "seattle-temps": Known(
        "normal temperatures of Seattle by the hour (NOAA)", (6984, 853, 853), (24, 3), "public domain", series=True,
    ),
    "sf-temps": Known(
        "normal temperatures of San Francisco by the hour (NOAA)", (6984, 853, 853), (24, 3), "public domain",
        series=True,
    ),
    "us-employment": Known(
        "employees of 22 trades of the United States by the month, 2006 to 2015 (BLS)", (49, 1, 1), (24, 24),
        "public domain", series=True,
    ),
    "co2": Known(
        "carbon dioxide at Mauna Loa by the week, 1958 to 2001 (Keeling and Whorf 2004)", (1805, 205, 205), (24, 2),
        "public domain", series=True,
    ),
}  # fmt: skip
