'use strict';

// `cluster.adoptSocket`: listening sockets that this process has got from the one that has started it.

const errors = require('../errors');
const { isDescriptor } = require('../util/descriptor');

/** @param {import('./cluster').Primary} primary */
function addAdopt({ cluster, reactor }) {
  cluster.adoptSocket = (/** @type {unknown} */ fd) => {
    if (typeof fd !== 'number') throw errors.invalidArgType('fd', 'of type number', fd);
    if (!isDescriptor(fd)) throw errors.outOfRange('fd', 'the number of a descriptor', fd);
    const { address, port = null, isDatagram } = reactor.inherit(fd);
    return { address, port, isDatagram };
  };
}

module.exports = { addAdopt };
