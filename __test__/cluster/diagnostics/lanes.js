'use strict';

// Connections, and workers that do not take them.

const assert = require('node:assert/strict');
const diagnostics = require('node:diagnostics_channel');
const path = require('node:path');
const { execFileSync } = require('node:child_process');

const { NativePrimary } = require('../../../binding');
const { ask } = require('../../helpers/clients');
const { endAll, portOf } = require('../../helpers/events');
const { block, blockWhenTold, lanesOpen, release, times } = require('../../helpers/lanes');

/** @param {string} name @returns {Promise<any>} the next message */
const published = (name) =>
  new Promise((resolve) => {
    diagnostics.subscribe(name, function onMessage(message) {
      diagnostics.unsubscribe(name, onMessage);
      resolve(message);
    });
  });

module.exports = {
  'a connection that a worker has taken': {
    async primary({ cluster, fork }) {
      const worker = fork();
      const port = await portOf(worker);
      const first = published('corral.connection');
      const { port: remotePort } = await ask(port);
      const { worker: taker, connection } = await first;
      assert.equal(taker, worker);
      assert.deepEqual([connection.port, connection.remotePort, connection.count], [port, remotePort, 1]);
      assert.equal(cluster.listenerCount('connection'), 0);
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'a worker that is blocked, and what is taken back from it': {
    policies: ['round-robin'],
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const workers = [fork(), fork()];
      const [port] = await Promise.all(workers.map(portOf));
      await lanesOpen(cluster);
      const blocked = published('corral.blocked');
      const recalled = published('corral.recalled');
      await block(scratch, workers[0]);
      const answers = await Promise.all(times(20).map(() => ask(port)));
      assert.ok(answers.every(({ answer }) => answer === '2'));
      assert.deepEqual(await blocked, { worker: workers[0] });
      const { worker, key, count } = await recalled;
      assert.deepEqual([worker, key], [workers[0], cluster.stats().servers[0].key]);
      assert.ok(count >= 1 && count <= 20);
      release(scratch, workers[0]);
      await endAll(cluster);
    },
    worker: blockWhenTold,
  },

  'the core tells of neither while nobody subscribes': {
    async primary({ cluster, fork }) {
      const seen = [];
      const { configure } = NativePrimary.prototype;
      NativePrimary.prototype.configure = function (settings) {
        seen.push([settings.emitConnections, settings.emitLanes]);
        return configure.call(this, settings);
      };
      const onMessage = () => {};
      fork();
      assert.deepEqual(new Set(seen.flat()), new Set([false]));
      const last = () => seen.at(-1);
      for (const name of ['corral.blocked', 'corral.recalled']) diagnostics.subscribe(name, onMessage);
      assert.deepEqual(last(), [false, true]);
      diagnostics.unsubscribe('corral.recalled', onMessage);
      assert.deepEqual(last(), [false, true]);
      diagnostics.unsubscribe('corral.blocked', onMessage);
      assert.deepEqual(last(), [false, false]);
      diagnostics.subscribe('corral.connection', onMessage);
      assert.deepEqual(last(), [true, false]);
      diagnostics.unsubscribe('corral.connection', onMessage);
      assert.deepEqual(last(), [false, false]);
      await endAll(cluster);
    },
    worker() {},
  },

  'who subscribes before corral is loaded has subscribed': {
    primary() {
      const program = `
        const diagnostics = require('node:diagnostics_channel');
        for (const name of ['connection', 'blocked', 'fork']) diagnostics.subscribe('corral.' + name, () => {});
        const { NativePrimary } = require('./binding');
        let last;
        const { configure } = NativePrimary.prototype;
        NativePrimary.prototype.configure = function (settings) {
          last = { ...settings };
          return configure.call(this, settings);
        };
        const cluster = require('.');
        console.log(last.emitConnections, last.emitLanes, cluster.listenerCount('fork'));
      `;
      const cwd = path.join(__dirname, '../../..');
      const output = execFileSync(process.execPath, ['-e', program], { cwd, encoding: 'utf8' });
      assert.equal(output, 'true true 1\n');
    },
  },
};
