'use strict';

const path = require('node:path');
const { Remote } = require('./remote');

/** @typedef {import('./open-loop-process').OpenLoopJob} OpenLoopJob */
/** @typedef {import('./open-loop-process').OpenLoopResult} OpenLoopResult */

/** The load generator of the mixed bench as the bench script sees it. */
class OpenLoopGenerator {
  #remote = new Remote(path.join(__dirname, 'open-loop-process.js'));

  /**
   * Runs one job to its end; one at a time.
   * @param {OpenLoopJob} job
   * @returns {Promise<OpenLoopResult>}
   */
  run(job) {
    return this.#remote.ask('run', job);
  }

  /** Its process id. */
  get pid() {
    return this.#remote.pid;
  }

  stop() {
    return this.#remote.stop();
  }
}

exports.OpenLoopGenerator = OpenLoopGenerator;
