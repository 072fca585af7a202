"""TimeGAN of 2019 for windows of time series, as released, as published, and with what has been learned since.

Source: Yoon et al. 2019, "Time-series Generative Adversarial Networks", and the code released with it. Deviations are
listed in docs/deviations.md. Inside the networks sequences are (time, feature, batch); see `nn/recurrent.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.config import check, option
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import PerSample, Samples
from saddlepoint.family import (
    EXAMPLES,
    Batch,
    Conditional,
    Context,
    DataSpec,
    DataStats,
    DiscriminatorLogits,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Prepared,
    Progress,
    Remediable,
    Remedy,
    Simultaneous,
    Stage,
    Tags,
    Terms,
    register,
)
from saddlepoint.family import remedies as remedy
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn.categories import Groups, gumbel, on_circle
from saddlepoint.nn.recurrent import CELLS, Steps
from saddlepoint.nn.windows import (
    Coordinates,
    Critic,
    Part,
    beside,
    latents,
    mask_of,
    mean_error,
    moment_loss,
    over_steps,
    repeated,
    stacked,
    supervised_error,
)
from saddlepoint.objectives.losses import OBJECTIVES, generator_loss_along, get_objective
from saddlepoint.objectives.penalties import penalised
from saddlepoint.objectives.schedules import inverse, inverse_root
from saddlepoint.objectives.theory import game_logs

SLOPE = 0.2
"""Slope of the critic's LeakyReLU on the negative side."""


@dataclass(frozen=True)
class TimeGANConfig(FamilyConfig):
    """Networks, stages, weights of the losses and optimizer of TimeGAN."""

    batch_size: int = option(128, "windows per minibatch")
    space: str = option(
        "learned",
        "where the game is played: in the space of a trained embedder, in three stages, or on levels and increments "
        "along fixed principal axes, in one",
        choices=("learned", "fixed"),
    )
    width: int = option(24, "hidden units of every recurrent layer, and dimensions of the learned space")
    layers: int = option(3, "recurrent layers of each network; the supervisor has one less")
    cell: str = option("gru-before", "recurrent cell; gru-before: reset gate before the product", choices=CELLS)
    bidirectional: bool = option(False, "let D read windows from both ends (learned space)")
    recovery: str = option("recurrent", "network from the learned space to data", choices=("recurrent", "feed-forward"))
    latent: str = option(
        "uniform",
        "distribution of z at each step: uniform on (0, 1), normal, or a Wiener process over the window",
        choices=("uniform", "normal", "wiener"),
    )
    latent_size: int | None = option(None, "dimensions of z at each step; none: as many as features that change")
    latent_shared: int = option(0, "how many of them stay the same along a window")
    supervisor_noise: bool = option(False, "let the supervisor see z, as the generator of the paper does")
    embedding_iterations: int = option(3000, "steps of the first stage: embedder and recovery (released: 50000)")
    supervised_iterations: int = option(3000, "steps of the second stage: supervisor (released: 50000)")
    joint_iterations: int | None = option(
        None, "steps of the last stage (released: 50000); none: until the budget is spent"
    )
    generator_steps: int = option(2, "steps of generator and embedder per step of D in the last stage")
    reconstruction_weight: float = option(10.0, "factor on the root of the reconstruction error")
    embedder_supervision: float = option(0.1, "factor on the supervised error in the embedder's joint loss (lambda)")
    generator_supervision: float = option(100.0, "factor on the root of the supervised error in G's loss (eta)")
    moments: float = option(100.0, "factor on differences of means and deviations in G's loss; 0: off")
    category_weight: float = option(1.0, "factor on the cross-entropy of categories in the reconstruction error")
    gamma: float = option(1.0, "factor on D's and G's losses before the supervisor; 0: off")
    gate: float | None = option(0.15, "D learns while its loss is above this; none: always")
    critic_width: int = option(32, "channels of the fixed space's convolutional D; they double once")
    objective: str = option(
        "non-saturating", "the game; others than this in the fixed space", choices=tuple(OBJECTIVES)
    )
    r1_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on real windows (fixed space); none: off")
    r2_gamma: float | None = option(None, "weight of gamma/2 ||grad D||^2 on samples (fixed space); none: off")
    gamma_decay_kimg: float | None = option(None, "both weights fall as 1 / (1 + kimg / this); none: they stay")
    lr: float = option(1e-3, "adam's learning rate at the start")
    discriminator_lr: float = option(1.0, "D's learning rate as a multiple of G's")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    beta1: float = option(0.9, "adam's first decay rate")
    beta2: float = option(0.999, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "critic_width", "generator_steps", "embedding_iterations", "supervised_iterations"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(self.layers >= 2, "layers", self.layers, "at least 2")
        for name in ("lr", "discriminator_lr"):
            check(getattr(self, name) > 0, name, getattr(self, name), "positive")
        weights = ("reconstruction_weight", "embedder_supervision", "generator_supervision", "moments", "gamma")
        for name in (*weights, "category_weight"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("beta1", "beta2"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        optional = ("latent_size", "joint_iterations", "gate", "r1_gamma", "r2_gamma", "gamma_decay_kimg")
        for name in (*optional, "lr_decay_kimg"):
            value = getattr(self, name)
            check(value is None or value > 0, name, value, "positive, or none")
        most = self.latent_size or 0
        check(0 <= self.latent_shared <= most, "latent_shared", self.latent_shared, "from 0 to latent-size")
        plain = self.objective == "non-saturating" and self.r1_gamma is None and self.r2_gamma is None
        check(plain or self.space == "fixed", "space", self.space, "fixed for R1, R2 or another objective")

    def learning_rate(self, at: Progress) -> float:
        """Return lr / sqrt(1 + kimg / lr_decay_kimg)."""
        return self.lr * inverse_root(at.nimg, self.lr_decay_kimg)


# What the released code does: GRUs with the reset gate before the product, one Adam state for each loss.
_RELEASED = TimeGANConfig()


@register
class TimeGAN(Simultaneous, DiscriminatorLogits, Conditional, Prepared, Remediable, Family):
    """Embedder, recovery, generator, supervisor and D; or generator and D alone, in fixed coordinates."""

    name = "timegan"
    summary = "time series of any CSV (Yoon et al. 2019)"
    tags = Tags(modalities=("sequence",), input="sequence", budget="10m")
    Config = TimeGANConfig
    paper_presets = ("code-2019", "paper-2019")
    remedies: ClassVar[tuple[Remedy, ...]] = (
        replace(remedy.PENALTIES, change=lambda c: remedy.PENALTIES.change(c) if c.space == "fixed" else None),
        remedy.WEAKER_PENALTIES,
        remedy.FASTER_DISCRIMINATOR,
        remedy.SLOWER_PLAYERS,
        remedy.SLOWER_DISCRIMINATOR,
    )
    PRESETS: ClassVar[Mapping[str, TimeGANConfig]] = {
        # No autoencoder: the game is played on levels and increments along principal axes, so that a critic sees
        # small steps as well as large ones. Relativistic pairing, R1 and R2 at no cost, averages of G.
        "increments": TimeGANConfig(
            batch_size=64, space="fixed", width=64, layers=2, cell="gru", latent="normal", latent_size=32,
            latent_shared=16, objective="relativistic", r1_gamma=0.1, r2_gamma=0.1, beta1=0.0, beta2=0.99, ema_ramp=0.1,
        ),
        "code-2019": _RELEASED,
        # The paper's lambda 1 and eta 10, no loss of moments and none before the supervisor, D always learning.
        "paper-2019": replace(
            _RELEASED, bidirectional=True, recovery="feed-forward", latent="normal", supervisor_noise=True,
            reconstruction_weight=1.0, embedder_supervision=1.0, generator_supervision=10.0, moments=0.0, gamma=0.0,
            gate=None, generator_steps=1,
        ),
    }  # fmt: skip

    def __init__(self, config: TimeGANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        time, features = data.shape
        self.static, self.known, self.groups = data.static, data.known, Groups(data.onehot, data.spikes)
        self.changing = features - data.static - data.known
        self.numbers = self.changing - self.groups.features
        if time < 2 or self.changing < 1:
            raise ConfigError(
                f"windows of {time} steps with {max(0, self.changing)} features that change are none; "
                "use a longer --window, and at least one column that is not static"
            )
        self.groups.check(self.numbers)
        self.latents = config.latent_size or self.changing
        self.lengths: Tensor
        self.register_buffer("lengths", torch.full((EXAMPLES,), time))
        if data.known:
            self.phases: Tensor
            self.register_buffer("phases", torch.zeros(EXAMPLES, time, data.known))
        self.objective = get_objective(config.objective)
        self.discriminator: Any
        if config.space == "fixed":
            self._build_fixed()
        else:
            self._build_learned()

    def _build_fixed(self) -> None:
        c, k, n, g, told = self.config, self.static, self.numbers, self.groups.features, 2 * self.known
        self.coordinates = Coordinates(n)
        self.generator = Part(
            c.width, c.cell, (self.latents + told, 2 * n + g), (k, k), layers=c.layers, classes=self.classes,
            squashed=False, own=True,
        )  # fmt: skip
        # Beside levels and increments the critic sees categories, static features, the calendar, and where a window
        # ends.
        self.discriminator = Critic(
            2 * n + g + k + told + 1, self.data.shape[0], c.critic_width, self.classes, SLOPE,
            bias=not self.objective.paired,
        )  # fmt: skip

    def _build_learned(self) -> None:
        c, n, k, calendar = self.config, self.changing, self.static, 2 * self.known
        w, s = c.width, c.width if k else 0
        told, seen = self.classes, self.latents if c.supervisor_noise else 0
        part = partial(Part, c.width, c.cell)
        self.embedder = part((n, w), (k, s), layers=c.layers, own=True)
        self.recovery = part(
            (w, n), (s, k), layers=c.layers if c.recovery == "recurrent" else 0, logits=self.groups.features
        )
        self.generator = part((self.latents + calendar, w), (k, s), layers=c.layers, classes=told, own=True)
        self.supervisor = part((w + seen, w), (s, 0), layers=c.layers - 1, classes=told)
        self.discriminator = part(
            (w + calendar, 1), (s, 1 if k else 0), layers=c.layers, classes=told, squashed=False,
            bidirectional=c.bidirectional,
        )  # fmt: skip
        self.averaged = ("generator", "supervisor", "recovery")
        for network in self.children():
            # A compiler would trace every step of every layer, for minutes.
            network.by_hand = True  # type: ignore[assignment]

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw Glorot-uniform weights with gate biases of 1, as released; in the fixed space as PyTorch does."""
        for network in self.children():
            if isinstance(network, Part):
                network.draw(generator, glorot=self.config.space == "learned")
            elif isinstance(network, Critic):
                network.draw(generator)

    def prepare(self, stats: DataStats) -> None:
        """Remember how long training windows are and when they were, and fit the fixed coordinates."""
        rows = stats.examples[torch.arange(EXAMPLES) % len(stats.examples)]
        self.lengths.copy_(rows.isfinite().all(2).sum(1))
        if self.known:
            self.phases.copy_(rows[:, :, -self.known :].nan_to_num(0.0))
        if self.config.space == "fixed":
            self.coordinates.fit(stats.examples[:, :, : self.numbers].permute(1, 2, 0))

    def stages(self) -> tuple[Stage, ...]:
        """Embedding, supervised, joint: twice G and embedder, then D; in the fixed space both players at once."""
        c = self.config
        learned = c.space == "learned"
        d = Phase("discriminator", ("discriminator",), "discriminator", fresh_batch=learned, may_skip=learned)
        if not learned:
            return (Stage("game", (d, Phase("generator", ("generator",), "generator")), simultaneous=True),)
        first = Phase("embedding", ("embedder", "recovery"), "embedding")
        second = Phase("supervision", ("supervisor",), "supervision")
        pair = (
            Phase("generator", ("generator", "supervisor"), "generator"),
            Phase("embedder", ("embedder", "recovery"), "embedder"),
        )
        again = (replace(pair[0], fresh_batch=True), pair[1]) * (c.generator_steps - 1)
        return (
            Stage("embedding", (first,), c.embedding_iterations),
            Stage("supervised", (second,), c.supervised_iterations),
            Stage("joint", (*pair, *again, d), c.joint_iterations),
        )

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam; each loss has a state of its own, as released."""
        c = self.config
        spec = OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2))
        own = () if c.space == "fixed" else ("embedding", "supervision", "embedder")
        return two_players(spec, c.discriminator_lr) | dict.fromkeys(own, spec)

    def losses(self, phases: Sequence[Phase], batch: Batch, ctx: Context) -> Mapping[str, Terms]:
        """Return both players' losses in the fixed space, from one forward pass of both networks.

        D's input gradients serve three times: in R1, in R2, and as the way of G's gradient through D.
        A sample is of the time of the real window that it is paired with.
        """
        if self.config.space != "fixed":
            return {}
        x, lengths = stacked(batch.x)
        labels, mask = batch.labels if self.classes else None, mask_of(x, lengths)
        x, calendar = x.split((x.shape[1] - self.known, self.known), 1)
        z, noise = self._told(self._latents(x.shape[2], ctx.generator), calendar)
        fake = self._seen(self._windows(z, noise, labels), calendar, mask)
        pairs = beside(self._seen(x, calendar, mask), fake.detach())
        logits, norms, gradients = self.discriminator.with_gradients(pairs, *repeated(2, labels))
        real_logits, fake_logits = logits.chunk(2)
        loss = self.objective.discriminator(real_logits, fake_logits)
        norms = norms * inverse(ctx.progress.nimg, self.config.gamma_decay_kimg)
        loss = penalised(loss, norms, self.config.r1_gamma, self.config.r2_gamma)
        # (time, feature, batch) to (batch, time, feature)
        along = (part.permute(2, 0, 1) for part in (gradients.chunk(2, 2)[1], fake))
        return {
            "discriminator": Terms(loss, game_logs(real_logits, fake_logits, self.objective)),
            "generator": Terms(generator_loss_along(self.objective, real_logits, fake_logits, *along)),
        }

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms | None:
        """Return the phase's loss; None where D is good enough already."""
        if together := self.losses((phase,), batch, ctx):
            return together[phase.name]
        x, lengths = stacked(batch.x)
        labels, mask = batch.labels if self.classes else None, mask_of(x, lengths)
        x, phases = x.split((x.shape[1] - self.known, self.known), 1)
        if phase.name in ("embedding", "embedder"):
            return self._embedder_loss(phase, x, labels, mask, lengths)
        with torch.no_grad():
            h = self.embedder(x, None, lengths)
        z = self._told(self._latents(len(batch), ctx.generator), phases)[0]
        if phase.name == "supervision":
            return Terms(supervised_error(h, self._supervised(h, z, labels, lengths), mask))
        if phase.name == "generator":
            return self._generator_loss(x, h, z, phases, labels, mask, lengths)
        return self._discriminator_loss(h, z, phases, labels, mask, lengths)

    def _embedder_loss(
        self, phase: Phase, x: Steps, labels: Tensor | None, mask: Tensor, lengths: Tensor | None
    ) -> Terms:
        c, h = self.config, self.embedder(x, None, lengths)
        found, wanted = self._divided(self.recovery(h, None, lengths)), self._divided(x)
        error = mean_error(found[0], wanted[0], mask)
        loss = c.reconstruction_weight * error.sqrt()
        logs = {"reconstruction error": error.detach().sqrt()}
        if self.groups.sizes:
            surprise = self.groups.cross_entropy(found[1], wanted[1], mask)
            loss, logs = loss + c.category_weight * surprise, {**logs, "category error": surprise.detach()}
        if phase.name == "embedder" and c.embedder_supervision:
            z = h.new_zeros(len(h), self.latents, h.shape[2])
            loss = loss + c.embedder_supervision * supervised_error(h, self._supervised(h, z, labels, lengths), mask)
        return Terms(loss, logs)

    def _generator_loss(
        self, x: Steps, h: Steps, z: Steps, phases: Steps, labels: Tensor | None, mask: Tensor, lengths: Tensor | None
    ) -> Terms:
        """Deceive D with and without the supervisor, follow the embedded data's steps, match their moments."""
        c, first = self.config, self.generator(z, labels, lengths)
        # Two passes of one network go side by side along the batch.
        last, predicted = self._supervised(beside(first, h), beside(z, z), *repeated(2, labels, lengths)).chunk(2, 2)
        loss = c.generator_supervision * supervised_error(h, predicted, mask).sqrt()
        judged = self._judged((last, first) if c.gamma else (last,), phases, labels, lengths)
        for weight, logits in zip((1.0, c.gamma), judged, strict=False):
            loss = loss + weight * over_steps(F.softplus(-logits), mask)
        if c.moments:
            numbers, logits = self._divided(self.recovery(last, None, lengths))
            found = torch.cat([numbers, self.groups.shares(logits)], 1)
            loss = loss + c.moments * moment_loss(found, torch.cat(self._divided(x), 1), mask)
        return Terms(loss)

    @torch.no_grad()
    def _samples(self, z: Steps, labels: Tensor | None, lengths: Tensor | None) -> tuple[Steps, Steps]:
        first = self.generator(z, labels, lengths)
        return self._supervised(first, z, labels, lengths), first

    def _discriminator_loss(
        self, h: Steps, z: Steps, phases: Steps, labels: Tensor | None, mask: Tensor, lengths: Tensor | None
    ) -> Terms | None:
        last, first = self._samples(z, labels, lengths)
        real, *fakes = self._judged((h, last, first) if self.config.gamma else (h, last), phases, labels, lengths)
        loss = over_steps(F.softplus(-real), mask)
        for weight, logits in zip((1.0, self.config.gamma), fakes, strict=False):
            loss = loss + weight * over_steps(F.softplus(logits), mask)
        if self.config.gate is not None and float(loss.detach().mean()) <= self.config.gate:
            return None
        return Terms(loss, game_logs(over_steps(real, mask), over_steps(fakes[0], mask), self.objective))

    def _judged(
        self, seen: tuple[Steps, ...], phases: Steps, labels: Tensor | None, lengths: Tensor | None
    ) -> tuple[Steps, ...]:
        """Return D's logits at each step of embedded windows, all told the same calendar."""
        n, w, x = len(seen), self.config.width, torch.cat(seen, 2)
        if self.known:
            x = torch.cat([x[:, :w], on_circle(phases).repeat(1, 1, n), x[:, w:]], 1)
        found: tuple[Steps, ...] = self.discriminator(x, *repeated(n, labels, lengths)).chunk(n, 2)
        return found

    def _supervised(self, h: Steps, z: Steps, labels: Tensor | None, lengths: Tensor | None) -> Steps:
        """Return the supervisor's next steps of ``h``; what is static stays."""
        w = self.config.width
        told = torch.cat([h[:, :w], z[:, : self.latents], h[:, w:]], 1) if self.config.supervisor_noise else h
        steps = self.supervisor(told, labels, lengths)
        return torch.cat([steps, h[:, w:]], 1) if self.static else steps

    def _windows(self, z: Steps, noise: Steps, labels: Tensor | None) -> Steps:
        """Return G's windows in the data's own units: (time, feature, batch), without the calendar."""
        found = self.generator(z, labels)
        levels, logits, static = found.split((2 * self.numbers, self.groups.features, self.static), 1)
        return self.groups.drawn(self.coordinates.back(levels), logits, static, noise)

    def _seen(self, x: Steps, phases: Steps, mask: Tensor) -> Steps:
        """Return what the critic sees: levels, increments, categories, static features, calendar, where windows end."""
        numbers, others = x.split((self.numbers, x.shape[1] - self.numbers), 1)
        parts = [self.coordinates(numbers), others, on_circle(phases)]
        return torch.cat([torch.cat(parts, 1) * mask, mask.to(x.dtype)], 1)

    def _divided(self, x: Steps) -> tuple[Steps, Steps]:
        """Return numbers, among them static features, and the features of groups."""
        numbers, groups, static = x.split((self.numbers, self.groups.features, self.static), 1)
        return torch.cat([numbers, static], 1), groups

    def _told(self, z: Steps, phases: Steps) -> tuple[Steps, Steps]:
        """Return what G reads of z, with the calendar, and the noise that draws categories."""
        latents, static, noise = z.split((self.latents, self.static, self.groups.features), 1)
        return torch.cat([latents, on_circle(phases), static], 1), noise

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logit of each window (n,): the mean over its steps, of the embedded window, as released."""
        steps, lengths = stacked(x)
        mask = mask_of(steps, lengths)
        steps, phases = steps.split((steps.shape[1] - self.known, self.known), 1)
        if self.config.space == "fixed":
            fixed: PerSample = self.discriminator(self._seen(steps, phases, mask), labels)
            return fixed
        return over_steps(self._judged((self.embedder(steps, None, lengths),), phases, labels, lengths)[0], mask)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Samples:
        """Draw z, NaN after ends, with calendar phases; ends and phases are those of training windows.

        Returns:
            (n, time, latents + static features + features of categories + phases).
        """
        z = self._latents(n, generator).permute(2, 0, 1)
        lengths, time = self.lengths.to(z.device), self.data.shape[0]
        whole = bool((lengths == time).all())
        if whole and not self.known:
            return z.contiguous()
        chosen = torch.randint(EXAMPLES, (n,), generator=generator, device=z.device)
        if self.known:
            z = torch.cat([z, self.phases.to(z.device)[chosen]], 2)
        if whole:
            return z
        ended = torch.arange(time, device=z.device) >= lengths[chosen][:, None]
        return z.masked_fill(ended[:, :, None], torch.nan)

    def _latents(self, n: int, generator: torch.Generator) -> Steps:
        """Draw z (time, latents + static + features of categories, n); what is shared is the same in every step."""
        c, time = self.config, self.data.shape[0]
        z = latents((time, self.latents + self.static, n), c.latent, (c.latent_shared, self.latents), generator)
        if not self.groups.sizes:
            return z
        noise = torch.rand(time, self.groups.features, n, generator=generator, device=generator.device)
        return torch.cat([z, gumbel(noise)], 1)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return windows (n, time, feature) in [0, 1] with the calendar that is given, NaN where ``inputs`` are."""
        z, lengths = stacked(inputs)
        z, phases = z.split((z.shape[1] - self.known, self.known), 1)
        z, noise = self._told(z, phases)
        if self.config.space == "fixed":
            steps = self._windows(z, noise, labels).clamp(0, 1)
        else:
            steps = self._recovered(self._samples(z, labels, lengths)[0], noise, lengths)
        x = torch.cat([steps, phases], 1).permute(2, 0, 1).contiguous()
        return x if lengths is None else x.masked_fill(inputs.isnan().any(2, keepdim=True), torch.nan)

    def _recovered(self, h: Steps, noise: Steps, lengths: Tensor | None) -> Steps:
        """Return windows from the learned space, with categories drawn."""
        found = self.recovery(h, None, lengths)
        numbers, logits, static = found.split((self.numbers, self.groups.features, self.static), 1)
        return self.groups.drawn(numbers, logits, static, noise)
