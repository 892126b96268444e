/** The log viewer: lines in sight only, search through all of it, follows what is still being written. */

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError } from "../base/api";
import { counted, size } from "../base/format";
import { useShortcuts } from "../base/keys";
import { ErrorNotice } from "../parts/basics";
import { Icon } from "../parts/icon";
import { coloured } from "./ansi";
import { LogFile, type Hit } from "./logfile";

const LINE = 18;
/** Browsers cannot make anything much higher; beyond, the scroll bar is a scale. */
const HIGHEST = 12_000_000;

export function LogView({ ask, file, live }: { ask: string; file: string; live: boolean }) {
  const log = useMemo(() => new LogFile(ask, file), [ask, file]);
  const [, draw] = useState(0);
  const redraw = () => draw((value) => value + 1);
  const [error, setError] = useState<unknown>(null);
  const [ready, setReady] = useState(false);
  const [follow, setFollow] = useState(true);
  const [wanted, setWanted] = useState("");
  const [hits, setHits] = useState<Hit[]>([]);
  const [share, setShare] = useState(1);
  const [hit, setHit] = useState(-1);
  const [wrapWidth, setWrap] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const top = useRef(0);
  const own = useRef(false);
  const following = useRef(true);
  following.current = follow;

  // What is there, and what comes: the end first, because that is what one wants to see.
  useEffect(() => {
    let stopped = false;
    let timer = 0;
    setReady(false);
    setHits([]);
    setHit(-1);
    const look = async () => {
      try {
        const changed = await log.poll();
        if (stopped) return;
        setError(null);
        setReady(true);
        if (changed) redraw();
      } catch (problem) {
        if (stopped) return;
        setReady(true);
        const missing = problem instanceof ApiError && problem.status === 404;
        if (missing && !live) setError(problem);
        else if (!missing) setError(problem);
        if (missing && !live) return;
      }
      if (!stopped && !log.complete) timer = window.setTimeout(look, live ? 500 : 2000);
    };
    void look();
    return () => {
      stopped = true;
      window.clearTimeout(timer);
    };
  }, [log, live]);

  const total = log.lines();
  const high = Math.min(total * LINE, HIGHEST);
  const scaled = total * LINE > HIGHEST;
  const room = box.current ? box.current.clientHeight / LINE : 40;
  const last = Math.max(0, total - room);

  const place = (line: number) => {
    top.current = Math.max(0, Math.min(last, line));
    const element = box.current;
    if (!element) return;
    const before = element.scrollTop;
    element.scrollTop = scaled ? (top.current / Math.max(1, last)) * (high - element.clientHeight) : top.current * LINE;
    own.current = element.scrollTop !== before; // only then will there be an event
    redraw();
  };
  useLayoutEffect(() => {
    if (ready && follow) place(last);
  }, [ready, total, log, wrapWidth]);
  useEffect(() => {
    const watch = new ResizeObserver(() => setWrap((value) => value + 1));
    if (box.current) watch.observe(box.current);
    return () => watch.disconnect();
  }, [ready]);

  const scrolled = () => {
    const element = box.current!;
    if (own.current) {
      own.current = false;
      return;
    }
    top.current = scaled ? (element.scrollTop / Math.max(1, high - element.clientHeight)) * last : element.scrollTop / LINE;
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - LINE;
    if (atEnd !== following.current) setFollow(atEnd);
    redraw();
  };
  useEffect(() => {
    const element = box.current;
    if (!element || !scaled) return;
    const wheel = (event: WheelEvent) => {
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
      event.preventDefault();
      setFollow(false);
      place(top.current + event.deltaY / LINE);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });

  // Pieces in sight that were not read yet. Counts change when they come; the line on top stays where it is.
  const first = Math.floor(top.current);
  const shown = Math.ceil(room) + 2;
  useEffect(() => {
    if (!ready || !log.size) return;
    const above = log.locate(Math.max(0, first - 50));
    const at = log.locate(first);
    const below = log.locate(Math.min(total - 1, first + shown + 50));
    const missing = [...new Set([at.piece, below.piece, above.piece])].filter((piece) => !log.has(piece));
    if (!missing.length) return;
    void Promise.all(missing.map((piece) => log.load(piece)))
      .then(() => {
        if (!following.current) place(log.firstLine(at.piece) + at.within + (top.current - first));
        redraw();
      })
      .catch(setError);
  });

  // Search reads everything once, in the background.
  useEffect(() => {
    if (!wanted) {
      setHits([]);
      setHit(-1);
      setShare(1);
      return;
    }
    let stopped = false;
    const timer = window.setTimeout(() => {
      setHit(-1);
      void log
        .search(wanted, (found, part) => {
          if (stopped) return false;
          setHits([...found]);
          setShare(part);
          return true;
        })
        .catch(setError);
    }, 250);
    return () => {
      stopped = true;
      window.clearTimeout(timer);
    };
  }, [wanted, log]);

  const jump = (to: number) => {
    if (!hits.length) return;
    const next = (to + hits.length) % hits.length;
    setHit(next);
    setFollow(false);
    const { piece, within } = hits[next]!;
    place(log.firstLine(piece) + within - room / 3);
  };
  useEffect(() => {
    if (hit < 0 && hits.length) jump(0);
  }, [hits.length > 0]);
  useShortcuts([
    { keys: "n", help: "Next place in the log", run: () => jump(hit + 1) },
    { keys: "N", help: "Place before in the log", run: () => jump(hit - 1) },
  ]);

  const rows = [];
  if (ready && log.size) {
    for (let line = first; line < Math.min(total, first + shown); line++) {
      const { piece, within, exact } = log.locate(line);
      const text = log.text(piece, within);
      const current = hit >= 0 && hits[hit]?.piece === piece && hits[hit]?.within === within;
      rows.push(
        <div class={`line ${current ? "now" : ""}`} key={line}
          style={{ transform: `translateY(${(scaled ? box.current!.scrollTop : first * LINE) + (line - first - (scaled ? top.current - first : 0)) * LINE}px)` }}>
          <span class="at">{exact ? line + 1 : ""}</span>
          {text === null ? "" : coloured(text, wanted)}
        </div>,
      );
    }
  }
  return (
    <div class="log">
      <div class="tools">
        <div class="search">
          <Icon name="search" size={14} />
          <input class="field" type="search" placeholder="Search the log" aria-label="Search the log" data-log-search value={wanted}
            onInput={(event) => setWanted(event.currentTarget.value)}
            onKeyDown={(event) => event.key === "Enter" && jump(hit + (event.shiftKey ? -1 : 1))} />
        </div>
        {wanted && (
          <span class="muted" role="status">
            {hits.length ? `${hit + 1}/${hits.length}` : share < 1 ? "searching" : "not found"}
            {share < 1 && ` (${Math.round(share * 100)}%)`}
          </span>
        )}
        <span class="grow" />
        <span class="muted">{log.size ? `${size(log.size)}, ${counted(total, "line")}` : ""}</span>
        <button type="button" class="btn small" aria-pressed={follow} onClick={() => {
          setFollow(!follow);
          if (!follow) place(last);
        }}>Follow</button>
        <a class="btn small icon" href={file} download title="Save the log" aria-label="Save the log"><Icon name="download" size={14} /></a>
      </div>
      {error !== null && (
        <div class="tools"><ErrorNotice error={error} what="No log." /></div>
      )}
      <div class="lines" ref={box} onScroll={scrolled} tabIndex={0} role="log" aria-label="Log" aria-live="off">
        {ready && !log.size && error === null && <p class="inside muted">{live ? "Nothing was printed yet." : "Nothing was printed."}</p>}
        <div style={{ height: `${high}px` }} />
        {rows}
      </div>
    </div>
  );
}
