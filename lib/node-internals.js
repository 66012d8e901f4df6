'use strict';

// Everything of Node that has no public name and that corral cannot do without, each with a check that says what is
// missing. No other file touches an underscore property of Node's objects.

const dgram = require('node:dgram');
const net = require('node:net');
const os = require('node:os');

const errors = require('./errors');

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */
/** @typedef {import('node:events').EventEmitter} EventEmitter */
/**
 * A libuv handle as Node wraps it.
 * @typedef {object} RawHandle
 * @property {number} fd
 * @property {() => void} close
 * @property {(fd: number) => number} open
 * @property {Function} [onread]
 * @property {() => void} readStop of a stream
 * @property {(exitCode: number, signalCode: string) => void} [onexit]
 */

/**
 * @param {boolean} found
 * @param {string} what
 */
function need(found, what) {
  if (!found)
    throw new Error(`corral does not know this version of Node (${process.version}): ${what} is missing`);
}

/**
 * @param {any} value
 * @returns {value is RawHandle}
 */
function isRawHandle(value) {
  return ['TCP', 'Pipe', 'UDP'].includes(value?.constructor?.name) && typeof value.close === 'function';
}

/**
 * The handle behind a stream or a server; undefined once it is closed or was handed over.
 *
 * @param {any} owner a net.Socket or net.Server
 * @returns {RawHandle | undefined}
 */
function handleOf(owner) {
  need('_handle' in owner, 'net._handle');
  return owner._handle ?? undefined;
}

/** The error of http2 for the use of a socket beneath one of its sessions. */
const UNDER_SESSION = 'ERR_HTTP2_NO_SOCKET_MANIPULATION';

const SESSION = /^(Client|Server)Http2Session$/;

/**
 * Whether there is more to a socket or server than a handle of libuv's: TLS, a terminal, a stream in JavaScript, a session of
 * http2, or, in a worker, a primary that accepts its connections.
 *
 * @param {any} owner a net.Socket or net.Server
 */
function isWrapped(owner) {
  if (isUnderSession(owner)) return true;
  const handle = handleOf(owner);
  return handle !== undefined && !isRawHandle(handle);
}

/** @param {any} socket the one beneath a session of http2, or the Proxy of it that the session shows */
function isUnderSession(socket) {
  try {
    void socket.write;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === UNDER_SESSION;
  }
  return Reflect.ownKeys(socket).some((key) => {
    // Of a property for which there is no name.
    const session = Reflect.getOwnPropertyDescriptor(socket, key)?.value;
    return SESSION.test(session?.constructor?.name) && session.destroyed === false;
  });
}

/**
 * Takes the handle away from a socket, which looks destroyed to its owner afterwards but whose connection lives on. It is not read
 * any more: what comes from now on is for whoever gets the handle, and would be lost here. (Node goes on reading.)
 *
 * @param {any} socket a net.Socket with a handle
 */
function detachHandle(socket) {
  const handle = handleOf(socket);
  if (handle) {
    handle.onread = () => {};
    handle.readStop();
  }
  socket._handle = null;
  socket.setTimeout(0);
  if (socket.parser) releaseParser(socket);
}

/** @param {any} socket an HTTP server's connection: gives its parser back, which would go on reading */
function releaseParser(socket) {
  // The only name by which Node exports the pool of parsers. Only ever needed for a connection of an http.Server.
  // @ts-expect-error not in the types
  const { freeParser, HTTPParser } = require('node:_http_common');
  need(typeof freeParser === 'function' && typeof HTTPParser === 'function', '_http_common.freeParser');
  if (socket.parser instanceof HTTPParser) {
    freeParser(socket.parser, null, socket);
    if (socket._httpMessage) socket._httpMessage.detachSocket(socket);
  }
}

/**
 * The server that accepted a socket counts it; one that is handed over counts elsewhere.
 *
 * @param {any} socket
 * @returns {{ key: string, setUp: (list: EventEmitter) => void, forget: () => void } | undefined}
 */
function acceptedBy(socket) {
  const server = socket.server;
  if (!server || typeof server._setupWorker !== 'function') return undefined;
  return {
    key: server._connectionKey,
    setUp: (list) => {
      server._setupWorker(list);
      // Node would wait for the answers of none: neither close() nor getConnections() would ever call back.
      list.once('exit', () => {
        if (server._workers.length === 0) server._usingWorkers = false;
      });
    },
    forget: () => {
      server._connections--;
    },
  };
}

/** @param {any} socket a dgram.Socket; returns its state, which has the handle */
function datagramState(socket) {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  need(symbol !== undefined && socket[symbol] !== undefined, 'dgram state');
  return socket[/** @type {symbol} */ (symbol)];
}

/**
 * @param {import('node:dgram').Socket} socket
 * @returns {RawHandle | undefined}
 */
function datagramHandleOf(socket) {
  return datagramState(socket).handle ?? undefined;
}

/**
 * @param {any} socket a dgram.Socket
 * @returns {boolean} whether it was made with `reusePort` (Node 22.12 and newer)
 */
function reusesPort(socket) {
  return !!datagramState(socket).reusePort;
}

/**
 * Has a worker's half of the built-in cluster ask the primary for a server.
 *
 * @param {any} cluster
 * @param {{ once: Function, address: () => any }} listener is called when it listens, and asked for its address
 * @param {object} query
 */
function askForServer(cluster, listener, query) {
  need(typeof cluster._getServer === 'function', 'cluster._getServer');
  cluster._getServer(listener, query, () => {});
}

/** @param {RawHandle} handle @returns {boolean} whether it came by the built-in cluster, which has put its own `close` on it */
function isOfCluster(handle) {
  return !isRawHandle(handle) || Object.hasOwn(handle, 'close');
}

/** Of TCP and Pipe, once the first connection has shown them. @type {Map<boolean, any>} */
const connectionTypes = new Map();

/** `SOCKET` of the constants of TCP and Pipe: neither a server nor for descriptors. */
const SOCKET = 0;

/**
 * The handle of a connection, as it would come with Node's own message.
 *
 * @param {boolean} isPipe
 * @param {number} fd owned by the handle afterwards
 * @returns {RawHandle}
 */
function connectionHandle(isPipe, fd) {
  const Type = connectionTypes.get(isPipe);
  if (Type === undefined) {
    const handle = streamHandleFrom(fd);
    connectionTypes.set(isPipe, handle.constructor);
    return handle;
  }
  const handle = new Type(SOCKET);
  const error = handle.open(fd);
  if (error < 0) {
    // A descriptor that could not be opened stays the caller's.
    handle.close();
    throw errors.errnoException(error, 'open');
  }
  return handle;
}

/**
 * A stream handle for a descriptor that was received: TCP or Pipe, as the kernel says.
 *
 * @param {number} fd owned by the handle afterwards
 * @returns {RawHandle}
 */
function streamHandleFrom(fd) {
  /** @type {any} manualStart is Node's own: do not begin to read */
  const options = { fd, readable: false, writable: false, manualStart: true };
  /** @type {any} */
  const socket = new net.Socket(options);
  const handle = handleOf(socket);
  need(isRawHandle(handle), 'the handle of a new net.Socket');
  socket._handle = null;
  return /** @type {RawHandle} */ (handle);
}

/** Only the newer Node has it, and no types know it. @type {{ BoundSocket?: any, _TransferredBoundSocket?: any }} */
const { BoundSocket, _TransferredBoundSocket } = /** @type {any} */ (net);

/**
 * @param {any} value
 * @returns {boolean} whether it is a net.BoundSocket (Node 24.22, 26.12): bound, and not yet a server or a socket
 */
function isBoundSocket(value) {
  return BoundSocket !== undefined && value instanceof BoundSocket;
}

/**
 * The methods by which worker threads give one to each other.
 *
 * @param {'transfer_list' | 'transfer' | 'deserialize'} what
 * @returns {symbol} the name of a method
 */
function transferMethod(what) {
  const symbol = Object.getOwnPropertySymbols(BoundSocket.prototype).find(
    ({ description }) => description === `messaging_${what}_symbol`,
  );
  need(symbol !== undefined, `net.BoundSocket, messaging_${what}_symbol`);
  return /** @type {symbol} */ (symbol);
}

/** @param {any} bound a net.BoundSocket; throws Node's error for one that is closed, or in use by now */
function needTransferable(bound) {
  bound[transferMethod('transfer_list')]();
}

/**
 * Takes the handle away from a net.BoundSocket, which is then as if it were in use. Throws as `needTransferable`.
 *
 * @param {any} bound
 * @returns {RawHandle}
 */
function takeBoundSocketApart(bound) {
  return bound[transferMethod('transfer')]().data.handle;
}

/**
 * A net.BoundSocket on a descriptor that was received. Throws where there is no such thing; the descriptor is then still the
 * caller's, unless the error is marked `descriptorTaken`.
 *
 * @param {number} fd owned by the BoundSocket afterwards
 */
function boundSocketFrom(fd) {
  if (BoundSocket === undefined)
    throw new TypeError(`a net.BoundSocket, which Node ${process.version} does not have`);
  need(typeof _TransferredBoundSocket === 'function', 'net._TransferredBoundSocket');
  const bound = new _TransferredBoundSocket();
  const handle = streamHandleFrom(fd);
  try {
    bound[transferMethod('deserialize')]({ handle });
  } catch (error) {
    handle.close();
    throw Object.assign(/** @type {Error} */ (error), { descriptorTaken: true });
  }
  return bound;
}

/**
 * A server on a descriptor that was received. Not `listen(handle)`, which opens a Pipe's descriptor for a second handle,
 * and asks the primary for it where there is one.
 *
 * @param {number} fd owned by the handle in any case: one that cannot listen is closed
 * @returns {import('node:net').Server} whose `listening` tells whether it does; if not, 'error' follows
 */
function serverFrom(fd) {
  /** @type {any} */
  const server = new net.Server();
  need('_handle' in server && typeof server._listen2 === 'function', 'net.Server._listen2');
  server._handle = streamHandleFrom(fd);
  server._listen2(null, -1, -1, 0);
  return server;
}

/**
 * A bound socket on a descriptor that was received. Throws if the descriptor is no datagram socket; the descriptor is then still the
 * caller's, unless the error is marked `descriptorTaken`.
 *
 * @param {'udp4' | 'udp6'} type
 * @param {number} fd owned by the socket afterwards
 */
function datagramFrom(type, fd) {
  const socket = dgram.createSocket(type);
  try {
    // Otherwise a cluster's worker asks the primary for the primary's descriptor of that number.
    return socket.bind({ fd, exclusive: true });
  } catch (error) {
    const descriptorTaken = datagramHandleOf(socket)?.fd === fd;
    socket.close();
    throw Object.assign(/** @type {Error} */ (error), { descriptorTaken });
  }
}

/**
 * @param {number} fd owned by the handle afterwards
 * @returns {RawHandle}
 */
function datagramHandleFrom(fd) {
  // It asks the kernel what the descriptor is, which opening a handle does not.
  const state = datagramState(datagramFrom('udp4', fd));
  const { handle } = state;
  need(isRawHandle(handle) && typeof (/** @type {any} */ (handle).recvStop) === 'function', 'UDP.recvStop');
  /** @type {any} */ (handle).recvStop();
  state.handle = null;
  return handle;
}

/**
 * Lets `before` run between the end of a process and everything that reports it ('exit', exitCode, 'close').
 *
 * @param {any} child just spawned
 * @param {(proceed: () => void) => void} before calls back when it has run
 */
function beforeExit(child, before) {
  const handle = child._handle;
  // Without a handle the process could not be spawned, which has been reported already.
  if (!handle) return;
  need(typeof handle.onexit === 'function', 'ChildProcess._handle.onexit');
  const onexit = handle.onexit;
  handle.onexit = (/** @type {number} */ exitCode, /** @type {string} */ signalCode) => {
    if (exitCode < 0) {
      // It was never spawned: 'error' comes, and no 'exit'.
      Reflect.apply(onexit, handle, [exitCode, signalCode]);
      before(() => {});
      return;
    }
    // The process has been reaped: its pid may be another's from here on.
    handle.kill = () => -os.constants.errno.ESRCH;
    before(() => Reflect.apply(onexit, handle, [exitCode, signalCode]));
  };
}

/**
 * A ChildProcess emits 'close' once its streams and its channel have closed; it has to know of a channel that is not
 * Node's.
 *
 * @param {any} child
 * @returns {() => void} to be called when the channel has closed
 */
function expectClose(child) {
  need(
    typeof child._closesNeeded === 'number' && typeof child._closesGot === 'number',
    'ChildProcess._closesNeeded',
  );
  child._closesNeeded++;
  return () => {
    child._closesGot++;
    if (child._closesGot === child._closesNeeded) child.emit('close', child.exitCode, child.signalCode);
  };
}

/**
 * Whether this Node fills the abstract name of a Unix socket up with NUL bytes: libuv did so up to 1.46, which is Node
 * 20's. A client in another process reaches a server only if both do the same.
 */
function padsAbstractNames() {
  const [major, minor] = process.versions.uv.split('.').map(Number);
  return major === 1 && minor <= 46;
}

/** Whether a ChildProcess has its channel as `_channel` as well: deprecated (DEP0129), and removed in Node 25. */
function hasChannelAlias() {
  return Number.parseInt(process.versions.node, 10) < 25;
}

/**
 * Node's notes of the connections that came and went on the channel of this process, by the key of the server that
 * accepted them.
 *
 * @returns {{ got: Record<string, any>, send: Record<string, any> }}
 */
function nodeSocketLists() {
  const symbol = Object.getOwnPropertySymbols(process).find(
    ({ description }) => description === 'kChannelHandle',
  );
  const sockets = symbol && /** @type {any} */ (process)[symbol]?.sockets;
  need(
    typeof sockets?.got === 'object' && typeof sockets?.send === 'object',
    'the channel handle of process',
  );
  return sockets;
}

/** @param {number} pid makes another Node process start its inspector */
function debugProcess(pid) {
  const { _debugProcess } = /** @type {any} */ (process);
  need(typeof _debugProcess === 'function', 'process._debugProcess');
  _debugProcess(pid);
}

module.exports = {
  acceptedBy,
  askForServer,
  beforeExit,
  boundSocketFrom,
  connectionHandle,
  datagramFrom,
  datagramHandleFrom,
  datagramHandleOf,
  debugProcess,
  detachHandle,
  expectClose,
  handleOf,
  hasChannelAlias,
  isBoundSocket,
  isOfCluster,
  isRawHandle,
  needTransferable,
  isWrapped,
  nodeSocketLists,
  padsAbstractNames,
  reusesPort,
  serverFrom,
  streamHandleFrom,
  takeBoundSocketApart,
};
