/** A big graph in a corner: where one is, and where it burns. */

import type { Signal } from "@preact/signals";
import type { RefObject } from "preact";
import { useRef } from "preact/hooks";
import type { Plan, View } from "./geometry";
import { Far, type Room } from "./graph";

const WIDTH = 176;
const HEIGHT = 112;

export function Minimap({ plan, states, moved, view, room, go }: {
  plan: Plan;
  states: () => Map<string, string> | null;
  moved: Signal<number>;
  view: RefObject<View>;
  room: RefObject<Room>;
  go: (x: number, y: number) => void;
}) {
  const { width, height } = plan.graph.layout;
  const scale = Math.min(WIDTH / Math.max(width, 1), HEIGHT / Math.max(height, 1));
  const picture = useRef<SVGSVGElement>(null);
  const jump = (event: PointerEvent) => {
    if (event.type === "pointermove" && !event.buttons) return;
    event.stopPropagation();
    const around = picture.current!.getBoundingClientRect();
    go((event.clientX - around.left) / scale, (event.clientY - around.top) / scale);
  };
  return (
    <div class="minimap" aria-hidden="true">
      <svg ref={picture} width={width * scale} height={height * scale} viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none"
        onPointerDown={jump} onPointerMove={jump} onPointerUp={(event) => event.stopPropagation()}>
        <Far plan={plan} states={states} />
      </svg>
      <svg class="over" width={width * scale} height={height * scale} viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none">
        <Window moved={moved} view={view} room={room} scale={scale} />
      </svg>
    </div>
  );
}

function Window({ moved, view, room, scale }: {
  moved: Signal<number>;
  view: RefObject<View>;
  room: RefObject<Room>;
  scale: number;
}) {
  void moved.value;
  if (!room.current || !view.current) return null;
  const { x, y, k } = view.current;
  return (
    <rect class="window" x={-x / k} y={-y / k} width={room.current.width / k} height={room.current.height / k} stroke-width={1.5 / scale} />
  );
}
