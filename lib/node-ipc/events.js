'use strict';

// The events of a client or a server, by the names and the rules of the package event-pubsub, which node-ipc hands
// through to the program.

const errors = require('../errors');

/** A listener for this gets every event: its type first, then its arguments. */
const ALL = '*';

/** @typedef {(...args: any[]) => void} Handler */

/** @param {unknown} type numbers are types, too */
function keyOf(type) {
  return typeof type === 'symbol' ? type : String(type);
}

class Events {
  /**
   * A Map, because types come from other processes: `__proto__` is one like any other. Its arrays are replaced and
   * never changed, so that a handler may add and remove handlers.
   *
   * @type {Map<string | symbol, readonly { handler: Handler, once: boolean }[]>}
   */
  #handlers = new Map();

  /**
   * @param {unknown} type
   * @param {Handler} handler
   * @param {boolean} [once]
   */
  on(type, handler, once = false) {
    if (typeof handler !== 'function') throw errors.invalidArgType('handler', 'of type function', handler);
    const key = keyOf(type);
    this.#handlers.set(key, [...(this.#handlers.get(key) ?? []), { handler, once: Boolean(once) }]);
    return this;
  }

  /**
   * @param {unknown} type
   * @param {Handler} handler
   */
  once(type, handler) {
    return this.on(type, handler, true);
  }

  /**
   * @param {unknown} type
   * @param {Handler | '*'} handler '*' for all of this type
   */
  off(type, handler) {
    const key = keyOf(type);
    const handlers = this.#handlers.get(key);
    if (handlers === undefined) return this;
    if (handler !== ALL && typeof handler !== 'function') {
      throw errors.invalidArgType('handler', "of type function or '*'", handler);
    }
    const rest = handler === ALL ? [] : handlers.filter((entry) => entry.handler !== handler);
    if (rest.length > 0) this.#handlers.set(key, rest);
    else this.#handlers.delete(key);
    return this;
  }

  /**
   * Calls the handlers in this process. Unlike an EventEmitter's, an 'error' that nobody listens for is nothing.
   *
   * @param {unknown} type
   * @param {...any} args
   */
  publish(type, ...args) {
    const key = keyOf(type);
    for (const entry of this.#handlers.get(key) ?? []) this.#call(key, entry, args);
    for (const entry of this.#handlers.get(ALL) ?? []) this.#call(ALL, entry, [type, ...args]);
    return this;
  }

  /**
   * @param {unknown} type
   * @param {...any} args
   */
  trigger(type, ...args) {
    return this.publish(type, ...args);
  }

  /**
   * @param {unknown} type
   * @param {Handler} handler
   * @param {boolean} [once]
   */
  subscribe(type, handler, once) {
    return this.on(type, handler, once);
  }

  /**
   * @param {unknown} type
   * @param {Handler | '*'} handler
   */
  unSubscribe(type, handler) {
    return this.off(type, handler);
  }

  /**
   * @param {string | symbol} key
   * @param {{ handler: Handler, once: boolean }} entry
   * @param {any[]} args
   */
  #call(key, entry, args) {
    if (entry.once) this.#remove(key, entry);
    entry.handler.apply(this, args);
  }

  /**
   * @param {string | symbol} key
   * @param {object} entry
   */
  #remove(key, entry) {
    const rest = this.#handlers.get(key)?.filter((each) => each !== entry) ?? [];
    if (rest.length > 0) this.#handlers.set(key, rest);
    else this.#handlers.delete(key);
  }
}

module.exports = { Events };
