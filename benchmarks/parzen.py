"""Parzen log-likelihood at full size: the library against the direct broadcast formula, in one run.

    python benchmarks/parzen.py [--samples 10000] [--out parzen.json]

The direct formula follows the released form: for each minibatch of points it broadcasts (points, centres, d). At
full size it would take many minutes, so it is measured on a few minibatches and extrapolated linearly, which is
exact for a loop over minibatches. Seconds belong to the machine and its load; the ratio is what counts.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import time
from pathlib import Path

import torch

from saddlepoint.metrics import SIGMAS, log_likelihood, parzen10k

BATCH = 10
"""Points in a minibatch of the direct formula: its table holds 10 x 10,000 x 784 float64, 630 MB."""


def direct_log_likelihood(points: torch.Tensor, centres: torch.Tensor, sigma: float) -> torch.Tensor:
    """The formula as it stands, minibatch by minibatch, on float64 tensors (n, d) and (m, d): (n,)."""
    parts = []
    for batch in points.split(BATCH):
        exponent = ((batch[:, None] - centres) / sigma).square_().sum(2).mul_(-0.5)
        parts.append(torch.logsumexp(exponent, 1) - math.log(len(centres)))
    return torch.cat(parts) - points.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))


def measure(n_centres: int, n_valid: int, n_test: int, features: int, rounds: int) -> dict[str, object]:
    """Time both in turns; the direct formula on one minibatch a round, after one that is not counted."""
    generator = torch.Generator().manual_seed(0)
    sizes = (n_centres, n_valid, n_test)
    # Blurred dots, about as far from one another as digits are: timing hardly depends on the values.
    centres, valid, test = (torch.rand(n, features, generator=generator) ** 4 for n in sizes)
    wide = centres.double()
    direct_log_likelihood(test[:BATCH].double(), wide, 0.2)
    fast, slow, errors = [], [], []
    for number in range(rounds):
        points = test[number * BATCH : (number + 1) * BATCH].double()
        start = time.perf_counter()
        expected = direct_log_likelihood(points, wide, 0.2)
        slow.append((time.perf_counter() - start) / len(points))
        start = time.perf_counter()
        parzen10k(centres, valid, test)
        fast.append(time.perf_counter() - start)
        actual = torch.from_numpy(log_likelihood(points, centres, 0.2))
        errors.append(float(((actual - expected) / expected).abs().max()))
    library, point = statistics.median(fast), statistics.median(slow)
    once, released = point * (n_valid + n_test), point * (n_valid * len(SIGMAS) + n_test)
    return {
        "n_centres": n_centres,
        "n_valid": n_valid,
        "n_test": n_test,
        "features": features,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "library_seconds": library,
        "library_spread": (max(fast) - min(fast)) / library,
        "direct_seconds_per_point": point,
        "direct_spread": (max(slow) - min(slow)) / point,
        "direct_seconds_one_sigma_extrapolated": once,
        "direct_seconds_ten_sigmas_extrapolated": released,
        "ratio_one_sigma": once / library,
        "ratio_ten_sigmas": released / library,
        "ratio_one_sigma_lowest": min(slow) * (n_valid + n_test) / max(fast),
        "largest_relative_difference": max(errors),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def table(result: dict[str, object]) -> str:
    """The result for people."""
    r = result
    return "\n".join(
        [
            f"{r['n_centres']:,} centres, {r['n_valid']:,} validation and {r['n_test']:,} test points, d = "
            f"{r['features']}, {r['threads']} threads, median of {r['rounds']} rounds",
            f"{'':<58}{'seconds':>9}{'ratio':>8}",
            f"{'library: the whole protocol, ten widths':<58}{r['library_seconds']:>9.1f}{1:>8.1f}",
            f"{'direct formula, each point once (extrapolated)':<58}"
            f"{r['direct_seconds_one_sigma_extrapolated']:>9.1f}{r['ratio_one_sigma']:>8.1f}",
            f"{'direct formula, ten widths as released (extrapolated)':<58}"
            f"{r['direct_seconds_ten_sigmas_extrapolated']:>9.1f}{r['ratio_ten_sigmas']:>8.1f}",
            f"each point once, fastest direct round against slowest library round: {r['ratio_one_sigma_lowest']:.1f}",
            f"largest relative difference of a log-likelihood: {r['largest_relative_difference']:.1e}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Parzen log-likelihood against the direct broadcast formula.")
    parser.add_argument("--samples", type=int, default=10_000, help="number of centres (default: 10000)")
    parser.add_argument("--valid", type=int, default=1_000, help="validation points (default: 1000)")
    parser.add_argument("--test", type=int, default=10_000, help="test points (default: 10000)")
    parser.add_argument("--features", type=int, default=784, help="values in a point (default: 784)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each measuring both (default: 3)")
    parser.add_argument("--out", type=Path, help="write the result as JSON to this file")
    args = parser.parse_args()
    result = measure(args.samples, args.valid, args.test, args.features, args.rounds)
    print(table(result))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    else:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
