"""What the ground may be covered with, and how each cover looks to both sensors. Tables only.

Reflectance: round numbers after the ECOSTRESS and USGS spectral libraries and Sentinel-2 chips of
such places, surface reflectance x 10,000. Radar: gamma nought in dB after Ulaby and Dobson,
Handbook of Radar Scattering Statistics for Terrain (1989), C band at 30 to 45 degrees, rounded.
Each cover has a dry (or leafless) and a lush state, between which the season moves it.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Cover(IntEnum):
    """Kinds of ground."""

    SEA = 0
    LAKE = 1
    RIVER = 2
    CONIFER = 3
    BROADLEAF = 4
    SHRUB = 5
    GRASS = 6
    WHEAT = 7
    MAIZE = 8
    SOY = 9
    MEADOW = 10
    FALLOW = 11
    SAND = 12
    ROCK = 13
    SNOW = 14
    ROOF = 15
    STREET = 16
    WETLAND = 17
    TUNDRA = 18
    GRAVEL = 19


WORLDCOVER: dict[Cover, int] = {
    Cover.SEA: 80, Cover.LAKE: 80, Cover.RIVER: 80, Cover.CONIFER: 10, Cover.BROADLEAF: 10,
    Cover.SHRUB: 20, Cover.GRASS: 30, Cover.WHEAT: 40, Cover.MAIZE: 40, Cover.SOY: 40,
    Cover.MEADOW: 30, Cover.FALLOW: 40, Cover.SAND: 60, Cover.ROCK: 60, Cover.SNOW: 70,
    Cover.ROOF: 50, Cover.STREET: 50, Cover.WETLAND: 90, Cover.TUNDRA: 100, Cover.GRAVEL: 60,
}  # fmt: skip
"""Codes of ESA WorldCover, for the known land cover."""

# in the order of `s1s2.bands.OPTICAL`
_DRY: dict[Cover, tuple[int, ...]] = {
    Cover.SEA: (420, 360, 260, 130, 110, 90, 90, 70, 60, 60, 30, 20),
    Cover.LAKE: (330, 320, 360, 220, 200, 150, 150, 110, 100, 90, 50, 40),
    Cover.RIVER: (380, 420, 560, 460, 420, 300, 290, 240, 210, 190, 90, 60),
    Cover.CONIFER: (170, 200, 320, 240, 560, 1350, 1620, 1680, 1820, 1830, 820, 400),
    Cover.BROADLEAF: (330, 420, 620, 740, 1080, 1500, 1650, 1720, 1900, 1920, 1950, 1250),
    Cover.SHRUB: (480, 620, 900, 1150, 1500, 1850, 2050, 2100, 2300, 2350, 2900, 2150),
    Cover.GRASS: (560, 760, 1150, 1500, 1900, 2250, 2450, 2520, 2750, 2800, 3350, 2450),
    Cover.WHEAT: (620, 820, 1250, 1720, 2100, 2450, 2650, 2700, 2950, 3000, 3500, 2600),
    Cover.MAIZE: (560, 720, 1050, 1380, 1650, 1900, 2050, 2120, 2300, 2350, 2900, 2300),
    Cover.SOY: (520, 680, 980, 1250, 1520, 1780, 1950, 2020, 2200, 2250, 2800, 2200),
    Cover.MEADOW: (450, 600, 950, 1150, 1600, 2200, 2450, 2550, 2750, 2800, 2700, 1800),
    Cover.FALLOW: (700, 900, 1250, 1700, 1950, 2150, 2300, 2400, 2600, 2700, 3300, 2800),
    Cover.SAND: (1300, 1750, 2650, 3500, 3800, 3950, 4100, 4150, 4350, 4400, 5000, 4500),
    Cover.ROCK: (850, 1050, 1400, 1750, 1900, 2000, 2100, 2150, 2250, 2300, 2700, 2400),
    Cover.SNOW: (8600, 8900, 8950, 8900, 8850, 8700, 8500, 8300, 7900, 7500, 900, 700),
    Cover.ROOF: (1150, 1350, 1600, 1850, 1950, 2050, 2150, 2250, 2300, 2350, 2450, 2250),
    Cover.STREET: (900, 1000, 1150, 1250, 1350, 1450, 1520, 1580, 1650, 1700, 1900, 1750),
    Cover.WETLAND: (330, 400, 600, 620, 950, 1300, 1450, 1500, 1600, 1650, 1500, 850),
    Cover.TUNDRA: (420, 520, 760, 900, 1250, 1600, 1800, 1880, 2050, 2100, 2400, 1600),
    Cover.GRAVEL: (1000, 1250, 1650, 2050, 2250, 2400, 2500, 2550, 2700, 2750, 3200, 2850),
}
_LUSH: dict[Cover, tuple[int, ...]] = {
    Cover.CONIFER: (150, 170, 320, 190, 580, 1650, 2050, 2120, 2280, 2300, 850, 380),
    Cover.BROADLEAF: (180, 220, 480, 240, 850, 2750, 3500, 3600, 3800, 3800, 1700, 720),
    Cover.SHRUB: (300, 400, 700, 650, 1150, 2200, 2600, 2700, 2900, 2950, 2200, 1250),
    Cover.GRASS: (300, 400, 780, 560, 1250, 2900, 3500, 3650, 3850, 3850, 2100, 1050),
    Cover.WHEAT: (250, 320, 660, 380, 1100, 3300, 4200, 4400, 4550, 4500, 1900, 850),
    Cover.MAIZE: (230, 300, 600, 320, 1000, 3200, 4200, 4400, 4550, 4500, 1800, 800),
    Cover.SOY: (230, 320, 700, 340, 1150, 3700, 4900, 5100, 5250, 5100, 1900, 850),
    Cover.MEADOW: (260, 350, 740, 430, 1150, 3200, 4000, 4200, 4350, 4300, 2000, 950),
    Cover.WETLAND: (220, 290, 550, 400, 900, 2000, 2450, 2550, 2650, 2650, 1350, 650),
    Cover.TUNDRA: (280, 360, 620, 560, 1050, 1950, 2300, 2400, 2600, 2650, 2000, 1100),
}
# VV dry, VV lush, VH dry, VH lush, change of VV from near to far range, its part in VH
_RADAR: dict[Cover, tuple[float, float, float, float, float, float]] = {
    Cover.SEA: (-15.5, -15.5, -25.5, -25.5, -6.5, 0.3),
    Cover.LAKE: (-19.0, -19.0, -27.0, -27.0, -4.5, 0.2),
    Cover.RIVER: (-18.0, -18.0, -26.0, -26.0, -4.5, 0.2),
    Cover.CONIFER: (-8.3, -7.8, -14.2, -13.4, -0.5, 1.0),
    Cover.BROADLEAF: (-8.8, -8.0, -14.4, -13.2, -0.5, 1.0),
    Cover.SHRUB: (-11.5, -10.6, -18.2, -16.8, -1.0, 1.0),
    Cover.GRASS: (-13.0, -11.8, -20.5, -18.6, -1.5, 1.0),
    Cover.WHEAT: (-11.2, -13.2, -19.6, -18.6, -1.5, 1.0),
    Cover.MAIZE: (-10.8, -9.2, -19.0, -15.0, -1.0, 1.0),
    Cover.SOY: (-11.2, -10.0, -19.2, -16.2, -1.2, 1.0),
    Cover.MEADOW: (-12.6, -11.4, -20.0, -18.2, -1.5, 1.0),
    Cover.FALLOW: (-11.6, -11.6, -20.8, -20.8, -2.0, 1.0),
    Cover.SAND: (-17.5, -17.5, -26.0, -26.0, -2.5, 1.0),
    Cover.ROCK: (-10.2, -10.2, -17.8, -17.8, -1.5, 1.0),
    Cover.SNOW: (-12.5, -12.5, -18.5, -18.5, -2.0, 1.0),
    Cover.ROOF: (-4.8, -4.8, -12.6, -12.6, -0.5, 0.5),
    Cover.STREET: (-10.5, -10.5, -18.0, -18.0, -2.5, 1.0),
    Cover.WETLAND: (-10.4, -9.4, -17.6, -16.4, -1.5, 0.7),
    Cover.TUNDRA: (-12.2, -11.2, -19.2, -17.6, -1.2, 1.0),
    Cover.GRAVEL: (-12.0, -12.0, -20.5, -20.5, -2.0, 1.0),
}
# how strongly slow texture, and grain from pixel to pixel, change the brightness
_GRAIN: dict[Cover, tuple[float, float]] = {
    Cover.SEA: (0.05, 0.04), Cover.LAKE: (0.08, 0.04), Cover.RIVER: (0.10, 0.05),
    Cover.CONIFER: (0.30, 0.16), Cover.BROADLEAF: (0.25, 0.13), Cover.SHRUB: (0.45, 0.12),
    Cover.GRASS: (0.40, 0.05), Cover.WHEAT: (0.16, 0.03), Cover.MAIZE: (0.16, 0.04),
    Cover.SOY: (0.16, 0.03), Cover.MEADOW: (0.22, 0.04), Cover.FALLOW: (0.22, 0.04),
    Cover.SAND: (0.30, 0.02), Cover.ROCK: (0.45, 0.09), Cover.SNOW: (0.10, 0.02),
    Cover.ROOF: (0.10, 0.30), Cover.STREET: (0.10, 0.10), Cover.WETLAND: (0.35, 0.08),
    Cover.TUNDRA: (0.40, 0.07), Cover.GRAVEL: (0.25, 0.08),
}  # fmt: skip


def reflectance() -> NDArray[np.float64]:
    """Return surface reflectance x 10,000 of (state, cover, band): dry and lush, bands in order."""
    lush = _DRY | _LUSH
    return np.array([[_DRY[c] for c in Cover], [lush[c] for c in Cover]], dtype=np.float64)


def backscatter() -> NDArray[np.float64]:
    """Return, for every cover, VV dry and lush, VH dry and lush, range fall, its part in VH."""
    return np.array([_RADAR[c] for c in Cover])


def grain() -> NDArray[np.float64]:
    """Return, for every cover, how much slow texture and grain change its brightness."""
    return np.array([_GRAIN[c] for c in Cover])


def worldcover() -> NDArray[np.uint8]:
    """Return the WorldCover code of every cover."""
    return np.array([WORLDCOVER[c] for c in Cover], dtype=np.uint8)
