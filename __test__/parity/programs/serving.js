'use strict';
// Lanes: with without

// What a worker's program sees of a connection: its socket's options, its asynchronous context, its server's counts and
// limits.

const http = require('node:http');
const net = require('node:net');
const { AsyncLocalStorage, executionAsyncId, executionAsyncResource, triggerAsyncId } =
  require('node:async_hooks');
const { once } = require('node:events');
const { cluster, run } = require('../scenario.js');
const { ask, connect } = require('../sockets.js');

/**
 * Forks a worker that listens, and gives its port to clients.
 *
 * @param {(t: any, port: number, worker: any) => Promise<void>} clients
 */
function withClients(clients) {
  return async (/** @type {any} */ t) => {
    const worker = t.fork();
    // Its lane is in use by now, if it has one: it was announced before the worker asked for anything.
    const [{ port }] = await once(worker, 'listening');
    await clients(t, port, worker);
    worker.disconnect();
  };
}

/** @param {any} t @param {number} port */
async function askTwice(t, port) {
  for (let round = 0; round < 2; round++) t.log('answer', await ask(port, 'hello'));
}

/** @param {any} error */
function ignore(error) {
  void error;
}

/** What an asynchronous context looks like from inside, without its numbers. */
function context() {
  return {
    execution: executionAsyncId() > 0,
    trigger: triggerAsyncId() > 0,
    resource: typeof executionAsyncResource(),
  };
}

/** Whether this Node closes what is beyond maxConnections when it is asked to. */
const DROPS = Number.parseInt(process.versions.node, 10) >= 24;

const store = new AsyncLocalStorage();

/** A server for one connection at a time. @param {any} t @param {boolean} [drops] */
function limited(t, drops = false) {
  const server = net.createServer((socket) => {
    socket.on('error', ignore);
    socket.write('served');
    socket.on('end', () => socket.end()).resume();
  });
  server.maxConnections = 1;
  if (drops) server.dropMaxConnection = true;
  server.on('drop', (data) => t.log('drop', Object.keys(data).sort(), data.localFamily, data.remoteFamily));
  server.listen(0, '127.0.0.1');
}

run({
  'asynchronous contexts': {
    primary: withClients(askTwice),
    worker(t) {
      store.run('around the server', () => {
        const server = net.createServer((socket) => {
          t.log('connection', store.getStore() ?? null, context());
          store.run('around the socket', () => {
            socket.on('data', () => t.log('data', store.getStore() ?? null));
            process.nextTick(() => t.log('tick', store.getStore() ?? null));
            Promise.resolve().then(() => t.log('promise', store.getStore() ?? null));
          });
          socket.on('end', () => {
            t.log('end', store.getStore() ?? null);
            socket.end('bye');
          });
        });
        server.listen(0, '127.0.0.1');
      });
    },
  },

  'asynchronous contexts of requests': {
    primary: withClients(async (_, port) => {
      for (let round = 0; round < 2; round++) {
        const request = http.get({ port, host: '127.0.0.1', agent: false });
        const [response] = await once(request, 'response');
        response.resume();
        await once(response, 'end');
      }
    }),
    worker(t) {
      store.run('around the server', () => {
        const server = http.createServer((_, response) => {
          t.log('request', store.getStore() ?? null);
          store.run('inside', () => setImmediate(() => response.end(store.getStore())));
        });
        server.listen(0, '127.0.0.1');
      });
    },
  },

  'what the listener throws': {
    primary: withClients(async (t, port) => t.log('answer', await ask(port), await ask(port))),
    worker(t) {
      process.on('uncaughtException', (error, origin) => t.log('uncaught', error.message, origin));
      let count = 0;
      const server = net.createServer((socket) => {
        socket.on('error', ignore);
        socket.resume().end('served');
        if (count++ === 0) throw new Error('of the listener');
      });
      server.listen(0, '127.0.0.1');
    },
  },

  'ticks and promises between connections': {
    primary: withClients(async (t, port, worker) => {
      // All at once, while the worker does not look: they arrive together.
      worker.send('block');
      await t.message(worker);
      const all = Array.from({ length: 8 }, () => ask(port));
      worker.send('go on');
      t.log('answers', await Promise.all(all));
    }),
    worker(t) {
      let open = 0;
      const server = net.createServer((socket) => {
        // Nothing of an earlier connection is left to do when the next one comes.
        t.log('connection', open);
        open++;
        process.nextTick(() => Promise.resolve().then(() => process.nextTick(() => open--)));
        socket.on('error', ignore);
        socket.resume().end('served');
      });
      server.listen(0, '127.0.0.1');
      process.on('message', (message) => {
        if (message === 'block') process.send('ready');
      });
    },
  },

  'noDelay, keepAlive, highWaterMark and the addresses of a socket': {
    primary: withClients(askTwice),
    worker(t) {
      const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 1000, highWaterMark: 1234 };
      const server = net.createServer(options, (socket) => {
        t.log('socket', socket.readableHighWaterMark, socket.writableHighWaterMark, socket.timeout);
        t.log(
          'addresses',
          socket.localAddress,
          socket.localFamily,
          socket.remoteAddress,
          socket.remoteFamily,
        );
        t.log(
          'state',
          socket.readyState,
          socket.connecting,
          socket.pending,
          socket.destroyed,
          socket.allowHalfOpen,
        );
        t.log('handle', socket._handle.constructor.name, socket._handle.fd > 0);
        t.log('server', socket.server === server, socket._server === server);
        socket.end('bye');
        socket.resume();
      });
      server.listen(0, '127.0.0.1');
    },
  },

  'at maxConnections the next one waits until there is room': {
    primary: withClients(async (t, port) => {
      const first = await connect(port);
      await once(first, 'data');
      const second = ask(port);
      first.end();
      t.log('second', await second);
    }),
    worker: limited,
  },

  ...(DROPS && {
    'dropMaxConnection: what is beyond the limit is closed, and told': {
      primary: withClients(async (t, port) => {
        const first = await connect(port);
        await once(first, 'data');
        t.log('beyond', await ask(port));
        first.end();
      }),
      worker: (/** @type {any} */ t) => limited(t, true),
    },
  }),

  'getConnections, before, while and after': {
    primary: withClients(async (t, port, worker) => {
      const clients = await Promise.all(
        Array.from({ length: 5 }, async () => {
          const client = await connect(port);
          await once(client, 'data');
          return client;
        }),
      );
      worker.send('count');
      t.log('while', await t.message(worker));
      for (const client of clients) client.end();
      await Promise.all(clients.map((client) => once(client, 'close')));
      worker.send('count');
      t.log('after', await t.message(worker));
    }),
    worker() {
      const server = net.createServer((socket) => {
        socket.on('error', ignore);
        socket.write('here');
        socket.on('end', () => socket.end()).resume();
      });
      server.listen(0, '127.0.0.1');
      process.on('message', () => server.getConnections((error, count) => process.send({ error, count })));
    },
  },

  'a server that is unreferenced keeps its worker no longer than its channel does': {
    async primary(t) {
      const worker = t.fork();
      const [{ port }] = await once(worker, 'listening');
      t.log('answer', await ask(port));
      worker.send('leave');
    },
    worker(t) {
      const server = net.createServer((socket) => {
        socket.on('error', ignore);
        socket.resume().end('served');
      });
      server.listen(0, '127.0.0.1').unref();
      process.on('exit', (code) => t.log('exit', code));
      process.once('message', () => {
        server.unref();
        process.channel.unref();
        cluster.worker.once('disconnect', () => t.log('disconnected'));
        process.disconnect();
      });
    },
  },
});
