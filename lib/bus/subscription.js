'use strict';

// A subscription, as the program has it: a listener, or an async iterable. The engine sends no more than has been read and
// `buffer` more; what is beyond that waits there, within a bound.

const envelope = require('./envelope');
const { tell } = require('../util/tell');

/** @typedef {{ topic: string, message: any }} TopicMessage */

class Subscription {
  #bus;
  #buffer;
  /** @type {((message: any, topic: string) => void) | undefined} */
  #listener;
  /** @type {{ topic: string, body: Buffer }[]} read in its order */
  #unread = [];
  #at = 0;
  #read = 0;
  #dropped = 0;
  /** @type {Error | undefined} */
  #error;
  #hasEnded = false;
  /** @type {((error: Error | undefined) => void)} */
  #resolveEnded = () => {};
  /** @type {() => void} */
  #wake = () => {};
  /** What those wait for who iterate. @type {Promise<void> | undefined} */
  #next;
  /** @type {import('./client').Client | undefined} */
  #client;
  /** @type {import('./client').Subscriber | undefined} */
  #subscriber;
  /** What the engine has said of what it dropped; after another connection it counts from nothing. */
  #seen = 0;

  /**
   * @param {import('./bus').Bus} bus
   * @param {string} pattern
   * @param {number} buffer
   * @param {((message: any, topic: string) => void) | undefined} listener
   */
  constructor(bus, pattern, buffer, listener) {
    this.#bus = bus;
    this.pattern = pattern;
    this.#buffer = buffer;
    this.#listener = listener;
    this.ended = new Promise((/** @type {(error: Error | undefined) => void} */ resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  get dropped() {
    return this.#dropped;
  }

  /** @param {import('./client').Client} client @param {(to: import('./frame-writer').FrameWriter) => void} write @param {import('./client').Wait} wait */
  async open(client, write, wait) {
    /** @type {import('./client').Subscriber} */
    const subscriber = {
      number: 0,
      onEvent: (/** @type {import('./frames').FrameReader} */ from) => {
        const dropped = from.u64();
        if (dropped > this.#seen) this.#count(dropped);
        const topic = from.repeated();
        const length = from.skip();
        this.#onEvent(topic, from.source, from.at - length, from.at);
      },
      onEnd: (/** @type {Error | undefined} */ error) => this.#end(error),
      onAgain: () => {
        this.#seen = 0;
        this.#read = 0;
      },
    };
    this.#client = client;
    this.#subscriber = subscriber;
    await client.subscribe(write, subscriber, wait);
    return this;
  }

  /** @param {number} dropped */
  #count(dropped) {
    this.#dropped += dropped - this.#seen;
    this.#seen = dropped;
  }

  /** @param {string} topic @param {Buffer} bytes which are others afterwards @param {number} at where the message begins @param {number} end */
  #onEvent(topic, bytes, at, end) {
    if (this.#hasEnded) return;
    if (this.#listener === undefined) {
      this.#unread.push({ topic, body: Buffer.from(bytes.subarray(at, end)) });
      this.#wake();
      return;
    }
    this.#onRead();
    /** @type {unknown} */
    let message;
    try {
      message = envelope.read(bytes, at, end);
    } catch (error) {
      tell(this.#bus, 'unreadable', error, topic, Buffer.from(bytes.subarray(at, end)));
      return;
    }
    try {
      this.#listener(message, topic);
    } catch (error) {
      // As an error that the listener of an event throws; what has come behind it is read all the same.
      process.nextTick(() => {
        throw error;
      });
    }
  }

  /** @param {string} topic @param {Buffer} body @returns {TopicMessage | undefined} */
  #parse(topic, body) {
    try {
      return { topic, message: envelope.read(body) };
    } catch (error) {
      tell(this.#bus, 'unreadable', error, topic, body);
      return undefined;
    }
  }

  /** The engine is told once for many. */
  #onRead() {
    this.#read += 1;
    if (this.#read < this.#buffer / 2) return;
    if (this.#subscriber !== undefined) this.#client?.credit(this.#subscriber.number, this.#read);
    this.#read = 0;
  }

  /** @param {Error | undefined} error */
  #end(error) {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#error = error;
    this.#resolveEnded(error);
    this.#wake();
  }

  async close() {
    if (this.#hasEnded) return;
    if (this.#subscriber !== undefined) this.#client?.unsubscribe(this.#subscriber.number);
    // What has come is still there for who iterates.
    this.#end(undefined);
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        while (this.#at < this.#unread.length) {
          const { topic, body } = this.#unread[this.#at++];
          // What was read is let go, also if there is always more.
          if (2 * this.#at >= this.#unread.length)
            [this.#unread, this.#at] = [this.#unread.slice(this.#at), 0];
          if (!this.#hasEnded) this.#onRead();
          const read = this.#parse(topic, body);
          if (read !== undefined) yield read;
        }
        if (this.#error !== undefined) throw this.#error;
        if (this.#hasEnded) return;
        this.#next ??= new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
          this.#wake = () => {
            this.#next = undefined;
            resolve();
          };
        });
        await this.#next;
      }
    } finally {
      await this.close();
    }
  }
}

module.exports = { Subscription };
