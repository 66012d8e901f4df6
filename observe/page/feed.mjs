// The events of the cluster, followed for ever. `fetch` and not EventSource, which cannot name a token.

/** After how long without an event the connection counts as lost, in milliseconds: there is one each second. */
const SILENCE = 3500;
/** How long until the next attempt, in milliseconds. */
const PAUSE = 1000;

/** @type {string | undefined} */
let token = sessionStorage.getItem('token') ?? undefined;

/** @param {string} given */
export function setToken(given) {
  token = given;
  sessionStorage.setItem('token', given);
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 */
export function ask(path, signal) {
  const headers = token === undefined ? undefined : { authorization: `Bearer ${token}` };
  return fetch(path, { headers, signal });
}

/**
 * @param {object} to
 * @param {(name: string, data: any) => void} to.onEvent
 * @param {() => void} to.onOpen
 * @param {() => void} to.onLost
 * @param {() => Promise<void>} to.onRefused resolves when there is a token
 */
export async function follow({ onEvent, onOpen, onLost, onRefused }) {
  for (;;) {
    const abort = new AbortController();
    let timer = setTimeout(() => abort.abort(), SILENCE);
    try {
      const response = await ask('/events', abort.signal);
      if (response.status === 401) {
        clearTimeout(timer);
        await onRefused();
        continue;
      }
      if (!response.ok || response.body === null) throw new Error(`${response.status}`);
      onOpen();
      await read(response.body, (name, data) => {
        clearTimeout(timer);
        timer = setTimeout(() => abort.abort(), SILENCE);
        onEvent(name, data);
      });
    } catch {
      // Whatever it was, the next attempt shows whether it is over.
    }
    clearTimeout(timer);
    onLost();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

/**
 * @param {ReadableStream<Uint8Array>} body
 * @param {(name: string, data: any) => void} onEvent
 */
async function read(body, onEvent) {
  const decoder = /** @type {ReadableWritablePair<string, any>} */ (new TextDecoderStream());
  const reader = body.pipeThrough(decoder).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const whole = (text + value).split('\n\n');
    text = /** @type {string} */ (whole.pop());
    for (const event of whole) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event) ?? [];
      if (name !== undefined) onEvent(name, JSON.parse(data));
    }
  }
}
