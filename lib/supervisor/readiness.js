'use strict';

// When a worker counts as ready: by its servers, a message, being online, an answer over HTTP, or what the program's own function says.

/**
 * @typedef {object} Watched
 * @property {any} worker just forked
 * @property {number} slot
 * @property {number} servers how many servers a worker before it had
 * @property {() => void} onReady
 * @property {(reason: string) => void} onFailed it never will be
 */

/**
 * @param {import('../..').Readiness} ready
 * @param {Watched} watched
 * @returns {{ cancel: () => void, missing: () => string }} `missing` says what is waited for
 */
function watchReadiness(ready, watched) {
  if (ready === 'listening') return watchServers(watched);
  if (ready === 'message') return watchMessage(watched);
  if (ready === 'online') return watchOnline(watched);
  if (typeof ready === 'function') return watchFunction(ready, watched);
  return watchUrl(/** @type {any} */ (ready), watched);
}

/** @param {Watched} watched */
function watchServers({ worker, servers, onReady }) {
  /** @type {Set<string>} */
  const listening = new Set();
  const wanted = Math.max(servers, 1);
  const onListening = (/** @type {any} */ { addressType, address, port, fd }) => {
    listening.add(`${addressType} ${address} ${port} ${fd}`);
    if (listening.size === wanted) onReady();
  };
  worker.on('listening', onListening);
  return {
    cancel: () => worker.removeListener('listening', onListening),
    missing: () => (servers > 1 ? `listens at ${listening.size} of ${servers} addresses` : 'does not listen'),
  };
}

/** @param {Watched} watched */
function watchMessage({ worker, onReady }) {
  const onMessage = (/** @type {unknown} */ message) => {
    if (message === 'ready') onReady();
  };
  worker.on('message', onMessage);
  return {
    cancel: () => worker.removeListener('message', onMessage),
    missing: () => "has not called process.send('ready')",
  };
}

/** @param {Watched} watched */
function watchOnline({ worker, onReady }) {
  worker.once('online', onReady);
  return { cancel: () => worker.removeListener('online', onReady), missing: () => 'does not run' };
}

/**
 * @param {(worker: any, slot: number) => unknown} ask
 * @param {Watched} watched
 */
function watchFunction(ask, { worker, slot, onReady, onFailed }) {
  let isOver = false;
  // What it throws counts as what it rejects with.
  new Promise((resolve) => resolve(ask(worker, slot))).then(
    (answer) => {
      if (isOver) return;
      if (answer === false) onFailed('is not ready, as options.ready says');
      else onReady();
    },
    (error) => {
      if (!isOver) onFailed(`is not ready: ${error instanceof Error ? error.message : error}`);
    },
  );
  return {
    cancel: () => {
      isOver = true;
    },
    missing: () => 'is not ready, as options.ready has not said so',
  };
}

/**
 * @param {{ url: string | ((worker: any, slot: number) => string), interval: number }} ready with what counts for options that are not given
 * @param {Watched} watched
 */
function watchUrl({ url, interval }, { worker, slot, onReady, onFailed }) {
  let last = 'has not been asked';
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  /** @type {import('node:http').ClientRequest | undefined} */
  let request;
  let isOver = false;
  const again = (/** @type {string} */ why) => {
    if (isOver) return;
    last = why;
    clearTimeout(timer);
    timer = setTimeout(look, interval);
  };
  const look = () => {
    let where;
    /** @type {import('node:http').ClientRequest} */
    let asked;
    try {
      where = new URL(typeof url === 'function' ? url(worker, slot) : url);
      const { get } = where.protocol === 'https:' ? require('node:https') : require('node:http');
      // A connection of its own each time, which goes to whoever listens there now.
      asked = get(where, { agent: false, timeout: Math.max(interval, 1000) });
    } catch (error) {
      onFailed(`has no URL to be asked at: ${/** @type {Error} */ (error).message}`);
      return;
    }
    // An answer may have no end.
    request?.destroy();
    request = asked;
    asked.on('response', (response) => {
      response.resume();
      const { statusCode = 0 } = response;
      if (isOver) return;
      if (statusCode >= 200 && statusCode < 400) onReady();
      else again(`answers ${statusCode} at ${where}`);
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    // Of the one before nothing is wanted any more.
    asked.on('error', ({ message }) => {
      if (asked === request) again(`does not answer at ${where}: ${message}`);
    });
  };
  // The function may not know the worker's port before.
  timer = setTimeout(look, 0);
  return {
    cancel: () => {
      isOver = true;
      clearTimeout(timer);
      request?.destroy();
    },
    missing: () => last,
  };
}

module.exports = { watchReadiness };
