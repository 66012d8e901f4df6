'use strict';

// The bus, as the program has it.
//
//   connect.js        `connect`: which engine a URL means
//   bus.js            topics, and what the others are made of
//   queue.js          queues
//   process.js        `queue.process`
//   job.js            messages of queues
//   list.js           lists
//   subscription.js   subscriptions
//   transaction.js    transactions
//   options.js        what the program gives, checked
//   client.js         the engine, over one connection after the other
//   connection.js     one of these
//   frames.js         requests and replies as bytes
//   frame-writer.js   writing these, in memory that is used again
//   outbox.js         all that goes out in one turn
//   fields.js         fields that several of them have
//   envelope.js       messages as bytes
//   json.js           messages as JSON
//   redis.js          the engine in Redis or Valkey
//   embedded.js       the engines of our own, in memory and in a file
//   engines.js        the engines that this process serves or uses, for whoever observes it
//   serving.js        what this process serves to others: files, and the engine in memory to its workers
//   calls.js          calls that wait for the engine, and their deadlines
//   abandoned.js      calls that nobody waits for any more
//   native.js         the addon; binding.d.ts: what it exports, generated
//   redis-native.js   the addon of the engine in Redis; redis-binding.d.ts

const crypto = require('node:crypto');
const EventEmitter = require('node:events');
const errors = require('../errors');
const { Client } = require('./client');
const { PromiseCall } = require('./calls');
const { write, writeWritten } = require('./envelope');
const { engines } = require('./engines');
const { KIND } = require('./frames');
const { List } = require('./list');
const options = require('./options');
const { Queue } = require('./queue');
const { Subscription } = require('./subscription');
const { transaction } = require('./transaction');
const { tell } = require('../util/tell');

/** How long `close` waits for what is under way, in milliseconds. */
const CLOSE_TIMEOUT = 5_000;

const count = (/** @type {number} */ _kind, /** @type {import('./frames').FrameReader} */ from) => from.u64();

class Bus extends EventEmitter {
  #client;
  /** @type {import('./queue').Context} */
  #context;
  /** @type {Promise<void> | undefined} */
  #closed;

  /** @param {Client} client @param {import('./options').BusOptions} busOptions */
  constructor(client, busOptions) {
    super();
    this.#client = client;
    // No other bus has its ids.
    const own = crypto.randomBytes(9).toString('base64url');
    let count = 0;
    const nextId = () => `${own}-${(count++).toString(36)}`;
    this.#context = { client, options: busOptions, nextId };
    let isFirst = true;
    client.on('up', () => {
      if (!isFirst) tell(this, 'up');
      isFirst = false;
    });
    client.on('down', (error) => tell(this, 'down', error));
    client.on('close', () => tell(this, 'close'));
  }

  get engine() {
    return this.#client.engineName;
  }

  get state() {
    const { state } = this.#client;
    return state === 'connecting' ? 'down' : state;
  }

  /** @param {any} given */
  #wait(given) {
    return options.waitOf(options.object(given), this.#context.options.timeout);
  }

  /** @param {string} topic @param {unknown} message @param {any} [given] @returns {Promise<number>} */
  publish(topic, message, given) {
    return new Promise((resolve, reject) => {
      const name = options.nameOf('topic', topic);
      const { options: own } = this.#context;
      const wait = given === undefined ? own.wait : this.#wait(given);
      const written = write(message, own.serialization);
      writeWritten(this.#client.begin(KIND.publish, wait).text(name), written, own.maxMessageSize);
      this.#client.commit(new PromiseCall(resolve, reject, count), wait);
    });
  }

  /** @param {string} pattern @param {any} [listener] @param {any} [given] */
  async subscribe(pattern, listener, given) {
    const name = options.nameOf('pattern', pattern);
    const hasListener = typeof listener === 'function';
    if (!hasListener && (given !== undefined || (listener !== undefined && typeof listener !== 'object'))) {
      throw errors.invalidArgType('listener', 'of type function', listener);
    }
    const all = options.object(hasListener ? given : listener);
    const { buffer, overflow } = options.subscribeOptions(all);
    const subscription = new Subscription(this, name, buffer, hasListener ? listener : undefined);
    return subscription.open(
      this.#client,
      (to) =>
        to
          .text(name)
          .u32(buffer)
          .u8(overflow === 'end' ? 1 : 0),
      this.#wait(all),
    );
  }

  /** @param {string} name @param {any} [given] */
  queue(name, given) {
    return new Queue(this.#context, name, given);
  }

  /** @param {string} name */
  list(name) {
    return new List(this.#context, name);
  }

  /** @param {any} [given] @returns {Promise<string[]>} */
  async queues(given) {
    return this.#client.request(
      KIND.queues,
      () => {},
      (_kind, from) => Array.from({ length: from.u32() }, () => from.text()),
      this.#wait(given),
    );
  }

  /** @param {(tx: any) => any} fn @param {any} [given] */
  async transaction(fn, given) {
    return transaction(this.#context, fn, this.#wait(given));
  }

  /** @param {any} [given] @returns {Promise<void>} */
  close(given) {
    const { timeout } = options.waitOf(options.object(given), CLOSE_TIMEOUT);
    this.#closed ??= this.#close(timeout);
    return this.#closed;
  }

  /** @param {number} timeout */
  async #close(timeout) {
    const closed = EventEmitter.once(this.#client, 'close');
    await this.#client.close(timeout);
    await closed;
  }

  /** @returns {Promise<void>} */
  [/** @type {any} */ (Symbol).asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
    return this.close();
  }
}

/**
 * A bus whose engine has answered.
 *
 * @param {import('./client').Engine} engine
 * @param {import('./options').BusOptions} busOptions
 * @returns {Promise<Bus>}
 */
function open(engine, busOptions) {
  return new Promise((resolve, reject) => {
    const { signal, connectTimeout } = busOptions;
    const client = new Client(engine, busOptions);
    const bus = new Bus(client, busOptions);
    const timer = setTimeout(() => {
      const reason = client.cause === undefined ? '' : `: ${client.cause.message}`;
      fail(errors.busUnavailable(`there was none within ${connectTimeout} ms${reason}`, client.cause));
    }, connectTimeout);
    const onAbort = () => fail(errors.aborted(signal?.reason));
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const fail = (/** @type {Error} */ error) => {
      done();
      client.abort();
      reject(error);
    };
    signal?.addEventListener('abort', onAbort);
    client.once('failed', fail);
    client.once('up', () => {
      done();
      const { name, connect } = engine;
      if (name !== undefined && connect !== undefined) client.once('close', engines.add(name, connect));
      resolve(bus);
    });
    client.start();
  });
}

module.exports = { Bus, open };
