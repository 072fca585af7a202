"""Metrics: pure functions of samples that know neither families nor the engine."""

from saddlepoint.metrics.centroids import kmeans_centroids
from saddlepoint.metrics.distances import nearest
from saddlepoint.metrics.parzen import (
    SIGMAS,
    CrossValidation,
    ParzenResult,
    cross_validate,
    log_likelihood,
    mean_and_error,
    parzen10k,
)

__all__ = [
    "SIGMAS", "CrossValidation", "ParzenResult", "cross_validate", "kmeans_centroids", "log_likelihood",
    "mean_and_error", "nearest", "parzen10k",
]  # fmt: skip
