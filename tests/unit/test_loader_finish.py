"""What a batch holds: units, bands, sizes; the same on the CPU and in one step of torch."""

import math

import numpy as np
import pytest
from chipsets import SIZE, STATISTICS

from s1s2.bands import OPTICAL, RADAR, S2_10M, S2_20M
from s1s2.errors import ContractError
from s1s2.loader.finish import Plan, View, finish, plan

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[torch]'")

VIEWS = [
    View(),
    View("normalised"),
    View("raw"),
    View(size="native"),
    View("raw", size="native"),
    View("raw", ("B12", "B02", "VH"), size="native"),
    View("normalised", ("B8A", "B03", "B11", "VH", "VV", "B02")),
    View(optical="dn", radar="linear"),
    View("normalised", style="torchgeo"),
    View(bands=("VV", "B04"), style="torchgeo", radar="linear"),
    View("raw", ("VV",), scl=True),
]


def chips(count: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    found = {
        "s2_10m": rng.integers(1, 65_536, (count, 4, SIZE, SIZE)).astype(np.uint16),
        "s2_20m": rng.integers(1, 9000, (count, 8, SIZE // 2, SIZE // 2)).astype(np.uint16),
        "s1": rng.integers(-3000, 800, (count, 2, SIZE, SIZE)).astype(np.int16),
        "scl": rng.integers(0, 12, (count, SIZE // 2, SIZE // 2)).astype(np.uint8),
    }
    found["s2_10m"][0, 1, 2, :9], found["s2_20m"][1, 3, 4, 5] = 0, 0
    found["s1"][2, :, 1, 3] = -32768
    return found


def finished(wanted: Plan, stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    count = len(stored["s1"])
    out = {o.key: np.full((count, *o.shape), 99, o.dtype) for o in wanted.outputs}
    for k in range(count):
        row = {key: array[k] for key, array in out.items()}
        for name in wanted.stored:
            if any(o.key == name and not o.planes for o in wanted.outputs):
                row[name][...] = stored[name][k]
        finish(wanted, {name: array[k] for name, array in stored.items()}, row)
    return out


def on_10m(stored: dict[str, np.ndarray], band: str) -> np.ndarray:
    """Of all chips, one band at full size as stored; plain code of its own."""
    names = [str(b) for b in S2_10M]
    if band in names:
        return stored["s2_10m"][:, names.index(band)]
    if band in {str(b) for b in RADAR}:
        return stored["s1"][:, [str(b) for b in RADAR].index(band)]
    coarse = stored["s2_20m"][:, [str(b) for b in S2_20M].index(band)]
    return np.kron(coarse, np.ones((1, 2, 2), np.uint16))


def test_physical_is_reflectance_and_decibels() -> None:
    stored = chips()
    out = finished(plan(View(), SIZE, {}), stored)
    assert out["s2"].shape == (3, 12, SIZE, SIZE)
    for k, band in enumerate(OPTICAL):
        dn = on_10m(stored, str(band))
        np.testing.assert_allclose(
            out["s2"][:, k], np.where(dn == 0, np.nan, dn / 10_000), rtol=2e-7
        )
    counts = stored["s1"]
    np.testing.assert_allclose(
        out["s1"], np.where(counts == -32768, np.nan, counts / 100), rtol=2e-7
    )
    assert np.isnan(out["s2"]).sum() == 9 + 4
    assert np.isnan(out["s1"]).sum() == 2


def test_linear_power_and_digital_numbers() -> None:
    stored = chips()
    out = finished(plan(View(optical="dn", radar="linear"), SIZE, {}), stored)
    valid = stored["s1"] != -32768
    np.testing.assert_allclose(out["s1"][valid], 10 ** (stored["s1"][valid] / 1000.0), rtol=2e-6)
    assert np.isnan(out["s1"][~valid]).all()
    assert out["s2"][0, OPTICAL.index(S2_10M[0]), 0, 0] == stored["s2_10m"][0, 0, 0, 0]


def test_normalised_by_the_statistics_of_each_band_in_the_order_asked_for() -> None:
    stored = chips()
    names = ("B8A", "B03", "B11", "VH", "VV", "B02")
    out = finished(plan(View("normalised", names), SIZE, STATISTICS), stored)
    for key, bands in (("s2", ("B8A", "B03", "B11", "B02")), ("s1", ("VH", "VV"))):
        for k, band in enumerate(bands):
            dn = on_10m(stored, band).astype(np.float64)
            said = STATISTICS[band]
            wanted = (dn - said["mean"]) / said["std"]
            wanted[dn == (0 if key == "s2" else -32768)] = 0
            np.testing.assert_allclose(out[key][:, k], wanted, rtol=1e-5, atol=1e-6)


def test_native_and_raw_are_the_stored_arrays_and_cost_nothing() -> None:
    stored = chips()
    wanted = plan(View("raw", size="native", scl=True), SIZE, {})
    assert not any(o.planes for o in wanted.outputs)
    for name, array in finished(wanted, stored).items():
        np.testing.assert_array_equal(array, stored[name])
    some = plan(View("raw", ("B12", "B02", "VH"), size="native"), SIZE, {})
    assert set(some.stored) == {"s2_10m", "s2_20m", "s1"}
    out = finished(some, stored)
    np.testing.assert_array_equal(out["s2_20m"][:, 0], stored["s2_20m"][:, 7])
    np.testing.assert_array_equal(out["s1"][:, 0], stored["s1"][:, 1])
    assert set(plan(View("raw", ("B02",)), SIZE, {}).stored) == {"s2_10m"}, "nothing else is read"


@pytest.mark.parametrize("view", VIEWS, ids=repr)
def test_a_plan_travels_between_processes(view: View) -> None:
    wanted = plan(view, SIZE, STATISTICS)
    assert Plan.from_json(wanted.to_json()) == wanted


@pytest.mark.parametrize("view", VIEWS, ids=repr)
def test_the_device_finishes_as_numpy_does(view: View) -> None:
    _the_same(view, fused=False)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # torch's compiler calls what torch deprecates
@pytest.mark.parametrize("view", [VIEWS[1], VIEWS[2], VIEWS[9]], ids=repr)
def test_so_it_does_in_one_compiled_step(view: View) -> None:
    _the_same(view, fused=True)


def _the_same(view: View, *, fused: bool) -> None:
    from s1s2.loader.device import Finisher

    stored, wanted = chips(), plan(view, SIZE, STATISTICS)
    here = finished(wanted, stored)
    finisher = Finisher(wanted, torch.device("cpu"), fused=fused)
    batch = {name: torch.from_numpy(stored[name]) for name in wanted.stored}
    there = finisher(batch | {"chip": torch.arange(3)})
    assert set(there) == {*here, "chip"}
    for key, array in here.items():
        assert str(there[key].dtype).removeprefix("torch.") == array.dtype.name
        np.testing.assert_allclose(there[key].numpy(), array, rtol=2e-6, atol=1e-6)


def test_half_precision_on_the_device() -> None:
    from s1s2.loader.device import Finisher

    wanted = plan(View("normalised", dtype="bfloat16"), SIZE, STATISTICS)
    finisher = Finisher(wanted, torch.device("cpu"))
    batch = {name: torch.from_numpy(chips()[name]) for name in wanted.stored}
    done = finisher(batch | {"chip": torch.arange(3)})
    assert done["s2"].dtype == done["s1"].dtype == torch.bfloat16
    assert math.isclose(
        float(done["s2"][0, 0, 0, 0]),
        float(finished(wanted, chips())["s2"][0, 0, 0, 0]),
        rel_tol=0.01,
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"values": "log"}, "values 'log'"),
        ({"bands": ("B10",)}, "band 'B10'"),
        ({"bands": ()}, "bands"),
        ({"bands": ("B02", "B02")}, "each once"),
        ({"dtype": "float64"}, "dtype 'float64'"),
        ({"size": "20m"}, "size '20m'"),
        ({"radar": "power"}, "radar 'power'"),
        ({"style": "torchgeo", "values": "raw"}, "one image"),
    ],
)
def test_views_that_cannot_be_are_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        View(**wrong)


def test_without_statistics_nothing_is_normalised() -> None:
    with pytest.raises(ContractError, match="no statistics of B01"):
        plan(View("normalised"), SIZE, {"B01": None})
