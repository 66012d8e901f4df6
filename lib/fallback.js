'use strict';

// `require('corral')` in a primary that cannot be corral's: Node's own cluster, marked as such. Of corral's additions it
// has what Node's own channel carries; the others say why they are not there.

const { addRequests } = require('./channel/asking');
const requests = require('./channel/worker-requests');
const { addSuicide } = require('./deprecated');
const errors = require('./errors');
const { publishEvents } = require('./primary/diagnostics');
const { addNamedChannels } = require('./primary/named-channels');
const { runtimeName } = require('./runtime');
const { addSupervise } = require('./supervisor');
const { drainOf, tellDrain } = require('./util/drain');
const { sendToAll } = require('./util/send-to-all');

/**
 * Marks the cluster of a primary as Node's own, and says so once. Its workers run on the same machine, with the same
 * environment, and would only say it again.
 *
 * @param {any} cluster the built-in cluster object of this process
 * @param {{ code: string, reason: string }} why it is not corral's, and the code of the warning
 */
function fallBack(cluster, { code, reason }) {
  Object.defineProperty(cluster, 'native', { value: false, enumerable: true });
  process.emitWarning(`corral runs on ${runtimeName}'s own cluster: ${reason}`, { code });

  // The nearest that there is.
  cluster.SCHED_LEAST = cluster.SCHED_RR;
  cluster.SCHED_STICKY = cluster.SCHED_RR;
  cluster.SCHED_REUSEPORT = cluster.SCHED_NONE;
  addSuicide(cluster.Worker.prototype);
  addRequests(cluster.Worker.prototype, () => requests);
  addDrain(cluster);
  publishEvents(cluster);
  addSupervise(cluster);
  addNamedChannels(cluster, () => listed(cluster).filter((worker) => worker.isConnected()));
  for (const worker of listed(cluster)) takeRequestsOf(worker);
  // Nothing of a worker is read before this event.
  cluster.on('fork', takeRequestsOf);
  cluster.broadcast = (
    /** @type {any} */ message,
    /** @type {((error: Error | null) => void) | undefined} */ callback,
  ) => {
    if (message === undefined) throw errors.missingArgs('message');
    sendToAll(
      listed(cluster).filter((worker) => worker.isConnected()),
      message,
      callback,
    );
  };
  cluster.policyTable = () => {
    throw errors.noNative(reason);
  };
  cluster.stats = () => {
    throw errors.noNative(reason);
  };
  cluster.observe = () => {
    throw errors.noNative(reason);
  };
  for (const name of ['adoptSocket', 'handOver', 'profile', 'succeed']) {
    cluster[name] = () => {
      throw errors.noNative(reason);
    };
  }
}

/**
 * @param {any} cluster
 * @returns {any[]}
 */
function listed(cluster) {
  return Object.values(cluster.workers);
}

/** @param {any} cluster */
function addDrain(cluster) {
  const { prototype } = cluster.Worker;
  const { disconnect } = prototype;
  prototype.disconnect = /** @this {any} */ function (/** @type {unknown} */ options = undefined) {
    const drain = drainOf(options);
    if (drain !== undefined && this.isConnected()) {
      tellDrain(this, drain);
      // Node's worker ends with ERR_IPC_DISCONNECTED when it is asked once more on its way out.
      if (this.exitedAfterDisconnect) return this;
    }
    return disconnect.call(this);
  };
  const disconnectAll = cluster.disconnect;
  cluster.disconnect = (/** @type {unknown} */ options, /** @type {unknown} */ callback = undefined) => {
    const drain = drainOf(options);
    if (drain !== undefined) {
      for (const worker of listed(cluster)) if (worker.isConnected()) tellDrain(worker, drain);
    }
    return disconnectAll.call(cluster, typeof options === 'function' ? options : callback);
  };
}

/** @param {any} worker */
function takeRequestsOf(worker) {
  const { process: child } = worker;
  child.on('internalMessage', (/** @type {any} */ message, /** @type {any} */ handle) =>
    requests.takeRequest(child, worker, message, handle),
  );
}

module.exports = { fallBack };
