'use strict';

const path = require('node:path');
const { Remote, whileItRuns } = require('./remote');
const { MODULE_VARIABLE, SIDE_VARIABLE } = require('./side');

/**
 * One of the sides of the mixed bench, which compares more than two.
 *
 * @typedef {object} MixedSide
 * @property {string} label
 * @property {import('./side').Side} cluster whose
 * @property {'rr' | 'none'} [policy]
 * @property {boolean} [reusePort] workers bind the port themselves
 * @property {string} [module] where another corral is, if it is not this one
 * @property {object} [settings] more of them for setupPrimary
 */

/** A cluster under measurement: programs/mixed-primary.js with its workers. */
class MixedProgram {
  #remote;
  /** @type {number[]} of the servers */
  ports = [];
  /** @type {number[]} the workers' */
  pids = [];

  /**
   * @param {MixedSide} side
   * @param {{ lane: boolean, servers: number }} options
   */
  constructor({ cluster, policy = 'rr', reusePort = false, module, settings = {} }, { lane, servers }) {
    /** @type {import('../programs/mixed-primary').Options} */
    const options = { lane, reusePort, servers, settings };
    this.#remote = new Remote(path.join(__dirname, '../programs/mixed-primary.js'), {
      args: [JSON.stringify(options)],
      env: {
        [SIDE_VARIABLE]: cluster,
        NODE_CLUSTER_SCHED_POLICY: policy,
        ...(module && { [MODULE_VARIABLE]: module }),
      },
    });
  }

  /** @param {number} workers */
  async start(workers) {
    const { ports, pids } = await this.#remote.ask('start', workers);
    this.ports = ports;
    this.pids = pids;
  }

  /** @returns {Promise<number>} the port at which the cluster is observed from now on, which only corral's can be */
  observe() {
    return this.#remote.ask('observe');
  }

  /** The primary's process id. */
  get pid() {
    return this.#remote.pid;
  }

  stop() {
    return this.#remote.stop();
  }
}

/**
 * Starts a cluster, does something with it, and stops it whatever happens.
 *
 * @template T
 * @param {MixedSide} side
 * @param {{ lane: boolean, servers: number, workers: number }} options
 * @param {(program: MixedProgram) => Promise<T>} use
 */
function withMixedProgram(side, { workers, ...options }, use) {
  return whileItRuns(new MixedProgram(side, options), workers, use);
}

module.exports = { MixedProgram, withMixedProgram };
