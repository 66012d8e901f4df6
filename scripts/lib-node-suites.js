'use strict';

// Which of Node's tests are run, and what of corral takes the place of what in them.

const fs = require('node:fs');
const path = require('node:path');

const ROOT = path.resolve(__dirname, '..');

/** The directories of Node's test/ that are searched. (test/internet has two more tests of net, which want to go there.) */
const SECTIONS = ['async-hooks', 'parallel', 'sequential'];

/** As in Node's test/testpy: the rest of the first such line. */
const FLAGS = /\/\/\s+Flags:(.*)/;

/**
 * @typedef {object} Suite
 * @property {string} name also that of the module that is replaced
 * @property {string} subject what the tests have in common
 * @property {string} preload the file that replaces the module
 * @property {(test: { name: string, source: string }) => boolean} selects whether a test, named without its directory,
 *   belongs to it
 */

/** @type {Suite[]} */
const SUITES = [
  {
    name: 'cluster',
    subject: 'that load cluster',
    preload: path.join(ROOT, 'register.js'),
    selects: ({ source }) => loads('cluster', source),
  },
  {
    name: 'net',
    subject: 'for net over paths',
    preload: path.join(__dirname, 'replace-net.js'),
    // PIPE is test/common's path for a socket. Some of these have their net from http only.
    selects: ({ name, source }) =>
      /^test-(net-.*pipe|net-connect-|pipe-)/.test(name) || /\bPIPE\b/.test(source),
  },
];

/**
 * @typedef {object} NodeTest
 * @property {string} name such as parallel/test-cluster-basic
 * @property {string} file
 * @property {string[]} flags
 * @property {boolean} alone tests of test/sequential expect that no other test runs
 * @property {boolean} loads whether it loads the module that is replaced, itself
 */

/**
 * @param {string} module
 * @param {string} source
 */
function loads(module, source) {
  return new RegExp(`\\b(?:require\\(|from )['"](?:node:)?${module}['"]`).test(source);
}

/**
 * @param {Suite} suite
 * @param {string} directory Node's test/
 * @returns {NodeTest[]} in a stable order, test/sequential last
 */
function findTests(suite, directory) {
  /** @type {NodeTest[]} */
  const tests = [];
  for (const section of SECTIONS) {
    for (const entry of fs.readdirSync(path.join(directory, section)).sort()) {
      if (!/^test-.*\.m?js$/.test(entry)) continue;
      const file = path.join(directory, section, entry);
      const source = fs.readFileSync(file, 'utf8');
      const name = entry.replace(/\.m?js$/, '');
      if (!suite.selects({ name, source })) continue;
      tests.push({
        name: `${section}/${name}`,
        file,
        flags: FLAGS.exec(source)?.[1].trim().split(/\s+/) ?? [],
        alone: section === 'sequential',
        loads: loads(suite.name, source),
      });
    }
  }
  return tests;
}

module.exports = { SUITES, findTests };
