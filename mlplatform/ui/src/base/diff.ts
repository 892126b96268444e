/** Lines that differ between two texts (Myers' algorithm, greedy), with what stands around them. */

export interface Line {
  kind: "same" | "add" | "del" | "gap";
  text: string;
  /** Line numbers in the old and in the new text; 0 where it is not there. */
  old: number;
  now: number;
}

const MOST = 4000;

export function diff(before: string, after: string, around = 3): Line[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const lines: Line[] = a.slice(0, head).map((text, at) => ({ kind: "same", text, old: at + 1, now: at + 1 }));
  middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail), head, lines);
  for (let at = tail; at > 0; at--) lines.push({ kind: "same", text: a[a.length - at]!, old: a.length - at + 1, now: b.length - at + 1 });
  return folded(lines, around);
}

function middle(a: string[], b: string[], offset: number, into: Line[]): void {
  const add = (y: number): Line => ({ kind: "add", text: b[y]!, old: 0, now: offset + y + 1 });
  const del = (x: number): Line => ({ kind: "del", text: a[x]!, old: offset + x + 1, now: 0 });
  const most = a.length + b.length;
  const furthest = new Map<number, number>([[1, 0]]);
  const trace: Map<number, number>[] = [];
  for (let d = 0; d <= Math.min(most, MOST); d++) {
    trace.push(new Map(furthest));
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && (furthest.get(k - 1) ?? -1) < (furthest.get(k + 1) ?? -1)) ? furthest.get(k + 1)! : (furthest.get(k - 1) ?? 0) + 1;
      let y = x - k;
      while (x < a.length && y < b.length && a[x] === b[y]) [x, y] = [x + 1, y + 1];
      furthest.set(k, x);
      if (x >= a.length && y >= b.length) {
        const found: Line[] = [];
        let [px, py] = [a.length, b.length];
        for (let depth = d; depth >= 0; depth--) {
          const seen = trace[depth]!;
          const kk = px - py;
          const from = kk === -depth || (kk !== depth && (seen.get(kk - 1) ?? -1) < (seen.get(kk + 1) ?? -1)) ? kk + 1 : kk - 1;
          const [sx, sy] = depth === 0 ? [0, 0] : [seen.get(from) ?? 0, (seen.get(from) ?? 0) - from];
          while (px > sx && py > sy) found.push({ kind: "same", text: a[--px]!, old: offset + px + 1, now: offset + --py + 1 });
          if (depth > 0) found.push(px === sx ? add(--py) : del(--px));
        }
        into.push(...found.reverse());
        return;
      }
    }
  }
  a.forEach((_, x) => into.push(del(x)));
  b.forEach((_, y) => into.push(add(y)));
}

function folded(lines: Line[], around: number): Line[] {
  const near = new Uint8Array(lines.length);
  lines.forEach((line, at) => {
    if (line.kind !== "same") for (let by = -around; by <= around; by++) if (at + by >= 0 && at + by < lines.length) near[at + by] = 1;
  });
  const found: Line[] = [];
  let hidden = 0;
  lines.forEach((line, at) => {
    if (near[at]) {
      if (hidden) found.push({ kind: "gap", text: `${hidden} equal lines`, old: 0, now: 0 });
      hidden = 0;
      found.push(line);
    } else hidden++;
  });
  if (hidden && found.length) found.push({ kind: "gap", text: `${hidden} equal lines`, old: 0, now: 0 });
  return found;
}
