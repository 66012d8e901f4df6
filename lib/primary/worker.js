'use strict';

// cluster.Worker as the primary has it. Callable without `new` and open for inheritance, as Node's is.

const EventEmitter = require('node:events');

const { addRequests } = require('../channel/asking');
const { addSuicide } = require('../deprecated');
const errors = require('../errors');
const { drainOf } = require('../util/drain');
const { WorkerState } = require('./worker-state');

/** @typedef {import('../util/drain').Drain} Drain */
/** @typedef {{ leave: (worker: any, drain: Drain | undefined) => void, weigh: (worker: any, weight: number) => void }} Owner */

/** The cluster's part that a worker belongs to. One that the program has made has none. @type {WeakMap<object, Owner>} */
const owners = new WeakMap();

/** Those that the program has set. @type {WeakMap<object, number>} */
const weights = new WeakMap();

const MAX_WEIGHT = 65_535;

/**
 * @this {any}
 * @param {{ id?: number, process?: any, state?: string }} [options]
 */
function Worker(options) {
  if (!(this instanceof Worker)) return Reflect.construct(Worker, [options]);
  Reflect.apply(EventEmitter, this, []);
  const { state, id, process } = options !== null && typeof options === 'object' ? options : {};
  this.exitedAfterDisconnect = undefined;
  this.state = state || WorkerState.NONE;
  // Any value, as a 32-bit integer.
  this.id = /** @type {any} */ (id) | 0;
  if (process) {
    this.process = process;
    process.on('error', (/** @type {any} */ code, /** @type {any} */ signal) =>
      /** @type {any} */ (this).emit('error', code, signal),
    );
    process.on('message', (/** @type {any} */ message, /** @type {any} */ handle) => {
      /** @type {any} */ (this).emit('message', message, handle);
    });
  }
}

Object.setPrototypeOf(Worker.prototype, EventEmitter.prototype);
Object.setPrototypeOf(Worker, EventEmitter);

/** @this {any} */
Worker.prototype.kill = function kill(/** @type {any[]} */ ...args) {
  Reflect.apply(this.destroy, this, args);
};

/** @this {any} */
Worker.prototype.send = function send(/** @type {any[]} */ ...args) {
  return Reflect.apply(this.process.send, this.process, args);
};

/** @this {any} */
Worker.prototype.isDead = function isDead() {
  return this.process.exitCode != null || this.process.signalCode != null;
};

/** @this {any} */
Worker.prototype.isConnected = function isConnected() {
  return this.process.connected;
};

/**
 * @this {any}
 * @param {unknown} [options]
 */
Worker.prototype.disconnect = function disconnect(options = undefined) {
  const drain = drainOf(options);
  this.exitedAfterDisconnect = true;
  owners.get(this)?.leave(this, drain);
  return this;
};

/**
 * @this {any}
 * @param {string} [signo]
 */
Worker.prototype.destroy = function destroy(signo) {
  this.process.kill(signo || 'SIGTERM');
};

Object.defineProperty(Worker.prototype, 'weight', {
  configurable: true,
  enumerable: true,
  /** @this {any} */
  get() {
    return weights.get(this) ?? 1;
  },
  /** @this {any} @param {unknown} weight */
  set(weight) {
    const checked = checkWeight(weight);
    weights.set(this, checked);
    owners.get(this)?.weigh(this, checked);
  },
});

addSuicide(Worker.prototype);
addRequests(Worker.prototype, () => require('../channel/worker-requests'));

/**
 * @param {unknown} weight
 * @returns {number}
 */
function checkWeight(weight) {
  if (typeof weight !== 'number') throw errors.invalidArgType('worker.weight', 'of type number', weight);
  if (!Number.isInteger(weight) || weight < 0 || weight > MAX_WEIGHT) {
    throw errors.outOfRange('worker.weight', `an integer >= 0 && <= ${MAX_WEIGHT}`, weight);
  }
  return weight;
}

/**
 * @param {number} id
 * @param {any} process the ChildProcess
 * @param {Owner} owner does what the worker is told
 * @returns {any} a worker of the cluster's
 */
function createWorker(id, process, owner) {
  const worker = Reflect.construct(Worker, [{ id, process }]);
  owners.set(worker, owner);
  return worker;
}

module.exports = { Worker, createWorker };
