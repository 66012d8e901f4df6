'use strict';

// The primary's cluster object: Node's surface (internal/cluster/primary), and corral's additions. Connections do not
// pass through the primary's JavaScript. Each part of the object has one owner:
//
//   settings.js           cluster.settings
//   policy.js             cluster.schedulingPolicy
//   workers.js            cluster.workers: fork, disconnect, broadcast
//     command-line.js     a worker's command line
//     spawn.js            its environment, stdio and lane
//     worker.js           cluster.Worker
//     worker-state.js     worker.state, and the events that announce it
//   reactor.js            the core: requests about workers, and the workers' events
//   stats.js              cluster.stats()
//   connection-events.js  the cluster's 'connection' event
//
// To add a part, write a file that exports a function of a `Primary`, and name the function in ADDITIONS.

const { DEBUG_ENABLED } = require('../protocol');
const { addConnectionEvents } = require('./connection-events');
const { SCHED_NONE, SCHED_RR, SchedulingPolicy, initialPolicy } = require('./policy');
const { PrimaryReactor } = require('./reactor');
const { Settings } = require('./settings');
const { addStats } = require('./stats');
const { Worker } = require('./worker');
const { Workers } = require('./workers');

/**
 * What an addition may use.
 * @typedef {object} Primary
 * @property {any} cluster the object that the program sees
 * @property {PrimaryReactor} reactor
 * @property {Settings} settings
 * @property {SchedulingPolicy} policy
 * @property {Workers} workers
 */

/** Parts that Node's cluster does not have. @type {((primary: Primary) => void)[]} */
const ADDITIONS = [addStats, addConnectionEvents];

/**
 * Makes an event emitter the primary's cluster object.
 *
 * @param {any} cluster a new EventEmitter, or the built-in cluster object, which then works through corral
 * @param {import('../native').Binding} binding
 * @returns {import('../..').Cluster}
 */
function createPrimary(cluster, binding) {
  const reactor = new PrimaryReactor(binding);
  const policy = new SchedulingPolicy(cluster, reactor);
  const workers = new Workers(cluster, reactor, policy);
  const settings = new Settings(cluster, reactor, () => {
    policy.freeze();
    process.on('internalMessage', (/** @type {any} */ message) => {
      if (message.cmd === DEBUG_ENABLED) workers.debug();
    });
  });
  reactor.onGone = (error) => {
    if (cluster.listenerCount('error') > 0) cluster.emit('error', error);
    else process.emitWarning(error);
  };

  // In Node's order, which is the one that a program lists them in.
  cluster.isWorker = false;
  cluster.isMaster = true;
  cluster.isPrimary = true;
  cluster.Worker = Worker;
  cluster.workers = {};
  cluster.settings = {};
  cluster.SCHED_NONE = SCHED_NONE;
  cluster.SCHED_RR = SCHED_RR;
  cluster.schedulingPolicy = initialPolicy();
  Object.defineProperty(cluster, 'native', { value: true, enumerable: true, configurable: true });
  cluster.setupPrimary = (/** @type {any} */ options) => settings.setUp(options);
  cluster.setupMaster = cluster.setupPrimary;
  cluster.fork = (/** @type {any} */ env) => workers.fork(env);
  cluster.disconnect = (/** @type {any} */ callback) => workers.disconnect(callback);
  cluster.broadcast = (/** @type {any} */ message, /** @type {any} */ callback) =>
    workers.broadcast(message, callback);

  const primary = { cluster, reactor, settings, policy, workers };
  for (const add of ADDITIONS) add(primary);
  return cluster;
}

module.exports = { createPrimary };
