"""The DCGAN recipe as it is widely written in plain PyTorch, for 28 x 28 images: the baseline of docs/results.md.

Settings of the paper (Radford et al. 2015): batch normalisation in both networks, LeakyReLU 0.2 in D, weights from
N(0, 0.02), Adam at 2e-4 with beta1 0.5, batches of 128, z of 100 values; 64 channels, binary cross-entropy,
D on data and on samples apart, then G. Samples are taken in training mode, as such scripts do. Nothing of saddlepoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

LATENT, WIDTH, BATCH = 100, 64, 128


def build_generator() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(LATENT, 4 * WIDTH, 7, 1, 0, bias=False),
        nn.BatchNorm2d(4 * WIDTH),
        nn.ReLU(True),
        nn.ConvTranspose2d(4 * WIDTH, 2 * WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.ReLU(True),
        nn.ConvTranspose2d(2 * WIDTH, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def build_discriminator() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(2 * WIDTH, 1, 7, 1, 0, bias=False),
        nn.Sigmoid(),
        nn.Flatten(0),
    )


def initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def train(images: Tensor, seconds: float, seed: int) -> tuple[Callable[[int, int], Tensor], int]:
    """Train for a time on uint8 images (n, 1, 28, 28); return a sampler (n, seed) -> images, and the images seen."""
    torch.manual_seed(seed)
    generator, discriminator = build_generator(), build_discriminator()
    generator.apply(initialise)
    discriminator.apply(initialise)
    optimizers = [
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (generator, discriminator)
    ]
    criterion, started, seen = nn.BCELoss(), time.monotonic(), 0
    while time.monotonic() - started < seconds:
        for index in torch.randperm(len(images)).split(BATCH):
            real = images[index].float() / 127.5 - 1
            ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
            discriminator.zero_grad()
            criterion(discriminator(real), ones).backward()
            fake = generator(torch.randn(len(real), LATENT, 1, 1))
            criterion(discriminator(fake.detach()), zeros).backward()
            optimizers[1].step()
            generator.zero_grad()
            criterion(discriminator(fake), ones).backward()
            optimizers[0].step()
            seen += len(real)
            if time.monotonic() - started >= seconds:
                break

    @torch.no_grad()
    def sample(n: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([generator(torch.randn(len(part), LATENT, 1, 1)) for part in torch.arange(n).split(250)])

    return sample, seen
