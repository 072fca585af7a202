"""Simulated data sets against the closed forms of their processes, and tables that come out of wheels."""

from __future__ import annotations

import hashlib
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from saddlepoint.core.errors import DataError
from saddlepoint.data import load_dataset
from saddlepoint.data.series import simulated
from saddlepoint.data.series.simulated import PROCESSES, ar2_coefficients, factor_loadings, lorenz_flow
from saddlepoint.data.sources import wheel, wheel_tables


def _drawn(name: str, n: int, steps: int) -> np.ndarray:
    return PROCESSES[name].draw(n, steps, np.random.default_rng(7))


def _lagged(x: np.ndarray, lag: int) -> np.ndarray:
    """Correlation of values a lag apart, over windows and steps, of each feature."""
    a, b = (part - x.mean((0, 1)) for part in (x[:, : x.shape[1] - lag], x[:, lag:]))
    return (a * b).mean((0, 1)) / x.var((0, 1))


def test_ar2_has_the_variance_and_correlations_of_yule_and_walker_from_its_first_step_on() -> None:
    x = _drawn("ar2", 20_000, 10)
    for place, period in enumerate(simulated.AR2_PERIODS):
        first, second = ar2_coefficients(period)
        one = first / (1 - second)
        variance = (1 - second) / ((1 + second) * ((1 - second) ** 2 - first**2))
        assert x[:, 0, place].var() == pytest.approx(variance, rel=0.04)
        assert x[:, -1, place].var() == pytest.approx(variance, rel=0.04)
        assert _lagged(x, 1)[place] == pytest.approx(one, abs=0.01)
        assert _lagged(x, 2)[place] == pytest.approx(first * one + second, abs=0.02)


def test_garch_has_its_variance_kurtosis_and_autocorrelation_of_squares() -> None:
    x = _drawn("garch", 30_000, 6)
    a, b = simulated.GARCH_ALPHA, simulated.GARCH_BETA
    squares = x**2
    assert x.var((0, 1)) == pytest.approx(simulated.GARCH_OMEGA / (1 - a - b), rel=0.05)
    # Bollerslev 1986, section 3; 1988, equation 6.
    kurtosis = 3 * (1 - (a + b) ** 2) / (1 - (a + b) ** 2 - 2 * a**2)
    assert (squares**2).mean((0, 1)) / squares.mean((0, 1)) ** 2 == pytest.approx(kurtosis, rel=0.15)
    assert _lagged(squares, 1) == pytest.approx(a * (1 - a * b - b**2) / (1 - 2 * a * b - b**2), abs=0.06)
    assert np.abs(_lagged(x, 1)).max() < 0.02
    assert np.corrcoef(x.reshape(-1, 2).T)[0, 1] == pytest.approx(simulated.GARCH_CORRELATION, abs=0.02)


def test_heston_has_a_price_without_drift_and_the_variance_of_cox_ingersoll_and_ross() -> None:
    x = _drawn("heston", 20_000, 64)
    price, variance = x[..., 0], x[..., 1]
    kappa, theta, xi = simulated.HESTON_KAPPA, simulated.HESTON_THETA, simulated.HESTON_XI
    assert (price[:, 0] == 100).all()
    assert price[:, -1].mean() == pytest.approx(100, abs=4 * price[:, -1].std() / math.sqrt(len(price)))
    assert variance[:, [0, -1]].mean(0) == pytest.approx(theta, rel=0.02)
    assert variance[:, [0, -1]].var(0) == pytest.approx(theta * xi**2 / (2 * kappa), rel=0.08)
    ahead = np.corrcoef(variance[:, 0], variance[:, -1])[0, 1]
    assert ahead == pytest.approx(math.exp(-kappa * 63 * simulated.DAY), abs=0.02)
    returns = np.log(price[:, -1] / 100)
    assert returns.var() == pytest.approx(theta * 63 * simulated.DAY, rel=0.06)
    assert np.corrcoef(np.diff(np.log(price))[:, 0], np.diff(variance)[:, 0])[0, 1] < -0.6


def test_lorenz_follows_its_equations_and_is_on_both_wings_alike() -> None:
    x = _drawn("lorenz", 500, 5)
    # Half the step has a sixteenth of the error: the difference is the error of the larger step.
    moved = lorenz_flow(x[:, 0].T, simulated.LORENZ_SUBSTEPS).T
    assert np.array_equal(moved, x[:, 1])
    h = 1e-6
    slope = (lorenz_flow(x[:, 0].T, 1).T - x[:, 0]) / simulated.LORENZ_STEP
    a, b, c = x[:, 0].T
    exact = np.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], 1)
    assert np.abs(slope - exact).mean() < 0.2 * np.abs(exact).mean() + h
    assert abs((x[:, 0, 0] > 0).mean() - 0.5) < 0.1
    assert 20 < x[..., 2].mean() < 27


DRAWN = {
    "ar2": (-1.865284, -5.700419), "garch": (0.1252585, -0.6761673), "heston": (99.01387, 0.01894727),
    "lorenz": (6.719832, 0.8227182, 31.68958), "factors": (0.7525229, -0.2527051, 0.2253426),
}  # fmt: skip
"""The first values of the last row of three windows of four steps: figures rest on these draws."""


@pytest.mark.parametrize("name", PROCESSES)
def test_a_seed_gives_the_windows_that_it_ever_gave(name: str) -> None:
    assert _drawn(name, 3, 4)[-1, -1][:3] == pytest.approx(DRAWN[name], rel=1e-5)


def test_a_step_of_lorenz_is_of_order_four() -> None:
    """Its error beside an integrator of order 8 falls with the fifth power of the step."""
    start, errors = _drawn("lorenz", 50, 2)[:, 0], []

    def slope(_: float, s: np.ndarray) -> list[float]:
        return [10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]]

    for h in (0.02, 0.01):
        gaps = []
        for own in start:
            exact = solve_ivp(slope, (0, h), own, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(simulated, "LORENZ_STEP", h)
                gaps.append(np.abs(lorenz_flow(own[:, None], 1)[:, 0] - exact).max())
        errors.append(np.mean(gaps))
    assert errors[0] / errors[1] == pytest.approx(32, rel=0.25)


def test_factors_have_the_covariance_of_their_loadings() -> None:
    x = _drawn("factors", 30_000, 3)
    wanted = factor_loadings() @ factor_loadings().T + 0.09 * np.eye(28)
    for step in (0, 2):
        found = np.cov(x[:, step].T)
        assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("name", "window", "rows"), [("ar2", 24, 10_000), ("garch", 64, 7_500), ("factors", 256, 1875)]
)
def test_lengths_can_be_asked_for_and_draws_are_the_same_every_time(name: str, window: int, rows: int) -> None:
    dataset = load_dataset(name, window=window)
    train = dataset.splits["train"].x
    assert train.shape == (rows, window, len(PROCESSES[name].columns))
    assert (train.min((0, 1)) == 0).all()
    assert (train.max((0, 1)) == 1).all()
    assert dataset.fingerprint == load_dataset(name, window=window).fingerprint
    assert not np.array_equal(train, dataset.splits["test"].x)


def test_windows_come_back_in_the_units_of_the_process() -> None:
    dataset = load_dataset("ar2")
    assert dataset.layout is not None
    again = dataset.layout.restore(dataset.splits["train"].x)
    assert again.var() == pytest.approx(_drawn("ar2", 5_000, 24).var(), rel=0.05)


@pytest.mark.parametrize("name", ["sines", "heston"])
def test_a_wrong_length_and_options_of_tables_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="--window is 2"):
        load_dataset(name, window=2)
    with pytest.raises(DataError, match="--calendar"):
        load_dataset(name, calendar="off")
    with pytest.raises(DataError, match="--size"):
        load_dataset(name, size=32)


def test_sines_are_as_they_were_and_longer_ones_go_on_from_them() -> None:
    usual, longer = load_dataset("sines"), load_dataset("sines", window=64)
    assert usual.fingerprint[:16] == "0c31028999f954c5"
    assert longer.splits["train"].x.shape == (7_500, 64, 5)


def _wheel(folder: Path, content: bytes) -> Path:
    path = folder / "vega_datasets-0.9.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(wheel_tables.TABLES["seattle-temps"].member, content)
    return path


def test_a_table_is_taken_out_of_its_wheel_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"date,temp\n" + b"".join(b"2010/01/01 %02d:00,%d.5\n" % (h, 40 + h) for h in range(24))
    table = wheel_tables.TABLES["seattle-temps"]
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path / "cache"))
    asked: list[str] = []

    def download(requirement: str, folder: Path) -> Path:
        asked.append(requirement)
        return _wheel(folder, content)

    monkeypatch.setattr(wheel, "download", download)
    with pytest.raises(DataError, match="SHA-256"):
        wheel_tables.table_file("seattle-temps", print)
    right = wheel_tables.WheelTable(table.requirement, table.member, hashlib.sha256(content).hexdigest(), ".2 MB")
    monkeypatch.setattr(wheel_tables, "TABLES", {"seattle-temps": right})
    path = wheel_tables.table_file("seattle-temps", print)
    assert path.read_bytes() == content
    assert wheel_tables.table_file("seattle-temps", print) == path
    assert len(asked) == 2, "once it is kept, nothing is downloaded"
    path.write_bytes(b"damaged")
    assert wheel_tables.table_file("seattle-temps", print).read_bytes() == content
    assert len(asked) == 3


def test_where_pip_reaches_nothing_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path / "cache"))

    def download(requirement: str, folder: Path) -> Path:
        raise DataError("pip could not download it")

    monkeypatch.setattr(wheel, "download", download)
    with pytest.raises(DataError, match=r"'co2' cannot be had.*statsmodels/datasets/co2/co2\.csv"):
        load_dataset("co2")
