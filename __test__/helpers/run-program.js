'use strict';

// The process of one program (see programs.js): its primary, and its workers.
//
//   node run-program.js <file in fixtures> <name> <serialization>

const fs = require('node:fs');
const path = require('node:path');
const cluster = require('../..');

const [file, name, mode] = process.argv.slice(2);

/**
 * What a program works with.
 * @typedef {object} Context
 * @property {any} cluster
 * @property {string} mode 'json', 'advanced' or nothing
 * @property {string} role in a worker: what `fork` was given
 * @property {string} scratch a directory of the program's own
 * @property {(role?: string, env?: NodeJS.ProcessEnv) => any} fork
 */

/** @type {Context} */
const context = {
  cluster,
  mode,
  role: process.env.ROLE ?? '',
  scratch: /** @type {string} */ (process.env.CORRAL_TEST_SCRATCH),
  fork: (role = '', env = {}) => cluster.fork({ ROLE: role, ...env }),
};

async function main() {
  const program = require(path.join(__dirname, '../fixtures', file))[name];
  if (cluster.isWorker) return program.worker?.(context);
  if (mode) cluster.setupPrimary({ serialization: mode });
  // The workers of a program that failed must not keep it going.
  try {
    await program.primary(context);
  } catch (error) {
    fs.writeSync(2, `${error.stack}\n`);
    process.exit(1);
  }
}

main();
