'use strict';

// `queue.process`: takes messages as there is room for them, holds each while the program works on it, and tries again later
// what has failed.

const { AsyncResource } = require('node:async_hooks');
const errors = require('../errors');
const { MAX_COUNT, visibilityOf } = require('./options');
const { integer } = require('../util/integer');
const { LONGEST_TIMEOUT } = require('../util/longest-timeout');

/** @typedef {import('./job').Job} Job */

/** After the engine has failed to give a message, in milliseconds. */
const PAUSE = 1_000;

/** What may be over soon: the disk is full, or too many calls wait for an engine that is away. */
const PASSING = ['ERR_CORRAL_BUS_STORE', 'ERR_CORRAL_BUS_OFFLINE'];

/** @type {import('./client').Wait} */
const NO_END = { timeout: Number.POSITIVE_INFINITY, signal: undefined };

/**
 * How long to wait before a message is tried again.
 *
 * @param {{ delay: number, factor: number, maxDelay: number, jitter: number }} retry
 * @param {number} failures so far
 * @param {() => number} [random]
 */
function backOff({ delay, factor, maxDelay, jitter }, failures, random = Math.random) {
  // Nothing stays nothing, also of what is too large for a number.
  const full = delay === 0 ? 0 : Math.min(delay * factor ** (failures - 1), maxDelay);
  return Math.round(full * (1 - jitter * random()));
}

/** What the program's function gets beside a message. Few look at the signal, which costs as much as all else here: it is made then. */
class JobContext {
  #controller = /** @type {AbortController | undefined} */ (undefined);
  /** @type {Error | undefined} why the message is another's now */
  #reason;

  get signal() {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** @param {Error} reason */
  lose(reason) {
    this.#reason ??= reason;
    this.#controller?.abort(reason);
  }
}

/** A message that the program works on. */
class Work {
  context = new JobContext();

  /** @param {Job} job @param {number} every how many milliseconds it is extended @param {number} next when that is, of `performance.now()` */
  constructor(job, every, next) {
    this.job = job;
    this.every = every;
    this.next = next;
  }
}

class Processor {
  #queue;
  #fn;
  #concurrency;
  #visibility;
  #signal;
  #onError;
  /** How many messages the program works on, and how many are being acknowledged. */
  #running = 0;
  #settling = 0;
  /** What is held while the program works on it. @type {Set<Work>} */
  #kept = new Set();
  /** @type {NodeJS.Timeout | undefined} */
  #alarm;
  #alarmAt = Number.POSITIVE_INFINITY;
  /** The request for more. @type {import('./calls').Call | undefined} */
  #receiving;
  /** A rest after the engine has failed. @type {NodeJS.Timeout | undefined} */
  #rest;
  #isPumpDue = false;
  #isOver = false;
  /** @type {Error | undefined} why it is over, if nobody has asked for that */
  #failure;
  /** @type {(value?: undefined) => void} */
  #resolve = () => {};
  /** @type {(error: Error) => void} */
  #reject = () => {};
  /** The function runs for who has called `process`, whatever brings the messages. */
  #scope = new AsyncResource('CorralBusProcess');
  #onJobs = (/** @type {Job[]} */ jobs) => this.#scope.runInAsyncScope(this.#workOn, this, jobs);
  #onFailed = (/** @type {NodeJS.ErrnoException} */ error) => this.#onReceiveFailed(error);
  #onTurnEnd = () => this.#pump();
  #end = () => this.#stop();

  /** @param {import('./queue').Queue} queue @param {(job: Job, context: { signal: AbortSignal }) => unknown} fn @param {any} options */
  constructor(queue, fn, options) {
    const { signal, onError } = options;
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw errors.invalidArgType('options.signal', 'an instance of AbortSignal', signal);
    }
    if (onError !== undefined && typeof onError !== 'function') {
      throw errors.invalidArgType('options.onError', 'of type function', onError);
    }
    this.#queue = queue;
    this.#fn = fn;
    this.#concurrency = integer(options, 'concurrency', 1, 1, MAX_COUNT);
    this.#visibility = visibilityOf(options);
    this.#signal = signal;
    this.#onError = onError ?? (() => {});
  }

  /** @returns {Promise<void>} */
  run() {
    return new Promise((resolve, reject) => {
      if (this.#signal?.aborted) return resolve();
      this.#resolve = resolve;
      this.#reject = reject;
      this.#signal?.addEventListener('abort', this.#end, { once: true });
      this.#pump();
    });
  }

  /** Asks for as many messages as there is room for. */
  #pump() {
    this.#isPumpDue = false;
    const room = this.#concurrency - this.#running;
    if (this.#isOver || this.#receiving !== undefined || this.#rest !== undefined || room === 0) return;
    const wanted = { count: room, wait: Number.POSITIVE_INFINITY, visibility: this.#visibility };
    try {
      this.#receiving = this.#queue.take(wanted, NO_END, this.#onJobs, this.#onFailed);
    } catch (error) {
      this.#onReceiveFailed(/** @type {NodeJS.ErrnoException} */ (error));
    }
  }

  /** At the end of this turn, when all is known that there is room for, and together with the acknowledgements. */
  #pumpSoon() {
    if (this.#isPumpDue || this.#isOver) return;
    this.#isPumpDue = true;
    this.#queue.client.atTurnEnd(this.#onTurnEnd);
  }

  /** @param {NodeJS.ErrnoException} error */
  #onReceiveFailed(error) {
    this.#receiving = undefined;
    if (this.#isOver) return;
    if (!PASSING.includes(error.code ?? '')) return this.#fail(error);
    // Nothing was lost, and it may be over soon.
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      this.#pump();
    }, PAUSE);
  }

  /** @param {Error} error */
  #fail(error) {
    this.#failure = error;
    this.#stop();
  }

  /** Takes no more. */
  #stop() {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#rest);
    const receiving = this.#receiving;
    if (receiving !== undefined) this.#queue.client.cancel(receiving, errors.aborted(this.#signal?.reason));
    this.#finishIfDone();
  }

  #finishIfDone() {
    if (!this.#isOver || this.#running + this.#settling > 0) return;
    this.#signal?.removeEventListener('abort', this.#end);
    clearTimeout(this.#alarm);
    if (this.#failure === undefined) this.#resolve();
    else this.#reject(this.#failure);
  }

  /** @param {Job[]} jobs */
  #workOn(jobs) {
    this.#receiving = undefined;
    this.#running += jobs.length;
    const now = performance.now();
    for (const job of jobs) this.#work(job, now);
    this.#pumpSoon();
  }

  /** @param {Job} job @param {number} now */
  #work(job, now) {
    const every = Math.min(Math.max(this.#queue.heldFor(job) / 3, 10), LONGEST_TIMEOUT);
    const work = new Work(job, every, now + every);
    this.#kept.add(work);
    if (work.next < this.#alarmAt) this.#setAlarm(work.next);
    /** @type {any} */
    let result;
    try {
      result = this.#fn(job, work.context);
    } catch (error) {
      return this.#done(work, { error });
    }
    if (typeof result?.then === 'function') this.#wait(work, result);
    else this.#done(work, undefined);
  }

  /** @param {Work} work @param {PromiseLike<unknown>} result */
  async #wait(work, result) {
    try {
      await result;
    } catch (error) {
      return this.#done(work, { error });
    }
    this.#done(work, undefined);
  }

  /** The function has ended. @param {Work} work @param {{ error: unknown } | undefined} failure what it has thrown */
  #done(work, failure) {
    const { job } = work;
    this.#kept.delete(work);
    this.#running -= 1;
    this.#settling += 1;
    this.#pumpSoon();
    if (failure !== undefined) {
      this.#tryAgain(job, failure.error);
      return;
    }
    // The function may have said itself what becomes of it, as in a transaction.
    if (!this.#queue.holds(job)) return this.#settled(job);
    const done = (/** @type {Error | undefined} */ error) => this.#settled(job, error);
    try {
      this.#queue.acknowledge(job, done);
    } catch (error) {
      this.#settled(job, /** @type {Error} */ (error));
    }
  }

  /** @param {Job} job @param {unknown} thrown */
  async #tryAgain(job, thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    this.#report(error, job);
    try {
      if (this.#queue.holds(job))
        await job.nack({ delay: backOff(this.#queue.retry, job.deliveries), error });
    } catch (failure) {
      return this.#settled(job, /** @type {Error} */ (failure));
    }
    this.#settled(job);
  }

  /** The engine knows what has become of a message, or it was not told. @param {Job} job @param {Error} [error] */
  #settled(job, error = undefined) {
    this.#settling -= 1;
    if (error !== undefined) this.#report(error, job);
    if (this.#isOver) this.#finishIfDone();
  }

  /** One timer for all messages: as a rule a message is done long before. @param {number} time of `performance.now()` */
  #setAlarm(time) {
    clearTimeout(this.#alarm);
    this.#alarmAt = time;
    this.#alarm = setTimeout(() => this.#onAlarm(), Math.max(0, time - performance.now()));
    // The function itself keeps the process alive, or it does not.
    this.#alarm.unref();
  }

  /** Extends the time for which messages are held for as long as the program works on them. */
  #onAlarm() {
    this.#alarmAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const work of this.#kept) {
      if (work.next <= now) {
        work.next = now + work.every;
        work.job.extend(this.#visibility === 0 ? undefined : this.#visibility).catch((error) => {
          if (error.code === 'ERR_CORRAL_BUS_NOT_HELD') work.context.lose(error);
        });
      }
      next = Math.min(next, work.next);
    }
    if (next < Number.POSITIVE_INFINITY) this.#setAlarm(next);
  }

  /** @param {Error} error @param {Job} job */
  #report(error, job) {
    try {
      this.#onError(error, job);
    } catch (thrown) {
      // As an error that a listener throws.
      process.nextTick(() => {
        throw thrown;
      });
    }
  }
}

/** @param {import('./queue').Queue} queue @param {(job: Job, context: { signal: AbortSignal }) => unknown} fn @param {any} options */
function processQueue(queue, fn, options) {
  return new Processor(queue, fn, options).run();
}

module.exports = { backOff, processQueue };
