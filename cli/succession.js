'use strict';

// `corral run` in the place of another one that runs: it gets that one's listening sockets over its control socket, starts its workers, and has
// the other one yield once they have proved themselves. If that one ends before, this one goes on alone.

const fs = require('node:fs');

const net = require('../net');

/** Tells a process that it takes the place of another one: that one's control socket. run.js looks for it, too. */
const VARIABLE = 'CORRAL_UPGRADE';

/** How long the other one has for an answer, in milliseconds. Its event loop may be busy. */
const ANSWER_WITHIN = 30_000;

/** How long its control socket may take to be closed, and how often it is looked, in milliseconds. */
const CLOSED_WITHIN = 10_000;
const LOOK_EVERY = 20;

class Succession {
  #channel;
  #succession;
  /** Whether the other one is there. */
  #isThere = true;
  /** Resolves when the other one has ended, or has nothing more to say. */
  #gone;

  /**
   * @param {any} cluster
   * @param {any} channel to the other one
   */
  constructor(cluster, channel) {
    this.#channel = channel;
    this.#succession = cluster.succeed();
    this.#gone = new Promise((resolve) => {
      channel.once('close', () => {
        this.#isThere = false;
        resolve(undefined);
      });
    });
    // Its end says enough.
    channel.on('error', () => {});
  }

  get isThere() {
    return this.#isThere;
  }

  /** @returns {Promise<number | undefined>} how many servers it has; undefined if it has ended before, and its addresses are free */
  async receive() {
    const { fd } = this.#succession;
    await new Promise((resolve) => {
      this.#channel.send({ succession: process.pid }, fd, () => resolve(undefined));
    });
    fs.closeSync(fd);
    try {
      const sockets = await Promise.race([this.#succession.received(), this.#gone]);
      if (sockets === undefined) return undefined;
      // Several may share a port.
      const served = sockets.filter((/** @type {any} */ { isServed }) => isServed);
      return new Set(served.map((/** @type {any} */ socket) => JSON.stringify(socket))).size;
    } catch (error) {
      // It had not sent all.
      if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ECONNRESET') return undefined;
      throw error;
    }
  }

  /** Workers have proved themselves: from here on this process serves, and the other one does not. */
  async takeOver() {
    this.#succession.begin();
    if (!this.#isThere) return;
    const asked = this.#channel.request({ command: 'yield' }, { timeout: ANSWER_WITHIN });
    // One that ends meanwhile has yielded as well.
    await Promise.race([asked, this.#gone]).catch((error) => {
      if (this.#isThere) throw error;
    });
    this.#channel.disconnect();
  }

  /** @param {string} reason why this process does not take its place */
  async giveUp(reason) {
    if (!this.#isThere) return;
    const told = this.#channel.request({ command: 'giveUp', reason }, { timeout: ANSWER_WITHIN });
    // It sees the end of this process in any case.
    await Promise.race([told, this.#gone]).catch(() => {});
    this.#channel.disconnect();
  }
}

/**
 * @param {any} cluster
 * @param {NodeJS.ProcessEnv} env of this process, out of which it takes what is meant for this one
 * @returns {Promise<Succession | undefined>} undefined if this process takes nobody's place, or of one that has ended
 */
async function succession(cluster, env) {
  const path = env[VARIABLE];
  delete env[VARIABLE];
  if (!path) return undefined;
  const channel = net.connect({ path, ipc: true });
  try {
    await new Promise((resolve, reject) => {
      channel.once('connect', () => resolve(undefined)).once('error', reject);
    });
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return undefined;
    throw error;
  }
  return new Succession(cluster, channel);
}

/**
 * Tries until the other one does not listen there any more.
 *
 * @template T
 * @param {() => Promise<T>} listen
 * @returns {Promise<T>}
 */
async function onceFree(listen) {
  const until = Date.now() + CLOSED_WITHIN;
  for (;;) {
    try {
      return await listen();
    } catch (error) {
      if (/** @type {any} */ (error).code !== 'EADDRINUSE' || Date.now() > until) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
  }
}

module.exports = { Succession, VARIABLE, onceFree, succession };
