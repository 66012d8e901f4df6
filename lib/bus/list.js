'use strict';

// A plain list, as the program has it. A value that was taken is acknowledged before the program gets it: who is killed in
// between has not taken it.

const envelope = require('./envelope');
const { listField, messageFields, nackFields, receiptsField } = require('./fields');
const { KIND } = require('./frames');
const options = require('./options');

/** @typedef {import('./frames').FrameReader} FrameReader */
/** @typedef {import('./frame-writer').FrameWriter} FrameWriter */

const nothing = () => {};

/** What all values have: a list has none of a queue's options. */
const PLAIN = options.messageOptions({});

/** How long a value may be on its way to who takes it, in milliseconds. */
const ON_ITS_WAY = 60_000;

class List {
  #context;

  /** @param {import('./queue').Context} context @param {string} name */
  constructor(context, name) {
    this.name = options.nameOf('name', name);
    this.#context = context;
  }

  /** @param {any} given */
  #wait(given) {
    return options.waitOf(options.object(given), this.#context.options.timeout);
  }

  /** @param {unknown} value @param {any} [given] @returns {Promise<void>} */
  async push(value, given) {
    const { serialization, maxMessageSize } = this.#context.options;
    const written = envelope.write(value, serialization);
    const write = (/** @type {FrameWriter} */ to) => writeValue(to, this.name, written, maxMessageSize);
    return this.#context.client.request(KIND.send, write, nothing, this.#wait(given));
  }

  /** @param {any} [given] */
  async pop(given) {
    const { wait } = options.receiveOptions(options.object(given));
    const { client } = this.#context;
    const limits = this.#wait(given);
    const taken = await client.request(
      KIND.receive,
      (to) => listField(to, this.name).u32(1).u64(wait).u64(ON_ITS_WAY),
      (_kind, from) => {
        const [value] = valuesIn(from);
        if (value !== undefined) client.held.set(value.receipt.message, value.receipt);
        return value;
      },
      {
        ...limits,
        timeout: limits.timeout + wait,
        isWait: true,
        onGivenUp: (from) => this.#release(from),
      },
    );
    if (taken === undefined) return undefined;
    const write = (/** @type {FrameWriter} */ to) => receiptsField(listField(to, this.name), [taken.receipt]);
    try {
      // It is taken now, whether somebody still waits for it or not.
      await client.request(KIND.ack, write, nothing, { timeout: limits.timeout, signal: undefined });
    } finally {
      client.held.delete(taken.receipt.message);
    }
    return envelope.read(taken.value);
  }

  /** @param {FrameReader} from */
  #release(from) {
    for (const { receipt } of valuesIn(from)) {
      const write = (/** @type {FrameWriter} */ to) =>
        nackFields(listField(to, this.name), receipt, { delay: 0, error: '', counts: false });
      this.#context.client.request(KIND.nack, write, nothing, this.#wait({})).catch(nothing);
    }
  }

  /** @param {any} [given] @returns {Promise<number>} */
  async length(given) {
    const write = (/** @type {FrameWriter} */ to) => listField(to, this.name);
    // What waits.
    const read = (/** @type {number} */ _kind, /** @type {FrameReader} */ from) => from.u64();
    return this.#context.client.request(KIND.stats, write, read, this.#wait(given));
  }
}

/** @param {FrameReader} from */
function valuesIn(from) {
  return Array.from({ length: from.u32() }, () => {
    const receipt = { message: from.u64(), delivery: from.u32() };
    // Visibility, priority, group, and that it is no dead letter.
    from.u64();
    from.u8();
    from.text();
    from.u8();
    return { receipt, value: from.bytes() };
  });
}

/**
 * @param {FrameWriter} to
 * @param {string} list
 * @param {string | Uint8Array} written
 * @param {number} maxMessageSize
 */
function writeValue(to, list, written, maxMessageSize) {
  messageFields(listField(to, list), PLAIN);
  envelope.writeWritten(to, written, maxMessageSize);
}

module.exports = { List, writeValue };
