'use strict';

// A worker's end of its lane: connections that come from the primary without JSON and without a frame per connection.
// Each is passed to Node's own worker-side cluster, as if its message had come on the channel: everything from there
// on (servers and their keys, maxConnections, 'drop') is Node's.

const { AsyncResource } = require('node:async_hooks');

const internals = require('../node-internals');
const { CLUSTER, LANE_FD_VARIABLE, readLane } = require('../protocol');
const keepAlive = require('./keep-alive');

/** What Node calls the context of the main script. */
const ROOT_ASYNC_ID = 1;

/** The `seq` of the connection for which the decision of Node's cluster has not come. */
let awaited = 0;
/** The decision. */
let accepted = false;

/**
 * Passes a connection to Node's cluster, which would acknowledge it on the channel.
 *
 * @param {string} key
 * @param {import('../node-internals').RawHandle} handle
 * @param {number} seq above 0
 * @returns {boolean} whether it was taken
 */
function deliver(key, handle, seq) {
  awaited = seq;
  // Unless it says otherwise: a program that has a `process.send` of its own may keep the answer from us, and a
  // connection that is served here must not go to another worker as well.
  accepted = true;
  try {
    // @ts-expect-error Node's own event, which its types do not have
    process.emit('internalMessage', { cmd: CLUSTER, act: 'newconn', key, seq }, handle);
    return accepted;
  } finally {
    awaited = 0;
  }
}

/**
 * Intercepts the decision of Node's cluster on the connection that is being passed to it. The connection's listeners may send
 * other messages meanwhile, which are not intercepted.
 *
 * @param {any} message
 * @returns {boolean} whether that is what this message is
 */
function interceptDecision(message) {
  if (awaited === 0 || message?.ack !== awaited || message.cmd !== CLUSTER) return false;
  awaited = 0;
  accepted = message.accepted;
  return true;
}

let wasOpened = false;

/** This worker's lane, while it is read. @type {import('../../binding').NativeLane | undefined} */
let opened;

/**
 * Receives nothing more; what was received has been reported when this returns. To be called before the channel is
 * closed: the primary gives to others what it finds in the lane, or refused, when it sees the channel's end.
 */
function closeLane() {
  opened?.close();
  opened = undefined;
}

/**
 * As `closeLane`, before the channel is closed by whichever side. If that is so because the primary has gone, nobody is there to
 * give to others what is in the lane: it is served here.
 *
 * @param {number | undefined} channelFd of the socket that Node has
 * @param {boolean} [isDeserted] whether the primary is known to have gone
 */
function endLane(channelFd, isDeserted = false) {
  const lane = opened;
  opened = undefined;
  lane?.end(channelFd ?? -1, isDeserted);
}

/** Whether this worker has, or had, a lane: its primary is a corral, and lets it have one. */
function hasLane() {
  return wasOpened;
}

/**
 * Begins to read this worker's lane, if its primary has given it one. Once.
 *
 * @returns {{ lane: import('../../binding').NativeLane, advanced: boolean } | undefined} the lane, and how messages are serialized
 *   on the channel beside it
 */
function openLane() {
  const value = process.env[LANE_FD_VARIABLE];
  if (value === undefined) return undefined;
  // Not for this worker's own children.
  delete process.env[LANE_FD_VARIABLE];
  const { native } = require('../native');
  // The primary goes on with the channel.
  if (native === undefined) return undefined;
  const core = native;
  /** What connections are a consequence of, for async_hooks. @type {AsyncResource | undefined} */
  let resource;
  const { descriptor, inode, advanced } = readLane(value);

  /**
   * @param {string} key
   * @param {boolean} isPipe
   * @param {number} fd
   * @param {number} seq
   * @param {number} openSlot
   */
  function take(key, isPipe, fd, seq, openSlot) {
    // Made when the first connection comes, and not where the program loads corral: its context there is not theirs.
    resource ??= new AsyncResource('CORRALLANE', { triggerAsyncId: ROOT_ASYNC_ID });
    let handle;
    try {
      handle = internals.connectionHandle(isPipe, fd);
    } catch (error) {
      lane.closeDescriptor(fd);
      process.emitWarning(/** @type {Error} */ (error));
      return false;
    }
    if (openSlot >= 0) require('./open-connections').follow(lane, handle, openSlot);
    const isTaken = resource.runInAsyncScope(deliver, null, key, handle, seq);
    if (isTaken) keepAlive.onConnection(key, isPipe, handle);
    return isTaken;
  }

  /** @type {import('../../binding').NativeLane} */
  let lane;
  try {
    lane = new native.NativeLane(
      descriptor,
      inode,
      take,
      () => keepAlive.beginRest(lane),
      keepAlive.onSettled,
      (names) => require('./sessions').nameSessions(lane, names),
    );
  } catch (error) {
    // The variable was meant for another process, from which this one has it: there is no lane here.
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EBADF') return undefined;
    throw error;
  }
  lane.whenObserved(() => {
    const { showRuntime } = require('../observe/runtime');
    showRuntime(core.runtimeNumbers(), (numbers) => lane.showRuntime(numbers));
    const link = lane.takeLink();
    if (link >= 0) require('../observe/link').openLink(core, link, require('../observe/publications').begin);
  });
  opened = lane;
  wasOpened = true;
  return { lane, advanced };
}

module.exports = { closeLane, endLane, hasLane, interceptDecision, openLane };
