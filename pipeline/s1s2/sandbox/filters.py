"""Filters of searches by the properties of items: the query extension, and CQL2 by `cql2`."""

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import cql2
import orjson
from starlette.exceptions import HTTPException

Item = dict[str, Any]
_TOP_LEVEL = frozenset({"id", "collection", "type", "stac_version", "bbox"})
_CQL2 = frozenset(
    {
        *("and", "or", "not", "=", "<>", "<", "<=", ">", ">=", "isnull", "like", "between", "in"),
        *("casei", "+", "-", "*", "/", "%", "^", "div"),
        *("s_intersects", "s_equals", "s_disjoint", "s_touches", "s_within", "s_overlaps"),
        *("s_crosses", "s_contains", "a_contains", "a_containedby", "a_equals", "a_overlaps"),
        *("t_after", "t_before", "t_disjoint", "t_equals", "t_intersects"),
    }
)
"""Operators that are evaluated right; others are refused."""


def value_of(item: Item, name: str) -> Any:  # noqa: ANN401  # any JSON
    """Return a property by its name, `properties.` before it or not; None if there is none."""
    if name in _TOP_LEVEL:
        return item.get(name)
    return item["properties"].get(name.removeprefix("properties."))


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "startsWith": lambda a, b: str(a).startswith(b),
    "endsWith": lambda a, b: str(a).endswith(b),
    "contains": lambda a, b: b in a,
    "in": lambda a, b: a in b,
}


def comparisons(query: Mapping[str, Any]) -> Iterable[tuple[str, str, Any]]:
    """Read the query extension: yield property, operator and value of each comparison."""
    for name, wanted in query.items():
        if not isinstance(wanted, Mapping):
            raise HTTPException(400, f"query: {name}: expected an object of operators")
        for op, value in wanted.items():
            if op not in _OPERATORS:
                expected = ", ".join(_OPERATORS)
                raise HTTPException(
                    400, f"query: {name}: unknown {op!r}, expected one of {expected}"
                )
            yield name, op, value


def passes(found: Any, op: str, value: Any) -> bool:  # noqa: ANN401
    """Compare as a database does: nothing compares with what is not there."""
    if found is None:
        return False
    try:
        return bool(_OPERATORS[op](found, value))
    except TypeError:
        return False


def read_filter(text: Any) -> cql2.Expr:  # noqa: ANN401
    """Read a CQL2 filter, JSON as an object or text."""
    try:
        return _parsed(text if isinstance(text, str) else orjson.dumps(text).decode())
    except Exception as error:  # cql2 raises bare Exception
        brief = " ".join(str(error).split())[:300]
        raise HTTPException(400, f"filter: not valid CQL2 ({brief})") from error


@lru_cache(maxsize=256)  # the pages of a search, and of its neighbours, ask the same
def _parsed(text: str) -> cql2.Expr:
    found = cql2.Expr(text)
    found.validate()
    if unknown := _operators(found.to_json()) - _CQL2:
        msg = f"unknown operator {min(unknown)!r}"
        raise ValueError(msg)
    return found


def _operators(part: Any) -> set[str]:  # noqa: ANN401
    """Return the operators of a filter, for cql2 takes any it does not know for a function."""
    if isinstance(part, list):
        return set().union(*map(_operators, part))
    if not isinstance(part, dict):
        return set()
    own = {str(part["op"]).lower()} if "op" in part else set()
    return own | _operators(list(part.values()))


def matches(where: cql2.Expr, item: Item) -> bool:
    """Say whether a filter holds for an item; what is not known of it does not."""
    seen = {name: item.get(name) for name in ("id", "collection", "geometry", "properties")}
    try:
        return where.matches(seen)
    except Exception:  # noqa: BLE001  # cql2 raises it for "unknown", which is not true
        return False
