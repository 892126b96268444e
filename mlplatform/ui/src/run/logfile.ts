/** A log of any size: read in pieces by byte ranges, counted in lines; pieces that were not read yet are estimated.
 *
 * A piece owns the lines that begin in it. Of a line that goes on behind its piece only so much is shown as was read.
 */

import { ApiError, get } from "../base/api";
import type { LogPart } from "../base/types";

export const PIECE = 256 * 1024;
/** Read beyond a piece for the end of its last line. */
const TAIL = 16 * 1024;
const KEPT = 48;

interface Piece {
  bytes: Uint8Array;
  /** Where lines begin and, last, where the last one ends. */
  starts: number[];
  used: number;
}

export class LogFile {
  size = 0;
  complete = false;
  private counts: (number | undefined)[] = [];
  private pieces = new Map<number, Piece>();
  private under = new Map<number, Promise<void>>();
  private clock = 0;
  private decoder = new TextDecoder();

  /** `ask`: the address of parts; `file`: that of the whole, which knows ranges. */
  constructor(private readonly ask: string, private readonly file: string) {}

  /** How long is it by now? True if it grew or ended. */
  async poll(): Promise<boolean> {
    const sign = this.ask.includes("?") ? "&" : "?";
    let told: LogPart;
    try {
      told = await get<LogPart>(`${this.ask}${sign}offset=${this.size}&limit=4`);
    } catch (error) {
      if (error instanceof ApiError && error.status === 400 && this.size) {
        this.forget(); // it begins anew
        told = await get<LogPart>(`${this.ask}${sign}offset=0&limit=4`);
      } else throw error;
    }
    const changed = told.size !== this.size;
    if (changed) {
      const last = Math.max(0, this.pieceCount() - 1);
      this.size = told.size;
      this.pieces.delete(last);
      this.counts[last] = undefined;
      await this.load(last);
      await this.load(Math.max(0, this.pieceCount() - 1));
    }
    const before = this.complete;
    this.complete = told.complete;
    return changed || before !== this.complete;
  }

  private forget(): void {
    this.size = 0;
    this.counts = [];
    this.pieces.clear();
  }

  pieceCount(): number {
    return Math.ceil(this.size / PIECE);
  }

  private average(): number {
    let [bytes, lines] = [0, 0];
    this.counts.forEach((count, at) => {
      if (count === undefined) return;
      bytes += Math.min(PIECE, this.size - at * PIECE);
      lines += count;
    });
    return lines ? bytes / lines : 80;
  }

  /** Lines in all; exact as soon as every piece was seen. */
  lines(): number {
    const average = this.average();
    let found = 0;
    for (let at = 0; at < this.pieceCount(); at++) found += this.lineCount(at, average);
    return found;
  }

  private lineCount(piece: number, average: number): number {
    return this.counts[piece] ?? Math.max(1, Math.round(Math.min(PIECE, this.size - piece * PIECE) / average));
  }

  /** The piece a line is in, and its number there. */
  locate(line: number): { piece: number; within: number; exact: boolean } {
    const average = this.average();
    let left = line;
    let exact = true;
    for (let at = 0; at < this.pieceCount(); at++) {
      const count = this.lineCount(at, average);
      if (left < count) return { piece: at, within: left, exact };
      left -= count;
      exact &&= this.counts[at] !== undefined;
    }
    return { piece: Math.max(0, this.pieceCount() - 1), within: 0, exact };
  }

  /** The number of a piece's first line. */
  firstLine(piece: number): number {
    const average = this.average();
    let found = 0;
    for (let at = 0; at < piece; at++) found += this.lineCount(at, average);
    return found;
  }

  has(piece: number): boolean {
    return this.pieces.has(piece);
  }

  text(piece: number, within: number): string | null {
    const found = this.pieces.get(piece);
    if (!found) return null;
    found.used = ++this.clock;
    const [from, to] = [found.starts[within], found.starts[within + 1]];
    if (from === undefined || to === undefined) return "";
    let text = this.decoder.decode(found.bytes.subarray(from, Math.min(to, from + 20_000)));
    if (text.endsWith("\n")) text = text.slice(0, -1);
    if (text.endsWith("\r")) text = text.slice(0, -1);
    const back = text.lastIndexOf("\r"); // progress bars write over themselves
    return back >= 0 ? text.slice(back + 1) : text;
  }

  load(piece: number): Promise<void> {
    if (this.pieces.has(piece) || piece >= this.pieceCount()) return Promise.resolve();
    const under = this.under.get(piece);
    if (under) return under;
    const done = this.fetch(piece).finally(() => this.under.delete(piece));
    this.under.set(piece, done);
    return done;
  }

  private async fetch(piece: number): Promise<void> {
    const from = Math.max(0, piece * PIECE - 1);
    const bytes = await this.range(from, Math.min(this.size, (piece + 1) * PIECE + TAIL));
    const nominal = (piece + 1) * PIECE - from;
    const starts: number[] = [];
    let at = piece === 0 ? 0 : bytes.indexOf(10) + 1;
    if (piece > 0 && at === 0) at = bytes.length; // one line fills it all
    while (at < bytes.length && at < nominal) {
      starts.push(at);
      const end = bytes.indexOf(10, at);
      at = end < 0 ? bytes.length : end + 1;
    }
    const count = starts.length;
    starts.push(at);
    this.pieces.set(piece, { bytes, starts, used: ++this.clock });
    this.counts[piece] = count;
    if (this.pieces.size > KEPT) {
      const [oldest] = [...this.pieces].sort((a, b) => a[1].used - b[1].used)[0]!;
      this.pieces.delete(oldest);
    }
  }

  async range(from: number, to: number): Promise<Uint8Array> {
    if (to <= from) return new Uint8Array();
    const answer = await fetch(this.file, { headers: { Range: `bytes=${from}-${to - 1}` }, credentials: "same-origin" });
    if (!answer.ok) throw new ApiError(answer.status, `HTTP_${answer.status}`, "The log could not be read.");
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return answer.status === 200 ? bytes.subarray(from, to) : bytes;
  }

  /** Lines that hold a text, from the top; calls back after each part that was read. Stops when asked to. */
  async search(wanted: string, found: (hits: Hit[], share: number) => boolean): Promise<void> {
    const step = 4 * PIECE;
    const needle = wanted.toLowerCase();
    const hits: Hit[] = [];
    for (let from = 0; from < this.size; from += step) {
      const first = from / PIECE;
      for (let piece = first; piece < Math.min(first + 4, this.pieceCount()); piece++) {
        await this.load(piece);
        const held = this.pieces.get(piece);
        if (!held) continue;
        const count = held.starts.length - 1;
        const text = this.decoder.decode(held.bytes).toLowerCase();
        if (text.includes(needle)) {
          for (let within = 0; within < count && hits.length < 10_000; within++) {
            if ((this.text(piece, within) ?? "").toLowerCase().includes(needle)) hits.push({ piece, within });
          }
        }
      }
      if (!found(hits, Math.min(1, (from + step) / this.size))) return;
      await new Promise((resume) => window.setTimeout(resume));
    }
    found(hits, 1);
  }
}

export interface Hit {
  piece: number;
  within: number;
}
