'use strict';

// Faults that the cluster's listeners hear of, and that are warnings without any: a primary does not die of them.

/**
 * @param {any} cluster
 * @param {Error} error
 * @param {any} [worker] whose fault it is, if it is one's
 */
function tellOfFault(cluster, error, worker = undefined) {
  if (cluster.listenerCount('error') > 0) cluster.emit('error', error, worker);
  else process.emitWarning(error);
}

/**
 * A process that cannot be spawned is an 'error' event of the worker, which is the cluster's if nobody listens there.
 *
 * @param {any} cluster
 * @param {any} worker has just been forked
 */
function tellOfFailedSpawn(cluster, worker) {
  const { process: child } = worker;
  /** @param {Error} error */
  function onError(error) {
    child.removeListener('spawn', onSpawn);
    if (worker.listenerCount('error') > 0) return;
    // The worker emits it next.
    worker.once('error', () => {});
    tellOfFault(cluster, error, worker);
  }
  const onSpawn = () => child.removeListener('error', onError);
  // In front of the worker's own listener.
  child.prependOnceListener('error', onError);
  child.once('spawn', onSpawn);
}

module.exports = { tellOfFailedSpawn, tellOfFault };
