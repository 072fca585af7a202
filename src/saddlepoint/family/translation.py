"""What families of image translation share: the images they draw inputs from, and labels as targets."""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Images, PerSample, at_least_float32, from_bytes, to_bytes, widest
from saddlepoint.data.labels.files import class_index
from saddlepoint.data.spec import EXAMPLES, DataSpec, DataStats

_MOST_BYTES = 16 * 1024**2

Several = Int[Tensor, "batch classes"]
"""1 where a class holds, 0 where it does not, -1 where that is not known or left open."""


class Examples(nn.Module):
    """Training images that inputs are drawn from, so that a run can be looked at without its data.

    Kept as bytes with the networks; at most 512 images and 16 MiB.

    Args:
        data: shape and number of the training images.
    """

    rows: Tensor

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        count = min(data.rows, EXAMPLES, max(1, _MOST_BYTES // torch.Size(data.shape).numel()))
        self.register_buffer("rows", torch.zeros(count, *data.shape, dtype=torch.uint8))

    def keep(self, stats: DataStats) -> None:
        """Keep the examples of the data, evenly chosen where there are more."""
        chosen = torch.linspace(0, len(stats.examples) - 1, len(self.rows)).round().long()
        self.rows.copy_(to_bytes(stats.examples[chosen.to(stats.examples.device)]))

    def draw(self, n: int, generator: torch.Generator) -> Images:
        """Draw ``n`` of them with replacement, in [-1, 1], on the generator's device."""
        chosen = torch.randint(len(self.rows), (n,), generator=generator, device=generator.device)
        return from_bytes(self.rows.to(generator.device)[chosen])


def target_of(words: str, data: DataSpec) -> Tensor:
    """Return the labels that words name; see `Run.target`.

    >>> spec = DataSpec("image", (3, 8, 8), ("red", "blue", "thin", "bold"), labelling=((2, 2),))
    >>> target_of("bold,red", spec).tolist()
    [[1, 0, 0, 1]]
    """
    whole = next((word for word in (words, words.strip()) if word in data.classes), None)
    named = [word.strip() for word in words.split(",") if word.strip()] if whole is None else [whole]
    if not data.labelling:
        if len(named) != 1:
            raise ConfigError(f"the target is '{words}', but it must be one class; name others in targets of their own")
        return torch.tensor([class_index(named[0], data.classes)])
    wanted = torch.full((1, len(data.classes)), -1)
    starts = [0, *accumulate(size for sizes in data.labelling for size in sizes)]
    for word in named:
        absent = word not in data.classes and word.startswith("not-")
        index = class_index(word.removeprefix("not-") if absent else word, data.classes)
        group = slice(*next(pair for pair in pairwise(starts) if pair[0] <= index < pair[1]))
        alone = group.stop - group.start == 1
        if absent and not alone:
            raise ConfigError(f"'{word}' leaves open which class shall hold instead; name that one")
        if bool((wanted[0, group] >= 0).any()):
            raise ConfigError(f"the target is '{words}', but '{word}' and another of its classes exclude each other")
        wanted[0, group] = 0
        wanted[0, index] = 0 if absent else 1
    sizes = [sum(part) for part in data.labelling]
    spoken = [bool((part >= 0).any()) for part in wanted[0].split(sizes)]
    if sum(spoken) != 1:
        raise ConfigError(f"the target is '{words}', but it must name at least one class, all of one label set")
    return wanted


class LabelSets:
    """Labels of the data as targets of a translation: one class a row, or several by the data's labelling.

    Attributes:
        sets: columns of the groups of each label set.
        groups: of all sets, one after the other.
        width: numbers that tell a generator its target.
        pair_width: numbers that tell it where its input is from, too.

    Args:
        data: with labels.

    Raises:
        ConfigError: if there are no labels to translate between.
    """

    def __init__(self, data: DataSpec) -> None:
        if len(data.classes) < (1 if data.labelling else 2):
            raise ConfigError(
                f"translation goes from domain to domain, but this data has {len(data.classes)} classes; put the "
                "images of each domain into a folder of its own, or add a table of attributes"
            )
        labelling = data.labelling or ((len(data.classes),),)
        start, sets = 0, []
        for sizes in labelling:
            groups = []
            for size in sizes:
                groups.append(slice(start, start + size))
                start += size
            sets.append(tuple(groups))
        self.sets: tuple[tuple[slice, ...], ...] = tuple(sets)
        self.classes = start
        self.width = start + (len(sets) if len(sets) > 1 else 0)
        self.groups = tuple(group for groups in sets for group in groups)
        self.pair_width = sum(max(2, group.stop - group.start) ** 2 for group in self.groups)

    def several(self, labels: Tensor) -> Several:
        """Return labels as one number a class; class indices become 1 for that class and 0 for the others."""
        return F.one_hot(labels, self.classes) if labels.ndim == 1 else labels

    def encode(self, labels: Several) -> Float[Tensor, "batch width"]:
        """Return what a generator is told: 1 or 0 a class, 0 where it is not known, and which label set speaks.

        The last part is the mask vector of Choi et al. 2018, section 3.2; with one label set there is none.
        """
        told = labels.clamp_min(0)
        return (torch.cat([told, self.known(labels)], 1) if len(self.sets) > 1 else told).float()

    def encode_pairs(self, own: Several, target: Several) -> Float[Tensor, "batch pair_width"]:
        """Return 1 for the pair (class of the input, class asked for) of each group, 0 for its other pairs.

        What a linear map makes of pairs can depend on whether a class changes; of two labels side by side it cannot. An
        attribute has four pairs; a group that is not known has none.
        """
        parts = []
        for group in self.groups:
            here, there = (labels[:, group] for labels in (own, target))
            known = (here[:, :1] >= 0) & (there[:, :1] >= 0)
            if here.shape[1] == 1:
                here, there = (torch.cat([labels, 1 - labels], 1) for labels in (here, there))
            parts.append((here[:, :, None] * there[:, None] * known[:, :, None]).flatten(1))
        return torch.cat(parts, 1).float()

    def known(self, labels: Several) -> Int[Tensor, "batch sets"]:
        """Return 1 for each label set that says something about a row."""
        return torch.stack(
            [(labels[:, groups[0].start : groups[-1].stop] >= 0).any(1) for groups in self.sets], 1
        ).long()

    def shuffled(self, labels: Several, generator: torch.Generator) -> Several:
        """Return the labels in another order, as targets: each row gets those of a row of its own label set."""
        which = self.known(labels).argmax(1)
        keys = torch.rand(len(labels), generator=generator, device=generator.device, dtype=widest(generator.device))
        targets = torch.empty_like(labels)
        targets[which.argsort(stable=True)] = labels[(which + keys.to(which.device)).argsort()]
        return targets

    def loss(self, logits: Float[Tensor, "batch classes"], labels: Several) -> PerSample:
        """Return the cross-entropy of labels: softmax in groups, sigmoid for attributes; added up, unknown ones apart.

        Source: Choi et al. 2018, equations 2 and 3; sums over attributes as in the released code.
        """
        logits, total = at_least_float32(logits), torch.zeros(len(logits), device=logits.device)
        for group in self.groups:
            given, told = labels[:, group], logits[:, group]
            if given.shape[1] == 1:
                part = F.binary_cross_entropy_with_logits(
                    told[:, 0], given[:, 0].clamp(0, 1).to(told), reduction="none"
                )
            else:
                part = F.cross_entropy(told, given.argmax(1), reduction="none")
            total = total + torch.where(given[:, 0] >= 0, part, torch.zeros_like(part))
        return total

    def shown(self, logits: Float[Tensor, "batch classes"], labels: Several) -> PerSample:
        """Return 1 where a classifier reads every known label from an image, else 0."""
        wrong = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        for group in self.groups:
            given, told = labels[:, group], logits[:, group]
            if given.shape[1] == 1:
                differs = (told[:, 0] > 0) != (given[:, 0] > 0)
            else:
                differs = told.argmax(1) != given.argmax(1)
            wrong |= differs & (given[:, 0] >= 0)
        return at_least_float32(1 - wrong.to(logits))

    def complete(self, asked: Tensor, seen: Float[Tensor, "batch classes"]) -> Several:
        """Return full targets: groups that are left open stay as a classifier sees them in the input.

        Args:
            asked: (n,) the one class that shall hold, or (n, classes) with -1 in what is left open.
            seen: the classifier's logits on the inputs.
        """
        if asked.ndim == 1:
            chosen = F.one_hot(asked, self.classes)
            asked = torch.full_like(chosen, -1)
            for group in self.groups:
                asked[:, group] = torch.where(chosen[:, group].any(1, keepdim=True), chosen[:, group], -1)
        spoken = self.known(asked)
        # Where nothing is asked for, the first label set speaks.
        spoken[:, 0] |= 1 - spoken.amax(1)
        return torch.where(asked >= 0, asked, self.view(spoken, seen))

    def view(self, spoken: Int[Tensor, "batch sets"], seen: Float[Tensor, "batch classes"]) -> Several:
        """Return the labels that a classifier sees, in the label sets that speak (`known`); -1 in all others.

        Args:
            spoken: 1 for each set that speaks.
            seen: the classifier's logits.
        """
        parts = []
        for number, groups in enumerate(self.sets):
            for group in groups:
                told = seen[:, group]
                view = (told > 0).long() if told.shape[1] == 1 else F.one_hot(told.argmax(1), told.shape[1])
                parts.append(torch.where(spoken[:, number, None] > 0, view, -1))
        return torch.cat(parts, 1)
