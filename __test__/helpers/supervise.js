'use strict';

// Clients that go on asking while workers are replaced, and what a supervisor has told.

const http = require('node:http');

const HOST = '127.0.0.1';

/**
 * @param {number} port
 * @param {string} [path]
 * @param {http.Agent | false} [agent]
 * @returns {Promise<string>} the body
 */
function ask(port, path = '/', agent = false) {
  return new Promise((resolve, reject) => {
    const request = http.get({ port, host: HOST, path, agent }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (part) => {
        body += part;
      });
      response.on('end', () => resolve(body)).on('error', reject);
    });
    request.on('error', reject);
  });
}

/** Clients on new connections and on kept ones, each of which asks again when it has an answer. */
class Clients {
  #isOn = true;
  /** @type {Promise<void>[]} */
  #all = [];
  #agents = [0, 1].map(() => new http.Agent({ keepAlive: true, maxSockets: 1 }));
  answers = 0;
  /** @type {Error[]} */
  errors = [];

  /** @param {number} port */
  constructor(port) {
    for (const agent of [...this.#agents, false, false]) {
      this.#all.push(this.#go(port, /** @type {http.Agent | false} */ (agent)));
    }
  }

  /**
   * @param {number} port
   * @param {http.Agent | false} agent
   */
  async #go(port, agent) {
    while (this.#isOn) {
      try {
        await ask(port, '/', agent);
        this.answers++;
      } catch (error) {
        this.errors.push(/** @type {Error} */ (error));
      }
    }
  }

  /** Waits until the last requests have been answered. */
  async end() {
    this.#isOn = false;
    await Promise.all(this.#all);
    for (const agent of this.#agents) agent.destroy();
  }
}

/**
 * The port of the first server of a supervised worker.
 *
 * @param {any} cluster
 * @returns {Promise<number>}
 */
async function portOfFirst(cluster) {
  return new Promise((resolve) => {
    cluster.once('listening', (/** @type {any} */ _worker, /** @type {any} */ { port }) => resolve(port));
  });
}

/**
 * @param {any} supervisor
 * @param {string} state
 * @returns {Promise<any>} the next worker that is in it
 */
function nextIn(supervisor, state) {
  return new Promise((resolve) => {
    supervisor.on('state', function onState(/** @type {any} */ worker) {
      if (worker.state !== state) return;
      supervisor.removeListener('state', onState);
      resolve(worker);
    });
  });
}

/** @param {any} supervisor @returns {number[]} the processes of its workers that are ready, by slot */
function pidsOf(supervisor) {
  return supervisor
    .status()
    .workers.filter((/** @type {any} */ { state }) => state === 'ready')
    .sort((/** @type {any} */ a, /** @type {any} */ b) => a.slot - b.slot)
    .map((/** @type {any} */ { pid }) => pid);
}

module.exports = { Clients, HOST, ask, nextIn, pidsOf, portOfFirst };
