from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from s1s2.bands import Sensor
from s1s2.gather import Part, queries
from s1s2.recipe import load_catalog
from s1s2.search import SearchSpec


@given(n=st.integers(1, 120), seed=st.integers(0, 99), days=st.integers(0, 400), wide=st.booleans())
def test_queries_ask_for_every_place_at_every_moment_once(
    n: int, seed: int, days: int, *, wide: bool
) -> None:
    rng = np.random.default_rng(seed)
    reach = 180 if wide else 3
    points = pd.DataFrame(
        {"point": range(n), "lon": rng.uniform(-reach, reach, n), "lat": rng.uniform(-3, 3, n)}
    )
    spec = SearchSpec(date(2020, 1, 1), date.fromordinal(date(2020, 1, 1).toordinal() + days))
    asked: dict[tuple[float, float], list] = {}
    for query in queries(points, spec, Sensor.S2, load_catalog("planetary-computer")):
        assert len(query.places) <= 16
        for place in query.places:
            asked.setdefault(place, []).append((query.begins, query.ends))
    assert set(asked) == set(zip(points["lon"], points["lat"], strict=True))
    for times in asked.values():
        times.sort()
        assert times[0][0] == spec.begins
        assert times[-1][1] == spec.ends
        assert all(one[1] == other[0] for one, other in pairwise(times))


@given(count=st.integers(1, 20), total=st.integers(0, 200))
def test_every_piece_of_work_has_one_owner(count: int, total: int) -> None:
    owners = [sum(Part(i, count).owns(k) for i in range(count)) for k in range(total)]
    assert owners == [1] * total
