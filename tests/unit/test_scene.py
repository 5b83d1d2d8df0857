"""Footprints at the antimeridian: one and the same, however a catalog writes them."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from s1s2.scene import continuous

WEST, EAST = st.floats(174, 179.99), st.floats(-179.99, -174)
SOUTH = st.floats(-80, 75)


def within_a_turn(footprint: BaseGeometry) -> BaseGeometry:
    """Write a footprint so that it goes past 180 rather than below -180."""
    shift = 360.0 if footprint.bounds[0] < 0 else 0.0
    return shapely.transform(footprint, lambda xy: np.add(xy, [shift, 0]))


@given(WEST, EAST, SOUTH, st.integers(0, 4), st.sampled_from([1, -1]))
def test_a_ring_that_jumps_is_the_ring_beyond_180_wherever_it_begins(
    west: float, east: float, south: float, first: int, way: int
) -> None:
    """Whatever the last bits of its longitudes: rounding must not leave it open."""
    corners = [(west, south), (east, south + 0.1), (east, south + 2), (180.0, 3 + south)]
    corners += [(west - 0.2, south + 2)]
    corners = corners[first:] + corners[:first]
    jumps = Polygon(corners[::way])
    beyond = Polygon([(lon + 360 if lon < 0 else lon, lat) for lon, lat in corners])
    found = continuous(jumps)
    assert found.bounds[2] - found.bounds[0] < 13
    assert within_a_turn(found).normalize().equals_exact(beyond.normalize(), 1e-9)
    assert continuous(beyond).equals(beyond)


@given(WEST, EAST, SOUTH)
def test_the_halves_of_a_cut_footprint_are_put_together(
    west: float, east: float, south: float
) -> None:
    cut = MultiPolygon([box(west, south, 180, south + 2), box(-180, south, east, south + 2)])
    assert continuous(cut).equals(box(west, south, east + 360, south + 2))


@pytest.mark.parametrize(
    ("shell", "hole"),
    [
        ([(178, 0), (-178, 0), (-178, 4), (178, 4)], [(179, 1), (-179, 1), (-179, 2), (179, 2)]),
        ([(178, 0), (-178, 0), (-178, 4), (178, 4)], [(-179, 1), (-178.5, 1), (-179, 2)]),
        ([(-178, 0), (-178, 4), (178, 4), (178, 0)], [(179, 1), (178.5, 1), (179, 2)]),
        ([(-178, 0), (-178, 4), (178, 4), (178, 0)], [(179, 1), (-179, 1), (179, 2)]),
    ],
)
def test_a_hole_stays_in_its_footprint(
    shell: list[tuple[float, float]], hole: list[tuple[float, float]]
) -> None:
    found = continuous(Polygon(shell, [hole]))
    assert found.is_valid
    assert found.area == 16 - continuous(Polygon(hole)).area


@pytest.mark.parametrize("edge", [180.0, -180.0])
def test_a_footprint_that_ends_at_180_stays_where_it_is(edge: float) -> None:
    found = continuous(Polygon([(179, 0), (edge, 0), (edge, 1), (179, 1)]))
    assert found.bounds == (179, 0, 180, 1)


@pytest.mark.parametrize(
    "ring",
    [
        [(0, 80), (90, 80), (179, 80), (-90, 80)],
        [(-170, -80), (-60, -80), (60, -80), (170, -80)],
        [(0, 0), (120, 1), (-120, 2), (0, 3), (120, 4), (-120, 5)],
    ],
)
def test_a_ring_round_a_pole_is_refused(ring: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="a ring that goes round a pole: expected a footprint"):
        continuous(Polygon(ring))
    with pytest.raises(ValueError, match="round a pole"):
        continuous(MultiPolygon([box(0, 0, 1, 1), Polygon(ring)]))


@pytest.mark.parametrize("wrong", [np.inf, -np.inf])
def test_a_place_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="no place: expected finite degrees"):
        continuous(Polygon([(179, 0), (wrong, 0), (-179, 1)]))


def test_halves_that_cross_themselves_are_put_together_all_the_same() -> None:
    bowtie = Polygon([(179, 0), (180, 1), (180, 0), (179, 1)])
    found = continuous(MultiPolygon([bowtie, box(-180, 0, -179, 1)]))
    assert found.bounds == (179, 0, 181, 1)
    assert found.area == pytest.approx(1.5)


@pytest.mark.parametrize("nothing", [Polygon(), MultiPolygon(), MultiPolygon([Polygon()])])
def test_of_nothing_comes_nothing(nothing: BaseGeometry) -> None:
    assert continuous(nothing).is_empty
