"""The peers of the ladder: other people's code for GANs of images, trained here on the same thread and clock.

Their files stay where they are checked out, PEERS_DIR, and nothing of them is kept here:

    git clone https://github.com/brownvc/R3GAN PEERS_DIR/R3GAN
    git clone https://github.com/NVlabs/stylegan2-ada-pytorch PEERS_DIR/stylegan2-ada-pytorch
    git clone https://github.com/pytorch/examples PEERS_DIR/examples

An adapter builds their networks, losses and optimizers from their modules, and does what their training scripts do
between them: minibatches, the order of updates, schedules, averages of weights. Their scripts themselves want a GPU
(two of three) and a folder of images. Where an adapter deviates:

- fp32, eager, as their code is on a CPU: their CUDA kernels have reference implementations, which are used.
- Networks are for 32x32 pixels; images of 28x28 get two black pixels on each side, which samples lose again. R3GAN
  makes three channels: grey is repeated, and the mean taken of samples. DCGAN's example is for 64x64 pixels: the
  outermost stage of G's and D's channels is left out, as those who take it for 32x32 do.
- Widths are reduced: 512 (StyleGAN2-ADA) and 768 (R3GAN) channels at every size are hours for a thousand images.
- No augmentation. That of StyleGAN2-ADA starts at probability 0 and moves by 1 in 500,000 images, that of R3GAN is
  below .001 in the first 500,000: at the lengths of the ladder both are nearly off.
- Reading images takes no time: they are in memory, as ours.

Settings are tried in `PILOT_SECONDS` each (`ladder.py pilot`); the first of each peer is nearest to what is published.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ladder_foreign import SIZE, Images, Peer, Setting, follow, functions_of, imported, parts_of, without_torchvision
from torch import Tensor, nn

PILOT_SECONDS = 150.0


class R3GAN(Peer):
    """Huang et al. 2024, `R3GAN/Networks.py` and `training/loss.py`; schedules of the preset CIFAR10 of `train.py`.

    Settings: ``width`` of all four stages (768), ``blocks`` of each (2), ``batch`` (512), ``lr`` at the start (2e-4),
    ``gamma`` at the start (.05), ``horizon``: images over which schedules run (2e7). Groups have 16 channels as there.
    """

    folder = "R3GAN"
    settings: ClassVar[Mapping[str, Setting]] = {
        "width-64": {"width": 64, "blocks": 2, "batch": 64, "lr": 2e-4, "gamma": 0.05, "horizon": 2e7},
        "width-32": {"width": 32, "blocks": 2, "batch": 64, "lr": 2e-4, "gamma": 0.05, "horizon": 2e7},
        "width-32-fast": {"width": 32, "blocks": 2, "batch": 64, "lr": 1e-3, "gamma": 0.05, "horizon": 2e7},
        "width-32-gamma": {"width": 32, "blocks": 2, "batch": 64, "lr": 5e-4, "gamma": 0.5, "horizon": 2e7},
        "width-32-short": {"width": 32, "blocks": 1, "batch": 32, "lr": 5e-4, "gamma": 0.05, "horizon": 4e5},
        "width-16-short": {"width": 16, "blocks": 1, "batch": 32, "lr": 1e-3, "gamma": 0.05, "horizon": 4e5},
    }

    def __init__(self, folder: Path, images: Images, setting: Setting) -> None:
        super().__init__(folder, images, setting)
        with imported(folder):
            networks, loss = (importlib.import_module(f"training.{name}") for name in ("networks", "loss"))
        # Their training loop cannot be imported without psutil; its schedule is one function.
        names = ("cosine_decay_with_warmup",)
        (self.schedule,) = functions_of(folder / "training" / "training_loop.py", names, {"np": np})
        stages = {
            "WidthPerStage": [setting["width"]] * 4,
            "BlocksPerStage": [setting["blocks"]] * 4,
            "CardinalityPerStage": [setting["width"] * 2 // 16] * 4,
            "ExpansionFactor": 2, "FP16Stages": [], "c_dim": 0, "img_resolution": SIZE,
        }  # fmt: skip
        generator = networks.Generator(NoiseDimension=64, **stages)
        discriminator = networks.Discriminator(**stages)
        self.modules = {"G": generator, "D": discriminator, "average": copy.deepcopy(generator).eval()}
        self.loss = loss.R3GANLoss(G=generator, D=discriminator)
        self.optimizers = {
            name: torch.optim.Adam(self.modules[name].parameters(), lr=setting["lr"], betas=(0.0, 0.9), eps=1e-8)
            for name in ("D", "G")
        }

    @staticmethod
    def channels(of_data: int) -> int:
        return 3

    def at(self, first: float, last: float) -> float:
        """Return the value of a schedule now."""
        return float(self.schedule(self.nimg, first, self.setting["horizon"], last))

    def step(self) -> None:
        batch, first = self.setting["batch"], self.setting["lr"]
        lr, beta2, gamma = self.at(first, first / 4), self.at(0.9, 0.99), self.setting["gamma"]
        for name in ("D", "G"):
            optimizer, trained = self.optimizers[name], self.modules[name]
            real, z = self.images.batch(batch), torch.randn(batch, 64)
            for other in ("D", "G"):
                self.modules[other].requires_grad_(other == name)
            optimizer.zero_grad(set_to_none=True)
            now = self.at(gamma, gamma / 10)
            self.loss.accumulate_gradients(phase=name, real_img=real, real_c=None, gen_z=z, gamma=now, gain=1)
            trained.requires_grad_(False)
            optimizer.param_groups[0].update(lr=lr, betas=(0.0, beta2))
            optimizer.step()
        # The half-life grows to a quarter of the horizon: 5,000 of 20,000 kimg.
        half_life = self.at(0.0, self.setting["horizon"] / 4)
        follow(self.modules["average"], self.modules["G"], 0.5 ** (batch / max(half_life, 1e-8)))
        self.nimg += batch

    def generate(self, n: int) -> Tensor:
        images: Tensor = self.modules["average"](torch.randn(n, 64), None)
        return images


class StyleGAN2(Peer):
    """Karras et al. 2020, `training/networks.py` and `training/loss.py` of StyleGAN2-ADA.

    Settings: ``cfg``: what `train.py` sets by that name: ``cifar`` (no path lengths, no mixing, plain D, average of 500
    kimg) or ``auto`` (path lengths, mixing, residual D, 10 kimg for 32 images); ``width``: most channels at any size
    (512); ``batch`` (64; auto: 32), ``lr`` (.0025), ``gamma`` (cifar .01; auto .0002 32^2 / batch).
    """

    folder = "stylegan2-ada-pytorch"
    settings: ClassVar[Mapping[str, Setting]] = {
        "cifar-64": {"cfg": "cifar", "width": 64, "batch": 64, "lr": 0.0025, "gamma": 0.01},
        "cifar-32": {"cfg": "cifar", "width": 32, "batch": 32, "lr": 0.0025, "gamma": 0.01},
        "cifar-32-small-batch": {"cfg": "cifar", "width": 32, "batch": 16, "lr": 0.0025, "gamma": 0.01},
        "cifar-32-gamma": {"cfg": "cifar", "width": 32, "batch": 32, "lr": 0.0025, "gamma": 0.1},
        "auto-32": {"cfg": "auto", "width": 32, "batch": 32, "lr": 0.0025, "gamma": 0.0064},
        "cifar-16-fast": {"cfg": "cifar", "width": 16, "batch": 16, "lr": 0.005, "gamma": 0.01},
    }
    EVERY: ClassVar[Mapping[str, int]] = {"G": 4, "D": 16}
    """Intervals of lazy regularisation."""

    def __init__(self, folder: Path, images: Images, setting: Setting) -> None:
        super().__init__(folder, images, setting)
        self.cifar = setting["cfg"] == "cifar"
        with imported(folder):
            networks, loss = (importlib.import_module(f"training.{name}") for name in ("networks", "loss"))
        size = {"channel_base": 512 * SIZE, "channel_max": setting["width"]}
        shape = {"c_dim": 0, "img_resolution": SIZE, "img_channels": images.channels}
        generator = networks.Generator(
            z_dim=512, w_dim=512, mapping_kwargs={"num_layers": 2}, synthesis_kwargs=size, **shape
        )
        group = {"mbstd_group_size": min(32, setting["batch"]) if self.cifar else 4}
        kind = "orig" if self.cifar else "resnet"
        discriminator = networks.Discriminator(architecture=kind, epilogue_kwargs=group, **size, **shape)
        self.modules = {"G": generator, "D": discriminator, "average": copy.deepcopy(generator).eval()}
        weights = {"pl_weight": 0, "style_mixing_prob": 0} if self.cifar else {}
        self.loss = loss.StyleGAN2Loss(
            device=torch.device("cpu"), G_mapping=generator.mapping, G_synthesis=generator.synthesis, D=discriminator,
            r1_gamma=setting["gamma"], **weights,
        )  # fmt: skip
        for name, every in self.EVERY.items():
            # Fewer steps regularise, so each moves less: Karras et al. 2020 (StyleGAN2), appendix B.
            share = every / (every + 1)
            parameters, lr = self.modules[name].parameters(), setting["lr"] * share
            self.optimizers[name] = torch.optim.Adam(parameters, lr=lr, betas=(0.0, 0.99**share), eps=1e-8)

    def step(self) -> None:
        batch, passes = self.setting["batch"], self.nimg // self.setting["batch"]
        real, none = self.images.batch(batch), torch.zeros(batch, 0)
        for name, every in self.EVERY.items():
            for phase, due, gain in (("main", True, 1), ("reg", passes % every == 0, every)):
                if not due or (phase == "reg" and name == "G" and self.cifar):
                    continue
                for module in ("G", "D"):
                    self.modules[module].requires_grad_(module == name)
                self.optimizers[name].zero_grad(set_to_none=True)
                self.loss.accumulate_gradients(
                    phase=name + phase, real_img=real, real_c=none, gen_z=torch.randn(batch, 512), gen_c=none,
                    sync=True, gain=gain,
                )  # fmt: skip
                self.modules[name].requires_grad_(False)
                for parameter in self.modules[name].parameters():
                    if (gradient := parameter.grad) is not None:
                        torch.nan_to_num(gradient, nan=0.0, posinf=1e5, neginf=-1e5, out=gradient)
                self.optimizers[name].step()
        half_life = min(500e3 if self.cifar else batch * 10e3 / 32, 0.05 * self.nimg)
        follow(self.modules["average"], self.modules["G"], 0.5 ** (batch / max(half_life, 1e-8)))
        self.nimg += batch

    def generate(self, n: int) -> Tensor:
        images: Tensor = self.modules["average"](torch.randn(n, 512), torch.zeros(n, 0))
        return images

    def state(self) -> dict[str, Any]:
        return super().state() | {"mean path length": self.loss.pl_mean}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.loss.pl_mean.copy_(state["mean path length"])


class DCGAN(Peer):
    """PyTorch's example, `dcgan/main.py`: a script, so its statements are run as they stand, without its reports.

    Settings: ``width``: its `--ngf` and `--ndf` (64); ``batch`` (64), ``lr`` (2e-4). G draws samples in training mode,
    as the script does.
    """

    folder = "examples"
    settings: ClassVar[Mapping[str, Setting]] = {
        "width-64": {"width": 64, "batch": 64, "lr": 2e-4},
        "width-32": {"width": 32, "batch": 64, "lr": 2e-4},
        "width-32-fast": {"width": 32, "batch": 64, "lr": 5e-4},
        "width-32-small-batch": {"width": 32, "batch": 32, "lr": 2e-4},
        "width-64-large-batch": {"width": 64, "batch": 128, "lr": 2e-4},
        "width-16": {"width": 16, "batch": 32, "lr": 5e-4},
    }

    def __init__(self, folder: Path, images: Images, setting: Setting) -> None:
        super().__init__(folder, images, setting)
        networks, optimizers, self.code = parts_of(folder / "dcgan" / "main.py")
        self.scope: dict[str, Any] = {"__name__": "dcgan"}
        data = "mnist" if images.channels == 1 else "cifar10"
        words = {"dataset": data, "dataroot": ".", "workers": 0, "batchSize": setting["batch"], "lr": setting["lr"]}
        words |= {"ngf": setting["width"], "ndf": setting["width"], "manualSeed": images.seed}
        arguments = ["main.py", *(word for name, value in words.items() for word in (f"--{name}", str(value)))]
        with without_torchvision(images.x), contextlib.redirect_stdout(io.StringIO()):
            before, sys.argv = sys.argv, arguments
            try:
                exec(networks, self.scope)  # noqa: S102 - a script has nothing to import
                self.reduce()
                exec(optimizers, self.scope)  # noqa: S102
            finally:
                sys.argv = before
        self.modules = {name: self.scope[f"net{name}"] for name in ("G", "D")}
        self.optimizers = {name: self.scope[f"optimizer{name}"] for name in ("G", "D")}

    def reduce(self) -> None:
        """Leave out the stage between 4x4 and 8x8 pixels with most channels, so that both networks are for 32x32."""
        generator, discriminator = self.scope["netG"], self.scope["netD"]
        first, widest = generator.main[0], generator.main[3].out_channels
        start = nn.ConvTranspose2d(first.in_channels, widest, 4, 1, 0, bias=False)
        generator.main = nn.Sequential(start, *list(generator.main)[4:])
        end = nn.Conv2d(discriminator.main[8].in_channels, 1, 4, 1, 0, bias=False)
        discriminator.main = nn.Sequential(*list(discriminator.main)[:8], end, nn.Sigmoid())
        for network in (generator, discriminator):
            network.apply(self.scope["weights_init"])

    def step(self) -> None:
        self.scope["data"] = [self.images.batch(self.setting["batch"])]
        exec(self.code, self.scope)  # noqa: S102
        self.nimg += self.setting["batch"]

    def generate(self, n: int) -> Tensor:
        # A copy: in training mode batch normalisation keeps statistics of what it sees.
        images: Tensor = copy.deepcopy(self.modules["G"])(torch.randn(n, 100, 1, 1))
        return images


PEERS: Mapping[str, type[Peer]] = {"r3gan-official": R3GAN, "stylegan2-ada": StyleGAN2, "dcgan-example": DCGAN}
WORDS = {"r3gan-official": "R3GAN", "stylegan2-ada": "StyleGAN2-ADA", "dcgan-example": "DCGAN example"}


def build(name: str, root: Path, x: np.ndarray, setting: Setting, seed: int) -> Peer:
    """Return a peer before its first step.

    Args:
        name: of `PEERS`.
        root: PEERS_DIR.
        x: training images, uint8 (rows, channels, height, width), 28x28 or 32x32.
        setting: one of its ``settings``.
        seed: of weights, noise and the order of images.
    """
    kind = PEERS[name]
    if not (root / kind.folder).is_dir():
        sys.exit(f"'{root / kind.folder}' is not there; the head of benchmarks/ladder_peers.py says how to get it")
    torch.manual_seed(seed)
    return kind(root / kind.folder, Images(x, kind.channels(x.shape[1]), seed), setting)


def commit_of(name: str, root: Path) -> str:
    """Return the commit of a peer's checkout."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=root / PEERS[name].folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
