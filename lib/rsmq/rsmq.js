'use strict';

// `corral/rsmq`: what rsmq 0.12 has, on its own keys in Redis, or in a file without a server.
//
//   rsmq.js      the class
//   place.js     where its queues are: rsmq's options, and those of the client that it stands on
//   check.js     what the program gives, checked as rsmq does, and its errors

const crypto = require('node:crypto');
const EventEmitter = require('node:events');
const { Client } = require('../bus/client');
const { KIND } = require('../bus/frames');
const { busOptions, waitOf } = require('../bus/options');
const errors = require('../errors');
const { tell } = require('../util/tell');
const { checked, failure } = require('./check');
const { engineOf } = require('./place');

/** @typedef {(error: any, result?: any) => void} Callback */

/** How long `quit` waits for what is under way, in milliseconds. */
const CLOSE_TIMEOUT = 5_000;

/** How long a message that is popped from a file is hidden before it is gone: if its answer is lost, it comes again. In seconds. */
const POP_VT = '60';

/** What follows the time in an id. */
const RANDOM = 22;

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

function randomText() {
  return Array.from({ length: RANDOM }, () => LETTERS[crypto.randomInt(LETTERS.length)]).join('');
}

/** @param {unknown} value @returns {string} '' for none */
const optional = (value) => (value === undefined ? '' : String(value));

/** @param {string[]} values */
function attributesIn([vt, delay, maxsize, totalrecv, totalsent, created, modified, msgs, hiddenmsgs]) {
  const texts = { vt, delay, maxsize, totalrecv, totalsent, created, modified, msgs, hiddenmsgs };
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, Number.parseInt(text, 10)]));
}

/** @param {string[]} values */
function messageIn([id, rc, fr, message]) {
  const sent = Number.parseInt(id.slice(0, 10), 36) / 1000;
  return { id, message, rc: Number(rc), fr: Number(fr), sent };
}

class RedisSMQ extends EventEmitter {
  #client;
  #isEmbedded;
  /** @type {Error | undefined} why there will be no connection */
  #failure;
  #wait = waitOf({}, 30_000);

  /** @param {any} [options] */
  constructor(options = {}) {
    super();
    const { engine, isEmbedded, ns, realtime } = engineOf(options);
    this.realtime = realtime;
    this.redisns = `${ns}:`;
    this.#isEmbedded = isEmbedded;
    this.#client = new Client(engine, busOptions({}));
    this.#client.on('up', () => tell(this, 'connect'));
    this.#client.on('down', () => tell(this, 'disconnect'));
    this.#client.once('failed', (error) => {
      this.#failure = error;
      this.#client.abort();
      tell(this, 'disconnect');
    });
    this.#client.start();
  }

  get connected() {
    return this.#client.state === 'up';
  }

  /**
   * @param {string} call
   * @param {string[]} values behind the namespace
   * @returns {Promise<{ word: string, values: string[] }>}
   */
  async #call(call, ...values) {
    try {
      return await this.#client.request(
        KIND.rsmq,
        (to) => {
          to.text(call).u32(values.length + 1);
          for (const value of [this.redisns, ...values]) to.long(value);
        },
        (_kind, from) => {
          const [word, ...rest] = Array.from({ length: from.u32() }, () => from.bytes().toString());
          return { word, values: rest };
        },
        this.#wait,
      );
    } catch (error) {
      throw this.#failure ?? error;
    }
  }

  /**
   * @param {string} call
   * @param {string[]} values
   * @returns {Promise<{ word: string, values: string[] }>} of a queue that is there
   */
  async #inQueue(call, ...values) {
    const answer = await this.#call(call, ...values);
    if (answer.word === 'none') throw failure('queueNotFound');
    return answer;
  }

  /**
   * Calls back: at once with what is wrong with the options, as rsmq does, and otherwise when there is an answer.
   *
   * @param {Callback} callback
   * @param {() => Promise<unknown>} call
   */
  #run(callback, call) {
    if (typeof callback !== 'function') throw errors.invalidArgType('cb', 'of type function', callback);
    /** @type {Promise<unknown>} */
    let result;
    try {
      result = call();
    } catch (error) {
      callback(error);
      return;
    }
    // What the callback throws is the program's, and no rejection.
    result.then(
      (value) => process.nextTick(callback, null, value),
      (error) => process.nextTick(callback, error),
    );
  }

  /** @param {any} options @param {Callback} cb */
  createQueue(options, cb) {
    this.#run(cb, () => {
      const defaults = {
        vt: options.vt ?? 30,
        delay: options.delay ?? 0,
        maxsize: options.maxsize ?? 65_536,
      };
      const all = checked({ qname: options.qname, ...defaults }, ['qname', 'vt', 'delay', 'maxsize']);
      return this.#call('create', all.qname, `${all.vt}`, `${all.delay}`, `${all.maxsize}`).then(
        ({ word }) => {
          if (word === 'exists') throw failure('queueExists');
          return 1;
        },
      );
    });
  }

  /** @param {Callback} cb */
  listQueues(cb) {
    this.#run(cb, () => this.#call('list', '').then(({ values }) => values));
  }

  /** @param {any} options @param {Callback} cb */
  deleteQueue(options, cb) {
    this.#run(cb, () => {
      const { qname } = checked(options, ['qname']);
      return this.#inQueue('deleteQueue', qname).then(() => 1);
    });
  }

  /** @param {any} options @param {Callback} cb */
  getQueueAttributes(options, cb) {
    this.#run(cb, () => {
      const { qname } = checked(options, ['qname']);
      return this.#inQueue('attributes', qname).then(({ values }) => attributesIn(values));
    });
  }

  /** @param {any} options @param {Callback} cb */
  setQueueAttributes(options, cb) {
    this.#run(cb, () => {
      const given = ['vt', 'maxsize', 'delay'].filter((name) => options[name] != null);
      if (given.length === 0) throw failure('noAttributeSupplied');
      const { qname, vt, delay, maxsize } = checked(options, ['qname', ...given]);
      const values = [vt, delay, maxsize].map(optional);
      return this.#inQueue('set', qname, ...values).then((answer) => attributesIn(answer.values));
    });
  }

  /** @param {any} options @param {Callback} cb */
  sendMessage(options, cb) {
    this.#run(cb, () => {
      const { qname } = checked(options, ['qname']);
      return this.#send(qname, options.delay ?? undefined, options.message);
    });
  }

  /** @param {string} qname @param {unknown} given a delay @param {unknown} message */
  async #send(qname, given, message) {
    const { delay, wrong } = sendable(given, message);
    if (wrong !== undefined) {
      // That there is no such queue is said first.
      await this.#inQueue('attributes', qname);
      throw wrong;
    }
    const text = /** @type {string} */ (message);
    const told = this.realtime ? '1' : '0';
    const values = [optional(delay), randomText(), `${text.length}`, told, text];
    const answer = await this.#inQueue('send', qname, ...values);
    if (answer.word === 'long') throw failure('messageTooLong');
    return answer.values[0];
  }

  /** @param {any} options @param {Callback} cb */
  receiveMessage(options, cb) {
    this.#run(cb, () => {
      const { qname } = checked(options, ['qname']);
      return this.#receive(qname, options.vt ?? undefined);
    });
  }

  /** @param {string} qname @param {unknown} given */
  async #receive(qname, given) {
    let vt = '';
    try {
      if (given !== undefined) vt = `${checked({ vt: given }, ['vt']).vt}`;
    } catch (error) {
      await this.#inQueue('attributes', qname);
      throw error;
    }
    const { word, values } = await this.#inQueue('receive', qname, vt);
    return word === 'empty' ? {} : messageIn(values);
  }

  /** @param {any} options @param {Callback} cb */
  popMessage(options, cb) {
    this.#run(cb, () => {
      const { qname } = checked(options, ['qname']);
      return this.#pop(qname);
    });
  }

  /** @param {string} qname */
  async #pop(qname) {
    // Redis remembers what it has answered; a file does not.
    const [call, ...more] = this.#isEmbedded ? ['receive', POP_VT] : ['pop'];
    const { word, values } = await this.#inQueue(call, qname, ...more);
    if (word === 'empty') return {};
    if (this.#isEmbedded) await this.#call('delete', qname, values[0]);
    return messageIn(values);
  }

  /** @param {any} options @param {Callback} cb */
  deleteMessage(options, cb) {
    this.#run(cb, () => {
      const { qname, id } = checked(options, ['qname', 'id']);
      return this.#call('delete', qname, id).then(({ word }) => (word === 'ok' ? 1 : 0));
    });
  }

  /** @param {any} options @param {Callback} cb */
  changeMessageVisibility(options, cb) {
    this.#run(cb, () => {
      const { qname, id, vt } = checked(options, ['qname', 'id', 'vt']);
      return this.#inQueue('visibility', qname, id, `${vt}`).then(({ word }) => (word === 'ok' ? 1 : 0));
    });
  }

  /** @param {Callback} [cb] */
  quit(cb = () => {}) {
    this.#run(cb, async () => {
      if (this.#client.state !== 'closed') await this.#client.close(CLOSE_TIMEOUT);
      return 'OK';
    });
  }
}

/**
 * What is wrong with a message, in the order in which rsmq says so.
 *
 * @param {unknown} given
 * @param {unknown} message
 */
function sendable(given, message) {
  try {
    const delay = given === undefined ? undefined : checked({ delay: given }, ['delay']).delay;
    if (typeof message !== 'string') throw failure('messageNotString');
    return { delay, wrong: undefined };
  } catch (wrong) {
    return { delay: undefined, wrong };
  }
}

const METHODS = [
  'changeMessageVisibility',
  'createQueue',
  'deleteMessage',
  'deleteQueue',
  'getQueueAttributes',
  'listQueues',
  'popMessage',
  'receiveMessage',
  'sendMessage',
  'setQueueAttributes',
  'quit',
];

for (const name of METHODS) {
  Object.defineProperty(RedisSMQ.prototype, `${name}Async`, {
    configurable: true,
    writable: true,
    /** @this {any} @param {any[]} args */
    value(...args) {
      return new Promise((resolve, reject) => {
        this[name](...args, (/** @type {any} */ error, /** @type {unknown} */ result) => {
          if (error) reject(error);
          else resolve(result);
        });
      });
    },
  });
}

module.exports = RedisSMQ;
