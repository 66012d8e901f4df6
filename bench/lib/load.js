'use strict';

const path = require('node:path');
const { Remote } = require('./remote');

/** @typedef {import('./load-process').Job} Job */
/** @typedef {import('./load-process').LoadResult} LoadResult */

/** The load generator as the bench scripts see it. */
class LoadGenerator {
  #remote = new Remote(path.join(__dirname, 'load-process.js'));

  /**
   * Runs one job to its end; one at a time.
   * @param {Job} job
   * @returns {Promise<LoadResult>}
   */
  run(job) {
    return this.#remote.ask('run', job);
  }

  /** Lets the running job end early. */
  finish() {
    return this.#remote.ask('stop');
  }

  /** @returns {Promise<{ completed: number, failed: number }>} how far the running job is */
  progress() {
    return this.#remote.ask('progress');
  }

  stop() {
    return this.#remote.stop();
  }
}

exports.LoadGenerator = LoadGenerator;
