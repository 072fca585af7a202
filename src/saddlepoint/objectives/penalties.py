"""Penalties and constraints on the discriminator, per sample.

A *critic* is a function from samples to one logit a sample, each depending on its own sample only; normalisation over a
minibatch breaks that. Gradients are differentiated again, so the penalties work wherever autograd does; of R1 and R2
`squared_differences` has a form that differentiates once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from saddlepoint.core.types import PerSample, Samples, at_least_float32

Critic = Callable[[Samples], PerSample]
Judge = Callable[[Samples, Tensor | None], PerSample]
JudgeWithGradients = Callable[[Samples, Tensor | None], tuple[PerSample, PerSample, Samples]]


def squared_gradient_norm(logits: PerSample, x: Samples) -> PerSample:
    """Return ||grad_x D(x)||^2 for each sample, differentiable with respect to D's parameters.

    Half of it times gamma is R1 when x is real and R2 when x is generated.
    Source: Mescheder et al. 2018, equations 9 and 10.

    Args:
        logits: (batch,) discriminator outputs computed from ``x``, each depending on its own sample only.
        x: (batch, *sample) the discriminator's input, with ``requires_grad``.
    """
    (gradient,) = torch.autograd.grad(at_least_float32(logits).sum(), x, create_graph=True)  # one pass for all rows
    return at_least_float32(gradient).square().flatten(1).sum(1)


def squared_slopes(
    judge: Judge, x: Samples, labels: Tensor | None, step: float | None, generator: torch.Generator,
    *, apart: bool = False,
) -> tuple[PerSample, PerSample]:  # fmt: skip
    """Return D(x), and ||grad_x D||^2 for each sample, which is differentiable with respect to D's parameters.

    Args:
        judge: samples and labels to logits.
        x: (batch, *sample); no gradient reaches what made it.
        labels: (batch,), or None.
        step: None: the gradient is differentiated again. Else an estimate that needs no second derivative: see
            `squared_differences`.
        generator: of the directions of an estimate; not used without.
        apart: whether the points of an estimate go through D after ``x`` and not beside it, as a D that looks at its
            whole minibatch must see them.
    """
    if step is None:
        x = x.detach().requires_grad_()
        logits = judge(x, labels)
        return logits, squared_gradient_norm(logits, x)
    points = with_neighbours(x, step, generator)
    if apart:
        return squared_differences(torch.cat([judge(part, labels) for part in points.chunk(2)]), step)
    return squared_differences(judge(points, _twice(labels)), step)


def slopes(
    judge: JudgeWithGradients, x: Samples, labels: Tensor | None, step: float | None, generator: torch.Generator,
    *, axis: int = 0,
) -> tuple[PerSample, PerSample, Samples]:  # fmt: skip
    """Return D(x), ||grad_x D||^2 and the gradients, of a D that gives all three; see `squared_slopes`.

    Args:
        judge: samples and labels to logits, squared norms of D's gradients, and these gradients.
        x: samples.
        labels: one for each, or None.
        step: None: the norms are those that ``judge`` gives; else they are estimated.
        generator: of the directions of an estimate; not used without.
        axis: of ``x`` along which samples stand.
    """
    if step is None:
        return judge(x, labels)
    logits, _, gradients = judge(with_neighbours(x, step, generator, axis=axis), _twice(labels))
    return *squared_differences(logits, step), gradients.chunk(2, axis)[0]


def _twice(labels: Tensor | None) -> Tensor | None:
    return None if labels is None else torch.cat([labels, labels])


def with_neighbours(x: Samples, step: float, generator: torch.Generator, *, axis: int = 0) -> Samples:
    """Return ``x``, and behind it along ``axis`` a point x + step u beside each sample, with u from N(0, I)."""
    directions = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return torch.cat([x.detach(), x.detach() + step * directions], axis)


def squared_differences(logits: PerSample, step: float) -> tuple[PerSample, PerSample]:
    """Return D(x), and for each sample ((D(x + step u) - D(x)) / step)^2: an estimate of ||grad D||^2.

    u . grad D has the mean square ||grad D||^2 over u from N(0, I) (Hutchinson 1990), so the estimate is unbiased but
    for what D bends along the step: O(step), and 0 where D is linear. Of one direction its standard deviation is
    2^(1/2) times its mean. The gradient in D's parameters is that of the estimate, and so as unbiased.

    Source: Lin et al. 2025, "Diffusion Adversarial Post-Training for One-Step Video Generation", approximated R1.
    Deviation: it is divided by the square of the step, so that gamma means what it means in R1.

    Args:
        logits: (2 batch,) of `with_neighbours`.
        step: size of the steps.
    """
    at, beside = at_least_float32(logits).chunk(2)
    return at, ((beside - at) / step).square()


def r1(critic: Critic, real: Samples) -> PerSample:
    """Return ||grad D||^2 / 2 at real samples; times gamma it is added to D's loss. Source: Mescheder et al. 2018."""
    real = real.detach().requires_grad_()  # a leaf: the penalty is D's, and no gradient reaches G
    return squared_gradient_norm(critic(real), real) / 2


def r2(critic: Critic, fake: Samples) -> PerSample:
    """Return ||grad D||^2 / 2 at generated samples; G gets no gradient. Source: Mescheder et al. 2018, equation 10."""
    return r1(critic, fake)


def path_lengths(images: Samples, styles: Tensor, generator: torch.Generator) -> PerSample:
    """Return ||J' y|| for each sample: how fast its image changes with w, in a random direction y of image space.

    J is the derivative of the image in w, and y ~ N(0, 1 / pixels). With a style for each layer, J' y has a row for
    each, and the norm is the root of their mean square. Differentiable with respect to G's parameters.
    Source: Karras et al. 2020 (StyleGAN2), equation 4, and its released code.

    Args:
        images: (batch, channel, height, width), computed from ``styles``, each from its own.
        styles: (batch, layer, w), with a gradient.
        generator: of y.
    """
    y = torch.randn(images.shape, generator=generator, device=images.device)  # J'y = grad_w (image . y): one pass
    total = (at_least_float32(images) * (y / (images.shape[2] * images.shape[3]) ** 0.5)).sum()
    (gradient,) = torch.autograd.grad(total, styles, create_graph=True)
    return at_least_float32(gradient).square().sum(2).mean(1).sqrt()


def penalised(loss: PerSample, norms: PerSample, r1_gamma: float | None, r2_gamma: float | None) -> PerSample:
    """Return D's loss with R1 and R2, where ||grad D||^2 is known.

    Args:
        loss: (batch,).
        norms: (2 batch,) squared norms of D's gradient, at the real samples and then at the generated ones.
        r1_gamma, r2_gamma: weights; None: off.
    """
    for gamma, norm in zip((r1_gamma, r2_gamma), norms.chunk(2), strict=True):
        if gamma is not None:
            loss = loss + gamma / 2 * norm
    return loss


def gradient_penalty(critic: Critic, real: Samples, fake: Samples, generator: torch.Generator) -> PerSample:
    """Return (||grad D|| - 1)^2 at uniformly drawn points between pairs of real and generated samples.

    Source: Gulrajani et al. 2017, equation 3. It does not converge locally (Mescheder et al. 2018), R1 does.

    Args:
        critic: samples to logits.
        real: (batch, *sample).
        fake: (batch, *sample).
        generator: of the positions between them.
    """
    between = interpolated(real, fake, generator).requires_grad_()
    return from_one(squared_gradient_norm(critic(between), between))


def interpolated(real: Samples, fake: Samples, generator: torch.Generator) -> Samples:
    """Return a uniformly drawn point between each pair of a real and a generated sample; see `gradient_penalty`."""
    share = torch.rand(len(real), *[1] * (real.ndim - 1), generator=generator, device=real.device)
    return torch.lerp(fake.detach(), real.detach(), share.to(real.dtype))


def from_one(norms: PerSample) -> PerSample:
    """Return (||grad D|| - 1)^2 of squared norms; see `gradient_penalty`."""
    # The root has no slope at 0; the offset is far below what fp32 sees of a norm near 1.
    return ((norms + 1e-12).sqrt() - 1).square()


def consistency(critic: Critic, x: Samples, augmented: Samples) -> PerSample:
    """Return (D(x) - D(T(x)))^2: D should not care about an augmentation T that leaves the meaning alone.

    Source: Zhang et al. 2020 (CR-GAN), equation 4; on generated samples too it is bCR (Zhao et al. 2021).
    """
    return (at_least_float32(critic(x)) - at_least_float32(critic(augmented))).square()


@torch.no_grad()
def clip_weights(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Clip every parameter to [-limit, limit], after a step of the critic.

    Kept as the rule of the first Wasserstein GAN (Arjovsky et al. 2017, algorithm 1), whose authors call it a terrible
    way to enforce a Lipschitz constant; `gradient_penalty` and R1 are the better ones.
    """
    for parameter in parameters:
        parameter.clamp_(-limit, limit)
