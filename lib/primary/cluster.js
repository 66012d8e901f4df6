'use strict';

// The primary's cluster object: Node's surface (internal/cluster/primary), and corral's additions. Connections do not
// pass through the primary's JavaScript. Each part of the object has one owner:
//
//   settings.js           cluster.settings
//   policy.js             cluster.schedulingPolicy, who accepts connections and which worker gets them
//     own-policies.js     policies that the program makes
//     policy-setting.js   settings.schedulingPolicy, which decides instead
//       sticky-options.js the options of 'sticky'
//   workers.js            cluster.workers: fork, disconnect, broadcast
//     command-line.js     a worker's command line
//     spawn.js            its environment, stdio and lane
//     worker.js           cluster.Worker
//     worker-end.js       a worker that has been spawned, and its channel
//     worker-state.js     worker.state, and the events that announce it
//     fault.js            the cluster's 'error' event
//   reactor.js            the core: requests about workers, and the workers' events
//   stats.js              cluster.stats()
//   observe.js            cluster.observe(), cluster.profile()
//   adopt.js              cluster.adoptSocket()
//   handover.js           cluster.handOver(), cluster.succeed()
//   named-channels.js     cluster.channel: whom it reaches
//   connection-events.js  the cluster's 'connection' event
//   diagnostics.js        events for node:diagnostics_channel
//
// To add a part, write a file that exports a function of a `Primary`, and name the function in ADDITIONS.

const { DEBUG_ENABLED } = require('../protocol');
const { addAdopt } = require('./adopt');
const { addConnectionEvents } = require('./connection-events');
const { addDiagnostics } = require('./diagnostics');
const { tellOfFault } = require('./fault');
const { SchedulingPolicy } = require('./policy');
const { addNamedChannels, serveBuses } = require('./named-channels');
const { addHandover } = require('./handover');
const { addObserve } = require('./observe');
const { PrimaryReactor } = require('./reactor');
const { Settings } = require('./settings');
const { addStats } = require('./stats');
const { addSupervise } = require('../supervisor');
const { refuseNodesFork } = require('../takeover');
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
const ADDITIONS = [
  addStats,
  addObserve,
  addAdopt,
  addHandover,
  addConnectionEvents,
  addDiagnostics,
  ({ cluster }) => addSupervise(cluster),
  ({ cluster, workers }) => addNamedChannels(cluster, () => workers.connected),
  serveBuses,
];

/**
 * Has Node's own cluster object work through corral. What the program and its dependencies have done with it stays: listeners,
 * settings, the policy.
 *
 * @param {any} cluster the object, which has not forked
 * @param {import('../native').Binding} binding
 */
function createPrimary(cluster, binding) {
  const reactor = new PrimaryReactor(binding);
  const policy = new SchedulingPolicy(cluster, reactor);
  const workers = new Workers(cluster, reactor, policy, () => require('./worker-end'));
  const settings = new Settings(cluster, reactor, policy, () => {
    process.on('internalMessage', (/** @type {any} */ message) => {
      if (message.cmd === DEBUG_ENABLED) workers.debug();
    });
  });
  reactor.onGone = (error) => tellOfFault(cluster, error);

  // A `Worker` that a program has taken off the object before knows ours as its own.
  Object.setPrototypeOf(Worker.prototype, cluster.Worker.prototype);
  cluster.Worker = Worker;
  Object.defineProperty(cluster, 'native', { value: true, enumerable: true, configurable: true });
  cluster.setupPrimary = function setupPrimary(/** @type {any} */ options) {
    if (options === undefined) refuseNodesFork();
    settings.setUp(options);
  };
  cluster.setupMaster = cluster.setupPrimary;
  cluster.fork = (/** @type {any} */ env) => workers.fork(env);
  cluster.disconnect = (/** @type {any} */ options, /** @type {any} */ callback = undefined) =>
    workers.disconnect(options, callback);
  cluster.broadcast = (/** @type {any} */ message, /** @type {any} */ callback) =>
    workers.broadcast(message, callback);

  const primary = { cluster, reactor, settings, policy, workers };
  for (const add of ADDITIONS) add(primary);
}

module.exports = { createPrimary };
