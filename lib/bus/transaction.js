'use strict';

// `bus.transaction`: what belongs together is gathered, and goes to the engine as one request.

const { bodyOf, write, writeEnvelope, writeWritten } = require('./envelope');
const { headersField, messageFields, nackFields, queueField, receiptsField } = require('./fields');
const { FrameWriter } = require('./frame-writer');
const { HEAD, KIND } = require('./frames');
const { receiptOf } = require('./job');
const { writeValue } = require('./list');
const options = require('./options');
const { invalidArgType, transactionOver } = require('../errors');

class Transaction {
  #context;
  #writer = new FrameWriter();
  /** @type {Buffer[]} */
  #ops = [];
  /** @type {number[]} the messages that are acknowledged or given back */
  #settled = [];
  #isOver = false;

  /** @param {import('./queue').Context} context */
  constructor(context) {
    this.#context = context;
  }

  /** @param {number} kind @param {(to: FrameWriter) => void} write */
  #add(kind, write) {
    if (this.#isOver) throw transactionOver();
    const to = this.#writer.begin(kind, 0);
    write(to);
    const frame = to.end();
    // Without a frame of its own, an operation has no length and no number.
    this.#ops.push(Buffer.concat([Buffer.of(kind), frame.subarray(HEAD)]));
  }

  /** @param {string} name */
  queue(name) {
    const queue = options.nameOf('name', name);
    return {
      send: (/** @type {unknown} */ message, /** @type {any} */ given) => {
        const about = options.messageOptions(options.object(given));
        const id = about.id === '' ? this.#context.nextId() : about.id;
        const { serialization, maxMessageSize } = this.#context.options;
        const body = bodyOf(message, serialization);
        const headers = headersField(about.headers);
        this.#add(KIND.send, (to) => {
          messageFields(queueField(to, queue), about);
          writeEnvelope(to, body, { id, headers }, maxMessageSize);
        });
        return id;
      },
    };
  }

  /** @param {string} name */
  list(name) {
    const list = options.nameOf('name', name);
    return {
      push: (/** @type {unknown} */ value) => {
        const { serialization, maxMessageSize } = this.#context.options;
        const written = write(value, serialization);
        this.#add(KIND.send, (to) => writeValue(to, list, written, maxMessageSize));
      },
    };
  }

  /** @param {string} topic @param {unknown} message */
  publish(topic, message) {
    const name = options.nameOf('topic', topic);
    const { serialization, maxMessageSize } = this.#context.options;
    const written = write(message, serialization);
    this.#add(KIND.publish, (to) => writeWritten(to.text(name), written, maxMessageSize));
  }

  /** @param {any} job */
  ack(job) {
    const receipt = receiptOf(job);
    this.#settled.push(receipt.message);
    this.#add(KIND.ack, (to) => receiptsField(queueField(to, job.queue), [receipt]));
  }

  /** @param {any} job @param {any} [given] */
  nack(job, given) {
    const receipt = receiptOf(job);
    const how = options.nackOptions(options.object(given));
    this.#settled.push(receipt.message);
    this.#add(KIND.nack, (to) => nackFields(queueField(to, job.queue), receipt, how));
  }

  /** @param {import('./client').Wait} wait */
  async commit(wait) {
    this.#isOver = true;
    if (this.#ops.length === 0) return;
    const ops = this.#ops;
    const { client } = this.#context;
    const write = (/** @type {FrameWriter} */ to) => {
      to.u32(ops.length);
      for (const op of ops) to.raw(op);
    };
    await client.request(KIND.transaction, write, () => {}, wait);
    for (const message of this.#settled) client.held.delete(message);
  }
}

/**
 * @param {import('./queue').Context} context
 * @param {(tx: any) => any} fn
 * @param {import('./client').Wait} wait
 */
async function transaction(context, fn, wait) {
  if (typeof fn !== 'function') throw invalidArgType('fn', 'of type function', fn);
  const tx = new Transaction(context);
  const result = await fn(tx);
  await tx.commit(wait);
  return result;
}

module.exports = { transaction };
