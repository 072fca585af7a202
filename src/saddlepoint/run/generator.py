"""Trained networks that draw samples in pieces, from random numbers of their own: the i-th is that of (seed, i)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from numbers import Integral

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Samples
from saddlepoint.data.labels.files import class_index
from saddlepoint.engine.machine import runtime
from saddlepoint.family import Family
from saddlepoint.family.capabilities import DiscriminatorLogits, StyleSpace, draw_labels, guided, style_space
from saddlepoint.family.explicit import LogLikelihoods, encoding, explicit
from saddlepoint.family.translation import target_of

_CHUNK = 250
"""Rows that share a stream of random numbers."""

_FEW = 16
"""Rows that are drawn instead of a chunk where they are its first: PyTorch makes normal numbers 16 at a time."""


def _chunks(n: int) -> range:
    return range(-(-n // _CHUNK))


class Generator:
    """Draws samples of a family's networks.

    Attributes:
        family: the networks.
        name: of the run, for errors.
        device: where the networks are.
    """

    def __init__(self, family: Family, name: str) -> None:
        self.family, self.name = family, name
        self.device = next(family.parameters()).device

    def inputs(self, n: int, *, seed: int = 0) -> Tensor:
        """Return the generator's inputs for ``n`` samples; the i-th depends on (seed, i) only.

        They are latent vectors, or training images where the generator transforms images.
        """
        if n <= _FEW:
            return self.family.sample_inputs(self._few, runtime.stream("cpu", "sample", seed, 0))[:n]
        drawn = [
            self.family.sample_inputs(_CHUNK, runtime.stream("cpu", "sample", seed, chunk)) for chunk in _chunks(n)
        ]
        return torch.cat(drawn)[:n]

    @cached_property
    def _few(self) -> int:
        """How many inputs are to be drawn for a few: as few, if they are the first of a chunk, as of most families."""
        for seed in range(3):
            few, all_ = (self.family.sample_inputs(n, runtime.stream("cpu", "few", seed)) for n in (_FEW, _CHUNK))
            if not torch.equal(few, all_[:_FEW]):
                return _CHUNK
        return _FEW

    def labels(self, n: int, *, seed: int = 0, label: int | str | None = None) -> Tensor | None:
        """Return the labels of ``n`` samples, int64, (n,) or as `target` gives them; None if unconditional.

        Args:
            n: how many.
            seed: the i-th label depends on (seed, i) only, and comes from the shares of the training data.
            label: index or name of one class for all of them; words as in `target` where samples carry several labels.

        Raises:
            ConfigError: if the generator is unconditional and a label is asked for, or has no such class.
        """
        names = self.family.data.classes[: self.family.classes]
        if label is not None and names and self.family.data.labelling:
            return self.target(str(label)).repeat(n, 1)
        if label is not None:
            return torch.full((n,), class_index(label, names))
        if not names:
            return None
        drawn = [self._labels_of(chunk, seed, None) for chunk in _chunks(n)]
        return torch.cat([chunk for chunk in drawn if chunk is not None])[:n]

    @torch.no_grad()
    def sample(
        self, n: int, *, seed: int = 0, label: int | str | None = None, truncation: float | None = None
    ) -> Samples:
        """Return ``n`` samples on the CPU: (n, *sample), images in [-1, 1].

        Args:
            n: how many.
            seed: the i-th sample depends on (seed, i) and the label only.
            label: index or name of a class, for a conditional generator; None: in the shares of the training data.
            truncation: of families with w: share of the way from the mean of w to each sample's own w, such as 0.7;
                they then differ in w alone, not in their noise. None: as the generator samples.

        Raises:
            ConfigError: if ``n`` is no whole number from 1, there is no such class, or a truncation is asked of a
                family without w.
        """
        check_count(n)
        labels = self.labels(n, seed=seed, label=label)
        return self.generate(self.inputs(n, seed=seed), labels, seed=seed, truncation=truncation)

    def sample_seeds(
        self, seeds: Sequence[int], *, label: int | str | None = None, truncation: float | None = None
    ) -> Samples:
        """Return one sample for each seed, on the CPU: (seeds, *sample), the first that `sample` draws with that seed.

        Each is computed alone, so it is the same bit for bit whatever other seeds are asked for.

        Args:
            seeds: 0 or more each.
            label: as in `sample`; without one a conditional generator takes the label of the seed.
            truncation: as in `sample`.

        Raises:
            ConfigError: if there are no seeds, and as `sample`.
        """
        if not seeds:
            raise ConfigError("no seed is given; name at least one")
        return torch.cat([self.sample(1, seed=seed, label=label, truncation=truncation) for seed in seeds])

    @torch.no_grad()
    def generate(
        self, inputs: Tensor, labels: Tensor | None = None, *, seed: int = 0, truncation: float | None = None
    ) -> Samples:
        """Return the samples of given inputs, computed in pieces, on the CPU.

        Args:
            inputs: (n, latent), as `inputs` draws them; or images (n, *sample) in [-1, 1].
            labels: (n,) class indices, for a conditional generator; or (n, classes), as `target` gives them.
            seed: of further randomness.
            truncation: as in `sample`.

        Raises:
            ConfigError: if the generator is conditional and there are no labels, or a truncation is asked of a family
                without w.
        """
        if labels is None and self.family.classes:
            raise ConfigError(f"'{self.name}' is a conditional generator: give the labels of its samples too")
        if truncation is not None:
            check_truncation(self.family, truncation)
            w = self.codes(inputs, labels)
            near = torch.lerp(style_space(self.family).w_average.cpu().expand_as(w), w, truncation)
            return self.synthesise(near[:, None].expand(-1, style_space(self.family).w_layers, -1), seed)
        samples = torch.empty(0)
        for number, start in enumerate(range(0, len(inputs), _CHUNK)):
            stop = min(start + _CHUNK, len(inputs))
            made = self._chunk(inputs[start:stop], None if labels is None else labels[start:stop], seed, number)
            if start == 0:
                samples = made.new_empty((len(inputs), *made.shape[1:]))
            samples[start:stop] = made
        return samples

    def _chunk(self, inputs: Tensor, labels: Tensor | None, seed: int, number: int) -> Samples:
        """Return the samples of one chunk of inputs, which share a stream of random numbers, on the CPU."""
        stream, made = runtime.stream(self.device, "generate", seed, number), []
        for part in self._pieces(0, len(inputs)):
            asked = None if labels is None else labels[part].to(self.device)
            made.append(self.family.generate(inputs[part].to(self.device), asked, generator=stream).cpu())
        return torch.cat(made)

    @torch.no_grad()
    def batches(
        self, size: int, *, seed: int = 0, label: int | str | None = None
    ) -> Iterator[tuple[Samples, Tensor | None]]:
        """Yield minibatches of samples without an end: those of `sample`, in the same order, without holding them all.

        Args:
            size: samples in each.
            seed: as in `sample`.
            label: as in `sample`.

        Yields:
            Samples (size, *sample) on the CPU, and their labels, (size,) or None of an unconditional generator.

        Raises:
            ConfigError: if ``size`` is below 1, and as `sample`.

        Example:
            ``for x, labels in itertools.islice(run.batches(64), 100): ...``
        """
        if size < 1:
            raise ConfigError(f"the size of a minibatch is {size}, but it must be at least 1")
        held, asked, number = torch.empty(0), torch.empty(0, dtype=torch.int64), 0
        while True:
            while len(held) < size:
                inputs = self.family.sample_inputs(_CHUNK, runtime.stream("cpu", "sample", seed, number))
                labels = self._labels_of(number, seed, label)
                made = self._chunk(inputs, labels, seed, number)
                held = torch.cat([held, made]) if len(held) else made
                if labels is not None:
                    asked = torch.cat([asked, labels]) if len(asked) else labels
                number += 1
            yield held[:size], asked[:size] if len(asked) else None
            held, asked = held[size:], asked[size:]

    def _labels_of(self, number: int, seed: int, label: int | str | None) -> Tensor | None:
        """Return the labels of one chunk."""
        if label is not None:
            return self.labels(_CHUNK, label=label)
        return draw_labels(self.family, _CHUNK, runtime.stream("cpu", "sample-labels", seed, number))

    @torch.no_grad()
    def codes(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the points of w of inputs, (n, w), on the CPU; for families with w."""
        asked = None if labels is None else labels.to(self.device)
        return style_space(self.family).mapping(inputs.to(self.device), asked).cpu()

    @torch.no_grad()
    def synthesise(self, styles: Tensor, seed: int = 0) -> Samples:
        """Return the samples of styles (n, layers, w), all with the noise of the seed, on the CPU; families with w."""
        pieces = []
        for part in self._pieces(0, len(styles)):
            stream = runtime.stream(self.device, "generate", seed, 0)
            pieces.append(style_space(self.family).synthesis(styles[part].to(self.device), generator=stream).cpu())
        return torch.cat(pieces)

    @torch.no_grad()
    def log_likelihood(self, x: Samples, *, seed: int = 0) -> LogLikelihoods:
        """Return how likely the model says that samples are, in nats, on the CPU; see `family.Likelihood`.

        Args:
            x: (n, *sample) in the inside range.
            seed: of what is drawn: noise between levels, binarised pixels, importance samples.

        Raises:
            ConfigError: if the family has no likelihood.
        """
        found = explicit(self.family).log_likelihood(
            x.to(self.device), generator=runtime.stream(self.device, "likelihood", seed)
        )
        return LogLikelihoods(found.values.cpu(), found.error)

    @torch.no_grad()
    def encode(self, x: Samples, labels: Tensor | None = None) -> Tensor:
        """Return the inputs from which samples (n, *sample) are generated, computed in pieces, on the CPU.

        Args:
            x: in the inside range.
            labels: (n,) class indices, for a conditional family.

        Raises:
            ConfigError: if the family has no encoder.
        """
        family, pieces = encoding(self.family), []
        for part in self._pieces(0, len(x)):
            asked = None if labels is None else labels[part].to(self.device)
            pieces.append(family.encode(x[part].to(self.device), asked).cpu())
        return torch.cat(pieces)

    def replicate(self, x: Samples, labels: Tensor | None = None, *, seed: int = 0) -> Samples:
        """Return what comes out where samples go in: generate(encode(x)), (n, *sample) on the CPU.

        Raises:
            ConfigError: if the family has no encoder.
        """
        asked = labels if self.family.classes else None
        return self.generate(self.encode(x, asked), asked, seed=seed)

    @torch.no_grad()
    def logits(self, x: Samples, labels: Tensor | None = None) -> Tensor:
        """Return D's logit of each given row, (n,) on the CPU, computed in pieces.

        Args:
            x: (n, *sample) in the inside range: data or samples.
            labels: of the rows, for a conditional family.

        Raises:
            ConfigError: if the family has no D.
        """
        family, pieces = self.family, []
        if not isinstance(family, DiscriminatorLogits):
            raise ConfigError(f"family '{family.name}' has no discriminator to ask")
        for part in self._pieces(0, len(x)):
            asked = None if labels is None or not family.classes else labels[part].to(self.device)
            pieces.append(family.logits(x[part].to(self.device), asked).float().cpu())
        return torch.cat(pieces)

    def target(self, names: str) -> Tensor:
        """Return the domain that names of classes describe, as labels of one sample.

        Args:
            names: a class; where samples carry several labels, classes of different groups separated by commas, and
                ``not-NAME`` for an attribute that shall not hold. Groups that are not named stay as they are.

        Returns:
            (1,) a class index, or (1, classes): 1 where a class shall hold, 0 where not, -1 in what stays.

        Raises:
            ConfigError: if there is no such class, or two of them exclude each other.
        """
        return target_of(names, self.family.data)

    def guided(self, inputs: Tensor, references: Tensor, labels: Tensor) -> Samples:
        """Translate images into the style of reference images, in pieces, on the CPU; see `Family.guided`."""
        pieces = [
            guided(self.family).guided(*(whole[part].to(self.device) for whole in (inputs, references, labels))).cpu()
            for part in self._pieces(0, len(inputs))
        ]
        return torch.cat(pieces)

    def _pieces(self, start: int, stop: int) -> list[slice]:
        """Return the parts in which rows are computed: as many at once as memory shall hold."""
        return runtime.pieces(start, stop, self.family.data.shape)


def check_count(n: int) -> None:
    """Refuse a number of samples that is no whole number from 1; of Python's and of NumPy's."""
    if isinstance(n, bool) or not isinstance(n, Integral):
        raise ConfigError(f"the number of samples is {n!r}, but it must be a whole number")
    if n < 1:
        raise ConfigError(f"the number of samples is {n}, but it must be at least 1")


def check_truncation(family: Family, truncation: float | None) -> None:
    """Raise a `ConfigError` if a truncation is asked of a family without w."""
    if truncation is not None and not isinstance(family, StyleSpace):
        raise ConfigError(f"family '{family.name}' has no w to truncate; leave the truncation out")
