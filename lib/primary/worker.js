'use strict';

// cluster.Worker as the primary has it. Callable without `new` and open for inheritance, as Node's is.

const EventEmitter = require('node:events');

const { addRequests } = require('../channel/worker-requests');
const { addSuicide } = require('../deprecated');
const { WorkerState } = require('./worker-state');

/** The cluster's part that a worker belongs to. One that the program has made has none. @type {WeakMap<object, { leave: (worker: any) => void }>} */
const owners = new WeakMap();

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

/** @this {any} */
Worker.prototype.disconnect = function disconnect() {
  this.exitedAfterDisconnect = true;
  owners.get(this)?.leave(this);
  return this;
};

/**
 * @this {any}
 * @param {string} [signo]
 */
Worker.prototype.destroy = function destroy(signo) {
  this.process.kill(signo || 'SIGTERM');
};

addSuicide(Worker.prototype);
addRequests(Worker.prototype);

/**
 * @param {number} id
 * @param {any} process the ChildProcess
 * @param {{ leave: (worker: any) => void }} owner has a worker leave the cluster
 * @returns {any} a worker of the cluster's
 */
function createWorker(id, process, owner) {
  const worker = Reflect.construct(Worker, [{ id, process }]);
  owners.set(worker, owner);
  return worker;
}

module.exports = { Worker, createWorker };
