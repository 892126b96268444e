/** Lines, reach and sight of a drawn graph. */

import type { Box, Graph, GraphNode } from "../base/types";

/** A line through points: straight where x stays, else a curve that starts and ends vertically. */
export function curve(points: number[]): string {
  let text = `M${points[0]} ${points[1]}`;
  for (let at = 2; at < points.length; at += 2) {
    const [x0, y0, x1, y1] = [points[at - 2]!, points[at - 1]!, points[at]!, points[at + 1]!];
    if (x0 === x1) text += `V${y1}`;
    else {
      const middle = (y0 + y1) / 2;
      text += `C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}`;
    }
  }
  return text;
}

export function rectangle([x, y, width, height]: Box, grow = 0): string {
  return `M${x - grow} ${y - grow}h${width + 2 * grow}v${height + 2 * grow}h${-width - 2 * grow}z`;
}

export interface View {
  x: number;
  y: number;
  k: number;
}

export class Plan {
  readonly nodes = new Map<string, GraphNode>();
  readonly children = new Map<string, string[]>();
  /** Everything that is seen, in reading order: rows from the top, each from the left. */
  readonly seen: string[];
  /** All lines at once. */
  readonly edges: string;
  private readonly lines: string[];
  private readonly up = new Map<string, number[]>();
  private readonly down = new Map<string, number[]>();

  constructor(readonly graph: Graph) {
    for (const node of graph.nodes) {
      this.nodes.set(node.id, node);
      const beside = this.children.get(node.parent);
      if (beside) beside.push(node.id);
      else this.children.set(node.parent, [node.id]);
    }
    const { layout } = graph;
    this.lines = layout.edges.map(([, , points]) => curve(points));
    this.edges = this.lines.join("");
    layout.edges.forEach(([source, target], at) => {
      push(this.up, target, at);
      push(this.down, source, at);
    });
    this.seen = [...Object.keys(layout.nodes), ...Object.keys(layout.groups)].sort((a, b) => {
      const [first, second] = [this.box(a)!, this.box(b)!];
      return first[1] - second[1] || first[0] - second[0];
    });
  }

  box(id: string): Box | undefined {
    return this.graph.layout.nodes[id] ?? this.graph.layout.groups[id];
  }

  isOpen(id: string): boolean {
    return id in this.graph.layout.groups;
  }

  isGroup(id: string): boolean {
    return this.children.has(id);
  }

  /** The loops around a node, outer first: what the indexes of an iteration count. */
  loops(id: string): string[] {
    const found: string[] = [];
    for (let at = this.nodes.get(id)?.parent ?? ""; at; at = this.nodes.get(at)?.parent ?? "") {
      if (this.nodes.get(at)?.kind === "loop") found.unshift(at);
    }
    return found;
  }

  /** Names as people gave them, of the groups around it too. */
  title(id: string): string {
    const names = [id, ...this.ancestors(id)].map((one) => this.nodes.get(one)?.name ?? one.split("/").pop()!);
    return names.reverse().join("/");
  }

  ancestors(id: string): string[] {
    const found: string[] = [];
    for (let at = this.nodes.get(id)?.parent ?? ""; at; at = this.nodes.get(at)?.parent ?? "") found.push(at);
    return found;
  }

  /** The node itself, or the closed group it is in. */
  visible(id: string): string | undefined {
    if (this.box(id)) return id;
    return this.ancestors(id).reverse().find((one) => one in this.graph.layout.nodes);
  }

  /** Everything before and after a node, as lines. */
  reach(id: string): { lines: string; boxes: string } {
    const edges = new Set<number>();
    const touched = new Set<string>([id]);
    for (const [index, end] of [[this.up, 0], [this.down, 1]] as const) {
      const stack = [id];
      const done = new Set<string>();
      while (stack.length) {
        const at = stack.pop()!;
        if (done.has(at)) continue;
        done.add(at);
        const parent = this.nodes.get(at)?.parent;
        if (parent) stack.push(parent);
        for (const edge of index.get(at) ?? []) {
          edges.add(edge);
          const next = this.graph.layout.edges[edge]![end];
          touched.add(next);
          stack.push(next);
        }
      }
    }
    return {
      lines: [...edges].map((at) => curve(this.graph.layout.edges[at]![2])).join(""),
      boxes: [...touched].map((one) => rectangle(this.box(one) ?? [0, 0, 0, 0])).join(""),
    };
  }

  /** Lines that may pass through a part of the picture. Of one path with everything a browser would look at everything,
   * for each tile of the screen. */
  linesWithin(left: number, top: number, right: number, bottom: number): string {
    let found = "";
    this.graph.layout.edges.forEach(([, , points], at) => {
      let [least, most, first, last] = [Infinity, -Infinity, Infinity, -Infinity];
      for (let n = 0; n < points.length; n += 2) {
        least = Math.min(least, points[n]!);
        most = Math.max(most, points[n]!);
        first = Math.min(first, points[n + 1]!);
        last = Math.max(last, points[n + 1]!);
      }
      if (least <= right && most >= left && first <= bottom && last >= top) found += this.lines[at];
    });
    return found;
  }

  /** Nodes within a part of the picture. */
  within(left: number, top: number, right: number, bottom: number): string[] {
    const found: string[] = [];
    for (const [id, [x, y, width, height]] of Object.entries(this.graph.layout.nodes)) {
      if (x < right && x + width > left && y < bottom && y + height > top) found.push(id);
    }
    return found;
  }
}

function push(map: Map<string, number[]>, key: string, value: number): void {
  const found = map.get(key);
  if (found) found.push(value);
  else map.set(key, [value]);
}
