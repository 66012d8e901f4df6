'use strict';

// A file with the number of the process that runs, for whoever wants to send it signals.

const fs = require('node:fs');
const path = require('node:path');

const { UsageError } = require('./usage-error');

class PidFile {
  #path;

  /** @param {string | undefined} file none without it */
  constructor(file) {
    this.#path = file === undefined ? undefined : path.resolve(file);
  }

  /** Throws if it cannot be written, as far as its directory tells. */
  check() {
    if (this.#path === undefined) return;
    try {
      fs.accessSync(path.dirname(this.#path), fs.constants.W_OK);
    } catch (error) {
      throw new UsageError(`${this.#path}: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** Whoever reads it meanwhile finds the old number or the new one, whole. */
  write() {
    if (this.#path === undefined) return;
    const beside = `${this.#path}.${process.pid}`;
    try {
      fs.writeFileSync(beside, `${process.pid}\n`);
      fs.renameSync(beside, this.#path);
    } catch (error) {
      fs.rmSync(beside, { force: true });
      throw new UsageError(`${this.#path}: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** If it is still this process's. */
  remove() {
    if (this.#path === undefined) return;
    try {
      if (fs.readFileSync(this.#path, 'utf8') === `${process.pid}\n`) fs.rmSync(this.#path);
    } catch {
      // There is none, or what is there now is nobody's to remove: no reason not to end.
    }
  }
}

module.exports = { PidFile };
