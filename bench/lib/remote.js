'use strict';

// Questions and answers between a bench script and the processes it starts (the primaries, the load
// generator), over the channel of child_process.fork. When the bench script ends, however it ends, the
// channel closes and they end too.

const { fork } = require('node:child_process');

/** @typedef {(argument: any) => unknown} Handler */

/** A process that answers questions. */
class Remote {
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  #waiting = new Map();
  #nextId = 1;
  /** @type {import('node:child_process').ChildProcess} */
  #child;
  /** @type {Promise<void>} */
  #exited;

  /**
   * @param {string} file
   * @param {{ args?: string[], execArgv?: string[], env?: Record<string, string> }} [options]
   */
  constructor(file, { args = [], execArgv = [], env = {} } = {}) {
    this.#child = fork(file, args, { execArgv, env: { ...process.env, ...env } });
    this.#child.on('message', (/** @type {any} */ { id, result, error }) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(`${file}: ${error}`));
    });
    this.#exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        for (const { reject } of this.#waiting.values())
          reject(new Error(`${file} ended early: ${signal ?? code}`));
        this.#waiting.clear();
        resolve();
      });
    });
  }

  /** @returns {number} */
  get pid() {
    return /** @type {number} */ (this.#child.pid);
  }

  /**
   * @param {string} question the name of a handler over there
   * @param {unknown} [argument]
   * @returns {Promise<any>}
   */
  ask(question, argument) {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, question, argument }, (error) => {
        if (error && this.#waiting.delete(id)) reject(error);
      });
    });
  }

  /** Ends the process and waits until it is gone. */
  async stop() {
    if (this.#child.connected) this.#child.disconnect();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await this.#exited;
    clearTimeout(timer);
  }
}

/**
 * The answering end.
 * @param {Record<string, Handler>} handlers
 * @param {() => void} [cleanUp] runs before this process ends because the bench script is done or gone
 */
function serve(handlers, cleanUp) {
  // A Ctrl-C goes to the whole process group; the bench script is who decides, and losing it ends us.
  process.on('SIGINT', () => {});
  process.on('disconnect', () => {
    cleanUp?.();
    process.exit(0);
  });
  process.on('message', async (/** @type {any} */ { id, question, argument }) => {
    /** @type {{ id: number, result?: unknown, error?: string }} */
    const answer = { id };
    try {
      answer.result = await handlers[question](argument);
    } catch (error) {
      answer.error = /** @type {Error} */ (error).stack;
    }
    if (process.connected) process.send?.(answer);
  });
}

/**
 * Starts a program, does something with it, and stops it whatever happens.
 *
 * @template {{ start: (workers: number) => Promise<void>, stop: () => Promise<void> }} P
 * @template T
 * @param {P} program
 * @param {number} workers
 * @param {(program: P) => Promise<T>} use
 */
async function whileItRuns(program, workers, use) {
  try {
    await program.start(workers);
    return await use(program);
  } finally {
    await program.stop();
  }
}

module.exports = { Remote, serve, whileItRuns };
