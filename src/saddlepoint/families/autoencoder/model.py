"""The autoencoder: a code of few numbers from which a sample is made again, and a Gaussian from which codes are drawn.

    min_E,D  E_x ||D(E(x)) - x||^2;      samples: D(c), c drawn from N(mean, covariance) of the training codes

Source: Hinton and Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks", trained as a whole
from random weights; that codes are drawn from a density fitted to them afterwards: Ghosh et al. 2020, "From Variational
to Deterministic Autoencoders", section 4. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.types import Latents, Samples, at_least_float32
from saddlepoint.families.autoencoder.config import AutoencoderConfig, resolved
from saddlepoint.family import Batch, Context, DataSpec, DataStats, Encoding, Family, Prepared
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage, Terms
from saddlepoint.nn.coders import ConvDecoder, ConvEncoder, Decoder, Encoder, draw_coders
from saddlepoint.nn.layers import tanh

_RIDGE = 1e-4
"""Added to the variance of each number of a code, as a share of their mean: a few codes span no space."""


class Model(Encoding, Prepared, Family):
    """Encoder and decoder. Its methods stand in the order in which a step needs them."""

    averaged = ("decoder", "encoder")

    def __init__(self, config: AutoencoderConfig, data: DataSpec) -> None:
        super().__init__(resolved(config, data)[0], data)
        c, size = self.config, config.latent_size
        self.encoder: Any
        self.decoder: Any
        if c.networks == "mlp":
            self.encoder = Encoder(data.shape, c.encoder_widths, size, c.activation)
            self.decoder = Decoder(size, c.decoder_widths, data.shape, c.activation)
        else:
            self.encoder = ConvEncoder(data.shape, c.width, size, "autoencoder")
            self.decoder = ConvDecoder(size, c.width, data.shape, "autoencoder")
        # Of the training data: what the encoder subtracts, and of vectors what they are divided by.
        self.mean: Tensor
        self.unit: Tensor
        self.register_buffer("mean", torch.zeros(data.shape))
        self.register_buffer("unit", torch.ones(data.shape))
        # Of the codes: running mean, second moment, and the factor of their covariance.
        self.steps: Tensor
        self.code_mean: Tensor
        self.code_square: Tensor
        self.code_factor: Tensor
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("code_mean", torch.zeros(size))
        self.register_buffer("code_square", torch.eye(size))
        self.register_buffer("code_factor", torch.eye(size))

    def stages(self) -> tuple[Stage, ...]:
        """One step of both networks together."""
        return (Stage("training", (Phase("error", trains=("encoder", "decoder"), optimizer="adam"),)),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        c = self.config
        return {"adam": OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2))}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return squared errors, (batch,), and take the codes into the running statistics."""
        x = self.scaled(batch.x)
        codes = self.encoder(x)  # (batch, latent)
        self.remember(codes.detach())
        # Images reach from -1 to 1: a quarter is the error in units of [0, 1].
        share = 0.25 if self.data.modality == "image" else 1.0
        errors = share * (self.decoded(codes) - self.target(batch.x)).square().flatten(1).mean(1)
        loss = errors
        if self.config.code_weight:
            loss = loss + self.config.code_weight * codes.square().mean(1)
        return Terms(loss, {"squared error": errors.detach()})

    def remember(self, codes: Tensor) -> None:
        """Take the codes of a minibatch, (batch, latent), into their running mean and covariance."""
        codes = at_least_float32(codes)
        with torch.autocast(codes.device.type, enabled=False):  # which would round the second moment to 8 bits
            square = codes.T @ codes / len(codes)
        self.steps.mul_(self.config.code_memory).add_(1)
        rate = 1 / self.steps  # 1 for the first minibatch, 1 - memory at last
        self.code_mean.lerp_(codes.mean(0), rate)
        self.code_square.lerp_(square, rate)
        covariance = self.code_square - torch.outer(self.code_mean, self.code_mean)
        ridge = _RIDGE * covariance.diagonal().mean().clamp_min(1e-8)
        factor, failed = torch.linalg.cholesky_ex(covariance + ridge * torch.eye(len(covariance), device=codes.device))
        self.code_factor.copy_(torch.where(failed == 0, factor, self.code_factor))

    def decoded(self, codes: Tensor) -> Samples:
        """Return what is made of codes: images in (-1, 1), vectors in units of their deviations."""
        out = self.decoder(codes)
        return tanh(out) if self.data.modality == "image" else at_least_float32(out)

    def scaled(self, x: Samples) -> Samples:
        """Return samples as the encoder sees them: less the data's mean, vectors with deviation 1."""
        return (x - self.mean) / self.unit

    def target(self, x: Samples) -> Samples:
        """Return samples as the decoder makes them."""
        return x if self.data.modality == "image" else self.scaled(x)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw He-normal weights, small ones at the end."""
        draw_coders(self.encoder, self.decoder, generator=generator)

    @torch.no_grad()
    def prepare(self, stats: DataStats) -> None:
        """Let the untrained decoder give the mean of the data."""
        self.mean.copy_(stats.mean)
        if self.data.modality == "image":
            self.decoder.offset.copy_(torch.atanh(stats.mean.clamp(-0.999, 0.999)).view_as(self.decoder.offset))
        else:
            self.unit.copy_(stats.std.clamp_min(1e-6))

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw standard normal numbers, (n, latent_size), on the generator's device."""
        return torch.randn(n, self.config.latent_size, generator=generator, device=generator.device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return samples of codes mean + factor inputs, which have the mean and covariance of training codes."""
        x = self.decoded(self.code_mean + inputs @ self.code_factor.T)
        return x if self.data.modality == "image" else x * self.unit + self.mean

    def encode(self, x: Samples, labels: Tensor | None = None) -> Latents:
        """Return the inputs whose code is that of a sample, (n, latent_size)."""
        codes = at_least_float32(self.encoder(self.scaled(x))) - self.code_mean
        return torch.linalg.solve_triangular(self.code_factor, codes.T, upper=False).T
