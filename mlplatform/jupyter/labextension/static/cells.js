// Tasks on the cells of a notebook: a bar in the task's colour, its name and state on its first cell.

import { glyph, hue } from "./words.js";

/** `tasks`: of the plan; `states`: task -> state of the run on show. */
export function colour(notebook, tasks, states) {
  const wanted = new Map();
  tasks.forEach((task, number) => {
    task.cells.forEach((cell, place) => wanted.set(cell, { task, number, first: place === 0 }));
  });
  notebook.widgets.forEach((cell, index) => {
    const found = wanted.get(index);
    const data = cell.node.dataset;
    if (!found) {
      delete data.mlpTask;
      delete data.mlpLabel;
      delete data.mlpState;
      return;
    }
    const state = states.get(found.task.name) || "";
    data.mlpTask = found.task.name;
    data.mlpState = state;
    cell.node.style.setProperty("--mlp-hue", hue(found.number));
    if (found.first) data.mlpLabel = state ? `${glyph(state)} ${found.task.name}` : found.task.name;
    else delete data.mlpLabel;
  });
}

export function clear(notebook) {
  colour(notebook, [], new Map());
}
