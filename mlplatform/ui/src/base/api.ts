/** The one way to the server: JSON in and out, errors as one class with what to do next. */

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint = "",
    readonly findings: { path: string; message: string }[] = [],
  ) {
    super(message);
  }
}

/** Beside the page, whatever the path prefix. */
export function url(path: string, query?: Record<string, string | string[] | number | boolean | null | undefined>): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (Array.isArray(value)) for (const item of value) found.append(name, item);
    else if (value !== null && value !== undefined && value !== "") found.set(name, String(value));
  }
  const text = found.toString();
  return `api/v1/${path}${text ? `?${text}` : ""}`;
}

export const part = encodeURIComponent;

async function failure(answer: Response): Promise<ApiError> {
  let body: any = null;
  try {
    body = await answer.json();
  } catch {
    // not ours: a proxy's page
  }
  const error = body?.error ?? body ?? {};
  if (answer.status === 401) {
    return new ApiError(
      401,
      error.code ?? "UNAUTHENTICATED",
      error.message ?? "This browser is not signed in to the server.",
      error.hint || "Open the address that mlplatform up printed; it holds the token once.",
    );
  }
  return new ApiError(
    answer.status,
    error.code ?? `HTTP_${answer.status}`,
    error.message ?? `The server answered ${answer.status} ${answer.statusText}.`,
    error.hint ?? "",
    error.findings ?? [],
  );
}

function unreachable(): ApiError {
  return new ApiError(
    0,
    "UNREACHABLE",
    "The server does not answer.",
    "It may be restarting; this page tries again by itself. To start it: mlplatform up",
  );
}

export async function request<T>(method: string, address: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  let sent: BodyInit | undefined;
  if (body instanceof FormData) sent = body;
  else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    sent = JSON.stringify(body);
  }
  let answer: Response;
  try {
    answer = await fetch(address, { method, headers, body: sent, signal, credentials: "same-origin" });
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw unreachable();
  }
  if (!answer.ok) throw await failure(answer);
  if (answer.status === 204) return undefined as T;
  return (await answer.json()) as T;
}

/** Send a file, telling how much of it is gone (0 to 1); `fetch` cannot. */
export function upload<T>(address: string, form: FormData, share: (share: number) => void, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    const stopped = () => sending.abort();
    sending.open("POST", address);
    sending.setRequestHeader("Accept", "application/json");
    sending.upload.onprogress = (event) => event.lengthComputable && share(event.loaded / event.total);
    sending.onload = () => {
      if (sending.status < 300) resolve(JSON.parse(sending.responseText) as T);
      else void failure(new Response(sending.responseText, { status: sending.status, statusText: sending.statusText })).then(reject);
    };
    sending.onerror = () => reject(unreachable());
    sending.onabort = () => reject(new DOMException("stopped", "AbortError"));
    sending.onloadend = () => signal.removeEventListener("abort", stopped);
    signal.addEventListener("abort", stopped);
    if (signal.aborted) stopped();
    else sending.send(form);
  });
}

export const get = <T>(address: string, signal?: AbortSignal) => request<T>("GET", address, undefined, signal);
export const post = <T>(address: string, body: unknown = {}) => request<T>("POST", address, body);
export const patch = <T>(address: string, body: unknown) => request<T>("PATCH", address, body);
export const remove = <T>(address: string) => request<T>("DELETE", address);
