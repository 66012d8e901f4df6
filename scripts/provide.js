#!/usr/bin/env node
'use strict';

// What tests need that may not be here: Redis, a browser. `npm test` sees to it; run as a program this does so beforehand, and fetches as well
// what single tests fetch themselves.

const path = require('node:path');
const { provideChromium } = require('./lib-chromium');
const { nodeTestsDirectory } = require('./lib-node-tests');
const { prometheusProgram } = require('./lib-prometheus');
const { HOW, provideRedis } = require('./lib-redis');
const { root } = require('./run');

/** Where they are between runs. */
const NODE_TESTS = path.join(root, '.cache', 'node-tests');

/**
 * Does something; says why it cannot be done.
 *
 * @param {() => void} action
 * @param {string} [more] what to do about it
 */
function attempt(action, more) {
  try {
    action();
  } catch (error) {
    console.error([/** @type {Error} */ (error).message, ...(more ? [more] : [])].join('\n'));
  }
}

/** What many tests need. Those that need Redis fail without; those that need a browser are skipped. Both say why. */
function provide() {
  attempt(provideRedis, `redis-server is not here: ${HOW}`);
  attempt(provideChromium);
}

/** What few need, which look for it again, and fail without. */
function provideAll() {
  provide();
  attempt(() => prometheusProgram('promtool'));
  attempt(() => nodeTestsDirectory(NODE_TESTS));
}

if (require.main === module) provideAll();

module.exports = { NODE_TESTS, provide };
