'use strict';

// One primary in the place of another: `cluster.handOver` in the old one, `cluster.succeed` in the new one. The sockets and the connections go
// from core to core; here is only when.

const errors = require('../errors');
const { isDescriptor } = require('../util/descriptor');

/** How often it is looked whether the core has got on, in milliseconds. */
const LOOK_EVERY = 5;

/** @typedef {import('./reactor').PrimaryReactor} PrimaryReactor */

/** The new primary's side. */
class Succession {
  #native;
  /** For the old primary. Whoever has sent it closes it. */
  fd;

  /** @param {PrimaryReactor} reactor */
  constructor({ handover: native }) {
    this.#native = native;
    this.fd = native.beginSuccession();
  }

  /** @returns {Promise<{ address: string, port: number | null, isDatagram: boolean, isServed: boolean }[]>} */
  async received() {
    for (;;) {
      const sockets = this.#native.receiveSuccession();
      if (sockets !== null) return sockets.map(({ port = null, ...rest }) => ({ ...rest, port }));
      await pause();
    }
  }

  begin() {
    this.#native.beginAccepting();
  }
}

/** The old primary's side. */
class Heir {
  #cluster;
  #native;

  /**
   * @param {any} cluster
   * @param {PrimaryReactor} reactor
   * @param {number} fd of a Succession
   */
  constructor(cluster, { handover: native }, fd) {
    this.#cluster = cluster;
    this.#native = native;
    native.handOver(fd);
  }

  /** @returns {Promise<void>} */
  async yield() {
    this.#native.yieldToHeir();
    while (this.#hasUntaken()) await pause();
  }

  #hasUntaken() {
    const { servers, workers } = this.#cluster.stats();
    return (
      servers.some((/** @type {any} */ server) => server.pending > 0 || server.firstBytesAwaited > 0) ||
      workers.some((/** @type {any} */ { inFlight }) => inFlight > 0)
    );
  }

  /** @returns {Promise<void>} */
  async sent() {
    while (this.#native.unsentToHeir() > 0) await pause();
  }

  cancel() {
    this.#native.disinherit();
  }
}

function pause() {
  return new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
}

/** @param {import('./cluster').Primary} primary */
function addHandover({ cluster, reactor }) {
  cluster.succeed = () => new Succession(reactor);
  cluster.handOver = (/** @type {unknown} */ fd) => {
    if (typeof fd !== 'number') throw errors.invalidArgType('fd', 'of type number', fd);
    if (!isDescriptor(fd)) throw errors.outOfRange('fd', 'the number of a descriptor', fd);
    return new Heir(cluster, reactor, fd);
  };
}

module.exports = { addHandover };
