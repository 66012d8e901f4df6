'use strict';

// What happens in a cluster, on channels of node:diagnostics_channel: for monitoring that is no part of the program. While nobody
// subscribes nothing is done for it: the cluster has no listener of ours, and the core tells nothing that it would not tell anyway.

const diagnostics = require('node:diagnostics_channel');

/** The events of the cluster that are published, and what a message says besides its worker. @type {Record<string, string[]>} */
const EVENTS = {
  fork: [],
  online: [],
  listening: ['address'],
  connection: ['connection'],
  disconnect: [],
  exit: ['code', 'signal'],
};

/** Held here: a channel is forgotten while nobody holds it. @type {Record<string, diagnostics.Channel>} */
const channels = Object.fromEntries(
  [...Object.keys(EVENTS), 'blocked', 'recalled'].map((name) => [
    name,
    diagnostics.channel(`corral.${name}`),
  ]),
);

/**
 * Calls back whenever a channel may have got its first subscriber, or lost its last. No channel tells that by itself.
 *
 * @param {any} channel
 * @param {() => void} callback
 */
function watch(channel, callback) {
  for (const name of ['subscribe', 'unsubscribe', 'bindStore', 'unbindStore']) {
    channel[name] = /** @this {any} */ function (/** @type {unknown[]} */ ...args) {
      // Its prototype changes with the first subscriber.
      const result = Object.getPrototypeOf(this)[name].apply(this, args);
      callback();
      return result;
    };
  }
  callback();
}

/** @param {any} cluster of corral or Node's own, of a primary */
function publishEvents(cluster) {
  for (const [event, names] of Object.entries(EVENTS)) {
    const channel = channels[event];
    const publish = (/** @type {any} */ worker, /** @type {any[]} */ ...about) =>
      channel.publish({ worker, ...Object.fromEntries(names.map((name, index) => [name, about[index]])) });
    let isListening = false;
    watch(channel, () => {
      if (channel.hasSubscribers === isListening) return;
      isListening = channel.hasSubscribers;
      // In front of the program's listeners, whatever they throw.
      if (isListening) cluster.prependListener(event, publish);
      else cluster.removeListener(event, publish);
    });
  }
}

/** @param {import('./cluster').Primary} primary */
function addDiagnostics({ cluster, reactor }) {
  publishEvents(cluster);
  const { blocked, recalled } = channels;
  reactor.onBlocked = (worker) => blocked.publish({ worker });
  reactor.onRecalled = (worker, { key, count }) => recalled.publish({ worker, key, count });
  for (const channel of [blocked, recalled]) {
    watch(channel, () => {
      const emitLanes = blocked.hasSubscribers || recalled.hasSubscribers;
      if (emitLanes !== reactor.emitsLanes) reactor.configure({ emitLanes });
    });
  }
}

module.exports = { addDiagnostics, publishEvents };
