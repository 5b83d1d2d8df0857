"""From nodes to the pixels between them, bilinear, compiled.

First along the rows of nodes, which serves all rows of pixels between two of them; then down, a
row of pixels at a time. Both without gathering, which is slow.
"""

import numpy as np

from s1s2.sandbox.noise import Floats, Singles, inlined, part_of_kernel

_U = np.uint32


Phases = tuple[int, int, Singles, Floats]
"""How the pixels of a row lie between nodes: the node before the first pixel; which pixel behind
that node it is; how far behind their node pixels lie, in nodes, one number for each of the 2, 4, 8
or 16 pixels between two nodes, in both precisions."""


def phases(start: float, step: float) -> Phases:
    """Return how pixels lie between nodes.

    Args:
        start: Where the first pixel starts, in nodes from the first one.
        step: Side of a pixel, in nodes.

    Examples:
        >>> j, first, u, _ = phases(2.5, 0.25)
        >>> j, first, u.tolist()
        (2, 2, [0.125, 0.375, 0.625, 0.875])
    """
    place = start + 0.5 * step
    j = int(place)
    first = int((place - j) / step)
    u: Floats = place - j + (np.arange(round(1 / step), dtype=float) - first) * step
    return j, first, u.astype(np.float32), u


@part_of_kernel
def advance(nodes, before, i, j, u, rows):
    """Let `rows` hold rows i and i + 1 of the nodes, interpolated at the pixels' columns.

    Args:
        nodes: Fields, shape (F, R, C).
        before: Which row was the first in `rows`.
        i: Which is to be.
        j: Node before the first pixel.
        u: How far behind a node pixels lie; see `phases`.
        rows: Shape (2, F, size), pixels from the one next to node j on.
    """
    if i == before:
        return
    if i != before + 1:
        _along(nodes, i, j, u, rows)
    for f in range(rows.shape[1]):
        for c in range(rows.shape[2]):
            rows[0, f, c] = rows[1, f, c]
    _along(nodes, i + 1, j, u, rows)


@part_of_kernel
def _along(nodes, i, j, u, rows):
    """Interpolate along row i of the nodes; where the compiler knows how often, it does well."""
    cells = min(rows.shape[2] // u.size, nodes.shape[2] - 1 - j)
    for f in range(rows.shape[1]):
        line, out = nodes[f, i, j:], rows[1, f]
        if u.size == 4:  # noqa: PLR2004
            _spread(line, u, 4, cells, out)
        elif u.size == 2:  # noqa: PLR2004
            _spread(line, u, 2, cells, out)
        else:
            for c in range(cells):
                a, step = line[c], line[c + 1] - line[c]
                for k in range(u.size):
                    out[u.size * c + k] = a + u[k] * step


@inlined
def _spread(line, u, times, cells, out):
    for c in range(cells):
        for k in range(times):
            out[times * c + k] = line[c] + u[k] * (line[c + 1] - line[c])


@part_of_kernel
def between(rows, first, t, out, which):
    """Interpolate between two rows of nodes, from a pixel on.

    Args:
        rows: See `advance`.
        first: See `phases`.
        t: How far from the upper row to the lower one, in the precision of the rows.
        out: Rows of pixels.
        which: Fields wanted, and the rows of `out` that they go to, shape (n, 2).
    """
    for m in range(which.shape[0]):
        n, f = which[m, 0], which[m, 1]
        for c in range(out.shape[1]):
            k = np.uint64(first) + np.uint64(c)  # a whole number that cannot be negative
            out[f, c] = rows[0, n, k] + t * (rows[1, n, k] - rows[0, n, k])
