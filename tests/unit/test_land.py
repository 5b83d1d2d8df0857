import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from s1s2.land import LandMask, land_mask, pack


@pytest.mark.parametrize(
    ("place", "lon", "lat", "land"),
    [
        ("Berlin", 13.4, 52.5, True),
        ("mid Atlantic", -30.0, 30.0, False),
        ("Fiji, east of 180", -179.9, -16.75, True),
        ("Chukotka", 179.9, 68.5, True),
        ("Kerguelen", 69.5, -49.35, True),
        ("Bay of Bengal", 88.0, 15.0, False),
        ("Amazon", -60.0, -5.0, True),
        ("North Sea", 3.0, 56.0, False),
    ],
)
def test_known_places(place: str, lon: float, lat: float, *, land: bool) -> None:
    assert land_mask()(np.array([lon]), np.array([lat]))[0] == land, place


def test_edges_of_the_map() -> None:
    mask = land_mask()
    lon = np.array([-180.0, 180.0, 0.0, 0.0, 539.9])
    lat = np.array([68.5, 68.5, 90.0, -90.0, 68.5])
    assert mask(lon, lat).tolist() == [True, True, False, True, True]


def test_a_packed_mask_answers_as_the_whole_one() -> None:
    rng = np.random.default_rng(1)
    for first in (True, False):
        land = rng.random((360, 720)) < 0.5
        land[0, 0] = first
        row, column = rng.integers(0, 360, 5000), rng.integers(0, 720, 5000)
        lon, lat = (column + 0.5) / 2 - 180, 90 - (row + 0.5) / 2
        mask = LandMask(pack(land), per_degree=2)
        np.testing.assert_array_equal(mask(lon, lat), land[row, column])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_it_fits_in_a_worker() -> None:
    """Under 300 MB for the whole process, where the mask it was packed from takes 974 MB."""
    code = (
        "import pathlib, numpy as np\nfrom s1s2.land import land_mask\n"
        "land_mask()(np.random.default_rng(0).random(100_000) * 360 - 180, np.zeros(100_000))\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 300e6


@pytest.mark.slow
def test_it_agrees_with_the_mask_it_was_packed_from() -> None:
    globe = pytest.importorskip(
        "global_land_mask.globe", reason="global-land-mask is not installed"
    )
    rng = np.random.default_rng(2)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, 2_000_000)))
    lon = rng.uniform(-180, 180, 2_000_000)
    np.testing.assert_array_equal(land_mask()(lon, lat), globe.is_land(lat, lon))
