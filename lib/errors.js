'use strict';

// Errors with the codes, names and texts that Node gives its own, where the program may be looking at them.

const util = require('node:util');

/**
 * @param {ErrorConstructor | TypeErrorConstructor | RangeErrorConstructor} Base
 * @param {string} code
 * @param {string} message
 * @returns {NodeJS.ErrnoException}
 */
function create(Base, code, message) {
  /** @type {NodeJS.ErrnoException} */
  const error = new Base(message);
  // The stack is computed with the code in the name, which then gives way to the inherited one: Node's errors print
  // as `TypeError [CODE]: …` and are still called TypeError.
  Object.defineProperty(error, 'name', { value: `${Base.name} [${code}]`, configurable: true });
  void error.stack;
  Reflect.deleteProperty(error, 'name');
  error.code = code;
  return error;
}

/** @param {unknown} value named behind "Received" in Node's messages */
function received(value) {
  if (value === null || value === undefined) return ` Received ${value}`;
  if (typeof value === 'function') return ` Received function ${value.name}`;
  if (typeof value === 'object') {
    const name = value.constructor?.name;
    return name ? ` Received an instance of ${name}` : ` Received ${util.inspect(value, { depth: -1 })}`;
  }
  let text = util.inspect(value, { colors: false });
  if (text.length > 28) text = `${text.slice(0, 25)}...`;
  return ` Received type ${typeof value} (${text})`;
}

/**
 * @param {string} name
 * @param {string} expected e.g. 'of type number'
 * @param {unknown} value
 */
function invalidArgType(name, expected, value) {
  const what = name.includes('.') ? 'property' : 'argument';
  const text = `The "${name}" ${what} must be ${expected}.${received(value)}`;
  return create(TypeError, 'ERR_INVALID_ARG_TYPE', text);
}

/**
 * @param {string} name
 * @param {string} range
 * @param {unknown} value
 */
function outOfRange(name, range, value) {
  const text = `The value of "${name}" is out of range. It must be ${range}. Received ${util.inspect(value)}`;
  return create(RangeError, 'ERR_OUT_OF_RANGE', text);
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {string} [reason]
 */
function invalidArgValue(name, value, reason = 'is invalid') {
  const what = name.includes('.') ? 'property' : 'argument';
  const text = `The ${what} '${name}' ${reason}. Received ${util.inspect(value)}`;
  return create(TypeError, 'ERR_INVALID_ARG_VALUE', text);
}

/**
 * A failed system call, as libuv's errors look in JavaScript.
 *
 * @param {number} errno negative
 * @param {string} syscall
 * @param {string} [detail]
 * @returns {NodeJS.ErrnoException}
 */
function errnoException(errno, syscall, detail = undefined) {
  const code = util.getSystemErrorName(errno);
  /** @type {NodeJS.ErrnoException} */
  const error = new Error(`${syscall} ${code}${detail === undefined ? '' : ` ${detail}`}`);
  error.errno = errno;
  error.code = code;
  error.syscall = syscall;
  return error;
}

module.exports = {
  create,
  errnoException,
  invalidArgType,
  invalidArgValue,
  outOfRange,
  badSocketPort: (/** @type {unknown} */ port) =>
    create(RangeError, 'ERR_SOCKET_BAD_PORT', `Port should be >= 0 and < 65536.${received(port)}.`),
  aborted: (/** @type {unknown} */ cause) => {
    const error = new Error('The operation was aborted', { cause });
    return Object.assign(error, { name: 'AbortError', code: 'ABORT_ERR' });
  },
  busClosed: () => create(Error, 'ERR_CORRAL_BUS_CLOSED', 'The bus is closed'),
  /** @param {string} code @param {string} message of the engine's */
  busFault: (code, message) => create(Error, code, message),
  /** @param {number} calls @param {number} bytes that wait */
  busOffline: (calls, bytes) =>
    create(
      Error,
      'ERR_CORRAL_BUS_OFFLINE',
      `The engine is away, and ${calls} calls with ${bytes} bytes wait for it already`,
    ),
  busTimeout: (/** @type {number} */ timeout) =>
    create(Error, 'ERR_CORRAL_BUS_TIMEOUT', `The engine has not answered within ${timeout} ms`),
  /** @param {number} size @param {number} most */
  busTooLarge: (size, most) =>
    create(
      RangeError,
      'ERR_CORRAL_BUS_TOO_LARGE',
      `The message has ${size} bytes, and maxMessageSize is ${most}`,
    ),
  /** @param {number} size @param {number} most */
  busRequestTooLarge: (size, most) =>
    create(
      RangeError,
      'ERR_CORRAL_BUS_TOO_LARGE',
      `The request has ${size} bytes, and no engine takes more than ${most}`,
    ),
  /** @param {string} reason @param {unknown} [cause] */
  busUnavailable: (reason, cause) =>
    Object.assign(create(Error, 'ERR_CORRAL_BUS_UNAVAILABLE', `No connection to the engine: ${reason}`), {
      cause,
    }),
  /** @param {unknown} cause */
  busUnwritable: (cause) =>
    Object.assign(
      create(
        TypeError,
        'ERR_INVALID_ARG_VALUE',
        `The message cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`,
      ),
      { cause },
    ),
  /** @param {unknown} cause @param {Buffer} raw */
  busUnreadable: (cause, raw) =>
    Object.assign(create(Error, 'ERR_CORRAL_BUS_UNREADABLE', 'The message cannot be read'), { cause, raw }),
  transactionOver: () => create(Error, 'ERR_INVALID_STATE', 'The transaction is over'),
  noHandler: () => create(Error, 'ERR_CORRAL_NO_HANDLER', 'The peer does not answer requests'),
  noLane: () =>
    create(Error, 'ERR_CORRAL_NO_LANE', 'This worker has no lane, and so no way to other workers'),
  noNative: (/** @type {string} */ reason) =>
    create(
      Error,
      'ERR_CORRAL_NO_NATIVE',
      `corral runs without its core here, and there is no such thing: ${reason}`,
    ),
  noCore: (/** @type {string} */ feature, /** @type {string} */ reason) =>
    create(
      Error,
      'ERR_CORRAL_NO_NATIVE',
      `${feature} needs corral's core, which does not run here: ${reason}`,
    ),
  noSuchWorker: (/** @type {number} */ id, /** @type {string} */ reason) =>
    create(Error, 'ERR_CORRAL_NO_SUCH_WORKER', `No way to worker ${id}: ${reason}`),
  noProfile: (/** @type {number} */ id, /** @type {string} */ reason) =>
    create(Error, 'ERR_CORRAL_NO_PROFILE', `There is no profile of worker ${id}: ${reason}`),
  noReply: () => create(Error, 'ERR_CORRAL_NO_REPLY', 'The channel was closed before the reply came'),
  responderExists: (/** @type {string} */ name) =>
    create(
      Error,
      'ERR_CORRAL_RESPONDER_EXISTS',
      `Somebody answers requests on the channel '${name}' already: remove that responder by respond(undefined) first`,
    ),
  startFailed: (/** @type {string} */ reason) =>
    create(Error, 'ERR_CORRAL_START_FAILED', `No worker has started: one ${reason}`),
  reloadFailed: (/** @type {string} */ reason) =>
    create(
      Error,
      'ERR_CORRAL_RELOAD_FAILED',
      `The reload has ended, and the workers that it has not replaced go on: ${reason}`,
    ),
  supervisorStopped: () =>
    create(Error, 'ERR_CORRAL_STOPPED', 'The supervisor was stopped before all workers were ready'),
  supervised: () =>
    create(Error, 'ERR_CORRAL_SUPERVISED', 'This cluster has a supervisor: stop that one first'),
  tooManyChannels: (/** @type {number} */ most) =>
    create(Error, 'ERR_CORRAL_TOO_MANY_CHANNELS', `This process has ${most} named channels: close some`),
  tooLate: () =>
    create(
      Error,
      'ERR_CORRAL_TOO_LATE',
      "This is the fork of Node's own cluster, from before corral was loaded: load corral first, or call cluster.fork()",
    ),
  requestTimeout: (/** @type {number} */ timeout) =>
    create(Error, 'ERR_CORRAL_REQUEST_TIMEOUT', `No reply came within ${timeout} ms`),
  serverAlreadyListening: () =>
    create(
      Error,
      'ERR_SERVER_ALREADY_LISTEN',
      'Listen method has been called more than once without closing.',
    ),
  serverNotRunning: () => create(Error, 'ERR_SERVER_NOT_RUNNING', 'Server is not running.'),
  messageTooLarge: () =>
    create(RangeError, 'ERR_CORRAL_MESSAGE_TOO_LARGE', 'The message is larger than the peer takes'),
  unguarded: (/** @type {string} */ host) =>
    create(
      Error,
      'ERR_CORRAL_UNGUARDED',
      `Everybody who reaches ${host} could observe the cluster: give observe() a token, or say in 'allow' who may`,
    ),
  /**
   * @param {string} code
   * @param {string} message
   * @param {number} count of the clients that were refused for this
   */
  refused: (code, message, count) => {
    const text = count > 1 ? `${message}; and so it was with ${count - 1} before it` : message;
    return Object.assign(create(Error, code, text), { count });
  },
  queueFull: () => create(Error, 'ERR_CORRAL_QUEUE_FULL', 'Too many bytes wait to be sent'),
  channelClosed: () => create(Error, 'ERR_IPC_CHANNEL_CLOSED', 'Channel closed'),
  childClosedBeforeReply: () =>
    create(Error, 'ERR_CHILD_CLOSED_BEFORE_REPLY', 'Child closed before reply received'),
  disconnected: () => create(Error, 'ERR_IPC_DISCONNECTED', 'IPC channel is already disconnected'),
  invalidHandleType: () => create(TypeError, 'ERR_INVALID_HANDLE_TYPE', 'This handle type cannot be sent'),
  ipcRequired: () =>
    create(
      Error,
      'ERR_CHILD_PROCESS_IPC_REQUIRED',
      "Forked processes must have an IPC channel, missing value 'ipc' in options.stdio",
    ),
  missingArgs: (/** @type {string} */ name) =>
    create(TypeError, 'ERR_MISSING_ARGS', `The "${name}" argument must be specified`),
  oneIpcPipe: () => create(Error, 'ERR_IPC_ONE_PIPE', 'Child process can have only one IPC pipe'),
  /**
   * @param {string} expected
   * @param {string} name of a function
   * @param {unknown} value
   */
  invalidReturnValue: (expected, name, value) =>
    create(
      TypeError,
      'ERR_INVALID_RETURN_VALUE',
      `Expected ${expected} to be returned from the "${name}" function.${received(value)}`,
    ),
  badSchedulingPolicy: (/** @type {unknown} */ policy, /** @type {string[]} */ known) =>
    create(
      Error,
      'ERR_INTERNAL_ASSERTION',
      `Bad cluster.schedulingPolicy: ${policy}\nIt must be one of: ${known.map((name) => `cluster.${name}`).join(', ')}`,
    ),
};
