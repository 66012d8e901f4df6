'use strict';

// `corral upgrade`, in the program that runs: it starts another `corral run`, hands over its listening sockets, and yields when that one asks
// for it. As long as it has not, it serves as if nothing were.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { VARIABLE } = require('./succession');

/** Who starts the new one in the end: this file's neighbour, wherever that leads then. */
const [, SCRIPT] = process.argv;

/** @typedef {{ pid: number, milliseconds: number }} Result */

/**
 * @typedef {object} Program
 * @property {any} cluster
 * @property {any} supervisor
 * @property {NodeJS.ProcessEnv} env with which this process was started
 * @property {string} directory where it was started
 * @property {string | undefined} controlPath
 * @property {() => void} release the control socket is the new one's
 * @property {() => Promise<void>} leave has the workers finish what they have begun
 * @property {() => void} exit
 */

class Upgrade {
  #program;
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;
  /** @type {any} */
  #heir;
  #start = 0;
  #hasYielded = false;
  /** @type {{ resolve: (result: Result) => void, reject: (error: Error) => void } | undefined} */
  #waiting;
  /** What the new one has said of its failure. @type {string | undefined} */
  #reason;

  /** @param {Program} program */
  constructor(program) {
    this.#program = program;
  }

  /** Whether another process has taken over. */
  get hasYielded() {
    return this.#hasYielded;
  }

  /**
   * @param {{ node?: string, script?: string }} [by] what is to run; otherwise what this process was started with
   * @returns {Promise<Result>} when the new one serves; rejects if it does not come to that
   */
  begin({ node = ownNode(this.#program), script = SCRIPT } = {}) {
    const { supervisor, controlPath } = this.#program;
    const { state } = supervisor.status();
    if (this.#child !== undefined) throw new Error('another upgrade is under way');
    if (controlPath === undefined) throw new Error('an upgrade needs the control socket');
    if (process.pid === 1) throw new Error('process 1 cannot be replaced: its container ends with it');
    if (state !== 'running') throw new Error(`the program is ${state}: try again when it is running`);
    this.#start = performance.now();
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#spawn(node, script, controlPath);
    });
  }

  /**
   * @param {string} node
   * @param {string} script
   * @param {string} controlPath
   */
  #spawn(node, script, controlPath) {
    const { directory, env: given } = this.#program;
    // What the service manager has said to this process alone; its sockets go the other way.
    const { WATCHDOG_PID, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES, ...env } = given;
    const child = spawn(node, [...process.execArgv, script, ...process.argv.slice(2)], {
      cwd: directory,
      env: { ...env, [VARIABLE]: controlPath },
      stdio: 'inherit',
    });
    this.#child = child;
    child.once('error', ({ message }) => this.#fail(`it could not be started: ${message}`));
    child.once('exit', (code, signal) => {
      this.#fail(signal === null ? `it has exited with code ${code}` : `it was killed by ${signal}`);
    });
  }

  /** @param {string} how the new one has ended */
  #fail(how) {
    if (this.#hasYielded || this.#child === undefined) return;
    const reason = this.#reason ?? how;
    this.#heir?.cancel();
    this.#child = undefined;
    this.#heir = undefined;
    this.#reason = undefined;
    this.#waiting?.reject(new Error(`The upgrade has ended, and this program goes on: ${reason}`));
    this.#waiting = undefined;
  }

  /**
   * The new one asks for the sockets.
   *
   * @param {unknown} pid its process, as it says
   * @param {number} fd on which they go; closed here if nobody has a right to them
   */
  handOver(pid, fd) {
    if (this.#child === undefined || pid !== this.#child.pid || this.#hasYielded) {
      fs.closeSync(fd);
      return;
    }
    this.#heir = this.#program.cluster.handOver(fd);
  }

  /** @param {string} reason why the new one will end */
  giveUp(reason) {
    this.#reason = reason;
    return {};
  }

  /** The new one serves. */
  yield() {
    const { supervisor, release, leave, exit } = this.#program;
    const pid = this.#child?.pid;
    if (this.#heir === undefined || pid === undefined || this.#hasYielded)
      throw new Error('no upgrade is under way');
    this.#hasYielded = true;
    // The kernel has what comes from here on for the other one.
    const isEmpty = this.#heir.yield();
    release();
    supervisor.succeededBy(pid);
    this.#waiting?.resolve({ pid, milliseconds: Math.round(performance.now() - this.#start) });
    this.#waiting = undefined;
    isEmpty
      .then(leave)
      .then(() => this.#heir.sent())
      .then(exit);
    return {};
  }

  /** This process is told to end. Resolves when a new one that has not taken over has ended. */
  async stop() {
    const child = this.#child;
    if (child === undefined || this.#hasYielded) return;
    const exit = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await exit;
  }
}

/**
 * @param {Program} program
 * @returns {string} the Node with which this process was started, looked up again: it may be another one by now
 */
function ownNode({ directory, env }) {
  const { argv0, execPath } = process;
  const places = argv0.includes('/')
    ? [directory]
    : (env.PATH ?? '').split(':').filter((place) => place !== '');
  const found = places.map((place) => path.resolve(place, argv0)).find((file) => fs.existsSync(file));
  // It was started under a name that is none of a file.
  return found ?? execPath;
}

module.exports = { Upgrade };
