"""Windows of time series for networks: layout, recurrent maps, fixed coordinates, a convolutional critic."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from saddlepoint.core.types import PerSample, Samples, at_least_float32
from saddlepoint.nn.conv import leaky_convnet
from saddlepoint.nn.mlp import in_full
from saddlepoint.nn.native.dispatch import kernels_in_full
from saddlepoint.nn.recurrent import Recurrent, Steps, affine
from saddlepoint.nn.recurrent_kernels import AlongAxes, FromAxes

# Smallest variance of a principal axis, as a share of the largest: below it a feature is a combination of others.
LEAST = 1e-7


def stacked(x: Samples) -> tuple[Steps, Int[Tensor, " batch"] | None]:
    """Return windows (batch, time, feature) as (time, feature, batch), 0 after their ends, and their lengths.

    The lengths are None where every window is whole, on the CPU; elsewhere there always are some.
    """
    whole = x.isfinite().all(2)  # (batch, time); data of ragged windows has NaN after their ends
    steps = x.permute(1, 2, 0).contiguous()
    # To look makes an accelerator wait. Whole windows come to the same with lengths.
    if x.device.type == "cpu" and bool(whole.all()):
        return steps, None
    return steps.nan_to_num(0.0), whole.sum(1)  # 0, not NaN: masks multiply, and 0 times NaN is NaN


def beside(a: Steps, b: Steps) -> Steps:
    """Return two passes of one network, along the batch."""
    return torch.cat([a, b], 2)


def repeated(times: int, *parts: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return labels or lengths once for each pass that goes along the batch."""
    return tuple(None if part is None else part.repeat(times) for part in parts)


def latents(shape: tuple[int, int, int], kind: str, ends: tuple[int, int], generator: torch.Generator) -> Steps:
    """Draw z of a shape (time, feature, batch): features before, between and from the two ends on.

    Args:
        shape: of z.
        kind: ``uniform`` on (0, 1), ``normal``, or ``wiener``: sums of normal steps, of variance t / time.
        ends: the first features are the same in every step, and so are those from the second end on.
        generator: of the draws.
    """
    draw = torch.rand if kind == "uniform" else torch.randn
    z, (first, last) = draw(shape, generator=generator, device=generator.device), ends
    own = z[:, first:last]
    if kind == "wiener":
        own = own.cumsum(0) / shape[0] ** 0.5  # the variance of the last step is 1
    time = shape[0]  # the ends were drawn for all steps, in one call: the first one's are repeated
    return torch.cat([z[:1, :first].expand(time, -1, -1), own, z[:1, last:].expand(time, -1, -1)], 1)


def mask_of(x: Steps, lengths: Int[Tensor, " batch"] | None) -> Tensor:
    """Return 1 within windows and 0 after their ends: (time, 1, batch)."""
    if lengths is None:
        return x.new_ones(len(x), 1, x.shape[2])
    return (torch.arange(len(x), device=x.device)[:, None, None] < lengths).to(x.dtype)


def over_steps(values: Steps, mask: Tensor) -> PerSample:
    """Return the mean over the steps within each window, added up over features: (batch,)."""
    return (values * mask).sum((0, 1)) / mask.sum((0, 1))


def mean_error(found: Steps, wanted: Steps, mask: Tensor) -> Tensor:
    """Return the mean square over features and the steps within windows, a scalar."""
    squares = (at_least_float32(found) - at_least_float32(wanted)).square() * mask
    return squares.sum() / (mask.sum() * found.shape[1])


def supervised_error(h: Steps, predicted: Steps, mask: Tensor) -> Tensor:
    """Return the mean square of h[t + 1] - predicted[t]. Source: the released code's G_loss_S."""
    # The supervisor predicts the next step: eq. 9 of Yoon et al. 2019, by the mean square instead of the norm.
    return mean_error(predicted[:-1], h[1:], mask[1:])


def moment_loss(fake: Steps, real: Steps, mask: Tensor) -> Tensor:
    """Return mean |deviation(fake) - deviation(real)| + mean |mean(fake) - mean(real)|, over steps and features.

    Moments are over the windows of the minibatch that have the step; deviations are sqrt(variance + 1e-6). Source: the
    released code's G_loss_V.
    """
    weight = mask / mask.sum(2, keepdim=True).clamp_min(1)  # (time, 1, batch); 1: steps that no window has
    means = [(at_least_float32(x) * weight).sum(2, keepdim=True) for x in (fake, real)]
    pairs = zip((fake, real), means, strict=True)
    deviations = [((x - mean).square().mul(weight).sum(2) + 1e-6).sqrt() for x, mean in pairs]
    there = mask.amax(2)  # (time, 1): whether any window has the step
    terms = (deviations[0] - deviations[1]).abs() + (means[0] - means[1]).squeeze(2).abs()
    return (terms * there).sum() / (there.sum() * fake.shape[1])


class Part(nn.Module):
    """One of the networks: a recurrent map of the steps with an affine head, beside a map of what is static.

    Args:
        width: of the recurrent layers, and of the static map's hidden layer.
        cell: kind of the recurrent ones.
        steps: features of a step in and out.
        static: static features in and out; (0, 0) without any. They are the last ones of input and output.
        layers: recurrent ones; 0: the head alone.
        classes: labels that the network is told; 0: none.
        squashed: whether sigmoids end the heads.
        logits: how many of the steps' last outputs sigmoids leave as they are.
        own: whether the recurrent map sees the static map's output (embedder, generator) or its input.
        bidirectional: whether it reads both ways.
    """

    def __init__(
        self, width: int, cell: str, steps: tuple[int, int], static: tuple[int, int], *, layers: int, classes: int = 0,
        squashed: bool = True, logits: int = 0, own: bool = False, bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sizes, self.classes, self.squashed, self.own = (steps[0], static[0]), classes, squashed, own
        self.logits = logits
        seen = steps[0] + (static[1] if own else static[0]) + classes
        self.recurrent = self.static = None
        if layers:
            self.recurrent = Recurrent(seen, width, layers, cell=cell, bidirectional=bidirectional)
            seen = width * self.recurrent.directions
        self.head = nn.Linear(seen, steps[1])
        if static[1]:
            self.static = nn.Sequential(nn.Linear(static[0], width), nn.ReLU(), nn.Linear(width, static[1]))

    def forward(self, x: Steps, labels: Tensor | None, lengths: Int[Tensor, " batch"] | None = None) -> Steps:
        """Return (time, steps out + static out, batch)."""
        steps, static = x.split(self.sizes, 1)
        found = static = static[:1]  # the same in every step: the first one will do, (1, static, batch)
        if self.static is not None:
            rows = static[0].t()  # the kernels compute all of a recurrent network in full: this is a small part
            found = self.static(rows) if kernels_in_full(rows) is None else in_full(self.static, rows)
            found = self._ended(found.t()[None])
        # Embedder and generator read what they made of the static features, recovery and discriminator what came in.
        parts = [steps, found if self.own else static]
        if self.classes:
            assert labels is not None
            parts.append(F.one_hot(labels, self.classes).to(x.dtype).t()[None])
        h = torch.cat([part.expand(len(x), -1, -1) for part in parts if part.shape[1]], 1)
        if self.recurrent is not None:
            h = self.recurrent(h, lengths)
        out = self._head(h)
        if self.logits:
            # Logits of categories go to a softmax: a sigmoid before it would bound how sure they can be.
            numbers, logits = out.split((out.shape[1] - self.logits, self.logits), 1)
            out = torch.cat([self._ended(numbers), at_least_float32(logits)], 1)
        else:
            out = self._ended(out)
        return out if self.static is None else torch.cat([out, found.expand(len(x), -1, -1)], 1)

    def _head(self, h: Steps) -> Steps:
        if self.squashed:  # sigmoids forgive half precision; what ends without one is logits or embeddings
            return affine(h, self.head.weight, self.head.bias)
        out: Steps = in_full(lambda states: affine(states, self.head.weight, self.head.bias), h)  # type: ignore[arg-type]
        return out

    def _ended(self, a: Steps) -> Steps:
        a = at_least_float32(a)
        return torch.sigmoid(a) if self.squashed else a

    def draw(self, generator: torch.Generator, *, glorot: bool) -> None:
        """Draw the weights: as TensorFlow 1 does, or as PyTorch's recurrent layers do; biases of heads 0."""
        if self.recurrent is not None:
            (self.recurrent.draw_glorot if glorot else self.recurrent.draw)(generator)
        for layer in (module for module in self.modules() if isinstance(module, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)


class Coordinates(nn.Module):
    """Levels and increments of a window, each in principal axes of unit variance.

    Small differences are as large as any there.

    Args:
        features: of a step, without static ones.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        # Features are often nearly combinations of one another (highest and lowest price of a day), and a level says
        # little about the step to the next: whitening both shows D what a plain window hides.
        self.features = features
        self.mean: Tensor
        self.level: Tensor
        self.step: Tensor
        self.register_buffer("mean", torch.zeros(features, 1))
        for name in ("level", "step"):
            self.register_buffer(name, torch.eye(features))
            self.register_buffer(f"{name}_back", torch.eye(features))

    @torch.no_grad()
    def fit(self, x: Steps) -> None:
        """Take means and axes from training windows (time, features, n); NaN after the end of ragged ones."""
        if not self.features:
            return
        whole = x.cpu().double().permute(2, 0, 1)  # (n, time, features); MPS has no float64
        levels = whole.flatten(0, 1)
        steps = (whole[:, 1:] - whole[:, :-1]).flatten(0, 1)
        # Rows with a NaN fall out: after an end, and the increment into it.
        levels, steps = (rows[rows.isfinite().all(1)] for rows in (levels, steps))
        self.mean.copy_(levels.mean(0)[:, None])
        # Increments are not centred: back() adds them up, and a mean taken out would have to be put back at each step.
        for name, rows in (("level", levels - levels.mean(0)), ("step", steps)):
            values, axes = torch.linalg.eigh(rows.t() @ rows / max(1, len(rows)))
            # Axes of no variance are not blown up: what G puts there would be all that D sees.
            scale = values.clamp_min(max(float(values.max()) * LEAST, 1e-12)).sqrt()
            self.get_buffer(name).copy_(axes.t() / scale[:, None])
            self.get_buffer(f"{name}_back").copy_(axes * scale)

    def forward(self, x: Steps) -> Steps:
        """Return levels and increments (time, 2 features, batch); the first step has no increment."""
        # Differences of neighbours cancel leading digits: bf16 would have none left.
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_float32(x)
            if self.features and kernels_in_full(x) is not None:
                made: Steps = AlongAxes.apply(x, self.mean, self.level, self.step)
                return made
            steps = F.pad(x[1:] - x[:-1], (0, 0, 0, 0, 1, 0))
            return torch.cat([affine(x - self.mean, self.level), affine(steps, self.step)], 1)

    def back(self, found: Steps) -> Steps:
        """Return windows (time, features, batch) that are a level plus the sum of increments so far."""
        with torch.autocast(found.device.type, enabled=False):
            found, backs = at_least_float32(found), [self.get_buffer(f"{name}_back") for name in ("level", "step")]
            if self.features and kernels_in_full(found) is not None:
                made: Steps = FromAxes.apply(found, self.mean, *backs)
                return made
            level, steps = found.split(self.features, 1)
            summed = affine(steps, backs[1]).cumsum(0)
            return self.mean + affine(level, backs[0]) + summed


class Critic(nn.Module):
    """Convolutions over time with LeakyReLU, every second one of stride 2, and one logit, with penalties for free.

    Args:
        channels: of the input.
        time: steps of a window.
        width: channels of the first layer; they double once.
        classes: rows of the head, one for each label; 0: one for all.
        slope: of LeakyReLU.
        bias: an offset of the logit, which a paired objective would never move.
    """

    def __init__(self, channels: int, time: int, width: int, classes: int, slope: float, *, bias: bool) -> None:
        super().__init__()
        self.slope = slope
        widths = [channels, width]
        strides = [1]
        while time > 4:  # halved until four steps are left, which one head sees at once
            time = -(-time // 2)
            widths.append(2 * width)
            strides.append(2)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, (5, 1), (stride, 1), (2, 0))
            for (a, b), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.output = nn.Linear(widths[-1] * time, 1, bias=bias)
        self.embedding = nn.Embedding(classes, widths[-1] * time) if classes else None

    def forward(self, x: Steps, labels: Tensor | None) -> PerSample:
        """Return logits (batch,)."""
        return self.with_gradients(x, labels)[0]

    def with_gradients(self, x: Steps, labels: Tensor | None) -> tuple[PerSample, PerSample, Steps]:
        """Return logits (batch,), ||grad_x D||^2 (batch,), and the gradients, detached, in the layout of ``x``."""
        head = self.output.weight
        if self.embedding is not None:
            assert labels is not None
            head = head + self.embedding(labels)
        # (time, feature, batch) as images (batch, feature, time, 1): one implementation of the passes for both.
        logits, norms, gradients = leaky_convnet(x.permute(2, 1, 0).unsqueeze(3), self.layers, head, self.slope)
        logits = logits if self.output.bias is None else logits + self.output.bias
        return logits, norms, gradients.squeeze(3).permute(2, 1, 0)

    def draw(self, generator: torch.Generator) -> None:
        """Draw He-normal weights, biases 0, and a small head."""
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            # He et al. 2015, eq. 10.
            nn.init.normal_(layer.weight, 0.0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.output.weight, 0.0, self.output.in_features**-0.5, generator=generator)
        if self.output.bias is not None:
            nn.init.zeros_(self.output.bias)
        if self.embedding is not None:
            nn.init.zeros_(self.embedding.weight)
