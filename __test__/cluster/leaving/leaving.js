'use strict';

// 'leaving' of a worker.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const { endAll, message, next } = require('../../helpers/events');

/** How a worker is made to leave, by name, from the primary. @type {Record<string, (worker: any, cluster: any) => void>} */
const FROM_PRIMARY = {
  'worker.disconnect': (worker) => worker.disconnect(),
  'cluster.disconnect': (_worker, cluster) => cluster.disconnect(),
  'worker.process.disconnect': (worker) => worker.process.disconnect(),
};

/** And from within. @type {Record<string, (worker: any) => void>} */
const FROM_WITHIN = {
  'own worker.disconnect': (worker) => worker.disconnect(),
  'own worker.kill': (worker) => worker.kill(),
  'own process.disconnect': () => process.disconnect(),
};

/** @type {Record<string, string>} */
const REASONS = {
  'worker.disconnect': 'disconnect',
  'cluster.disconnect': 'disconnect',
  'worker.process.disconnect': 'channel-closed',
  'own worker.disconnect': 'disconnect',
  'own worker.kill': 'kill',
  'own process.disconnect': 'channel-closed',
};

module.exports = {
  'it hears of it once, before it stops listening, whoever asks it to': {
    async primary({ cluster, fork, scratch }) {
      for (const how of Object.keys(REASONS)) {
        const worker = fork(how);
        await Promise.all([next(worker, 'listening'), message(worker)]);
        const exited = next(worker, 'exit');
        FROM_PRIMARY[how]?.(worker, cluster);
        if (how in FROM_WITHIN) worker.send(how);
        assert.equal(await exited, 0, how);
        const seen = JSON.parse(fs.readFileSync(path.join(scratch, how), 'utf8'));
        assert.deepEqual(seen, [{ reason: REASONS[how], isListening: true }], how);
      }
    },
    worker({ cluster, role, scratch }) {
      const seen = [];
      process.once('message', (how) => FROM_WITHIN[how](cluster.worker));
      const server = http.createServer().listen(0, () => process.send('ready'));
      cluster.worker.on('leaving', ({ reason }) => {
        seen.push({ reason, isListening: server.listening });
        fs.writeFileSync(path.join(scratch, role), JSON.stringify(seen));
      });
    },
  },

  'a listener that throws is an uncaught exception, and the worker leaves': {
    async primary({ fork }) {
      const worker = fork();
      await message(worker);
      const thrown = message(worker, ({ uncaught }) => uncaught);
      worker.disconnect();
      assert.deepEqual(await thrown, { uncaught: 'as asked' });
      assert.equal(await next(worker, 'exit'), 0);
    },
    worker({ cluster }) {
      process.once('uncaughtException', ({ message }) => process.send({ uncaught: message }));
      cluster.worker.once('leaving', () => {
        throw new Error('as asked');
      });
      http.createServer().listen(0, () => process.send('ready'));
    },
  },

  'one that disconnects the worker once more changes nothing': {
    async primary({ fork }) {
      const worker = fork();
      await message(worker);
      worker.disconnect();
      assert.equal(await next(worker, 'exit'), 0);
      assert.equal(worker.exitedAfterDisconnect, true);
    },
    worker({ cluster }) {
      cluster.worker.on('leaving', () => cluster.worker.disconnect());
      http.createServer().listen(0, () => process.send('ready'));
    },
  },

  'what the primary has sent before comes before': {
    async primary({ cluster, fork }) {
      const worker = fork();
      await message(worker);
      for (const text of ['one', 'two', 'three']) worker.send(text);
      const seen = message(worker, Array.isArray);
      worker.disconnect();
      assert.deepEqual(await seen, ['one', 'two', 'three', 'leaving']);
      await endAll(cluster);
    },
    worker({ cluster }) {
      const seen = [];
      process.on('message', (text) => seen.push(text));
      cluster.worker.once('leaving', () => process.send([...seen, 'leaving']));
      process.send('ready');
    },
  },
};
