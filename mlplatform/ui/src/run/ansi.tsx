/** Colours of a terminal as classes; every other control sequence is left out. */

import type { ComponentChildren } from "preact";

// Sequences of a terminal: colours (kept apart), other CSI, OSC until its end, and lone ones.
const SEQUENCE = /\x1b\[([0-9;]*)m|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_]/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/g;

export function plain(text: string): string {
  return text.replace(SEQUENCE, "").replace(CONTROL, "");
}

interface Style {
  fore: string;
  back: string;
  marks: Set<string>;
}

function apply(style: Style, codes: string): void {
  const list = (codes || "0").split(";").map(Number);
  for (let at = 0; at < list.length; at++) {
    const code = list[at]!;
    if (code === 0) [style.fore, style.back, style.marks] = ["", "", new Set()];
    else if (code >= 1 && code <= 4) style.marks.add(`a${code}`);
    else if (code === 22) ["a1", "a2"].forEach((mark) => style.marks.delete(mark));
    else if (code === 23 || code === 24) style.marks.delete(`a${code - 20}`);
    else if (code >= 30 && code <= 37) style.fore = `f${code - 30}`;
    else if (code >= 90 && code <= 97) style.fore = `f${code - 90}`;
    else if (code === 39) style.fore = "";
    else if (code >= 40 && code <= 47) style.back = `b${code - 40}`;
    else if (code >= 100 && code <= 107) style.back = `b${code - 100}`;
    else if (code === 49) style.back = "";
    else if (code === 38 || code === 48) {
      const of = code === 38 ? "f" : "b";
      let basic = 7;
      if (list[at + 1] === 5) {
        const number = list[at + 2] ?? 7;
        basic = number < 16 ? number % 8 : number < 232 ? nearest(Math.floor((number - 16) / 36), Math.floor((number - 16) / 6) % 6, (number - 16) % 6, 5) : 7;
        at += 2;
      } else if (list[at + 1] === 2) {
        basic = nearest(list[at + 2] ?? 0, list[at + 3] ?? 0, list[at + 4] ?? 0, 255);
        at += 4;
      }
      if (of === "f") style.fore = `f${basic}`;
      else style.back = `b${basic}`;
    }
  }
}

/** One of the eight: our palette has both themes in mind, theirs has neither. */
function nearest(red: number, green: number, blue: number, most: number): number {
  const half = most / 2;
  return (red > half ? 1 : 0) + (green > half ? 2 : 0) + (blue > half ? 4 : 0);
}

/** A line with its colours, the places of `find` marked. */
export function coloured(text: string, find: string): ComponentChildren {
  if (!text.includes("\x1b")) return marked(text.replace(CONTROL, ""), find);
  const parts: ComponentChildren[] = [];
  const style: Style = { fore: "", back: "", marks: new Set() };
  let from = 0;
  const put = (piece: string) => {
    if (!piece) return;
    const name = [style.fore, style.back, ...style.marks].filter(Boolean).join(" ");
    const content = marked(piece.replace(CONTROL, ""), find);
    parts.push(name ? <span class={name}>{content}</span> : content);
  };
  for (const match of text.matchAll(SEQUENCE)) {
    put(text.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[1] !== undefined) apply(style, match[1]);
  }
  put(text.slice(from));
  return parts;
}

function marked(text: string, find: string): ComponentChildren {
  if (!find) return text;
  const lower = text.toLowerCase();
  const needle = find.toLowerCase();
  const parts: ComponentChildren[] = [];
  let from = 0;
  for (let at = lower.indexOf(needle); at >= 0; at = lower.indexOf(needle, from)) {
    parts.push(text.slice(from, at), <mark>{text.slice(at, at + needle.length)}</mark>);
    from = at + needle.length;
  }
  return parts.length ? [...parts, text.slice(from)] : text;
}
