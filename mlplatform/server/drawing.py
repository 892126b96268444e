"""Documents as drawn graphs. The same document has the same drawing, so the last ones are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, cast

from mlplatform.ir.load import loads
from mlplatform.planning.layout import Edge, Node, layout
from mlplatform.server.documents import Source
from mlplatform.server.graphs import GraphEdge, GraphNode, pipeline_graph
from mlplatform.server.plain import encode

#: A node with its name and state needs this many pixels (the pages draw them so).
_WIDTH, _HEIGHT = 208.0, 44.0


def mark(digest: str, collapsed: Sequence[str], direction: str) -> str:
    """A name for a drawing."""
    text = "\0".join((digest, direction, *sorted(set(collapsed))))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def drawn(digest: str, read: Callable[[], bytes], collapsed: tuple[str, ...], direction: str) -> bytes:
    """``models.GraphModel`` as JSON. ``read`` gives the document."""
    return _drawn(Source(digest, read), tuple(sorted(set(collapsed))), direction)


@lru_cache(64)
def _drawn(source: Source, collapsed: tuple[str, ...], direction: str) -> bytes:
    nodes, edges = _graph(source)
    way = cast("Literal['down', 'right']", direction)
    placed = layout(
        [Node(node.node_id, _WIDTH, _HEIGHT, node.parent) for node in nodes],
        [Edge(edge.source, edge.target) for edge in edges],
        collapsed=collapsed,
        direction=way,
    )
    return encode(
        {
            "document": source.digest,
            "nodes": [
                {
                    "id": node.node_id,
                    "name": node.name,
                    "kind": node.kind,
                    "parent": node.parent,
                    "component": node.component,
                    "detail": node.detail,
                }
                for node in nodes
            ],
            "edges": [{"source": e.source, "target": e.target, "labels": e.labels} for e in edges],
            "layout": placed.to_json(),
        }
    )


@lru_cache(32)
def _graph(source: Source) -> tuple[list[GraphNode], list[GraphEdge]]:
    return pipeline_graph(loads(source.read()))
