/** Line icons of 16 by 16, drawn here so that nothing has to be loaded. */

const PATHS: Record<string, string> = {
  runs: "M5 3.5v9l7-4.5z",
  pipelines: "M8 2.5v3m0 0c0 3-4.5 1.5-4.5 5m4.5-5c0 3 4.5 1.5 4.5 5M3.5 13.5v-3m9 3v-3",
  clock: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zm0-9v3.2l2 1.3",
  artifacts: "M8 1.8l5.5 3v6.4L8 14.2l-5.5-3V4.8zm0 6.2l5.5-3.2M8 8v6.2M8 8L2.5 4.8",
  compare: "M4 13V6m4 7V3m4 10V8",
  mlflow: "M9.5 2.5h4v4m0-4L8 8M6.5 3.5h-4v10h10v-4",
  training: "M2.5 3.5h3v3h-3zm8 0h3v3h-3zm-8 6.5h3v3h-3zm8 0h3v3h-3zM5.5 5h5M4 6.5V10m8-3.5V10m-6.5 1.5h5",
  cluster: "M2.5 3h11v4h-11zm0 6h11v4h-11zM5 5h.01M5 11h.01M8 5h3M8 11h3",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zm3.6-1.4L14 14",
  copy: "M5.5 5.5v-3h8v8h-3m-8-5h8v8h-8z",
  check: "M3 8.5l3.2 3.2L13 5",
  close: "M3.5 3.5l9 9m0-9l-9 9",
  more: "M3 8h.01M8 8h.01M13 8h.01",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zm0-9.5v1.3m0 10.4v1.3M14.5 8h-1.3M2.8 8H1.5m11.1-4.6l-.9.9m-7.4 7.4l-.9.9m9.2 0l-.9-.9M4.3 4.3l-.9-.9",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5z",
  screen: "M2.5 3h11v7.5h-11zm3.5 10.5h4m-2-3v3",
  keys: "M1.5 4h13v8h-13zM4 6.7h.01M6.7 6.7h.01M9.3 6.7h.01M12 6.7h.01M5 9.5h6",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  fit: "M2.5 6V2.5H6m4 0h3.5V6m0 4v3.5H10m-4 0H2.5V10",
  target: "M8 12.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM8 1v3m0 8v3M1 8h3m8 0h3",
  open: "M4 6l4 4 4-4",
  closed: "M6 4l4 4-4 4",
  back: "M10 4L6 8l4 4",
  stop: "M4 4h8v8H4z",
  again: "M3 8a5 5 0 1 0 1.6-3.7M4.4 1.8v2.7h2.7",
  download: "M8 2v8m0 0L4.8 6.8M8 10l3.2-3.2M2.5 13.5h11",
  filter: "M2 3.5h12L9.5 8.8V13l-3-1.5V8.8z",
  graph: "M6 2.5h4v3H6zm-4 8h4v3H2zm8 0h4v3h-4zM8 5.5V8m0 0H4v2.5M8 8h4v2.5",
  timeline: "M2.5 4h6m-3 4h6m-3 4h5",
  table: "M2.5 3h11v10h-11zm0 3.3h11m-11 3.3h11M6.5 3v10",
  pause: "M5.5 3.5v9m5-9v9",
};

export function Icon({ name, size = 16 }: { name: string; size?: number }) {
  const dots = name === "more" || name === "keys";
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width={dots ? 1.6 : 1.4}
      stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}
