"""Windows that begin where windows of the data begin: `--start data` of timegan in the fixed space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.export.card import card
from saddlepoint.families.timegan import TimeGAN
from saddlepoint.families.timegan.fixed import LEAST_SIZE
from saddlepoint.families.timegan.game import Windows
from saddlepoint.family import DataSpec, DataStats, build_family
from saddlepoint.family.capabilities import prepare

DEFAULT = TimeGAN.PRESETS["increments"]
ANCHORED = replace(DEFAULT, start="data", width=8, critic_width=8)
TIME = 6


def family_of(rows: Tensor, **about: Any) -> TimeGAN:
    """Return a family whose weights are drawn, which has seen training windows."""
    family = build_family("timegan", ANCHORED, DataSpec("sequence", (TIME, rows.shape[2]), rows=len(rows), **about))
    family.reset_parameters(stream("cpu", "weights", 0))
    prepare(family, DataStats(rows.nanmean(0), torch.ones_like(rows[0]), rows))
    assert isinstance(family, TimeGAN)
    return family.eval().requires_grad_(False)


def rows_of(n: int = 40, features: int = 2) -> Tensor:
    """Return windows whose steps are small beside the distances between them: .1 to .9, steps of at most .01."""
    draws = stream("cpu", "rows")
    start = 0.1 + 0.8 * torch.rand(n, 1, features, generator=draws)
    return start + 0.01 * torch.rand(n, TIME, features, generator=draws).cumsum(1) / TIME


def drawn(family: TimeGAN, n: int = 200) -> Tensor:
    return family.generate(family.sample_inputs(n, stream("cpu", "z")), generator=stream("cpu", "g"))


def test_samples_begin_between_the_first_two_steps_of_a_training_window() -> None:
    rows = rows_of()
    first = drawn(family_of(rows), 1000)[:, 0]
    a, b = rows[:, 0], rows[:, 1]
    share = (first[:, None] - a) / (b - a)  # (n, rows, features): the place on the way from the first to the second
    on_the_way = (share > -1e-3).all(2) & (share < 1 + 1e-3).all(2) & ((share[..., 0] - share[..., 1]).abs() < 1e-2)
    assert on_the_way.any(1).all()
    assert on_the_way.any(0).all(), "every training window is one to begin with"


def test_a_learned_start_does_not_know_where_windows_begin() -> None:
    """The planted contrast: without the option first steps are nowhere near."""
    rows = rows_of()
    family = build_family("timegan", replace(ANCHORED, start="learned"), DataSpec("sequence", (TIME, 2), rows=40))
    family.reset_parameters(stream("cpu", "weights", 0))
    prepare(family, DataStats(rows.mean(0), rows.std(0), rows))
    assert isinstance(family, TimeGAN)
    first = drawn(family.eval().requires_grad_(False))[:, 0]
    nearest = (first[:, None] - rows[:, 0]).abs().amax(2).amin(1)
    assert nearest.median() > 0.02


def test_training_pairs_a_window_with_a_sample_that_begins_with_it() -> None:
    rows = rows_of()
    family = family_of(rows)
    real = rows[:5].permute(1, 2, 0)  # (time, feature, batch)
    z, noise = family.told(family._latents(5, stream("cpu", 1)), real.new_zeros(TIME, 0, 5))
    data = family.read(rows[:5], None)
    place = family._place(data)  # type: ignore[attr-defined]
    assert torch.equal(place[0, :2], real[0])
    made = family._made(z, noise, data, place)  # type: ignore[attr-defined]
    torch.testing.assert_close(made[0], real[0])
    for part, word in ((slice(0, 2), "where it begins"), (slice(2, 4), "how large its increments are")):
        other = place.clone()
        other[:, part] += 0.1
        moved = family._made(z, noise, data, other)  # type: ignore[attr-defined]
        torch.testing.assert_close(moved[0], other[0, :2])
        assert not torch.allclose(moved - moved[:1], made - made[:1], atol=1e-6), f"G is not told {word}"


def test_the_size_of_increments_is_that_of_the_axes() -> None:
    """The mean of |N(0, 1)| is sqrt(2 / pi); of a window with twice the increments it is twice that."""
    steps = torch.randn(400, 60, 2, generator=stream("cpu", "steps"))
    rows = torch.cat([steps, 2 * steps]).cumsum(1)
    family = build_family("timegan", ANCHORED, DataSpec("sequence", (60, 2), rows=800))
    prepare(family, DataStats(rows.mean(0), rows.std(0), rows))
    place = family._place(family.read(rows, None))  # type: ignore[attr-defined]
    sizes = place[0, 2:]
    unit = (2 / torch.pi) ** 0.5 / 2.5**0.5  # the axes have unit variance over both kinds: (1 + 4) / 2
    assert sizes[:, :400].mean() == pytest.approx(unit, rel=0.02)
    torch.testing.assert_close(sizes[:, 400:], 2 * sizes[:, :400])


@pytest.mark.parametrize("ragged", [False, True])
def test_increments_have_exactly_the_size_that_was_told(ragged: bool) -> None:
    """Whatever G's weights are: here none has learned anything, and sizes differ a hundredfold."""
    draws = stream("cpu", "sizes")
    steps = torch.randn(40, TIME, 2, generator=draws) * torch.logspace(-2, 0, 40)[:, None, None]
    rows = steps.cumsum(1)
    if ragged:
        rows[::2, 3:] = torch.nan
    family = family_of(rows)
    data = family.read(rows, None)
    place = family._place(data)  # type: ignore[attr-defined]
    z, noise = family.told(family._latents(40, stream("cpu", 1)), rows.new_zeros(TIME, 0, 40))
    made = family._made(z, noise, data, place)  # type: ignore[attr-defined]
    found = family._place(replace(data, x=made))  # type: ignore[attr-defined]
    assert place[0, 2:].amax() > 50 * place[0, 2:].amin()
    torch.testing.assert_close(found, place, rtol=0.05, atol=1e-5)  # G moves by .02 at least


def test_a_generator_that_does_not_move_is_not_blown_up() -> None:
    """0 divided by 0, and noise of the last bits brought to the size of a real window."""
    rows = rows_of()
    family = family_of(rows)
    for parameter in family.generator.parameters():
        parameter.zero_()
    made = drawn(family)
    torch.testing.assert_close(made, made[:, :1].expand_as(made))


def test_the_critic_is_told_what_a_sample_was_to_be_and_sees_it_in_that_unit() -> None:
    rows = rows_of()
    family = family_of(rows)
    data = family.read(rows, None)
    place = family._place(data)  # type: ignore[attr-defined]
    seen = family._seen(data.x, data, place)  # type: ignore[attr-defined]
    size = place[:, 2:]
    torch.testing.assert_close(seen[:, 4:6], (size + LEAST_SIZE).log().expand(TIME, -1, -1))
    means = seen[1:, 2:4].abs().mean(0, keepdim=True)
    torch.testing.assert_close(means, size / (size + LEAST_SIZE))


def test_start_and_calendar_are_of_one_training_window() -> None:
    """Phases stay the last of the inputs, where they are exchanged, and come from the window that lends its start."""
    numbers = rows_of(n=8, features=1)
    phases = torch.arange(8.0)[:, None, None].expand(8, TIME, 1) / 8
    family = family_of(torch.cat([numbers, phases], 2), known=1)
    inputs = family.sample_inputs(300, stream("cpu", "z"))
    start, told = inputs[:, 0, -3], inputs[:, :, -1]  # then the size of increments, then the phase
    assert (told == told[:, :1]).all()
    source = (8 * told[:, 0]).round().long()
    assert ((start >= numbers[source, 0, 0]) & (start <= numbers[source, 1, 0])).all()
    made = family.generate(inputs, generator=stream("cpu", "g"))
    torch.testing.assert_close(made[:, 0, 0], start)
    assert torch.equal(made[:, :, 1], told)


def test_windows_that_end_early_begin_well() -> None:
    rows = rows_of()
    rows[::2, 1:] = torch.nan  # of one step: there is no second one to go towards
    family = family_of(rows)
    inputs = family.sample_inputs(200, stream("cpu", "z"))
    first = family.generate(inputs, generator=stream("cpu", "g"))[:, 0]
    assert first.isfinite().all()
    short = inputs[:, 1].isnan().any(1)
    assert 0.3 < short.float().mean() < 0.7
    nearest = (first[short][:, None] - rows[::2, 0]).abs().amax(2).amin(1)
    assert nearest.max() < 1e-6


def test_resampled_inputs_of_given_data_are_read_alike() -> None:
    """What the networks read of data has no start: it is in the windows."""
    rows = rows_of()
    data = family_of(rows).read(rows, None)
    assert isinstance(data, Windows)
    assert data.x.shape == (TIME, 2, 40)


LOOSE = {
    "windows have classes": DataSpec("sequence", (TIME, 2), ("a", "b"), rows=40),
    "columns have frequent values": DataSpec("sequence", (TIME, 4), rows=40, onehot=(2,), spikes=(0.0,)),
    "all that changes is categories": DataSpec("sequence", (TIME, 2), rows=40, onehot=(2,)),
}


@pytest.mark.parametrize("reason", LOOSE)
def test_auto_learns_the_start_where_data_can_give_none(reason: str) -> None:
    """The start of a window would be of any class; the way to a frequent value is no increment."""
    spec = LOOSE[reason]
    assert DEFAULT.start == "auto"
    default, learned = (
        build_family("timegan", replace(DEFAULT, width=8, critic_width=8, start=start), spec)
        for start in ("auto", "learned")
    )
    assert default.state_dict().keys() == learned.state_dict().keys()
    with pytest.raises(ConfigError, match=f"start is data, but {reason}.*: take start learned, or auto"):
        build_family("timegan", ANCHORED, spec)


def test_auto_takes_the_starts_of_the_data_where_it_can() -> None:
    spec = DataSpec("sequence", (TIME, 2), rows=40)
    default, anchored = (build_family("timegan", replace(ANCHORED, start=start), spec) for start in ("auto", "data"))
    assert default.state_dict().keys() == anchored.state_dict().keys()
    assert "size_examples" in default.state_dict()


def test_the_learned_space_has_no_start() -> None:
    with pytest.raises(ConfigError, match="start"):
        replace(TimeGAN.PRESETS["code-2019"], start="data")


def test_the_card_says_that_rows_are_kept(tmp_path: Path) -> None:
    said = "The weights hold up to 512 (parts of) training rows"
    for start in ("data", "learned"):
        options = {"start": start, "width": 8, "critic_width": 8}
        run = saddlepoint.train("timegan", "sines", options=options, steps=2, out=tmp_path / start, threads=1)
        assert (said in card(run)) == (start == "data")
