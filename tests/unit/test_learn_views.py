"""Views: each change leaves a chip that its sensor could have recorded."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[learn]'")

from s1s2.bands import OPTICAL, Band, Sensor  # noqa: E402
from s1s2.learn import units, views  # noqa: E402
from s1s2.learn.settings import ViewSpec  # noqa: E402
from s1s2.radiometry import to_decibels, to_reflectance  # noqa: E402

COUNT, SIZE = 16, 32
SCALING = {
    Sensor.S2: units.Scaling((0.2,) * 12, (0.1,) * 12),
    Sensor.S1: units.Scaling((-12.0, -18.0), (4.0, 4.0)),
}
PLAIN = ViewSpec(
    size_px=0, least_share=1, brightness=0, contrast=0, band_dropout=0, cloud=0, gain_db=0,
    speckle_looks=0, polarisation_dropout=0,
)  # fmt: skip


def generator(seed: int = 0) -> "torch.Generator":
    return torch.Generator().manual_seed(seed)


def optical() -> "torch.Tensor":
    numbers = np.random.default_rng(0).integers(100, 6_000, (COUNT, 12, SIZE, SIZE))
    return torch.from_numpy(numbers.astype(np.uint16))


def radar() -> "torch.Tensor":
    numbers = np.random.default_rng(1).integers(-2_500, 0, (COUNT, 2, SIZE, SIZE))
    return torch.from_numpy(numbers.astype(np.int16))


def square_of(image: "torch.Tensor") -> "list[torch.Tensor]":
    """The eight ways a square can be turned and flipped."""
    turns = [torch.rot90(image, k, (-2, -1)) for k in range(4)]
    return turns + [turn.flip(-1) for turn in turns]


def test_units_are_those_of_the_corpus() -> None:
    values, valid = units.to_reflectance(optical())
    np.testing.assert_allclose(values.numpy(), to_reflectance(optical().numpy()), rtol=1e-6)
    assert valid.all()
    power, _ = units.to_power(radar())
    np.testing.assert_allclose(
        units.to_decibels(power).numpy(), to_decibels(radar().numpy()), atol=1e-4
    )


def test_what_is_invalid_becomes_zero_and_spoils_no_neighbour() -> None:
    raw = radar()
    raw[:, 0, :8] = -32768
    clean = radar()
    clean[:, :, :8] = 0
    geometry = views.draw_geometry(COUNT, 0.3, generator())
    holed = views.Views(PLAIN, SCALING).of(raw, Sensor.S1, geometry, 1, generator())
    assert torch.isfinite(holed).all()
    values, valid = views.cut(*units.to_power(raw), geometry, SIZE)
    lowest, highest = units.to_power(radar())[0].aminmax()
    seen = values[valid.expand_as(values)]
    assert lowest * 0.999 <= seen.min()
    assert seen.max() <= highest * 1.001
    assert (holed[~valid.expand_as(holed)] == 0).all()


def test_geometry_without_crops_is_a_turn_or_a_flip_of_the_same_pixels() -> None:
    values, valid = units.to_reflectance(optical())
    geometry = views.draw_geometry(COUNT, 1.0, generator())
    turned, _ = views.cut(values, valid, geometry, SIZE)
    ways = set()
    for one, before in zip(turned, values, strict=True):
        near = [torch.allclose(one, way, atol=1e-4) for way in square_of(before)]
        assert any(near)
        ways.add(near.index(True))
    assert len(ways) > 4


def test_both_sensors_keep_one_ground() -> None:
    """The same picture in both sensors stays the same picture, whatever the geometry."""
    picture = torch.rand(COUNT, 1, SIZE, SIZE, generator=generator())
    valid = torch.ones(COUNT, 1, SIZE, SIZE, dtype=torch.bool)
    geometry = views.draw_geometry(COUNT, 0.2, generator())
    one, _ = views.cut(picture.expand(-1, 12, -1, -1), valid, geometry, 24)
    other, _ = views.cut(picture.expand(-1, 2, -1, -1), valid, geometry, 24)
    torch.testing.assert_close(one[:, :2], other)


def test_crops_lie_inside_the_chip_and_keep_the_shape_of_a_pixel() -> None:
    geometry = views.draw_geometry(500, 0.25, generator())
    linear, centre = geometry[:, :, :2], geometry[:, :, 2]
    side = linear.abs().sum(dim=2)
    torch.testing.assert_close(side[:, 0], side[:, 1])
    assert (side[:, 0] ** 2).min() >= 0.25 - 1e-6
    assert (centre.abs() + side).max() <= 1 + 1e-6


def test_light_changes_bands_alone_and_stays_reflectance() -> None:
    values, _ = units.to_reflectance(optical())
    changed = views.change_light(values, 0.3, 0.3, generator())
    assert changed.min() >= views.LEAST_REFLECTANCE
    assert changed.max() <= views.MOST_REFLECTANCE
    assert not torch.equal(changed, values)
    for k in (0, 7):  # within a band, what was brighter is not darker afterwards
        order = values[0, k].flatten().argsort()
        assert (changed[0, k].flatten()[order].diff() >= -1e-6).all()
    other = values.clone()
    other[:, 3] = 0.5
    again = views.change_light(other, 0.3, 0.3, generator())
    keep = [k for k in range(12) if k != 3]
    torch.testing.assert_close(again[:, keep], changed[:, keep])  # no band looks at another


def test_a_cloud_lies_between_ground_and_cloud_alike_in_all_bands() -> None:
    dark = torch.full((COUNT, 12, SIZE, SIZE), 0.05)
    clouded = views.add_cloud(dark, 1.0, generator())
    assert clouded.min() >= 0.05 - 1e-6
    assert clouded.max() <= 0.9
    cover = (clouded - 0.05) / (clouded.amax(dim=(2, 3), keepdim=True) - 0.05)
    torch.testing.assert_close(cover[:, 0], cover[:, 7], atol=1e-3, rtol=1e-3)
    visible, infrared = OPTICAL.index(Band.B03), OPTICAL.index(Band.B12)
    covered = clouded[:, visible] > 0.3
    assert covered.any()
    assert (clouded[:, infrared][covered] < clouded[:, visible][covered]).all()
    assert torch.equal(views.add_cloud(dark, 0.0, generator()), dark)


def test_speckle_keeps_the_mean_power_and_has_the_looks_asked_for() -> None:
    power = torch.full((400, 2, SIZE, SIZE), 0.03)
    speckled = views.add_speckle(power, 4.0, generator())
    assert float(speckled.mean()) == pytest.approx(0.03, rel=2e-3)
    assert speckled.min() >= 0
    strongest = speckled.var(dim=(1, 2, 3)).max() / 0.03**2
    assert float(strongest) == pytest.approx(1 / 4, rel=0.1)
    one, other = speckled[:, 0].flatten(), speckled[:, 1].flatten()
    assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.02


def test_gain_moves_both_polarisations_alike_and_no_further_than_asked() -> None:
    power, _ = units.to_power(radar())
    moved = units.to_decibels(views.change_gain(power, 1.5, generator()))
    shift = moved - units.to_decibels(power)
    assert shift.abs().max() <= 1.5 + 1e-3
    torch.testing.assert_close(shift[:, 0], shift[:, 1], atol=1e-3, rtol=0)
    assert shift.std() > 0.1


def test_dropout_leaves_a_band_and_a_polarisation() -> None:
    ones = torch.ones(COUNT, 12, 4, 4)
    assert (views.drop_bands(ones, 1.0, generator()).amax(dim=(2, 3)).sum(dim=1) == 1).all()
    assert torch.equal(views.drop_bands(ones, 0.0, generator()), ones)
    both = torch.ones(COUNT, 2, 4, 4)
    assert (views.drop_polarisation(both, 1.0, generator()).amax(dim=(2, 3)).sum(dim=1) == 1).all()
    assert torch.equal(views.drop_polarisation(both, 0.0, generator()), both)


def test_dropout_and_clouds_grow_with_strength() -> None:
    spec = ViewSpec(size_px=0, least_share=1, brightness=0, contrast=0, band_dropout=1, cloud=1)
    made = views.Views(spec, SCALING)
    geometry = views.draw_geometry(COUNT, 1.0, generator())
    still = made.of(optical(), Sensor.S2, geometry, 0.0, generator())
    full = made.of(optical(), Sensor.S2, geometry, 1.0, generator())
    assert (still.abs().amax(dim=(2, 3)) > 0).all()
    assert ((full.abs().amax(dim=(2, 3)) > 0).sum(dim=1) == 1).all()


@pytest.mark.parametrize("sensor", list(Sensor))
def test_the_same_numbers_give_the_same_view(sensor: Sensor) -> None:
    raw = optical() if sensor is Sensor.S2 else radar()
    made = views.Views(ViewSpec(size_px=24), SCALING)
    geometry = views.draw_geometry(COUNT, 0.4, generator())
    one, same, other = (made.of(raw, sensor, geometry, 1, generator(s)) for s in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (COUNT, raw.shape[1], 24, 24)
