"""Cutting squares by straight edges of a swath, in metres."""

from s1s2.sandbox.scenes import Edge

Corners = list[tuple[float, float]]


def edge_of(x0: float, y0: float, x1: float, y1: float, *, left: bool) -> Edge:
    """Return the edge along two places, with data to the left or right as one goes."""
    dx, dy = x1 - x0, y1 - y0
    length = (dx * dx + dy * dy) ** 0.5 * (1 if left else -1)
    a, b = -dy / length, dx / length
    return Edge(a, b, -(a * x0 + b * y0))


def _side(edge: Edge, x: float, y: float) -> float:
    return edge.a * x + edge.b * y + edge.c


def clip(ring: Corners, edge: Edge) -> Corners:
    """Cut a convex ring by an edge (Sutherland and Hodgman 1974)."""
    kept: Corners = []
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], *ring[:1]], strict=True):
        d0, d1 = _side(edge, x0, y0), _side(edge, x1, y1)
        if d0 >= 0:
            kept.append((x0, y0))
        if (d0 < 0) != (d1 < 0):
            t = d0 / (d0 - d1)
            kept.append((x0 + t * (x1 - x0), y0 + t * (y1 - y0)))
    return kept


def area_of(ring: Corners) -> float:
    """Return the area of a ring, square metres."""
    pairs = zip(ring, [*ring[1:], *ring[:1]], strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2
