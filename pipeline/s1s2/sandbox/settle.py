"""Where people live: districts, and in them towns and fields, a row of pixels at a time. Compiled.

In short loops in single precision, which the compiler vectorises; tables are the module's own, so
that it may gather from them.
"""

import numpy as np

from s1s2.sandbox.noise import hash3, part_of_kernel
from s1s2.sandbox.rows import (
    BROADLEAF,
    FALLOW,
    FERTILE,
    GROWING,
    LATITUDE,
    MAIZE,
    MEADOW,
    MOIST,
    ROOF,
    SLOW,
    SOY,
    STEEP,
    STREET,
    WARP_E,
    WARP_N,
    WHEAT,
    WOODS,
)

METRES_A_DEGREE = 111_195.0
DISTRICT_DEGREES = 0.06
"""Height of the districts whose fields and streets share one direction, 6.7 km."""
DISTRICT_M = METRES_A_DEGREE * DISTRICT_DEGREES
PER_DEGREE, PER_METRE = 1 / DISTRICT_DEGREES, 1 / DISTRICT_M
_EQUATOR = round(90 / DISTRICT_DEGREES)  # rows from the pole
_PARALLELS = np.cos(np.radians((np.arange(-_EQUATOR, _EQUATOR) + 0.5) * DISTRICT_DEGREES))
ROUND = np.maximum(1, np.floor(360 * _PARALLELS / DISTRICT_DEGREES)).astype(np.int32)
"""How many districts go round the Earth in each row of them, from the south pole on."""
A_DEGREE, WIDE_M = ROUND / 360.0, (DISTRICT_M * _PARALLELS).astype(np.float32)
"""How many a degree, and how many metres each is wide."""
WIDTHS = np.array([120, 160, 200, 250, 300, 360, 430, 520], dtype=np.float32)
LENGTHS = np.array([220, 280, 340, 420, 520, 640, 800, 1_000], dtype=np.float32)
"""Sides of parcels, metres: each district has its own."""
_BYTE = 1 / 255
SINES = np.sin(np.pi * np.arange(16) / 16).astype(np.float32)
COSINES = np.cos(np.pi * np.arange(16) / 16).astype(np.float32)
"""Sixteen directions that fields and streets may have."""
_U, _F, _I = np.uint32, np.float32, np.int32
DU, DV, PU, PV, EDGE, PART = range(6)
HOME = 6
"""Metres from a district's middle, eastward and northward, and along and across its fields; how
much of its side there is to the next border; a part of it."""
ROW, COLUMN, NTH, DISTRICT, USE = range(5)
WHOLE = 5
"""A district's row and column; its row from the south pole on; its hash; town, field or nothing."""
_TOWN, _FIELD = _I(1), _I(2)


@part_of_kernel
def is_inhabited(climate, kind, use, parcel):
    """Say where in a row people can live, and whether they can at all; forget the last parcels."""
    some = _I(0)
    for c in range(kind.size):
        parcel[c] = _F(0.0)
        use[c] = _I((climate[FERTILE, c] > _F(0.1)) & (kind[c] >= 0))
        some |= use[c]
    return some != 0


@part_of_kernel
def settle(v, climate, place, day, keys, home, whole, kind, lush, parcel):
    """Put towns and fields over what grows where people can live; say how bright parcels are."""
    use = whole[USE]
    _find_districts(v, place, keys[0], home, whole)
    some = _I(0)
    for c in range(kind.size):
        district = _U(whole[DISTRICT, c])
        lot = _I((district >> _U(12)) & _U(255))  # a town, or more often a village
        radius = _F(130.0) + _F(4.0) * _F(lot)
        radius = _F(700.0) + _F(250.0) * _F(lot) if lot < _I(9) else radius
        woods, du, dv = v[WOODS, c], home[DU, c], home[DV, c]
        reach = radius * (_F(1.0) - _F(0.5) * woods - _F(0.25) * v[SLOW, c])
        town = (lot < _I(70)) & (reach > _F(0.0)) & (du * du + dv * dv < reach * reach)
        field = (climate[FERTILE, c] > _F(0.2)) & (woods < _F(0.36))
        field &= climate[STEEP, c] < _F(0.0144)
        what = _FIELD if field else _I(0)
        what = _TOWN if town else what
        use[c] = what if use[c] else _I(0)
        some |= use[c]
    if some & _TOWN:
        _lay_towns(climate, home, keys, use, kind, lush, parcel)
    if some & _FIELD:
        _lay_fields(climate, home, whole, day, keys, kind, lush, parcel)


@part_of_kernel
def _find_districts(v, place, key, home, whole):
    """Find the district of every pixel, and where in it the pixel lies.

    Districts lie in rows of equal latitude, as many in a row as fit, their borders wiggled.
    """
    for c in range(place.shape[1]):
        along = place[1, c] * PER_DEGREE
        below = np.floor(along)
        whole[ROW, c] = _I(below)
        home[PART, c] = along - below
    for c in range(place.shape[1]):
        part = home[PART, c]
        along = part + v[WARP_N, c] * _F(PER_METRE)
        below = np.floor(along)
        along -= below
        home[EDGE, c] = min(along, _F(1.0) - along)
        home[DV, c] = (part - below - _F(0.5)) * _F(DISTRICT_M)
        row = whole[ROW, c] + _I(below)
        whole[ROW, c] = row
        whole[NTH, c] = min(max(row + _I(_EQUATOR), _I(0)), _I(2 * _EQUATOR - 1))
    for c in range(place.shape[1]):
        across = place[0, c] * A_DEGREE[_U(whole[NTH, c])]
        below = np.floor(across)
        whole[COLUMN, c] = _I(below)
        home[PART, c] = across - below
    for c in range(place.shape[1]):
        n = _U(whole[NTH, c])
        part = home[PART, c]
        across = part + v[WARP_E, c] / WIDE_M[n]
        below = np.floor(across)
        across -= below
        home[EDGE, c] = min(home[EDGE, c], across, _F(1.0) - across)
        home[DU, c] = (part - below - _F(0.5)) * WIDE_M[n]
        column = whole[COLUMN, c] + _I(below)
        column = column - ROUND[n] if column >= ROUND[n] else column
        column = column + ROUND[n] if column < _I(0) else column
        whole[DISTRICT, c] = _I(hash3(column, whole[ROW, c], key))
    for c in range(place.shape[1]):
        turn = _U(whole[DISTRICT, c]) & _U(15)
        du, dv = home[DU, c], home[DV, c]
        home[PU, c] = du * COSINES[turn] + dv * SINES[turn]
        home[PV, c] = dv * COSINES[turn] - du * SINES[turn]


@part_of_kernel
def _lay_towns(climate, home, keys, use, kind, lush, parcel):
    """Lay lots of 32 m: streets, houses, trees and gardens."""
    for c in range(kind.size):
        pu, pv = home[PU, c], home[PV, c]
        i, j = np.floor(pu * _F(1 / 32)), np.floor(pv * _F(1 / 32))
        house = hash3(_I(i), _I(j), keys[1])
        share = _F(_I(house & _U(255))) * _F(_BYTE)
        shade = _F(_I((house >> _U(8)) & _U(255))) * _F(_BYTE) - _F(0.5)
        what, green, bright = STREET, _F(0.0), _F(0.3) * shade
        garden = share < _F(0.85)
        what = MEADOW if garden else what
        green = climate[GROWING, c] if garden else green
        bright = _F(0.1) * shade if garden else bright
        tree = share < _F(0.66)
        what = BROADLEAF if tree else what
        bright = _F(0.0) if tree else bright
        roof = share < _F(0.5)
        what = ROOF if roof else what
        green = _F(0.0) if roof else green
        bright = _F(0.5) * shade if roof else bright
        # every fourth row of lots, and every fifth the other way, has a street
        street = pu - _F(128.0) * np.floor(pu * _F(1 / 128)) < _F(12.0)
        street |= pv - _F(160.0) * np.floor(pv * _F(1 / 160)) < _F(12.0)
        what = STREET if street else what
        green = _F(0.0) if street else green
        bright = _F(0.0) if street else bright
        town = use[c] == _TOWN
        kind[c] = what if town else kind[c]
        lush[c] = green if town else lush[c]
        parcel[c] = bright if town else parcel[c]


@part_of_kernel
def _lay_fields(climate, home, whole, day, keys, kind, lush, parcel):
    """Lay strips of parcels, each with a crop, hedges between them in some districts, and roads."""
    for c in range(kind.size):
        district = _U(whole[DISTRICT, c])
        wide = WIDTHS[(district >> _U(4)) & _U(7)]
        pu = home[PU, c] / wide
        i = np.floor(pu)
        # neighbouring strips do not line up
        pv = home[PV, c] / LENGTHS[(district >> _U(7)) & _U(7)]
        pv += _F(_I(i) & _I(3)) * _F(0.37)
        j = np.floor(pv)
        parcel_hash = hash3(_I(i), _I(j), _U(keys[1]) ^ district)
        crop = _F(_I(parcel_hash & _U(255))) * _F(_BYTE)
        shade = _F(_I((parcel_hash >> _U(8)) & _U(255))) * _F(_BYTE) - _F(0.5)
        late = _F(_I((parcel_hash >> _U(16)) & _U(255))) * _F(_BYTE) - _F(0.5)
        growing, moist = climate[GROWING, c], climate[MOIST, c]
        wheat, maize, soy = crop < _F(0.34), crop < _F(0.58), crop < _F(0.74)
        best = _F(215.0) if maize else _F(225.0)
        width = _F(6.4e-5) if maize else _F(9.1e-5)
        best, width = _F(145.0) if wheat else best, _F(5.3e-5) if wheat else width
        # days from the crop's best one; in the south it is half a year later
        away = _F(day) - late * _F(40.0) - best
        away -= _F(0.0) if climate[LATITUDE, c] > _F(0.0) else _F(182.6)
        away = away - _F(365.25) if away > _F(182.6) else away
        away = away + _F(365.25) if away < _F(-182.6) else away
        near = max(_F(1.0) - away * away * width, _F(0.0))
        what = MEADOW if crop < _F(0.9) else FALLOW
        green = growing if crop < _F(0.9) else _F(0.0)
        what = SOY if soy else what
        what = MAIZE if maize else what
        what = WHEAT if wheat else what
        green = near * near if soy else green
        green *= _F(0.45) + _F(0.55) * moist
        bright = shade * _F(0.28)
        hedge = min((pu - i) * wide, (pv - j) * _F(400.0)) < _F(9.0)
        hedge &= ((district >> _U(10)) & _U(3)) == 0
        what = BROADLEAF if hedge else what
        green = growing * (_F(0.5) + _F(0.5) * moist) if hedge else green
        road = home[EDGE, c] < _F(0.0014)  # along the border of the district
        what = STREET if road else what
        green = _F(0.0) if road else green
        bright = _F(0.0) if hedge | road else bright
        field = whole[USE, c] == _FIELD
        kind[c] = what if field else kind[c]
        lush[c] = green if field else lush[c]
        parcel[c] = bright if field else parcel[c]
