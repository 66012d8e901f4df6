'use strict';

// Lives of workers.

const assert = require('node:assert/strict');
const diagnostics = require('node:diagnostics_channel');

const { endAll, message, next } = require('../../helpers/events');

const EVENTS = ['fork', 'online', 'listening', 'disconnect', 'exit'];

module.exports = {
  'the life of a worker': {
    async primary({ cluster, fork }) {
      const seen = [];
      const subscriptions = EVENTS.map((event) => {
        const onMessage = ({ worker, ...rest }) => seen.push([event, worker.id, rest]);
        diagnostics.subscribe(`corral.${event}`, onMessage);
        return () => diagnostics.unsubscribe(`corral.${event}`, onMessage);
      });
      const worker = fork();
      const address = await new Promise((resolve) => worker.once('listening', resolve));
      const left = message(worker, ({ left }) => left);
      const gone = next(worker, 'exit');
      worker.disconnect();
      assert.deepEqual((await left).left, { reason: 'disconnect', worker: 1 });
      await gone;
      assert.deepEqual(seen.slice(0, 3), [
        ['fork', 1, {}],
        ['online', 1, {}],
        ['listening', 1, { address }],
      ]);
      // On Node's own cluster the last two may come in any order.
      seen.sort(([one], [two]) => EVENTS.indexOf(one) - EVENTS.indexOf(two));
      assert.deepEqual(seen.slice(3), [
        ['disconnect', 1, {}],
        ['exit', 1, { code: 0, signal: null }],
      ]);
      for (const unsubscribe of subscriptions) assert.equal(unsubscribe(), true);
      const second = fork();
      await next(second, 'online');
      await endAll(cluster);
      assert.equal(seen.length, 5);
    },
    worker({ cluster }) {
      diagnostics.subscribe('corral.leaving', ({ worker, ...rest }) =>
        process.send({ left: { ...rest, worker: worker.id } }),
      );
      require('node:net').createServer().listen(0);
      cluster.worker.on('leaving', () => {});
    },
  },

  'while nobody subscribes the cluster has no listener, and one while somebody does': {
    async primary({ cluster }) {
      const all = () => EVENTS.map((event) => cluster.listenerCount(event));
      const first = all();
      const count = () => all().map((listeners, index) => listeners - first[index]);
      // Node's own listens to hear requests of new workers.
      assert.deepEqual(first, [cluster.native ? 0 : 1, 0, 0, 0, 0]);
      const onMessage = () => {};
      const another = () => {};
      for (const event of EVENTS) {
        diagnostics.subscribe(`corral.${event}`, onMessage);
        diagnostics.channel(`corral.${event}`).subscribe(another);
      }
      assert.deepEqual(count(), [1, 1, 1, 1, 1]);
      for (const event of EVENTS) diagnostics.unsubscribe(`corral.${event}`, onMessage);
      assert.deepEqual(count(), [1, 1, 1, 1, 1]);
      for (const event of EVENTS) diagnostics.channel(`corral.${event}`).unsubscribe(another);
      assert.deepEqual(count(), [0, 0, 0, 0, 0]);
    },
  },
};
