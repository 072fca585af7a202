"""Which training image is nearest to a sample: by features where pictures have colours, else by pixels."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from saddlepoint.core.progress import Say
from saddlepoint.data.cache import cache_dir
from saddlepoint.figures.grids import nearest
from saddlepoint.metrics.extractors import comparable
from saddlepoint.metrics.imagenet import ImagenetLite
from saddlepoint.run.run import Run


class Neighbours:
    """The training images of a run, of which the nearest ones are looked for.

    Colour pictures are compared by `imagenet-lite`, which finds moved and mirrored ones too, and whose features of the
    training images are kept; without its weights, and of more than 10,000 training images, by pixels.

    Args:
        run: of images.
        say: receives a line on what takes time, or why pixels are compared; None: silence.
    """

    def __init__(self, run: Run, say: Say | None = None) -> None:
        self.run, self.say = run, say

    @cached_property
    def _train(self) -> np.ndarray:
        return self.run.dataset(self.say).in_bytes().splits["train"].x

    @cached_property
    def extractor(self) -> ImagenetLite | None:
        """What compares them; None: pixels do."""
        # Evaluation is imported where it is asked for: sampling does not wait for it.
        from saddlepoint.evaluation.features import default_name, extractor_for
        from saddlepoint.evaluation.real_rows import USUAL

        dataset = self.run.dataset(self.say)
        if default_name(dataset) != ImagenetLite.name or len(self._train) > USUAL:
            return None
        found = extractor_for(dataset, None, self.say)
        return found if isinstance(found, ImagenetLite) else None

    @property
    def told_by(self) -> str:
        """By what they are compared."""
        return "pixels" if self.extractor is None else f"features of {self.extractor.name}"

    def look(self, images: np.ndarray) -> np.ndarray:
        """Return the indices (n,) of the training images nearest to images (n, channel, height, width) of bytes."""
        if self.extractor is None:
            return nearest(images, self._train)[0]
        own = comparable(self.extractor.extract(images).x, self.extractor)
        return nearest(own, comparable(self._features, self.extractor))[0]

    @cached_property
    def _features(self) -> np.ndarray:
        from saddlepoint.evaluation.real_rows import training_features
        from saddlepoint.evaluation.sets import Bench

        assert self.extractor is not None
        dataset, subject = self.run.dataset(), self.run.subject()
        bench = Bench(subject, dataset, 0, cache_dir=cache_dir() / "controls", say=self.say or (lambda line: None))
        return training_features(bench, self.extractor)
