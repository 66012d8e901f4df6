'use strict';

// What corral adds to a worker. The worker is Node's own under every primary: the same cluster object, with nothing taken away.
//
//   index.js          what is added, once per process
//   process-send.js   `process.send` and `process.disconnect`: an error where Node's own would crash
//   reuse-port.js     servers that Node binds in the worker itself, made the cluster's
//   lane.js           connections from the primary, given to Node's own half of the cluster
//   moved-channel.js  the channel moves to a socket between the two corrals
//   peers.js          other workers: `cluster.workerById`, `broadcast`, `respond`

const { addRequests } = require('../channel/worker-requests');
const { addSuicide } = require('../deprecated');
const { openLane } = require('./lane');
const { moveChannel } = require('./moved-channel');
const { addPeers } = require('./peers');
const { wrapChannel } = require('./process-send');
const { watchReusePort } = require('./reuse-port');

/**
 * Adds to a worker what corral has there. Once per process.
 *
 * @param {any} cluster the built-in's object
 */
function installInWorker(cluster) {
  addSuicide(cluster.Worker.prototype);
  wrapChannel();
  watchReusePort();
  addRequests(cluster.Worker.prototype);
  addPeers(cluster);
  const opened = openLane();
  if (opened !== undefined) moveChannel(opened.lane, opened.advanced);
}

module.exports = { installInWorker };
