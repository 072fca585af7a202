"""Plain PyTorch, as it is widely written: what `saddle bench` holds the engine against, on the same networks.

Data goes to float tensors behind a `DataLoader`; D is trained on data and on samples in two passes, then G through D,
whose gradients are computed and thrown away; losses are read with ``.item()`` in every step. Nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Step = Callable[[], tuple[float, float]]


class Maxout(nn.Module):
    """The largest of several affine maps, unit by unit."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units, self.pieces = units, pieces
        self.linear = nn.Linear(inputs, units * pieces)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, units)."""
        return self.linear(x).view(-1, self.units, self.pieces).max(dim=2).values


def mlp_networks(
    features: int, latent: int, generator_widths: Sequence[int], discriminator_widths: Sequence[int], pieces: int
) -> tuple[nn.Module, nn.Module]:
    """Return G (ReLU, sigmoid) and D (dropout and maxout) of the fully connected GAN of 2014."""
    g: list[nn.Module] = []
    for inputs, outputs in zip((latent, *generator_widths), generator_widths, strict=False):
        g += [nn.Linear(inputs, outputs), nn.ReLU()]
    d: list[nn.Module] = [nn.Flatten(), nn.Dropout(0.2)]
    for inputs, outputs in zip((features, *discriminator_widths), discriminator_widths, strict=False):
        d += [Maxout(inputs, outputs, pieces), nn.Dropout(0.5)]
    generator = nn.Sequential(*g, nn.Linear(generator_widths[-1], features), nn.Sigmoid())
    return generator, nn.Sequential(*d, nn.Linear(discriminator_widths[-1], 1))


def dcgan_networks(channels: int, side: int, latent: int, width: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    """Return G and D of the DCGAN for images whose side is 4 times a power of two, with batch normalisation."""
    levels = (side // 4).bit_length() - 1
    widths = [width << i for i in reversed(range(levels))]
    padding, extra = (kernel // 2, 1) if kernel % 2 else (kernel // 2 - 1, 0)
    g: list[nn.Module] = [nn.Linear(latent, widths[0] * 16, bias=False), nn.Unflatten(1, (widths[0], 4, 4))]
    for inputs, outputs in zip(widths, [*widths[1:], channels], strict=True):
        g += [
            nn.BatchNorm2d(inputs),
            nn.ReLU(True),
            nn.ConvTranspose2d(inputs, outputs, kernel, 2, padding, output_padding=extra, bias=outputs == channels),
        ]
    d: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(zip([channels, *widths[:0:-1]], widths[::-1], strict=True)):
        d.append(nn.Conv2d(inputs, outputs, kernel, 2, padding))
        d += [nn.BatchNorm2d(outputs)] if number else []
        d.append(nn.LeakyReLU(0.2, True))
    return nn.Sequential(*g, nn.Tanh()), nn.Sequential(*d, nn.Flatten(), nn.Linear(widths[0] * 16, 1))


def baseline_steps(
    generator: nn.Module,
    discriminator: nn.Module,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    images: Tensor,
    batch_size: int,
    latent: int,
) -> Step:
    """Return a function that makes one training step and returns the losses of D and G.

    Args:
        generator, discriminator: the networks; D returns logits.
        optimizers: of G and of D.
        images: (n, *sample) floats in the range of G's output.
        batch_size: samples in a step.
        latent: dimensions of z.
    """
    stream = _minibatches(images, batch_size)
    criterion = nn.BCEWithLogitsLoss()

    ones, zeros = torch.ones(batch_size, 1), torch.zeros(batch_size, 1)

    def step() -> tuple[float, float]:
        real = next(stream)
        optimizers[1].zero_grad()
        loss_real = criterion(discriminator(real), ones)
        fake = generator(torch.randn(batch_size, latent)).view_as(real)
        loss_fake = criterion(discriminator(fake.detach()), zeros)
        loss_d = loss_real + loss_fake
        loss_d.backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        loss_g = criterion(discriminator(fake), ones)
        loss_g.backward()
        optimizers[0].step()
        return loss_d.item(), loss_g.item()

    return step


def _minibatches(rows: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield shuffled minibatches, epoch after epoch, as a plain script takes them."""
    loader = DataLoader(TensorDataset(rows), batch_size, shuffle=True, drop_last=True)
    while True:
        for (batch,) in loader:
            yield batch


class Recurrence(nn.Module):
    """GRU layers over (batch, time, feature) and an affine head at each step."""

    def __init__(self, inputs: int, width: int, outputs: int, layers: int, squashed: bool) -> None:
        super().__init__()
        self.rnn = nn.GRU(inputs, width, layers, batch_first=True)
        self.linear = nn.Linear(width, outputs)
        self.squashed = squashed

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, time, outputs)."""
        out: Tensor = self.linear(self.rnn(x)[0])
        return torch.sigmoid(out) if self.squashed else out


def timegan_networks(features: int, width: int, layers: int) -> dict[str, Recurrence]:
    """Return the five networks of the released TimeGAN by name."""
    return {
        "embedder": Recurrence(features, width, width, layers, True),
        "recovery": Recurrence(width, width, features, layers, True),
        "generator": Recurrence(features, width, width, layers, True),
        "supervisor": Recurrence(width, width, width, layers - 1, True),
        "discriminator": Recurrence(width, width, 1, layers, False),
    }


def timegan_steps(parts: dict[str, Recurrence], windows: Tensor, batch_size: int, lr: float) -> Step:
    """Return a function that makes one joint step of TimeGAN (G and embedder twice, then D) and returns losses.

    Args:
        parts: as `timegan_networks` returns them.
        windows: (n, time, feature) in [0, 1].
        batch_size: windows in a minibatch.
        lr: Adam's, for all.
    """
    stream = _minibatches(windows, batch_size)
    embedder, recovery, generator, supervisor, discriminator = parts.values()
    players = ((generator, supervisor), (embedder, recovery), (discriminator,))
    for_g, for_e, for_d = (torch.optim.Adam([p for net in nets for p in net.parameters()], lr) for nets in players)
    criterion = nn.BCEWithLogitsLoss()

    def judged(h: Tensor, target: float) -> Tensor:
        logits = discriminator(h)
        loss: Tensor = criterion(logits, torch.full_like(logits, target))
        return loss

    def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def generator_loss(x: Tensor) -> Tensor:
        h, first = embedder(x), generator(torch.rand_like(x))
        last = supervisor(first)
        x_hat = recovery(last)
        supervised = F.mse_loss(supervisor(h)[:, :-1], h[:, 1:])
        moments = (x_hat.std(0) - x.std(0)).abs().mean() + (x_hat.mean(0) - x.mean(0)).abs().mean()
        return judged(last, 1.0) + judged(first, 1.0) + 100 * supervised.sqrt() + 100 * moments

    def step() -> tuple[float, float]:
        loss_g = 0.0
        for _ in range(2):
            x = next(stream)
            loss_g = descend(for_g, generator_loss(x))
            h = embedder(x)
            loss_e = 10 * F.mse_loss(recovery(h), x).sqrt() + 0.1 * F.mse_loss(supervisor(h)[:, :-1], h[:, 1:])
            descend(for_e, loss_e)
        x = next(stream)
        first = generator(torch.rand_like(x))
        fakes = judged(supervisor(first).detach(), 0.0) + judged(first.detach(), 0.0)
        return descend(for_d, judged(embedder(x).detach(), 1.0) + fakes), loss_g

    return step
