'use strict';

const path = require('node:path');
const { Remote, whileItRuns } = require('./remote');
const { SIDE_VARIABLE } = require('./side');

/**
 * @typedef {object} ReusePortSide
 * @property {string} label
 * @property {'builtin' | 'corral'} cluster
 * @property {string} policy in NODE_CLUSTER_SCHED_POLICY
 * @property {boolean} [reusePort] Node's own
 */

/** A cluster under measurement: programs/reuseport-primary.js with its workers. */
class ReusePortProgram {
  #remote;
  port = 0;

  /**
   * @param {ReusePortSide} side
   * @param {{ protocol: 'http' | 'net', plain: boolean }} options
   */
  constructor({ cluster, policy, reusePort = false }, { protocol, plain }) {
    this.#remote = new Remote(path.join(__dirname, '../programs/reuseport-primary.js'), {
      args: [JSON.stringify({ protocol, reusePort, plain })],
      env: { [SIDE_VARIABLE]: cluster, NODE_CLUSTER_SCHED_POLICY: policy },
    });
  }

  /** The primary's process id. */
  get pid() {
    return this.#remote.pid;
  }

  /** @param {number} workers */
  async start(workers) {
    this.port = await this.#remote.ask('start', workers);
  }

  /** @param {{ block: number, kills: number, every: number }} storm */
  beginStorm(storm) {
    return this.#remote.ask('beginStorm', storm);
  }

  /** @returns {Promise<number>} how many workers were killed so far */
  kills() {
    return this.#remote.ask('kills');
  }

  /** @returns {Promise<{ kills: number, blocks: number, accepted: number | null }>} what has happened */
  endStorm() {
    return this.#remote.ask('endStorm');
  }

  /** @returns {Promise<number | undefined>} how many connections corral's primary has accepted */
  accepted() {
    return this.#remote.ask('accepted');
  }

  stop() {
    return this.#remote.stop();
  }
}

/**
 * @template T
 * @param {ReusePortSide} side
 * @param {{ workers: number, protocol: 'http' | 'net', plain: boolean }} options
 * @param {(program: ReusePortProgram) => Promise<T>} use
 */
function withReusePortProgram(side, { workers, ...options }, use) {
  return whileItRuns(new ReusePortProgram(side, options), workers, use);
}

module.exports = { withReusePortProgram };
