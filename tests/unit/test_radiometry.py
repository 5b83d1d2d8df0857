import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s1s2 import radiometry
from s1s2.errors import ContractError


@given(arrays(np.uint16, (4, 4)))
def test_valid_stays_valid_and_nodata_stays_nodata(dn: np.ndarray) -> None:
    for offset in (0, -1000):
        out = radiometry.harmonise(dn, offset)
        np.testing.assert_array_equal(out == 0, dn == 0)
        assert out.dtype == np.uint16
        plain = dn.astype(int) + offset
        np.testing.assert_array_equal(out[plain >= 1], plain[plain >= 1] * (dn > 0)[plain >= 1])


def test_scaled_numbers_are_refused() -> None:
    with pytest.raises(ContractError, match="uint16, got float32"):
        radiometry.harmonise(np.ones((2, 2), np.float32), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.12", 0), ("03.01", 0), ("03.99", 0), ("04.00", -1000), ("05.12", -1000)],
)
def test_the_baseline_decides(baseline: str, offset: int) -> None:
    assert radiometry.baseline_offset(baseline) == offset


@given(st.floats(2.0**-30, 2.0**20, width=32))
def test_radar_survives_storage_to_half_a_step(power: float) -> None:
    counts = radiometry.to_counts(np.array([power], np.float32))
    decibels = radiometry.to_decibels(counts)[0]
    assert decibels == pytest.approx(10 * np.log10(np.float32(power)), abs=0.0051)


def test_everything_that_is_no_measurement_is_invalid() -> None:
    bad = np.array([0, -0.0, -1, -32768, np.nan, np.inf, -np.inf], np.float32)
    assert not radiometry.valid_power(bad).any()
    assert (radiometry.to_counts(bad) == radiometry.DB_INVALID).all()
    assert np.isnan(radiometry.to_decibels(radiometry.to_counts(bad))).all()


def test_extreme_power_stays_in_range() -> None:
    counts = radiometry.to_counts(np.array([1e-45, 3e38], np.float32))
    assert counts.tolist() == [-32767, 32767]


def test_classes_of_the_scene_classification() -> None:
    found = radiometry.ground(np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert found == radiometry.Ground(cloud=3 / 12, shadow=1 / 12, water=1 / 12, unseen=1 / 12)
