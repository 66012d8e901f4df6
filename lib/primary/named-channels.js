'use strict';

// `cluster.channel(name)` in a primary, of corral's cluster or Node's own: what it reaches are the workers.

const EventEmitter = require('node:events');

const errors = require('../errors');
const { hasJoined, open } = require('../channel/names');
const { BUS_CHANNEL } = require('../protocol');

/**
 * @param {any} cluster
 * @param {() => any[]} connected its workers that have a channel
 */
function addNamedChannels(cluster, connected) {
  /** @param {any} worker */
  const otherOf = (worker) => ({ id: worker.id, target: worker.process, self: worker });
  /** @type {import('../channel/named-channel').Others} */
  const others = {
    find(to) {
      if (to instanceof cluster.Worker && to.process !== undefined) return otherOf(to);
      if (!Number.isInteger(to)) throw errors.invalidArgType('to', 'a worker or the id of one', to);
      const worker = connected().find(({ id }) => id === to);
      if (worker === undefined) return errors.noSuchWorker(to, 'it does not exist, or not any more');
      return otherOf(worker);
    },
    // One that has not loaded corral has joined nothing.
    all: (name, callback) =>
      callback(
        null,
        connected()
          .filter((worker) => hasJoined(worker, name))
          .map(otherOf),
      ),
    tell: () => {},
  };
  cluster.channel = (/** @type {unknown} */ name) =>
    require('../channel/named-channel').openChannel(name, others);
}

/** Answers workers whose `corral/bus` asks for an engine. It is loaded when the first one does. */
function serveBuses() {
  const channel = new EventEmitter();
  const responder = (/** @type {any} */ wanted) => require('../bus/serving').serveWorker(wanted);
  open.set(BUS_CHANNEL, Object.assign(channel, { responder }));
}

module.exports = { addNamedChannels, serveBuses };
