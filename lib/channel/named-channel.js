'use strict';

// `cluster.channel(name)`: messages and requests of one library or one part of a program, which nobody hears who uses another name. They
// travel as those without a name do, with the same bounds.

const EventEmitter = require('node:events');

const errors = require('../errors');
const { checkMessage } = require('../util/check-message');
const { CHANNEL } = require('../protocol');
const { MAX_CHANNELS, MAX_NAME, isName, open } = require('./names');
const { checkRequest, originOf } = require('./requests');
const { sendToAll } = require('../util/send-to-all');
const { requestsOf } = require('./worker-requests');

/** @typedef {import('./requests').RequestOptions} RequestOptions */
/**
 * Another process of the cluster.
 * @typedef {object} Other
 * @property {number} id of a worker; 0 for the primary
 * @property {any} target what has `send`
 * @property {any} self what the program knows it as
 */
/**
 * @typedef {object} Others
 * @property {(to: any) => Other | Error} find throws for what can be none, and gives an error for one that there is not
 * @property {(name: string, callback: (error: Error | null, others: Other[]) => void) => void} all calls back with those who may have a
 *   channel of this name
 * @property {(name: string, isOpen: boolean) => void} tell says that this process has a channel of this name, or has it no more
 */

/** How long `gather` waits for answers, in milliseconds. */
const GATHER_TIMEOUT = 5_000;

/** By these a request fails whose worker goes meanwhile, or has gone. */
const GONE = ['ERR_CORRAL_NO_REPLY', 'ERR_CORRAL_NO_SUCH_WORKER', 'ERR_IPC_CHANNEL_CLOSED', 'EPIPE'];

class NamedChannel extends EventEmitter {
  /** @readonly */
  name;
  #others;
  /** @type {(() => void) | undefined} */
  #onClose;
  /** @type {((message: any, from: any) => any) | undefined} */
  #responder;

  /**
   * @param {string} name
   * @param {Others} others
   * @param {() => void} onClose
   */
  constructor(name, others, onClose) {
    super();
    this.#others = others;
    this.#onClose = onClose;
    this.name = name;
  }

  /** Who answers the requests of others. */
  get responder() {
    return this.#responder;
  }

  /**
   * @param {any} to
   * @param {any} message
   * @param {(error: Error | null) => void} [callback]
   * @returns {boolean} false when the other side is behind
   */
  send(to, message, callback) {
    this.#check(message);
    const other = this.#others.find(to);
    if (other instanceof Error) {
      process.nextTick(() => (callback ? callback(other) : this.#report(other)));
      return false;
    }
    return other.target.send(this.#wrap(message), (/** @type {Error | null} */ error) => {
      if (callback) callback(error);
      else if (error) this.#report(error);
    });
  }

  /**
   * @param {any} message
   * @param {(error: Error | null) => void} [callback] called when it has gone out to all, or with the first error
   */
  broadcast(message, callback) {
    this.#check(message);
    this.#others.all(this.name, (error, others) => {
      if (error === null)
        sendToAll(
          others.map(({ target }) => target),
          this.#wrap(message),
          callback,
        );
      else if (callback) process.nextTick(callback, error);
      else process.nextTick(() => this.#report(error));
    });
  }

  /**
   * @param {any} to
   * @param {any} message
   * @param {RequestOptions} [options]
   * @returns {Promise<any>}
   */
  request(to, message, options) {
    this.#check(message);
    checkRequest(message, options);
    const other = this.#others.find(to);
    return other instanceof Error ? Promise.reject(other) : this.#ask(other, message, options);
  }

  /**
   * @param {((message: any, from: any) => any) | undefined} responder undefined removes the one that there is
   * @returns {this}
   */
  respond(responder) {
    this.#checkOpen();
    if (responder !== undefined && typeof responder !== 'function') {
      throw errors.invalidArgType('responder', 'of type function', responder);
    }
    if (responder !== undefined && this.#responder !== undefined) {
      throw errors.responderExists(this.name);
    }
    this.#responder = responder;
    return this;
  }

  /**
   * Asks all others, and waits for no longer than `timeout`.
   *
   * @param {any} message
   * @param {RequestOptions} [options]
   * @returns {Promise<import('../..').Gathered<any>>}
   */
  gather(message, { timeout = GATHER_TIMEOUT, signal } = {}) {
    this.#check(message);
    checkRequest(message, { timeout, signal });
    return new Promise((resolve, reject) => {
      this.#others.all(this.name, (error, others) => {
        if (error !== null) return reject(error);
        resolve(this.#gather(others, message, { timeout, signal }));
      });
    });
  }

  /**
   * @param {Other[]} others
   * @param {any} message
   * @param {RequestOptions} options
   */
  async #gather(others, message, options) {
    const { signal } = options;
    if (signal?.aborted) throw errors.aborted(signal.reason);
    const asked = others.map(async (other) => {
      try {
        return { id: other.id, reply: await this.#ask(other, message, options) };
      } catch (error) {
        return { id: other.id, error: /** @type {NodeJS.ErrnoException} */ (error) };
      }
    });
    /** @type {import('../..').Gathered<any>} */
    const gathered = { replies: [], failed: [], gone: [], late: [] };
    for (const { id, reply, error } of await Promise.all(asked)) {
      if (error === undefined) gathered.replies.push({ id, reply });
      else this.#sort(gathered, id, error);
    }
    // Who has not answered by then has not been late.
    if (signal?.aborted) throw errors.aborted(signal.reason);
    return gathered;
  }

  /**
   * @param {import('../..').Gathered<any>} gathered
   * @param {number} id
   * @param {NodeJS.ErrnoException} error
   */
  #sort({ failed, gone, late }, id, error) {
    const origin = originOf(error);
    // It has no part in this.
    if (origin === 'no-responder') return;
    if (origin === 'responder') failed.push({ id, error });
    else if (error.code === 'ERR_CORRAL_REQUEST_TIMEOUT') late.push(id);
    else if (GONE.includes(error.code ?? '')) gone.push(id);
    else failed.push({ id, error });
  }

  /** Nobody hears of it any more, and a channel of the same name may be opened anew. */
  close() {
    const onClose = this.#onClose;
    this.#onClose = undefined;
    this.#responder = undefined;
    onClose?.();
  }

  /**
   * @param {Other} other
   * @param {any} message
   * @param {RequestOptions | undefined} options
   */
  #ask({ target, self }, message, options) {
    return requestsOf(target, self).request(message, options, this.name);
  }

  /** @param {any} message */
  #wrap(message) {
    return { cmd: CHANNEL, channel: this.name, msg: message };
  }

  /** @param {any} message */
  #check(message) {
    this.#checkOpen();
    checkMessage(message);
  }

  #checkOpen() {
    if (this.#onClose === undefined) throw errors.channelClosed();
  }

  /** @param {Error} error of a message for which nobody has a callback */
  #report(error) {
    if (this.listenerCount('error') > 0) this.emit('error', error);
    else process.emitWarning(error);
  }
}

/** How many the program has open. Corral's own do not count. */
let count = 0;

/**
 * The channel of a name, which is made if there is none.
 *
 * @param {unknown} name
 * @param {Others} others
 * @returns {NamedChannel}
 */
function openChannel(name, others) {
  if (typeof name !== 'string') throw errors.invalidArgType('name', 'of type string', name);
  if (!isName(name)) throw errors.invalidArgValue('name', name, `must have 1 to ${MAX_NAME} characters`);
  const known = /** @type {NamedChannel | undefined} */ (open.get(name));
  if (known !== undefined) return known;
  if (count >= MAX_CHANNELS) throw errors.tooManyChannels(MAX_CHANNELS);
  const channel = new NamedChannel(name, others, () => {
    count -= 1;
    open.delete(name);
    others.tell(name, false);
  });
  count += 1;
  open.set(name, channel);
  others.tell(name, true);
  return channel;
}

module.exports = { openChannel };
