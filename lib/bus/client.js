'use strict';

// The connection of a bus to its engine: requests and their replies. When it is lost, the client connects again, and sends again what
// was not answered, under the same numbers, by which the engine knows what it has carried out.

const crypto = require('node:crypto');
const EventEmitter = require('node:events');
const fs = require('node:fs');
const errors = require('../errors');
const { Abandoned } = require('./abandoned');
const { Calls, PromiseCall } = require('./calls');
const { connectionOf } = require('./connection');
const { Slab } = require('./frame-writer');
const { KIND, LARGEST, REPLY, VERSION, malformed } = require('./frames');
const { Outbox } = require('./outbox');

/** @typedef {import('./options').BusOptions} BusOptions */
/** @typedef {import('./calls').Call} Call */
/** @typedef {import('./frames').FrameReader} FrameReader */
/** @typedef {import('./frame-writer').FrameWriter} FrameWriter */
/** @typedef {import('./connection').Engine} Engine */
/**
 * @typedef {object} Wait
 * @property {number} timeout in milliseconds; Infinity for none
 * @property {AbortSignal | undefined} signal
 * @property {boolean} [isWait]
 * @property {((from: FrameReader) => void)} [onGivenUp] gets messages that come when nobody waits for them any more
 */
/**
 * Who is told of what comes for a subscription.
 * @typedef {object} Subscriber
 * @property {number} number of the subscription, once it has one
 * @property {Slab} [frame] that subscribes
 * @property {(from: FrameReader) => void} onEvent
 * @property {(error: Error | undefined) => void} onEnd
 * @property {() => void} onAgain it subscribes again, on another connection
 */

/** Between attempts to connect, in milliseconds: the first pause, and the longest. */
const FIRST_PAUSE = 5;
const LONGEST_PAUSE = 250;

const nothing = () => {};

class Client extends EventEmitter {
  #engine;
  #options;
  /** By which the engine knows this client again. */
  #id = crypto.randomBytes(16);
  #sequence = 0;
  #calls = new Calls((sequence, timeout) => this.#giveUp(sequence, errors.busTimeout(timeout)));
  #abandoned = new Abandoned();
  /** @type {Map<number, Subscriber>} */
  #subscribers = new Map();
  /** Deliveries that the program has, by the engine's number of the message. @type {Map<number, import('./fields').Receipt>} */
  held = new Map();
  #outbox = new Outbox(() => this.#socket);
  /** @type {import('node:net').Socket | undefined} */
  #socket;
  /** @type {'connecting' | 'up' | 'down' | 'closed'} */
  state = 'connecting';
  engineName = '';
  #pause = FIRST_PAUSE;
  #isClosing = false;
  /** Nothing is asked for any more but the end. */
  #isEnding = false;
  #isOver = false;
  /** @type {NodeJS.Timeout | undefined} */
  #retry;
  /** @type {Error | undefined} why the last connection was lost */
  #cause;

  /** @param {Engine} engine @param {BusOptions} options */
  constructor(engine, options) {
    super();
    this.#engine = engine;
    this.#options = options;
  }

  /** Connects for the first time. What makes no sense to try again is a 'failed' event; otherwise 'up' comes. */
  start() {
    this.#connect();
  }

  /** What was wrong when it was tried last. */
  get cause() {
    return this.#cause;
  }

  async #connect() {
    this.#retry = undefined;
    try {
      const fd = await this.#engine.open();
      if (this.state === 'closed') fs.closeSync(fd);
      else this.#attach(fd);
    } catch (error) {
      this.#onLost(/** @type {Error} */ (error));
    }
  }

  /** @param {number} fd */
  #attach(fd) {
    const onError = (/** @type {Error} */ error) => {
      this.#cause = error;
    };
    const socket = connectionOf(fd, (from) => this.#onFrame(from), onError);
    socket.once('close', () => {
      if (this.#socket === socket) this.#onLost(this.#cause);
    });
    this.#socket = socket;
    this.#hold();
    this.#greet();
  }

  #greet() {
    const { durability } = this.#options;
    const hello = this.#outbox.writer.begin(KIND.hello, 0).u32(VERSION).raw(this.#id);
    hello.u8(durability === 'disk' ? 1 : 0).u32(this.held.size);
    for (const { message, delivery } of this.held.values()) hello.u64(message).u32(delivery);
    const first = hello.end();
    /** @type {[number, import('./outbox').Piece][]} */
    const again = [];
    for (const [sequence, { slab, start, end }] of this.#calls) {
      if (slab !== undefined) again.push([sequence, { slab, start, end }]);
    }
    for (const [sequence, { frame, onAgain }] of this.#subscribers) {
      onAgain();
      if (frame === undefined || this.#calls.get(sequence) !== undefined) continue;
      again.push([sequence, { slab: frame, start: 0, end: frame.bytes.length }]);
    }
    again.sort(([one], [other]) => one - other);
    this.#outbox.clear();
    this.#outbox.push(new Slab(first), 0, first.length);
    for (const [, { slab, start, end }] of again) this.#outbox.push(slab, start, end);
    this.#abandoned.clear();
  }

  /** @param {Error | undefined} error */
  #onLost(error) {
    this.#socket = undefined;
    this.#outbox.clear();
    if (this.state === 'closed') {
      this.#finish();
      return;
    }
    const cause = error ?? errors.busUnavailable('the engine has ended the connection');
    this.#cause = cause;
    if (this.state === 'up') {
      this.state = 'down';
      this.emit('down', cause);
    }
    // A listener may have closed it.
    if (/** @type {string} */ (this.state) === 'closed') return;
    this.#retry = setTimeout(() => this.#connect(), this.#pause * (0.5 + Math.random() / 2));
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
    this.#hold();
  }

  /** @param {FrameReader} from */
  #onFrame(from) {
    const kind = from.u8();
    const sequence = from.u64();
    if (kind === REPLY.event || kind === REPLY.ended) return this.#onSubscription(kind, sequence, from);
    if (kind === REPLY.welcome) return this.#onWelcome(from);
    if (kind === REPLY.fatal) {
      this.#cause = errors.busFault(from.text(), from.text());
      const socket = this.#socket;
      this.#engine.renounce();
      if (this.state === 'connecting') this.emit('failed', this.#cause);
      socket?.destroy();
      return;
    }
    if (kind === REPLY.down) return this.#onAway(errors.busFault(from.text(), from.text()));
    if (kind === REPLY.up) return this.#onBack();
    const call = this.#forget(sequence);
    if (call !== undefined) {
      call.settle(kind, from);
      return;
    }
    this.#abandoned.answered(sequence, kind === REPLY.messages ? from : undefined);
  }

  /** The engine has lost its server, or has not found it yet: it goes on trying. @param {Error} cause */
  #onAway(cause) {
    this.#cause = cause;
    if (this.state !== 'up') return;
    this.state = 'down';
    this.emit('down', cause);
  }

  #onBack() {
    this.#cause = undefined;
    if (this.state !== 'down') return;
    this.state = 'up';
    this.emit('up');
  }

  /** @param {FrameReader} from */
  #onWelcome(from) {
    const version = from.u32();
    if (version !== VERSION) throw malformed(`version ${version} of the protocol`);
    this.engineName = from.text();
    this.#pause = FIRST_PAUSE;
    this.#cause = undefined;
    if (this.state === 'closed') return;
    this.state = 'up';
    this.#hold();
    this.emit('up');
  }

  /** @param {number} kind @param {number} sequence @param {FrameReader} from */
  #onSubscription(kind, sequence, from) {
    const subscriber = this.#subscribers.get(sequence);
    if (subscriber === undefined) return;
    if (kind === REPLY.event) {
      subscriber.onEvent(from);
      return;
    }
    this.#subscribers.delete(sequence);
    this.#hold();
    subscriber.onEnd(errors.busFault(from.text(), from.text()));
  }

  /**
   * Sends a request.
   *
   * @template T
   * @param {number} kind
   * @param {(to: FrameWriter, sequence: number) => void} write its fields; what it throws, the request is rejected with
   * @param {(kind: number, from: FrameReader) => T} read the reply
   * @param {Wait} wait
   * @returns {Promise<T>}
   */
  request(kind, write, read, wait) {
    return new Promise((resolve, reject) => {
      write(this.begin(kind, wait), this.#sequence);
      this.commit(new PromiseCall(resolve, reject, read), wait);
    });
  }

  /**
   * Begins a request, whose fields are written next and nothing else happens until `commit`, or it is left as it is.
   *
   * @param {number} kind
   * @param {Wait} wait
   */
  begin(kind, { signal }) {
    if (signal?.aborted) throw errors.aborted(signal.reason);
    // Messages that nobody has seen go back still.
    if (this.#isClosing && kind !== (this.#isEnding ? KIND.bye : KIND.nack)) throw errors.busClosed();
    this.#sequence += 1;
    return this.#outbox.writer.begin(kind, this.#sequence);
  }

  /**
   * Sends the request that was begun. It throws if there is no room for it.
   *
   * @param {Call} call that waits for the reply
   * @param {Wait} wait
   */
  commit(call, { timeout, signal, isWait = false, onGivenUp }) {
    const { writer } = this.#outbox;
    const { length } = writer;
    if (length > LARGEST) {
      writer.abandon();
      throw errors.busRequestTooLarge(length, LARGEST);
    }
    const end = writer.finish();
    const { size, bytes } = this.#calls;
    if (this.state !== 'up' && !this.#isEnding) {
      const { offline } = this.#options;
      if (size >= offline.messages || bytes + length > offline.bytes) {
        writer.drop();
        throw errors.busOffline(size, bytes);
      }
    }
    const { slab } = writer;
    call.sequence = this.#sequence;
    call.deadline = this.#outbox.now() + timeout;
    call.timeout = timeout;
    call.isWait = isWait;
    call.onGivenUp = onGivenUp;
    call.slab = slab;
    call.start = end - length;
    call.end = end;
    if (isWait) call.keepAlone();
    else slab.users += 1;
    if (signal !== undefined) {
      call.signal = signal;
      call.onAbort = () => this.cancel(call, errors.aborted(signal.reason));
      signal.addEventListener('abort', call.onAbort, { once: true });
    }
    this.#calls.add(call);
    if (size === 0) this.#hold();
    this.#send(slab, end - length, end);
    if (slab.users === 0) writer.drop();
  }

  /**
   * Sends what is not answered, and is pointless on another connection.
   *
   * @param {number} kind
   * @param {(to: FrameWriter) => void} write
   */
  tell(kind, write) {
    if (this.#socket === undefined) return;
    const { writer } = this.#outbox;
    write(writer.begin(kind, 0));
    const { length } = writer;
    const end = writer.finish();
    this.#send(writer.slab, end - length, end);
  }

  /** @param {Slab} slab @param {number} start @param {number} end */
  #send(slab, start, end) {
    if (this.#socket !== undefined) this.#outbox.push(slab, start, end);
  }

  /** Has somebody called when this turn is over, right before all of it goes out. @param {() => void} callback */
  atTurnEnd(callback) {
    this.#outbox.atTurnEnd(callback);
  }

  /** @param {number} sequence @returns {import('./calls').Call | undefined} the call, of which nothing is known any more */
  #forget(sequence) {
    const call = this.#calls.take(sequence);
    if (call === undefined) return undefined;
    if (call.slab !== undefined) this.#outbox.writer.release(call.slab);
    if (call.onAbort !== undefined) call.signal?.removeEventListener('abort', call.onAbort);
    if (this.#calls.size === 0) this.#hold();
    return call;
  }

  /** Nobody waits for a call any more. @param {Call} call @param {Error} error */
  cancel(call, error) {
    this.#giveUp(call.sequence, error);
  }

  /**
   * Nobody waits for a request any more.
   *
   * @param {number} sequence
   * @param {Error} error
   */
  #giveUp(sequence, error) {
    const call = this.#forget(sequence);
    if (call === undefined) return;
    if (call.onGivenUp !== undefined) this.#abandoned.add(sequence, call.onGivenUp);
    this.#subscribers.delete(sequence);
    this.tell(KIND.cancel, (to) => to.u64(sequence));
    call.reject(error);
  }

  /**
   * @param {(to: FrameWriter) => void} write the fields of the request
   * @param {Subscriber} subscriber
   * @param {Wait} wait resolves when the engine knows it
   */
  async subscribe(write, subscriber, wait) {
    const writeOwn = (/** @type {FrameWriter} */ to, /** @type {number} */ sequence) => {
      subscriber.number = sequence;
      write(to);
    };
    const done = this.request(KIND.subscribe, writeOwn, () => {}, wait);
    const call = this.#calls.get(subscriber.number);
    if (call?.slab !== undefined) {
      subscriber.frame = new Slab(Buffer.from(call.slab.bytes.subarray(call.start, call.end)));
      // It is never given up.
      subscriber.frame.users = 1;
    }
    // Messages may come right behind the reply.
    if (subscriber.frame !== undefined) this.#subscribers.set(subscriber.number, subscriber);
    try {
      await done;
    } catch (error) {
      this.#subscribers.delete(subscriber.number);
      this.#hold();
      throw error;
    }
  }

  /** @param {number} subscription @param {number} count of messages that were read */
  credit(subscription, count) {
    this.tell(KIND.credit, (to) => to.u64(subscription).u32(count));
  }

  /** @param {number} subscription */
  unsubscribe(subscription) {
    if (!this.#subscribers.delete(subscription)) return;
    this.#hold();
    this.tell(KIND.unsubscribe, (to) => to.u64(subscription));
  }

  /** Keeps the process alive, or no longer. */
  #hold() {
    const isNeeded = this.#calls.size > 0 || this.#subscribers.size > 0 || this.state === 'connecting';
    for (const handle of [this.#socket, this.#retry]) {
      if (isNeeded) handle?.ref();
      else handle?.unref();
    }
  }

  /**
   * Ends it: what was asked for is still answered, and what only waits is not waited for any more.
   *
   * @param {number} timeout in milliseconds
   */
  async close(timeout) {
    if (this.#isClosing) return;
    this.#isClosing = true;
    for (const [sequence, { isWait }] of this.#calls) {
      if (isWait) this.#giveUp(sequence, errors.busClosed());
    }
    const end = performance.now() + timeout;
    await this.#abandoned.none(timeout);
    if (/** @type {string} */ (this.state) === 'closed') return;
    this.#isEnding = true;
    const wait = { timeout: Math.max(0, end - performance.now()), signal: undefined };
    // It is carried out behind all others, and so answered last. If the engine is away, that is when it is back.
    const isNeeded = this.#socket !== undefined || this.#calls.size > 0;
    if (isNeeded) await this.request(KIND.bye, nothing, nothing, wait).catch(nothing);
    this.abort();
  }

  /** Ends it at once. */
  abort() {
    if (this.state === 'closed') return;
    this.#isClosing = true;
    this.#isEnding = true;
    this.state = 'closed';
    this.#abandoned.clear();
    clearTimeout(this.#retry);
    for (const [sequence] of this.#calls) this.#forget(sequence)?.reject(errors.busClosed());
    const subscribers = [...this.#subscribers.values()];
    this.#subscribers.clear();
    for (const { onEnd } of subscribers) onEnd(undefined);
    if (this.#socket === undefined) this.#finish();
    else this.#socket.destroy();
  }

  #finish() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#engine.release();
    this.emit('close');
  }
}

module.exports = { Client };
