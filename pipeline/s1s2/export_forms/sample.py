"""What is exported: chips, and what was written of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from numpy.typing import NDArray

from s1s2.receipts import Json


@dataclass(frozen=True)
class Sample:
    """One chip."""

    row: Json
    """What its receipt says of it, and whether it is simulated."""
    arrays: Mapping[str, NDArray[Any]]
    """As they are stored."""
    about: Json
    """What its export says of itself."""

    @property
    def key(self) -> str:
        """Its name in an export."""
        return f"{self.row['chip']:08d}"

    def sensed(self, sensor: str) -> datetime:
        """Return when `s2` or `s1` saw it, in UTC."""
        return datetime.fromisoformat(self.row[f"{sensor}_time"]).astimezone(UTC)


def said(sample: Sample) -> bytes:
    """Return the row of a chip as JSON."""
    return json.dumps(sample.row, sort_keys=True).encode()


@dataclass(frozen=True)
class Written:
    """A part that is there: its name, the chips in it, and size in bytes and hash of its files."""

    name: str
    chips: int
    files: Mapping[str, tuple[int, str]]
