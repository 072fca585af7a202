"""Data: by name, by path or from the hub; prepared once, memory-mapped ever after."""

from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.given import load_samples, read_picture
from saddlepoint.data.inspect import Inspection, inspect_source
from saddlepoint.data.load import absolute_source, load_dataset, natural_side
from saddlepoint.data.names import KNOWN, DatasetInfo, list_datasets
from saddlepoint.data.sources.synthetic import Mixture, mixture
from saddlepoint.data.truth import Truth, known_truth

__all__ = [
    "KNOWN",
    "Dataset",
    "DatasetInfo",
    "Inspection",
    "Mixture",
    "Split",
    "Truth",
    "absolute_source",
    "inspect_source",
    "known_truth",
    "list_datasets",
    "load_dataset",
    "load_samples",
    "mixture",
    "natural_side",
    "read_picture",
]
