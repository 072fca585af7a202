"""Scores of series as papers print them, so that a reader can place a model, and other judges than the usual one.

All of them on request: each trains networks, and by most of them a shuffle of time is as good as a copy.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from saddlepoint.evaluation.duration import timed
from saddlepoint.evaluation.measurements.series import (
    carried,
    compared_with,
    measured,
    of_networks,
    real_windows,
    series_protocol,
)
from saddlepoint.evaluation.protocol import Task
from saddlepoint.evaluation.rows import Metric, Row
from saddlepoint.evaluation.sequences import HALVES, SEQUENCE_CONTROLS, seen, told
from saddlepoint.evaluation.sets import Bench, SampleSet
from saddlepoint.evaluation.text import to_row
from saddlepoint.metrics.contextual import RUNS, Encoder, Moments, context_fid, moments, trained_encoder
from saddlepoint.metrics.correlational import correlational_score
from saddlepoint.metrics.series_scores import discriminative, discriminative_2019, predictive_2019

SCORE_2019 = Metric("discriminative score of 2019", "lower", digits=3, least=0, most=0.5)
PREDICTIVE_2019 = Metric("predictive score of 2019", "lower", digits=4, least=0)
TWO_LAYERS = Metric("discriminative score of 2019, two layers", "lower", digits=3, least=0, most=0.5)
PREDICTIVE_TWO = Metric("predictive score of 2019, two layers", "lower", digits=4, least=0)
H64 = Metric("discriminative score, 64 units", "lower", digits=3, least=-0.5, most=0.5)
CONVOLUTIONAL = Metric("discriminative score, convolutions", "lower", digits=3, least=-0.5, most=0.5)
CONTEXT = Metric("Context-FID", "lower", digits=4, least=0)
CORRELATIONAL = Metric("correlational score", "lower", digits=4, least=0)

_TIMED_STEPS = 10
"""Steps of an encoder that are timed."""


def _encoders(bench: Bench) -> list[Encoder]:
    """Return the encoders of the data, which all sets of samples are seen by: trained once, or kept from before."""
    x = seen(bench.dataset, real_windows(bench))
    word, kept = "context-encoders", bench.kept_arrays("context-encoders", len(x))
    if kept is None:
        networks = []
        for run in range(RUNS):
            bench.detail(f"{CONTEXT.name}: training encoder {run + 1} of {RUNS}")
            networks.append(trained_encoder(x, seed=run))
        own = moments(networks, x)
        weights = np.stack([parameters_to_vector(n.parameters()).detach().numpy() for n in networks])
        bench.keep_arrays(word, len(x), {"weights": weights, "mean": own.mean, "covariance": own.covariance})
        return networks
    made = []
    for weights in kept["weights"]:
        network = Encoder(x.shape[2], torch.Generator())
        vector_to_parameters(torch.from_numpy(np.array(weights)), network.parameters())
        made.append(network)
    return made


def _context(samples: SampleSet, task: Task) -> list[Row]:
    bench, networks = task.bench, _encoders(task.bench)
    bench.detail(f"{CONTEXT.name}: {samples.name}")
    real = compared_with(bench, samples)
    kept = bench.kept_arrays("context-encoders", len(real_windows(bench)))
    assert kept is not None
    whole = samples.name != HALVES or samples.role != "control"
    own = Moments(kept["mean"], kept["covariance"]) if whole else moments(networks, seen(bench.dataset, real))
    found = context_fid(own, moments(networks, seen(bench.dataset, samples.x)))
    return [to_row(CONTEXT, samples, found, **carried(samples, task))]


def _context_seconds(task: Task) -> float:
    x = seen(task.bench.dataset, real_windows(task.bench))[:256]
    steps = 200 if x[0].size * task.n <= 100_000 else 600
    training = timed(lambda: trained_encoder(x, iterations=_TIMED_STEPS), RUNS * steps / _TIMED_STEPS)
    network = Encoder(x.shape[2], torch.Generator().manual_seed(0))
    # Encoders are trained once, and serve every set of samples.
    return training / len(SEQUENCE_CONTROLS) + timed(lambda: moments([network], x), RUNS * task.n / len(x))


series_protocol(
    "discriminative-h64", "accuracy less 1/2 of a GRU with 64 units on windows apart in time", (H64,),
    measured((H64,), partial(discriminative, units=64), told), rest="blocks_train", on_request=True,
    seconds=of_networks(partial(discriminative, units=64)), version=1,
)  # fmt: skip
series_protocol(
    "discriminative-convolutional", "accuracy less 1/2 of convolutions on windows apart in time", (CONVOLUTIONAL,),
    measured((CONVOLUTIONAL,), partial(discriminative, convolutional=True), told), rest="blocks_train",
    on_request=True, seconds=of_networks(partial(discriminative, convolutional=True)), version=1,
)  # fmt: skip
series_protocol(
    "discriminative-2019", "discriminative score as the released code of TimeGAN has it", (SCORE_2019,),
    measured((SCORE_2019,), discriminative_2019), rest="random_train", on_request=True, version=2,
)  # fmt: skip
series_protocol(
    "predictive-2019", "predictive score as the released code of TimeGAN has it", (PREDICTIVE_2019,),
    measured((PREDICTIVE_2019,), predictive_2019), rest="train", on_request=True, version=2,
)  # fmt: skip
series_protocol(
    "discriminative-two-layers", "discriminative score of 2019 with a judge of two layers", (TWO_LAYERS,),
    measured((TWO_LAYERS,), partial(discriminative_2019, layers=2)), rest="random_train", on_request=True, version=1,
)  # fmt: skip
series_protocol(
    "predictive-two-layers", "predictive score of 2019 with two layers, as its paper says", (PREDICTIVE_TWO,),
    measured((PREDICTIVE_TWO,), partial(predictive_2019, layers=2)), rest="train", on_request=True, version=1,
)  # fmt: skip
series_protocol(
    "context-fid", "Fréchet distance of windows as TS2Vec sees them, trained on the real ones (papers since 2024)",
    (CONTEXT,), _context, rest="ts2vec-320_train", on_request=True, seconds=_context_seconds, version=1,
    aliases=("cfid",),
)  # fmt: skip
series_protocol(
    "correlational", "correlations of features at the same step, as papers since 2024 have them", (CORRELATIONAL,),
    measured((CORRELATIONAL,), correlational_score), rest="lag0_train", on_request=True, version=1,
)  # fmt: skip
