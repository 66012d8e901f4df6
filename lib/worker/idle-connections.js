'use strict';

// Kept connections without a request, in a worker that leaves. Node's `close` of an `http.Server` closes them at once, and a
// request that is on its way on one of them is lost. With `disconnect({ drain, idle })` each stays open until it has been quiet for
// `idle` milliseconds: the next request on it is answered, and the answer says that it was the last. So it is with connections on
// which nothing has come yet.
//
// A connection that rests (keep-alive.js) is the primary's from then on.

// Not the global ones: a program's tests put a clock of their own in their place.
const { clearTimeout, setImmediate, setTimeout } = require('node:timers');

const { acceptedSockets, handleOfConnection, quietSockets } = require('./http-connection');
const { isResting } = require('./kept-handle');

class IdleConnections {
  /** For how long a connection is to be quiet, in milliseconds. */
  #idle;
  /** Since when all connections count as quiet, by `performance.now()`. */
  #start = 0;
  /** When a connection was last answered on, if that was later. @type {WeakMap<object, number>} */
  #answeredAt = new WeakMap();
  /** Servers that had connections when they were closed. @type {Set<any>} */
  #servers = new Set();
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** When the timer fires. */
  #due = Number.POSITIVE_INFINITY;

  /** @param {number} idle in milliseconds, more than 0 */
  constructor(idle) {
    this.#idle = idle;
  }

  /** Node closes the servers of this process next, and leaves their connections open. */
  spare() {
    this.#start = performance.now();
    this.#servers = new Set(acceptedSockets().map(({ server }) => server));
    const servers = [...this.#servers].filter((server) => typeof server.closeIdleConnections === 'function');
    const restores = servers.map(shadowCloseIdle);
    process.nextTick(() => {
      for (const restore of restores) restore();
      for (const socket of this.#quiet()) if (isResting(handleOfConnection(socket))) socket.destroy();
      this.#arm(this.#start + this.#idle);
    });
  }

  /** @param {any} socket a response on it was finished, which may not have said that it was the last */
  answered(socket) {
    const now = performance.now();
    this.#answeredAt.set(socket, now);
    this.#arm(now + this.#idle);
  }

  /** @param {number} idle in milliseconds */
  shorten(idle) {
    if (idle >= this.#idle) return;
    this.#idle = idle;
    this.#arm(this.#start + idle);
  }

  /** @param {number} time by `performance.now()` */
  #arm(time) {
    if (time >= this.#due) return;
    this.#due = time;
    clearTimeout(this.#timer);
    // What has arrived by then is read before the connections are looked at.
    const look = () => setImmediate(() => this.#look());
    // What it is for keeps the process alive.
    this.#timer = setTimeout(look, Math.ceil(Math.max(time - performance.now(), 0))).unref();
  }

  #look() {
    this.#due = Number.POSITIVE_INFINITY;
    const now = performance.now();
    for (const socket of this.#quiet()) {
      const quietSince = this.#answeredAt.get(socket) ?? this.#start;
      if (quietSince + this.#idle <= now) socket.destroy();
      else this.#arm(quietSince + this.#idle);
    }
  }

  #quiet() {
    return quietSockets(this.#servers);
  }
}

/**
 * @param {any} server
 * @returns {() => void} what gives it its own `closeIdleConnections` back
 */
function shadowCloseIdle(server) {
  const own = Object.getOwnPropertyDescriptor(server, 'closeIdleConnections');
  server.closeIdleConnections = () => {};
  return () => {
    delete server.closeIdleConnections;
    if (own !== undefined) Object.defineProperty(server, 'closeIdleConnections', own);
  };
}

module.exports = { IdleConnections };
