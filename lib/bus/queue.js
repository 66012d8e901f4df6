'use strict';

// A queue, as the program has it.

const errors = require('../errors');
const { Call, PromiseCall } = require('./calls');
const { bodyOf, writeEnvelope } = require('./envelope');
const {
  headersField,
  messageFields,
  nackFields,
  queueField,
  receiptField,
  receiptsField,
} = require('./fields');
const { FrameWriter } = require('./frame-writer');
const { HEAD, KIND, REPLY } = require('./frames');
const { Job, QueuedMessage, receiptOf } = require('./job');
const options = require('./options');
const { processQueue } = require('./process');

/** @typedef {import('./frames').FrameReader} FrameReader */
/** @typedef {import('./options').BusOptions} BusOptions */
/** @typedef {{ client: import('./client').Client, options: BusOptions, nextId: () => string }} Context */

/** How many messages `peek` gives if it is not said. */
const PEEKED = 10;

/** The options of a message of which nothing is said, and its headers. */
const PLAIN = options.messageOptions({});

const nothing = () => {};
const count = (/** @type {number} */ _kind, /** @type {FrameReader} */ from) => from.u64();

/** Fields that are the same each time. @param {(to: import('./frame-writer').FrameWriter) => void} write */
function written(write) {
  const to = new FrameWriter().begin(0, 0);
  write(to);
  return to.end().subarray(HEAD);
}

const PLAIN_FIELDS = written((to) => messageFields(to, PLAIN));

/** Messages that are done. */
class AckCall extends Call {
  #held;
  #receipts;
  #done;

  /**
   * @param {Map<number, import('./fields').Receipt>} held by the client
   * @param {readonly import('./fields').Receipt[]} receipts
   * @param {(error?: Error) => void} done
   */
  constructor(held, receipts, done) {
    super();
    this.#held = held;
    this.#receipts = receipts;
    this.#done = done;
  }

  /** @override */
  fulfil() {
    this.#forget();
    this.#done();
  }

  /** @override @param {NodeJS.ErrnoException} error */
  reject(error) {
    // Of several those that were held are done. Otherwise all are held still, as far as is known.
    if (error.code === 'ERR_CORRAL_BUS_NOT_HELD') this.#forget();
    this.#done(error);
  }

  #forget() {
    for (const receipt of this.#receipts) {
      // A dead letter has the number that it had before.
      if (this.#held.get(receipt.message) === receipt) this.#held.delete(receipt.message);
    }
  }
}

/** Messages that are wanted. */
class ReceiveCall extends Call {
  #queue;
  #onJobs;
  #onError;

  /** @param {Queue} queue @param {(jobs: Job[]) => void} onJobs @param {(error: Error) => void} onError */
  constructor(queue, onJobs, onError) {
    super();
    this.#queue = queue;
    this.#onJobs = onJobs;
    this.#onError = onError;
  }

  /** @override @param {number} _kind @param {FrameReader} from */
  fulfil(_kind, from) {
    /** @type {Job[]} */
    let jobs;
    try {
      jobs = this.#queue.jobsIn(from);
    } catch (error) {
      return this.#onError(/** @type {Error} */ (error));
    }
    this.#onJobs(jobs);
  }

  /** @override @param {Error} error */
  reject(error) {
    this.#onError(error);
  }
}

class Queue {
  #context;
  /** The options of it that are this object's own, or that the engine does not know yet. */
  #options;
  /** What the engine is told before anything else. @type {Promise<void> | undefined} */
  #declared;
  /** Its name, as it is written. */
  #field;
  #releaseBound = (/** @type {FrameReader} */ from) => this.#release(from);

  /** @param {Context} context @param {string} name @param {unknown} given */
  constructor(context, name, given) {
    this.name = options.nameOf('name', name);
    this.#context = context;
    this.#options = options.queueOptions(options.object(given));
    this.#field = written((to) => queueField(to, this.name));
  }

  get client() {
    return this.#context.client;
  }

  /** When to try a message again. */
  get retry() {
    return this.#options.retry;
  }

  /** @param {any} given @param {number} [fallback] */
  #wait(given, fallback = this.#context.options.timeout) {
    return options.waitOf(options.object(given), fallback);
  }

  /**
   * @template T
   * @param {number} kind
   * @param {(to: import('./frame-writer').FrameWriter) => void} write
   * @param {(kind: number, from: FrameReader) => T} read
   * @param {import('./client').Wait} wait
   */
  #request(kind, write, read, wait) {
    return this.#context.client.request(kind, write, read, wait);
  }

  /** Tells the engine of the options that were given. Requests are carried out in their order: nobody waits for it. */
  #declare() {
    if (this.#declared !== undefined) return;
    const { visibility, maxDeliveries, deadLetter } = this.#options;
    const given = [visibility, maxDeliveries, deadLetter];
    if (given.every((value) => value === undefined)) {
      this.#declared = Promise.resolve();
      return;
    }
    const flags = given.reduce(
      (/** @type {number} */ all, value, i) => all | (value === undefined ? 0 : 1 << i),
      0,
    );
    const write = (/** @type {import('./frame-writer').FrameWriter} */ to) =>
      queueField(to, this.name)
        .u8(flags)
        .u64(visibility ?? 0)
        .u32(maxDeliveries ?? 0)
        .text(deadLetter ?? '');
    const wait = { timeout: Number.POSITIVE_INFINITY, signal: undefined };
    this.#declared = this.#context.client.request(KIND.declare, write, nothing, wait);
    // It is told again with the next message.
    this.#declared.catch(() => {
      this.#declared = undefined;
    });
  }

  /** @param {unknown} message @param {any} [given] @returns {Promise<{ id: string, duplicate: boolean }>} */
  send(message, given) {
    return new Promise((resolve, reject) => {
      const { client, nextId, options: own } = this.#context;
      const about = given === undefined ? PLAIN : options.messageOptions(options.object(given));
      const wait = given === undefined ? own.wait : this.#wait(given);
      const body = bodyOf(message, own.serialization);
      const headers = headersField(about.headers);
      const id = about.id === '' ? nextId() : about.id;
      this.#declare();
      const to = client.begin(KIND.send, wait).raw(this.#field);
      if (about === PLAIN) to.raw(PLAIN_FIELDS);
      else messageFields(to, about);
      writeEnvelope(to, body, { id, headers }, own.maxMessageSize);
      const read = (/** @type {number} */ kind) => ({ id, duplicate: kind === REPLY.duplicate });
      client.commit(new PromiseCall(resolve, reject, read), wait);
    });
  }

  /** @param {any} [given] @returns {Promise<Job[]>} */
  receive(given) {
    return new Promise((resolve, reject) => {
      const wanted = options.receiveOptions(options.object(given));
      const wait = this.#wait(given);
      this.take(wanted, { ...wait, timeout: wait.timeout + wanted.wait }, resolve, reject);
    });
  }

  /**
   * Asks for messages: `receive`, without a promise.
   *
   * @param {{ count: number, wait: number, visibility: number }} wanted
   * @param {import('./client').Wait} wait
   * @param {(jobs: Job[]) => void} onJobs
   * @param {(error: Error) => void} onError
   * @returns {Call}
   */
  take(wanted, wait, onJobs, onError) {
    const { client } = this.#context;
    this.#declare();
    client
      .begin(KIND.receive, wait)
      .raw(this.#field)
      .u32(wanted.count)
      .u64(wanted.wait)
      .u64(wanted.visibility);
    const call = new ReceiveCall(this, onJobs, onError);
    client.commit(call, { ...wait, isWait: true, onGivenUp: this.#releaseBound });
    return call;
  }

  /** Messages that have come, which this process holds from now on. @param {FrameReader} from */
  jobsIn(from) {
    const { held } = this.#context.client;
    /** @type {Job[]} */
    const jobs = [];
    from.keep();
    for (let left = from.u32(); left > 0; left -= 1) jobs.push(new Job(from, this));
    for (const job of jobs) {
      const receipt = receiptOf(job);
      held.set(receipt.message, receipt);
    }
    return jobs;
  }

  /** Whether the program has not said yet what becomes of a message. @param {Job} job */
  holds(job) {
    const receipt = receiptOf(job);
    return this.#context.client.held.get(receipt.message) === receipt;
  }

  /** Gives back what has come for somebody who does not wait any more. @param {FrameReader} from */
  #release(from) {
    from.keep();
    for (let left = from.u32(); left > 0; left -= 1) {
      const job = new Job(from, this);
      this.#giveBack(job, { delay: 0, error: '', counts: false }, this.#wait({})).catch(nothing);
    }
  }

  /** @param {Job | readonly Job[]} jobs @param {any} [given] @returns {Promise<void>} */
  ack(jobs, given) {
    return new Promise((resolve, reject) => {
      const receipts = Array.isArray(jobs)
        ? jobs.map((job) => receiptOf(job, this.name))
        : [receiptOf(jobs, this.name)];
      if (receipts.length === 0) return resolve();
      const wait = given === undefined ? this.#context.options.wait : this.#wait(given);
      this.#settle(receipts, wait, (error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /** How long a message is held that was received, in milliseconds. @param {Job} job */
  heldFor(job) {
    return receiptOf(job).visibility;
  }

  /** `ack`, without a promise. It throws what keeps the request from being sent. @param {Job} job @param {(error?: Error) => void} done */
  acknowledge(job, done) {
    this.#settle([receiptOf(job)], this.#context.options.wait, done);
  }

  /**
   * @param {readonly import('./fields').Receipt[]} receipts
   * @param {import('./client').Wait} wait
   * @param {(error?: Error) => void} done
   */
  #settle(receipts, wait, done) {
    const { client } = this.#context;
    receiptsField(client.begin(KIND.ack, wait).raw(this.#field), receipts);
    client.commit(new AckCall(client.held, receipts, done), wait);
  }

  /** @param {Job} job @param {any} [given] */
  async nack(job, given) {
    receiptOf(job, this.name);
    await this.#giveBack(job, options.nackOptions(options.object(given)), this.#wait(given));
  }

  /**
   * @param {Job} job
   * @param {{ delay: number, error: string, counts?: boolean }} how
   * @param {import('./client').Wait} wait
   */
  #giveBack(job, how, wait) {
    return new Promise((/** @type {(value?: undefined) => void} */ resolve, reject) => {
      const { client } = this.#context;
      const receipt = receiptOf(job);
      nackFields(client.begin(KIND.nack, wait).raw(this.#field), receipt, how);
      const done = (/** @type {Error | undefined} */ error) =>
        error === undefined ? resolve() : reject(error);
      client.commit(new AckCall(client.held, [receipt], done), wait);
    });
  }

  /** @param {Job} job @param {number} [visibility] @param {any} [given] */
  async extend(job, visibility, given) {
    const receipt = receiptOf(job, this.name);
    const time = options.visibilityOf({ visibility });
    await this.#request(
      KIND.extend,
      (to) => receiptField(queueField(to, this.name), receipt).u64(time),
      nothing,
      this.#wait(given),
    );
  }

  /** @param {(job: Job, context: { signal: AbortSignal }) => unknown} fn @param {any} [given] */
  async process(fn, given) {
    if (typeof fn !== 'function') throw errors.invalidArgType('fn', 'of type function', fn);
    return processQueue(this, fn, options.object(given));
  }

  /** @param {any} [given] @returns {Promise<QueuedMessage[]>} */
  async peek(given) {
    const { count: most } = options.receiveOptions({ count: PEEKED, ...options.object(given) });
    return this.#request(
      KIND.peek,
      (to) => queueField(to, this.name).u32(most),
      (_kind, from) => {
        from.keep();
        return Array.from({ length: from.u32() }, () => new QueuedMessage(from));
      },
      this.#wait(given),
    );
  }

  /** @param {any} [given] */
  async stats(given) {
    const read = (/** @type {number} */ _kind, /** @type {FrameReader} */ from) => {
      const [waiting, delayed, held, receivers] = [from.u64(), from.u64(), from.u64(), from.u64()];
      return { waiting, delayed, held, receivers };
    };
    return this.#request(KIND.stats, (to) => queueField(to, this.name), read, this.#wait(given));
  }

  /** @param {any} [given] @returns {Promise<number>} */
  async purge(given) {
    return this.#request(KIND.purge, (to) => queueField(to, this.name), count, this.#wait(given));
  }

  /** @param {any} [given] @returns {Promise<void>} */
  async drain(given) {
    const wait = { ...this.#wait(given, 0), isWait: true };
    return this.#request(KIND.drain, (to) => queueField(to, this.name), nothing, wait);
  }

  /** @param {any} [given] @returns {Promise<void>} */
  async delete(given) {
    await this.#request(KIND.delete, (to) => queueField(to, this.name), nothing, this.#wait(given));
    // Whoever uses it again makes it again.
    this.#declared = undefined;
  }
}

module.exports = { Queue };
