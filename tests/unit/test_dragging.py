"""Dragging on generators of blobs whose places are known: they go where they are dragged, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.family import (
    Batch,
    Context,
    DataSpec,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Stage,
    StyleSpace,
    Tags,
    Terms,
)  # fmt: skip
from saddlepoint.run.run import Run
from saddlepoint.run.samples.dragging import Drag, Dragging, _check_places, drag
from saddlepoint.run.samples.latent import Explorer
from saddlepoint.run.samples.session import Session

SIDE, STEP = 32, 4.0
HOMES = torch.tensor([[9.0, 10.0], [23.0, 20.0]])


class Maps(nn.Module):
    """Two blobs of half the size, each in a channel of its own, and a slope under them."""

    def forward(self, places: Tensor) -> Tensor:
        axis = 2 * torch.arange(SIDE // 2) + 0.5
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        gaps = (x - places[..., 0, None, None]) ** 2 + (y - places[..., 1, None, None]) ** 2
        return torch.cat([torch.exp(-gaps / 18), 0.2 * (x / SIDE).expand(len(places), 1, -1, -1)], 1)


class Colours(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        large = nn.functional.interpolate(maps, scale_factor=2.0, mode="bilinear")
        return (2 * large.sum(1, keepdim=True) - 1).clamp(-1, 1)


class Blobs(Family):
    """z moves each of two blobs from its home."""

    name, summary, tags, Config, averaged = "blobs", "for tests", Tags(modalities=("image",)), FamilyConfig, ()

    def __init__(self, data: DataSpec) -> None:
        super().__init__(FamilyConfig(), data)
        self.maps, self.colours, self.weight = Maps(), Colours(), nn.Parameter(torch.ones(1))

    def reset_parameters(self, generator: torch.Generator) -> None: ...

    def stages(self) -> tuple[Stage, ...]:
        return ()

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        return {}

    def loss(self, phase: Phase, batch: Batch, ctx: Context) -> Terms | None:
        return None

    def sample_inputs(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, 4, generator=generator)

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        return self.colours(self.maps(HOMES + STEP * inputs.view(-1, 2, 2)))


class StyledBlobs(StyleSpace, Blobs):
    """The same through w = z; the third layer brightens the picture, after the maps are made."""

    w_layers = 3  # type: ignore[assignment]
    w_average = torch.zeros(4)  # type: ignore[assignment]

    def mapping(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        return inputs

    def synthesis(self, styles: Tensor, *, generator: torch.Generator) -> Tensor:
        places = HOMES + STEP * styles[:, :2].mean(1).view(-1, 2, 2)
        return self.colours(self.maps(places)) + 0.01 * styles[:, 2].sum(1)[:, None, None, None]

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        return self.synthesis(inputs[:, None].expand(-1, 3, -1), generator=generator)


class Plain(Blobs):
    """Makes pictures without maps."""

    def generate(self, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        return inputs.sum(1)[:, None, None, None].expand(-1, 1, SIDE, SIDE)


def made(kind: type[Blobs]) -> Explorer:
    family = kind(DataSpec("image", (1, SIDE, SIDE))).requires_grad_(False)
    return Explorer(Run(Path("runs/blobs"), {}, family, 0, True))


def places(code: Tensor) -> Tensor:
    """Return where the blobs are, (2, 2)."""
    w = code[:2].mean(0) if code.ndim == 2 else code
    return HOMES + STEP * w.view(2, 2)


@pytest.fixture(params=[Blobs, StyledBlobs])
def explorer(request: pytest.FixtureRequest) -> Explorer:
    return made(request.param)


def test_a_blob_goes_where_it_is_dragged_and_the_other_stays(explorer: Explorer) -> None:
    target = (17.0, 13.0)
    code, seen = drag(explorer, torch.zeros(4), Drag(((9.0, 10.0),), (target,), (0, 0, 20, 31)), steps=300)
    assert seen[-1].arrived
    assert seen[-1].distance <= 1
    moved, still = places(code)
    assert torch.dist(moved, torch.tensor(target)) < 1.5
    assert torch.dist(still, HOMES[1]) < 0.5
    # The handle follows the blob all the way, not only in the end.
    assert torch.dist(torch.tensor(seen[-1].handles[0]), moved) < 1.5
    gaps = [one.distance for one in seen]
    assert gaps[0] == pytest.approx(torch.dist(HOMES[0], torch.tensor(target)).item(), abs=1e-4)
    assert gaps[len(gaps) // 2] < gaps[0]


def test_two_blobs_go_apart(explorer: Explorer) -> None:
    handles, targets = ((9.0, 10.0), (23.0, 20.0)), ((5.0, 10.0), (26.0, 24.0))
    code, seen = drag(explorer, torch.zeros(4), Drag(handles, targets), steps=300)
    assert seen[-1].arrived
    assert (places(code) - torch.tensor(targets)).norm(dim=1).max() < 1.6


def test_layers_behind_the_maps_stay_as_they_are() -> None:
    explorer, start = made(StyledBlobs), torch.randn(3, 4, generator=torch.Generator().manual_seed(0)) / 10
    code, _ = drag(explorer, start, Drag(((9, 10),), ((14, 10),)), steps=20)
    assert torch.equal(code[2], start[2])
    assert not torch.equal(code[:2], start[:2])


def test_a_point_at_its_target_moves_nothing(explorer: Explorer) -> None:
    dragging = Dragging(explorer, torch.zeros(4), Drag(((9.0, 10.0),), ((9.5, 10.0),)))
    before = dragging.code
    state = dragging.step()
    assert state.arrived
    assert torch.equal(dragging.code, before)
    torch.testing.assert_close(state.sample, explorer.samples(explorer.styles(torch.zeros(1, 4)), None, 0))


def test_what_cannot_be_dragged_is_refused(explorer: Explorer) -> None:
    with pytest.raises(ConfigError, match="each handle needs its target"):
        Drag(((1.0, 2.0),), ())
    with pytest.raises(ConfigError, match=r"40,2 lies outside the sample: x is 0 to 31"):
        Dragging(explorer, torch.zeros(4), Drag(((40.0, 2.0),), ((1.0, 2.0),)))
    with pytest.raises(ConfigError, match=r"no maps of 16 x 16"):
        Dragging(made(Plain), torch.zeros(4), Drag(((4.0, 2.0),), ((1.0, 2.0),)))


def test_a_session_is_undone_step_by_step(explorer: Explorer) -> None:
    session = Session(explorer, "3")
    first = session.sample.clone()
    session.add_words("9,10 14,10")
    session.begin()
    for _ in range(5):
        session.step()
    session.end()
    dragged = session.sample.clone()
    assert not torch.equal(dragged, first)
    session.attempt(1, 2.0)
    assert session.trying
    tried = session.sample.clone()
    session.drop()
    assert torch.equal(session.sample, dragged)
    session.attempt(1, 2.0)
    session.accept()
    assert torch.equal(session.sample, tried)
    session.undo()
    assert torch.equal(session.sample, dragged)
    session.undo()
    assert torch.equal(session.sample, first)
    session.undo()
    assert torch.equal(session.sample, first)
    with pytest.raises(ConfigError, match="no point to drag"):
        session.begin()
    with pytest.raises(ConfigError, match="X,Y X,Y"):
        session.add_words("9 10")


def test_pointer_shares_are_pixels(explorer: Explorer) -> None:
    session = Session(explorer, "0")
    assert session.place(0.0, 0.0) == (0, 0)
    assert session.place(1.0, 0.5) == (SIDE - 1, SIDE // 2)
    session.span((20.0, 5.0), (4.0, 9.0))
    assert session.region == (4, 5, 20, 9)


@pytest.mark.parametrize("region", [(9, 9, 20, 20), (0, 0, 5, 20), (0, 0, 20, 6), (20, 20, 0, 0)])
def test_a_region_holds_what_is_dragged(region: tuple[float, float, float, float]) -> None:
    places = ((4.0, 7.0),), ((8.0, 7.0),)
    assert Drag(*places, (4, 7, 8, 7)).region == (4, 7, 8, 7)
    with pytest.raises(ConfigError, match=r"lies outside the region .* take a larger region"):
        Drag(*places, region)


@pytest.mark.parametrize("x", [0.0, SIDE - 1.0, -0.1, SIDE - 0.9])
@pytest.mark.parametrize("y", [0.0, SIDE - 1.0, -0.1, SIDE - 0.9])
def test_places_at_the_edges_lie_within_a_sample_and_those_beyond_do_not(x: float, y: float) -> None:
    inside = all(0 <= place <= SIDE - 1 for place in (x, y))
    for drag_ in (Drag(((x, y),), ((3.0, 4.0),)), Drag(((3.0, 4.0),), ((x, y),))):
        if inside:
            _check_places(drag_, (SIDE, SIDE))
        else:
            with pytest.raises(ConfigError, match="lies outside the sample: x is 0 to"):
                _check_places(drag_, (SIDE, SIDE))


def test_all_layers_before_the_maps_that_are_followed_move_and_no_later_one() -> None:
    explorer = made(StyledBlobs)
    start = torch.zeros(3, 4)
    code, _ = drag(explorer, start, Drag(((9.0, 10.0),), ((14.0, 10.0),)), steps=20)
    assert [bool((code[layer] - start[layer]).abs().max() > 1e-3) for layer in range(3)] == [True, True, False]
