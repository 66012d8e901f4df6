'use strict';

// Calls that wait for the engine to answer, in the order in which they are to be carried out, and their deadlines.

const errors = require('../errors');
const { Slab } = require('./frame-writer');
const { REPLY } = require('./frames');
const { LONGEST_TIMEOUT } = require('../util/longest-timeout');

/** @typedef {import('./frames').FrameReader} FrameReader */

/** A request that waits for its reply. Whoever makes one says what becomes of it, by `fulfil` and `reject`. */
class Call {
  sequence = 0;
  /** Where its frame is. @type {Slab | undefined} */
  slab;
  start = 0;
  end = 0;
  /** Of `performance.now()`. */
  deadline = 0;
  timeout = 0;
  /** It waits for something to happen, and not for the engine alone. */
  isWait = false;
  /** @type {AbortSignal | undefined} */
  signal;
  /** @type {(() => void) | undefined} */
  onAbort;
  /** Gets messages that come when nobody waits for them any more. @type {((from: FrameReader) => void) | undefined} */
  onGivenUp;

  /** The reply has come. @param {number} kind @param {FrameReader} from as long as this call lasts */
  settle(kind, from) {
    if (kind === REPLY.failed) this.reject(failureIn(from));
    else this.fulfil(kind, from);
  }

  /** What was asked for is done. @param {number} _kind @param {FrameReader} _from */
  fulfil(_kind, _from) {}

  /** It is not, or there will be no reply. @param {Error} _error */
  reject(_error) {}

  /** Has its frame be in memory of its own: what may wait for long does not keep the memory of all that went out with it. */
  keepAlone() {
    const { slab, start, end } = this;
    this.slab = new Slab(Buffer.from(/** @type {Slab} */ (slab).bytes.subarray(start, end)));
    this.slab.users = 1;
    this.start = 0;
    this.end = end - start;
  }
}

/** What an engine says that has failed; what cannot be read is another failure. @param {FrameReader} from @returns {Error} */
function failureIn(from) {
  try {
    return errors.busFault(from.text(), from.text());
  } catch (error) {
    return /** @type {Error} */ (error);
  }
}

/** One whose caller has a promise. @template T */
class PromiseCall extends Call {
  #resolve;
  #reject;
  #read;

  /**
   * @param {(value: T) => void} resolve
   * @param {(error: unknown) => void} reject
   * @param {(kind: number, from: FrameReader) => T} read the reply
   */
  constructor(resolve, reject, read) {
    super();
    this.#resolve = resolve;
    this.#reject = reject;
    this.#read = read;
  }

  /** @override @param {number} kind @param {FrameReader} from */
  fulfil(kind, from) {
    try {
      this.#resolve(this.#read(kind, from));
    } catch (error) {
      this.#reject(error);
    }
  }

  /** @override @param {Error} error */
  reject(error) {
    this.#reject(error);
  }
}

class Calls {
  /** @type {Map<number, Call>} */
  #calls = new Map();
  #bytes = 0;
  /** One timer, for the earliest deadline: as a rule all calls have the same timeout, and are answered long before. @type {NodeJS.Timeout | undefined} */
  #alarm;
  #alarmAt = Number.POSITIVE_INFINITY;
  #onDue;

  /** @param {(sequence: number, timeout: number) => void} onDue has to take the call */
  constructor(onDue) {
    this.#onDue = onDue;
  }

  get size() {
    return this.#calls.size;
  }

  /** How many bytes their frames have. */
  get bytes() {
    return this.#bytes;
  }

  [Symbol.iterator]() {
    return this.#calls[Symbol.iterator]();
  }

  /** @param {number} sequence */
  get(sequence) {
    return this.#calls.get(sequence);
  }

  /** @param {Call} call */
  add(call) {
    this.#calls.set(call.sequence, call);
    this.#bytes += call.end - call.start;
    if (call.deadline < this.#alarmAt) this.#setAlarm(call.deadline);
  }

  /** @param {number} sequence @returns {Call | undefined} the call, which waits no more */
  take(sequence) {
    const call = this.#calls.get(sequence);
    if (call === undefined) return undefined;
    this.#calls.delete(sequence);
    this.#bytes -= call.end - call.start;
    return call;
  }

  /** @param {number} deadline */
  #setAlarm(deadline) {
    clearTimeout(this.#alarm);
    this.#alarmAt = deadline;
    const delay = Math.max(0, Math.min(deadline - performance.now(), LONGEST_TIMEOUT));
    this.#alarm = setTimeout(() => this.#onAlarm(), Math.ceil(delay));
    // What keeps the process alive is the connection.
    this.#alarm.unref();
  }

  #onAlarm() {
    this.#alarmAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const [sequence, { deadline, timeout }] of this.#calls) {
      if (deadline <= now) this.#onDue(sequence, timeout);
      else if (deadline < next) next = deadline;
    }
    if (next < this.#alarmAt) this.#setAlarm(next);
  }
}

module.exports = { Call, Calls, PromiseCall };
