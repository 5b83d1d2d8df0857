import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1s2.errors import RecipeError
from s1s2.land import land_mask
from s1s2.sample import (
    SPLITS,
    SampleSpec,
    cell_of,
    draw_places,
    draw_points,
    rank_of,
    sequence,
    share_points,
    split_of,
    to_sphere,
)


def everywhere(lon: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.ones(len(lon), dtype=bool)


@given(seed=st.integers(0, 2**32), few=st.integers(1, 300), more=st.integers(0, 400))
def test_the_first_places_are_the_same_however_many_are_drawn(
    seed: int, few: int, more: int
) -> None:
    spec = SampleSpec()
    small = draw_places(spec, seed, few, land_mask())
    large = draw_places(spec, seed, few + more, land_mask())
    pd.testing.assert_frame_equal(small, large.head(few))


@given(seed=st.integers(0, 1000), n=st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_a_shards_points_do_not_depend_on_the_other_shards(seed: int, n: list[int]) -> None:
    spec = SampleSpec()
    every = draw_points(spec, seed, dict(enumerate(n)), block=8, accept=land_mask())
    for shard, count in enumerate(n):
        alone = draw_points(spec, seed, {shard: count}, block=8, accept=land_mask())
        mine = every[every["shard"] == shard].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, mine)
        assert list(mine["position"]) == list(range(count))
    assert every["point"].is_unique


def test_streams_of_all_shards_share_no_rank() -> None:
    ranks = np.concatenate([rank_of(k, np.arange(40), block=4) for k in range(50)])
    assert len(np.unique(ranks)) == len(ranks)


def test_places_are_spread_evenly_over_the_sphere() -> None:
    """Equal areas hold equal numbers: 40 bands of equal area, and 36 of longitude."""
    places = draw_places(SampleSpec(south=-90, north=90), 1, 20_000, everywhere)
    bands = np.histogram(np.sin(np.radians(places["lat"])), bins=40, range=(-1, 1))[0]
    columns = np.histogram(places["lon"], bins=36, range=(-180, 180))[0]
    assert np.ptp(bands) <= 12
    assert np.ptp(columns) <= 12


def test_places_are_on_land_without_antarctica() -> None:
    places = draw_places(SampleSpec(), 3, 2_000, land_mask())
    assert land_mask()(places["lon"].to_numpy(), places["lat"].to_numpy()).all()
    assert places["lat"].min() > -60
    share = len(places) / (places["point"].max() + 1)
    assert 0.25 < share < 0.33, "26.5 % of the Earth, a little more of the latitudes drawn from"


@pytest.mark.parametrize("spacing_km", [3.75, 60.0])
def test_no_two_places_are_too_close(spacing_km: float) -> None:
    places = draw_places(SampleSpec(spacing_km=spacing_km), 5, 3_000, land_mask())
    lon, lat = np.radians(places["lon"].to_numpy()), np.radians(places["lat"].to_numpy())
    xyz = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    cosine = np.clip(xyz @ xyz.T, -1, 1)
    np.fill_diagonal(cosine, -1)
    assert 6371.0 * np.arccos(cosine.max()) >= spacing_km * 0.999


def test_a_full_region_ends_the_draw() -> None:
    """A region that holds no more places at the asked spacing gives what it holds."""
    box = (10.0, 50.0, 10.1, 50.1)
    places = draw_places(SampleSpec(spacing_km=3.75), 0, 1_000, everywhere, bounds=box)
    assert 3 <= len(places) <= 12
    assert places["lon"].between(10, 10.1).all()
    assert places["lat"].between(50, 50.1).all()


def test_the_seed_decides() -> None:
    one, other = (sequence(seed, 0, 10)[0] for seed in (0, 1))
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(sequence(0, 5, 5)[0], one[5:])
    assert one[0] == pytest.approx(sequence(0, 0, 1)[0][0])


@given(st.floats(-180, 180), st.floats(-90, 90))
def test_every_place_has_one_cell_and_one_split(lon: float, lat: float) -> None:
    cell = int(cell_of(np.array([lon]), np.array([lat]))[0])
    assert split_of(cell, SampleSpec()) in SPLITS
    assert cell >= 0
    if lon == 180:
        assert cell == cell_of(np.array([-180.0]), np.array([lat]))[0]


def test_splits_have_about_their_share_and_follow_the_cell_alone() -> None:
    points = draw_points(SampleSpec(), 0, {0: 6000}, block=10_000, accept=land_mask())
    shares = points["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.8, abs=0.05)
    assert shares["val"] == pytest.approx(0.1, abs=0.04)
    assert points.groupby("cell")["split"].nunique().max() == 1
    other = draw_points(SampleSpec(), 9, {0: 6000}, block=10_000, accept=land_mask())
    both = points.merge(other, on="cell")
    assert (both["split_x"] == both["split_y"]).all(), "no leak between corpora of two seeds"


@given(n=st.integers(1, 200), slots=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_own_points_are_all_shared_out_in_order(n: int, slots: list[int]) -> None:
    places = pd.DataFrame({"lon": np.linspace(-170, 170, n), "lat": np.linspace(-50, 70, n)})
    shards = len(slots)
    table = share_points(places, dict(enumerate(slots)), SampleSpec())
    if n >= sum(slots):
        counts = table["shard"].value_counts()
        assert all(counts[k] >= wanted for k, wanted in enumerate(slots))
    assert list(table["point"]) == list(range(n))
    assert table["shard"].is_monotonic_increasing
    assert table["shard"].between(0, shards - 1).all()
    for _, part in table.groupby("shard"):
        assert list(part["position"]) == list(range(len(part)))


def test_bad_specs_are_refused() -> None:
    for change in (
        {"south": 80, "north": 10},
        {"reserve": 0.5},
        {"val_percent": 60, "test_percent": 50},
    ):
        with pytest.raises(RecipeError):
            SampleSpec(**change)


def test_the_poles_of_the_map() -> None:
    lon, lat = to_sphere(np.array([0.0, 0.999]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(lat, [-90, 90])
    assert lon[0] == -180
