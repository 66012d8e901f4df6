'use strict';

// What corral adds to a worker. The worker is Node's own under every primary: the same cluster object, with nothing taken away.
//
//   index.js          what is added, once per process
//   primary.js        `cluster.native`: what the primary runs
//   watch.js          what `node --watch` says of corral's files
//   process-send.js   `process.send` and `process.disconnect`: an error where Node's own would crash
//   reuse-port.js     servers that Node binds in the worker itself, made the cluster's
//   lane.js           connections from the primary, given to Node's own half of the cluster
//   keep-alive.js     connections that rest between requests, whose next request may go to another worker
//   kept-handle.js    how such a connection is known by its handle
//   http-connection.js  connections as Node's own objects show them
//   open-connections.js  how many connections each server has, for a primary that asks
//   sessions.js       sessions that this worker begins, told to the primary: `cluster.bindSession`
//   moved-channel.js  the channel moves to a socket between the two corrals
//   leaving.js        'leaving' of this worker
//   drain.js          what a worker that leaves does by its deadline
//   idle-connections.js  kept connections that stay open for their next request meanwhile
//   http2-sessions.js the sessions that it ends
//   supervised.js     signals of a group that has a supervisor
//   peers.js          other workers: `cluster.workerById`, `broadcast`, `respond`
//   named-channels.js `cluster.channel`: whom it reaches

const { isNode } = require('../runtime');
const { addRequests } = require('../channel/asking');
const { addSuicide } = require('../deprecated');
const { openLane } = require('./lane');
const { watchLeaving } = require('./leaving');
const { moveChannel } = require('./moved-channel');
const { addPeers } = require('./peers');
const { addNamedChannels } = require('./named-channels');
const { addNative } = require('./primary');
const { wrapChannel } = require('./process-send');
const { watchReusePort } = require('./reuse-port');
const { heedSupervisor } = require('./supervised');

/**
 * Adds to a worker what corral has there. Once per process.
 *
 * @param {any} cluster the built-in's object
 */
function installInWorker(cluster) {
  addNative(cluster);
  addSuicide(cluster.Worker.prototype);
  addRequests(cluster.Worker.prototype, () => require('../channel/worker-requests'));
  addNamedChannels(cluster, addPeers(cluster));
  cluster.publishMetrics = (/** @type {unknown} */ source, /** @type {unknown} */ options = {}) =>
    require('../observe/publications').publishMetrics(source, options);
  cluster.bindSession = (/** @type {string} */ id) => require('./sessions').bindSession(id);
  // What follows is at home in Node's objects: elsewhere the worker is the runtime's own.
  if (!isNode) return;
  heedSupervisor();
  watchLeaving(cluster);
  wrapChannel();
  watchReusePort();
  const opened = openLane();
  if (opened !== undefined) moveChannel(opened.lane, opened.advanced);
}

module.exports = { installInWorker };
