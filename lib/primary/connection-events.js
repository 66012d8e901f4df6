'use strict';

// The cluster's 'connection' event: the core tells of connections only while somebody listens.

const EVENT = 'connection';

/** @param {import('./cluster').Primary} primary */
function addConnectionEvents({ cluster, reactor }) {
  reactor.onConnection = (worker, connection) => cluster.emit(EVENT, worker, connection);
  if (cluster.listenerCount(EVENT) > 0) reactor.configure({ emitConnections: true });
  cluster.on('newListener', (/** @type {string | symbol} */ name) => {
    // The listener is added after this event.
    if (name === EVENT) reactor.configure({ emitConnections: true });
  });
  cluster.on('removeListener', (/** @type {string | symbol} */ name) => {
    if (name === EVENT) reactor.configure({ emitConnections: cluster.listenerCount(EVENT) > 0 });
  });
}

module.exports = { addConnectionEvents };
