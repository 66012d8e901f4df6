'use strict';

// A reactor thread of the core as JavaScript sees it: its channels, the requests on them, and its events, a bounded batch in each
// turn of the event loop. lib/primary/reactor.js and lib/ipc/reactor.js are the two that there are.

// Not the global ones: a program's tests put a clock of their own in their place.
const { clearTimeout, setImmediate, setTimeout } = require('node:timers');

const { deliver, passOn } = require('./channel/events');
const { NativeWriter } = require('./channel/native-writer');
const { Ends, asNextEvent } = require('./channel/order');
const errors = require('./errors');
const { beforeEnd } = require('./util/last-words');
const { KeepAlive } = require('./util/keep-alive');

/** @typedef {import('./native').Binding} Binding */

/**
 * This process's end of a channel: what the channel's events go to.
 * @typedef {object} End
 * @property {import('./channel/channel').Channel} messaging
 * @property {(cause: Error | undefined, isDeserted: boolean) => void} onEnd told why, if that is not the peer's doing, and whether
 *   the peer has gone, and not only shut down its sending half
 */

/** For how long one turn of the event loop passes events on, in ms: their listeners may have much to do with each. */
const TURN_MS = 5;

/**
 * @template {import('../binding').NativePrimary | import('../binding').NativeIpc} Native the core's class
 * @template {End} SomeEnd
 */
class NativeReactor {
  /** Events were taken in the turn of the event loop that is under way. */
  #isTurn = false;
  #turnBegan = 0;
  /** Until events are taken that rest now. @type {NodeJS.Timeout | undefined} */
  #rest;
  /** Those that are open, or are being opened, by their numbers. @type {Map<number, SomeEnd>} */
  #channels = new Map();
  /** What keeps the process alive. */
  keepAlive = new KeepAlive();
  /** What has to come behind the ends of channels. @protected */
  ends = new Ends(this.keepAlive);

  /**
   * @param {Binding} binding
   * @param {(wake: () => void, deliver: (kind: number, id: number, messages: any, attachments: any) => void) => Native} start starts the
   *   thread
   */
  constructor(binding, start) {
    /** @protected */
    this.binding = binding;
    /** @protected */
    this.native = start(
      () => this.#dispatch(),
      (kind, id, messages, attachments) =>
        deliver(binding, this.#channels.get(id)?.messaging, kind, messages, attachments),
    );
    this.writer = new NativeWriter(this.native.writer());
    beforeEnd((end) => {
      if (end === 'now') this.writer.isDirect = true;
      for (const { messaging } of this.#channels.values()) messaging.writeQueue.flush();
    });
  }

  // The channels.

  /**
   * @param {number} id
   * @param {SomeEnd} end
   */
  addChannel(id, end) {
    this.#channels.set(id, end);
  }

  /**
   * @param {number} id
   * @returns {SomeEnd | undefined} as long as its end has not come
   */
  channelOf(id) {
    return this.#channels.get(id);
  }

  /**
   * @param {number} id
   * @returns {number} of the descriptor that is read
   */
  channelFd(id) {
    return this.native.channelDescriptor(id);
  }

  /**
   * Closes it after what waits has been sent.
   *
   * @param {number} id
   */
  closeChannel(id) {
    this.unlessGone(() => this.native.closeChannel(id));
  }

  /**
   * Closes a channel at once whose peer has broken the protocol.
   *
   * @param {number} id
   * @param {string} reason
   */
  destroy(id, reason) {
    this.unlessGone(() => this.native.destroy(id, reason));
  }

  /**
   * @param {number} id
   * @param {boolean} isWanted whether to read what the peer says; its end is read in any case
   */
  wantMessages(id, isWanted) {
    if (isWanted) this.native.resume(id);
    else this.native.pause(id);
  }

  /** @param {number} fd that came with a message and is not wanted; -1 for none */
  closeHandle(fd) {
    if (fd >= 0) this.native.closeHandle(fd);
  }

  /**
   * Makes a request that is not needed any more once the thread has ended: it has closed every channel, and reported a fault.
   *
   * @param {() => void} request
   */
  unlessGone(request) {
    try {
      request();
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ERR_CORRAL_REACTOR_GONE') throw error;
    }
  }

  // Its events.

  /** Takes what has happened and passes it on; what is too much for one turn of the event loop, in its next one. */
  #dispatch() {
    if (!this.#isTurn) this.#beginTurn().unref();
    this.#takePortion();
  }

  #beginTurn() {
    this.#isTurn = true;
    this.#turnBegan = performance.now();
    // Of what was taken, everything is delivered by then: in ticks, which come before it.
    return setImmediate(() => this.#endTurn());
  }

  /** Goes on when what waits has rested. */
  #afterRest() {
    // In front of poll, where the loop waits in spite of an immediate that does not keep the process alive.
    if (!this.#isTurn) this.#beginTurn();
    this.#dispatch();
  }

  #takePortion() {
    const events = /** @type {any[]} */ (this.native.takeEvents());
    for (let index = 0; index < events.length; index += 4) {
      this.onEvent(events[index], events[index + 1], events[index + 2], events[index + 3]);
    }
    // When these have been delivered, and what awaits them has gone on.
    if (this.native.mayTakeMore()) asNextEvent(this.#continue);
  }

  #continue = () => {
    if (performance.now() - this.#turnBegan < TURN_MS) this.#takePortion();
  };

  #endTurn() {
    this.#isTurn = false;
    const milliseconds = this.native.turnEnded();
    clearTimeout(this.#rest);
    // As the reactor's own call, it does not keep the process alive.
    if (milliseconds > 0) this.#rest = setTimeout(() => this.#afterRest(), milliseconds).unref();
  }

  /**
   * Passes an event on. A reactor has its own before these.
   *
   * @protected
   * @param {number} kind
   * @param {number} id
   * @param {any} first
   * @param {any} second
   */
  onEvent(kind, id, first, second) {
    const { EventKind } = this.binding;
    switch (kind) {
      case EventKind.AcceptPaused:
        warnOfPause(first, second);
        return;
      case EventKind.Fault:
        this.onFault(errors.create(Error, first, second));
        return;
    }
    const end = this.#channels.get(id);
    if (end !== undefined) {
      end.messaging.origin.runInAsyncScope(this.#pass, this, end, kind, id, first, second);
    } else if (kind === EventKind.HandleMessage) {
      this.closeHandle(second);
    }
  }

  /**
   * @param {SomeEnd} end
   * @param {number} kind
   * @param {number} id
   * @param {any} first
   * @param {any} second
   */
  #pass(end, kind, id, first, second) {
    if (passOn(this.binding, end.messaging, kind, first, second)) return;
    if (kind !== this.binding.EventKind.Closed) {
      this.onChannelEvent(end, kind, first);
      return;
    }
    this.#channels.delete(id);
    this.ends.closed(id, () => {
      if (first === undefined) end.onEnd(undefined, second);
      else end.onEnd(this.causeOf(first, second, end), false);
    });
  }

  /**
   * An event of a channel that not every reactor has.
   *
   * @protected
   * @param {SomeEnd} _end
   * @param {number} kind
   * @param {any} _about
   */
  onChannelEvent(_end, kind, _about) {
    throw new Error(`an event of the core's that is not known here: ${kind}`);
  }

  /**
   * Why a channel has ended.
   *
   * @protected
   * @param {string} code
   * @param {string} message
   * @param {SomeEnd} _end
   * @returns {Error}
   */
  causeOf(code, message, _end) {
    return errors.create(Error, code, message);
  }

  /**
   * The thread has ended, by a fault of corral's.
   *
   * @protected
   * @param {Error} error
   */
  onFault(error) {
    process.emitWarning(error);
  }
}

/**
 * @param {string} code
 * @param {string} message
 */
function warnOfPause(code, message) {
  process.emitWarning(`Accepting connections is paused, there are no resources left: ${message}`, {
    code: 'CORRAL_ACCEPT_PAUSED',
    detail: code,
  });
}

module.exports = { NativeReactor };
