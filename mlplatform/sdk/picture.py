"""The graph of a run as an SVG picture that stands alone: no script, no outside file, readable on light and dark pages.

Every node carries its own background, so that the page behind it does not matter; states are shape and colour.
"""

from __future__ import annotations

import base64
from html import escape
from typing import Final

from mlplatform.planning.layout import Box, Edge, Layout, Node, Route, Spacing, layout
from mlplatform.sdk.looks import duration
from mlplatform.sdk.snapshot import Graph, GraphNode

#: More nodes than this and groups are drawn closed, the innermost first.
MOST_NODES: Final = 50

_COLORS: Final = {
    "RUNNING": "#0b7fab",
    "RETRYING": "#b08800",
    "WAITING": "#b08800",
    "SUCCEEDED": "#1f883d",
    "CACHED": "#3b6fd4",
    "FAILED": "#cf222e",
    "CANCELLED": "#b08800",
}
_QUIET: Final = "#848d97"
_CHARACTER: Final = 6.6
#: Pixels that a notebook's output has across, and that a graph may take down the page.
_ROOM: Final = (900.0, 420.0)
_LABEL_LIMIT: Final = 30
_HEIGHT: Final = 40.0
_SPACING: Final = Spacing(across=16, along=30, header=28, padding=12)
_STYLE: Final = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}"
    "text.s{font-size:10.5px;fill:#59636e}"
    ".n{fill:#f8fafc;stroke:#c4cad1}.g{fill:#848d97;fill-opacity:.07;stroke:#848d97;stroke-opacity:.5}"
    ".e{fill:none;stroke:#848d97}text.h{fill:#848d97;font-size:11px}"
)


def color_of(state: str) -> str:
    """The colour that goes with a state's sign."""
    return _COLORS.get(state, _QUIET)


def data_uri(svg: str) -> str:
    """The picture for the ``src`` of an ``img``."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def draw(graph: Graph) -> tuple[str, int, int]:
    """(SVG, width, height) in pixels; ("", 0, 0) where there is nothing to draw or too much to be read."""
    closed = _closed(graph)
    known = {node.id: node for node in graph.nodes}
    seen = [node for node in graph.nodes if not any(_inside(node.parent, group) for group in closed)]
    if not seen or len(seen) > MOST_NODES:
        return "", 0, 0
    nodes = [Node(node.id, _width(node), _HEIGHT, node.parent) for node in graph.nodes]
    edges = [Edge(source, target) for source, target in graph.edges]
    drawings = [layout(nodes, edges, collapsed=closed, spacing=_SPACING, direction=way) for way in ("down", "right")]
    at = max((0, 1), key=lambda way: (round(_scale(drawings[way]), 2), -way))
    drawn = drawings[at]
    width, height = round(drawn.width) + 2, round(drawn.height) + 2
    parts = [_group(known[name], box) for name, box in drawn.groups.items()]
    parts += [_edge(route, sideways=at == 1) for route in drawn.edges]
    parts += [_node(known[name], box) for name, box in drawn.boxes.items()]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="-1 -1 {width} {height}">'
    )
    return f"{head}<style>{_STYLE}</style>{''.join(parts)}</svg>", width, height


def _scale(drawn: Layout) -> float:
    """How large a drawing is seen in a notebook: 1 where it fits."""
    return min(1.0, _ROOM[0] / max(1.0, drawn.width), _ROOM[1] / max(1.0, drawn.height))


def _closed(graph: Graph) -> list[str]:
    """Groups to draw as one node so that the picture can be read."""
    groups = sorted((node.id for node in graph.nodes if node.is_group), key=lambda name: -name.count("/"))
    closed: list[str] = []
    for group in groups:
        seen = sum(not any(_inside(node.parent, name) for name in closed) for node in graph.nodes)
        if seen <= MOST_NODES:
            break
        closed.append(group)
    return closed


def _inside(parent: str, group: str) -> bool:
    return parent == group or parent.startswith(group + "/")


def _width(node: GraphNode) -> float:
    text = max(len(_short(node.label)) * _CHARACTER, len(_note(node)) * 5.6)
    return max(96.0, round(text + 44))


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LIMIT else label[: _LABEL_LIMIT - 1] + "…"


def _note(node: GraphNode) -> str:
    words = [node.state.lower()] if node.state != "CACHED" else ["cached"]
    if node.count:
        words.append(f"{node.done}/{node.count}")
    if node.seconds is not None and node.state not in ("SKIPPED", "PENDING", "QUEUED"):
        words.append(duration(node.seconds))
    return " · ".join(words)


def _node(node: GraphNode, box: Box) -> str:
    x, y, width, height = round(box.x), round(box.y), round(box.width), round(box.height)
    title = f"<title>{escape(node.id)}: {escape(_note(node))}</title>"
    stroke = f' style="stroke:{color_of("FAILED")};stroke-width:1.5"' if node.state == "FAILED" else ""
    frame = f'<rect class="n"{stroke} x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
    stack = f'<rect class="n" x="{x + 4}" y="{y + 4}" width="{width}" height="{height}" rx="6"/>' if node.count else ""
    label = f'<text x="{x + 32}" y="{y + 17}">{escape(_short(node.label))}</text>'
    note = f'<text class="s" x="{x + 32}" y="{y + 31}">{escape(_note(node))}</text>'
    return f"<g>{title}{stack}{frame}{_sign(node.state, x + 17, y + 20)}{label}{note}</g>"


def _group(node: GraphNode, box: Box) -> str:
    x, y = round(box.x), round(box.y)
    frame = f'<rect class="g" x="{x}" y="{y}" width="{round(box.width)}" height="{round(box.height)}" rx="8"/>'
    words = f"{_short(node.label)} · {_note(node)}"
    room = int((box.width - 34) / 5.7)
    words = words if len(words) <= room else _short(node.label)[: max(3, room)]
    sign = _sign(node.state, x + 16, y + 15, 4.5)
    return f'{frame}{sign}<text class="h" x="{x + 28}" y="{y + 19}">{escape(words)}</text>'


def _edge(route: Route, *, sideways: bool) -> str:
    (x, y), *rest = route.points
    path = [f"M{x:.0f} {y:.0f}"]
    for to_x, to_y in rest:
        middle_x, middle_y = (x + to_x) / 2, (y + to_y) / 2
        if abs(to_y - y if sideways else to_x - x) < 0.5:
            path.append(f"L{to_x:.0f} {to_y:.0f}")
        elif sideways:
            path.append(f"C{middle_x:.0f} {y:.0f} {middle_x:.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}")
        else:
            path.append(f"C{x:.0f} {middle_y:.0f} {to_x:.0f} {middle_y:.0f} {to_x:.0f} {to_y:.0f}")
        x, y = to_x, to_y
    ends = ((x - 5, y - 3.5), (x - 5, y + 3.5)) if sideways else ((x - 3.5, y - 5), (x + 3.5, y - 5))
    tip = "M{:.1f} {:.1f}L{:.0f} {:.0f}L{:.1f} {:.1f}".format(*ends[0], x, y, *ends[1])
    return f'<path class="e" d="{"".join(path)}{tip}"/>'


def _sign(state: str, x: float, y: float, r: float = 6.0) -> str:
    """The state's sign as a shape, so that no font decides how it looks."""
    color = color_of(state)
    ring = f'<circle cx="{x}" cy="{y}" r="{r}" fill="none" stroke="{color}" stroke-width="1.7"/>'
    k = r * 0.62
    match state:
        case "SUCCEEDED":
            return f'<circle cx="{x}" cy="{y}" r="{r}" fill="{color}"/>'
        case "FAILED":
            return _lines(color, (x - k, y - k, x + k, y + k), (x - k, y + k, x + k, y - k), weight=2.4)
        case "RUNNING":
            return f'{ring}<path d="M{x} {y - r}A{r} {r} 0 0 0 {x} {y + r}Z" fill="{color}"/>'
        case "CACHED":
            line = f'fill="none" stroke="{color}" stroke-width="1.9"'
            arc = f'<path d="M{x - r} {y}A{r} {r} 0 1 0 {x - k} {y - k}" {line}/>'
            return arc + f'<path d="M{x - r} {y - r}v{r * 0.8}h{r * 0.8}z" fill="{color}"/>'
        case "WAITING" | "RETRYING":
            return ring + _lines(color, (x, y - k, x, y), (x, y, x + k * 0.8, y), weight=1.5)
        case "SKIPPED":
            return _lines(color, (x - r + 1, y, x + r - 1, y), weight=2.2)
        case "CANCELLED":
            return ring + _lines(color, (x - k, y + k, x + k, y - k), weight=1.6)
        case _:
            return ring


def _lines(color: str, *ends: tuple[float, float, float, float], weight: float) -> str:
    path = "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for a, b, c, d in ends)
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{weight}" stroke-linecap="round"/>'
