"""Faults on demand: which requests a server answers badly, and how. Seeded and counted.

A file of faults is TOML: a `seed`, and a `[[fault]]` table for each, with the fields of `Fault`.
Only decisions are made here; `injection` carries them out.
"""

import difflib
import hashlib
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from s1s2.errors import RecipeError

KINDS = {
    "latency": "wait `seconds`, then answer; adds to any other fault",
    "status": "answer with `status`, and Retry-After where `retry_after_s` is given",
    "hang": "never answer",
    "cut": "send half the body, then close the connection",
    "corrupt": "flip bits of the body, its length unchanged",
    "wrong": "answer 200 with another format: HTML, or for a blob a GDAL VRT",
    "expired": "answer 403 AuthenticationFailed",
    "duplicate": "send half the items of a search twice",
    "malformed": "send an item without geometry, with a bad time, or an id that is no text",
    "loop": "let a search's next link lead to the same page",
    "redirect": "answer 302 to the same path on the host `to`",
}
OF_SEARCHES = ("duplicate", "malformed", "loop")
TARGETS = ("search", "token", "blob", "any")
_HTTP_ERRORS = range(400, 600)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Raises:
        RecipeError: Naming every mistake.
    """

    kind: str
    """One of `KINDS`."""
    on: str = "any"
    """`search`, `token`, `blob`, `any`, or a pattern of paths as `/acc/*/B04.tif`."""
    share: float = 1.0
    """Share of the matching requests that meet it, 0 to 1."""
    most: int | None = None
    """Stop after so many."""
    after: int = 0
    """Let so many matching requests pass first."""
    status: int = 503
    retry_after_s: int | None = None
    seconds: float = 0.0
    to: str = ""
    """Address of another host, `http://127.0.0.2:8000`."""

    def __post_init__(self) -> None:
        if found := list(_mistakes(self)):
            raise RecipeError("; ".join(found))

    def matches(self, target: str, path: str) -> bool:
        """Say whether a request is of those that this fault is for."""
        return self.on in ("any", target) or ("/" in self.on and fnmatchcase(path, self.on))


@dataclass(frozen=True)
class Faults:
    """All that goes wrong."""

    seed: int = 0
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What happens to one request."""

    delay_s: float = 0.0
    fault: Fault | None = None
    key: int = 0
    """64 bits that belong to this request, for faults that have a choice."""


def load_faults(path: Path) -> Faults:
    """Read a file of faults.

    Raises:
        RecipeError: If there is a mistake in it: which key, which value, what was expected.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"faults {path}: not readable TOML ({error})"
        raise RecipeError(msg) from error
    return read_faults(document, str(path))


def read_faults(document: Mapping[str, Any], name: str) -> Faults:
    """Read faults from a parsed document; `name` is what errors call it."""
    tables, seed = document.get("fault", []), document.get("seed", 0)
    mistakes = [
        _unknown(key, ("seed", "fault")) for key in document if key not in ("seed", "fault")
    ]
    if not _is_whole(seed):
        mistakes.append(f"seed {seed!r}: expected a whole number")
    if not isinstance(tables, list) or not all(isinstance(t, Mapping) for t in tables):
        mistakes.append("fault: expected [[fault]] tables")
        tables = []
    faults = []
    for number, table in enumerate(tables, start=1):
        try:
            faults.append(_read(table))
        except RecipeError as error:
            mistakes.append(f"fault {number}: {error}")
    if mistakes:
        msg = f"faults {name}: {'; '.join(mistakes)}"
        raise RecipeError(msg)
    return Faults(seed, tuple(faults))


def _read(table: Mapping[str, Any]) -> Fault:
    known = [f.name for f in fields(Fault)]
    if unknown := [key for key in table if key not in known]:
        raise RecipeError("; ".join(_unknown(key, known) for key in unknown))
    if "kind" not in table:
        msg = f"no kind: expected one of {', '.join(KINDS)}"
        raise RecipeError(msg)
    return Fault(**table)


def _unknown(key: str, known: tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    expected = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown key {key!r}: {expected}"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:  # noqa: ANN401  # whatever TOML holds
    return value is None or (_is_whole(value) and value >= 0)


def _is_target(value: object) -> bool:
    return isinstance(value, str) and (value in TARGETS or "/" in value)


def _is_address(value: object) -> bool:
    return isinstance(value, str) and (not value or "://" in value)


_COUNT = "a whole number, 0 or more"
_ADDRESS = "an address such as http://127.0.0.2:8000"
_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("kind", KINDS.__contains__, f"one of {', '.join(KINDS)}"),
    ("on", _is_target, f"{', '.join(TARGETS)}, or a pattern of paths with a slash"),
    ("share", lambda v: _is_number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    ("most", _is_count, _COUNT),
    ("after", _is_count, _COUNT),
    ("status", lambda v: _is_whole(v) and v in _HTTP_ERRORS, "an error of HTTP, 400 to 599"),
    ("retry_after_s", _is_count, _COUNT),
    ("seconds", lambda v: _is_number(v) and 0 <= v < float("inf"), "a number, 0 or more"),
    ("to", _is_address, _ADDRESS),
)


def _mistakes(fault: Fault) -> Iterator[str]:
    """Say what is wrong with a fault, one line each."""
    for name, right, expected in _RULES:
        value = getattr(fault, name)
        if not right(value):
            yield f"{name} {value!r}: expected {expected}"
    if fault.kind in OF_SEARCHES and fault.on in ("token", "blob", "any"):
        yield f"on {fault.on!r}: expected 'search', for {fault.kind} is about its answers"
    if fault.kind == "latency" and not fault.seconds:
        yield "seconds: a latency needs them"
    if fault.kind == "redirect" and not fault.to:
        yield f"to: a redirect needs {_ADDRESS}"


class Injector:
    """Decides over requests, one after another, and counts.

    Whether a fault strikes depends on the seed, on its place in the file and on how many matching
    requests came before: on no clock and no address. A request meets at most one fault, the first
    that strikes, and any number of latencies; those after the first are not asked.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._requests: Counter[str] = Counter()
        self._matched = [0] * len(faults.faults)
        self._done = [0] * len(faults.faults)

    def decide(self, target: str, path: str) -> Decision:
        """Decide over the next request; `target` is `search`, `token`, `blob` or `other`."""
        self._requests[target] += 1
        delay_s = 0.0
        for number, fault in enumerate(self._faults.faults):
            if not fault.matches(target, path) or (key := self._strike(number)) is None:
                continue
            if fault.kind != "latency":
                return Decision(delay_s, fault, key)
            delay_s += fault.seconds
        return Decision(delay_s)

    def _strike(self, number: int) -> int | None:
        """Count a matching request; return its key if the fault strikes it."""
        fault, count = self._faults.faults[number], self._matched[number]
        self._matched[number] += 1
        digest = hashlib.sha256(f"{self._faults.seed}/{number}/{count}".encode()).digest()
        spent = fault.most is not None and self._done[number] >= fault.most
        if count < fault.after or spent or int.from_bytes(digest[:8]) >= fault.share * 2**64:
            return None
        self._done[number] += 1
        return int.from_bytes(digest[8:16])

    def report(self) -> dict[str, Any]:
        """Return the counts: requests by target; of each fault, how many matched and were struck.

        Examples:
            >>> injector = Injector(Faults(7, (Fault("status", "search", most=1),)))
            >>> injector.decide("search", "/search").fault.status
            503
            >>> injector.decide("search", "/search").fault
            >>> injector.report()
            {'requests': {'search': 2},
             'faults': [{'kind': 'status', 'on': 'search', 'matched': 2, 'done': 1}]}
        """
        counts = zip(self._faults.faults, self._matched, self._done, strict=True)
        return {
            "requests": dict(self._requests),
            "faults": [
                {"kind": f.kind, "on": f.on, "matched": matched, "done": done}
                for f, matched, done in counts
            ],
        }
