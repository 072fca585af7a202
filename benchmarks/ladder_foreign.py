"""What the peers of the ladder share: their images, their state, and how parts of their files are run uncopied."""

from __future__ import annotations

import abc
import ast
import contextlib
import importlib
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOREIGN = ("R3GAN", "dnnlib", "legacy", "metrics", "torch_utils", "training", "pkg_resources")
"""Names of their modules, which two of them share."""


SIZE = 32

Setting = Mapping[str, Any]


class Images:
    """Training images in memory as a peer sees them: 32x32, with the channels it makes, in random order.

    Args:
        x: uint8 (rows, channels, height, width).
        channels: of a minibatch: as many as the images have, or 3 for images that have one.
        seed: of the order: a permutation for each epoch, so that the position is the whole state.
    """

    def __init__(self, x: np.ndarray, channels: int, seed: int) -> None:
        self.x, self.channels, self.seed, self.position = torch.from_numpy(np.array(x)), channels, seed, 0
        self.pad = (SIZE - x.shape[2]) // 2
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def batch(self, n: int) -> Tensor:
        """Return the next ``n`` images, (n, channels, 32, 32) in [-1, 1]; a minibatch never spans two epochs."""
        whole = len(self.x) // n * n
        epoch, at = divmod(self.position, whole)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.x), generator=generator)
        self.position += n
        x = self.x[self._order[at : at + n]].float() / 127.5 - 1
        return F.pad(x, (self.pad,) * 4, value=-1.0).expand(-1, self.channels, -1, -1).contiguous()

    def restored(self, x: Tensor) -> Tensor:
        """Return samples (n, channels, 32, 32) in the shape of the images, in [-1, 1]."""
        x = x.clamp(-1, 1)[:, :, self.pad : SIZE - self.pad, self.pad : SIZE - self.pad]
        return x if self.channels == self.x.shape[1] else x.mean(1, keepdim=True)


class Peer(abc.ABC):
    """Somebody else's GAN in training.

    Attributes:
        images: what it learns from.
        setting: one of its ``settings``.
        nimg: real images that D has seen, as their own counts go.
        modules: networks, and whatever else has weights or buffers.
        optimizers: by name.
    """

    folder: ClassVar[str]
    settings: ClassVar[Mapping[str, Setting]]

    def __init__(self, folder: Path, images: Images, setting: Setting) -> None:
        self.images, self.setting, self.nimg = images, setting, 0
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    @staticmethod
    def channels(of_data: int) -> int:
        """Return how many channels its networks have for data of ``of_data`` channels."""
        return of_data

    @abc.abstractmethod
    def step(self) -> None:
        """Update every network once."""

    @abc.abstractmethod
    def generate(self, n: int) -> Tensor:
        """Return (n, channels, 32, 32), as their scripts draw samples, from PyTorch's global random numbers."""

    def sample(self, n: int, seed: int) -> Tensor:
        """Return ``n`` samples in the shape of the data, in [-1, 1]; training does not notice."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            parts = [self.images.restored(self.generate(len(part))) for part in torch.arange(n).split(250)]
        return torch.cat(parts)

    def state(self) -> dict[str, Any]:
        """Return all that training goes on from, as tensors and numbers."""
        return {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "random": torch.get_rng_state(), "position": self.images.position, "nimg": self.nimg,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        torch.set_rng_state(state["random"])
        self.images.position, self.nimg = state["position"], state["nimg"]


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, beta: float) -> None:
    """Let an average of weights follow: a becomes beta a + (1 - beta) p; buffers are copied."""
    for old, new in zip(average.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1.0 - beta)
    for kept, now in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(now)


@contextlib.contextmanager
def imported(folder: Path) -> Iterator[None]:
    """Let modules of a folder be imported inside the block, whatever another peer calls by the same names."""
    for name in [name for name in sys.modules if name.split(".")[0] in FOREIGN]:
        del sys.modules[name]
    # R3GAN asks pkg_resources, which setuptools has no longer, for one function.
    version = types.ModuleType("pkg_resources")
    version.parse_version = importlib.import_module("packaging.version").parse  # type: ignore[attr-defined]
    sys.modules["pkg_resources"] = version
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def functions_of(path: Path, names: tuple[str, ...], scope: dict[str, Any]) -> list[Any]:
    """Return functions of a file whose imports are not there."""
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    exec(compile(tree, str(path), "exec"), scope)  # noqa: S102
    return [scope[name] for name in names]


def parts_of(path: Path) -> tuple[types.CodeType, types.CodeType, types.CodeType]:
    """Return DCGAN's script in three parts: networks; loss and optimizers; one step, without reports and pictures."""
    tree = ast.parse(path.read_text())
    body, end = tree.body, next(n for n, node in enumerate(tree.body) if isinstance(node, ast.For))
    middle = next(n for n, node in enumerate(body) if _assigns(node, "criterion"))
    epoch = body[end]
    assert isinstance(epoch, ast.For)
    (loop,) = (node for node in epoch.body if isinstance(node, ast.For))
    step = [node for node in loop.body if not isinstance(node, ast.If) and not _prints(node)]
    first, second, third = (
        compile(ast.Module(part, []), str(path), "exec") for part in (body[:middle], body[middle:end], step)
    )
    return first, second, third


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name) and target.id == name


def _prints(node: ast.stmt) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"


class _Anything(types.ModuleType):
    """A module whose functions take anything and return the same: what DCGAN's script reads images with."""

    def __init__(self, name: str, found: Any) -> None:
        super().__init__(name)
        self._found = found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self._found


@contextlib.contextmanager
def without_torchvision(images: Tensor) -> Iterator[None]:
    """Let a script that reads images with torchvision have these, whether it is installed or not."""
    names = ["torchvision", *(f"torchvision.{part}" for part in ("datasets", "transforms", "utils"))]
    before = {name: sys.modules.get(name) for name in names}
    found = torch.utils.data.TensorDataset(images)
    modules = {name: _Anything(name, found) for name in names}
    for name, module in modules.items():
        sys.modules[name] = module
        if "." in name:
            setattr(modules["torchvision"], name.split(".")[1], module)
    try:
        yield
    finally:
        for name, found_before in before.items():
            if found_before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = found_before
