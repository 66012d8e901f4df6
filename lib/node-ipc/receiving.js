'use strict';

// Messages of a stream, or of datagrams, one by one as turns go. Frames that are no messages are reported together when there are
// many of them.

const { badMessage, badMessages, dropped } = require('./errors');
const { framesOf, read } = require('./messages');
const { run } = require('./turns');

/** @typedef {import('../../node-ipc').Config} Config */

/**
 * The receiver of a connection's messages.
 * @typedef {object} Taker
 * @property {(bytes: Buffer) => void} bytes
 * @property {(type: string, data: any) => void} message
 * @property {(error: Error) => void} error
 */

/** How many frames in a row that are no messages are reported one by one; the rest is reported together. */
const TOLD = 16;
/** The cost of one that is only counted, in the measure of a turn. */
const COUNTED = 1 / 8;
/** Bytes of a message that cost as much as a message. */
const UNIT = 4096;
/** How many bytes of datagrams may wait, each with the cost of keeping it. */
const MAX_WAITING = 1024 * 1024;
const DATAGRAM_WEIGHT = 256;

/** Frames in a row that are no messages. */
class Faults {
  #told = 0;
  /** The first that was not reported. @type {(() => Error) | undefined} */
  #first;
  #count = 0;

  /**
   * @param {() => Error} fault
   * @param {Taker} taker
   * @returns {number} its cost
   */
  add(fault, taker) {
    if (this.#told < TOLD) {
      this.#told++;
      taker.error(fault());
      return 1;
    }
    this.#first ??= fault;
    this.#count++;
    return COUNTED;
  }

  /**
   * Something else comes.
   *
   * @param {Taker} taker
   */
  end(taker) {
    const [first, count] = [this.#first, this.#count];
    this.clear();
    if (first !== undefined) taker.error(badMessages(first(), count));
  }

  clear() {
    this.#told = 0;
    this.#first = undefined;
    this.#count = 0;
  }
}

/** @param {unknown} error of reading */
function isTooLarge(error) {
  return /** @type {NodeJS.ErrnoException} */ (error).code === 'ERR_CORRAL_MESSAGE_TOO_LARGE';
}

/**
 * @param {string} text
 * @param {Faults} faults
 * @param {Taker} taker
 * @returns {number} its cost
 */
function deliver(text, faults, taker) {
  const found = read(text);
  if (found.message === undefined) return faults.add(found.fault, taker);
  faults.end(taker);
  taker.message(found.message.type, found.message.data);
  return 1 + Math.floor(text.length / UNIT);
}

/** The messages of a stream. One that is too large ends it: where the next begins is not known. */
class StreamReceiver {
  #socket;
  #config;
  #taker;
  #frames;
  #faults = new Faults();
  /** Whether a chunk had a whole frame in it. */
  #hasAny = false;
  /** Whether something that has come waits for the next turn. */
  #isBehind = false;
  #isPaused = false;
  /** Callbacks that wait until everything that has come is delivered. @type {(() => void)[]} */
  #behind = [];

  /**
   * @param {import('node:net').Socket} socket
   * @param {Config} config
   * @param {Taker & { answered?: () => void }} taker answered: called when a chunk with a whole frame in it is delivered
   */
  constructor(socket, config, taker) {
    this.#socket = socket;
    this.#config = config;
    this.#taker = taker;
    this.#frames = framesOf(config);
    socket.on('data', (chunk) => this.#add(chunk));
  }

  /**
   * Calls back behind all that has come by now.
   *
   * @param {() => void} callback
   */
  behind(callback) {
    if (this.#isBehind) this.#behind.push(callback);
    else callback();
  }

  /** @param {Buffer} chunk */
  #add(chunk) {
    if (this.#config.rawBuffer) {
      this.#taker.bytes(chunk);
      this.#taker.answered?.();
      return;
    }
    this.#frames.add(chunk);
    let isDone = false;
    try {
      isDone = run(this);
    } finally {
      this.#isBehind = !isDone;
      // One that the program has paused, it resumes itself.
      if (!isDone && !this.#socket.isPaused()) {
        this.#isPaused = true;
        this.#socket.pause();
      }
    }
  }

  #drop() {
    this.#frames = framesOf(this.#config);
    this.#faults.clear();
  }

  /** Whether this side has closed it, and wants to hear no more. */
  get #isOver() {
    const { destroyed, errored, readableEnded } = this.#socket;
    return destroyed && !errored && !readableEnded;
  }

  step() {
    if (this.#isOver) this.#drop();
    let text;
    try {
      text = this.#frames.next();
    } catch (error) {
      if (!isTooLarge(error)) throw error;
      this.#drop();
      this.#socket.destroy();
      this.#taker.error(/** @type {Error} */ (error));
      return 1;
    }
    if (text === undefined) return 0;
    this.#hasAny = true;
    return deliver(text, this.#faults, this.#taker);
  }

  done() {
    const [hadAny, wasPaused, behind] = [this.#hasAny, this.#isPaused, this.#behind];
    this.#hasAny = false;
    this.#isBehind = false;
    this.#isPaused = false;
    this.#behind = [];
    if (wasPaused) this.#socket.resume();
    // Each by itself: a handler that throws costs the others nothing.
    for (const callback of behind) process.nextTick(callback);
    this.#faults.end(this.#taker);
    if (hadAny) this.#taker.answered?.();
  }
}

/** The messages of datagrams, which have them whole. Datagrams that come faster than they are taken are lost, as in the system's queue. */
class DatagramReceiver {
  #config;
  /** @type {{ datagram: Buffer, taker: Taker }[]} */
  #waiting = [];
  #waitingBytes = 0;
  #dropped = 0;
  #faults = new Faults();
  /** The one that is being read. @type {{ frames: import('./frames').Frames, datagram: Buffer, taker: Taker } | undefined} */
  #current;

  /** @param {Config} config */
  constructor(config) {
    this.#config = config;
  }

  /**
   * @param {Buffer} datagram
   * @param {Taker} taker
   */
  add(datagram, taker) {
    if (this.#config.rawBuffer) {
      taker.bytes(datagram);
      return;
    }
    if (this.#waitingBytes > MAX_WAITING) {
      this.#dropped++;
      return;
    }
    this.#waiting.push({ datagram, taker });
    this.#waitingBytes += datagram.length + DATAGRAM_WEIGHT;
    run(this);
  }

  step() {
    this.#current ??= this.#next();
    if (this.#current === undefined) return 0;
    const { frames, datagram, taker } = this.#current;
    let text;
    try {
      text = frames.next();
    } catch (error) {
      if (!isTooLarge(error)) throw error;
      this.#current = undefined;
      this.#faults.end(taker);
      taker.error(/** @type {Error} */ (error));
      return 1;
    }
    if (text !== undefined) return deliver(text, this.#faults, taker);
    this.#current = undefined;
    this.#faults.end(taker);
    if (frames.pending > 0) taker.error(badMessage('has no end', datagram.toString()));
    return 1;
  }

  #next() {
    const next = this.#waiting.shift();
    if (next === undefined) return undefined;
    const { datagram, taker } = next;
    this.#waitingBytes -= datagram.length + DATAGRAM_WEIGHT;
    const count = this.#dropped;
    this.#dropped = 0;
    if (count > 0) taker.error(dropped(count));
    const frames = framesOf(this.#config);
    frames.add(datagram);
    return { frames, datagram, taker };
  }

  done() {}
}

module.exports = { DatagramReceiver, StreamReceiver };
