// The panel's content. It is drawn anew from what is known; only the parameters' fields are kept.

import { clear, colour } from "./cells.js";
import { graph } from "./graph.js";
import { duration, ended, glyph, h, when } from "./words.js";

const TYPING = 700;

/** What did not change stays: a button that is replaced between press and release is never clicked, and loses the focus.
 * What a listener needs must therefore be seen in its element, or be looked up when it is called. */
function show(part, ...content) {
  const fresh = document.createElement("div");
  fresh.append(...content.filter(Boolean));
  if (fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
}

export class Panel {
  constructor(node, api, actions) {
    this.api = api;
    this.actions = actions;
    this.notebook = null;
    node.classList.add("mlp-panel");
    this.parts = {};
    for (const name of ["head", "message", "parameters", "plan", "runs", "run"]) {
      this.parts[name] = h("section", { class: `mlp-${name}` });
      node.append(this.parts[name]);
    }
    this.forget();
    this.draw();
    setInterval(() => this.run_ && !ended(this.run_) && this.drawRun(), 1000);
  }

  forget() {
    this.stop?.abort();
    this.plan = this.run_ = null;
    this.runs = [];
    this.chosen = this.message = "";
    this.parts.parameters.replaceChildren();
  }

  // ---------------------------------------------------------------- the notebook in front
  follow(notebook) {
    if (notebook === this.notebook) return;
    if (this.notebook && !this.notebook.isDisposed) {
      this.notebook.context.model.contentChanged.disconnect(this.edited, this);
      clear(this.notebook.content);
    }
    this.notebook = notebook;
    this.forget();
    this.draw();
    if (!notebook) return;
    notebook.context.ready.then(() => {
      if (this.notebook !== notebook) return;
      notebook.context.model.contentChanged.connect(this.edited, this);
      this.replan();
      this.listen();
    });
  }

  edited() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.replan(), TYPING);
  }

  get path() {
    return this.notebook.context.path;
  }

  async replan() {
    const notebook = this.notebook;
    if (!notebook || notebook.isDisposed) return;
    try {
      const plan = await this.api.plan(this.path, notebook.context.model.toJSON());
      if (this.notebook !== notebook) return;
      this.plan = plan;
      this.planError = null;
    } catch (error) {
      this.planError = error;
    }
    this.drawParameters();
    this.draw();
  }

  listen() {
    this.stop?.abort();
    this.stop = new AbortController();
    const notebook = this.notebook;
    this.api.watch(this.path, this.chosen, this.stop.signal, (news) => {
      if (this.notebook !== notebook) return;
      if (news.message !== undefined) this.message = news.message;
      if (news.runs) {
        this.runs = news.runs;
        this.run_ = news.run;
        this.message = "";
      }
      this.draw();
    });
  }

  choose(id) {
    this.chosen = id;
    this.listen();
  }

  // ---------------------------------------------------------------- what the buttons do
  async act(work) {
    this.busy = true;
    this.message = "";
    this.draw();
    try {
      await work();
    } catch (error) {
      this.message = error.message;
    }
    this.busy = false;
    this.draw();
  }

  run() {
    return this.act(async () => {
      await this.notebook.context.save();
      const kernel = this.notebook.sessionContext.session?.kernel?.name || "";
      const { run_id } = await this.api.start(this.path, this.given(), kernel);
      this.choose(run_id);
    });
  }

  resume() {
    return this.act(async () => {
      await this.notebook.context.save();
      const run = this.run_;
      const { told } = await this.api.change(run.run_id, "resume");
      this.choose(run.run_id);
      this.message = told;
    });
  }

  cancel() {
    return this.act(() => this.api.change(this.run_.run_id, "cancel"));
  }

  open() {
    const place = this.run_ ? `runs/${this.run_.run_id}` : "runs";
    window.open(`${this.api.url("ui/")}#/${place}`, "_blank", "noopener");
  }

  goTo(index) {
    const content = this.notebook.content;
    content.activeCellIndex = index;
    content.scrollToItem(index, "center");
  }

  /** A cell that puts a failed task's inputs and code into the kernel, for the user to run. No run executes it. */
  async replay(task) {
    const notebook = this.notebook;
    const content = notebook.content;
    const words = `import mlplatform as ml\nml.run("${this.run_.run_id}").task("${task.name}").replay()`;
    const there = content.widgets.findIndex((cell) => cell.model.sharedModel.getSource() === words);
    if (there >= 0) {
      this.goTo(there);
    } else {
      this.actions.insertBelow(content);
      content.activeCell.model.sharedModel.setSource(words);
      content.activeCell.model.setMetadata("tags", ["skip"]);
    }
    // Ready to be run. A notebook that is activated without the focus in it leaves edit mode again a moment later.
    await content.scrollToItem(content.activeCellIndex);
    await content.activeCell.ready;
    if (notebook.isDisposed) return;
    content.activeCell.editor.focus();
    notebook.activate();
  }

  given() {
    const found = {};
    for (const field of this.parts.parameters.querySelectorAll("input")) {
      if (field.value !== "") found[field.name] = field.value;
    }
    return found;
  }

  // ---------------------------------------------------------------- drawing
  draw() {
    this.drawHead();
    show(this.parts.message, this.message && h("div", { class: "mlp-note", role: "status" }, this.message));
    this.drawPlan();
    this.drawRuns();
    this.drawRun();
  }

  states() {
    return new Map((this.run_?.tasks || []).map((task) => [task.name, task.state]));
  }

  drawHead() {
    if (!this.notebook) {
      show(this.parts.head, h("p", { class: "mlp-dim" }, "Open a notebook to see the pipeline that it is."));
      return;
    }
    const run = this.run_;
    const button = (label, does, enabled, first = false) =>
      h("button", { onclick: does, disabled: this.busy || !enabled, class: first && "mlp-first", "data-action": label.toLowerCase() }, label);
    show(
      this.parts.head,
      h("div", { class: "mlp-title" }, this.path.split("/").pop()),
      h(
        "div",
        { class: "mlp-buttons" },
        button("Run", () => this.run(), this.plan && !this.planError, true),
        button("Resume", () => this.resume(), run && ["FAILED", "CANCELLED"].includes(run.state)),
        button("Cancel", () => this.cancel(), run && !ended(run)),
        button("Open", () => this.open(), true),
      ),
    );
  }

  drawParameters() {
    const wanted = (this.plan?.parameters || []).map((one) => one.name).join();
    if (this.parts.parameters.dataset.names === wanted && this.parts.parameters.childElementCount) return;
    const kept = this.given();
    this.parts.parameters.dataset.names = wanted;
    const fields = (this.plan?.parameters || []).map((one) =>
      h(
        "label",
        {},
        one.name,
        h("input", { name: one.name, value: kept[one.name] || "", placeholder: JSON.stringify(one.default) ?? "" }),
      ),
    );
    this.parts.parameters.replaceChildren(...(fields.length ? [h("h3", {}, "Parameters"), ...fields] : []));
  }

  drawPlan() {
    if (!this.notebook || this.notebook.isDisposed) return this.parts.plan.replaceChildren();
    if (this.planError) {
      const { message, hint } = this.planError;
      show(this.parts.plan, h("h3", {}, "Pipeline"), h("div", { class: "mlp-error" }, message, hint && !message.includes(hint) ? `\n${hint}` : ""));
      return;
    }
    if (!this.plan) return show(this.parts.plan, h("p", { class: "mlp-dim" }, "…"));
    const states = this.states();
    colour(this.notebook.content, this.plan.tasks, states);
    const count = this.plan.tasks.length;
    show(
      this.parts.plan,
      h("h3", {}, "Pipeline"),
      h("div", { class: "mlp-dim" }, `${count} ${count === 1 ? "task" : "tasks"} by ${this.plan.split_by}`),
      count ? graph(this.plan, states, (task) => this.goTo(task.cells[0])) : null,
      ...this.plan.notes.map((note) => h("div", { class: "mlp-note" }, note)),
    );
  }

  drawRuns() {
    if (!this.notebook) return this.parts.runs.replaceChildren();
    const rows = this.runs.map((run) =>
      h(
        "li",
        {
          class: "mlp-run",
          role: "option",
          tabindex: "0",
          "data-state": run.state,
          "data-run": run.run_id,
          "aria-selected": String(run.run_id === this.run_?.run_id),
          onclick: () => this.choose(run.run_id),
          onkeydown: (event) => event.key === "Enter" && this.choose(run.run_id),
        },
        h("span", { class: "mlp-sign", "aria-label": run.state.toLowerCase() }, glyph(run.state)),
        h("span", {}, run.name || run.run_id),
        h("span", { class: "mlp-dim" }, when(run.created_at)),
      ),
    );
    show(
      this.parts.runs,
      h("h3", {}, "Runs"),
      rows.length ? h("ul", { role: "listbox", "aria-label": "Runs of this notebook" }, rows) : h("p", { class: "mlp-dim" }, "None yet."),
    );
  }

  drawRun() {
    const run = this.run_;
    if (!run) return this.parts.run.replaceChildren();
    const failed = run.tasks.filter((task) => task.state === "FAILED");
    const list = this.parts.run.querySelector("pre");
    const scroll = list ? list.scrollTop : null;
    show(
      this.parts.run,
      h("h3", {}, `${run.state.toLowerCase()} ${duration(run.started_at, run.finished_at)}`),
      ...failed.map((task) => this.failure(task)),
      run.error && !failed.length ? h("div", { class: "mlp-error" }, run.error.message) : null,
      h("ul", {}, run.tasks.map((task, at) => this.row(task, run.tasks[at - 1]))),
      run.mlflow_url ? h("a", { href: run.mlflow_url, target: "_blank", rel: "noopener" }, "MLflow") : null,
    );
    const pre = this.parts.run.querySelector("pre");
    if (pre) pre.scrollTop = scroll ?? pre.scrollHeight;
  }

  failure(task) {
    const { message, traceback, hint } = task.error || {};
    return h(
      "div",
      { class: "mlp-error", "data-task": task.name },
      h("strong", {}, task.name),
      ` ${message || "failed"}`,
      traceback ? h("pre", {}, traceback.trimEnd()) : null,
      hint ? h("div", { class: "mlp-dim" }, hint) : null,
      h(
        "div",
        { class: "mlp-buttons" },
        task.cells.length ? h("button", { onclick: () => this.goTo(task.cells[0]), "data-cell": task.cells[0] }, "Go to cell") : null,
        // A notebook's own task is replayed by running its cells; a component's is put into the kernel.
        task.cells.length ? null : h("button", { onclick: () => this.replay(task) }, "Replay in a cell"),
      ),
    );
  }

  /** What is true of the task above as well is not said again. */
  row(task, above) {
    const time = ["RUNNING", "SUCCEEDED", "FAILED"].includes(task.state) ? duration(task.started_at, task.finished_at) : "";
    return h(
      "li",
      { "data-state": task.state, "data-task": task.name, title: task.why },
      h("span", { class: "mlp-sign", "aria-label": task.state.toLowerCase() }, glyph(task.state)),
      h("span", {}, task.name),
      h("span", { class: "mlp-dim" }, time),
      task.why && task.why !== above?.why ? h("span", { class: "mlp-why" }, task.why) : null,
    );
  }
}
