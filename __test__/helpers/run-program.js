'use strict';

// The process of one program (see programs.js): its primary, and its workers.
//
//   node run-program.js <file in cluster/> <name> <serialization> <scheduling policy>

const fs = require('node:fs');
const path = require('node:path');

/** A worker with this in its environment does not load corral, unless it does so itself. */
const PLAIN = 'CORRAL_TEST_PLAIN';

const cluster = process.env[PLAIN] ? require('node:cluster') : require('../..');

/** The exit code of a primary that ended with its program still waiting for something. */
const UNFINISHED = 13;

const [file, name, mode, policy] = process.argv.slice(2);

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
  const program = require(path.join(__dirname, '../cluster', file))[name];
  if (cluster.isWorker) return program.worker?.(context);
  if (mode) cluster.setupPrimary({ serialization: mode });
  if (policy) cluster.setupPrimary({ schedulingPolicy: policy });
  let finished = false;
  process.on('exit', (code) => {
    // It waits for what never came, and nothing keeps it alive.
    if (code === 0 && !finished) process.exitCode = UNFINISHED;
  });
  // The workers of a program that failed must not keep it going.
  try {
    await program.primary(context);
    finished = true;
  } catch (error) {
    fs.writeSync(2, `${error.stack}\n`);
    process.exit(1);
  }
}

main();
