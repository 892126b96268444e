/** The frame around every page: where one can go, whether it is live, theme, shortcuts. */

import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { get, url } from "./base/api";
import type { Surroundings } from "./base/training";
import { Dialog, SkeletonRows, Toasts, Empty, ErrorNotice } from "./parts/basics";
import { Icon } from "./parts/icon";
import { Works } from "./parts/work";
import { helpOpen, shortcuts } from "./base/keys";
import { connection } from "./base/live";
import { place } from "./base/router";
import { theme, type Theme } from "./base/settings";
import { Runs } from "./pages/runs";
import icon from "./icon.svg?inline";

type Pages = typeof import("./pages/rest").PAGES;
type Name = keyof Pages;
/** The list of runs is in the first file; all other pages come together when one of them is opened. */
let rest: Pages | null = null;
const NAMES = new Set(["artifacts", "cluster", "compare", "pipeline", "pipelines", "recurringruns", "run", "training"]);

/** Which page an address means. KFP's own links have a "details" in them. */
function pageOf(path: string[]): { name: string; rest: string[] } {
  const [first = "runs", ...rest] = path;
  const inside = rest[0] === "details" ? rest.slice(1) : rest;
  switch (first) {
    case "runs":
      return inside.length ? { name: "run", rest: inside } : { name: "runs", rest: [] };
    case "pipelines":
      return inside.length ? { name: "pipeline", rest: inside } : { name: "pipelines", rest: [] };
    case "recurringruns":
    case "recurringrun":
    case "recurring":
      return { name: "recurringruns", rest: inside };
    case "experiments":
      return { name: "runs", rest: [] };
    case "training":
    case "trainingjobs":
      return { name: "training", rest: inside };
    case "artifacts":
    case "cluster":
    case "compare":
      return { name: first, rest: inside };
    default:
      return { name: "", rest: [] };
  }
}

function Lazy({ name, path }: { name: Name; path: string[] }) {
  const [, again] = useState(0);
  const [error, setError] = useState<unknown>(null);
  const Found = rest?.[name];
  useEffect(() => {
    if (rest) return;
    import("./pages/rest")
      .then((module) => {
        rest = module.PAGES;
        again((value) => value + 1);
      })
      .catch(setError);
  }, []);
  if (Found) return <Found path={path} />;
  if (error)
    return (
      <div class="page">
        <ErrorNotice error={error} what="This page could not be loaded. Load it anew:" />
      </div>
    );
  return <SkeletonRows />;
}

/** What there is besides runs; asked once, and again when a page is opened that may not be in the list. */
const surroundings = signal<Surroundings>({ cluster: "", training: false });
const look = () => void get<Surroundings>(url("surroundings")).then((found) => (surroundings.value = found)).catch(() => {});

const ITEMS = [
  { id: "runs", title: "Runs", icon: "runs", also: ["run"] },
  { id: "pipelines", title: "Pipelines", icon: "pipelines", also: ["pipeline"] },
  { id: "recurringruns", title: "Recurring runs", icon: "clock", also: [] },
  { id: "artifacts", title: "Artifacts", icon: "artifacts", also: [] },
  { id: "training", title: "Training jobs", icon: "training", also: [] },
  { id: "cluster", title: "Cluster", icon: "cluster", also: [] },
  { id: "compare", title: "Compare", icon: "compare", also: [] },
];

/** Training jobs and the cluster are in the list where there are such. */
const isThere = (id: string, current: string) =>
  id === current || (id === "training" ? surroundings.value.training : id === "cluster" ? surroundings.value.cluster !== "" : true);

const THEMES: Record<Theme, { next: Theme; icon: string; word: string }> = {
  system: { next: "light", icon: "screen", word: "as the system" },
  light: { next: "dark", icon: "sun", word: "light" },
  dark: { next: "system", icon: "moon", word: "dark" },
};

function Nav({ current }: { current: string }) {
  const now = THEMES[theme.value];
  const link = { live: ["", "Live"], lost: ["lost", "Reconnecting"], off: ["off", ""] }[connection.value];
  return (
    <nav class="nav" aria-label="Pages">
      <a class="brand" href="#/runs">
        <img src={icon} alt="" />
        <span>mlplatform</span>
      </a>
      {ITEMS.filter((one) => isThere(one.id, current)).map((one) => (
        <a class="item" key={one.id} href={`#/${one.id}`} title={one.title}
          aria-current={one.id === current || one.also.includes(current) ? "page" : undefined}>
          <Icon name={one.icon} />
          <span class="word">{one.title}</span>
        </a>
      ))}
      <a class="item" href="mlflow/" target="_blank" rel="noopener" title="MLflow">
        <Icon name="mlflow" />
        <span class="word">MLflow</span>
      </a>
      <div class="space" />
      <div class="foot">
        <span class="live" role="status">
          {link[1] && <span class={`dot ${link[0]}`} />}
          <span>{link[1]}</span>
        </span>
        <button type="button" class="btn quiet icon" title={`Theme: ${now.word}`} aria-label={`Theme: ${now.word}`}
          onClick={() => (theme.value = now.next)}>
          <Icon name={now.icon} />
        </button>
        <button type="button" class="btn quiet icon" title="Shortcuts (?)" aria-label="Shortcuts" onClick={() => (helpOpen.value = true)}>
          <Icon name="keys" />
        </button>
      </div>
    </nav>
  );
}

function Help() {
  const seen = new Set<string>();
  const all = shortcuts().filter((one) => !seen.has(one.keys) && seen.add(one.keys));
  return (
    <Dialog title="Shortcuts" onClose={() => (helpOpen.value = false)}>
      <dl class="kv">
        {all.map((one) => (
          <div class="pair" key={one.keys}>
            <dt>
              {one.keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{one.help}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

export function App() {
  const { name, rest: inside } = pageOf(place.value.path);
  useEffect(() => {
    const title = ITEMS.find((one) => one.id === name)?.title;
    if (title) document.title = `${title} · mlplatform`;
  }, [name]);
  useEffect(look, []);
  return (
    <div class="shell">
      <Nav current={name} />
      <main class="main" id="main">
        {name === "runs" ? (
          <Runs path={inside} />
        ) : NAMES.has(name) ? (
          <Lazy key={`${name}/${name === "run" || name === "pipeline" ? inside[0] : ""}`} name={name as Name} path={inside} />
        ) : (
          <Empty title="There is no such page">
            The address <code>{window.location.hash}</code> means nothing here. <a href="#/runs">All runs</a>
          </Empty>
        )}
      </main>
      <Toasts><Works /></Toasts>
      {helpOpen.value && <Help />}
    </div>
  );
}
