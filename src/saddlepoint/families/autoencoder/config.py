"""Every number that a run of the autoencoder depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from saddlepoint.core.config import check, option
from saddlepoint.family import DataSpec, FamilyConfig, Progress
from saddlepoint.family.rules import check_each
from saddlepoint.nn.coders import fitting_networks
from saddlepoint.objectives.schedules import inverse_root


@dataclass(frozen=True)
class AutoencoderConfig(FamilyConfig):
    """Networks, prior of the codes and optimizer of the autoencoder."""

    batch_size: int = option(100, "samples per minibatch")
    latent_size: int = option(32, "numbers of a code; more of them replicate better and sample worse")
    networks: str = option(
        "auto",
        "mlp: fully connected; convolutional; auto: mlp for grey images up to 32x32 and vectors",
        choices=("auto", "mlp", "convolutional"),
    )
    encoder_widths: tuple[int, ...] = option((512, 512), "hidden units of the mlp encoder")
    decoder_widths: tuple[int, ...] = option((512, 512), "hidden units of the mlp decoder")
    width: int = option(32, "channels of convolutional networks at full size; they double with every halving")
    activation: str = option(
        "leaky", "mlp: tanh, or leaky: LeakyReLU 0.2, normalised at each layer", choices=("leaky", "tanh")
    )
    code_weight: float = option(0.0, "weight of the mean square of codes beside the squared error of a sample")
    code_memory: float = option(0.999, "share that the mean and covariance of codes keep in a step")
    lr: float = option(1e-3, "adam's learning rate at the start")
    lr_decay_kimg: float | None = option(None, "learning rate falls as 1 / sqrt(1 + kimg / this); none: it stays")
    beta1: float = option(0.9, "adam's first decay rate")
    beta2: float = option(0.999, "adam's second decay rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each(self, "at least 1", "latent_size", "width")
        for name in ("encoder_widths", "decoder_widths"):
            numbers = getattr(self, name)
            check(bool(numbers) and min(numbers) >= 1, name, numbers, "at least one number, each at least 1")
        check_each(self, "positive", "lr")
        check_each(self, "0 or more", "code_weight")
        check_each(self, "in [0, 1)", "beta1", "beta2", "code_memory")
        check_each(self, "positive, or none", "lr_decay_kimg")

    def learning_rate(self, at: Progress) -> float:
        """Return lr / sqrt(1 + kimg / lr_decay_kimg)."""
        return self.lr * inverse_root(at.nimg, self.lr_decay_kimg)


def resolved(config: AutoencoderConfig, data: DataSpec) -> tuple[AutoencoderConfig, tuple[str, ...]]:
    """Return the options with nothing left to the data, and a sentence for each that was chosen."""
    if config.networks != "auto":
        return config, ()
    kind, why = fitting_networks(data.shape)
    return replace(config, networks=kind), (why,)
