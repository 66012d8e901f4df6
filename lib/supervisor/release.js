'use strict';

// The release that workers run: where the paths of the program lead at the moment. A path with a symbolic link in it (`current`) leads to the
// same release until the next reload, also for workers that are started anew.

const fs = require('node:fs');
const path = require('node:path');

class Release {
  #cluster;
  /** As the program has set them. */
  #paths;
  /** What the workers of the release before are started with. @type {Record<string, string | undefined> | undefined} */
  #before;

  /** @param {any} cluster whose settings have been set up */
  constructor(cluster) {
    this.#cluster = cluster;
    const { exec, cwd } = cluster.settings;
    this.#paths = { exec, cwd };
    this.resolve();
  }

  /** Where the paths lead now is what workers are started with from here on. Throws if they lead nowhere. */
  resolve() {
    const { settings } = this.#cluster;
    const { exec, cwd } = this.#paths;
    const resolved = {
      ...(exec === undefined ? {} : { exec: whereItLeads(path.resolve(cwd ?? '.', exec)) }),
      ...(cwd === undefined ? {} : { cwd: fs.realpathSync(cwd) }),
    };
    this.#before = { exec: settings.exec, cwd: settings.cwd };
    if (Object.entries(resolved).some(([name, path]) => settings[name] !== path)) {
      this.#cluster.setupPrimary(resolved);
    }
  }

  /** Workers are started with what was there before the last `resolve`. */
  revert() {
    if (this.#before === undefined) return;
    this.#cluster.setupPrimary(this.#before);
    this.#before = undefined;
  }
}

/** @param {string} file which may lack the extension that Node adds */
function whereItLeads(file) {
  if (fs.existsSync(file)) return fs.realpathSync(file);
  return path.join(fs.realpathSync(path.dirname(file)), path.basename(file));
}

module.exports = { Release };
