"""The two sensors and their bands, with ground sample distance; a typo is an `AttributeError`."""

from enum import StrEnum


class Sensor(StrEnum):
    """One of the two Sentinel sensors this package pairs."""

    S1 = "s1"
    S2 = "s2"

    @property
    def title(self) -> str:  # type: ignore[override]  # a name to show, not str.title
        """The mission's name, for messages."""
        return {"s1": "Sentinel-1", "s2": "Sentinel-2"}[self.value]


class Band(StrEnum):
    """A band of either sensor, by ESA's name; SCL is Sentinel-2's scene classification."""

    VV = "VV"
    VH = "VH"
    B01 = "B01"
    B02 = "B02"
    B03 = "B03"
    B04 = "B04"
    B05 = "B05"
    B06 = "B06"
    B07 = "B07"
    B08 = "B08"
    B8A = "B8A"
    B09 = "B09"
    B11 = "B11"
    B12 = "B12"
    SCL = "SCL"

    @property
    def sensor(self) -> Sensor:
        """The sensor that measures this band."""
        return Sensor.S1 if self in RADAR else Sensor.S2

    @property
    def gsd_m(self) -> int:
        """Pixel spacing of the files served, in metres."""
        return _GSD_M.get(self, 20)


RADAR = (Band.VV, Band.VH)
"""Polarisations, in the order every array keeps them."""

S2_10M = (Band.B02, Band.B03, Band.B04, Band.B08)
"""Bands of the array `s2_10m`, in its order."""

S2_20M = (Band.B01, Band.B05, Band.B06, Band.B07, Band.B8A, Band.B09, Band.B11, Band.B12)
"""Bands of the array `s2_20m`, in its order; B01 and B09 are 60 m pixels repeated onto 20 m."""

OPTICAL = (
    Band.B01,
    Band.B02,
    Band.B03,
    Band.B04,
    Band.B05,
    Band.B06,
    Band.B07,
    Band.B08,
    Band.B8A,
    Band.B09,
    Band.B11,
    Band.B12,
)
"""The twelve bands of Sentinel-2 L2A, in the order a training batch has them."""

_GSD_M = dict.fromkeys((*RADAR, *S2_10M), 10) | {Band.B01: 60, Band.B09: 60}


def bands_of(sensor: Sensor) -> tuple[Band, ...]:
    """Return every band a scene of this sensor must have to make a chip."""
    return RADAR if sensor is Sensor.S1 else (*OPTICAL, Band.SCL)
