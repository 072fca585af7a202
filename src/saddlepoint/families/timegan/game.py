"""TimeGAN in the space that an embedder learns: three stages, five networks, three losses.

    L_R = E sum_t ||x_t - r(h_t)||                            reconstruction, h = e(x)              (equation 7)
    L_U = E sum_t log d(h_t) + E sum_t log(1 - d(h^_t))       the game, h^ = g(z)                   (equation 8)
    L_S = E sum_t ||h_t - g(h_{t-1}, z_t)||                   the next step of embedded data        (equation 9)
    min over e, r: lambda L_S + L_R                                                                 (equation 10)
    min over g: eta L_S + max over d: L_U                                                           (equation 11)

The released code feeds no past to G: a *supervisor* says the next step of what G, or the embedder, made.
Source: Yoon et al. 2019, "Time-series Generative Adversarial Networks", section 4, and the code released with it.
Deviations are listed in docs/deviations.md. Inside the networks sequences are (time, feature, batch); see
`nn/recurrent.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import PerSample, Samples
from saddlepoint.families.timegan.config import TimeGANConfig
from saddlepoint.family import EXAMPLES, Batch, Conditional, Context, DataSpec, DataStats, DiscriminatorLogits, Prepared
from saddlepoint.family.contract import Family, OptimizerSpec, Phase, Stage, Terms
from saddlepoint.family.optimizers import two_players
from saddlepoint.nn import windows
from saddlepoint.nn.categories import Groups, gumbel, on_circle
from saddlepoint.nn.recurrent import Steps
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.theory import game_logs


@dataclass(frozen=True)
class Windows:
    """A minibatch as the networks read it; of data, or of inputs of G."""

    x: Steps  # (time, feature, batch), 0 after ends; without the calendar
    calendar: Steps  # (time, known, batch): phases in turns
    mask: Tensor  # (time, 1, batch): 1 within windows
    lengths: Tensor | None  # (batch,); None: all are whole
    labels: Tensor | None  # (batch,)


class Game(DiscriminatorLogits, Conditional, Prepared, Family):
    """Five networks in three stages. Its methods stand in the order in which a step needs them."""

    averaged: tuple[str, ...] = ("generator", "supervisor", "recovery")

    def __init__(self, config: TimeGANConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        time, features = data.shape
        # A step: numbers, one-hot groups, static features, calendar.
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
        self.lengths: Tensor  # of training windows: how long samples are
        self.register_buffer("lengths", torch.full((EXAMPLES,), time))
        if data.known:
            self.phases: Tensor  # when they were: what the calendar of samples says
            self.register_buffer("phases", torch.zeros(EXAMPLES, time, data.known))
        self.objective = get_objective(config.objective)
        self.discriminator: Any
        self.build()

    def build(self) -> None:
        """Make the networks: section 4.1 and 4.2."""
        c, n, k, calendar = self.config, self.changing, self.static, 2 * self.known
        w, s = c.width, c.width if k else 0  # dimensions of what changes, and of what is static, in the learned space
        told, seen = self.classes, self.latents if c.supervisor_noise else 0
        part = partial(windows.Part, c.width, c.cell)
        self.embedder = part((n, w), (k, s), layers=c.layers, own=True)  # e: equation 3
        depth = c.layers if c.recovery == "recurrent" else 0
        self.recovery = part((w, n), (s, k), layers=depth, logits=self.groups.features)  # r: equation 4
        self.generator = part((self.latents + calendar, w), (k, s), layers=c.layers, classes=told, own=True)  # g: 5
        self.supervisor = part((w + seen, w), (s, 0), layers=c.layers - 1, classes=told)
        self.discriminator = part(
            (w + calendar, 1), (s, 1 if k else 0), layers=c.layers, classes=told, squashed=False,
            bidirectional=c.bidirectional,
        )  # fmt: skip
        for network in self.children():
            # A compiler would trace every step of every recurrent layer, for minutes.
            network.by_hand = True  # type: ignore[assignment]

    def stages(self) -> tuple[Stage, ...]:
        """The released schedule: embedding; supervision; jointly, twice G and the embedder, then D."""
        c = self.config
        embedding = Phase("embedding", ("embedder", "recovery"), "embedding")
        supervision = Phase("supervision", ("supervisor",), "supervision")
        generator = Phase("generator", ("generator", "supervisor"), "generator")
        embedder = Phase("embedder", ("embedder", "recovery"), "embedder")
        again = (replace(generator, fresh_batch=True), embedder) * (c.generator_steps - 1)
        d = Phase("discriminator", ("discriminator",), "discriminator", fresh_batch=True, may_skip=True)
        return (
            Stage("embedding", (embedding,), c.embedding_iterations),
            Stage("supervised", (supervision,), c.supervised_iterations),
            Stage("joint", (generator, embedder, *again, d), c.joint_iterations),
        )

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms | None:
        """Return the phase's loss; None where D is good enough already."""
        data = self.read(batch.x, batch.labels)
        if phase.name in ("embedding", "embedder"):
            return self._embedder_loss(data, joint=phase.name == "embedder")
        with torch.no_grad():  # the other players do not move the space that they play in
            h = self.embedder(data.x, None, data.lengths)  # (time, width, batch)
        z = self.told(self._latents(len(batch), ctx.generator), data.calendar)[0]
        if phase.name == "supervision":
            return Terms(windows.supervised_error(h, self._next(h, z, data), data.mask))  # L_S: equation 9
        return self._generator_loss(h, z, data) if phase.name == "generator" else self._discriminator_loss(h, z, data)

    def _embedder_loss(self, data: Windows, *, joint: bool) -> Terms:
        c, h = self.config, self.embedder(data.x, None, data.lengths)
        found, wanted = self._divided(self.recovery(h, None, data.lengths)), self._divided(data.x)
        error = windows.mean_error(found[0], wanted[0], data.mask)
        loss = c.reconstruction_weight * error.sqrt()  # L_R: equation 7
        logs = {"reconstruction error": error.detach().sqrt()}
        if self.groups.sizes:
            surprise = self.groups.cross_entropy(found[1], wanted[1], data.mask)
            loss, logs = loss + c.category_weight * surprise, {**logs, "category error": surprise.detach()}
        if joint and c.embedder_supervision:
            z = h.new_zeros(len(h), self.latents, h.shape[2])  # 0 for z: the embedder is not to chase noise
            # + lambda L_S: equation 10.
            loss = loss + c.embedder_supervision * windows.supervised_error(h, self._next(h, z, data), data.mask)
        return Terms(loss, logs)

    def _generator_loss(self, h: Steps, z: Steps, data: Windows) -> Terms:
        c, first = self.config, self.generator(z, data.labels, data.lengths)
        # Two passes of one network go side by side along the batch: of G's steps, and of the embedded data's.
        both = replace(data, labels=_twice(data.labels), lengths=_twice(data.lengths))
        last, predicted = self._next(windows.beside(first, h), windows.beside(z, z), both).chunk(2, 2)
        # eta L_S: equation 11.
        loss = c.generator_supervision * windows.supervised_error(h, predicted, data.mask).sqrt()
        # L_U: -log d(h^), non-saturating; as released also of G's steps before the supervisor, times gamma.
        judged = self._judged((last, first) if c.gamma else (last,), data)
        for weight, logits in zip((1.0, c.gamma), judged, strict=False):
            loss = loss + weight * windows.over_steps(F.softplus(-logits), data.mask)
        if c.moments:  # as released: means and deviations of each step and feature, in data space
            numbers, logits = self._divided(self.recovery(last, None, data.lengths))
            found = torch.cat([numbers, self.groups.shares(logits)], 1)
            loss = loss + c.moments * windows.moment_loss(found, torch.cat(self._divided(data.x), 1), data.mask)
        return Terms(loss)

    def _discriminator_loss(self, h: Steps, z: Steps, data: Windows) -> Terms | None:
        last, first = self._samples(z, data)
        real, *fakes = self._judged((h, last, first) if self.config.gamma else (h, last), data)
        loss = windows.over_steps(F.softplus(-real), data.mask)  # -L_U: equation 8
        for weight, logits in zip((1.0, self.config.gamma), fakes, strict=False):
            loss = loss + weight * windows.over_steps(F.softplus(logits), data.mask)
        # As released: a D that is ahead waits.
        if self.config.gate is not None and float(loss.detach().mean()) <= self.config.gate:
            return None
        real_logits, fake_logits = (windows.over_steps(logits, data.mask) for logits in (real, fakes[0]))
        return Terms(loss, game_logs(real_logits, fake_logits, self.objective))

    @torch.no_grad()
    def _samples(self, z: Steps, data: Windows) -> tuple[Steps, Steps]:
        first = self.generator(z, data.labels, data.lengths)
        return self._next(first, z, data), first

    def _next(self, h: Steps, z: Steps, data: Windows) -> Steps:
        # The supervisor's next steps of h; what is static stays.
        w = self.config.width
        told = torch.cat([h[:, :w], z[:, : self.latents], h[:, w:]], 1) if self.config.supervisor_noise else h
        steps = self.supervisor(told, data.labels, data.lengths)
        return torch.cat([steps, h[:, w:]], 1) if self.static else steps

    def _judged(self, seen: tuple[Steps, ...], data: Windows) -> tuple[Steps, ...]:
        # D's logits at each step of embedded windows, all told the same calendar: (time, 1 or 2, batch) each.
        n, w, x = len(seen), self.config.width, torch.cat(seen, 2)
        if self.known:
            x = torch.cat([x[:, :w], on_circle(data.calendar).repeat(1, 1, n), x[:, w:]], 1)
        return self.discriminator(x, *windows.repeated(n, data.labels, data.lengths)).chunk(n, 2)

    def _divided(self, x: Steps) -> tuple[Steps, Steps]:
        # Numbers, among them static features; the features of groups.
        numbers, groups, static = x.split((self.numbers, self.groups.features, self.static), 1)
        return torch.cat([numbers, static], 1), groups

    def read(self, x: Samples, labels: Tensor | None) -> Windows:
        """Return windows (batch, time, feature), NaN after their ends, as the networks read them."""
        steps, lengths = windows.stacked(x)
        features, calendar = steps.split((steps.shape[1] - self.known, self.known), 1)
        return Windows(features, calendar, windows.mask_of(steps, lengths), lengths, labels if self.classes else None)

    def told(self, z: Steps, calendar: Steps) -> tuple[Steps, Steps]:
        """Return what G reads of z, with the calendar, and the noise that draws categories."""
        sizes = (self.latents, self.static, self.groups.features)
        parts = z[:, : sum(sizes)].split(sizes, 1)
        return torch.cat([parts[0], on_circle(calendar), parts[1]], 1), parts[2]

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Adam; each loss has a state of its own, as released."""
        c = self.config
        spec = OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2))
        return two_players(spec, c.discriminator_lr) | dict.fromkeys(("embedding", "supervision", "embedder"), spec)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw Glorot-uniform weights with gate biases of 1, as released."""
        for network in (self.embedder, self.recovery, self.generator, self.supervisor, self.discriminator):
            network.draw(generator, glorot=True)

    def prepare(self, stats: DataStats) -> None:
        """Remember how long training windows are and when they were."""
        rows = stats.examples[torch.arange(EXAMPLES) % len(stats.examples)]
        self.lengths.copy_(rows.isfinite().all(2).sum(1))
        if self.known:
            self.phases.copy_(rows[:, :, -self.known :].nan_to_num(0.0))

    def logits(self, x: Samples, labels: Tensor | None) -> PerSample:
        """Return D's logit of each window (n,): the mean over its steps, of the embedded window, as released."""
        data = self.read(x, labels)
        return windows.over_steps(self._judged((self.embedder(data.x, None, data.lengths),), data)[0], data.mask)

    def sample_inputs(self, n: int, generator: torch.Generator) -> Samples:
        """Draw z, NaN after ends, with calendar phases; ends and phases are those of training windows.

        Returns:
            (n, time, latents + static features + features of categories + phases).
        """
        z = self._latents(n, generator).permute(2, 0, 1)
        lengths, time = self.lengths.to(z.device), self.data.shape[0]
        whole = bool((lengths == time).all())
        if whole and not self.remembers:
            return z.contiguous()
        chosen = torch.randint(EXAMPLES, (n,), generator=generator, device=z.device)
        z = torch.cat([z, *self.remembered(chosen, generator)], 2)
        if whole:
            return z
        ended = torch.arange(time, device=z.device) >= lengths[chosen][:, None]
        return z.masked_fill(ended[:, :, None], torch.nan)

    @property
    def remembers(self) -> bool:
        """Whether inputs carry more of training windows than how long they are."""
        return self.known > 0

    def remembered(self, chosen: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Return what inputs carry of the chosen training windows, (n, time, features) each; the calendar is last."""
        return [self.phases.to(chosen.device)[chosen]] if self.known else []

    def _latents(self, n: int, generator: torch.Generator) -> Steps:
        # z (time, latents + static + features of categories, n); what is shared is the same in every step.
        c, time = self.config, self.data.shape[0]
        z = windows.latents((time, self.latents + self.static, n), c.latent, (c.latent_shared, self.latents), generator)
        if not self.groups.sizes:
            return z
        noise = torch.rand(time, self.groups.features, n, generator=generator, device=generator.device)
        return torch.cat([z, gumbel(noise)], 1)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return windows (n, time, feature) in [0, 1] with the calendar that is given, NaN where ``inputs`` are."""
        given = self.read(inputs, labels)
        steps = self.windows(*self.told(given.x, given.calendar), given)
        x = torch.cat([steps, given.calendar], 1).permute(2, 0, 1).contiguous()
        return x if given.lengths is None else x.masked_fill(inputs.isnan().any(2, keepdim=True), torch.nan)

    def windows(self, z: Steps, noise: Steps, given: Windows) -> Steps:
        """Return G's windows in the data's units, with categories drawn: (time, feature, batch) without calendar."""
        found = self.recovery(self._samples(z, given)[0], None, given.lengths)
        numbers, logits, static = found.split((self.numbers, self.groups.features, self.static), 1)
        return self.groups.drawn(numbers, logits, static, noise)


def _twice(part: Tensor | None) -> Tensor | None:
    return windows.repeated(2, part)[0]
