'use strict';

// Requests and their replies on a channel. `request` returns a promise; the other side replies with the number of the request.
// Both are internal messages, so that they keep their place among the program's own.

const errors = require('../errors');
const { REPLY, REQUEST } = require('../protocol');
const { LONGEST_TIMEOUT } = require('../util/longest-timeout');
const { discard } = require('./discard');

/** How many replies may wait for a peer that sends more requests. */
const MAX_UNREAD = 65_536;
/** From so many on the peer is not read, where that is possible, until half of them have been written: its requests wait on its side. */
const MUCH_UNREAD = 16_384;

/**
 * The properties of an error that travel, and their types. None of them reveals anything of the machine.
 * @type {Record<string, 'string' | 'number'>}
 */
const CARRIED = { name: 'string', message: 'string', code: 'string', errno: 'number', syscall: 'string' };

/**
 * @typedef {object} RequestOptions
 * @property {number} [timeout] in milliseconds; none by default
 * @property {AbortSignal} [signal]
 */

/**
 * @typedef {object} Pending
 * @property {(reply: any) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {boolean} isWritten whether the peer may have got it
 */

/** @param {any} from an error, or what was carried of one */
function carried(from) {
  return Object.fromEntries(
    Object.entries(CARRIED)
      .map(([key, type]) => /** @type {const} */ ([key, from[key], type]))
      .filter(([, value, type]) => typeof value === type),
  );
}

/** @param {unknown} reason whatever was thrown */
function carry(reason) {
  try {
    return reason instanceof Error ? carried(reason) : { message: String(reason) };
  } catch {
    // Its getters throw, or nothing makes a string of it.
    return { message: 'an error that cannot be read' };
  }
}

/** What is carried of the error that nobody responds. @type {any} */
let ofUnheard;

/** The peer may ask for it as often as it likes: it is made once. */
function unheard() {
  ofUnheard ??= carried(errors.noHandler());
  return ofUnheard;
}

/**
 * @param {NodeJS.ErrnoException} error
 * @returns {boolean} whether the peer has gone: the 'disconnect' that is still to come rejects the request. Not before:
 *   a program that asks again at once would do so without end
 */
function isGone({ code }) {
  return code === 'EPIPE';
}

/** @param {any} reply what the peer says of its error, which may be anything */
function revive(reply) {
  const { message = '', name = 'Error', ...rest } = carried(reply);
  const error = new Error(message);
  if (name !== 'Error') {
    Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true });
  }
  return Object.assign(error, rest);
}

/**
 * Where an error has come from that is not of this side: from the peer's responder, or from the peer because it has none.
 * @typedef {'responder' | 'no-responder'} ErrorOrigin
 */

/** @type {WeakMap<object, ErrorOrigin>} */
const origins = new WeakMap();

/**
 * @param {Error} error by which a request was rejected
 * @returns {ErrorOrigin | undefined} undefined if it is of this side
 */
function originOf(error) {
  return origins.get(error);
}

/**
 * Throws for what no request can be made of.
 *
 * @param {any} message
 * @param {RequestOptions} [options]
 */
function checkRequest(message, { timeout, signal } = {}) {
  if (message === undefined) throw errors.missingArgs('message');
  if (timeout !== undefined && typeof timeout !== 'number') {
    throw errors.invalidArgType('options.timeout', 'of type number', timeout);
  }
  if (timeout !== undefined && !(timeout >= 0 && timeout <= LONGEST_TIMEOUT)) {
    throw errors.outOfRange('options.timeout', `>= 0 && <= ${LONGEST_TIMEOUT}`, timeout);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw errors.invalidArgType('options.signal', 'an instance of AbortSignal', signal);
  }
}

/** The requests of one channel, in both directions. */
class Requests {
  #channel;
  #self;
  #next = 1;
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  /** @type {((message: any, handle: any) => any) | undefined} */
  #responder;

  #onPending;
  /** How many replies have not been written yet. */
  #unread = 0;
  #isPeerRead = true;
  maxUnread = MAX_UNREAD;
  /** Who answers requests on a channel that has a name, where there are any. @type {(name: unknown) => ((message: any, from: any) => any) | undefined} */
  named = () => undefined;
  /** Has the peer read, or not. Both ends of a channel must not have one: each would wait for the other. @type {(isRead: boolean) => void} */
  wantMessages = () => {};
  /** Called with the number of a request that is not waited for any more. @type {(id: number) => void} */
  onSettled = () => {};
  /** Counts the connections of the channel: a reply belongs to the one on which its request came. */
  #connection = 0;
  /** Nobody reads this connection any more, of which requests may still be waiting here. */
  #isUnheard = false;

  /**
   * @param {import('./channel').Target} channel
   * @param {() => void} onPending is called when the first request waits for the peer's reply, and when none does any more
   * @param {object} [self] what the responder has as its `this`
   */
  constructor(channel, onPending, self = channel) {
    this.#self = self;
    this.#channel = channel;
    this.#onPending = onPending;
  }

  /** Whether the peer is to answer something. */
  get isPending() {
    return this.#pending.size > 0;
  }

  /**
   * @param {any} message an internal one
   * @param {any} handle
   */
  onInternal(message, handle) {
    if (message.cmd === REQUEST) this.#answer(message, handle);
    else if (message.cmd === REPLY) this.#onReply(message);
    if (message.cmd !== REQUEST && handle !== undefined) discard(handle);
  }

  /** The connection has ended. */
  onDisconnect() {
    this.#connection++;
    this.#isUnheard = false;
    this.#unread = 0;
    this.#tellWhetherToRead();
    this.#rejectAll();
  }

  /**
   * @param {any} message
   * @param {RequestOptions} [options]
   * @param {string} [channel] the name of the one that it is on, where there are any
   * @returns {Promise<any>}
   */
  request(message, options = {}, channel = undefined) {
    checkRequest(message, options);
    const { timeout, signal } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(errors.aborted(signal.reason));
      const id = this.#next++;
      /** @type {NodeJS.Timeout | undefined} */
      let timer;
      const onAbort = () => settle(reject, errors.aborted(signal?.reason));
      /**
       * @param {(value: any) => void} how
       * @param {any} value
       */
      const settle = (how, value) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#pending.delete(id);
        if (this.#pending.size === 0) this.#onPending();
        this.onSettled(id);
        how(value);
      };
      this.#pending.set(id, {
        resolve: (reply) => settle(resolve, reply),
        reject: (error) => settle(reject, error),
        isWritten: false,
      });
      if (this.#pending.size === 1) this.#onPending();
      if (timeout !== undefined) {
        timer = setTimeout(() => settle(reject, errors.requestTimeout(timeout)), timeout);
      }
      signal?.addEventListener('abort', onAbort);
      try {
        const onWritten = (/** @type {Error | null} */ error) => {
          const pending = this.#pending.get(id);
          if (error === null && pending) pending.isWritten = true;
          else if (error !== null && !isGone(error)) pending?.reject(error);
        };
        const request = { cmd: REQUEST, id, msg: message };
        const named = channel === undefined ? request : { ...request, channel };
        this.#channel.send(named, undefined, { request: id }, onWritten);
      } catch (error) {
        settle(reject, error);
      }
    });
  }

  /** @param {((message: any, handle: any) => any) | undefined} responder */
  respond(responder) {
    this.#responder = responder;
  }

  /**
   * @param {{ id: number, msg: any, channel?: unknown }} request
   * @param {any} handle
   */
  async #answer({ id, msg, channel }, handle) {
    let reply;
    const connection = this.#connection;
    const isNamed = channel !== undefined;
    const responder = isNamed ? this.named(channel) : this.#responder;
    // With a name there are no handles.
    if (handle !== undefined && (isNamed || responder === undefined)) discard(handle);
    if (responder === undefined) {
      reply = { cmd: REPLY, id, error: unheard(), isUnheard: true };
    } else {
      try {
        const result = await Reflect.apply(responder, this.#self, [msg, isNamed ? this.#self : handle]);
        // What JSON does not know, it leaves out.
        reply = { cmd: REPLY, id, msg: result };
      } catch (reason) {
        reply = { cmd: REPLY, id, error: carry(reason) };
      }
    }
    if (this.#channel.connected && connection === this.#connection && !this.#isUnheard) this.#reply(reply);
  }

  /** @param {any} reply */
  #reply(reply) {
    if (this.#unread >= this.maxUnread) {
      this.#refuse(reply.id, errors.queueFull());
      return;
    }
    const connection = this.#connection;
    const onWritten = (/** @type {Error | null} */ error) => {
      if (connection === this.#connection) {
        this.#unread--;
        if (error && isGone(error)) this.#isUnheard = true;
        this.#tellWhetherToRead();
      }
      // Too large, or not to be queued: the peer must get an error. If the channel has gone, the peer has got one.
      if (error && !isGone(error) && this.#channel.connected) this.#refuse(reply.id, error);
    };
    this.#unread++;
    this.#tellWhetherToRead();
    try {
      this.#channel.send(reply, undefined, { isForThisPeer: true, isReply: true }, onWritten);
    } catch (error) {
      onWritten(/** @type {Error} */ (error));
    }
  }

  #tellWhetherToRead() {
    const isRead = this.#unread < (this.#isPeerRead ? MUCH_UNREAD : MUCH_UNREAD / 2);
    if (isRead === this.#isPeerRead) return;
    this.#isPeerRead = isRead;
    this.wantMessages(isRead);
  }

  /**
   * Tells who has asked that there is a reply which cannot be sent, or a channel that takes no more. A peer that does not even read
   * this loses its channel, if that has no bounds of its own.
   *
   * @param {number} id
   * @param {Error} error
   */
  #refuse(id, error) {
    const reply = { cmd: REPLY, id, error: carry(error) };
    try {
      this.#channel.send(reply, undefined, { isForThisPeer: true, isReply: true, isAnswer: true }, () => {});
    } catch {
      // The id is the peer's own: what cannot be sent back is nothing that it waits for.
    }
  }

  /** @param {any} reply */
  #onReply({ id, msg, error, isUnheard }) {
    const pending = this.#pending.get(id);
    // Given up by now, or never asked.
    if (pending === undefined) return;
    if (error !== null && typeof error === 'object') {
      const revived = revive(error);
      origins.set(revived, isUnheard === true ? 'no-responder' : 'responder');
      pending.reject(revived);
    } else pending.resolve(msg);
  }

  #rejectAll() {
    for (const pending of [...this.#pending.values()]) {
      // What waits for the next connection is still to be answered there.
      if (pending.isWritten || !this.#channel.connecting) pending.reject(errors.noReply());
    }
  }
}

module.exports = { Requests, checkRequest, originOf };
