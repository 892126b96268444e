// The plugin: one panel on the right that follows the notebook in front, commands, and saving when the kernel asks.

import { Api } from "./api.js";
import { Panel } from "./panel.js";

const TARGET = "mlplatform.save";

export async function plugin(lab) {
  const [notebooks, services, widgets, apputils] = await Promise.all(
    ["@jupyterlab/notebook", "@jupyterlab/services", "@lumino/widgets", "@jupyterlab/apputils"].map(lab),
  );
  return {
    id: "mlplatform:panel",
    description: "Runs of the open notebook, and the pipeline it compiles to",
    autoStart: true,
    requires: [notebooks.INotebookTracker],
    optional: [apputils.ICommandPalette],
    activate(app, tracker, palette) {
      const api = new Api(services, app.serviceManager.serverSettings);
      const widget = new widgets.Widget();
      widget.id = "mlplatform-panel";
      widget.title.caption = "Pipeline runs of this notebook";
      widget.title.label = "Pipeline";
      const panel = new Panel(widget.node, api, notebooks.NotebookActions);
      app.shell.add(widget, "right", { rank: 450 });

      const follow = () => panel.follow(tracker.currentWidget);
      tracker.currentChanged.connect(follow);
      app.restored.then(follow);
      tracker.widgetAdded.connect((_, notebook) => answerSaves(notebook));

      const commands = [
        ["mlplatform:run", "Run this notebook as a pipeline", () => panel.run()],
        ["mlplatform:resume", "Resume this notebook's newest run", () => panel.resume()],
        ["mlplatform:show", "Show this notebook's pipeline", () => app.shell.activateById(widget.id)],
      ];
      for (const [id, label, execute] of commands) {
        app.commands.addCommand(id, { label, execute, isEnabled: () => Boolean(tracker.currentWidget) });
        palette?.addItem({ command: id, category: "Pipelines" });
      }
    },
  };
}

/** `%mlplatform run` asks for a save before it compares what it ran with the file. */
function answerSaves(notebook) {
  const register = () => {
    notebook.sessionContext.session?.kernel?.registerCommTarget(TARGET, () => void notebook.context.save());
  };
  notebook.sessionContext.kernelChanged.connect(register);
  notebook.sessionContext.ready.then(register);
}
