'use strict';

// What is sent in the turn in which a process ends arrives, however that comes about.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const path = require('node:path');
const { describe, test } = require('node:test');

const { environment } = require('./helpers/programs');
const { next } = require('./helpers/events');
const { WATCHDOG_MS, scratch, serve } = require('./helpers/ipc');

const options = { timeout: WATCHDOG_MS };
const FIXTURE = path.join(__dirname, 'fixtures/ending.js');
const HOW = [
  'process.exit',
  'process.exit in an exit listener',
  'an exception in an exit listener',
  'an exception in an exit listener that was put in front',
  'an exception',
  'an exception in an exit listener behind another',
  'process.reallyExit',
  'process.abort',
  'process.kill',
  'process.execve',
];
/** What a worker thread must not, or would do to all of them. */
const NOT_IN_THREADS = ['process.abort', 'process.kill', 'process.execve'];

/** @param {string} how */
function wanted(how) {
  const inListener = how.endsWith('in front') ? ['in the listener', 'in the listener, too'] : [];
  return ['first', 'second', 'last', ...inListener];
}

/**
 * @param {any} t
 * @param {string[]} args
 */
function start(t, args) {
  // Where the memory of one that aborts may be left.
  const cwd = scratch(t);
  const child = spawn(process.execPath, [FIXTURE, ...args], {
    cwd,
    env: environment(),
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.after(() => child.kill('SIGKILL'));
  return child;
}

/** @param {string} how */
function skip(how) {
  const isMissing = how === 'process.execve' && !('execve' in process);
  return isMissing ? 'this version of Node has none' : false;
}

for (const who of ['worker', 'primary']) {
  describe(`the last words of a ${who}`, { concurrency: 2 }, () => {
    for (const how of HOW) {
      test(`it ends by ${how}`, { ...options, skip: skip(how) }, async (t) => {
        const child = start(t, [who, how]);
        let text = '';
        for await (const part of child.stdout.setEncoding('utf8')) text += part;
        assert.deepEqual(text.trim().split('\n'), wanted(how));
      });
    }
  });
}

for (const who of ['client', 'thread']) {
  describe(`the last words of a ${who} of corral/net`, { concurrency: 2 }, () => {
    for (const how of HOW) {
      if (who === 'thread' && NOT_IN_THREADS.includes(how)) continue;
      test(`it ends by ${how}`, { ...options, skip: skip(how) }, async (t) => {
        const server = await serve(t);
        const accepted = next(server, 'connection');
        start(t, [who, how, server.address()]);
        const channel = await accepted;
        /** @type {any[]} */
        const got = [];
        channel.on('error', () => {});
        channel.on('message', (/** @type {any} */ message) => got.push(message));
        await next(channel, 'close');
        assert.deepEqual(got, wanted(how));
      });
    }
  });
}
