// The container that JupyterLab loads (webpack's module federation, written by hand: nothing here needs a bundler).
// JupyterLab gives us its own modules through `init`, takes ours through `get`.
"use strict";
(() => {
  const here = new URL(".", document.currentScript.src);
  let shared = {};

  /** One of JupyterLab's own modules: the very one that it uses itself. */
  async function lab(name) {
    const versions = shared[name];
    if (!versions) throw new Error(`this JupyterLab does not share ${name}`);
    const offered = Object.values(versions);
    const entry = offered.find((one) => one.from === "@jupyterlab/application-top") || offered[0];
    return (await entry.get())();
  }

  const modules = {
    "./extension": async () => {
      const { plugin } = await import(new URL("plugin.js", here).href);
      return { __esModule: true, default: await plugin(lab) };
    },
    "./style": async () => {
      const link = document.createElement("link");
      link.rel = "stylesheet";
      link.href = new URL("style.css", here).href;
      document.head.append(link);
      return {};
    },
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.mlplatform = {
    init(scope) {
      shared = scope;
    },
    async get(name) {
      if (!modules[name]) throw new Error(`mlplatform has no module ${name}`);
      const found = await modules[name]();
      return () => found;
    },
  };
})();
