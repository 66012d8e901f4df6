'use strict';

// Server-sent events.

const assert = require('node:assert/strict');
const http = require('node:http');

const { endAll, next, until } = require('../../helpers/events');
const { answerWithId } = require('../../helpers/servers');

/**
 * @param {number} port
 * @returns {Promise<{ events: { name: string, data: any }[], end: () => void }>} those so far
 */
async function follow(port) {
  const request = http.get({ host: '127.0.0.1', port, path: '/events', agent: false });
  const response = await next(request, 'response');
  assert.equal(response.headers['content-type'], 'text/event-stream');
  const events = [];
  let text = '';
  response.setEncoding('utf8').on('data', (/** @type {string} */ part) => {
    text += part;
    const whole = text.split('\n\n');
    text = /** @type {string} */ (whole.pop());
    for (const event of whole) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event) ?? [];
      if (name !== undefined) events.push({ name, data: JSON.parse(data) });
    }
  });
  response.on('error', () => {});
  return { events, end: () => request.destroy() };
}

module.exports = {
  'the lives of workers and, each second, the statistics': {
    async primary({ cluster, fork }) {
      const { port } = cluster.observe({ port: 0 }).address();
      const { events, end } = await follow(port);
      const worker = fork();
      const address = await next(worker, 'listening');
      await endAll(cluster);
      const of = (/** @type {string} */ name) => events.find((event) => event.name === name)?.data;
      await until(() => of('exit') && of('stats'));
      const who = { worker: worker.id, pid: worker.process.pid };
      assert.deepEqual(of('fork'), who);
      assert.deepEqual(of('online'), who);
      assert.deepEqual(of('listening'), { ...who, address: address.address, port: address.port });
      assert.deepEqual(of('disconnect'), who);
      assert.deepEqual(of('exit'), { ...who, code: 0, signal: null });
      assert.deepEqual(Object.keys(of('stats')).sort(), ['eventLoops', 'servers', 'workers']);
      const first = events.length;
      await until(() => events.slice(first).some(({ name }) => name === 'stats'));
      end();
    },
    worker: answerWithId,
  },

  'how often those before a worker have ended is told by place, with a supervisor and without': {
    async primary({ cluster, fork }) {
      const { port } = cluster.observe({ port: 0 }).address();
      const { events, end } = await follow(port);
      const untilSeen = (/** @type {Record<string, number>[]} */ ...wanted) =>
        until(() => {
          const last = events.filter(({ name }) => name === 'overview').at(-1)?.data;
          const seen = last?.workers.map((/** @type {any} */ { restarts }) => JSON.stringify(restarts));
          return `${seen?.sort()}` === `${wanted.map((restarts) => JSON.stringify(restarts)).sort()}`;
        });
      const workers = [fork(), fork()];
      await Promise.all(workers.map((worker) => next(worker, 'online')));
      await untilSeen({}, {});
      workers[0].process.kill('SIGKILL');
      await next(workers[0], 'exit');
      await untilSeen({});
      const heir = fork('exit');
      await next(heir, 'online');
      await untilSeen({ SIGKILL: 1 }, {});
      heir.send('exit');
      await next(heir, 'exit');
      fork();
      await untilSeen({ SIGKILL: 1, 'code 7': 1 }, {});
      await endAll(cluster);
      // A supervisor's workers have slots, whoever ended first.
      const supervisor = cluster.supervise({ workers: 2, signals: false });
      await supervisor.ready;
      const inSlot = (/** @type {number} */ slot) => {
        const { id } = supervisor.status().workers.find((/** @type {any} */ one) => one.slot === slot);
        return cluster.workers[id];
      };
      await untilSeen({}, {});
      inSlot(1).process.kill('SIGKILL');
      await untilSeen({}, { SIGKILL: 1 });
      await supervisor.reload();
      await untilSeen({ left: 1 }, { SIGKILL: 1, left: 1 });
      await supervisor.stop();
      end();
    },
    worker({ cluster, role }) {
      if (role === 'exit') process.on('message', () => process.exit(7));
      // Those of a supervisor are ready when they listen.
      require('node:net').createServer().listen({ port: 0, host: '127.0.0.1' });
      cluster.worker.on('error', () => {});
    },
  },
};
