'use strict';

// In a worker: 'leaving' of `cluster.worker`, once, before anything of the worker is closed, and the deadline of those that leave
// with one.
//
// Node's own listener for 'disconnect' ends the process of a worker that has lost its channel, so that the program's never runs.
// What is here comes before it: when the channel's end is read, Node calls `process.disconnect`, which is corral's.

const diagnostics = require('node:diagnostics_channel');
const fs = require('node:fs');

const { watchSessions } = require('./http2-sessions');
const { CLUSTER, DRAIN } = require('../protocol');
const { drainOf, readDrain } = require('../util/drain');

/** @typedef {import('../..').Leaving} Leaving */

const channel = diagnostics.channel('corral.leaving');

/** Of the flags in /proc/<pid>/stat: it is ending. */
const PF_EXITING = 0x4;
/** Which of the fields behind the name in /proc/<pid>/stat these are. */
const STATE = 0;
const FLAGS = 6;

/** Why this worker leaves, once it does. @type {Leaving['reason'] | undefined} */
let left;
let isDraining = false;
/** @type {any} */
let cluster;
/** Whose child this process was when it started. */
let primaryPid = 0;

/**
 * @param {Leaving['reason']} reason
 * @param {import('../util/drain').Drain} [drain]
 */
function leave(reason, drain) {
  const isFirst = left === undefined;
  if (isFirst) {
    left = reason;
    announce(drain === undefined ? { reason } : { reason, drain: drain.drain });
  }
  if (drain === undefined) return;
  isDraining = true;
  // Node has closed the connections without a request of a worker that left before.
  require('./drain').drainWithin(isFirst ? drain : { ...drain, idle: 0 });
}

/** Node closes the servers of this process next. */
function beforeClose() {
  if (isDraining) require('./drain').beforeClose();
}

/** @param {Leaving} leaving */
function announce(leaving) {
  const { worker } = cluster;
  if (channel.hasSubscribers) channel.publish({ worker, ...leaving });
  try {
    worker.emit('leaving', leaving);
  } catch (error) {
    // An uncaught exception, as a listener's should be, and the worker leaves all the same.
    process.nextTick(() => {
      throw error;
    });
  }
}

/** The channel is about to be closed, by whichever side. */
function onChannelEnd() {
  if (left !== undefined) return;
  if (cluster.worker.exitedAfterDisconnect) leave('disconnect');
  else leave(hasPrimaryGone() ? 'primary-gone' : 'channel-closed');
}

/** @returns {boolean} whether this worker leaves because its channel ends: what Node's cluster still has to say is for nobody */
function hasLostChannel() {
  return left === 'primary-gone' || left === 'channel-closed';
}

/** @returns {boolean} whether this worker leaves by itself or because it was asked to */
function isLeaving() {
  return left === 'disconnect';
}

/** @returns {boolean} whether the primary has ended, or is about to: a process closes its channels before it stops being a parent */
function hasPrimaryGone() {
  if (process.ppid !== primaryPid) return true;
  if (process.platform !== 'linux') return false;
  try {
    const stat = fs.readFileSync(`/proc/${primaryPid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[STATE] === 'Z' || fields[STATE] === 'X' || (Number(fields[FLAGS]) & PF_EXITING) !== 0;
  } catch {
    // It has none any more, or /proc is not there to tell.
    return process.ppid !== primaryPid;
  }
}

/** @param {any} message an internal one */
function onInternal(message) {
  const drain = message.cmd === DRAIN ? readDrain(message) : undefined;
  if (drain !== undefined) leave('disconnect', drain);
  else if (message.cmd === CLUSTER && message.act === 'disconnect') {
    leave('disconnect');
    beforeClose();
  }
}

/**
 * Once per process.
 *
 * @param {any} of the cluster of this worker
 */
function watchLeaving(of) {
  cluster = of;
  primaryPid = process.ppid;
  watchSessions();
  // In front of Node's own, which begins to close.
  process.prependListener(/** @type {any} */ ('internalMessage'), onInternal);
  const { prototype } = cluster.Worker;
  const { disconnect, destroy } = prototype;
  prototype.disconnect = /** @this {any} */ function (/** @type {unknown} */ options = undefined) {
    const wasLeaving = isLeaving();
    leave('disconnect', drainOf(options));
    // Node's own would close the channel at once, under the connections that the first call waits for.
    if (wasLeaving) return this;
    beforeClose();
    return disconnect.call(this);
  };
  prototype.destroy = /** @this {any} */ function (/** @type {unknown[]} */ ...args) {
    leave('kill');
    return destroy.apply(this, args);
  };
}

module.exports = { hasLostChannel, hasPrimaryGone, isLeaving, onChannelEnd, watchLeaving };
