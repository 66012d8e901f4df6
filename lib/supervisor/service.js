'use strict';

// A supervisor as a service: it takes over the sockets that its service manager has opened, and tells it what it does.

const { takeService } = require('./environment');
const { ServiceManager } = require('./service-manager');

const WITHOUT_CORE =
  "systemd is not told of this program, and its sockets are not taken over: that needs corral's core";

/** @typedef {{ fd: number, name: string, address: string, port: number | null, isDatagram: boolean }} Adopted */

class Service {
  #cluster;
  /** @type {ServiceManager | undefined} */
  #manager;
  /** @type {Adopted[]} */
  #adopted = [];

  /**
   * @param {any} cluster of a primary
   * @param {true | Promise<unknown>} from when on the manager is told anything
   * @param {() => boolean} isServing whether workers serve
   */
  constructor(cluster, from, isServing) {
    this.#cluster = cluster;
    const { address, watchdog, sockets, faults } = takeService(process.env, process.pid);
    for (const fault of faults) warn(fault);
    if (address === undefined && sockets.length === 0) return;
    if (!cluster.native) {
      process.emitWarning(WITHOUT_CORE, { code: 'CORRAL_NO_NATIVE' });
      return;
    }
    for (const socket of sockets) this.#adopt(socket);
    if (address === undefined) return;
    const native = /** @type {import('../native').Binding} */ (require('../native').native);
    this.#manager = new ServiceManager(
      {
        send: (message) => native.notifyServiceManager(address, message),
        fail: ({ message }) => warn(`NOTIFY_SOCKET=${address}: ${message}`),
        isServing,
      },
      watchdog,
    );
    if (from !== true) this.#manager.holdUntil(from);
  }

  /** @param {{ fd: number, name: string }} socket */
  #adopt({ fd, name }) {
    try {
      this.#adopted.push({ fd, name, ...this.#cluster.adoptSocket(fd) });
    } catch (error) {
      warn(`descriptor ${fd} (${name}) of LISTEN_FDS: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** All workers are ready for the first time. */
  ready() {
    this.#manager?.ready();
    if (this.#adopted.length === 0) return;
    const { servers } = this.#cluster.stats();
    for (const { fd, name, address, port, isDatagram } of this.#adopted) {
      const has = (/** @type {any} */ server) => server.address === address && server.port === port;
      // A path is that of whoever asked for it, in his own spelling.
      if (isDatagram || port === null || servers.some(has)) continue;
      warn(`no worker listens at ${address}:${port}, descriptor ${fd} (${name}) of LISTEN_FDS`);
    }
  }

  reloading() {
    this.#manager?.reloading();
  }

  reloaded() {
    this.#manager?.reloaded();
  }

  /** @param {number} pid */
  succeededBy(pid) {
    this.#manager?.succeededBy(pid);
  }

  stopping() {
    this.#manager?.stopping();
  }

  /**
   * @param {object} about
   * @param {number} about.size
   * @param {number} about.ready how many workers are
   * @param {import('../..').SupervisorStatus['reload']} about.reload
   * @param {import('../..').SupervisorStatus['lastReload']} about.lastReload
   */
  show({ size, ready, reload, lastReload }) {
    if (this.#manager === undefined) return;
    const parts = [`${Math.min(ready, size)} of ${size} workers ready`];
    if (reload !== null) parts.push(`reload: ${reload.done} of ${reload.total}`);
    else if (lastReload !== null && 'error' in lastReload) parts.push('the last reload failed');
    this.#manager.status(parts.join(', '));
  }

  end() {
    this.#manager?.end();
  }
}

/** @param {string} text */
function warn(text) {
  process.emitWarning(text, { code: 'CORRAL_SERVICE' });
}

module.exports = { Service };
