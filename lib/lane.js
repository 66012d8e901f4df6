'use strict';

// A worker's end of its lane: connections that come from the primary without JSON and without a frame per connection.
// Each is passed to Node's own worker-side cluster, as if its message had come on the channel: everything from there
// on (servers and their keys, maxConnections, 'drop') is Node's.

const { AsyncResource } = require('node:async_hooks');

const internals = require('./node-internals');

/** How the primary tells a worker of its lane: `<descriptor>:<inode>`. */
const VARIABLE = 'CORRAL_LANE_FD';

/** What Node calls the context of the main script. */
const ROOT_ASYNC_ID = 1;

/**
 * Passes a connection to Node's cluster, which would acknowledge it on the channel.
 *
 * @param {string} key
 * @param {import('./node-internals').RawHandle} handle
 * @param {number} seq
 * @returns {boolean} whether it was taken
 */
function deliver(key, handle, seq) {
  // When the channel has closed meanwhile, nothing is acknowledged: then nobody was there to take it.
  let accepted = false;
  const { send } = process;
  process.send = acknowledge;
  /**
   * @this {any}
   * @param {any[]} args
   */
  function acknowledge(...args) {
    process.send = send;
    const [message] = args;
    if (message?.cmd === 'NODE_CLUSTER' && message.ack === seq) {
      accepted = message.accepted;
      return true;
    }
    return Reflect.apply(/** @type {Function} */ (send), this, args);
  }
  try {
    // @ts-expect-error Node's own event, which its types do not have
    process.emit('internalMessage', { cmd: 'NODE_CLUSTER', act: 'newconn', key, seq }, handle);
  } finally {
    if (process.send === acknowledge) process.send = send;
  }
  return accepted;
}

/** Begins to read this worker's lane, if its primary has given it one. Once. */
function openLane() {
  const lane = process.env[VARIABLE];
  if (lane === undefined) return;
  // Not for this worker's own children.
  delete process.env[VARIABLE];
  const { native } = require('./native');
  // The primary goes on with the channel.
  if (native === undefined) return;
  /** What connections are a consequence of, for async_hooks. @type {AsyncResource | undefined} */
  let resource;
  const [descriptor, inode] = lane.split(':').map(Number);

  /**
   * @param {string} key
   * @param {boolean} isPipe
   * @param {number} fd
   * @param {number} seq
   */
  function take(key, isPipe, fd, seq) {
    // What comes after this side has disconnected is for others: so the primary finds it in the lane, or refused.
    if (!process.connected) {
      nativeLane.closeDescriptor(fd);
      nativeLane.close();
      return false;
    }
    // Made when the first connection comes, and not where the program loads corral: its context there is not theirs.
    resource ??= new AsyncResource('CORRALLANE', { triggerAsyncId: ROOT_ASYNC_ID });
    return resource.runInAsyncScope(deliver, null, key, internals.connectionHandle(isPipe, fd), seq);
  }

  /** @type {InstanceType<typeof native.NativeLane>} */
  let nativeLane;
  try {
    nativeLane = new native.NativeLane(descriptor, inode, take);
  } catch (error) {
    // The variable was meant for another process, from which this one has it: there is no lane here.
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EBADF') return;
    throw error;
  }
}

module.exports = { VARIABLE, openLane };
