'use strict';

// Clients of the programs' servers. A server answers with one line and closes; a client that sees anything else has
// failed.

const { fork } = require('node:child_process');
const net = require('node:net');

/**
 * @typedef {object} Answer
 * @property {string} [answer] the server's line, when it came whole
 * @property {string} [error] what happened otherwise
 * @property {number} [port] the client's own
 */

/** @param {any} where a port on 127.0.0.1, a path, or what net.connect takes */
function connect(where) {
  return net.connect(typeof where === 'number' ? { port: where, host: '127.0.0.1' } : where);
}

/**
 * @param {any} where
 * @param {{ text?: string, onConnect?: () => void }} [options] what to send
 * @returns {Promise<Answer>}
 */
function ask(where, { text, onConnect } = {}) {
  return new Promise((resolve) => {
    const socket = connect(where).setEncoding('latin1');
    /** @type {number | undefined} */
    let port;
    let received = '';
    let error = 'closed without a full answer';
    socket.on('connect', () => {
      port = socket.localPort;
      onConnect?.();
      if (text !== undefined) socket.write(text);
    });
    socket.on('data', (part) => {
      received += part;
    });
    socket.on('error', (/** @type {NodeJS.ErrnoException} */ failure) => {
      error = failure.code ?? failure.message;
    });
    socket.on('close', () => {
      if (received.endsWith('\n')) resolve({ answer: received.slice(0, -1), port });
      else resolve({ error, port });
    });
  });
}

/**
 * One client after the other until each of two workers has answered. As a rule these are two, but a worker that is late,
 * as its first connection may make it on a busy machine, loses its turn.
 *
 * @param {any} where
 * @returns {Promise<string[]>} who answered, sorted
 */
async function askBoth(where) {
  const answered = new Set();
  while (answered.size < 2) answered.add((await ask(where)).answer);
  return [...answered].sort();
}

/**
 * Clients in a process of their own, for programs whose primary is busy, or watched.
 */
class Clients {
  #child = fork(require.resolve('./client-process.js'));
  #serial = 0;
  /** @type {Map<number, { connected: () => void, done: (answers: any) => void }>} */
  #waiting = new Map();

  constructor() {
    this.#child.on('message', (/** @type {any} */ { id, connected, answers }) => {
      if (connected) this.#waiting.get(id)?.connected();
      if (answers) this.#waiting.get(id)?.done(answers);
    });
  }

  get pid() {
    return /** @type {number} */ (this.#child.pid);
  }

  /**
   * So many clients at once.
   *
   * @param {any} where
   * @param {number} count
   * @returns {{ connected: Promise<void>, answers: Promise<Answer[]> }} when all are connected, and what they got
   */
  ask(where, count) {
    return this.#order({ where, count });
  }

  /**
   * Clients one after the other in so many lines, until `stop`.
   *
   * @param {any} where
   * @param {number} lines
   * @returns {{ answers: Promise<Answer[]> }} of all
   */
  load(where, lines) {
    return this.#order({ where, lines });
  }

  /** Lets the clients of `load` finish. */
  stop() {
    this.#child.send({ stop: true });
  }

  end() {
    this.#child.disconnect();
  }

  /** @param {object} order */
  #order(order) {
    const id = ++this.#serial;
    /** @type {() => void} */
    let connected = () => {};
    /** @type {(answers: Answer[]) => void} */
    let done = () => {};
    const result = {
      connected: new Promise((/** @type {(_: void) => void} */ resolve) => {
        connected = resolve;
      }),
      answers: /** @type {Promise<Answer[]>} */ (
        new Promise((resolve) => {
          done = resolve;
        })
      ),
    };
    this.#waiting.set(id, { connected, done });
    this.#child.send({ id, ...order });
    return result;
  }
}

module.exports = { Clients, ask, askBoth, connect };
