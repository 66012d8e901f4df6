'use strict';

// The primary's end of a worker whose process has been spawned: its channel, and the Worker itself.

const { Channel } = require('../channel/channel');
const { endRequests, takeRequest } = require('../channel/worker-requests');
const { addChannelAlias } = require('../deprecated');
const serializations = require('../serialization');
const { tellOfFailedSpawn } = require('./fault');
const { createWorker } = require('./worker');
const { WorkerLife } = require('./worker-state');

/**
 * @typedef {object} Forked
 * @property {any} cluster
 * @property {import('./reactor').PrimaryReactor} reactor
 * @property {import('./worker').Owner} owner
 * @property {number} id
 * @property {import('node:child_process').ChildProcess} child
 * @property {boolean} advanced how its messages are serialized
 * @property {string} noLane why it has no lane, if it has none
 * @property {(worker: any) => void} onDisconnected called when all listeners for its 'disconnect' have been
 */

/**
 * @param {Forked} forked
 * @param {(worker: any, life: WorkerLife) => void} follow called before anything is heard of the worker
 * @returns {any} the worker
 */
function openEnd({ cluster, reactor, owner, id, child, advanced, noLane, onDisconnected }, follow) {
  const serialization = advanced ? serializations.advanced : serializations.json;
  const channel = new Channel(reactor, id, child, serialization);
  addChannelAlias(child);
  const worker = createWorker(id, child, owner);
  const life = new WorkerLife(cluster, worker);
  tellOfFailedSpawn(cluster, worker);
  follow(worker, life);
  const wantMessages = (/** @type {boolean} */ isRead) => reactor.wantMessages(id, isRead);
  channel.incoming.onRequest = (message, handle) => takeRequest(child, worker, message, handle, wantMessages);
  channel.onDisconnected = () => {
    endRequests(child);
    onDisconnected(worker);
  };
  const onEnd = (/** @type {Error | undefined} */ cause) => channel.onClosed(cause);
  reactor.adopt(id, { worker, life, messaging: channel, onEnd }, noLane);
  return worker;
}

module.exports = { openEnd };
