"""Training with differential privacy: steps against ordinary ones and loops, the accountant against closed forms."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.data.poisson import PoissonFeed
from saddlepoint.data.spec import DataSpec, DataStats
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.plan import Update, locate
from saddlepoint.engine.privacy import accountant
from saddlepoint.engine.privacy.gradients import clipped_sums, pair_gradients
from saddlepoint.engine.privacy.secret import secret_of
from saddlepoint.engine.privacy.trainer import PrivateTrainer
from saddlepoint.engine.settings import Privacy, Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import Subject, evaluate
from saddlepoint.export.card import card
from saddlepoint.families.dcgan.config import DCGANConfig
from saddlepoint.families.gan.config import GANConfig
from saddlepoint.family import Family, build_family
from saddlepoint.run import api
from saddlepoint.run.subject import training_of

ROWS, BATCH, SECRET = 32, 8, "ab" * 32
VECTOR, IMAGE = DataSpec("vector", (3,), rows=ROWS), DataSpec("image", (1, 16, 16), rows=ROWS)
COMMON: dict[str, Any] = {"batch_size": BATCH, "latent_size": 4}
LEAKY = GANConfig(
    **COMMON, generator_widths=(8,), discriminator="leaky-relu", discriminator_widths=(8, 6), init="he",
    optimizer="adam", lr=1e-2,
)  # fmt: skip
MAXOUT = GANConfig(
    **COMMON, generator_widths=(8,), discriminator_widths=(6,), pieces=3, keep_input=1.0, keep_hidden=1.0, lr=0.5
)
CONVOLUTIONS = DCGANConfig(**COMMON, width=4, max_width=8, generator_norm="channel", lr=1e-2)
CASES: dict[str, tuple[str, Any, DataSpec]] = {
    "leaky": ("gan", LEAKY, VECTOR),
    "at once": ("gan", replace(LEAKY, simultaneous=True), VECTOR),
    "two steps of D": ("gan", replace(LEAKY, k=2), VECTOR),
    "maxout": ("gan", MAXOUT, VECTOR),
    "images": ("gan", LEAKY, IMAGE),
    "convolutions": ("dcgan", CONVOLUTIONS, IMAGE),
}


def _rows(spec: DataSpec, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if spec.modality == "image":
        return rng.integers(0, 256, (spec.rows, *spec.shape), dtype=np.uint8)
    return rng.normal(size=(spec.rows, *spec.shape)).astype(np.float32)


class _InOrder(PoissonFeed):
    """Minibatches of the ordinary feed, so that both kinds of steps see the same rows."""

    def __init__(self, split: Split) -> None:
        super().__init__(split, BATCH, SECRET)
        self.ordinary = Feed(split, BATCH, seed=3)

    def indices(self, draw: int, share: int = 0) -> Tensor:
        return self.ordinary.indices(draw, share)


def _private(
    case: str,
    folder: Path,
    privacy: Privacy,
    *,
    feed: type[PoissonFeed] | None = None,
    seed: int = 0,
    secret: str = SECRET,
) -> PrivateTrainer:
    name, config, spec = CASES[case]
    split = Split(_rows(spec, seed))
    own = PoissonFeed(split, BATCH, secret) if feed is None else _InOrder(split)
    settings = Settings(seed=3, privacy=privacy)
    return PrivateTrainer(build_family(name, config, spec), own, settings, RunFolder(folder), secret=secret)


def _stepped(trainer: Trainer, steps: int, mean: float = 0.0) -> dict[str, Tensor]:
    def stats() -> DataStats:
        everywhere = torch.full(trainer.state.family.data.shape, mean)
        return DataStats(everywhere, torch.ones_like(everywhere), everywhere[None])

    trainer.begin(stats)
    for step in range(steps):
        position = locate(trainer.stages, step)
        assert position is not None
        trainer.step(position)
    return {name: tensor.clone() for name, tensor in trainer.state.family.state_dict().items()}


@pytest.mark.parametrize("case", CASES)
def test_without_clip_and_noise_a_step_is_the_ordinary_one(case: str, tmp_path: Path) -> None:
    name, config, spec = CASES[case]
    feed = Feed(Split(_rows(spec)), BATCH, seed=3)
    ordinary = Trainer(build_family(name, config, spec), feed, Settings(seed=3), RunFolder(tmp_path / "a"))
    private = _private(case, tmp_path / "b", Privacy(clip=math.inf, noise_multiplier=0.0), feed=_InOrder)
    expected, found = _stepped(ordinary, 3), _stepped(private, 3)
    start = _stepped(_private(case, tmp_path / "c", Privacy(noise_multiplier=0.0)), 0)
    assert any(not torch.equal(start[key], value) for key, value in expected.items())
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6, msg=key)


def _pairs(family: Family, spec: DataSpec, n: int = 7) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(1)
    real, fake = (torch.rand((n, *spec.shape), generator=drawn) for _ in range(2))
    return real, fake


def _drawn(case: str) -> tuple[Family, Any, dict[str, Tensor], DataSpec]:
    name, config, spec = CASES[case]
    family = build_family(name, config, spec)
    family.reset_parameters(torch.Generator().manual_seed(0))
    phase = family.stages()[0].cycle[0]
    parameters = {name: p for name, p in family.named_parameters() if name.startswith("discriminator.")}
    return family, phase, parameters, spec


@pytest.mark.parametrize("case", ["leaky", "maxout", "convolutions"])
def test_clipped_sums_are_those_of_a_loop(case: str) -> None:
    family, phase, parameters, spec = _drawn(case)
    real, fake = _pairs(family, spec)
    real[2] *= 40  # one that is clipped for sure
    norms, total = [], [torch.zeros_like(p) for p in parameters.values()]
    singles = []
    for row in range(len(real)):
        loss = family.pair_losses(phase, real[row : row + 1], fake[row : row + 1]).sum()  # type: ignore[operator]
        singles.append(torch.autograd.grad(loss, list(parameters.values())))
        norms.append(math.sqrt(sum(float(g.square().sum()) for g in singles[-1])))
    clip = float(np.median(norms))
    for gradients, size in zip(singles, norms, strict=True):
        total = [t + min(1.0, clip / size) * g for t, g in zip(total, gradients, strict=True)]
    found = clipped_sums(family, phase, parameters, (real, fake), clip)
    for one, other in zip(found, total, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_one_row_moves_a_clipped_sum_by_no_more_than_the_clip() -> None:
    """The planted leak: a row far out. Without clipping it is most of the update; with it, one row in many."""
    family, phase, parameters, spec = _drawn("leaky")
    real, fake = _pairs(family, spec, 16)
    far = torch.full((1, *spec.shape), 1e4)
    # On the side that D takes for generated: there its loss is steep.
    real[5] = far if family.logits(far, None).item() < 0 else -far  # type: ignore[operator]
    rest = torch.arange(16) != 5

    def moved(clip: float) -> float:
        whole, without = (
            clipped_sums(family, phase, parameters, (real[rows], fake[rows]), clip) for rows in (slice(None), rest)
        )
        return math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(whole, without, strict=True)))

    assert moved(math.inf) > 100
    assert moved(0.5) == pytest.approx(0.5, rel=1e-4)


def test_a_row_that_is_not_finite_moves_nothing() -> None:
    family, phase, parameters, spec = _drawn("leaky")
    real, fake = _pairs(family, spec, 5)
    expected = clipped_sums(family, phase, parameters, (real[1:], fake[1:]), 1.0)
    real[0] = math.nan
    found = clipped_sums(family, phase, parameters, (real, fake), 1.0)
    assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True))
    nothing = clipped_sums(family, phase, parameters, (real[:0], fake[:0]), 1.0)
    assert all(not bool(each.any()) for each in nothing)


def test_gradients_do_not_depend_on_how_many_rows_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    family, phase, parameters, spec = _drawn("leaky")
    pairs = _pairs(family, spec, 9)
    whole = clipped_sums(family, phase, parameters, pairs, 0.3)
    monkeypatch.setattr("saddlepoint.engine.privacy.gradients._NUMBERS", 1)
    one_by_one = clipped_sums(family, phase, parameters, pairs, 0.3)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, one_by_one, strict=True))
    assert {len(g) for g in pair_gradients(family, phase, parameters, *pairs).values()} == {9}


def _noise_of(trainer: PrivateTrainer, step: int) -> Tensor:
    trainer.state.step = step
    phase = trainer.stages[0].cycle[0]
    empty = replace(trainer.blank, x=trainer.blank.x[:0])
    gradient = trainer.private_gradient(phase, Update((phase,), 0, step), empty)
    return torch.cat([each.flatten() for each in gradient.of_parameters if each is not None])


def test_noise_has_the_deviation_that_is_accounted_and_is_new_in_each_step(tmp_path: Path) -> None:
    """Of a minibatch without rows an update is noise alone: sigma C / mean batch size in each number."""
    trainer = _private("images", tmp_path, Privacy(clip=0.7, noise_multiplier=1.3))
    drawn = torch.cat([_noise_of(trainer, step) for step in range(40)])
    assert float(drawn.std()) == pytest.approx(1.3 * 0.7 / BATCH, rel=0.01)
    assert abs(float(drawn.mean())) < 4 * 1.3 * 0.7 / BATCH / len(drawn) ** 0.5
    one, again, next_one = (_noise_of(trainer, step) for step in (1, 1, 2))
    assert torch.equal(one, again)
    assert abs(float(torch.corrcoef(torch.stack([one, next_one]))[0, 1])) < 0.1
    other = _private("images", tmp_path, Privacy(clip=0.7, noise_multiplier=1.3), secret="cd" * 32)
    assert not torch.equal(one, _noise_of(other, 1))


@pytest.mark.parametrize("case", ["maxout", "images", "convolutions"])
def test_nothing_but_clipped_gradients_carries_rows_into_the_weights(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clip near 0 two data sets train the same networks: no mean, no buffer, no G that looks at rows."""
    name, config, spec = CASES[case]
    # Adam would divide the gradients by their size: by plain steps, small ones stay small.
    plain = replace(config, lr=1e-9) if case == "convolutions" else replace(config, optimizer="sgd", lr=0.1)
    monkeypatch.setitem(CASES, "plain", (name, plain, spec))
    found = [
        _stepped(
            _private("plain", tmp_path / str(seed), Privacy(clip=1e-9, noise_multiplier=0.0), seed=seed), 4, seed / 2
        )
        for seed in (0, 1)
    ]
    assert all(torch.allclose(found[0][key], value, atol=1e-7) for key, value in found[1].items())


def test_each_row_is_drawn_by_itself_with_the_rate() -> None:
    feed = PoissonFeed(Split(np.zeros((200, 2), np.float32)), 20, SECRET)
    table = torch.stack([torch.zeros(200).index_fill_(0, feed.indices(draw), 1.0) for draw in range(2000)])
    assert feed.sample_rate == 0.1
    # Sizes are binomial: mean 20, variance 18; rows are drawn alike, and independently of one another.
    sizes = table.sum(1)
    assert float(sizes.mean()) == pytest.approx(20, abs=4 * (18 / 2000) ** 0.5)
    assert float(sizes.var()) == pytest.approx(18, rel=0.15)
    assert float((table.mean(0) - 0.1).abs().max()) < 5 * (0.09 / 2000) ** 0.5
    assert torch.equal(feed.indices(7), PoissonFeed(Split(np.zeros((200, 2), np.float32)), 20, SECRET).indices(7))
    with pytest.raises(ConfigError, match="200 training rows"):
        PoissonFeed(Split(np.zeros((200, 2), np.float32)), 201, SECRET)


def _closed(noise: float, delta: float) -> float:
    """Epsilon of one Gaussian mechanism, exactly. Source: Balle and Wang 2018, theorem 8."""

    def excess(e: float) -> float:
        a, b = 1 / (2 * noise) - e * noise, -1 / (2 * noise) - e * noise
        return float(norm.cdf(a) - math.exp(e) * norm.cdf(b) - delta)

    return float(brentq(excess, 0, 100))


@pytest.mark.parametrize("noise", [0.8, 1.0, 4.0])
def test_one_update_with_all_rows_costs_what_the_closed_form_says(noise: float) -> None:
    pytest.importorskip("opacus")
    from saddlepoint.engine.privacy.accountant import epsilon

    found, exact = epsilon(noise, 1.0, 1, 1e-5), _closed(noise, 1e-5)
    assert exact <= found <= exact + 0.011
    assert epsilon(noise, 1.0, 0, 1e-5) == 0
    assert epsilon(0.0, 1.0, 1, 1e-5) == math.inf


@pytest.mark.parametrize("target", [0.02, 0.3, 0.9, 1.0, 7.0])
def test_the_noise_for_an_epsilon_is_enough_and_hardly_more(target: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here epsilon is one over the noise, and so is noise over epsilon; less than a quarter is not looked for."""
    monkeypatch.setattr(accountant, "epsilon", lambda noise, rate, updates, delta: 1 / noise)
    noise = accountant.noise_for(target, 1e-5, 0.01, 10)
    wanted = max(1 / target, 0.25)
    assert wanted <= noise <= 1.0101 * wanted + 1e-6
    monkeypatch.setattr(accountant, "epsilon", lambda noise, rate, updates, delta: 10.0)
    with pytest.raises(ConfigError, match="no noise keeps 1,234 updates within it; take fewer --steps"):
        accountant.noise_for(target, 1e-5, 0.01, 1234)


@pytest.mark.slow
def test_the_published_value_of_the_moments_accountant_is_met() -> None:
    """Abadi et al. 2016, section 3.2: rate .01, noise 4, delta 1e-5, 10,000 updates: epsilon 1.26."""
    pytest.importorskip("opacus")
    from opacus.accountants.analysis.rdp import compute_rdp

    from saddlepoint.engine.privacy.accountant import epsilon, noise_for

    orders = np.arange(2, 65)
    moments = compute_rdp(q=0.01, noise_multiplier=4.0, steps=10_000, orders=list(orders))
    published = float((moments + math.log(1e5) / (orders - 1)).min())
    assert published == pytest.approx(1.26, abs=0.01)
    found = epsilon(4.0, 0.01, 10_000, 1e-5)
    assert 0.85 < found < published  # tighter, and no less than a third below
    noise = noise_for(found + 0.02, 1e-5, 0.01, 10_000)
    assert noise == pytest.approx(4.0, rel=0.03)
    assert epsilon(noise, 0.01, 10_000, 1e-5) <= found + 0.02 < epsilon(0.95 * noise, 0.01, 10_000, 1e-5)


REQUEST: dict[str, Any] = {
    "private": True, "noise_multiplier": 1.0, "device": "cpu", "threads": 1, "precision": "fp32", "averages": "off",
    "options": {
        "objective": "non-saturating", "r1_gamma": None, "r2_gamma": None, "batch_size": 16, "generator_widths": (8,),
        "discriminator_widths": (8,),
    },
}  # fmt: skip


def _trained(out: Path, steps: int, secret: str = SECRET, **more: Any) -> api.Run:
    out.mkdir(parents=True, exist_ok=True)
    (out / "noise.key").write_text(secret)
    request = {**REQUEST, "steps": steps, "preset": "points", "out": out, **more}
    return saddlepoint.train("gan", _rows(DataSpec("vector", (2,), rows=400)), progress=False, **request)


def _tensors(run: api.Run) -> dict[str, Tensor]:
    return run.family.state_dict()


def test_a_run_goes_on_bit_for_bit_and_says_what_is_spent(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    whole = _trained(tmp_path / "whole", 6)
    half = _trained(tmp_path / "half", 3)
    assert half.privacy is not None
    on = saddlepoint.resume(tmp_path / "half", steps=6, progress=False)
    assert all(torch.equal(value, _tensors(on)[key]) for key, value in _tensors(whole).items())
    assert on.privacy is not None
    assert on.privacy == whole.privacy
    assert on.privacy.epsilon > half.privacy.epsilon > 0
    assert on.privacy.updates == 6
    status = json.loads((tmp_path / "half" / "status.json").read_text())
    assert (status["epsilon"], status["delta"]) == (on.privacy.epsilon, 1e-5)
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["settings"]["privacy"]["noise_multiplier"] == 1.0
    assert any(finding["topic"] == "privacy" for finding in config["data"]["reading"])
    assert f"Trained with differential privacy: {on.privacy}"[:60] in card(on)
    assert training_of(on).facts["privacy"] == str(on.privacy)
    # Another secret draws other noise: the seed alone gives nothing away.
    other = _trained(tmp_path / "other", 3, secret="cd" * 32)
    assert not any(torch.equal(value, _tensors(other)[key]) for key, value in _tensors(half).items() if "weight" in key)
    (tmp_path / "half" / "noise.key").unlink()
    with pytest.raises(CheckpointError, match=r"noise\.key' is gone"):
        saddlepoint.resume(tmp_path / "half", steps=8, progress=False)


def test_the_log_tells_nothing_of_rows(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    run = _trained(tmp_path / "run", 4, seed=1)
    assert run.log
    for line in run.log:
        assert not {"V", "D(x)", "D(G(z))", "loss/discriminator", "signs"} & line.keys()


@pytest.mark.slow
def test_an_epsilon_chooses_the_noise_and_ends_the_run(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    run = _trained(tmp_path / "run", 4, noise_multiplier=None, epsilon=3.0)
    assert run.privacy is not None
    assert 2.5 < run.privacy.epsilon <= 3.0
    more = saddlepoint.resume(tmp_path / "run", steps=50, progress=False)
    assert more.step == 4
    assert more.privacy == run.privacy


@pytest.mark.parametrize(
    ("family", "change", "told"),
    [
        ("gan", {"options": {}}, "G reads D's logits of rows"),
        ("gan", {"options": {**REQUEST["options"], "r1_gamma": 1.0}}, "R1 and R2"),
        ("gan", {"noise_multiplier": None}, "--epsilon E with --steps or --kimg, or --noise-multiplier"),
        ("gan", {"epsilon": 1.0}, "one of the two"),
        ("gan", {"noise_multiplier": None, "epsilon": 1.0, "steps": None, "budget": "1m"}, "add --steps or --kimg"),
        ("gan", {"delta": 0.01}, "it must be below 1 / rows"),
        ("gan", {"remedy": "auto"}, "the doctor looks at rows"),
        ("gan", {"start_from": "x"}, "not counted"),
        ("gan", {"clip": math.inf}, "finite where there is noise"),
        ("gan", {"private": False}, "add --private"),
        ("gan", {"noise_multiplier": 0.0}, "nothing is hidden"),
        ("flow", {"preset": "small", "options": {}}, "families that can be: .*gan"),
    ],
)
def test_what_cannot_be_private_is_refused(family: str, change: dict[str, Any], told: str) -> None:
    request = {**REQUEST, "preset": "points", "steps": 3, **change}
    rows = _rows(DataSpec("vector", (2,), rows=400))
    with pytest.raises(ConfigError, match=told):
        api.resolve(api.plan(family, rows, **request))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"discriminator_norm": "batch"}, "over the minibatch"),
        ({"discriminator_norm": "spectral"}, "a state that moves"),
        ({"generator_norm": "batch"}, "depend on one another"),
        ({"ada_kimg": 10.0}, "adaptive augmentation"),
    ],
)
def test_convolutions_that_mix_rows_say_so(change: dict[str, Any], told: str) -> None:
    mixing: Callable[[], str] = build_family("dcgan", replace(CONVOLUTIONS, **change), IMAGE).mixing  # type: ignore[assignment]
    assert told in mixing()
    assert not build_family("dcgan", CONVOLUTIONS, IMAGE).mixing()  # type: ignore[operator]


def test_a_secret_is_drawn_once_for_its_owner_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    first = secret_of(folder, begun=False)
    assert len(bytes.fromhex(first)) == 32
    assert secret_of(folder, begun=True) == first
    assert stat.S_IMODE((tmp_path / "noise.key").stat().st_mode) == 0o600
    (tmp_path / "noise.key").write_text("short")
    with pytest.raises(CheckpointError, match="damaged"):
        secret_of(folder, begun=True)


def test_a_report_of_a_private_run_says_what_epsilon_does_not_count() -> None:
    rng = np.random.default_rng(0)
    splits = {name: Split(rng.normal(size=(60, 2)).astype(np.float32)) for name in ("train", "valid", "test")}
    subject = Subject("generator", lambda n, seed: torch.randn(n, 2), privacy="epsilon 3 at delta 1e-05")
    report = evaluate(subject, Dataset("points", "vector", splits, (), "ab" * 32), ["membership-inference"])
    assert any("epsilon 3 at delta 1e-05" in line and "does not count" in line for line in report.limits)


def test_a_sweep_does_not_choose_among_private_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not count"):
        saddlepoint.sweep(
            "gan", _rows(DataSpec("vector", (2,), rows=400)), over=["lr=0.01..0.1"], out=tmp_path / "s", **REQUEST
        )
