"""Every number that a run of the variational autoencoder depends on, and what "auto" is on given data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from saddlepoint.core.config import check, option
from saddlepoint.family import DataSpec, FamilyConfig, Progress
from saddlepoint.family.rules import check_each
from saddlepoint.nn.coders import fitting_networks
from saddlepoint.objectives.schedules import inverse_root

AUTO = "auto"


@dataclass(frozen=True)
class VAEConfig(FamilyConfig):
    """Networks, likelihood and optimizer of the variational autoencoder."""

    batch_size: int = option(100, "samples per minibatch")  # section 5
    latent_size: int = option(50, "dimensions of z")
    likelihood: str = option(
        AUTO,
        "what the decoder says of pixels: bernoulli (greys are probabilities, binarised anew in each minibatch), "
        "gaussian (levels with noise between them), logistic (256 levels); auto: bernoulli for grey images, logistic "
        "for colour, gaussian for vectors",
        choices=(AUTO, "bernoulli", "gaussian", "logistic"),
    )
    deviation: float | None = option(
        None, "deviation of the gaussian likelihood, images reaching from -1 to 1; none: learned, one for each channel"
    )
    networks: str = option(
        AUTO,
        "mlp: fully connected; convolutional; auto: mlp for grey images up to 32x32 and vectors",
        choices=(AUTO, "mlp", "convolutional"),
    )
    encoder_widths: tuple[int, ...] = option((512, 512), "hidden units of the mlp encoder")
    decoder_widths: tuple[int, ...] = option((512, 512), "hidden units of the mlp decoder")
    width: int = option(32, "channels of convolutional networks at full size; they double with every halving")
    activation: str = option(
        "leaky", "mlp: tanh, or leaky: LeakyReLU 0.2, normalised at each layer", choices=("leaky", "tanh")
    )
    importance: int = option(1, "importance samples of the bound that training ascends; 1: the evidence lower bound")
    bound_samples: int = option(500, "importance samples of the bound that evaluation gives")
    draw: bool = option(False, "samples are drawn from p(x|z); otherwise they are its means")
    lr: float = option(1e-3, "adam's learning rate at the start")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    beta1: float = option(0.9, "adam's first decay rate")
    beta2: float = option(0.999, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "latent_size", "width", "importance", "bound_samples")
        for name in ("encoder_widths", "decoder_widths"):
            numbers = getattr(self, name)
            check(bool(numbers) and min(numbers) >= 1, name, numbers, "at least one number, each at least 1")
        check_each(self, "positive", "lr")
        check_each(self, "in [0, 1)", "beta1", "beta2")
        check_each(self, "positive, or none", "deviation", "lr_decay_kimg")
        fits = self.deviation is None or self.likelihood in (AUTO, "gaussian")
        check(fits, "deviation", self.deviation, f"none with the {self.likelihood} likelihood, which has no deviation")

    def learning_rate(self, at: Progress) -> float:
        """Return lr / sqrt(1 + kimg / lr_decay_kimg)."""
        return self.lr * inverse_root(at.nimg, self.lr_decay_kimg)


def resolved(config: VAEConfig, data: DataSpec) -> tuple[VAEConfig, tuple[str, ...]]:
    """Return the options with nothing left to the data, and a sentence for each that was chosen."""
    found, why = config, list[str]()
    image = data.modality == "image"
    if config.likelihood == AUTO:
        kind = "gaussian" if not image or config.deviation is not None else "bernoulli"
        kind = "logistic" if kind == "bernoulli" and data.shape[0] > 1 else kind
        found = replace(found, likelihood=kind)
        why.append(f"likelihood {kind}: {_WHY[kind]}")
    if config.networks == AUTO:
        kind, reason = fitting_networks(data.shape)
        found = replace(found, networks=kind)
        why.append(reason)
    return found, tuple(why)


_WHY = {
    "bernoulli": "greys are taken as probabilities of ink",
    "logistic": "colours are no probabilities, but levels",
    "gaussian": "numbers without levels, or a deviation was named",
}
