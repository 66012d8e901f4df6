'use strict';

// What is in the queues of buses that the primary serves or uses.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const path = require('node:path');

const { endAll, hasSettled, next, portOf, until } = require('../../helpers/events');
const { block, blockWhenTold, release, times } = require('../../helpers/lanes');
const { RedisServer } = require('../../helpers/redis');
const { get, samplesOf, scrapeBlocking } = require('../../helpers/scrape');

const BUS = path.join(__dirname, '../../../bus');
const OTHER = `
const { connect } = require(${JSON.stringify(BUS)});
connect('file:' + process.argv[1]).then(async (bus) => {
  await bus.queue('jobs').send('one');
  setInterval(() => {}, 1000);
  console.log('serves');
});
`;

/** @param {number} port */
const scrape = async (port) => samplesOf((await get(port, '/metrics')).body);

/**
 * @param {number} port
 * @param {string} bus
 * @param {string} queue
 * @param {number[]} wanted waiting, delayed, held
 */
async function untilCounted(port, bus, queue, wanted) {
  const labels = `{bus="${bus}",queue="${queue}"}`;
  await until(async () => {
    const samples = await scrape(port);
    const found = ['waiting', 'delayed', 'held'].map((what) =>
      samples.get(`corral_bus_queue_${what}_messages${labels}`),
    );
    return found.every((count, place) => count === wanted[place]);
  });
}

/** @param {number} port @param {string} bus @param {number | undefined} wanted */
const untilUp = (port, bus, wanted) =>
  until(async () => (await scrape(port)).get(`corral_bus_up{bus="${bus}"}`) === wanted);

module.exports = {
  'queues of the engine in memory are counted, those of the workers as well, also while all are blocked': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const { port } = cluster.observe({ port: 0 }).address();
      cluster.on('blocked', () => {});
      const workers = [fork('send'), fork()];
      await Promise.all(workers.map(portOf));
      await until(() => workers.every((worker) => hasSettled(cluster, worker)));
      // The primary has no bus of its own: it serves one.
      await untilCounted(port, 'memory', 'of-a-worker', [1, 0, 0]);
      const bus = await require(BUS).connect();
      const jobs = bus.queue('jobs', { maxDeliveries: 1, deadLetter: 'dead', retry: { delay: 0 } });
      for (const place of times(4).keys()) await jobs.send(place);
      await jobs.send('later', { delay: 600_000 });
      await jobs.receive();
      const [failed] = await jobs.receive();
      await failed.nack();
      await untilCounted(port, 'memory', 'jobs', [2, 1, 1]);
      await untilCounted(port, 'memory', 'dead', [1, 0, 0]);
      await block(scratch, ...workers);
      const { body } = scrapeBlocking(
        port,
        '/metrics',
        /corral_bus_counted_age_seconds\{bus="memory"\} [0-4]/,
      );
      const samples = samplesOf(body);
      assert.equal(samples.get('corral_bus_queue_waiting_messages{bus="memory",queue="jobs"}'), 2);
      assert.equal(samples.get('corral_bus_info{bus="memory",engine="memory"}'), 1);
      assert.equal(samples.get('corral_bus_queues{bus="memory"}'), 3);
      for (const worker of workers) release(scratch, worker);
      await bus.close();
      await endAll(cluster);
    },
    async worker(context) {
      if (context.role === 'send') {
        const bus = await require(BUS).connect();
        await bus.queue('of-a-worker').send('one');
      }
      blockWhenTold(context);
    },
  },

  'a bus in a file is there as long as somebody uses it': {
    async primary({ cluster, scratch }) {
      const file = path.join(scratch, 'q.db');
      const first = await require(BUS).connect(`file:${file}`);
      await first.queue('jobs').send('one');
      const observer = cluster.observe({ port: 0 });
      const { port } = observer.address();
      const name = `file:${file}`;
      await untilCounted(port, name, 'jobs', [1, 0, 0]);
      const second = await require(BUS).connect(`file:${file}`);
      await first.close();
      await untilCounted(port, name, 'jobs', [1, 0, 0]);
      await second.close();
      await untilUp(port, name, undefined);
      const again = await require(BUS).connect(`file:${file}`);
      await untilUp(port, name, 1);
      observer.close();
      await again.close();
    },
  },

  'an engine that does not answer holds up no scrape, and when it has ended the next one is asked': {
    linux: true,
    async primary({ cluster, scratch }) {
      const file = path.join(scratch, 'q.db');
      const name = `file:${file}`;
      const other = spawn(process.execPath, ['-e', OTHER, file], { stdio: ['ignore', 'pipe', 'inherit'] });
      await next(other.stdout, 'data');
      const { port } = cluster.observe({ port: 0 }).address();
      const bus = await require(BUS).connect(`file:${file}`);
      await untilCounted(port, name, 'jobs', [1, 0, 0]);
      other.kill('SIGSTOP');
      const age = async () => (await scrape(port)).get(`corral_bus_counted_age_seconds{bus="${name}"}`);
      // It is asked every five seconds.
      await until(async () => (await age()) > 6);
      other.kill('SIGKILL');
      await next(other, 'exit');
      await untilUp(port, name, 1);
      await until(async () => (await age()) < 5);
      await untilCounted(port, name, 'jobs', [1, 0, 0]);
      await bus.close();
    },
  },

  'a bus in Redis is down while its server is away, and its password is not shown': {
    async primary({ cluster }) {
      const server = new RedisServer();
      try {
        await server.start();
        const url = `${server.url}?prefix=mine`;
        const bus = await require(BUS).connect(url);
        await bus.queue('jobs').send('one');
        const { port } = cluster.observe({ port: 0 }).address();
        await untilCounted(port, url, 'jobs', [1, 0, 0]);
        await server.stop();
        await untilUp(port, url, 0);
        await server.start();
        await untilUp(port, url, 1);
        await bus.close();
        await untilUp(port, url, undefined);
        const { nameOf } = require('../../../lib/bus/redis');
        const secret = new URL('rediss://me:s3cret@example.com:6380/2?prefix=a&ca=/x');
        assert.equal(nameOf(secret), 'rediss://example.com:6380/2?prefix=a');
        assert.equal(nameOf(new URL('redis://example.com?prefix=corral')), 'redis://example.com');
        assert.equal(nameOf(new URL('redis+unix:///run/r?db=2&pass=s3cret')), 'redis+unix:///run/r?db=2');
      } finally {
        await server.remove();
      }
    },
  },
};
