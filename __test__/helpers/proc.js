'use strict';

// What Linux shows of a process and of a listening socket.

const fs = require('node:fs');

const { until } = require('./events');

/** Where Linux lists the sockets of TCP over IPv4; written anew for whoever reads it. */
const SOCKETS = '/proc/net/tcp';

/** @param {number} [pid] how many descriptors it has open */
function openFiles(pid = process.pid) {
  const own = pid === process.pid ? 1 : 0;
  // Reading the directory takes a descriptor, which is in the list.
  return fs.readdirSync(`/proc/${pid}/fd`).length - own;
}

/**
 * @param {number} [pid]
 * @returns {string[]} the names of its threads. One that ends meanwhile is not among them
 */
function threadNames(pid = process.pid) {
  return fs.readdirSync(`/proc/${pid}/task`).flatMap((task) => {
    try {
      return [fs.readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim()];
    } catch (error) {
      if (['ENOENT', 'ESRCH'].includes(/** @type {any} */ (error).code)) return [];
      throw error;
    }
  });
}

/** @param {number} pid */
function stateOf(pid) {
  try {
    // pid (name) state …; the name may hold anything.
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat[stat.lastIndexOf(')') + 2];
  } catch {
    return 'X';
  }
}

/** @param {number} pid true once SIGSTOP has taken effect on the process */
function isStopped(pid) {
  return stateOf(pid) === 'T';
}

/** @param {any} worker it gets SIGSTOP, and has taken it when this returns */
async function stop({ process: child }) {
  child.kill('SIGSTOP');
  await until(() => isStopped(child.pid));
}

/** The calls by which libuv waits for events, in the numbering of each machine. */
const WAITS = process.arch === 'x64' ? ['232', '281', '441'] : ['22', '441'];

/** @param {number} pid whether its main thread waits for events */
function waitsForEvents(pid) {
  return WAITS.includes(fs.readFileSync(`/proc/${pid}/syscall`, 'latin1').split(' ')[0]);
}

/** What the core's thread in a primary is called. */
const CORE = 'corral';

/** @returns {boolean} whether the core's own thread in this process has done what there was to do, and waits for events */
function coreWaits() {
  const tasks = fs.readdirSync('/proc/self/task').map((task) => `/proc/self/task/${task}`);
  const [core] = tasks.filter((task) => fs.readFileSync(`${task}/comm`, 'latin1').trim() === CORE);
  return WAITS.includes(fs.readFileSync(`${core}/syscall`, 'latin1').split(' ')[0]);
}

/** @param {number} pid true also before its parent has asked for its status */
function isDead(pid) {
  return ['Z', 'X'].includes(stateOf(pid));
}

/**
 * How many connections wait in the kernel for somebody to accept them.
 *
 * @param {number} port of a socket that listens on 127.0.0.1
 * @param {string | number} [table] `SOCKETS`, or its descriptor, not read before, of one who may have none left
 */
function acceptQueue(port, table = SOCKETS) {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const line of fs.readFileSync(table, 'latin1').split('\n')) {
    const [, address, , state, queues] = line.trim().split(/\s+/);
    if (address === local && state === '0A') return Number.parseInt(queues.split(':')[1], 16);
  }
  return 0;
}

/**
 * How much of a processor this process, with all its threads, takes while it has nothing to do.
 *
 * @param {number} milliseconds for how long to look
 */
async function shareOfCpu(milliseconds) {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  const { user, system } = process.cpuUsage(cpu);
  return (user + system) / (Number(process.hrtime.bigint() - start) / 1000);
}

/**
 * Who waits for a descriptor of this process.
 *
 * @param {number} fd
 * @returns {string[]} the numbers of the epoll descriptors
 */
function pollersOf(fd) {
  return fs.readdirSync('/proc/self/fdinfo').filter((number) => {
    try {
      const info = fs.readFileSync(`/proc/self/fdinfo/${number}`, 'latin1');
      return info
        .split('\n')
        .some((line) => line.startsWith('tfd:') && Number.parseInt(line.slice(4), 10) === fd);
    } catch {
      // Closed meanwhile.
      return false;
    }
  });
}

/** What the memory for large messages is called, among mappings and descriptors, unlike that for a pulse. */
const MEMORY = '/memfd:corral (';
/** A piece of a message begins at a multiple of this there. */
const BLOCK = 16 * 1024;

/**
 * @param {number} [pid]
 * @returns {number} how many memories for large messages it has mapped: its own and those of whom it receives from
 */
function memoriesMapped(pid = process.pid) {
  return fs.readFileSync(`/proc/${pid}/maps`, 'latin1').split(MEMORY).length - 1;
}

/**
 * @param {number} [pid]
 * @returns {string[]} the memories for large messages that it has made to send in them, as files
 */
function memoriesMade(pid = process.pid) {
  const files = fs.readdirSync(`/proc/${pid}/fd`).map((number) => `/proc/${pid}/fd/${number}`);
  return files.filter((file) => {
    try {
      return fs.readlinkSync(file).startsWith(MEMORY);
    } catch {
      // Closed meanwhile.
      return false;
    }
  });
}

/**
 * Of memory that is received, and then mapped, the descriptor is closed, at any moment.
 *
 * @param {string} file
 * @returns {number} its descriptor, or -1
 */
function openIfThere(file) {
  try {
    return fs.openSync(file, 'r');
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error;
    return -1;
  }
}

/**
 * @param {string} start
 * @param {number} [pid]
 * @returns {boolean} whether a piece that begins like this is, or was, in memory that the process has made
 */
function isInMemory(start, pid = process.pid) {
  // As a string of one byte a character, or of two.
  const starts = [Buffer.from(start, 'latin1'), Buffer.from(start, 'utf16le')];
  const bytes = Buffer.alloc(starts[1].length);
  return memoriesMade(pid).some((file) => {
    const fd = openIfThere(file);
    if (fd < 0) return false;
    try {
      for (let place = BLOCK; fs.readSync(fd, bytes, 0, bytes.length, place) > 0; place += BLOCK) {
        if (starts.some((wanted) => wanted.equals(bytes.subarray(0, wanted.length)))) return true;
      }
      return false;
    } finally {
      fs.closeSync(fd);
    }
  });
}

module.exports = {
  SOCKETS,
  acceptQueue,
  coreWaits,
  isDead,
  isInMemory,
  isStopped,
  memoriesMade,
  memoriesMapped,
  openFiles,
  pollersOf,
  shareOfCpu,
  stop,
  threadNames,
  waitsForEvents,
};
