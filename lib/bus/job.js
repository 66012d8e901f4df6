'use strict';

// Messages as the program gets them: one that waits in a queue, and one that this process holds.

const errors = require('../errors');
const { Envelope } = require('./envelope');

/** @typedef {import('./frames').FrameReader} FrameReader */
/** @typedef {import('./queue').Queue} Queue */

const NOTHING = Buffer.alloc(0);

class QueuedMessage {
  #receipt;
  /** Where its envelope is, which is read when somebody wants it. @type {Buffer} */
  #bytes = NOTHING;
  #at = 0;
  #end = 0;
  /** @type {Envelope | undefined} */
  #known;

  /** @param {FrameReader} from which keeps what it reads */
  constructor(from) {
    const receipt = { message: from.u64(), delivery: from.u32(), visibility: from.u64() };
    this.#receipt = receipt;
    this.priority = from.u8();
    const group = from.text();
    this.group = group === '' ? undefined : group;
    /** @type {import('../../bus').DeadLetter | undefined} */
    this.dead = undefined;
    if (from.u8() === 1) {
      const [queue, deliveries] = [from.text(), from.u32()];
      const reason = /** @type {'failed' | 'expired' | 'lost'} */ (from.text());
      this.dead = { queue, deliveries, reason, error: from.text() };
    }
    this.deliveries = receipt.delivery;
    const length = from.skip();
    this.#bytes = from.source;
    this.#end = from.at;
    this.#at = this.#end - length;
  }

  get #envelope() {
    this.#known ??= new Envelope(this.#bytes, this.#at, this.#end);
    return this.#known;
  }

  /** The engine's number of the message, and of the delivery; how long it is held, in milliseconds. @param {QueuedMessage} message */
  static receipt(message) {
    return message.#receipt;
  }

  get id() {
    return this.#envelope.id;
  }

  get message() {
    return this.#envelope.read();
  }

  get raw() {
    return this.#envelope.raw;
  }

  get headers() {
    return this.#envelope.headers;
  }

  get sentAt() {
    return new Date(this.#envelope.sentAt);
  }
}

class Job extends QueuedMessage {
  #queue;

  /** @param {FrameReader} from @param {Queue} queue */
  constructor(from, queue) {
    super(from);
    this.#queue = queue;
  }

  get queue() {
    return this.#queue.name;
  }

  /** @param {any} [options] */
  ack(options) {
    return this.#queue.ack(/** @type {any} */ (this), options);
  }

  /** @param {any} [options] */
  nack(options) {
    return this.#queue.nack(/** @type {any} */ (this), options);
  }

  /** @param {number} [visibility] @param {any} [options] */
  extend(visibility, options) {
    return this.#queue.extend(/** @type {any} */ (this), visibility, options);
  }
}

/** @param {any} job @param {string} [queue] that it must be of @returns {import('./fields').Receipt & { visibility: number }} */
function receiptOf(job, queue = undefined) {
  if (!(job instanceof Job)) throw errors.invalidArgType('job', 'a message that was received', job);
  if (queue !== undefined && job.queue !== queue) {
    throw errors.invalidArgValue('job', job.queue, `is of another queue than ${queue}`);
  }
  return QueuedMessage.receipt(job);
}

module.exports = { Job, QueuedMessage, receiptOf };
