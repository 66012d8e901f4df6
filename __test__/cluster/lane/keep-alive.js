'use strict';

// Requests on kept connections, which go to a worker that is idle.

const assert = require('node:assert/strict');
const { once } = require('node:events');

const { LONGEST_TIMEOUT } = require('../../../lib/util/longest-timeout');
const { connect } = require('../../helpers/clients');
const { endAll, message, portOf, until } = require('../../helpers/events');
const { KeptClient, keptCount, restingClients, serveKept } = require('../../helpers/kept-client');
const { block, laneOf, lanesOpen, release } = require('../../helpers/lanes');
const { stop } = require('../../helpers/proc');

const CLIENTS = 12;

/** @param {any} context two workers, and the port of their server */
async function two({ cluster, fork }) {
  cluster.setupPrimary({ schedulingPolicy: 'one-queue', keepAlive: 'balance' });
  const workers = [fork(), fork()];
  const [port] = await Promise.all(workers.map(portOf));
  await lanesOpen(cluster);
  return { workers, port };
}

/**
 * @param {any} worker
 * @param {string} what
 */
async function tell(worker, what) {
  worker.send(what);
  return message(worker);
}

/** @param {KeptClient[]} clients one request of each, at once */
function askAll(clients) {
  return Promise.all(clients.map((client) => client.ask()));
}

/** @param {KeptClient[]} clients */
function endClients(clients) {
  for (const client of clients) client.end();
}

/**
 * A connection of which every request is answered by the same worker, blocked or not, after a request of this path.
 *
 * @param {string} url
 */
function staysWithItsWorker(url) {
  return {
    linux: true,
    /** @param {any} context */
    async primary({ cluster, fork, scratch }) {
      const { workers, port } = await two({ cluster, fork });
      const client = new KeptClient(port);
      const first = await client.ask();
      // It has rested once.
      await until(() => keptCount(cluster) === 1);
      // It stays with whoever answers this, which is another worker if the first was busy for long enough.
      const holder = await client.ask(url);
      await until(() => keptCount(cluster) === (holder === first ? 1 : 0));
      const own = workers[Number(holder) - 1];
      const other = workers.find((worker) => worker !== own);
      // One that does not stay shows that the primary looks at those that are kept.
      const clients = await restingClients(cluster, port, CLIENTS);
      await block(scratch, own);
      let answer = '';
      const answered = client.ask().then((text) => {
        answer = text;
      });
      assert.deepEqual(new Set(await askAll(clients)), new Set([`${other.id}`]));
      assert.deepEqual(new Set(await askAll(clients)), new Set([`${other.id}`]));
      assert.equal(answer, '');
      release(scratch, own);
      await answered;
      assert.equal(answer, `${own.id}`);
      endClients([client, ...clients]);
      await endAll(cluster);
    },
    worker: serveKept,
  };
}

/** @param {(worker: any) => void} leave */
const leavesThemBy = (leave) => ({
  linux: true,
  async primary({ cluster, fork }) {
    const { workers, port } = await two({ cluster, fork });
    const clients = await restingClients(cluster, port, CLIENTS);
    leave(workers[0]);
    assert.deepEqual(new Set(await askAll(clients)), new Set([`${workers[1].id}`]));
    await until(() => workers[0].isDead());
    assert.deepEqual(new Set(await askAll(clients)), new Set([`${workers[1].id}`]));
    endClients(clients);
    await endAll(cluster);
  },
  worker: serveKept,
});

module.exports = {
  'requests on kept connections go to the idle worker while another is blocked': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const { workers, port } = await two({ cluster, fork });
      const clients = await restingClients(cluster, port, CLIENTS);
      const keptOf = (/** @type {any} */ { id }) => laneOf(cluster, id).kept;
      const [blocked, other] = workers.sort((one, two) => keptOf(two) - keptOf(one));
      const had = keptOf(blocked);
      await block(scratch, blocked);
      for (let round = 0; round < 3; round++) {
        assert.deepEqual(new Set(await askAll(clients)), new Set([`${other.id}`]));
      }
      assert.equal(laneOf(cluster, blocked.id).rebalanced, had);
      assert.equal(cluster.stats().servers[0].accepted, CLIENTS);
      assert.equal(cluster.stats().servers[0].dispatched, CLIENTS);
      release(scratch, blocked);
      // What has gone is closed there, and nowhere else.
      await until(async () => (await tell(blocked, 'getConnections')) === 0);
      assert.equal(await tell(other, 'getConnections'), CLIENTS);
      await askAll(clients);
      endClients(clients);
      await until(() => keptCount(cluster) === 0);
      await endAll(cluster);
    },
    worker: serveKept,
  },

  'requests on kept connections go to another worker while one is stopped': {
    linux: true,
    async primary({ cluster, fork }) {
      const { workers, port } = await two({ cluster, fork });
      const clients = await restingClients(cluster, port, CLIENTS);
      await stop(workers[0]);
      for (let round = 0; round < 3; round++) {
        assert.deepEqual(new Set(await askAll(clients)), new Set([`${workers[1].id}`]));
      }
      workers[0].process.kill('SIGCONT');
      await askAll(clients);
      endClients(clients);
      await endAll(cluster);
    },
    worker: serveKept,
  },

  'a worker that is killed takes no connection with it that rests': {
    linux: true,
    async primary({ cluster, fork }) {
      const { workers, port } = await two({ cluster, fork });
      const clients = await restingClients(cluster, port, CLIENTS);
      workers[0].process.kill('SIGKILL');
      await once(workers[0], 'exit');
      assert.deepEqual(new Set(await askAll(clients)), new Set([`${workers[1].id}`]));
      endClients(clients);
      await endAll(cluster);
    },
    worker: serveKept,
  },

  'a worker that leaves leaves the connections that rest to the others': leavesThemBy((worker) =>
    worker.disconnect(),
  ),

  'so it does if connections without a request are to stay': leavesThemBy((worker) =>
    worker.disconnect({ drain: LONGEST_TIMEOUT, idle: LONGEST_TIMEOUT }),
  ),

  'a worker that leaves by itself leaves them, too': {
    linux: true,
    async primary({ cluster, fork }) {
      const { workers, port } = await two({ cluster, fork });
      const clients = await restingClients(cluster, port, CLIENTS);
      workers[0].send('leave');
      await once(workers[0], 'exit');
      assert.deepEqual(new Set(await askAll(clients)), new Set([`${workers[1].id}`]));
      endClients(clients);
      await endAll(cluster);
    },
    worker(/** @type {any} */ context) {
      serveKept(context);
      process.on('message', (what) => what === 'leave' && context.cluster.worker.disconnect());
    },
  },

  'a connection on whose socket the program listens stays': staysWithItsWorker('/listener'),

  'a connection for whose socket the program has set a time-out stays': staysWithItsWorker('/timeout'),

  'a connection on whose socket the program has put something stays': staysWithItsWorker('/property'),

  'a connection of a server that listens for clientError, or counts requests, stays': {
    linux: true,
    async primary({ cluster, fork }) {
      for (const setting of ['clientError', 'maxRequestsPerSocket']) {
        const { workers, port } = await two({ cluster, fork });
        const [own, other] = workers;
        await tell(own, setting);
        /** @type {KeptClient[]} */
        const clients = [];
        // Each has some of them, and may get more from the other, which it never gives back.
        const answers = new Set();
        while (answers.size < 2) {
          const more = Array.from({ length: CLIENTS }, () => new KeptClient(port));
          for (const answer of await askAll(more)) answers.add(answer);
          clients.push(...more);
        }
        await until(() => laneOf(cluster, other.id).kept > 0);
        for (let round = 0; round < 3; round++) await askAll(clients);
        assert.equal(laneOf(cluster, own.id).kept, 0);
        endClients(clients);
        await endAll(cluster);
      }
    },
    worker: serveKept,
  },

  'a request of which a part has come is served by the worker that has read the part': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const { workers, port } = await two({ cluster, fork });
      const [head, tail] = ['GET / HT', 'TP/1.1\r\nHost: x\r\n\r\n'];
      const socket = connect(port).setEncoding('latin1');
      const answer = async () => {
        const [text] = await once(socket, 'data');
        return workers[Number(text.at(-1)) - 1];
      };
      socket.write(head + tail + head);
      const own = await answer();
      socket.write(tail + head);
      assert.equal(await answer(), own);
      const other = workers.find((worker) => worker !== own);
      const clients = await restingClients(cluster, port, CLIENTS);
      await block(scratch, own);
      socket.write(tail);
      assert.deepEqual(new Set(await askAll(clients)), new Set([`${other?.id}`]));
      release(scratch, own);
      assert.equal(await answer(), own);
      // Between two requests it may go.
      await until(() => keptCount(cluster) === CLIENTS + 1);
      socket.destroy();
      endClients(clients);
      await endAll(cluster);
    },
    worker: serveKept,
  },

  'requests in one piece, bodies, and answers before a body has come are served as ever': {
    linux: true,
    async primary({ cluster, fork }) {
      const { port } = await two({ cluster, fork });
      const client = new KeptClient(port);
      for (const body of [undefined, 'x', 'x'.repeat(1 << 20), undefined]) await client.ask('/', body);
      await client.ask('/unread', 'x'.repeat(1 << 20));
      await client.ask();
      client.end();
      const socket = connect(port).setEncoding('latin1');
      let text = '';
      socket.on('data', (part) => {
        text += part;
      });
      const request = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
      for (const count of [1, 3, 2]) {
        text = '';
        socket.write(request.repeat(count));
        await until(() => text.split('HTTP/1.1 200 OK').length === count + 1 && /\d$/.test(text));
      }
      socket.end();
      await once(socket, 'close');
      await endAll(cluster);
    },
    worker: serveKept,
  },

  'a connection that has rested can become another protocol': {
    linux: true,
    async primary({ cluster, fork }) {
      const { port } = await two({ cluster, fork });
      const socket = connect(port).setEncoding('latin1');
      for (let round = 0; round < 2; round++) {
        socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
        await once(socket, 'data');
      }
      await until(() => keptCount(cluster) === 1);
      socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n');
      await once(socket, 'data');
      for (const word of ['one', 'two']) {
        socket.write(word);
        assert.deepEqual(await once(socket, 'data'), [word]);
      }
      socket.end();
      await once(socket, 'close');
      await endAll(cluster);
    },
    worker(/** @type {any} */ context) {
      serveKept(context).on('upgrade', (_request, socket) => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n');
        socket.pipe(socket);
      });
    },
  },

  'a connection that rests ends when its client says nothing for too long': {
    linux: true,
    async primary({ cluster, fork }) {
      const { port } = await two({ cluster, fork });
      const socket = connect(port).setEncoding('latin1');
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await once(socket.resume(), 'end');
      await until(() => keptCount(cluster) === 0);
      await endAll(cluster);
    },
    worker(/** @type {any} */ context) {
      serveKept(context).keepAliveTimeout = 50;
    },
  },

  'the worker that loses a connection sees it closed, and the one that gets it sees a new one': {
    linux: true,
    async primary({ cluster, fork, scratch }) {
      const { workers, port } = await two({ cluster, fork });
      const client = new KeptClient(port);
      const own = workers[Number(await client.ask()) - 1];
      const other = workers.find((worker) => worker !== own);
      await until(() => keptCount(cluster) === 1);
      assert.deepEqual(await tell(own, 'seen'), ['connection']);
      await block(scratch, own);
      await client.ask();
      assert.deepEqual(await tell(other, 'seen'), ['connection']);
      release(scratch, own);
      await until(async () => (await tell(own, 'seen')).length === 2);
      assert.deepEqual(await tell(own, 'seen'), ['connection', 'close of undefined']);
      client.end();
      await endAll(cluster);
    },
    worker(/** @type {any} */ context) {
      /** @type {string[]} */
      const seen = [];
      const server = serveKept(context);
      server.on('connection', () => seen.push('connection'));
      // Not on the socket, which would keep the connection here.
      const { destroy } = require('node:net').Socket.prototype;
      require('node:net').Socket.prototype.destroy = function (/** @type {any} */ error) {
        if (this.server === server && !this.destroyed) seen.push(`close of ${error}`);
        return destroy.call(this, error);
      };
      process.prependListener('message', (what) => what === 'seen' && process.send?.(seen));
    },
  },

  'a setting that there is not is an error': {
    primary({ cluster }) {
      for (const keepAlive of ['balanced', true, null]) {
        assert.throws(() => cluster.setupPrimary({ keepAlive }), {
          name: 'TypeError',
          code: 'ERR_INVALID_ARG_VALUE',
          message: /^The property 'settings\.keepAlive' must be one of: 'stay', 'balance'\. Received/,
        });
      }
      cluster.setupPrimary({ keepAlive: 'balance' });
      assert.equal(cluster.settings.keepAlive, 'balance');
    },
  },
};
