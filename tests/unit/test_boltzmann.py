"""Boltzmann machines small enough to enumerate: every formula against a sum over all states."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.plan import due_updates, locate
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.families.dbm import DBM, DBMConfig
from saddlepoint.families.rbm import RBM, RBMConfig
from saddlepoint.family import Batch, Context, DataSpec, DataStats, Progress, build_family
from saddlepoint.nn.boltzmann import Bipartite, annealed_log_partition, betas, centred, draw_probability
from tests.contract.presets import made

SPEC = DataSpec("image", (1, 2, 3), rows=40)
PIXELS, FIRST, SECOND = 6, 4, 3
RBM_SMALL = RBMConfig(hidden=FIRST, chains=16, centred=False, ais_distributions=200, ais_runs=200)
DBM_SMALL = DBMConfig(
    hidden_widths=(FIRST, SECOND), chains=16, centred=False, mean_field_steps=200, ais_distributions=200, ais_runs=200
)


def states(units: int) -> Tensor:
    """All states of so many units, (2^units, units)."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64)


def drawn(machine: Bipartite, scale: float = 1.0, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def machine(scale: float = 1.0, seed: int = 0) -> Bipartite:
    made = Bipartite(PIXELS, FIRST).double()
    drawn(made, scale, seed)
    return made


def build(config: Any, scale: float = 1.0) -> Any:
    family = build_family("rbm" if isinstance(config, RBMConfig) else "dbm", config, SPEC)
    family.reset_parameters(stream("cpu", "weights", 0))
    drawn(family.machine, scale)
    return family.double()


def log_joint(m: Bipartite) -> Tensor:
    """log p*(s, a) of all states, (2^first, 2^second)."""
    s, a = states(m.weight.shape[1]), states(m.weight.shape[0])
    return (s @ m.weight.t()) @ a.t() + (s @ m.first_bias)[:, None] + (a @ m.second_bias)[None]


def log_partition(m: Bipartite) -> Tensor:
    return log_joint(m).flatten().logsumexp(0)


def log_p_of_pixels(family: Any) -> Tensor:
    """log p(v) of all pictures, (64,), by a sum over all hidden states."""
    m, joint = family.machine, log_joint(family.machine)
    if isinstance(family, RBM):
        return joint.logsumexp(1) - log_partition(m)
    # Columns are states of (v, h2), v first.
    return joint.logsumexp(0).unflatten(0, (2**PIXELS, 2**SECOND)).logsumexp(1) - log_partition(m)


def pictures() -> Tensor:
    """All pictures in the inside range, (64, 1, 2, 3)."""
    return (2 * states(PIXELS) - 1).unflatten(1, SPEC.shape)


def context(seed: int = 0) -> Context:
    return Context(stream("cpu", seed), stream("cpu", seed, 1), Progress())


def gradients(loss: Tensor, m: Bipartite) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [m.weight, m.first_bias, m.second_bias]))


def test_free_energy_is_minus_the_log_of_a_sum_over_all_states() -> None:
    m = machine()
    torch.testing.assert_close(-m.free_energy(states(PIXELS)), log_joint(m).logsumexp(1))


def test_conditionals_are_those_of_the_joint() -> None:
    m = machine()
    joint = log_joint(m).exp()
    a, s = states(FIRST), states(PIXELS)
    torch.testing.assert_close(m.second_logits(s).sigmoid(), joint @ a / joint.sum(1, keepdim=True))
    torch.testing.assert_close(m.first_logits(a).sigmoid(), joint.t() @ s / joint.sum(0)[:, None])


def test_gibbs_steps_end_in_the_distribution_of_the_machine() -> None:
    """30,000 chains from one state; the frequencies of all 64 states, by chi squared with 63 degrees of freedom."""
    m, n = machine(), 30_000
    found = m.gibbs(torch.zeros(n, PIXELS, dtype=torch.float64), 60, stream("cpu", 3))
    index = (found @ (2.0 ** torch.arange(PIXELS - 1, -1, -1, dtype=torch.float64))).long()
    expected = n * (log_joint(m).logsumexp(1) - log_partition(m)).exp().detach()
    statistic = ((torch.bincount(index, minlength=64) - expected).square() / expected).sum()
    assert 25 < float(statistic) < 120  # beyond both in one of ten thousand


def test_certain_units_are_never_drawn_otherwise() -> None:
    p = torch.tensor([0.0, 1.0]).expand(10_000, 2)
    assert torch.equal(draw_probability(p, stream("cpu", 1)), p)


def bases(m: Bipartite) -> tuple[Tensor, Tensor]:
    """Biases of a machine without weights, which are neither 0 nor this one's."""
    return 0.5 * torch.ones(m.weight.shape[1]).double(), -0.3 * torch.ones(m.weight.shape[0]).double()


def test_annealed_log_partition_has_the_mean_and_the_error_that_it_says() -> None:
    """150 seeds: exp(estimate) has the mean Z, and its intervals of 95% hold log Z as often as they say."""
    m = machine(scale=1.5)
    exact = float(log_partition(m).detach())
    found = [annealed_log_partition(m, *bases(m), 10, 200, stream("cpu", seed)) for seed in range(150)]
    ratios = torch.tensor([one.value - exact for one in found]).double().exp()
    error = float(ratios.std()) / len(ratios) ** 0.5
    assert abs(float(ratios.mean()) - 1) < 4 * error
    assert 0.01 < error * len(ratios) ** 0.5 < 0.5, "the test sees an error"
    held = sum(abs(one.value - exact) < 1.96 * one.error for one in found) / len(found)
    assert 0.88 <= held <= 0.995


def test_annealed_log_partition_of_a_machine_without_weights_is_exact() -> None:
    m = machine(scale=0.0)
    found = annealed_log_partition(m, m.first_bias, m.second_bias, 3, 5, stream("cpu", 0))
    assert found.value == pytest.approx((PIXELS + FIRST) * math.log(2), rel=1e-9)
    assert found.error == pytest.approx(0, abs=1e-9)


def test_more_distributions_make_the_error_smaller() -> None:
    m = machine(scale=2.0)
    few, many = (annealed_log_partition(m, *bases(m), k, 300, stream("cpu", 1)).error for k in (3, 300))
    assert many < few / 3


@pytest.mark.parametrize("distributions", [1, 2, 28, 29, 1000, 14_500])
def test_shares_of_annealing_rise_to_one(distributions: int) -> None:
    found = betas(distributions)
    assert len(found) == distributions
    assert found[-1] == 1.0
    assert all(a < b for a, b in itertools.pairwise([0.0, *found]))


def test_shares_of_annealing_are_those_of_the_paper() -> None:
    found = betas(14_500)
    assert (found[499], found[4_499], found[14_499]) == (0.5, pytest.approx(0.9), 1.0)


def expected_gradient(family: Any, monkeypatch: pytest.MonkeyPatch, batch: Batch) -> list[Tensor]:
    """Gradient of the loss, averaged over chains drawn from the model: its sum over all states of a chain."""
    m = family.machine
    p = (log_joint(m).logsumexp(1) - log_partition(m)).exp().detach()
    total = [torch.zeros_like(parameter) for parameter in (m.weight, m.first_bias, m.second_bias)]
    for state, share in zip(states(m.weight.shape[1]), p, strict=True):
        monkeypatch.setattr(type(family), "fantasies", lambda *told, s=state: s[None])
        found = gradients(family.loss(family.stages()[0].cycle[0], batch, context()).loss.mean(), m)
        total = [sum_ + share * one for sum_, one in zip(total, found, strict=True)]
    return total


def test_rbm_descends_the_gradient_of_minus_the_log_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    family, seen = build(RBM_SMALL), [3, 3, 17, 40, 63]
    exact = gradients(-log_p_of_pixels(family)[seen].mean(), family.machine)
    found = expected_gradient(family, monkeypatch, Batch(pictures()[seen]))
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other)


def settled(family: DBM, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean-field probabilities by a differentiable iteration of its own."""
    m = family.machine
    down, up = m.weight[:PIXELS], m.weight[PIXELS:]
    h2 = torch.full((len(x), SECOND), 0.5, dtype=torch.float64)
    for _ in range(300):
        h1 = torch.sigmoid(x @ down + h2 @ up + m.first_bias)
        h2 = torch.sigmoid(h1 @ up.t() + m.second_bias[PIXELS:])
    return h1, h2


def log_bound(family: DBM, x: Tensor) -> Tensor:
    """The bound of log p*(x), by a sum over all hidden states under q."""
    h1, h2 = settled(family, x)
    total = torch.zeros(len(x), dtype=torch.float64)
    m = family.machine
    for one, two in itertools.product(states(FIRST), states(SECOND)):
        q = (torch.where(one == 1, h1, 1 - h1).prod(1)) * (torch.where(two == 1, h2, 1 - h2).prod(1))
        a = torch.cat([x, two.expand(len(x), -1)], 1)
        total = total + q * (a @ m.weight @ one + one @ m.first_bias + a @ m.second_bias - q.log())
    return total


def test_dbm_descends_the_gradient_of_minus_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is flat in q where q has settled: its gradient is that of the loss, where q is a constant."""
    family, seen = build(DBM_SMALL), [3, 3, 17, 40, 63]
    exact = gradients(log_partition(family.machine) - log_bound(family, states(PIXELS)[seen]).mean(), family.machine)
    found = expected_gradient(family, monkeypatch, Batch(pictures()[seen]))
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_dbm_bound_is_below_the_likelihood_and_exact_without_a_second_layer() -> None:
    family = build(DBM_SMALL, scale=1.5)
    x, exact = states(PIXELS), log_p_of_pixels(family) + log_partition(family.machine)
    found = family.unnormalised(x)
    torch.testing.assert_close(found, log_bound(family, x))
    gaps = exact - found
    assert bool((gaps >= 0).all())
    assert 1e-3 < float(gaps.mean()) < 2, "the test sees a gap"
    with torch.no_grad():
        family.machine.weight[PIXELS:] = 0
    exact = log_p_of_pixels(family) + log_partition(family.machine)
    torch.testing.assert_close(family.unnormalised(x), exact)


@torch.no_grad()
def test_every_mean_field_update_raises_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    family, bounds = build(DBM_SMALL, scale=1.5), []
    for steps in (1, 2, 3, 5, 30):
        monkeypatch.setattr("saddlepoint.families.dbm.model._INFERENCE", steps)
        bounds.append(float(family.unnormalised(states(PIXELS)).mean()))
    assert all(a < b for a, b in itertools.pairwise(bounds))


@pytest.mark.parametrize("config", [RBM_SMALL, DBM_SMALL], ids=["rbm", "dbm"])
@torch.no_grad()
def test_likelihoods_are_those_of_all_pictures(config: Any) -> None:
    family = build(config)
    found = family.log_likelihood(pictures(), generator=stream("cpu", 5))
    exact = log_p_of_pixels(family)
    assert 0 < found.error < 0.1
    if isinstance(family, RBM):
        assert float((found.values - exact).abs().max()) < 4 * found.error
        assert float(found.values.exp().sum()) == pytest.approx(1, abs=4 * found.error)
    else:
        assert bool((found.values < exact + 4 * found.error).all())
        bound = log_bound(family, states(PIXELS)) - log_partition(family.machine)
        assert float((found.values - bound).abs().max()) < 4 * found.error


@pytest.mark.parametrize("config", [RBM_SMALL, DBM_SMALL], ids=["rbm", "dbm"])
@torch.no_grad()
def test_annealing_starts_at_the_base_rates(config: Any) -> None:
    """Without weights pixels have the rows' means in the base, and hidden units are fair coins."""
    family = build(config)
    p = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.9, 1.0], dtype=torch.float64)
    mean = (2 * p - 1).view(SPEC.shape)
    family.prepare(DataStats(mean, torch.ones_like(mean), mean[None]))
    groups = torch.cat(family.base()).sigmoid()
    start = 0 if isinstance(family, RBM) else FIRST
    torch.testing.assert_close(groups[start : start + PIXELS], (40 * p + 0.5) / 41)
    assert torch.equal(torch.cat([groups[:start], groups[start + PIXELS :]]).unique(), torch.tensor([0.5]).double())


def test_greys_are_drawn_with_their_probability() -> None:
    family, grey = build(RBM_SMALL), 0.3
    x = torch.full((5_000, *SPEC.shape), 2 * grey - 1, dtype=torch.float64)
    drawn_pixels = family.pixels(x, stream("cpu", 2))
    assert set(drawn_pixels.unique().tolist()) == {0.0, 1.0}
    assert float(drawn_pixels.mean()) == pytest.approx(grey, abs=4 * (grey * (1 - grey) / 30_000) ** 0.5)


@pytest.mark.parametrize("config", [RBM_SMALL, DBM_SMALL], ids=["rbm", "dbm"])
def test_centred_steps_are_those_of_centred_parameters(config: Any) -> None:
    """A step of sgd in W, b~ = b + W'm_a and c~ = c + W m_s, from the same minibatch and chains."""
    family, lr = build(replace(config, centred=True)), 0.1
    m = family.machine
    generator = torch.Generator().manual_seed(1)
    for mean in (family.first_mean, family.second_mean):
        mean.copy_(torch.rand(mean.shape, generator=generator))
    first, second = family.first_mean.clone(), family.second_mean.clone()
    batch, phase = Batch(pictures()[[3, 17, 40]]), family.stages()[0].cycle[0]
    start = {name: value.clone() for name, value in family.state_dict().items()}
    found = gradients(family.loss(phase, batch, context()).loss.mean(), m)
    family.load_state_dict(start)
    family.config = replace(config, centred=False)
    plain = gradients(family.loss(phase, batch, context()).loss.mean(), m)
    # By the chain rule: E depends on W directly, and through b = b~ - W'm_a, c = c~ - W m_s.
    weight = plain[0] - torch.outer(second, plain[1]) - torch.outer(plain[2], first)
    moved = m.weight - lr * weight
    b = (m.first_bias + second @ m.weight - lr * plain[1]) - second @ moved
    c = (m.second_bias + m.weight @ first - lr * plain[2]) - moved @ first
    for parameter, gradient, right in zip(m.parameters(), found, (moved, b, c), strict=True):
        torch.testing.assert_close(parameter - lr * gradient, right)


def test_centring_leaves_the_parameters_as_they_are() -> None:
    m = machine()
    found = centred(m, torch.rand(PIXELS).double(), torch.rand(FIRST).double())
    assert torch.equal(found.weight, m.weight)
    assert torch.equal(found.first_bias, m.first_bias)
    assert torch.equal(found.second_bias, m.second_bias)


@pytest.mark.parametrize("config", [RBM_SMALL, DBM_SMALL], ids=["rbm", "dbm"])
@torch.no_grad()
def test_prepared_pixels_have_the_means_of_the_data(config: Any) -> None:
    """Without weights each pixel is on as often as in the rows, with half a row more of each kind."""
    family = build(config, scale=0.0)
    p = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.9, 1.0], dtype=torch.float64)
    mean = (2 * p - 1).view(SPEC.shape)
    family.prepare(DataStats(mean, torch.ones_like(mean), mean[None]))
    found = log_p_of_pixels(family).exp() @ states(PIXELS)
    torch.testing.assert_close(found, (40 * p + 0.5) / 41)


@pytest.mark.parametrize("config", [RBM_SMALL, DBM_SMALL], ids=["rbm", "dbm"])
@pytest.mark.parametrize("start", ["chains", "mean"])
@torch.no_grad()
def test_samples_have_the_means_of_the_model(config: Any, start: str) -> None:
    family, n = build(replace(config, sample_start=start, sample_steps=40), scale=0.7), 20_000
    inputs = family.sample_inputs(n, stream("cpu", 1)).double()
    made = (family.generate(inputs, generator=stream("cpu", 2)).flatten(1) + 1) / 2
    expected = log_p_of_pixels(family).exp() @ states(PIXELS)
    # Probabilities vary less than what is drawn from them.
    assert float((made.mean(0) - expected).abs().max()) < 4 * 0.5 / n**0.5
    assert len(made.unique(dim=0)) > 4


@torch.no_grad()
def test_samples_start_at_chains() -> None:
    """Inputs are uniform numbers below a unit's mean where the chain's unit is 1, and above where it is 0."""
    family = build(replace(RBM_SMALL, sample_steps=1))
    family.first_mean.copy_(torch.linspace(0, 1, PIXELS))
    inputs = family.sample_inputs(500, stream("cpu", 1)).double()
    start = (inputs < family.bounded_mean()).double()
    assert {tuple(row) for row in start.tolist()} == {tuple(row) for row in family.chains.double().tolist()}
    found = family.generate(inputs, generator=stream("cpu", 2))
    right = family.pixels_of(start, stream("cpu", 2), inputs.sum(1, keepdim=True).frac())
    torch.testing.assert_close(found, 2 * right.view(500, *SPEC.shape) - 1)


def test_shifted_numbers_stay_uniform_and_differ() -> None:
    p, shift = torch.full((2, 50_000), 0.3), torch.tensor([[0.0], [0.6]])
    first, second = draw_probability(p, stream("cpu", 1), shift)
    assert torch.equal(first, draw_probability(p, stream("cpu", 1))[0])
    assert float(second.mean()) == pytest.approx(0.3, abs=4 * (0.21 / 50_000) ** 0.5)
    same = draw_probability(p[:1].expand(2, -1), stream("cpu", 1), torch.tensor([[0.6], [0.6]]))
    assert torch.equal(same[1], second)
    assert not torch.equal(same[0], first)


def test_chains_go_on_and_stay_states() -> None:
    for config in (RBM_SMALL, DBM_SMALL):
        family = build(config)
        before = family.chains.clone()
        assert 0 < float(before.float().mean()) < 1
        family.loss(family.stages()[0].cycle[0], Batch(pictures()[:4]), context())
        assert family.chains.dtype == torch.bool
        assert not torch.equal(before, family.chains)


@pytest.mark.parametrize("name", ["rbm", "dbm"])
def test_chains_of_a_divided_minibatch_are_those_of_its_first_share(name: str) -> None:
    """A mean of states is none; running means are the mean over both shares."""
    kind = {"rbm": RBM, "dbm": DBM}[name]
    config = replace(RBM_SMALL if name == "rbm" else DBM_SMALL, batch_size=8)
    dataset = made(kind, "small")
    family = build_family(name, config, dataset.spec)
    trainer = Trainer(family, Feed(dataset.splits["train"], 8, 0, shares=2), Settings(), RunFolder("unused"))
    family.prepare(dataset.stats())
    start = {key: value.clone() for key, value in family.state_dict().items()}
    position = locate(trainer.stages, 0)
    assert position is not None
    (update,) = due_updates(position)
    alone = []
    for share in (0, 1):
        family.load_state_dict(start)
        family.loss(update.phases[0], trainer.feed.batch(0, share), trainer.context(update, share))
        alone.append({key: value.clone() for key, value in family.named_buffers()})
    family.load_state_dict(start)
    trainer.step(position)
    assert torch.equal(family.chains, alone[0]["chains"])
    assert not torch.equal(alone[0]["chains"], alone[1]["chains"])
    torch.testing.assert_close(family.second_mean, (alone[0]["second_mean"] + alone[1]["second_mean"]) / 2)


def test_contrastive_divergence_starts_at_the_minibatch() -> None:
    """Where each pixel has a hidden unit that keeps it, the chain stays, and no gradient is left."""
    family = build(replace(RBM_SMALL, hidden=PIXELS, persistent=False, sample_start="mean"))
    m = family.machine
    with torch.no_grad():
        m.weight.copy_(200 * torch.eye(PIXELS))
        m.first_bias.fill_(-100)
        m.second_bias.fill_(-100)
    terms = family.loss(family.stages()[0].cycle[0], Batch(pictures()[:8]), context())
    assert float(terms.loss.mean().detach()) == pytest.approx(0, abs=1e-9)
    assert all(float(one.abs().max()) < 1e-9 for one in gradients(terms.loss.mean(), m))


@pytest.mark.parametrize("config", [RBM_SMALL, DBM_SMALL], ids=["rbm", "dbm"])
@pytest.mark.parametrize("is_centred", [False, True])
def test_training_raises_the_likelihood(config: Any, is_centred: bool) -> None:
    """Three of 64 pictures, a third each: -log 3 at best, -4.2 at first; the exact figure, by enumeration."""
    family = build(replace(config, centred=is_centred, chains=100), scale=0.01)
    rows = pictures()[[7, 56, 21]].repeat(10, 1, 1, 1)
    family.prepare(DataStats(rows.mean(0), rows.std(0), rows))
    phase = family.stages()[0].cycle[0]
    before = float(log_p_of_pixels(family)[[7, 56, 21]].mean().detach())
    for step in range(600):
        found = gradients(family.loss(phase, Batch(rows), context(step)).loss.mean(), family.machine)
        with torch.no_grad():
            for parameter, gradient in zip(family.machine.parameters(), found, strict=True):
                parameter -= 0.2 * gradient
    assert before < -3.5
    assert float(log_p_of_pixels(family)[[7, 56, 21]].mean().detach()) > -2.2


def test_learning_rates_fall_as_they_say() -> None:
    config = RBMConfig(lr=0.1, lr_decay_kimg=100.0, lr_fall_kimg=600.0)
    assert [config.learning_rate(Progress(nimg=n)) for n in (0, 300_000, 600_000)] == [0.1, pytest.approx(0.025), 0.0]
    assert RBMConfig(lr=0.1).learning_rate(Progress(nimg=10**9)) == 0.1


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (RBMConfig, {"persistent": False}, "sample-start is chains, but it must be mean"),
        (RBMConfig, {"hidden": 0}, "hidden is 0, but it must be at least 1"),
        (RBMConfig, {"ais_runs": 1}, "ais-runs is 1, but it must be at least 2"),
        (RBMConfig, {"sample_start": "data"}, "sample-start is 'data'"),
        (DBMConfig, {"hidden_widths": (5,)}, "hidden-widths is 5, but it must be two numbers"),
        (DBMConfig, {"mean_field_steps": 0}, "mean-field-steps is 0, but it must be at least 1"),
        (DBMConfig, {"momentum": 1.0}, "momentum is 1.0, but it must be in"),
    ],
)
def test_options_are_held_against_their_rules(kind: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        kind(**options)
