"""A small classifier whose last hidden layer serves as features: convolutions and pooling, as in LeNet-5.

Of LeCun et al. 1998 it keeps the plan (convolve, pool, convolve, pool, fully connected); rectifiers, batch
normalisation, a third convolution, dropout and AdamW (Loshchilov and Hutter 2019) came later. For 28 x 28 x 1 it has
77,000 weights (309 kB) and takes 4 million multiplications an image.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError, DataError, TrainingError
from saddlepoint.core.files import write_atomically
from saddlepoint.core.progress import Say
from saddlepoint.core.types import Images
from saddlepoint.nn.mlp import dropout
from saddlepoint.nn.storage import with_storage

FORMAT = 1
FEATURES = 64
_WIDTHS = (24, 48, 64)
_KEEP = 0.7
_RATE = 4e-3
_DECAY = 0.02
_EVALUATION_ROWS = 50
"""More images do not stay in the caches of a core."""


class Classifier(nn.Module):
    """Three times convolution, pooling, batch normalisation and ReLU; then `FEATURES` units and the classes.

    The features are the values of those units before their ReLU: none of them is constant, and they are closer to
    a Gaussian than rectified ones, as the Fréchet distance supposes.

    Args:
        shape: (channel, height, width) of the images; height and width are at least 8.
        classes: number of classes, at least 2.

    Raises:
        ConfigError: if the images are too small or there are fewer than two classes.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 8 or channels < 1:
            raise ConfigError(
                f"images of shape {shape} are too small for three poolings: height and width must be at least 8; "
                "use the extractor 'pixels'"
            )
        if classes < 2:
            raise ConfigError(f"a classifier for {classes} classes says nothing: there must be at least 2")
        self.shape, self.classes = (channels, height, width), classes
        first, second, third = _WIDTHS
        # Without storage: neither the weights nor the random numbers of the default start are wanted.
        with torch.device("meta"):
            self.convolutions = nn.ModuleList(
                [
                    nn.Conv2d(channels, first, 5, padding=2, bias=False),
                    nn.Conv2d(first, second, 3, padding=1, bias=False),
                    nn.Conv2d(second, third, 3, padding=1, bias=False),
                ]
            )
            self.norms = nn.ModuleList([nn.BatchNorm2d(n) for n in _WIDTHS])
            self.hidden = nn.Linear(third * (height // 8) * (width // 8), FEATURES)
            self.output = nn.Linear(FEATURES, classes)

    def forward(self, images: Images, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return the features (batch, 64) and the logits (batch, classes).

        Args:
            images: (batch, *shape) in [-1, 1].
            generator: source of the dropout masks while training; None: no dropout.
        """
        h = images.contiguous(memory_format=torch.channels_last)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Pooling comes first because it leaves a quarter of the values to the others.
            h = F.relu(norm(F.max_pool2d(convolution(h), 2)))
        features = self.hidden(dropout(h.flatten(1), _KEEP, generator))
        return features, self.output(dropout(F.relu(features), _KEEP, generator))


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave.

    Attributes:
        loss: mean cross-entropy of the training minibatches, in nats, with dropout and shifts.
        valid_loss: mean cross-entropy of the validation images, in nats; nan without them.
        valid_accuracy: share of validation images classified rightly; nan without them.
        seconds: since the start.
    """

    loss: float
    valid_loss: float
    valid_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Training:
    """A trained classifier and how it came to be.

    Attributes:
        classifier: on the CPU, in evaluation mode, its parameters frozen.
        epochs: in their order.
        chosen: index of the epoch whose weights these are.
    """

    classifier: Classifier
    epochs: tuple[Epoch, ...]
    chosen: int


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    valid: tuple[np.ndarray, np.ndarray] | None = None,
    classes: int | None = None,
    seed: int = 0,
    epochs: int = 12,
    batch: int = 128,
    shift: int = 2,
    flip: bool = False,
    say: Say | None = None,
) -> Training:
    """Train a `Classifier` with AdamW, a rate that rises for a fifth of the steps and falls to 0, and random shifts.

    The same arguments, PyTorch and number of threads give the same weights; the global random state is
    neither used nor changed.

    Args:
        images: (n, channel, height, width) uint8.
        labels: (n,) class indices.
        valid: images and labels by which the epoch is chosen (accuracy, then loss); None: the last epoch.
        classes: number of classes; None: the largest label + 1.
        seed: of the start, the order, the shifts and the dropout.
        epochs: passes over the images, at least 1.
        batch: images of a minibatch; an incomplete one at the end of an epoch is left out.
        shift: largest random shift in pixels, in both directions; what comes in is 0 (black).
        flip: whether to mirror half of the images, for things that look alike from left and right.
        say: receives one line an epoch; None: silence.

    Raises:
        DataError: if images, labels and classes do not fit together.
        ConfigError: if a number is out of range, or the images are too small.
        TrainingError: if the loss is not finite.
    """
    classes = (int(np.max(labels, initial=-1)) + 1) if classes is None else classes
    _check_rows([(images, labels), *([] if valid is None else [valid])], classes)
    if epochs < 1 or not 1 <= batch <= len(images):
        raise ConfigError(f"epochs is {epochs}, batch {batch}: at least 1, and batch at most {len(images)} images")
    generator = torch.Generator().manual_seed(seed)
    classifier = _fresh(tuple(images.shape[1:]), classes, torch.Generator().manual_seed(seed))
    x, y = (torch.from_numpy(np.array(rows)) for rows in (images, labels.astype(np.int64)))
    step = _stepper(classifier, epochs * (len(x) // batch))
    records: list[Epoch] = []
    chosen, best, start = 0, dict[str, Tensor](), time.perf_counter()
    for number in range(epochs):
        classifier.train()
        losses = []
        for rows in torch.randperm(len(x), generator=generator).split(batch)[: len(x) // batch]:
            picture = inside(augment(x[rows], shift, flip, generator))
            losses.append(step(F.cross_entropy(classifier(picture, generator)[1], y[rows])))
        records.append(_record(classifier, float(torch.stack(losses).mean()), valid, start))
        if valid is None or _rank(records[-1]) >= _rank(records[chosen]):
            chosen, best = number, {name: value.clone() for name, value in classifier.state_dict().items()}
        if say is not None:
            say(_line(number, epochs, records[-1]))
    classifier.load_state_dict(best)
    return Training(_frozen(classifier.to("cpu")), tuple(records), chosen)


def augment(images: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Shift each image by -shift to shift pixels in both directions (0 comes in); mirror half of them if asked.

    Args:
        images: (batch, channel, height, width) of any type.
        shift: in pixels, at least 0.
        flip: whether to mirror.
        generator: on the images' device.
    """
    n, _, height, width = images.shape
    padded = F.pad(images, (shift,) * 4)
    down, right = torch.randint(2 * shift + 1, (2, n, 1), generator=generator, device=images.device)
    rows = down + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, -1)
    if flip:
        mirrored = torch.rand(n, 1, generator=generator, device=images.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    picture = torch.arange(n, device=images.device)
    # Indexed dimensions come first, channels last: the layout the convolutions like.
    return padded[picture[:, None, None], :, rows[:, :, None], (right + columns)[:, None, :]].permute(0, 3, 1, 2)


@torch.inference_mode()
def classify(classifier: Classifier, images: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, 64) and logits (n, classes), float32, of uint8 images, ``batch`` of them at a time."""
    device = classifier.output.weight.device
    features = np.empty((len(images), FEATURES), np.float32)
    logits = np.empty((len(images), classifier.classes), np.float32)
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        # A copy, for torch wants to be able to write.
        x = torch.from_numpy(np.array(images[rows])).to(device)
        found = classifier(inside(x))
        features[rows], logits[rows] = (tensor.cpu().numpy() for tensor in found)
    return features, logits


def accuracy(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of uint8 images whose most probable class is their label."""
    return float((classify(classifier, images, _EVALUATION_ROWS)[1].argmax(1) == labels).mean())


def save_classifier(path: Path, classifier: Classifier, facts: Mapping[str, Any]) -> str:
    """Write a classifier as safetensors, at once or not at all, and return the SHA-256 of the file.

    Equal weights and facts give equal files.

    Args:
        path: where to.
        classifier: on any device.
        facts: JSON values that go with it: name, version, data, accuracy.

    Raises:
        DataError: if the file cannot be written.
    """
    about = {"format": FORMAT, "shape": list(classifier.shape), "classes": classifier.classes, "facts": dict(facts)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in classifier.state_dict().items()}
    # One entry only: safetensors writes several in an order that changes from run to run.
    data = save(tensors, {"saddlepoint": json.dumps(about, sort_keys=True)})
    try:
        make_folder(path.parent)
        write_atomically(path, data)
    except OSError as error:
        raise DataError(f"the classifier cannot be written to {path} ({error.strerror or error})") from error
    return hashlib.sha256(data).hexdigest()


def load_classifier(path: Path, sha256: str | None = None) -> tuple[Classifier, dict[str, Any], str]:
    """Read a classifier that `save_classifier` wrote.

    Args:
        path: the file.
        sha256: what its SHA-256 must be; None: anything.

    Returns:
        The classifier (on the CPU, in evaluation mode, frozen), its facts, the SHA-256 of the file.

    Raises:
        DataError: if the file is missing, damaged, of another format, or not the one expected.
    """
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if sha256 is not None and digest != sha256:
            raise DataError(
                f"{path} has SHA-256 {digest[:16]}..., expected {sha256[:16]}...: it is damaged, replace it"
            )
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["saddlepoint"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about["format"] != FORMAT:
            raise DataError(f"{path} has format {about['format']}, this version reads {FORMAT}: train it anew")
        channels, height, width = about["shape"]
        classifier = Classifier((channels, height, width), about["classes"])
        classifier.load_state_dict(tensors, assign=True)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as a classifier ({error}): replace it") from error
    return _frozen(classifier), dict(about["facts"]), digest


def inside(images: Tensor) -> Tensor:
    """uint8 images in [-1, 1]."""
    return images.float().mul_(1 / 127.5).sub_(1)


def _fresh(shape: tuple[int, ...], classes: int, generator: torch.Generator) -> Classifier:
    """A classifier with He's start, drawn on the CPU, whatever the device."""
    channels, height, width = shape
    classifier = with_storage(Classifier((channels, height, width), classes))
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return _channels_last(classifier)


def _frozen(classifier: Classifier) -> Classifier:
    return _channels_last(classifier.eval().requires_grad_(False))


def _channels_last(classifier: Classifier) -> Classifier:
    """Lay weights out as the convolutions of a CPU like them best."""
    return classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _stepper(classifier: Classifier, steps: int) -> Callable[[Tensor], Tensor]:
    """A function that makes one step of the schedule along a loss, and returns the loss detached."""
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=_RATE, weight_decay=_DECAY, foreach=True)
    # Its rise divides by 0 when all is over in five steps.
    total = max(steps + 1, 10)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=total, pct_start=0.2)

    def step(loss: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.detach()

    return step


def _record(classifier: Classifier, loss: float, valid: tuple[np.ndarray, np.ndarray] | None, start: float) -> Epoch:
    if not math.isfinite(loss):
        raise TrainingError(f"the classifier's loss is {loss}: look for broken labels, or train with another seed")
    if valid is None:
        return Epoch(loss, math.nan, math.nan, time.perf_counter() - start)
    _, logits = classify(classifier.eval(), valid[0], _EVALUATION_ROWS)
    labels = torch.as_tensor(np.asarray(valid[1])).long()
    valid_loss = float(F.cross_entropy(torch.from_numpy(logits), labels))
    right = float((logits.argmax(1) == labels.numpy()).mean())
    return Epoch(loss, valid_loss, right, time.perf_counter() - start)


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.valid_accuracy, -epoch.valid_loss


def _line(number: int, epochs: int, record: Epoch) -> str:
    line = f"epoch {number + 1} of {epochs}: loss {record.loss:.4f}"
    if not math.isnan(record.valid_accuracy):
        line += f", validation {100 * record.valid_accuracy:.2f}%"
    return f"{line}, {record.seconds:.0f} s"


def _check_rows(pairs: Sequence[tuple[np.ndarray, np.ndarray]], classes: int) -> None:
    for images, labels in pairs:
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) == 0:
            raise DataError(
                f"images are {images.dtype} of shape {tuple(images.shape)}, but must be uint8 (n, channel, height, "
                "width) with n at least 1"
            )
        if len(images) != len(labels) or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"{len(images)} images need as many integer labels, got {len(labels)} of {labels.dtype}")
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(f"labels go from {labels.min()} to {labels.max()}, but must be in [0, {classes - 1}]")
