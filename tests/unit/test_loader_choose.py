"""Filters over the index, fixed subsets, pairs."""

import numpy as np
import pandas as pd
import pytest

from s1s2.errors import ContractError
from s1s2.loader.choose import Filter, kept, near_pairs


@pytest.fixture
def index() -> pd.DataFrame:
    n = 400
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "chip": np.arange(n),
            "lon": rng.uniform(-180, 180, n),
            "lat": rng.uniform(-60, 80, n),
            "cloud_fraction": rng.random(n),
            "split": rng.choice(["train", "val"], n),
            "s2_time": pd.to_datetime("2019-01-15", utc=True)
            + pd.to_timedelta(rng.integers(0, 360, n), unit="D"),
        }
    )


def test_where_is_a_condition_on_columns(index: pd.DataFrame) -> None:
    found = kept(index, Filter(where="cloud_fraction < 0.1 and split == 'train'"))
    wanted = index[(index["cloud_fraction"] < 0.1) & (index["split"] == "train")]
    assert 0 < len(found) < 100
    assert found["chip"].tolist() == wanted["chip"].tolist()


@pytest.mark.parametrize(
    "where", ["cloud < 0.1", "cloud_fraction <", "cloud_fraction * 2", "lat = 3"]
)
def test_what_is_no_condition_is_refused_in_one_line(index: pd.DataFrame, where: str) -> None:
    with pytest.raises(ContractError, match="where") as caught:
        kept(index, Filter(where=where))
    assert "\n" not in str(caught.value)


def test_boxes_and_those_across_the_antimeridian(index: pd.DataFrame) -> None:
    west = kept(index, Filter(bbox=(-180, -60, -90, 80)))
    across = kept(index, Filter(bbox=(170, -60, -170, 80)))
    assert 0 < len(west) < 200
    assert (west["lon"] < -90).all()
    assert 0 < len(across) < 60
    assert (across["lon"].abs() >= 170).all()


def test_seasons_are_those_of_the_hemisphere(index: pd.DataFrame) -> None:
    found = kept(index, Filter(season="summer"))
    months = found["s2_time"].dt.month
    assert set(months[found["lat"] > 0]) == {6, 7, 8}
    assert set(months[found["lat"] < 0]) == {12, 1, 2}
    assert set(kept(index, Filter(season=(4, 5)))["s2_time"].dt.month) == {4, 5}


def test_a_smaller_fraction_is_part_of_a_larger_and_others_do_not_move_it(
    index: pd.DataFrame,
) -> None:
    small, large = (set(kept(index, Filter(fraction=f))["chip"]) for f in (0.01, 0.1))
    assert (len(small), len(large)) == (4, 40)
    assert small < large
    assert set(kept(index, Filter(fraction=0.1, fraction_seed=1))["chip"]) != large
    grown = kept(index.iloc[:300], Filter(fraction=0.1))
    assert len(set(grown["chip"]) & large) > 20, "by chip, not by place in the table"


def test_near_pairs_are_those_a_plain_search_finds(index: pd.DataFrame) -> None:
    near = index.head(60).assign(
        lon=lambda t: 10 + t["lon"] / 400, lat=lambda t: 50 + t["lat"] / 400
    )
    found = {tuple(pair) for pair in near_pairs(near, 15, apart_days=20, beyond_km=2).tolist()}
    wanted = set()
    for a in near.itertuples():
        for b in near.itertuples():
            if a.chip < b.chip and abs((a.s2_time - b.s2_time).total_seconds()) >= 20 * 86_400:
                x = np.radians([a.lon, a.lat, b.lon, b.lat])
                c = np.sin(x[1]) * np.sin(x[3]) + np.cos(x[1]) * np.cos(x[3]) * np.cos(x[0] - x[2])
                if 2 <= 6371 * np.arccos(min(1.0, c)) <= 15:
                    wanted.add((a.chip, b.chip))
    assert found == wanted
    assert 5 < len(found) < 800
    with pytest.raises(ContractError, match="no two of 60 chips"):
        near_pairs(near, 0.001)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fraction": 0.0}, "fraction"),
        ({"bbox": (0, 10, 5, 5)}, "bbox"),
        ({"bbox": (0, 10, 5)}, "bbox"),
        ({"season": "fall"}, "season 'fall'"),
        ({"season": 7}, "season 7"),
        ({"season": (12, 13)}, "list of months"),
    ],
)
def test_filters_that_cannot_be_are_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        Filter(**wrong)
