"""The figures of a report, drawn once: SVG for the page, PNG for slides. Matplotlib's door."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from s1s2.report import world
from s1s2.report.facts import Bars, Funnel, Named
from s1s2.report.values import Spread

Floats = NDArray[np.float64]

INK, MUTED, RULE, LAND, SEA = "#17212b", "#5d6c7b", "#e2e7ec", "#d5dfd8", "#f3f6f8"
BAR, LIMIT, IDEAL = "#2a7f6f", "#c8453b", "#17211b"
SPLIT = {"train": "#2a7f70", "val": "#d9902f", "test": "#7a4fc4"}
GROUPS = ("#2a6fb0", "#d9702f", "#2a7f71", "#b03a78", "#7a4fc5", "#8a7a2a")
_THEME = {
    INK: "ink", MUTED: "muted", RULE: "rule", LAND: "land", SEA: "sea", BAR: "bar",
    LIMIT: "limit", IDEAL: "ideal",
    **{colour: f"split-{name}" for name, colour in SPLIT.items()},
    **{colour: f"group-{k}" for k, colour in enumerate(GROUPS)},
}  # fmt: skip
"""What each colour is called in the page's style, which has a light and a dark one of each."""
_STYLE: Any = {
    "font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none",
    "axes.edgecolor": MUTED, "axes.labelcolor": MUTED, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False,
    "axes.spines.right": False, "axes.spines.left": False, "axes.axisbelow": True,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": RULE, "grid.linewidth": 0.8,
    "ytick.major.size": 0, "xtick.major.size": 3, "path.simplify": False,
    "text.parse_math": False,  # names are names, whatever they hold
}  # fmt: skip
_DPI = 160
_SMALL, _WIDE, _TINY = (3.7, 2.35), (7.6, 3.2), (2.3, 1.45)
_MOST_DOTS, _MOST_NAMES = 6000, 6


@dataclass(frozen=True)
class Drawn:
    """A figure: its name, what it shows in words, and how to draw it."""

    name: str
    alt: str
    draw: Callable[[Figure], None]
    inches: tuple[float, float] = _SMALL

    def svg(self) -> str:
        """Return it as an SVG element whose colours follow the page's."""
        with _styled(self.name):
            figure = Figure(self.inches)
            self.draw(figure)
            text = StringIO()
            plain = {"Date": None, "Creator": None, "Format": None, "Type": None}
            figure.savefig(text, format="svg", transparent=True, metadata=plain)
        return _themed(text.getvalue(), self.name, self.alt)

    def png(self) -> bytes:
        """Return it as PNG on white."""
        with _styled(self.name):
            figure = Figure(self.inches)
            self.draw(figure)
            content = BytesIO()
            figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
        return content.getvalue()


@contextmanager
def _styled(name: str) -> Iterator[None]:
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name, "svg.id": name}):
        yield


def _themed(svg: str, name: str, alt: str) -> str:
    """Make matplotlib's SVG a part of a page: no prologue, no fixed size, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(font: )([\d.]+px) [^;\"]*", r"\1\2 var(--font)", svg)
    for colour, role in _THEME.items():
        svg = svg.replace(colour, f"var(--{role})")
    label = f'role="img" aria-label="{alt}" class="figure figure-{name}"'
    head = re.search(r"viewBox=\"[^\"]*\"", svg)
    box = head[0] if head else ""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return re.sub(r"<svg[^>]*>", f"<svg {names} {box} {label}>", svg, count=1)


def world_map(lon: Floats, lat: Floats, splits: NDArray[np.object_], alt: str) -> Drawn:
    """Draw where the chips are, by split; of very many, a part that is as evenly spread."""

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.fill(*world.frame(), color=SEA, linewidth=0)
        axes.add_patch(PathPatch(_outline(world.coasts()), facecolor=LAND, edgecolor="none"))
        step = -(-len(lon) // _MOST_DOTS) or 1
        size = 9.0 if len(lon) <= _MOST_DOTS / 4 else 4.0
        for split, colour in SPLIT.items():
            chosen = splits[::step] == split
            x, y = world.project(lon[::step][chosen], lat[::step][chosen])
            axes.plot(x, y, "o", color=colour, markersize=size**0.5, markeredgewidth=0)

    return Drawn("map", alt, draw, _WIDE)


def thinned(count: int) -> int:
    """Return every how many chips the map draws."""
    return -(-count // _MOST_DOTS) or 1


def _outline(lines: Sequence[tuple[Floats, Floats]]) -> Outline:
    closed = [Outline(np.column_stack(line), closed=True) for line in lines]
    return Outline.make_compound_path(*closed)


def histogram(name: str, alt: str, bars: Bars, label: str, *, limit: float | None = None) -> Drawn:
    """Draw counts between edges; a limit in per cent as a line."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        axes.bar(bars.edges[:-1], bars.counts, np.diff(bars.edges) * 0.92, align="edge", color=BAR)
        axes.set_xlabel(label)
        if limit is not None:
            axes.axvline(limit, color=LIMIT, linewidth=1.2, linestyle=(0, (3, 2)))
            where = axes.get_xaxis_transform()
            axes.annotate(
                f"limit {limit:g} %", (limit, 1), (-4, 3), where, "offset points",
                ha="right", va="bottom", color=LIMIT, fontsize=8,
            )  # fmt: skip
        _counts(axes)

    return Drawn(name, alt, draw)


def columns(name: str, alt: str, named: Named, label: str) -> Drawn:
    """Draw counts by name, one column each."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        places = np.arange(len(named.names))
        axes.bar(places, named.counts, 0.86, color=BAR)
        step = -(-len(named.names) // _MOST_NAMES)
        axes.set_xticks(places[::step], named.names[::step])
        axes.set_xlim(-0.7, max(len(places), 3) - 0.3)
        axes.set_xlabel(label)
        _counts(axes)

    return Drawn(name, alt, draw)


def rows(name: str, alt: str, named: Named, label: str) -> Drawn:
    """Draw counts by name, one row each, the number at its end."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure, left=0.34)
        places = np.arange(len(named.names))
        found = axes.barh(places, named.counts, 0.7, color=BAR)
        axes.bar_label(found, [f" {c:,}" for c in named.counts], color=INK, fontsize=8)
        axes.set_yticks(places, named.names)
        axes.set_ylim(max(len(places), 3) - 0.4, -0.6)
        axes.set_xlim(0, max(named.counts, default=1) * 1.18)
        axes.grid(visible=False)
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")

    return Drawn(name, alt, draw)


def against_ideal(name: str, alt: str, shares: Bars, ideal: Floats | None, label: str) -> Drawn:
    """Draw shares by latitude beside those that land has there; None where there is no ideal."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        width = np.diff(shares.edges)
        axes.bar(shares.edges[:-1], 100 * shares.counts, width * 0.92, align="edge", color=BAR)
        if ideal is not None:
            axes.stairs(100 * ideal, shares.edges, color=IDEAL, linewidth=1.4, label="land's share")
            axes.legend(frameon=False, loc="upper left", fontsize=8, handlelength=1.2)
        filled = np.flatnonzero(shares.counts + (0 if ideal is None else ideal))
        if len(filled):
            axes.set_xlim(shares.edges[filled[0]] - 2, shares.edges[filled[-1] + 1] + 2)
        axes.set_xlabel(label)
        axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
        axes.yaxis.set_major_formatter("{x:g} %")

    return Drawn(name, alt, draw)


def colours(spreads: Sequence[Spread]) -> dict[str, str]:
    """Return a colour for every group, the same in all bands."""
    names = dict.fromkeys(name for spread in spreads for name in sorted(spread.shares))
    return {name: GROUPS[k % len(GROUPS)] for k, name in enumerate(names)}


def band(spread: Spread, colour: Mapping[str, str], alt: str) -> Drawn:
    """Draw how the values of one band are spread, a line for every group."""
    return Drawn(
        f"band-{spread.band.lower()}",
        alt,
        lambda figure: _spread(figure.add_axes((0.03, 0.18, 0.94, 0.8)), spread, colour),
        _TINY,
    )


def bands(spreads: Sequence[Spread], colour: Mapping[str, str], alt: str) -> Drawn:
    """Draw all bands on one sheet."""

    def draw(figure: Figure) -> None:
        grid = figure.subplots(-(-len(spreads) // 4), 4, squeeze=False).ravel()
        figure.subplots_adjust(0.02, 0.12, 0.98, 0.98, wspace=0.1, hspace=0.45)
        for axes in grid[len(spreads) :]:
            axes.set_axis_off()
        for axes, spread in zip(grid, spreads, strict=False):
            _spread(axes, spread, colour)
            axes.set_xlabel(f"{spread.band}, {spread.unit}", fontsize=8)
        lines = [mpl.lines.Line2D([], [], color=c, label=name) for name, c in colour.items()]
        figure.legend(handles=lines, loc="lower center", ncols=3, frameon=False)

    return Drawn("bands", alt, draw, (10.0, 7.5))


def _spread(axes: Axes, spread: Spread, colour: Mapping[str, str]) -> None:
    middles = (spread.edges[:-1] + spread.edges[1:]) / 2
    total = np.sum(list(spread.shares.values()), axis=0)
    for name, share in spread.shares.items():
        axes.plot(middles, share, color=colour[name], linewidth=1.3)
    filled = np.flatnonzero(total > total.max() * 0.004)
    if len(filled):
        axes.set_xlim(spread.edges[max(0, filled[0] - 1)], spread.edges[filled[-1] + 1])
    axes.set_ylim(bottom=0)
    axes.set_yticks([])
    axes.tick_params(labelsize=8)


def funnel(found: Funnel, alt: str) -> Drawn:
    """Draw what is left after each step, and beside it what was lost to which reason."""

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
        most = max(1, found.points[0].left)
        for row, step in enumerate(found.points):
            axes.barh(row, step.left / most, 0.62, color=BAR)
            lost = " · ".join(f"{loss.reason} {loss.count:,}" for loss in step.lost)
            axes.text(0, row - 0.38, step.label, va="bottom", color=INK)
            axes.text(step.left / most + 0.01, row, f"{step.left:,}", va="center", color=INK)
            axes.text(0.99, row - 0.38, lost, va="bottom", ha="right", color=LIMIT, fontsize=8)
        axes.set_xlim(0, 1.12)
        axes.set_ylim(len(found.points) - 0.4, -0.8)
        axes.set_axis_off()

    return Drawn("funnel", alt, draw, (7.6, 2.6))


def _axes(figure: Figure, *, left: float = 0.13) -> Axes:
    """Return axes with room for their labels; to measure them takes longer than to draw."""
    return figure.add_axes((left, 0.2, 0.98 - left, 0.7))


def _counts(axes: Axes) -> None:
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
