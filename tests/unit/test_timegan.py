"""TimeGAN: each loss against a closed form, stages and gate, windows that end early, and short trainings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.plan import locate
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.families.timegan import TimeGAN, TimeGANConfig
from saddlepoint.family import Batch, Context, DataSpec, DataStats, Progress, Simultaneous, Terms, build_family
from saddlepoint.family.capabilities import prepare
from saddlepoint.nn.windows import Coordinates, mean_error, moment_loss, supervised_error
from saddlepoint.run.run import Run
from saddlepoint.run.samples import pictures

CODE, PAPER, FIXED = (TimeGAN.PRESETS[name] for name in ("code-2019", "paper-2019", "increments"))
SPEC = DataSpec("sequence", (6, 2), rows=40)


def build(config: TimeGANConfig, spec: DataSpec = SPEC) -> TimeGAN:
    family = build_family("timegan", config, spec)
    family.reset_parameters(stream("cpu", "weights", 0))
    assert isinstance(family, TimeGAN)
    return family.train()


def windows(n: int = 5, time: int = 6, features: int = 2) -> Tensor:
    return torch.rand(n, time, features, generator=stream("cpu", "x"))


def losses(family: TimeGAN, x: Tensor, labels: Tensor | None = None) -> Mapping[str, Terms | None]:
    """Every phase's terms; z is the same for all."""
    phases = {phase.name: phase for stage in family.stages() for phase in stage.cycle}

    def context() -> Context:
        return Context(stream("cpu", 1), stream("cpu", 2), Progress())

    if isinstance(family, Simultaneous):
        return family.losses(tuple(phases.values()), Batch(x, labels), context())
    return {name: family.loss(phase, Batch(x, labels), context()) for name, phase in phases.items()}


def value(terms: Terms | None) -> float:
    assert terms is not None
    return float(terms.loss.detach().mean())


@pytest.mark.parametrize("preset", ["code-2019", "paper-2019"])
def test_every_loss_is_the_published_one(preset: str) -> None:
    """Written out with one pass of a network at a time."""
    c = TimeGAN.PRESETS[preset]
    family, x = build(c), windows()
    steps = x.permute(1, 2, 0)
    z = family._latents(5, stream("cpu", 1))

    def supervised(h: Tensor, z: Tensor) -> Tensor:
        found: Tensor = family.supervisor(torch.cat([h, z], 1) if c.supervisor_noise else h, None)
        return found

    h = family.embedder(steps, None)
    first = family.generator(z, None)
    last = supervised(first, z)
    samples, real, fake, before = (
        family.recovery(last, None), *(family.discriminator(each, None) for each in (h, last, first))
    )  # fmt: skip
    reconstruction = ((family.recovery(h, None) - steps) ** 2).mean() ** 0.5
    following = ((h[1:] - supervised(h, z)[:-1]) ** 2).mean()
    quiet = ((h[1:] - supervised(h, torch.zeros_like(z))[:-1]) ** 2).mean()
    deviations = [(each.var(2, correction=0) + 1e-6).sqrt() for each in (samples, steps)]
    moments = (deviations[0] - deviations[1]).abs().mean() + (samples.mean(2) - steps.mean(2)).abs().mean()
    bce = F.binary_cross_entropy_with_logits
    one, zero = torch.ones_like(real), torch.zeros_like(real)
    if preset == "code-2019":
        expected = {
            "embedding": 10 * reconstruction,
            "generator": bce(fake, one) + bce(before, one) + 100 * following.sqrt() + 100 * moments,
            "embedder": 10 * reconstruction + 0.1 * following,
            "discriminator": bce(real, one) + bce(fake, zero) + bce(before, zero),
        }
    else:
        expected = {
            "embedding": reconstruction,
            "generator": bce(fake, one) + 10 * following.sqrt(),
            "embedder": reconstruction + quiet,
            "discriminator": bce(real, one) + bce(fake, zero),
        }
    found = losses(family, x)
    assert value(found["supervision"]) == pytest.approx(following.item(), rel=1e-5)
    for name, wanted in expected.items():
        assert value(found[name]) == pytest.approx(wanted.item(), rel=1e-5), name


def test_the_published_networks_have_the_published_sizes() -> None:
    """GRUs of 24 units: (3 for gates) x 24 x (inputs + 24 + 1); heads to 24, to the data, to one logit at each step."""
    family = build(CODE, DataSpec("sequence", (24, 6)))

    def gru(inputs: int, layers: int, outputs: int) -> int:
        return 72 * (inputs + 25) + (layers - 1) * 72 * 49 + 25 * outputs

    sizes = {
        "embedder": gru(6, 3, 24), "recovery": gru(24, 3, 6), "generator": gru(6, 3, 24), "supervisor": gru(24, 2, 24),
        "discriminator": gru(24, 3, 1),
    }  # fmt: skip
    assert {name: sum(p.numel() for p in net.parameters()) for name, net in family.named_children()} == sizes
    paper = build(PAPER, DataSpec("sequence", (24, 6)))
    assert sum(p.numel() for p in paper.recovery.parameters()) == 25 * 6
    assert paper.discriminator(torch.rand(24, 24, 3), None).shape == (24, 1, 3)


def test_the_schedule_is_the_released_one() -> None:
    c = dataclasses.replace(CODE, embedding_iterations=3, supervised_iterations=2, joint_iterations=1)
    stages = build(c).stages()
    names = [[phase.name for phase in stage.cycle] for stage in stages]
    assert names == [
        ["embedding"],
        ["supervision"],
        ["generator", "embedder", "generator", "embedder", "discriminator"],
    ]
    assert [phase.fresh_batch for phase in stages[2].cycle] == [False, False, True, False, True]
    assert locate(stages, 5).draw == 5  # type: ignore[union-attr]
    assert locate(stages, 6) is None
    assert len(build(c).optimizers()) == 5, "each loss has a state of its own"


def test_d_rests_while_it_is_good_enough() -> None:
    family, x = build(CODE), windows()
    loss = value(losses(family, x)["discriminator"])
    for gate, learns in ((loss + 1e-3, False), (loss - 1e-3, True)):
        gated = build(dataclasses.replace(CODE, gate=gate))
        assert (losses(gated, x)["discriminator"] is not None) is learns
    assert CODE.gate == 0.15
    assert PAPER.gate is None


def test_moments_of_known_windows() -> None:
    """Means differ by 2, deviations are 0 and 1 (but for the 1e-6 under the root)."""
    real = torch.tensor([-1.0, 1.0]).expand(3, 1, 2)
    fake = torch.full((3, 1, 2), 2.0)
    assert float(moment_loss(fake, real, torch.ones(3, 1, 2))) == pytest.approx(2 + 1 - 1e-3, abs=1e-5)


def test_errors_count_steps_within_windows_alone() -> None:
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])[:, None]
    x, y = torch.zeros(2, 1, 2), torch.tensor([[1.0, 2.0], [3.0, 100.0]])[:, None]
    assert float(mean_error(x, y, mask)) == pytest.approx((1 + 4 + 9) / 3)
    assert float(supervised_error(y, x, mask)) == pytest.approx(9.0)


@pytest.mark.parametrize("preset", TimeGAN.PRESETS)
def test_windows_that_end_early_count_as_whole_short_ones(preset: str) -> None:
    """A minibatch of windows of 4 steps padded to 6 has the losses of 4 steps, but for the convolutional critic."""
    # Uniform z are drawn step by step for all windows at once, so its first 4 steps are those of a shorter draw.
    config = dataclasses.replace(TimeGAN.PRESETS[preset], latent="uniform")
    short, family = windows(time=4), build(config)
    padded = torch.cat([short, torch.full((5, 2, 2), torch.nan)], 1)
    if preset == "increments":
        torch.testing.assert_close(family.logits(padded, None), family.logits(padded.clone(), None))
        assert all(bool(terms is not None and terms.loss.isfinite().all()) for terms in losses(family, padded).values())
        return
    brief = build(config, DataSpec("sequence", (4, 2), rows=40))
    torch.testing.assert_close(family.logits(padded, None), brief.logits(short, None))
    found, wanted = losses(family, padded), losses(brief, short)
    for name, terms in wanted.items():
        assert value(found[name]) == pytest.approx(value(terms), rel=1e-5), name


@pytest.mark.parametrize("preset", TimeGAN.PRESETS)
def test_samples_end_as_training_windows_do(preset: str, tmp_path: Path) -> None:
    """Static features stay constant, labels are followed, evaluations and snapshots take windows as they are."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(40, 6, 4)).astype(np.float32)
    x[:, :, 2:] = x[:, :1, 2:]
    for row, length in enumerate(np.tile([3, 6, 6, 5], 10)):
        x[row, length:] = np.nan
    dataset = Dataset("made", "sequence", {"train": Split(x, np.arange(40) % 2)}, ("a", "b"), "0", static=2)
    config = dataclasses.replace(
        TimeGAN.PRESETS[preset], batch_size=8, width=8, critic_width=8, embedding_iterations=1, supervised_iterations=1
    )
    family = build(config, dataset.spec)
    trainer = Trainer(family, Feed(dataset.splits["train"], 8, 0), Settings(steps=3), RunFolder(tmp_path))
    trainer.train(dataset.stats)
    assert Evaluator(dataset, 0, "cpu").evaluate(trainer.state, {})["coverage"] >= 0
    z, labels = family.sample_inputs(400, stream("cpu", 1)), torch.zeros(400, dtype=torch.int64)
    with torch.no_grad():
        samples, others = (family.generate(z, each, generator=stream("cpu", 2)) for each in (labels, labels + 1))
    there = samples.isfinite().all(2)
    assert torch.equal(there, ~samples.isnan().any(2)), "a step is there in all features or in none"
    shares = torch.bincount(there.sum(1), minlength=7) / 400
    assert shares[[3, 5, 6]].tolist() == pytest.approx([0.25, 0.25, 0.5], abs=0.08)
    inside = samples[there]
    assert 0 <= float(inside.min()) <= float(inside.max()) <= 1
    assert torch.equal(samples[:, :1, 2:].expand(-1, 6, -1)[there], samples[:, :, 2:][there])
    assert not torch.equal(samples[there], others[there])


def test_z_has_what_the_options_say() -> None:
    draw = {
        kind: build(dataclasses.replace(CODE, latent=kind, latent_size=3, latent_shared=1)).sample_inputs(
            4000, stream("cpu", 1)
        )
        for kind in ("uniform", "normal", "wiener")
    }
    assert all(z.shape == (4000, 6, 3) for z in draw.values())
    assert all(torch.equal(z[:, :1, :1].expand(-1, 6, -1), z[:, :, :1]) for z in draw.values())
    assert 0 <= float(draw["uniform"].min()) < 0.01
    assert float(draw["normal"][:, 3, 2].var()) == pytest.approx(1, abs=0.1)
    variances = draw["wiener"][:, :, 1].var(0)
    torch.testing.assert_close(variances, torch.arange(1, 7) / 6, rtol=0.1, atol=0)


def sines(n: int) -> np.ndarray:
    """Sines of 12 steps with frequencies and phases of their own, in [0, 1]."""
    rng = np.random.default_rng(0)
    frequency, phase = rng.uniform(0.2, 0.4, (n, 1, 2)), rng.uniform(0, 6.28, (n, 1, 2))
    found: np.ndarray = ((np.sin(frequency * np.arange(12)[:, None] + phase) + 1) / 2).astype(np.float32)
    return found


def roughness(x: np.ndarray) -> float:
    """Mean square of second differences over the variance: 4 (1 - cos f)^2 for sines of frequency f, 6 for noise."""
    return float(np.square(np.diff(x, 2, axis=1)).mean() / x.var())


@pytest.mark.parametrize(("preset", "steps"), [("increments", 250), ("code-2019", 200)])
def test_short_training_beats_the_untrained_model(preset: str, steps: int, tmp_path: Path) -> None:
    """Means, deviations and roughness of the samples come near those of the sines."""
    x = sines(1000)
    dataset = Dataset("sines", "sequence", {"train": Split(x)}, (), "0")
    options: dict[str, float] = {
        "width": 16,
        "batch_size": 32,
        "critic_width": 16,
        "latent_size": 8,
        "latent_shared": 4,
    }
    if preset == "code-2019":
        options = {"width": 12, "batch_size": 32, "lr": 5e-3, "embedding_iterations": 100, "supervised_iterations": 40}
    config = dataclasses.replace(TimeGAN.PRESETS[preset], **options)  # type: ignore[arg-type]
    family = build(config, dataset.spec)
    trainer = Trainer(family, Feed(dataset.splits["train"], 32, 0), Settings(steps=steps), RunFolder(tmp_path))

    def distance() -> float:
        with torch.no_grad(), trainer.state.averaged() as averaged:
            y = averaged.generate(averaged.sample_inputs(500, stream("cpu", 5)), generator=stream("cpu", 6)).numpy()
        return abs(y.mean() - x.mean()) + abs(y.std() - x.std()) + abs(roughness(y) - roughness(x))

    prepare(family, dataset.stats())
    trainer.state.averages.copy()
    before = distance()
    trainer.train(dataset.stats)
    assert distance() < 0.7 * before


def test_coordinates_are_white_and_invertible() -> None:
    """Levels and increments of nearly equal features get unit variance; a level alone is given back exactly."""
    generator = stream("cpu", "x")
    walk = torch.randn(20, 1, 400, generator=generator).cumsum(0)
    x = torch.cat([walk, walk + 0.03 * torch.randn(20, 1, 400, generator=generator)], 1)
    coordinates = Coordinates(2)
    coordinates.fit(x)
    seen = coordinates(x)
    for rows in (seen[:, :2], seen[1:, 2:]):
        flat = rows.permute(1, 0, 2).flatten(1).double()
        torch.testing.assert_close(flat @ flat.t() / flat.shape[1], torch.eye(2).double(), rtol=0, atol=0.05)
    level = torch.cat([seen[:, :2], torch.zeros_like(seen[:, 2:])], 1)
    torch.testing.assert_close(coordinates.back(level), x, rtol=1e-4, atol=1e-3)
    steps = torch.cat([torch.zeros_like(seen[:, :2]), seen[:, 2:]], 1)
    torch.testing.assert_close(coordinates.back(steps) - coordinates.mean, x - x[:1], rtol=1e-4, atol=1e-3)


def test_critic_gradients_are_those_of_autograd() -> None:
    family = build(dataclasses.replace(FIXED, critic_width=8, start="learned")).double()
    x = torch.rand(6, 5, 3, dtype=torch.float64, generator=stream("cpu", 3), requires_grad=True)
    logits, norms, gradients = family.discriminator.with_gradients(x, None)
    h = x.permute(2, 1, 0)[..., None]
    for layer in family.discriminator.layers:
        h = F.leaky_relu(layer(h), 0.2)
    plain = (h.flatten(1) * family.discriminator.output.weight).sum(1)
    (wanted,) = torch.autograd.grad(plain.sum(), x)
    torch.testing.assert_close(logits, plain)
    torch.testing.assert_close(gradients, wanted)
    torch.testing.assert_close(norms, wanted.square().sum((0, 1)))


def test_lengths_come_from_training_windows() -> None:
    family = build(CODE)
    rows = windows(4)
    rows[1, 2:] = torch.nan
    prepare(family, DataStats(rows[0], rows[0], rows))
    lengths = family.sample_inputs(300, stream("cpu", 1)).isfinite().all(2).sum(1)
    assert set(lengths.tolist()) == {2, 6}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"r1_gamma": 1.0}, "fixed for R1"),
        ({"objective": "hinge"}, "fixed for R1"),
        ({"latent_shared": 2}, "from 0 to latent-size"),
        ({"layers": 1}, "at least 2"),
        ({"gate": 0.0}, "positive, or none"),
        ({"cell": "lstn"}, "lstm"),
    ],
)
def test_impossible_options_are_refused(change: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        dataclasses.replace(CODE, **change)


def test_impossible_windows_are_refused() -> None:
    with pytest.raises(ConfigError, match="a longer --window"):
        build(CODE, DataSpec("sequence", (1, 2)))
    with pytest.raises(ConfigError, match="one column that is not static"):
        build(CODE, DataSpec("sequence", (6, 2), static=2))


@pytest.mark.parametrize("picture", ["styles", "truncation", "references"])
def test_pictures_that_series_have_not_are_refused(picture: str) -> None:
    run = Run(Path("runs/series"), {}, build(FIXED), 0, True)
    with pytest.raises(ConfigError, match="of series there are: grid, neighbours, interpolation, filmstrip"):
        pictures.made(run, picture)
