"""StarGAN: losses against their formulas, labels as targets, the mask vector, the order of updates, published sizes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.cli.display import Display
from saddlepoint.core.errors import ConfigError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.families.stargan import Discriminator, Generator, StarGAN, StarGANConfig
from saddlepoint.family import Batch, Context, DataSpec, Phase, Progress, build_family
from saddlepoint.family.translation import LabelSets

SMALL = StarGANConfig(
    batch_size=4, width=4, blocks=1, kernel=3, condition="norm", discriminator_width=4, layers=2, init="he",
    objective="non-saturating", penalty=3.0, r1_gamma=0.7, classification=2.0, cycle=5.0, n_critic=2,
)  # fmt: skip
PLAIN = DataSpec("image", (3, 16, 16), ("a", "b", "c"), 20)
SEVERAL = DataSpec("image", (3, 16, 16), ("red", "blue", "bold", "old"), 20, labelling=((2, 1), (1,)))
D = Phase("discriminator", ("discriminator",), "discriminator")
G = Phase("generator", ("generator",), "generator")


def build(config: StarGANConfig = SMALL, spec: DataSpec = PLAIN) -> StarGAN:
    family = build_family("stargan", config, spec)
    family.reset_parameters(stream("cpu", "weights", 0))
    assert isinstance(family, StarGAN)
    return family.double().train()


def batch(labels: Tensor | None = None) -> Batch:
    x = torch.rand(4, 3, 16, 16, generator=stream("cpu", "x"), dtype=torch.float64) * 2 - 1
    return Batch(x, torch.tensor([0, 1, 2, 1]) if labels is None else labels)


def context() -> Context:
    return Context(stream("cpu", "noise"), stream("cpu", "batch"), Progress())


def by_hand(family: StarGAN, given: Batch, config: StarGANConfig) -> tuple[Tensor, Tensor]:
    """Both players' losses from the paper's equations, with penalties by double backward.

    The gradient penalty is that of the sum over the 4 x 4 patches, as released.
    """
    assert given.labels is not None
    g, d = family.generator, family.discriminator
    keys = torch.rand(4, generator=stream("cpu", "batch"), dtype=torch.float64)
    own = F.one_hot(given.labels, 3).double()
    target_index = given.labels[keys.argsort()]
    target = F.one_hot(target_index, 3).double()
    fake = g(given.x, target)
    share = torch.rand(4, 1, 1, 1, generator=stream("cpu", "noise")).double()
    real, between = (x.detach().clone().requires_grad_() for x in (given.x, share * given.x + (1 - share) * fake))
    squares = []
    for x, classes in ((real, own if config.r1_classes else 0 * own), (between, 0 * own)):
        logit, domain = d(x)
        (gradient,) = torch.autograd.grad((logit + (classes * domain).sum(1)).sum(), x, create_graph=True)
        squares.append(gradient.square().sum((1, 2, 3)))
    (real_logit, real_domain), (fake_logit, _) = d(given.x), d(fake.detach())
    loss_d = F.softplus(-real_logit) + F.softplus(fake_logit)
    loss_d = loss_d + config.classification * F.cross_entropy(real_domain, given.labels, reduction="none")
    loss_d = loss_d + config.penalty * (16 * squares[1].sqrt() - 1) ** 2 + 0.7 / 2 * squares[0]
    logit, domain = d(fake)
    loss_g = F.softplus(-logit) + config.classification * F.cross_entropy(domain, target_index, reduction="none")
    loss_g = loss_g + config.cycle * (g(fake, own) - given.x).abs().mean((1, 2, 3))
    return loss_d.mean(), loss_g.mean()


@pytest.mark.parametrize(("condition", "r1_classes"), [("norm", False), ("input", False), ("norm", True)])
def test_losses_are_those_of_the_equations(condition: str, r1_classes: bool) -> None:
    """Values and gradients: adversarial, classification, cycle, gradient penalty, R1."""
    config = dataclasses.replace(SMALL, condition=condition, r1_classes=r1_classes)
    family, given = build(config), batch()
    for phase, wanted in zip((D, G), by_hand(family, given, config), strict=True):
        found = family.loss(phase, given, context()).loss.mean()
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
        parameters = list(family.get_submodule(phase.name).parameters())
        ours, exact = (torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (found, wanted))
        for one, two in zip(ours, exact, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9)


def test_every_weight_of_a_loss_counts() -> None:
    for name, phase in (("penalty", D), ("r1_gamma", D), ("classification", D), ("classification", G), ("cycle", G)):
        losses = [
            build(dataclasses.replace(SMALL, **{name: factor})).loss(phase, batch(), context()).loss.mean().item()
            for factor in (1.0, 2.0, 3.0)
        ]
        assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0])
        assert losses[1] > losses[0]


def test_only_images_that_are_sent_to_their_own_domain_shall_stay_as_they_are() -> None:
    family, given = build(), batch()
    strict = build(dataclasses.replace(SMALL, identity=3.0))
    assert given.labels is not None
    own = family.labels.several(given.labels)
    target = family.labels.shuffled(own, stream("cpu", "batch"))
    stays = (target == own).all(1)
    assert 0 < stays.sum() < 4
    change = (family.generator(given.x, target.double()) - given.x).abs().mean((1, 2, 3))
    plain, more = (one.loss(G, given, context()).loss for one in (family, strict))
    torch.testing.assert_close(more - plain, 3.0 * stays * change)


def test_the_label_of_the_target_changes_the_translation_in_both_ways_of_telling_it() -> None:
    for condition in ("norm", "input"):
        family = build(dataclasses.replace(SMALL, condition=condition)).eval()
        with torch.no_grad():
            one, two = (family.generate(batch().x, torch.full((4,), c), generator=stream("cpu", 1)) for c in (0, 1))
        assert (one - two).abs().max() > 1e-3


def test_the_mask_vector_says_which_label_set_speaks() -> None:
    sets = LabelSets(SEVERAL)
    labels = torch.tensor([[1, 0, 1, -1], [-1, -1, -1, 1], [0, 1, 0, -1], [-1, -1, -1, 0]])
    assert sets.width == 6
    expected = [[1, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 1], [0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]
    assert sets.encode(labels).tolist() == expected
    assert LabelSets(PLAIN).encode(torch.eye(3, dtype=torch.long)).tolist() == torch.eye(3).tolist()


def test_unknown_labels_cost_nothing_and_known_ones_their_cross_entropy() -> None:
    sets = LabelSets(SEVERAL)
    logits = torch.tensor([[2.0, 0.5, -1.0, 3.0]]).repeat(2, 1).requires_grad_()
    loss = sets.loss(logits, torch.tensor([[0, 1, 1, -1], [-1, -1, -1, 0]]))
    softmax = np.log(np.exp(2.0) + np.exp(0.5)) - 0.5
    assert loss.tolist() == pytest.approx([softmax + np.log1p(np.exp(1.0)), np.log1p(np.exp(3.0))], rel=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient[0, 3] == 0
    assert gradient[1, :3].tolist() == [0, 0, 0]


def test_an_image_shows_its_target_where_every_known_label_is_read_from_it() -> None:
    """Groups by their largest logit, attributes by their sign; what is not known counts for nothing."""
    sets, seen = LabelSets(SEVERAL), torch.tensor([[-1.0, 2.0, 3.0, -5.0]])
    for target, shown in (
        ([0, 1, 1, -1], 1), ([1, 0, 1, -1], 0), ([0, 1, 0, -1], 0), ([-1, -1, -1, 0], 1), ([-1, -1, -1, 1], 0),
    ):  # fmt: skip
        assert sets.shown(seen, torch.tensor([target])).tolist() == [shown]
    one = LabelSets(PLAIN)
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, -1.0]])
    assert one.shown(logits, one.several(torch.tensor([0, 2]))).tolist() == [1, 0]


def test_the_line_of_progress_says_what_a_translation_is_worth(capsys: pytest.CaptureFixture[str]) -> None:
    family, real = build().eval(), batch()
    logs = family.loss(G, real, context()).logs
    assert set(logs) == {"classification G", "class accuracy", "cycle error"}
    means = {name: float(values.float().mean()) for name, values in logs.items()}
    with Display(Settings(seconds=60)) as display:
        display.tick(Progress(10, 160), 1.0, lambda: {**means, "V": -1.0, "diversity (latent)": 0.25})
    line = capsys.readouterr().err
    for name in ("class accuracy", "cycle error"):
        assert f"{name} {means[name]:.3f}" in line
    assert "V -1.000" in line
    assert "diversity 0.250" in line
    assert "classification" not in line


def test_targets_are_labels_of_the_same_set_in_another_order() -> None:
    sets = LabelSets(SEVERAL)
    first, second = [[1, 0, 1, -1], [0, 1, 1, -1], [0, 1, 0, -1]], [[-1, -1, -1, 1], [-1, -1, -1, 0]]
    labels = torch.tensor([first[0], second[0], first[1], second[1], first[2]])
    orders = set()
    for seed in range(20):
        targets = sets.shuffled(labels, stream("cpu", seed))
        assert sets.known(targets).tolist() == sets.known(labels).tolist()
        assert sorted(targets.tolist()) == sorted(labels.tolist())
        orders.add(str(targets.tolist()))
    assert len(orders) > 5


def test_what_is_not_asked_for_stays_as_the_classifier_sees_it() -> None:
    sets = LabelSets(SEVERAL)
    seen = torch.tensor([[-1.0, 2.0, 3.0, 5.0]])
    assert sets.complete(torch.tensor([0]), seen).tolist() == [[1, 0, 1, -1]]
    assert sets.complete(torch.tensor([2]), -seen).tolist() == [[1, 0, 1, -1]]
    assert sets.complete(torch.tensor([3]), -seen).tolist() == [[-1, -1, -1, 1]]
    assert sets.complete(torch.tensor([[-1, -1, 0, -1]]), seen).tolist() == [[0, 1, 0, -1]]
    assert sets.complete(torch.full((1, 4), -1), seen).tolist() == [[0, 1, 1, -1]]


def test_two_label_sets_train_together() -> None:
    """D learns nothing about the labels that a row does not have; both losses are finite."""
    family = build(spec=SEVERAL)
    given = batch(torch.tensor([[1, 0, 1, -1], [0, 1, 0, -1], [-1, -1, -1, 1], [-1, -1, -1, 0]]))
    for phase in (D, G):
        assert family.loss(phase, given, context()).loss.isfinite().all()
    alone = Batch(given.x[:2], given.labels[:2])  # type: ignore[index]
    domain = family.discriminator.domain.weight
    (gradient,) = torch.autograd.grad(family.loss(D, alone, context()).loss.sum(), domain)
    assert gradient[3].abs().max() == 0
    assert gradient[0].abs().max() > 0


class Doubled(Feed):
    """Minibatches in float64: Adam would blow up rounding where a gradient is nearly 0."""

    def batch(self, draw: int, share: int = 0) -> Batch:
        given = super().batch(draw, share)
        return Batch(given.x.double(), given.labels)


def test_n_critic_is_the_published_order(tmp_path: Path) -> None:
    """Against a loop written out: D on every minibatch, G on each third with the targets D had, Adam for each."""
    config = dataclasses.replace(SMALL, n_critic=3, objective="wasserstein", r1_gamma=None, lr=1e-3)
    rng = np.random.default_rng(1)
    dataset = Dataset(
        "made", "image", {"train": Split(rng.integers(0, 256, (20, 3, 16, 16), np.uint8), np.arange(20) % 3)},
        ("a", "b", "c"), "0",
    )  # fmt: skip
    trained = build_family("stargan", config, dataset.spec).double()
    trained.sample_inputs = lambda n, generator: torch.zeros(n, 3, 16, 16, dtype=torch.double)  # type: ignore[method-assign]
    feed = Doubled(dataset.splits["train"], 4, 0)
    Trainer(trained, feed, Settings(steps=7), RunFolder(tmp_path)).train(dataset.stats)
    mine = build_family("stargan", config, dataset.spec).double()
    mine.reset_parameters(stream("cpu", "weights", 0))
    assert isinstance(mine, StarGAN)
    g, d = mine.generator, mine.discriminator
    step_g, step_d = (torch.optim.Adam(n.parameters(), 1e-3, betas=(0.5, 0.999)) for n in (g, d))
    for t in range(7):
        x, labels = feed.batch(t).x, feed.batch(t).labels
        assert labels is not None
        own = F.one_hot(labels, 3).double()
        keys = torch.rand(4, generator=stream("cpu", "batch", 0, 0, t), dtype=torch.double)
        asked = labels[keys.argsort()]
        target = F.one_hot(asked, 3).double()
        fake = g(x, target).detach()
        share = torch.rand(4, 1, 1, 1, generator=stream("cpu", "noise", 0, 0, t, 0)).double()
        between = (fake + share * (x - fake)).requires_grad_()
        (gradient,) = torch.autograd.grad(d(between)[0].sum(), between, create_graph=True)
        far = ((256 * gradient.square().sum((1, 2, 3)) + 1e-12).sqrt() - 1).square().mean()
        loss = d(fake)[0].mean() - d(x)[0].mean() + 2 * F.cross_entropy(d(x)[1], labels) + 3 * far
        step_d.zero_grad()
        loss.backward()
        step_d.step()
        if (t + 1) % 3 == 0:
            fake = g(x, target)
            loss = 2 * F.cross_entropy(d(fake)[1], asked) - d(fake)[0].mean() + 5 * (g(fake, own) - x).abs().mean()
            step_g.zero_grad()
            loss.backward()
            step_g.step()
    for (name, one), two in zip(trained.named_parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


def test_the_paper_preset_has_the_published_size() -> None:
    """53.2 million parameters at 128 x 128 with five attributes; lr 1e-4 until 1,600 kimg, then down to 0 at 3,200."""
    config = StarGAN.PRESETS["paper-celeba-128"]
    with torch.device("meta"):
        networks = Generator(config, 3, 5), Discriminator(config, (3, 128, 128), 5)
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert sum(counts) == pytest.approx(53.2e6, abs=0.05e6)
    rates = [config.learning_rate(Progress(nimg=kimg * 1000)) for kimg in (0, 1600, 2400, 3200)]
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 0.0])
    spec = DataSpec("image", (3, 128, 128), ("a", "b", "c", "d", "e"), 10, labelling=((1,) * 5,))
    (stage,) = build_family("stargan", config, spec).stages()
    assert [[phase.name for phase in stage.cycle if phase.due(i)] for i in range(6)] == [
        ["discriminator"], ["discriminator"], ["discriminator"], ["discriminator"], ["discriminator", "generator"],
        ["discriminator"],
    ]  # fmt: skip


def test_mirroring_is_the_same_for_both_players() -> None:
    """Images belong to the minibatch: with and without mirroring G's loss differs, twice with it is the same."""
    family = build(dataclasses.replace(SMALL, flip=True))
    losses = [family.loss(G, batch(), context()).loss for _ in range(2)]
    assert torch.equal(*losses)
    assert not torch.equal(losses[0], build().loss(G, batch(), context()).loss)


@pytest.mark.parametrize("spec", [DataSpec("image", (3, 16, 16)), DataSpec("image", (3, 16, 16), ("alone",))])
def test_data_without_domains_is_refused(spec: DataSpec) -> None:
    with pytest.raises(ConfigError, match="folder of its own"):
        build(spec=spec)


@pytest.mark.parametrize("shape", [(3, 16, 18), (3, 18, 18)])
def test_another_size_is_refused_with_a_remedy(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="choose another --size"):
        build(spec=dataclasses.replace(PLAIN, shape=shape))


def test_families_that_ask_for_one_class_refuse_several_labels() -> None:
    from saddlepoint.families.dcgan import DCGANConfig

    build_family("dcgan", DCGANConfig(width=4), SEVERAL)
    with pytest.raises(ConfigError, match="several labels"):
        build_family("dcgan", DCGANConfig(width=4, conditional=True), SEVERAL)


def test_a_generator_with_a_mask_starts_near_the_identity() -> None:
    """It keeps 1 / (1 + e^-2), about .88, of its input where the mask has no opinion."""
    family = build(dataclasses.replace(SMALL, skip="input"))
    x, told = batch().x, F.one_hot(torch.tensor([0, 1, 2, 0]), 3).double()
    with torch.no_grad():
        family.generator.output.weight[-1].zero_()
        kept = 1 / (1 + np.exp(-2.0))
        drawn = torch.tanh(family.generator.convolved(x, told)[:, :-1])
        torch.testing.assert_close(family.generator(x, told), kept * x + (1 - kept) * drawn)


def test_maps_of_the_way_down_reach_the_way_up_where_there_is_a_mask() -> None:
    """With nothing from the lowest side, the picture depends on what the middle side saw only by the way across."""
    x, told = batch().x, F.one_hot(torch.tensor([0, 1, 2, 0]), 3).double()
    for skip in ("none", "input"):
        g = build(dataclasses.replace(SMALL, skip=skip)).generator
        with torch.no_grad():
            g.up[0].weight.zero_()
            before = g.convolved(x, told)
            g.down[1].weight.neg_()
            assert torch.equal(g.convolved(x, told), before) == (skip == "none")


def test_convolutions_at_full_resolution_add_to_what_is_there() -> None:
    x, told = batch().x, F.one_hot(torch.tensor([0, 1, 2, 0]), 3).double()
    without = build(dataclasses.replace(SMALL, condition="input")).generator
    g = build(dataclasses.replace(SMALL, condition="input", refining=2)).generator
    g.load_state_dict(without.state_dict(), strict=False)
    with torch.no_grad():
        assert not torch.allclose(g(x, told), without(x, told), atol=1e-3)
        for layer in g.refining:
            layer.weight.zero_()
        torch.testing.assert_close(g(x, told), without(x, told))


@pytest.mark.parametrize("objective", [SMALL.objective, "relativistic"])
def test_players_that_step_at_once_share_a_translation_and_judgements_of_real_images(objective: str) -> None:
    """One pass of G for both, one of D over real images; each loss and gradient is what it is alone."""
    config = dataclasses.replace(SMALL, n_critic=1, objective=objective)
    apart, together = build(config), build(dataclasses.replace(config, simultaneous=True))
    calls, judged = [], []
    together.generator.register_forward_hook(lambda *_: calls.append(1))
    together.discriminator.register_forward_hook(lambda *_: judged.append(1))
    shared = together.losses((D, G), batch(), context())
    for phase in (D, G):
        losses = [apart.loss(phase, batch(), context()).loss.mean(), shared[phase.name].loss.mean()]
        one, two = (
            torch.autograd.grad(loss, list(family.get_submodule(phase.name).parameters()), retain_graph=True)
            for loss, family in zip(losses, (apart, together), strict=True)
        )
        torch.testing.assert_close(losses[0], losses[1])
        for mine, theirs in zip(one, two, strict=True):
            torch.testing.assert_close(mine, theirs)
    assert len(calls) == 2
    assert len(judged) == 2
    assert together.stages()[-1].simultaneous


COLOURS = dataclasses.replace(SMALL, told="pairs", skip="colours", colours_steps=3)


def test_a_map_of_colours_can_turn_dark_into_light_where_a_class_changes() -> None:
    """Set by hand: -1 times the colours for pairs of different classes, as they are for others, whatever the image."""
    generator = build(COLOURS).generator
    assert generator.colours is not None
    with torch.no_grad():
        generator.colours.weight.zero_()
        generator.colours.bias.zero_()
        for pair in range(9):
            sign = 1.0 if pair in (0, 4, 8) else -1.0
            generator.colours.weight.view(3, 4, 9)[range(3), range(3), pair] = sign
    labels = LabelSets(PLAIN)
    own, target = (F.one_hot(torch.tensor(c), 3) for c in ([0, 1, 2, 0], [0, 2, 2, 1]))
    x = batch().x
    found = generator(x, labels.encode_pairs(own, target), bare=True)
    signs = torch.tensor([1, -1, 1, -1])[:, None, None, None]
    torch.testing.assert_close(found, 0.98 * signs * x)
    told = labels.encode_pairs(own, target).double()
    layers = generator.convolved(x, told)
    kept = torch.sigmoid(layers[:, -1:] + 2)
    torch.testing.assert_close(generator(x, told), kept * found + (1 - kept) * torch.tanh(layers[:, :-1]))
    ends = torch.ones_like(x)
    assert bool(generator(ends, told).isfinite().all())


def test_pairs_say_where_an_image_comes_from_and_where_it_goes() -> None:
    sets = LabelSets(SEVERAL)
    assert sets.pair_width == 4 + 4 + 4
    own = torch.tensor([[1, 0, 1, -1], [-1, -1, -1, 0]])
    target = torch.tensor([[0, 1, 1, -1], [-1, -1, -1, 1]])
    assert sets.encode_pairs(own, target).tolist() == [
        [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
    ]


def test_labels_are_seen_in_the_sets_that_speak() -> None:
    sets, seen = LabelSets(SEVERAL), torch.tensor([[-1.0, 2.0, -3.0, 5.0]]).repeat(2, 1)
    assert sets.view(torch.tensor([[1, 0], [0, 1]]), seen).tolist() == [[0, 1, 0, -1], [-1, -1, -1, 1]]


def test_first_the_colours_are_learned_alone(tmp_path: Path) -> None:
    """G's other layers stand still for three steps, and only then; D learns from the first step on."""
    rng = np.random.default_rng(1)
    dataset = Dataset(
        "made", "image", {"train": Split(rng.integers(0, 256, (20, 3, 16, 16), np.uint8), np.arange(20) % 3)},
        ("a", "b", "c"), "0",
    )  # fmt: skip
    moved = []
    for steps in (3, 3 + SMALL.n_critic):
        family = build_family("stargan", COLOURS, dataset.spec)
        family.reset_parameters(stream("cpu", "weights", 0))
        before = {name: weight.clone() for name, weight in family.named_parameters()}
        feed = Feed(dataset.splits["train"], 4, 0)
        Trainer(family, feed, Settings(steps=steps), RunFolder(tmp_path / str(steps))).train(dataset.stats)
        moved.append({name for name, weight in family.named_parameters() if not torch.equal(weight, before[name])})
    colours = {"generator.colours.weight", "generator.colours.bias"}
    assert {name for name in moved[0] if name.startswith("generator")} == colours
    assert any(name.startswith("discriminator") for name in moved[0])
    assert len(moved[1]) > len(moved[0])
    with pytest.raises(ConfigError, match="skip"):
        dataclasses.replace(SMALL, colours_steps=3)


def test_what_is_told_of_an_input_at_generation_is_what_the_classifier_sees() -> None:
    family = build(COLOURS).eval()
    x, asked = batch().x, torch.tensor([0, 1, 2, 0])
    own = F.one_hot(family.discriminator(x)[1].argmax(1), 3)
    by_hand = family.generator(x, family.labels.encode_pairs(own, F.one_hot(asked, 3)))
    assert torch.equal(family.generate(x, asked, generator=stream("cpu", 1)), by_hand)


@pytest.mark.parametrize("init", ["he", "paper"])
def test_weights_are_drawn_around_zero(init: str) -> None:
    config = dataclasses.replace(SMALL, init=init, width=16)
    for layer in build(config).modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
            weight = layer.weight.detach()
            assert abs(float(weight.mean())) < 5 * float(weight.std()) / weight.numel() ** 0.5
