// The graph of the plan: placed by the server (mlplatform/planning/layout.py), drawn here.

import { glyph, h, hue } from "./words.js";

const SHOWN = 17;

export function graph(plan, states, open) {
  const { width, height, nodes, edges } = plan.layout;
  const picture = h("svg", {
    viewBox: `-2 -2 ${width + 4} ${height + 4}`,
    width: width + 4,
    class: "mlp-graph",
    role: "img",
    "aria-label": `${plan.tasks.length} tasks: ${plan.tasks.map((task) => task.name).join(", ")}`,
  });
  for (const [, , points] of edges) picture.append(h("path", { class: "mlp-edge", d: curve(points) }));
  plan.tasks.forEach((task, number) => {
    const [x, y, w, t] = nodes[task.name];
    const state = states.get(task.name) || "";
    const label = task.name.length > SHOWN ? `${task.name.slice(0, SHOWN - 1)}…` : task.name;
    const node = h(
      "g",
      {
        class: "mlp-node",
        transform: `translate(${x} ${y})`,
        tabindex: "0",
        role: "button",
        "data-task": task.name,
        "data-state": state,
        onclick: () => open(task),
        onkeydown: (event) => event.key === "Enter" && open(task),
      },
      h("title", {}, about(task, state)),
      h("rect", { width: w, height: t, rx: 5 }),
      h("rect", { class: "mlp-bar", width: 5, height: t, rx: 2, fill: hue(number) }),
      h("text", { x: 13, y: t / 2 + 4 }, label),
      state && h("text", { class: "mlp-glyph", x: w - 18, y: t / 2 + 4 }, glyph(state)),
    );
    picture.append(node);
  });
  return picture;
}

function about(task, state) {
  const lines = [state ? `${task.name}: ${state.toLowerCase()}` : task.name, `cells ${task.cells.map((c) => c + 1).join(", ")}`];
  if (task.whole) lines.push(`may use any variable: ${task.whole}`);
  else if (task.uses.length) lines.push(`uses ${task.uses.join(", ")}`);
  if (task.makes.length) lines.push(`makes ${task.makes.join(", ")}`);
  return lines.join("\n");
}

function curve(points) {
  const found = [`M ${points[0]} ${points[1]}`];
  for (let at = 2; at < points.length; at += 2) {
    const [x0, y0, x1, y1] = points.slice(at - 2, at + 2);
    const half = (y0 + y1) / 2;
    found.push(x0 === x1 ? `L ${x1} ${y1}` : `C ${x0} ${half} ${x1} ${half} ${x1} ${y1}`);
  }
  return found.join(" ");
}
