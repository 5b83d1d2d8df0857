"""What is to be learnt downstream: the land cover of chips, as shares of their pixels.

On the sandbox the planet knows it. For any other corpus a table says it: Parquet with a column
`chip` and a column a class, holding shares of the chip's pixels (or 0 and 1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s1s2.errors import ContractError

if TYPE_CHECKING:
    import geopandas

_SANDBOX = "sandbox"


@dataclass(frozen=True)
class CoverShares:
    """How much of each chip each class covers."""

    classes: tuple[str, ...]
    shares: NDArray[np.float32]
    """(chip, class), 0 to 1, in the order asked for."""

    def present(self, least_share: float) -> NDArray[np.bool_]:
        """Return which classes each chip's label names, (chip, class)."""
        return self.shares >= np.float32(least_share)


def shares_of(
    index: "geopandas.GeoDataFrame",
    size_px: int,
    table: Path | None,
    say: Callable[[str], None],
) -> CoverShares | None:
    """Return the land cover of some chips of a corpus.

    Args:
        index: Rows of the corpus' index.
        size_px: Side of its chips.
        table: The user's own; None to ask the simulated planet where the corpus is of it.
        say: Told what takes a while.

    Returns:
        None if there is no table and the corpus shows the real Earth.

    Raises:
        ContractError: If the table lacks a chip or holds no shares.
    """
    if table is not None:
        return _from_table(table, index)
    if set(index["catalog"]) != {_SANDBOX}:
        return None
    say(f"labels  the known land cover of {len(index):,} simulated chips")
    return _known(index, size_px)


def _from_table(path: Path, index: "geopandas.GeoDataFrame") -> CoverShares:
    try:
        table = pd.read_parquet(path).set_index("chip")
        chosen = table.loc[index["chip"].to_numpy()].astype("float32")
    except (OSError, KeyError, ValueError, TypeError) as error:
        msg = (
            f"labels {path}: expected Parquet with a column chip that names every chip, and a "
            f"column of shares a class ({error})"
        )
        raise ContractError(msg) from error
    if len(chosen) > len(index):
        msg = f"labels {path}: a chip comes twice; expected one row a chip"
        raise ContractError(msg)
    shares = chosen.to_numpy(np.float32)
    if not (shares.size and ((shares >= 0) & (shares <= 1)).all()):
        msg = f"labels {path}: expected shares from 0 to 1, and at least one class"
        raise ContractError(msg)
    return CoverShares(tuple(str(c) for c in chosen.columns), shares)


def _known(index: "geopandas.GeoDataFrame", size_px: int) -> CoverShares:
    """Ask the simulated planet for the cover of every chip, on its own grid and day."""
    try:
        from s1s2.sandbox.covers import WORLDCOVER  # noqa: PLC0415  # needs numba
        from s1s2.sandbox.stac_cover import CLASSES  # noqa: PLC0415
    except ImportError as error:
        msg = f"the labels of a simulated corpus need the extra sandbox ({error.name} is missing)"
        raise ContractError(msg) from error
    codes = sorted(set(WORLDCOVER.values()))
    covers = (_cover(row, size_px) for row in index.itertuples())
    counts = [np.bincount(cover.ravel(), minlength=256)[codes] for cover in covers]
    counted = np.array(counts, dtype=np.float32).reshape(-1, len(codes))
    return CoverShares(tuple(CLASSES[code] for code in codes), counted / np.float32(size_px**2))


def _cover(row: Any, size_px: int) -> NDArray[np.uint8]:  # noqa: ANN401  # a row of the index
    from s1s2.sandbox.net import Patch  # noqa: PLC0415
    from s1s2.sandbox.planet import land_cover  # noqa: PLC0415

    gsd, _, left, _, _, top = row.transform
    patch = Patch(int(row.epsg), float(left), float(top), float(gsd), size_px)
    return land_cover(patch, day_of_year=row.s2_time.dayofyear)
