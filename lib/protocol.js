'use strict';

// Names and formats that another process knows as well. Those that Rust knows are in src/proto/names.rs too, and
// __test__/protocol.test.js compares the two; docs/protocol.md says what they mean.

module.exports = {
  /** What `cmd` begins with in messages that are not the program's. */
  INTERNAL: 'NODE_',

  // `cmd` of Node's own messages.
  CLUSTER: 'NODE_CLUSTER',
  HANDLE: 'NODE_HANDLE',
  DEBUG_ENABLED: 'NODE_DEBUG_ENABLED',
  SOCKET_NOTIFY_CLOSE: 'NODE_SOCKET_NOTIFY_CLOSE',
  SOCKET_ALL_CLOSED: 'NODE_SOCKET_ALL_CLOSED',
  SOCKET_GET_COUNT: 'NODE_SOCKET_GET_COUNT',
  SOCKET_COUNT: 'NODE_SOCKET_COUNT',

  // libuv's flags, in `flags` of a worker's request for a server.
  /** `UV_TCP_REUSEPORT` */
  TCP_REUSE_PORT: 2,
  /** `UV_UDP_REUSEPORT` */
  UDP_REUSE_PORT: 8,

  // `cmd` of messages between two corrals.
  REQUEST: 'NODE_CORRAL_REQUEST',
  REPLY: 'NODE_CORRAL_REPLY',
  /** The last message on a channel's first socket: everything else comes on the second. */
  CHANNEL_MOVE: 'NODE_CORRAL_MOVE',
  PEER_CONNECT: 'NODE_CORRAL_CONNECT',
  /** In the place of a worker's id: all of them. */
  ALL_PEERS: 0,
  PEER: 'NODE_CORRAL_PEER',
  PEER_ROSTER: 'NODE_CORRAL_ROSTER',
  /** A message on a channel that has a name. */
  CHANNEL: 'NODE_CORRAL_CHANNEL',
  /** A worker has a channel of this name, or has it no more. */
  JOIN: 'NODE_CORRAL_JOIN',
  /** The name of the channel on which a worker asks its primary to serve its buses. No program has a name like it. */
  BUS_CHANNEL: '\0bus',
  /** A worker that is about to be asked to leave has so many milliseconds for it. */
  DRAIN: 'NODE_CORRAL_DRAIN',

  /** Wakes the event loop of a worker, and means nothing. */
  WAKE: 'NODE_CORRAL_WAKE',

  // `type` of handles that Node does not know.
  /** A socket to another worker, which the primary gives to corral in a worker. */
  PEER_HANDLE: 'corral.Peer',
  /** A file: a number from `fs.open`. Only between channels of ours. */
  FILE_HANDLE: 'corral.File',

  /** How many bytes the length in front of a frame in V8's format has. */
  PREFIX: 4,

  /**
   * @param {Buffer} frames
   * @param {number} start of a frame
   * @returns {number} how long it says that it is, without its prefix
   */
  lengthAt: (frames, start) => frames.readUInt32BE(start),

  /** @param {Buffer} frame with room for its prefix, which is filled in */
  setPrefix(frame) {
    frame.writeUInt32BE(frame.length - module.exports.PREFIX, 0);
  },

  // Variables of the environment.
  /** '0' turns lanes off. */
  LANE_VARIABLE: 'CORRAL_LANE',
  /** Tells a worker that its primary runs corral's core, and on which Node; see `writePrimary`. */
  PRIMARY_VARIABLE: 'CORRAL_PRIMARY',
  /** Tells a worker of its lane; see `writeLane`. */
  LANE_FD_VARIABLE: 'CORRAL_LANE_FD',

  /** Tells a worker that it has a supervisor. */
  SUPERVISED_VARIABLE: 'CORRAL_SUPERVISED',
  /** The number of a supervised worker's place, from 0. The name is pm2's, which programs know. */
  SLOT_VARIABLE: 'NODE_APP_INSTANCE',

  /** @returns {string} of this process as a primary: `<process id>:<version of Node>`. A child inherits what is not meant for it */
  writePrimary: () => `${process.pid}:${process.version}`,

  /** @param {string} text @returns {{ pid: string, version: string }} */
  readPrimary(text) {
    const [pid, version = ''] = text.split(':');
    return { pid, version };
  },

  /**
   * What a worker has to know of its lane.
   *
   * @typedef {object} Lane
   * @property {number} descriptor
   * @property {number} inode of the same, by which a process for which the variable is not meant sees that
   * @property {boolean} advanced the serialization of its channel
   */

  /**
   * @param {Lane} lane
   * @returns {string} as the variable has it: `<descriptor>:<inode>:<serialization>`
   */
  writeLane: ({ descriptor, inode, advanced }) => `${descriptor}:${inode}:${advanced ? 'advanced' : 'json'}`,

  /**
   * @param {string} text
   * @returns {Lane}
   */
  readLane(text) {
    const [descriptor, inode, serialization] = text.split(':');
    return { descriptor: Number(descriptor), inode: Number(inode), advanced: serialization === 'advanced' };
  },
};
