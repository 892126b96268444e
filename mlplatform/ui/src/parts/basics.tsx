/** Small things that every page has. */

import type { ComponentChildren } from "preact";
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../base/api";
import { now } from "../base/clock";
import { absolute, ago, duration, short } from "../base/format";
import { Icon } from "./icon";

export function Ago({ at }: { at: number | null | undefined }) {
  if (at === null || at === undefined) return null;
  return (
    <time dateTime={new Date(at * 1000).toISOString()} title={absolute(at)}>
      {ago(at, now.value)}
    </time>
  );
}

/** How long something took, or takes until now. */
export function Took({ from, to, live }: { from: number | null; to: number | null; live?: boolean }) {
  if (from === null) return null;
  if (to === null && !live) return null;
  return <span>{duration((to ?? now.value) - from)}</span>;
}

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    if (await copyText(text)) {
      setDone(true);
      window.setTimeout(() => setDone(false), 1200);
    }
  };
  return (
    <button type="button" class="btn quiet small icon" aria-label={done ? "Copied" : label} title={label} onClick={copy}>
      <Icon name={done ? "check" : "copy"} size={14} />
    </button>
  );
}

export function Id({ id, label = "id" }: { id: string; label?: string }) {
  return (
    <span class="copy">
      <code title={id}>{short(id)}</code>
      <Copy text={id} label={`Copy ${label}`} />
    </span>
  );
}

/** A command line that does the same; to be copied. */
export function Command({ text }: { text: string }) {
  return (
    <div class="copyable">
      <code tabIndex={0}>{text}</code>
      <Copy text={text} label="Copy command" />
    </div>
  );
}

export function Notice({ tone = "", children, onClose }: { tone?: string; children: ComponentChildren; onClose?: () => void }) {
  return (
    <div class={`notice ${tone}`} role={tone === "bad" ? "alert" : undefined}>
      <div class="grow">{children}</div>
      {onClose && (
        <button type="button" class="btn quiet small icon" aria-label="Close" onClick={onClose}>
          <Icon name="close" size={14} />
        </button>
      )}
    </div>
  );
}

/** What happened, to what, and the next step. */
export function ErrorNotice({ error, what, onClose }: { error: unknown; what: string; onClose?: () => void }) {
  const known = error instanceof ApiError ? error : new ApiError(0, "UNEXPECTED", String((error as Error)?.message ?? error));
  return (
    <Notice tone="bad" onClose={onClose}>
      <p>
        <strong>{what}</strong> {known.message}
      </p>
      {known.findings.length > 0 && (
        <ul>
          {known.findings.map((one) => (
            <li key={one.path + one.message}>
              {one.path && <code>{one.path}</code>} {one.message}
            </li>
          ))}
        </ul>
      )}
      {known.hint && <p class="hint">{known.hint}</p>}
      <p class="muted mono">{known.code}</p>
    </Notice>
  );
}

export function Empty({ title, children, commands = [] }: { title: string; children?: ComponentChildren; commands?: string[] }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {commands.map((one) => (
        <Command key={one} text={one} />
      ))}
    </div>
  );
}

export function SkeletonRows({ count = 8 }: { count?: number }) {
  return (
    <div aria-busy="true" aria-label="Loading" role="status" class="skeletons">
      {Array.from({ length: count }, (_, at) => (
        <div class="skeleton-row" key={at}>
          <span class={`skeleton w${(at % 3) + 1}`} />
        </div>
      ))}
    </div>
  );
}

// ------------------------------------------------------------------ messages that go away
interface Toast {
  id: number;
  tone: string;
  content: ComponentChildren;
}
const toasts = signal<Toast[]>([]);
let count = 0;

export function toast(content: ComponentChildren, tone = "", seconds = 6): void {
  const id = ++count;
  toasts.value = [...toasts.value.slice(-3), { id, tone, content }];
  if (seconds) window.setTimeout(() => dismiss(id), seconds * 1000);
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

export function failed(what: string, error: unknown): void {
  const id = count + 1;
  toast(<ErrorInside error={error} what={what} />, "bad", 0);
  window.setTimeout(() => dismiss(id), 15000);
}

function ErrorInside({ error, what }: { error: unknown; what: string }) {
  const known = error instanceof ApiError ? error : null;
  return (
    <>
      <p>
        <strong>{what}</strong> {known?.message ?? String((error as Error)?.message ?? error)}
      </p>
      {known?.findings.slice(0, 5).map((one) => (
        <p key={one.path + one.message}>
          <code>{one.path}</code> {one.message}
        </p>
      ))}
      {known?.hint && <p class="hint">{known.hint}</p>}
    </>
  );
}

export function Toasts({ children }: { children?: ComponentChildren }) {
  return (
    <div class="toasts" aria-live="polite">
      {children}
      {toasts.value.map((one) => (
        <Notice key={one.id} tone={one.tone} onClose={() => dismiss(one.id)}>
          {one.content}
        </Notice>
      ))}
    </div>
  );
}

// ------------------------------------------------------------------ dialogs and menus
export function Dialog({ title, children, onClose, footer }: {
  title: string;
  children: ComponentChildren;
  onClose: () => void;
  footer?: ComponentChildren;
}) {
  const box = useRef<HTMLDialogElement>(null);
  // Not an effect: those run after the browser has painted, and until then keys would reach the page behind.
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    const element = box.current!;
    element.showModal();
    return () => {
      element.close(); // while it is open nothing else can have the focus
      before?.focus?.();
    };
  }, []);
  return (
    <dialog
      ref={box}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => event.target === box.current && onClose()}
    >
      <div class="top">
        <h2>{title}</h2>
        <button type="button" class="btn quiet icon" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </div>
      <div class="inner">{children}</div>
      {footer && <div class="row">{footer}</div>}
    </dialog>
  );
}

export interface MenuItem {
  label: string;
  run: () => void;
  danger?: boolean;
  disabled?: boolean;
}

export function Menu({ label, items, children, small }: {
  label: string;
  items: (MenuItem | "-")[];
  children?: ComponentChildren;
  small?: boolean;
}) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!open) return;
    box.current?.querySelector<HTMLElement>("[role=menuitem]:not(:disabled)")?.focus();
    const outside = (event: Event) => {
      if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    window.addEventListener("pointerdown", outside);
    return () => window.removeEventListener("pointerdown", outside);
  }, [open]);
  const move = (event: KeyboardEvent) => {
    if (!open) return;
    const all = [...(box.current?.querySelectorAll<HTMLElement>("[role=menuitem]:not(:disabled)") ?? [])];
    const at = all.indexOf(document.activeElement as HTMLElement);
    if (event.key === "Escape") {
      setOpen(false);
      box.current?.querySelector<HTMLElement>("button")?.focus();
    } else if (event.key === "ArrowDown") all[(at + 1) % all.length]?.focus();
    else if (event.key === "ArrowUp") all[(at - 1 + all.length) % all.length]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="menu" ref={box} onKeyDown={move}>
      <button type="button" class={`btn ${children ? "" : "quiet icon"} ${small ? "small" : ""}`} aria-label={children ? undefined : label}
        aria-haspopup="menu" aria-expanded={open} title={label} onClick={() => setOpen(!open)}>
        {children ?? <Icon name="more" />}
      </button>
      {open && (
        <div role="menu" aria-label={label}>
          {items.map((item, at) =>
            item === "-" ? (
              <div role="separator" key={at} />
            ) : (
              <button type="button" role="menuitem" key={item.label} disabled={item.disabled} class={item.danger ? "s-bad" : ""}
                onClick={() => {
                  setOpen(false);
                  item.run();
                }}>
                {item.label}
              </button>
            ),
          )}
        </div>
      )}
    </div>
  );
}

export function Tabs({ tabs, chosen, choose, label }: {
  tabs: { id: string; title: ComponentChildren }[];
  chosen: string;
  choose: (id: string) => void;
  label: string;
}) {
  const move = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const at = tabs.findIndex((one) => one.id === chosen);
    const next = tabs[(at + step + tabs.length) % tabs.length]!;
    choose(next.id);
    (event.currentTarget as HTMLElement).querySelector<HTMLElement>(`[data-tab="${next.id}"]`)?.focus();
    event.preventDefault();
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} onKeyDown={move}>
      {tabs.map((one) => (
        <button type="button" role="tab" key={one.id} data-tab={one.id} aria-selected={one.id === chosen}
          tabIndex={one.id === chosen ? 0 : -1} onClick={() => choose(one.id)}>
          {one.title}
        </button>
      ))}
    </div>
  );
}
