'use strict';

// What servers in workers see, for both scheduling policies: programs/listen-rr.js and programs/listen-none.js.

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { execFileSync } = require('node:child_process');
const { once } = require('node:events');
const { cluster, run, runAlone, SCRATCH } = require('./scenario.js');
const { until } = require('../helpers/events.js');
const { waitsForEvents } = require('../helpers/proc.js');
const { listen, connect, ask, close, connections, freePort, readAll } = require('./sockets.js');

const ROUND_ROBIN = cluster.isPrimary && cluster.schedulingPolicy === cluster.SCHED_RR;

/** Answers with who served it. @param {import('node:net').Socket} socket */
function answer(socket) {
  socket.on('error', () => {});
  socket.resume().end(process.env.PARITY_SIDE);
}

/** Tells the primary, after what Node itself tells it: 'listening' comes after a listen callback. @param {any} message */
function tell(message) {
  process.nextTick(() => process.send(message));
}

/** Listens as the primary says, once for each entry, and tells what came of it. @param {any} t */
async function serve(t) {
  for (const options of JSON.parse(process.env.PARITY_LISTEN)) {
    const server = net.createServer(answer);
    server.on('error', (error) => t.log('error', error));
    server.on('close', () => t.log('close'));
    try {
      server.listen(options);
      await Promise.race([once(server, 'listening'), once(server, 'error').then(() => {})]);
    } catch (error) {
      // `once` rejects for an 'error', which was logged; listen() itself throws for what it does not understand.
      if (error.syscall === undefined) t.log('thrown', error);
    }
    t.log('listening', server.listening, server.address());
    tell({ address: server.address() });
  }
  process.on('message', (message) => {
    if (message === 'end') process.disconnect();
  });
}

/**
 * Workers that all listen in the same way; the addresses that they got.
 *
 * @param {any} t
 * @param {number} count
 * @param {any[]} listens
 */
async function serveWith(t, count, listens) {
  const workers = [];
  const addresses = [];
  for (let index = 0; index < count; index++) {
    const worker = t.fork({ PARITY_LISTEN: JSON.stringify(listens) });
    workers.push(worker);
    addresses.push([]);
    for (let round = 0; round < listens.length; round++)
      addresses[index].push((await t.message(worker)).address);
  }
  return { workers, addresses };
}

/** @param {any[]} workers */
function end(workers) {
  for (const worker of workers) worker.send('end');
}

/** Of workers that are busy corral thinks twice. What has reached them by now has woken them. */
async function allRest() {
  if (process.platform !== 'linux') return;
  for (const worker of Object.values(cluster.workers)) await until(() => waitsForEvents(worker.process.pid));
}

/**
 * Who answers, one request after the other, each when all workers are idle.
 *
 * @param {any} where
 * @param {number} count
 */
async function askOften(where, count) {
  const answers = {};
  for (let round = 0; round < count; round++) {
    await allRest();
    const name = await ask(where);
    answers[name] = (answers[name] ?? 0) + 1;
  }
  if (ROUND_ROBIN) return Object.fromEntries(Object.entries(answers).sort());
  // Only round robin makes a promise about who.
  const merged = {};
  for (const [name, number] of Object.entries(answers)) {
    const key = name.replace(/-\d+$/, '');
    merged[key] = (merged[key] ?? 0) + number;
  }
  return merged;
}

/** A case in which one worker listens in one way and is asked. */
function one(listens, where = undefined) {
  return {
    async primary(t) {
      const options = typeof listens === 'function' ? await listens() : listens;
      const { workers, addresses } = await serveWith(t, 1, [].concat(options));
      for (const address of addresses[0]) {
        const target = where ?? (typeof address === 'string' ? address : address?.port);
        if (target) t.log('asked', await ask(target));
      }
      end(workers);
    },
    worker: serve,
  };
}

/** A case in which the address is taken by somebody else. @param {(t: any) => Promise<any>} occupy */
function taken(occupy) {
  return {
    async primary(t) {
      const { server, options } = await occupy(t);
      const { workers } = await serveWith(t, 2, [options]);
      end(workers);
      await t.ended();
      await close(server);
      const later = await serveWith(t, 1, [options]);
      t.log('later', await ask(later.addresses[0][0]?.port ?? later.addresses[0][0]));
      end(later.workers);
    },
    worker: serve,
  };
}

/** The permission bits of a socket while it exists. @param {any} options */
function modes(options) {
  return {
    async primary(t) {
      const name = path.join(SCRATCH, `m${Object.keys(options).join('')}`);
      const { workers } = await serveWith(t, 1, [{ path: name, ...options }]);
      t.to('mode')('mode', (fs.statSync(name).mode & 0o777).toString(8));
      t.log('asked', await ask(name));
      end(workers);
      await t.ended();
      t.log('left', fs.existsSync(name));
    },
    worker: serve,
  };
}

const LOCAL = '127.0.0.1';

/** A primary that has inherited a listening socket as its file descriptor 3. */
async function inheritedSocket() {
  if (cluster.isWorker) {
    const server = net.createServer(answer);
    server.on('error', (error) => console.log(error.code));
    server.listen({ fd: 3 }, () => tell(server.listening));
    return;
  }
  const workers = ['worker-1', 'worker-2'].map((name) => cluster.fork({ PARITY_SIDE: name }));
  cluster.on('listening', (_worker, info) =>
    console.log(JSON.stringify({ ...info, port: typeof info.port })),
  );
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  console.log(JSON.stringify(await askOften(Number(process.env.PARITY_PORT), 6)));
  cluster.disconnect();
}

if (process.env.PARITY_ALONE) inheritedSocket();
else
  run({
    'port 0 in two workers': {
      async primary(t) {
        const { workers, addresses } = await serveWith(t, 2, [{ port: 0, host: LOCAL }]);
        const [[first], [second]] = addresses;
        t.log('shared', first.port === second.port);
        t.log('asked', await askOften(first.port, 8));
        end(workers);
        await t.ended();
        t.log('closed', await ask(first.port));
      },
      worker: serve,
    },
    'port 0 twice in two workers': {
      async primary(t) {
        const listens = [
          { port: 0, host: LOCAL },
          { port: 0, host: LOCAL },
        ];
        const { workers, addresses } = await serveWith(t, 2, listens);
        const [[a1, a2], [b1, b2]] = addresses;
        t.log('same', [a1.port === a2.port, a1.port === b1.port, a2.port === b2.port, b1.port === b2.port]);
        t.log('asked', await askOften(a1.port, 4), await askOften(a2.port, 4));
        end(workers);
      },
      worker: serve,
    },
    'a fixed port in three workers': {
      async primary(t) {
        const port = await freePort();
        const { workers } = await serveWith(t, 3, [{ port, host: LOCAL }]);
        t.log('asked', await askOften(port, 12));
        end(workers);
      },
      worker: serve,
    },
    'a fixed port twice in one worker': {
      async primary(t) {
        // With shared sockets the worker itself fails an assertion of Node's, from Node 22 on.
        if (!ROUND_ROBIN) return;
        const port = await freePort();
        const { workers } = await serveWith(t, 1, [
          { port, host: LOCAL },
          { port, host: LOCAL },
        ]);
        t.log('asked', await askOften(port, 4));
        end(workers);
      },
      worker: serve,
    },
    'the same port on two addresses': {
      async primary(t) {
        const port = await freePort();
        const { workers } = await serveWith(t, 2, [
          { port, host: LOCAL },
          { port, host: '127.0.0.2' },
        ]);
        t.log('asked', await askOften(port, 4), await askOften({ port, host: '127.0.0.2' }, 4));
        end(workers);
      },
      worker: serve,
    },
    'exclusive port 0': {
      async primary(t) {
        const { workers, addresses } = await serveWith(t, 2, [{ port: 0, host: LOCAL, exclusive: true }]);
        t.log('shared', addresses[0][0].port === addresses[1][0].port);
        t.log('asked', await ask(addresses[0][0].port), await ask(addresses[1][0].port));
        end(workers);
      },
      worker: serve,
    },
    'exclusive on a fixed port': {
      async primary(t) {
        const port = await freePort();
        const { workers } = await serveWith(t, 2, [{ port, host: LOCAL, exclusive: true }]);
        t.log('asked', await ask(port));
        end(workers);
      },
      worker: serve,
    },
    'no host': one({ port: 0 }),
    '0.0.0.0': one({ port: 0, host: '0.0.0.0' }),
    '::': one({ port: 0, host: '::' }),
    '::1': {
      async primary(t) {
        const { workers, addresses } = await serveWith(t, 1, [{ port: 0, host: '::1' }]);
        const port = addresses[0][0]?.port;
        if (port) t.log('asked', await ask({ port, host: '::1' }), await ask(port));
        end(workers);
      },
      worker: serve,
    },
    localhost: one({ port: 0, host: 'localhost' }, undefined),
    ipv6Only: {
      async primary(t) {
        const { workers, addresses } = await serveWith(t, 1, [{ port: 0, host: '::', ipv6Only: true }]);
        const port = addresses[0][0]?.port;
        if (port) t.log('asked', await ask({ port, host: '::1' }), await ask(port));
        end(workers);
      },
      worker: serve,
    },
    'a small backlog': one({ port: 0, host: LOCAL, backlog: 1 }),
    'a Unix path': {
      async primary(t) {
        const name = path.join(SCRATCH, 'unix');
        const { workers } = await serveWith(t, 2, [{ path: name }]);
        t.log('asked', await askOften(name, 4));
        workers[0].send('end');
        await once(workers[0], 'exit');
        t.log('still there', fs.existsSync(name), await askOften(name, 2));
        workers[1].send('end');
        await t.ended();
        t.log('left', fs.existsSync(name));
      },
      worker: serve,
    },
    'a relative Unix path': {
      async primary(t) {
        const { workers } = await serveWith(t, 2, [{ path: 'relative.sock' }]);
        t.log('asked', fs.existsSync('relative.sock'), await askOften('relative.sock', 4));
        end(workers);
        await t.ended();
        t.log('left', fs.existsSync('relative.sock'));
      },
      worker: serve,
    },
    'a Unix path that is short only from here': {
      async primary(t) {
        const deep = 'd'.repeat(60);
        fs.mkdirSync(deep);
        const name = `${deep}/${'s'.repeat(30)}`;
        const { workers } = await serveWith(t, 1, [{ path: path.resolve(name) }]);
        t.log('asked', fs.existsSync(name), await ask(name));
        end(workers);
      },
      worker: serve,
    },
    'a Unix path that is too long': {
      async primary(t) {
        end((await serveWith(t, 1, [{ path: path.join(SCRATCH, 'x'.repeat(120)) }])).workers);
      },
      worker: serve,
    },
    'a Unix path without its directory': {
      async primary(t) {
        end((await serveWith(t, 1, [{ path: path.join(SCRATCH, 'missing', 'socket') }])).workers);
      },
      worker: serve,
    },
    'a Unix path that is a file': {
      async primary(t) {
        const name = path.join(SCRATCH, 'file');
        fs.writeFileSync(name, 'text');
        end((await serveWith(t, 2, [{ path: name }])).workers);
        await t.ended();
        t.log('left', fs.readFileSync(name, 'utf8'));
      },
      worker: serve,
    },
    'an abstract name': {
      async primary(t) {
        const name = `\0${SCRATCH}/abstract`;
        const { workers } = await serveWith(t, 2, [{ path: name }]);
        t.to('asked')('asked', await askOften(name, 4));
        end(workers);
      },
      worker: serve,
    },
    readableAll: modes({ readableAll: true }),
    writableAll: modes({ writableAll: true }),
    'readableAll and writableAll': modes({ readableAll: true, writableAll: true }),
    'neither of them': modes({}),
    'a file descriptor of the primary': {
      async primary(t) {
        // Bound and not more: whoever listened here as well would get connections, too.
        const handle = net._createServerHandle(LOCAL, 0, 4);
        const address = {};
        handle.getsockname(address);
        await runAlone(t, 'fd', { stdio: [handle.fd], env: { PARITY_PORT: address.port } });
        handle.close();
      },
    },
    'a bad file descriptor': {
      async primary(t) {
        end((await serveWith(t, 1, [{ fd: 1000 }])).workers);
      },
      worker: serve,
    },
    'a file descriptor that is no socket': {
      async primary(t) {
        const fd = fs.openSync(__filename);
        end((await serveWith(t, 1, [{ fd }])).workers);
        await t.ended();
        try {
          fs.closeSync(fd);
        } catch (error) {
          t.to('afterwards')('already closed', error.code);
        }
      },
      worker: serve,
    },
    'a file descriptor of a pipe': {
      async primary(t) {
        // Without round robin Node gives it to the worker, which finds the same by itself.
        if (!ROUND_ROBIN) return;
        const pipe = path.join(SCRATCH, 'pipe');
        execFileSync('mkfifo', [pipe]);
        const fd = fs.openSync(pipe, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
        end((await serveWith(t, 1, [{ fd }])).workers);
      },
      worker: serve,
    },
    'EADDRINUSE by the primary': taken(async () => {
      // Not one that the system gives to whoever asks for any, in the moment between the two servers.
      const options = { port: await freePort(), host: LOCAL };
      return { server: await listen(options), options };
    }),
    'EADDRINUSE on a Unix path': taken(async () => {
      const name = path.join(SCRATCH, 'taken');
      return { server: await listen({ path: name }), options: { path: name } };
    }),
    EADDRNOTAVAIL: one({ port: 0, host: '192.0.2.1' }),
    'a port that is none': one([{ port: 70_000 }, { port: -1 }, { port: 'text' }, {}]),
    'close and listen again': {
      async primary(t) {
        const port = await freePort();
        const worker = t.fork({ PARITY_PORT: port });
        for (let round = 0; round < 3; round++) {
          await t.message(worker);
          t.log('asked', await ask(port));
          worker.send('close');
          await t.message(worker);
          t.log('asked', await ask(port));
          worker.send('listen');
        }
        await t.message(worker);
        worker.disconnect();
      },
      worker(t) {
        const server = net.createServer(answer);
        const start = () =>
          server.listen({ port: Number(process.env.PARITY_PORT), host: LOCAL }, () => tell('listening'));
        server.on('close', () => t.log('close', server.listening, server.address()));
        process.on('message', (message) => {
          if (message === 'listen') start();
          // The primary hears of it by the message before ours, on the same channel.
          else server.close(() => process.send('closed'));
        });
        start();
      },
    },
    'one of two workers closes': {
      async primary(t) {
        const workers = [t.fork(), t.fork()];
        const { port } = (await Promise.all(workers.map((worker) => t.message(worker))))[0];
        workers[0].send('close');
        await t.message(workers[0]);
        t.log('asked', await askOften(port, 3));
        workers[1].send('close');
        await t.message(workers[1]);
        t.log('asked', await ask(port));
        for (const worker of workers) worker.disconnect();
      },
      worker() {
        const server = net
          .createServer(answer)
          .listen({ port: 0, host: LOCAL }, () => tell(server.address()));
        process.on('message', () => server.close(() => process.send('closed')));
      },
    },
    'close before the reply': {
      async primary(t) {
        const worker = t.fork();
        t.log('end', await t.message(worker));
        worker.disconnect();
      },
      worker(t) {
        const server = net.createServer();
        server.on('listening', () => t.log('listening'));
        server.on('error', (error) => t.log('error', error));
        server.listen(0, LOCAL);
        server.close((error) => {
          t.log('closed', error);
          const next = net.createServer().listen(0, LOCAL, () => tell(next.listening));
        });
      },
    },
    'listen twice': {
      primary: (t) => t.fork(),
      worker(t) {
        const server = net.createServer().listen(0, LOCAL, () => {
          try {
            server.listen(0, LOCAL);
          } catch (error) {
            t.log('thrown', error);
          }
          process.disconnect();
        });
      },
    },
    'a callback sends before listening is seen': {
      async primary(t) {
        const worker = t.fork();
        await once(worker, 'listening');
        worker.disconnect();
      },
      worker() {
        net.createServer().listen(0, LOCAL, () => process.send('from the callback'));
      },
    },
    'a handle of its own': {
      async primary(t) {
        const worker = t.fork();
        const { port } = await t.message(worker);
        t.log('asked', await ask(port));
        // Disconnecting does not close what is the worker's own.
        worker.process.kill();
      },
      async worker(t) {
        const other = await listen({ port: 0, host: LOCAL, exclusive: true });
        const server = net.createServer(answer).listen(other._handle, () => {
          t.log('listening', server.address());
          tell(server.address());
        });
      },
    },
    'what the server says': {
      async primary(t) {
        const worker = t.fork();
        const { port } = await t.message(worker);
        const client = await connect(port);
        const text = readAll(client);
        await t.message(worker);
        worker.send('finish');
        t.log('text', await text);
        client.end();
        await t.ended();
      },
      worker(t) {
        const server = net.createServer({ allowHalfOpen: true }, async (socket) => {
          const { remoteAddress, remoteFamily, localAddress, remotePort, localPort } = socket;
          t.log(
            'connection',
            { remoteAddress, remoteFamily, localAddress },
            remotePort > 0,
            localPort === server.address().port,
          );
          t.log('its server', socket.server === server, socket.allowHalfOpen, await connections(server));
          process.send('connected');
          await once(process, 'message');
          socket.end('finished');
          socket.on('close', async () => {
            t.log('closed', await connections(server));
            process.disconnect();
          });
          socket.resume();
        });
        t.log('chained', server.listen({ port: 0, host: LOCAL }, () => tell(server.address())) === server);
        t.log('at once', server.listening, server.address());
      },
    },
    maxConnections: {
      async primary(t) {
        const { workers, addresses } = await (async () => {
          const forked = [t.fork(), t.fork()];
          return { workers: forked, addresses: await Promise.all(forked.map((worker) => t.message(worker))) };
        })();
        const [{ port }] = addresses;
        const held = [];
        const names = [];
        for (let index = 0; index < (ROUND_ROBIN ? 2 : 1); index++) {
          const client = await connect(port);
          held.push(client);
          names.push((await once(client, 'data'))[0]);
        }
        // Each worker may have one; in round robin a refused connection goes to the other, so both have theirs.
        t.log('held', ROUND_ROBIN ? names.sort() : names.length);
        for (const client of held) client.destroy();
        for (const worker of workers) worker.disconnect();
      },
      worker() {
        const server = net.createServer((socket) => {
          socket.on('error', () => {});
          socket.write(process.env.PARITY_SIDE);
        });
        server.maxConnections = 1;
        server.listen({ port: 0, host: LOCAL }, () => tell(server.address()));
      },
    },
    'many at once': {
      async primary(t) {
        const { workers, addresses } = await serveWith(t, 2, [{ port: 0, host: LOCAL }]);
        const answers = await Promise.all(Array.from({ length: 60 }, () => ask(addresses[0][0].port)));
        t.log('answered', answers.filter((name) => /^worker-[12]$/.test(name)).length);
        end(workers);
      },
      worker: serve,
    },
    'a wildcard and an address': {
      async primary(t) {
        const port = await freePort();
        end((await serveWith(t, 1, [{ port }, { port, host: LOCAL }])).workers);
      },
      worker: serve,
    },
    'an abort signal': {
      async primary(t) {
        const worker = t.fork();
        const { port } = await t.message(worker);
        worker.send('abort');
        await t.message(worker);
        t.log('asked', await ask(port));
        worker.disconnect();
      },
      worker(t) {
        const controller = new AbortController();
        const server = net.createServer(answer);
        server.listen({ port: 0, host: LOCAL, signal: controller.signal }, () => tell(server.address()));
        server.on('close', () => {
          t.log('close');
          process.send('closed');
        });
        process.on('message', () => controller.abort());
      },
    },
  });
