"""The variational autoencoder: a decoder p(x|z) and an encoder q(z|x) that ascend a lower bound of log p(x).

    log p(x) >= L = E_q(z|x) log p(x|z) - KL(q(z|x) || p(z)),  z = mean + deviation * noise         (equations 3, 4, 10)

Source: Kingma and Welling 2014, "Auto-Encoding Variational Bayes"; with several importance samples Burda et al. 2016,
"Importance Weighted Autoencoders", equation 8. Deviations are listed in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Latents, PerSample, Samples
from saddlepoint.families.vae.config import VAEConfig, resolved
from saddlepoint.families.vae.observed import Observed, observed
from saddlepoint.family import (
    Batch,
    Context,
    DataSpec,
    DataStats,
    Encoding,
    Family,
    Likelihood,
    LogLikelihoods,
    Prepared,
)
from saddlepoint.family.contract import OptimizerSpec, Phase, Stage, Terms
from saddlepoint.nn.coders import ConvDecoder, ConvEncoder, Decoder, Encoder, draw_coders
from saddlepoint.objectives.likelihoods import kl_from_standard_normal, log_mean_exp, normal

_AT_ONCE = 1 << 22
"""Numbers of decoded samples that evaluation holds at once."""


class Posterior(nn.Module):
    """q(z|x) = N(mean, diagonal variance), both by one network: section 3, equation 9."""

    def __init__(self, config: VAEConfig, data: DataSpec) -> None:
        super().__init__()
        outputs = 2 * config.latent_size
        self.network: Any
        if config.networks == "mlp":
            self.network = Encoder(data.shape, config.encoder_widths, outputs, config.activation)
        else:
            self.network = ConvEncoder(data.shape, config.width, outputs, "vae")

    def forward(self, x: Samples) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of z, (batch, latent) each."""
        mean, log_variance = self.network(x).chunk(2, 1)
        return mean, log_variance


class Generative(nn.Module):
    """p(x|z): a network, and the distribution around its output."""

    def __init__(self, config: VAEConfig, data: DataSpec) -> None:
        super().__init__()
        self.network: Any
        if config.networks == "mlp":
            self.network = Decoder(config.latent_size, config.decoder_widths, data.shape, config.activation)
        else:
            self.network = ConvDecoder(config.latent_size, config.width, data.shape, "vae")
        self.observed: Observed = observed(config.likelihood, data, config.deviation)

    def log_prob(self, z: Latents, x: Samples) -> PerSample:
        """Return log p(x|z) of samples as they are observed, (batch,)."""
        return self.observed.log_prob(self.network(z), x)


class Model(Likelihood, Encoding, Prepared, Family):
    """Encoder and decoder. Its methods stand in the order in which a step needs them."""

    averaged = ("encoder", "decoder")
    likelihood = "lower bound"

    def __init__(self, config: VAEConfig, data: DataSpec) -> None:
        super().__init__(resolved(config, data)[0], data)
        if data.modality != "image" and self.config.likelihood != "gaussian":
            raise ConfigError(f"likelihood is '{self.config.likelihood}', but of {data.modality}s it must be gaussian")
        self.encoder, self.decoder = Posterior(self.config, data), Generative(self.config, data)
        # The networks see samples less their mean, vectors in units of their deviations.
        self.mean: Tensor
        self.unit: Tensor
        self.register_buffer("mean", torch.zeros(data.shape))
        self.register_buffer("unit", torch.ones(data.shape))

    def stages(self) -> tuple[Stage, ...]:
        """One step of both networks together."""
        return (Stage("training", (Phase("bound", trains=("encoder", "decoder"), optimizer="adam"),)),)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        c = self.config
        return {"adam": OptimizerSpec("adam", lr=c.learning_rate, betas=(c.beta1, c.beta2))}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        """Return minus the bound, in nats, of a minibatch that is binarised or dequantised anew."""
        x = self.decoder.observed.drawn(self.scaled(batch.x), ctx.generator)
        mean, log_variance = self.posterior(x)  # (batch, latent)
        kl = kl_from_standard_normal(mean, log_variance)
        if self.config.importance > 1:
            log_weights = self.log_weights(x, mean, log_variance, self.config.importance, ctx.generator)
            bound = log_mean_exp(log_weights)  # Burda et al. 2016, equation 8
        else:
            # One sample of z will do where minibatches are of a hundred: section 2.3.
            z = drawn(mean, log_variance, 1, ctx.generator)[0]
            bound = self.decoder.log_prob(z, x) - kl  # equation 10
        bound = bound - self.log_unit
        return Terms(-bound, {"bound": bound.detach(), "KL": kl.detach()})

    def posterior(self, x: Samples) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x) for scaled samples."""
        mean = self.mean if self.data.modality == "image" else 0.0
        found: tuple[Tensor, Tensor] = self.encoder(x - mean)
        return found

    def log_weights(self, x: Samples, mean: Tensor, log_variance: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """Return log p(x|z) + log p(z) - log q(z|x) for k draws of z, (k, batch)."""
        z = drawn(mean, log_variance, k, generator)  # (k, batch, latent)
        prior = normal(z.new_zeros(()), z.new_zeros(()), z.flatten(0, 1))
        proposal = normal(mean.repeat(k, 1), log_variance.repeat(k, 1) / 2, z.flatten(0, 1))
        likelihood = self.decoder.log_prob(z.flatten(0, 1), x.repeat(k, *[1] * (x.ndim - 1)))
        return (likelihood + prior - proposal).unflatten(0, (k, len(x)))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw He-normal weights; means and log variances start near those of the prior."""
        draw_coders(self.encoder.network, self.decoder.network, generator=generator)
        with torch.no_grad():
            self.encoder.network.output.weight.mul_(0.1)

    def prepare(self, stats: DataStats) -> None:
        """Let the untrained decoder give the mean of the data."""
        if self.data.modality == "image":
            self.mean.copy_(stats.mean)
            with torch.no_grad():
                self.decoder.observed.paint(self.decoder.network.offset, stats.mean)
        else:
            self.mean.copy_(stats.mean)
            self.unit.copy_(stats.std.clamp_min(1e-6))

    def scaled(self, x: Samples) -> Samples:
        """Return samples as the networks know them: images as they are, vectors with mean 0 and deviation 1."""
        return x if self.data.modality == "image" else (x - self.mean) / self.unit

    @property
    def log_unit(self) -> Tensor | float:
        """Log of the volume that scaling made a unit of, which a density in the data's own units must lose."""
        return 0.0 if self.data.modality == "image" else self.unit.log().sum()

    def sample_inputs(self, n: int, generator: torch.Generator) -> Latents:
        """Draw z from p(z) = N(0, 1), (n, latent_size), on the generator's device."""
        return torch.randn(n, self.config.latent_size, generator=generator, device=generator.device)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Samples:
        """Return means of p(x|z), or with ``draw`` draws from it, in the inside range."""
        out, seen = self.decoder.network(inputs), self.decoder.observed
        x: Tensor = seen.sample(out, generator) if self.config.draw else seen.mean(out)
        return x if self.data.modality == "image" else x * self.unit + self.mean

    def encode(self, x: Samples, labels: Tensor | None = None) -> Latents:
        """Return the mean of q(z|x), (n, latent_size)."""
        return self.posterior(self.scaled(x))[0]

    @property
    def observed(self) -> Literal["binary", "levels", "values"]:
        """What the likelihood is one of: by the option."""
        return self.decoder.observed.kind

    @property
    def estimator(self) -> str:
        """The number of importance samples."""
        return f"iw{self.config.bound_samples}"

    def log_likelihood(self, x: Samples, *, generator: torch.Generator) -> LogLikelihoods:
        """Return the importance-weighted bound of log p(x), (n,), k = `bound_samples`: Burda et al., equation 8."""
        k, numbers = self.config.bound_samples, torch.Size(x.shape[1:]).numel()
        at_once = max(1, min(k, _AT_ONCE // numbers))
        rows = max(1, _AT_ONCE // (numbers * at_once))
        found = []
        for part in x.split(rows):
            seen = self.decoder.observed.drawn(self.scaled(part), generator)
            mean, log_variance = self.posterior(seen)
            pieces = [min(at_once, k - start) for start in range(0, k, at_once)]
            weights = [self.log_weights(seen, mean, log_variance, piece, generator) for piece in pieces]
            found.append(log_mean_exp(torch.cat(weights)) - self.log_unit)
        return LogLikelihoods(torch.cat(found))


def drawn(mean: Tensor, log_variance: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return z = mean + deviation * noise, (k, batch, latent): the reparameterisation, equation 4."""
    noise = torch.randn((k, *mean.shape), generator=generator, device=mean.device)
    return mean + (log_variance / 2).exp() * noise
