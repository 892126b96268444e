// What the server extension answers (mlplatform/jupyter/handlers.py), with Jupyter's token and XSRF cookie.

const ABSENT =
  "This Jupyter server has not loaded mlplatform's extension. `jupyter server extension list` says why; " +
  "it must be installed in the environment that JupyterLab runs in.";

export class Refused extends Error {
  constructor(error, message) {
    super(message || error?.message || "the server did not answer as expected");
    this.findings = error?.findings || [];
    this.hint = error?.hint || "";
  }
}

export class Api {
  constructor(services, settings) {
    this.services = services;
    this.settings = settings;
  }

  url(path) {
    return `${this.settings.baseUrl}mlplatform/${path}`;
  }

  async request(path, body, signal) {
    const init = body === undefined ? { method: "GET", signal } : { method: "POST", body: JSON.stringify(body), signal };
    return this.services.ServerConnection.makeRequest(this.url(`api/${path}`), init, this.settings);
  }

  async json(path, body) {
    const answer = await this.request(path, body);
    let told = {};
    try {
      told = await answer.json();
    } catch {
      told = { message: answer.status === 404 ? ABSENT : `${answer.status} ${answer.statusText}` };
    }
    if (!answer.ok) throw new Refused(told.error, told.message);
    return told;
  }

  plan(path, document) {
    return this.json("plan", { path, document });
  }

  start(path, parameters, kernel) {
    return this.json("runs", { path, parameters, kernel });
  }

  change(run, what) {
    return this.json(`runs/${run}/${what}`, {});
  }

  /** Calls `told` with every line the server sends, until `signal`; comes back after a pause when it was cut off. */
  async watch(path, run, signal, told) {
    const query = new URLSearchParams({ path, run });
    while (!signal.aborted) {
      try {
        const answer = await this.request(`watch?${query}`, undefined, signal);
        if (answer.status === 404) throw new Error(ABSENT);
        if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          const lines = (rest + value).split("\n");
          rest = lines.pop();
          for (const line of lines) if (line) told(JSON.parse(line));
        }
      } catch (error) {
        if (signal.aborted) return;
        told({ message: `no news from the server: ${error.message}` });
      }
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}
