"""What the rows of pixels hold that rules work on: names of fields, of climate and of covers."""

import numpy as np

from s1s2.sandbox.covers import Cover

SHORE, HEIGHT, WET, RIVER, STREAM, LAKE, WOODS, FARMS, WARP_E, WARP_N, SLOW, TEXTURE = range(12)
EAST_SLOPE, NORTH_SLOPE = 12, 13
FIELDS = 14
"""Fields at the nodes: land above 0; metres; moisture; distances to water; woods and farms; metres
that borders are wiggled by; slow and fine texture; rise per metre."""
COARSE = [WET, RIVER, STREAM, LAKE, FARMS, SLOW, WARP_E, WARP_N]
FINE = [SHORE, WOODS, HEIGHT, TEXTURE, EAST_SLOPE, NORTH_SLOPE]
"""The fields that coarse nodes are enough for, and the others."""
MEAN, SWING, MOIST, GROWING, STEEP, FERTILE, NOW, LATITUDE = range(8)
CLIMATE = 8
"""Temperature of the year; 1 in midsummer to -1 in midwinter; moisture; growth; slope squared; how
good the land is; temperature of the day; degrees north."""
(
    SEA, LAKE_WATER, RIVER_WATER, CONIFER, BROADLEAF, SHRUB, GRASS, WHEAT, MAIZE, SOY, MEADOW,
    FALLOW, SAND, ROCK, SNOW, ROOF, STREET, WETLAND, TUNDRA, GRAVEL,
) = (np.int32(cover) for cover in Cover)  # fmt: skip
