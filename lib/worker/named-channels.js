'use strict';

// `cluster.channel(name)` in a worker: what it reaches are the other workers, and the primary.

const errors = require('../errors');
const { JOIN } = require('../protocol');

/** What the primary is called where a worker's id could stand. */
const PRIMARY = 'primary';

/**
 * @param {any} cluster
 * @param {import('./peers').Peers} peers
 */
function addNamedChannels(cluster, peers) {
  /** @param {any} peer */
  const otherOf = (peer) => ({ id: peer.id, target: peer, self: peer });
  /** @type {import('../channel/named-channel').Others} */
  const others = {
    find(to) {
      if (to === PRIMARY || to === cluster.worker) return { id: 0, target: process, self: cluster.worker };
      if (Number.isInteger(to)) return otherOf(peers.get(to));
      if (!peers.isPeer(to)) throw errors.invalidArgType('to', "a worker, the id of one, or 'primary'", to);
      return otherOf(to);
    },
    all: (_name, callback) => peers.all((error, connected) => callback(error, connected.map(otherOf))),
    tell(name, isOpen) {
      // Who sends nothing any more hears nothing either.
      if (process.connected) process.send?.({ cmd: JOIN, channel: name, isOpen }, () => {});
    },
  };
  Object.defineProperty(cluster, 'channel', {
    value: (/** @type {unknown} */ name) => require('../channel/named-channel').openChannel(name, others),
    configurable: true,
    writable: true,
  });
}

module.exports = { addNamedChannels };
