/** How wide a text is: SVG does not shorten by itself. */

const widths = new Map<string, number>();
let pen: CanvasRenderingContext2D | null = null;

function width(text: string, font: string): number {
  const key = font + text;
  let found = widths.get(key);
  if (found === undefined) {
    pen ??= document.createElement("canvas").getContext("2d")!;
    pen.font = font;
    found = pen.measureText(text).width;
    if (widths.size > 20_000) widths.clear();
    widths.set(key, found);
  }
  return found;
}

let family = "";
const font = (size: string) => `${size} ${(family ||= getComputedStyle(document.body).fontFamily)}`;

export const nameWidth = (text: string) => width(text, font("500 12.5px"));

/** As much of a text as has room, in pixels. */
export function clip(text: string, room: number, size: string): string {
  const used = font(size);
  if (width(text, used) <= room) return text;
  let [low, high] = [0, Math.min(text.length, Math.ceil(room / 2))];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (width(`${text.slice(0, middle)}…`, used) <= room) low = middle;
    else high = middle - 1;
  }
  return low ? `${text.slice(0, low)}…` : "";
}

export const clipName = (text: string, room: number) => clip(text, room, "500 12.5px");
export const clipNote = (text: string, room: number) => clip(text, room, "400 11px");
