/** The picture of a pipeline: pan, zoom, select; only what is in sight is in the document. */

import { signal, type Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { useShortcuts } from "../base/keys";
import type { Box } from "../base/types";
import { Icon } from "../parts/icon";
import { Sign } from "../parts/state";
import { Plan, rectangle, type View } from "./geometry";
import { Minimap } from "./minimap";
import { clipName, clipNote, nameWidth } from "./text";

/** What a node says besides its name. Read inside its own component, so that only what changed is drawn anew. */
export interface Told {
  state: string | null;
  note: string;
  /** From 0 to 1 while there is progress to show. */
  share?: number;
}

export interface Room {
  width: number;
  height: number;
}

const FAR = 0.42;
const READABLE = 0.55;
const MOST = 2.5;
/** Nodes this share of the view beyond its edges are in the document as well; less where very many would be. */
const SPARE = 0.25;
const LITTLE = 0.06;
const MANY = 0.7;
const MUCH = 8;

export function GraphView(props: {
  plan: Plan;
  label: string;
  selected: string;
  select: (id: string) => void;
  toggle: (id: string) => void;
  tell: (id: string) => Told;
  /** States of many nodes at once for the small pictures; reading it subscribes to every change. */
  states: () => Map<string, string> | null;
  focus?: string | null;
  corner?: ComponentChildren;
}) {
  const { plan } = props;
  const box = useRef<HTMLDivElement>(null);
  const scene = useRef<SVGSVGElement>(null);
  const view = useRef<View>({ x: 0, y: 0, k: 1 });
  /** How much room there is. Asked of the browser only when that changes: within a frame it would lay out everything. */
  const room = useRef<Room>({ width: 0, height: 0 });
  const measure = () => {
    if (box.current) room.current = { width: box.current.clientWidth, height: box.current.clientHeight };
  };
  const moved = useMemo(() => signal(0), []);
  const [sight, setSight] = useState<{ ids: string[]; lines: string; far: boolean }>({ ids: [], lines: "", far: false });
  const holds = useRef<{ far: boolean; left: number; top: number; right: number; bottom: number } | null>(null);
  const hovered = useMemo(() => signal(""), []);
  const { width, height } = plan.graph.layout;

  const look = () => {
    if (!box.current) return;
    const { x, y, k } = view.current;
    const far = k < FAR;
    const [left, top] = [-x / k, -y / k];
    const [right, bottom] = [left + room.current.width / k, top + room.current.height / k];
    const held = holds.current;
    if (held && held.far === far) {
      // What is there goes a little beyond the edges: nothing to do before those are reached, or it is far too much.
      if (far) return;
      const within = left >= held.left && top >= held.top && right <= held.right && bottom <= held.bottom;
      if (within && (held.right - held.left) * (held.bottom - held.top) < MUCH * (right - left) * (bottom - top)) return;
    }
    const spare = k < MANY ? LITTLE : SPARE;
    const [over, under] = [(right - left) * spare, (bottom - top) * spare];
    const next = { far, left: left - over, top: top - under, right: right + over, bottom: bottom + under };
    holds.current = next;
    const part = [next.left, next.top, next.right, next.bottom] as const;
    setSight(far ? { ids: [], lines: plan.edges, far } : { ids: plan.within(...part), lines: plan.linesWithin(...part), far });
  };
  const frame = useRef(0);
  /** Somebody looked elsewhere: from then on the picture stays where it was put. */
  const whole = useRef(false);
  const put = (next: View, fits = false) => {
    whole.current = fits;
    view.current = next;
    if (frame.current) return;
    frame.current = requestAnimationFrame(() => {
      frame.current = 0;
      const { x, y, k } = view.current;
      // Of the picture as a whole: a transform within it would lay out every text anew in each frame.
      if (scene.current) scene.current.style.transform = `translate(${x}px, ${y}px) scale(${k})`;
      moved.value++;
      look();
    });
  };
  const zoom = (factor: number, at?: { x: number; y: number }) => {
    const { x, y, k } = view.current;
    const least = Math.min(0.2, (0.9 * room.current.width) / Math.max(width, 1), (0.9 * room.current.height) / Math.max(height, 1));
    const next = Math.min(MOST, Math.max(least, k * factor));
    const centre = at ?? { x: room.current.width / 2, y: room.current.height / 2 };
    put({ x: centre.x - ((centre.x - x) * next) / k, y: centre.y - ((centre.y - y) * next) / k, k: next });
  };
  const fitted = (): View => {
    if (!room.current.width) return view.current;
    const pad = 24;
    const k = Math.min(1, (room.current.width - 2 * pad) / Math.max(width, 1), (room.current.height - 2 * pad) / Math.max(height, 1));
    return { k, x: (room.current.width - width * k) / 2, y: Math.max(pad, (room.current.height - height * k) / 2) };
  };
  const centre = (id: string, k = Math.max(view.current.k, READABLE)) => {
    const shown = plan.visible(id);
    const target = shown && plan.box(shown);
    if (!target || !room.current.width) return;
    put({
      k,
      x: room.current.width / 2 - (target[0] + target[2] / 2) * k,
      y: room.current.height / 2 - (target[1] + Math.min(target[3], 200) / 2) * k,
    });
  };
  const inSight = (id: string) => {
    const target = plan.box(id);
    if (!target || !room.current.width) return true;
    const { x, y, k } = view.current;
    const [left, top] = [x + target[0] * k, y + target[1] * k];
    return left > 0 && top > 0 && left + Math.min(target[2], 208) * k < room.current.width && top + 44 * k < room.current.height;
  };

  // A graph that fits readably is shown whole; of a bigger one the part that matters, with the map in the corner.
  const begun = useRef(false);
  useLayoutEffect(() => {
    measure();
    holds.current = null;
    if (!begun.current) {
      begun.current = true;
      const all = fitted();
      if (all.k >= READABLE) put(all, true);
      else {
        const first = props.focus || plan.seen[0];
        put({ ...all, k: 0.8, x: 24, y: 24 });
        if (first) centre(first, 0.8);
        if (!props.focus) put({ ...view.current, y: 24 });
      }
    } else if (whole.current && fitted().k >= READABLE) put(fitted(), true);
    else put(view.current);
  }, [plan]);
  useEffect(() => {
    if (props.selected && begun.current && !inSight(plan.visible(props.selected) ?? "")) centre(props.selected, view.current.k);
  }, [props.selected, plan]);
  useEffect(() => {
    const watch = new ResizeObserver(() => {
      measure();
      holds.current = null;
      if (whole.current && fitted().k >= FAR) put(fitted(), true);
      look();
      moved.value++;
    });
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, [plan]);
  useEffect(() => () => cancelAnimationFrame(frame.current), []);

  // Wheel: move, or zoom with Ctrl (which is what a pinch sends). Not passive, so by hand.
  useLayoutEffect(() => {
    const element = box.current!;
    let around = element.getBoundingClientRect();
    let last = 0;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      if (event.timeStamp - last > 300) around = element.getBoundingClientRect(); // once a gesture
      last = event.timeStamp;
      if (event.ctrlKey || event.metaKey) {
        zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.008)), { x: event.clientX - around.left, y: event.clientY - around.top });
      } else {
        const unit = event.deltaMode === 1 ? 16 : 1;
        const { x, y, k } = view.current;
        const [dx, dy] = event.shiftKey ? [event.deltaY, 0] : [event.deltaX, event.deltaY];
        put({ k, x: x - dx * unit, y: y - dy * unit });
      }
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, [plan]);

  const drag = useRef<{ x: number; y: number; view: View; far: boolean } | null>(null);
  const under = (event: PointerEvent | MouseEvent): string => {
    const named = (event.target as Element).closest<SVGElement>("[data-node]")?.dataset.node;
    if (named) return named;
    const around = box.current!.getBoundingClientRect();
    const { x, y, k } = view.current;
    const [px, py] = [(event.clientX - around.left - x) / k, (event.clientY - around.top - y) / k];
    return plan.within(px, py, px, py)[0] ?? "";
  };
  const down = (event: PointerEvent) => {
    if (event.button !== 0 || (event.target as Element).closest("button, .minimap")) return;
    drag.current = { x: event.clientX, y: event.clientY, view: view.current, far: false };
  };
  const move = (event: PointerEvent) => {
    const start = drag.current;
    if (!start) {
      if (event.pointerType === "mouse") {
        const id = sight.far ? "" : under(event);
        if (id !== hovered.peek()) hovered.value = id;
      }
      return;
    }
    const [dx, dy] = [event.clientX - start.x, event.clientY - start.y];
    if (!start.far && Math.hypot(dx, dy) < 4) return;
    if (!start.far) {
      start.far = true;
      box.current!.setPointerCapture(event.pointerId);
    }
    put({ ...start.view, x: start.view.x + dx, y: start.view.y + dy });
  };
  const up = (event: PointerEvent) => {
    const start = drag.current;
    drag.current = null;
    if (!start || start.far) return;
    const folding = (event.target as Element).closest<SVGElement>("[data-fold]")?.dataset.fold;
    if (folding) props.toggle(folding);
    else props.select(under(event));
  };

  const step = (by: number) => {
    const at = plan.seen.indexOf(props.selected);
    const next = plan.seen[at < 0 ? 0 : Math.max(0, Math.min(plan.seen.length - 1, at + by))];
    if (next) props.select(next);
  };
  useShortcuts([
    { keys: "j", help: "Next task", run: () => step(1) },
    { keys: "k", help: "Task before", run: () => step(-1) },
    { keys: "o", help: "Open or close the group", run: () => plan.isGroup(props.selected) && props.toggle(props.selected) },
    { keys: "f", help: "Fit the graph", run: () => put(fitted(), true) },
    { keys: "z", help: "Zoom to the selection", run: () => props.selected && centre(props.selected, 1) },
    { keys: "+", help: "Zoom in", run: () => zoom(1.25) },
    { keys: "-", help: "Zoom out", run: () => zoom(0.8) },
  ]);

  return (
    <div class="graph grow" ref={box} onPointerDown={down} onPointerMove={move} onPointerUp={up}
      onPointerLeave={() => (hovered.value = "")}
      onDblClick={(event) => {
        const id = under(event);
        if (id && plan.isGroup(id)) props.toggle(id);
      }}>
      <svg role="group" aria-label={props.label} tabindex={0} ref={scene} width={width} height={height}>
        <g>
          {Object.entries(plan.graph.layout.groups).map(([id, place]) => (
            <Group key={id} id={id} place={place} plan={plan} tell={props.tell} />
          ))}
          <path class={`edges ${sight.far ? "coarse" : ""}`} d={sight.lines} />
          {sight.far ? <Far plan={plan} states={props.states} /> : (
            <g>
              {sight.ids.filter((id) => id in plan.graph.layout.nodes).map((id) => (
                <NodeMark key={id} id={id} place={plan.graph.layout.nodes[id]!} plan={plan} tell={props.tell} />
              ))}
            </g>
          )}
          <Lit plan={plan} hovered={hovered} selected={props.selected} />
        </g>
      </svg>
      <div class="zoom" role="group" aria-label="Zoom">
        {props.corner}
        <button type="button" class="btn icon" title="Zoom in (+)" aria-label="Zoom in" onClick={() => zoom(1.25)}><Icon name="plus" /></button>
        <button type="button" class="btn icon" title="Zoom out (-)" aria-label="Zoom out" onClick={() => zoom(0.8)}><Icon name="minus" /></button>
        <button type="button" class="btn icon" title="Fit (f)" aria-label="Fit" onClick={() => put(fitted(), true)}><Icon name="fit" /></button>
        <button type="button" class="btn icon" title="Zoom to the selection (z)" aria-label="Zoom to the selection" disabled={!props.selected}
          onClick={() => centre(props.selected, 1)}><Icon name="target" /></button>
      </div>
      {Object.keys(plan.graph.layout.nodes).length >= 100 && (
        <Minimap plan={plan} states={props.states} moved={moved} view={view} room={room} go={(x, y) => {
          const { k } = view.current;
          put({ k, x: room.current.width / 2 - x * k, y: room.current.height / 2 - y * k });
        }} />
      )}
    </div>
  );
}

function NodeMark({ id, place, plan, tell }: { id: string; place: Box; plan: Plan; tell: (id: string) => Told }) {
  const node = plan.nodes.get(id)!;
  const { state, note, share } = tell(id);
  const [x, y, width, height] = place;
  const group = plan.isGroup(id);
  const room = width - 34 - (group ? 32 : 10);
  return (
    <g class={`node ${group ? "closed" : ""} ${state ? `is-${state}` : ""}`} transform={`translate(${x} ${y})`} data-node={id} data-state={state ?? ""}>
      <title>{`${id}${state ? `: ${state.toLowerCase()}` : ""}${note ? `, ${note}` : ""}`}</title>
      {group && <rect class="behind" x="4" y="4" width={width} height={height} rx="7" />}
      <rect width={width} height={height} rx="7" />
      {state ? <Sign state={state} x={12} y={16} /> : <circle class="bullet" cx="18" cy="22" r="3" />}
      <text class="name" x="34" y={note ? 19 : 26.5}>{clipName(node.name, room)}</text>
      {note && <text class="note" x="34" y="34">{clipNote(note, room)}</text>}
      {share !== undefined && share < 1 && (
        <>
          <rect class="track" x="8" y={height - 4} width={width - 16} height="2" rx="1" />
          <rect class="done" x="8" y={height - 4} width={(width - 16) * share} height="2" rx="1" />
        </>
      )}
      {group && <Fold id={id} x={width - 28} y={10} open={false} />}
    </g>
  );
}

function Group({ id, place, plan, tell }: { id: string; place: Box; plan: Plan; tell: (id: string) => Told }) {
  const node = plan.nodes.get(id)!;
  const { state, note } = tell(id);
  const [x, y, width, height] = place;
  const room = width - (state ? 32 : 14) - 32;
  const name = clipName(node.name, room);
  const rest = room - nameWidth(name) - 8;
  return (
    <g class={`frame ${state ? `is-${state}` : ""}`} transform={`translate(${x} ${y})`} data-node={id} data-state={state ?? ""}>
      <title>{`${id}${node.detail ? `: ${node.detail}` : ""}`}</title>
      <rect width={width} height={height} rx="9" />
      {state && <Sign state={state} x={12} y={12} />}
      <text class="name" x={state ? 32 : 14} y="22.5">
        {name}
        {rest > 24 && (note || node.detail) && <tspan class="note" dx="8">{clipNote(note || node.detail, rest)}</tspan>}
      </text>
      <Fold id={id} x={width - 30} y={6} open />
    </g>
  );
}

function Fold({ id, x, y, open }: { id: string; x: number; y: number; open: boolean }) {
  return (
    <g class="fold" transform={`translate(${x} ${y})`} data-fold={id}>
      <title>{open ? "Close (o)" : "Open (o)"}</title>
      <rect width="24" height="24" rx="5" />
      <path d={open ? "M7.5 10l4.5 4.5 4.5-4.5" : "M10 7.5l4.5 4.5-4.5 4.5"} />
    </g>
  );
}

/** From far away a node is a patch of its state's colour: one path for each state, however many nodes. */
export function Far({ plan, states }: { plan: Plan; states: () => Map<string, string> | null }) {
  const known = states();
  const paths = new Map<string, string>();
  for (const [id, place] of Object.entries(plan.graph.layout.nodes)) {
    const state = known?.get(id) ?? "PENDING";
    paths.set(state, (paths.get(state) ?? "") + rectangle(place));
  }
  return (
    <g>
      {[...paths].map(([state, lines]) => (
        <path key={state} class={`patch is-${state}`} d={lines} />
      ))}
    </g>
  );
}

function Lit({ plan, hovered, selected }: { plan: Plan; hovered: Signal<string>; selected: string }) {
  const shown = plan.visible(selected);
  const id = hovered.value && plan.box(hovered.value) && !plan.isOpen(hovered.value) ? hovered.value : shown;
  const reach = useMemo(() => (id && plan.box(id) ? plan.reach(id) : null), [plan, id]);
  const box = shown ? plan.box(shown) : undefined;
  return (
    <g class="lit" aria-hidden="true">
      {reach && <path class="way" d={reach.lines} />}
      {box && <rect class="chosen" x={box[0] - 2} y={box[1] - 2} width={box[2] + 4} height={box[3] + 4} rx="9" />}
    </g>
  );
}
