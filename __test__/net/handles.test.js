'use strict';

// Handles between processes that have nothing in common but the path.

const assert = require('node:assert/strict');
const dgram = require('node:dgram');
const fs = require('node:fs');
const builtin = require('node:net');
const path = require('node:path');
const { test } = require('node:test');

const { discard } = require('../../lib/channel/discard');
const { next, until } = require('../helpers/events');
const { openFiles } = require('../helpers/proc');
const { withoutDescriptor, withoutNumber, wrapped } = require('../helpers/unsendable');
const { WATCHDOG_MS, messages, net, open, pair, pathFor, scratch, serve, start } = require('../helpers/ipc');

const options = { timeout: WATCHDOG_MS };

/**
 * A server here and a process of its own that has connected to it and takes handles (fixtures/net/taker.js).
 *
 * @param {any} t
 * @param {any} [more]
 */
async function withTaker(t, { file = 'taker.js', ...more } = {}) {
  const server = await serve(t);
  const accepted = next(server, 'connection');
  const taker = start(t, file, [server.address()], more);
  const channel = await accepted;
  channel.on('error', () => {});
  return { server, channel, taker };
}

/** @param {any} where what net.connect takes @returns {Promise<string>} all that is said */
async function said(where) {
  const socket = net.connect(where).setEncoding('utf8');
  let text = '';
  for await (const part of socket) text += part;
  return text;
}

/** @param {any} t @param {any} [where] a listening net.Server */
async function listening(t, where = { port: 0, host: '127.0.0.1' }) {
  const server = builtin.createServer().listen(where);
  await next(server, 'listening');
  t.after(() => server.close());
  return server;
}

for (const kind of ['TCP', 'Unix']) {
  test(`an accepted ${kind} connection is served by the other process`, options, async (t) => {
    const { channel } = await withTaker(t);
    const front = await listening(t, kind === 'Unix' ? pathFor(t) : undefined);
    front.on('connection', (socket) => channel.send({ serve: kind }, socket));
    const address = front.address();
    const texts = await Promise.all(
      Array.from({ length: 20 }, () =>
        said(typeof address === 'string' ? address : { ...address, host: '127.0.0.1' }),
      ),
    );
    for (const text of texts) assert.equal(text, `net.Socket ${kind}`);
  });
}

test('a listening server is listened on by the other process', options, async (t) => {
  const { channel, taker } = await withTaker(t);
  const front = builtin.createServer(() => assert.fail('not here')).listen(0, '127.0.0.1');
  await next(front, 'listening');
  const { port } = /** @type {any} */ (front.address());
  channel.send({ listen: true }, front);
  assert.deepEqual(await taker.line(), { kind: 'Server' });
  front.close();
  assert.equal(await said(port), 'net.Server');
});

const withBoundSockets = { ...options, skip: !('BoundSocket' in builtin) && 'this Node has none' };

for (const serialization of ['json', 'advanced']) {
  test(
    `a net.BoundSocket is listened on by the other process (${serialization})`,
    withBoundSockets,
    async (t) => {
      const server = await serve(t, { serialization });
      const accepted = next(server, 'connection');
      const taker = start(t, 'taker.js', [server.address(), serialization]);
      const channel = await accepted;
      /** @type {any} not in the types */
      const { BoundSocket } = builtin;
      const before = openFiles();
      const bound = new BoundSocket({ host: '127.0.0.1' });
      const { port } = bound.address();
      channel.send({ adopt: true }, bound);
      // From here on it is as if it were in use here.
      assert.throws(() => bound.fd(), { code: 'ERR_SOCKET_HANDLE_ADOPTED' });
      assert.throws(() => channel.send({ adopt: true }, bound), {
        code: 'ERR_WORKER_HANDLE_NOT_TRANSFERABLE',
      });
      assert.deepEqual(await taker.line(), { kind: 'BoundSocket' });
      await until(() => openFiles() <= before);
      assert.equal(await said(port), 'net.BoundSocket');
      const path = new BoundSocket({ path: pathFor(t) });
      t.after(() => path.close());
      assert.throws(() => channel.send({ adopt: true }, path), { code: 'ERR_INVALID_HANDLE_TYPE' });
      path.fd();
    },
  );
}

test('a net.BoundSocket for a Node that has none ends the channel there', withBoundSockets, async (t) => {
  const { server, channel } = await withTaker(t, { file: 'boundless.js' });
  /** @type {any} not in the types */
  const { BoundSocket } = builtin;
  const ended = next(channel, 'close');
  channel.send({ adopt: true }, new BoundSocket({ host: '127.0.0.1' }));
  await ended;
  assert.equal(server.listening, true);
});

test('a UDP socket', options, async (t) => {
  const { channel, taker } = await withTaker(t);
  const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await next(socket, 'listening');
  const { port } = socket.address();
  channel.send({ udp: true }, socket);
  assert.deepEqual(await taker.line(), { kind: 'Socket', port });
  socket.close();
  const asker = dgram.createSocket('udp4');
  t.after(() => asker.close());
  const answer = next(asker, 'message');
  asker.send('hello', port, '127.0.0.1');
  assert.equal(String(await answer), 'dgram hello');
});

test('a UDP socket and servers that a worker of a cluster gets are its own', options, async (t) => {
  const { channel, taker } = await withTaker(t, { file: 'cluster-taker.js' });
  const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await next(socket, 'listening');
  const { port } = socket.address();
  channel.send({ udp: true }, socket);
  assert.deepEqual(await taker.line(), { kind: 'Socket', port });
  socket.close();
  for (const where of [pathFor(t), { port: 0, host: '127.0.0.1' }]) {
    const front = builtin.createServer(() => assert.fail('not here')).listen(where);
    await next(front, 'listening');
    const address = /** @type {any} */ (front.address());
    channel.send({ listen: true }, front);
    assert.deepEqual(await taker.line(), { kind: 'Server' });
    // A closed Unix server takes its file along.
    if (typeof address === 'string') fs.linkSync(address, `${address}2`);
    front.close();
    assert.equal(await said(typeof address === 'string' ? `${address}2` : address.port), 'net.Server');
  }
});

test('a raw handle', options, async (t) => {
  const { channel, taker } = await withTaker(t);
  const front = await listening(t);
  channel.send({ raw: true }, /** @type {any} */ (front)._handle);
  assert.deepEqual(await taker.line(), { kind: 'TCP' });
});

test('files: a number from fs.open, a FileHandle, and number 0', options, async (t) => {
  const { channel, taker } = await withTaker(t);
  const file = path.join(scratch(t), 'file');
  fs.writeFileSync(file, 'content');
  const fd = fs.openSync(file, 'r');
  const handle = await fs.promises.open(file, 'r');
  for (const sent of [fd, handle]) {
    channel.send({ file: true }, sent);
    assert.deepEqual(await taker.line(), { kind: 'number', text: 'content' });
  }
  // They stay open, and are this process's.
  assert.equal(fs.readSync(fd, Buffer.alloc(1), 0, 1, 1), 1);
  fs.closeSync(fd);
  await handle.close();
  const ino = fs.fstatSync(0).ino;
  channel.send({ stat: true }, 0);
  assert.deepEqual(await taker.line(), { kind: 'number', ino });
});

test('descriptors that are none: EBADF, and the channel goes on', options, async (t) => {
  const { client, peer } = await pair(t);
  const file = fs.openSync(__filename, 'r');
  fs.closeSync(file);
  const error = await new Promise((resolve) => client.send('closed', file, resolve));
  assert.equal(/** @type {any} */ (error)?.code, 'EBADF');
  for (const wrong of [1.5, Number.NaN, 'x', {}, true]) {
    assert.throws(() => client.send('x', wrong), { code: 'ERR_INVALID_HANDLE_TYPE' }, String(wrong));
  }
  const got = messages(peer, 1);
  client.send('alive');
  assert.deepEqual(await got, ['alive']);
});

test('a handle without a number for its descriptor was sent as standard input', options, async (t) => {
  const { client, peer } = await pair(t);
  const got = messages(peer, 1);
  for (const [name, handle] of withoutNumber()) {
    for (const channel of [client, peer]) {
      const sent = new builtin.Socket();
      Object.assign(sent, { _handle: handle });
      for (const what of [handle, sent]) {
        const error = await new Promise((resolve) => channel.send(name, what, resolve));
        assert.equal(/** @type {any} */ (error)?.code, 'EBADF', name);
      }
    }
  }
  client.send('alive');
  assert.deepEqual(await got, ['alive']);
});

test('a socket that is more than its handle was sent as what is beneath it', options, async (t) => {
  const { client, peer } = await pair(t);
  const got = messages(peer, 1);
  for await (const [name, socket] of wrapped()) {
    for (const channel of [client, peer]) {
      assert.throws(() => channel.send(name, socket), { code: 'ERR_INVALID_HANDLE_TYPE' }, name);
    }
  }
  client.send('nothing came');
  assert.deepEqual(await got, ['nothing came']);
});

for (const serialization of ['json', 'advanced']) {
  const title = `a handle without a descriptor made the message before it arrive twice (${serialization})`;
  test(title, options, async (t) => {
    const { client, peer } = await pair(t, { serialization });
    const fd = fs.openSync(__filename, 'r');
    t.after(() => fs.closeSync(fd));
    const file = await fs.promises.open(__filename);
    await file.close();
    /** @type {[any, string][]} */
    const got = [];
    peer.on('message', (/** @type {any} */ message, /** @type {any} */ handle) => {
      got.push([message, typeof handle]);
      if (handle !== undefined) discard(handle);
    });
    /** @type {[any, string][]} */
    const wanted = [];
    const sendBetween = async (/** @type {string} */ name, /** @type {any} */ handle) => {
      wanted.push([`before ${name}`, 'number'], [`behind ${name}`, 'undefined']);
      const outcomes = Promise.all([
        new Promise((resolve) => client.send(`before ${name}`, fd, resolve)),
        new Promise((resolve) => client.send(name, handle, resolve)),
        new Promise((resolve) => client.send(`behind ${name}`, resolve)),
      ]);
      const [before, error, behind] = /** @type {any[]} */ (await outcomes);
      assert.deepEqual([before, error?.code, behind], [null, 'EBADF', null], name);
    };
    for await (const [name, handle] of withoutDescriptor()) await sendBetween(name, handle);
    await sendBetween('-1', -1);
    await sendBetween('a FileHandle that is closed', file);
    await sendBetween('a number that is none of a descriptor', 2 ** 32);
    client.send('end', fd);
    wanted.push(['end', 'number']);
    await until(() => got.some(([message]) => message === 'end'));
    assert.deepEqual(got, wanted);
  });
}

test('a socket is closed here once it has been sent, unless keepOpen', options, async (t) => {
  const { client, peer } = await pair(t);
  const front = await listening(t);
  const { port } = /** @type {any} */ (front.address());
  for (const keepOpen of [false, true]) {
    const accepted = next(front, 'connection');
    const user = net.connect(port, '127.0.0.1');
    const socket = await accepted;
    const arrived = new Promise((resolve) => {
      peer.once('message', (/** @type {any} */ _, /** @type {any} */ handle) => resolve(handle));
    });
    await new Promise((resolve) => client.send('take', socket, { keepOpen }, resolve));
    const received = /** @type {any} */ (await arrived);
    await until(() => (socket._handle !== null) === keepOpen);
    const ended = next(user.resume(), 'end');
    received.end('from there');
    socket.destroy();
    await ended;
    await next(user, 'close');
  }
});

test('a handle that is closed already: the message comes without', options, async (t) => {
  const { client, peer } = await pair(t);
  const socket = new net.Socket();
  const server = net.createServer();
  const got = new Promise((resolve) => {
    /** @type {any[]} */
    const all = [];
    peer.on('message', (/** @type {any} */ message, /** @type {any} */ handle) => {
      all.push([message, handle]);
      if (all.length === 2) resolve(all);
    });
  });
  client.send('socket', socket);
  client.send('server', server);
  assert.deepEqual(await got, [
    ['socket', undefined],
    ['server', undefined],
  ]);
});

test('messages keep their order among handles, in both directions', options, async (t) => {
  const { client, peer } = await pair(t);
  const fd = fs.openSync(__filename, 'r');
  t.after(() => fs.closeSync(fd));
  const count = 500;
  const all = [client, peer].map(
    (channel) =>
      new Promise((resolve) => {
        /** @type {any[]} */
        const seen = [];
        channel.on('message', (/** @type {number} */ n, /** @type {any} */ handle) => {
          seen.push([n, handle !== undefined]);
          if (handle !== undefined) fs.closeSync(handle);
          if (seen.length === count) resolve(seen);
        });
      }),
  );
  for (let n = 0; n < count; n++) {
    for (const channel of [client, peer]) channel.send(n, n % 5 === 0 ? fd : undefined);
  }
  for (const seen of await Promise.all(all)) {
    assert.deepEqual(
      seen,
      Array.from({ length: count }, (_, n) => [n, n % 5 === 0]),
    );
  }
});

test('long messages with handles go in both directions at once', options, async (t) => {
  const { client, peer } = await pair(t);
  const fd = fs.openSync(__filename, 'r');
  t.after(() => fs.closeSync(fd));
  const count = 5;
  const all = [client, peer].map(
    (channel) =>
      new Promise((resolve) => {
        let seen = 0;
        channel.on('message', (/** @type {string} */ _text, /** @type {any} */ handle) => {
          fs.closeSync(handle);
          if (++seen === count) resolve(seen);
        });
      }),
  );
  for (let n = 0; n < count; n++) {
    for (const channel of [client, peer]) channel.send('x'.repeat(50_000), fd);
  }
  assert.deepEqual(await Promise.all(all), [count, count]);
});

test('handles sent before the channel is connected arrive', options, async (t) => {
  const server = await serve(t);
  const client = open(t, server);
  const fd = fs.openSync(__filename, 'r');
  client.send('early', fd);
  client.send('behind');
  const peer = await next(server, 'connection');
  /** @type {any[]} */
  const seen = [];
  peer.on('message', (/** @type {any} */ message, /** @type {any} */ handle) =>
    seen.push([message, typeof handle, handle]),
  );
  await until(() => seen.length === 2);
  assert.deepEqual(
    seen.map(([message, type]) => [message, type]),
    [
      ['early', 'number'],
      ['behind', 'undefined'],
    ],
  );
  fs.closeSync(seen[0][2]);
  fs.closeSync(fd);
});

for (const serialization of ['json', 'advanced']) {
  test(`a message with a handle that waited had become another (${serialization})`, options, async (t) => {
    const server = await serve(t, { serialization });
    const front = await listening(t);
    const accepted = next(front, 'connection');
    const { port } = /** @type {any} */ (front.address());
    const user = builtin.connect(port, '127.0.0.1');
    user.on('error', () => {});
    t.after(() => user.destroy());
    const socket = await accepted;
    const fd = fs.openSync(__filename, 'r');
    t.after(() => fs.closeSync(fd));
    const closed = net.createServer();
    const client = open(t, server, { serialization });
    const message = { text: 'as it was' };
    assert.equal(client.connecting, true);
    for (const handle of [fd, closed, socket, undefined]) client.send(message, handle);
    message.text = 'as it became';
    const peer = await next(server, 'connection');
    /** @type {any[]} */
    const seen = [];
    peer.on('message', (/** @type {any} */ got, /** @type {any} */ handle) => {
      seen.push([got, typeof handle]);
      if (handle !== undefined) discard(handle);
    });
    await until(() => seen.length === 4);
    assert.deepEqual(seen, [
      [{ text: 'as it was' }, 'number'],
      [{ text: 'as it was' }, 'undefined'],
      [{ text: 'as it was' }, 'object'],
      [{ text: 'as it was' }, 'undefined'],
    ]);
  });
}

test('a message with a handle was serialized more often than once', options, async (t) => {
  const server = await serve(t);
  const fd = fs.openSync(__filename, 'r');
  t.after(() => fs.closeSync(fd));
  let count = 0;
  const message = { toJSON: () => ++count };
  const client = open(t, server);
  client.send(message, fd);
  const peer = await next(server, 'connection');
  const got = messages(peer, 3);
  peer.on('message', (/** @type {any} */ _, /** @type {any} */ handle) => handle && fs.closeSync(handle));
  if (!client.connected) await next(client, 'connect');
  client.send(message, fd);
  client.send(message);
  assert.deepEqual(await got, [1, 2, 3]);
});

test('handles to a channel that ends, or that nobody listens to, leave no descriptor', options, async (t) => {
  await pair(t);
  const server = await serve(t);
  const fd = fs.openSync(__filename, 'r');
  t.after(() => fs.closeSync(fd));
  const files = openFiles();
  for (let round = 0; round < 10; round++) {
    const accepted = next(server, 'connection');
    const client = open(t, server);
    const peer = await accepted;
    client.on('error', () => {});
    for (let n = 0; n < 10; n++) client.send(n, fd);
    if (round % 2) await new Promise((resolve) => client.send('last', resolve));
    client.destroy();
    await next(peer, 'close');
  }
  await until(() => openFiles() <= files);
});

test('a handle in a loop, or in a request that nobody answers, leaves no descriptor', options, async (t) => {
  const { client, peer } = await pair(t);
  const fd = fs.openSync(__filename, 'r');
  t.after(() => fs.closeSync(fd));
  const files = openFiles();
  for (let n = 0; n < 10; n++) client.send(n, fd);
  const wrapped = { cmd: 'NODE_CORRAL_REQUEST', id: 1, msg: 'x' };
  client.send(wrapped, fd);
  client.send({ cmd: 'NODE_OTHER' }, fd);
  client.send('end');
  let count = 0;
  for await (const message of peer) {
    if (message === 'end') break;
    count++;
  }
  assert.equal(count, 10);
  await until(() => openFiles() <= files);
});

test('a receiver without descriptors: the handle arrives later or the sender is told, and messages go on', {
  ...options,
  skip: process.platform !== 'linux' && 'for Linux',
}, async (t) => {
  const { channel, taker } = await withTaker(t, { files: 48 });
  const front = await listening(t);
  const { port } = /** @type {any} */ (front.address());
  const warnings = /** @type {any[]} */ ([]);
  const onWarning = (/** @type {any} */ warning) => warnings.push(warning.name);
  process.on('warning', onWarning);
  t.after(() => process.removeListener('warning', onWarning));
  channel.send({ exhaust: true });
  assert.deepEqual(await taker.line(), { exhausted: true });
  const accepted = next(front, 'connection');
  const user = net.connect(port, '127.0.0.1');
  user.on('error', () => {});
  const socket = await accepted;
  channel.send({ serve: 'TCP' }, socket);
  channel.send({ ping: true });
  // The handle is in front of it: that it is answered means that somebody has decided about the handle.
  const answer = await taker.line();
  assert.deepEqual(answer, { pong: true });
  channel.send({ relax: true });
  assert.deepEqual(await taker.line(), { relaxed: true });
  const again = next(front, 'connection');
  const text = said({ port, host: '127.0.0.1' });
  channel.send({ serve: 'TCP' }, await again);
  assert.equal(await text, 'net.Socket TCP');
  user.destroy();
  assert.ok(warnings.every((name) => name === 'SentHandleNotReceivedWarning'));
});

/** What the descriptors of this process are. */
function descriptors() {
  return fs.readdirSync('/proc/self/fd').map((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // Closed since.
      return '';
    }
  });
}

/** Who has got a connection and does not care. @type {Record<string, (peer: any) => void>} */
const CARELESS = {
  'nobody listens to': () => {},
  'waits in a channel that is paused': (peer) => peer.pause().on('message', () => {}),
  'a listener ignores': (peer) => peer.on('message', () => {}),
  'a loop ignores': async (peer) => {
    for await (const _ of peer);
  },
  'a responder ignores': (peer) => peer.respond(() => {}),
};

for (const [name, receive] of Object.entries(CARELESS)) {
  test(`a connection that ${name} is reset, and nothing else happens`, options, async (t) => {
    const { client, peer } = await pair(t);
    receive(peer);
    const front = await listening(t);
    const accepted = next(front, 'connection');
    const { port } = /** @type {any} */ (front.address());
    // It does not shut down its end by itself: Node's process hangs at its exit when a socket is reset while it does.
    const user = builtin.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    user.on('error', () => {});
    const socket = await accepted;
    const connection = fs.readlinkSync(`/proc/self/fd/${socket._handle.fd}`);
    const got = name.includes('responder')
      ? { cmd: 'NODE_CORRAL_REQUEST', id: 1, msg: 'a connection' }
      : 'a connection';
    await new Promise((resolve) => client.send(got, socket, resolve));
    // The receiver is this process, which reads the message after it has been written.
    const arrived = name.includes('paused') ? client.channel : client.request('behind it').catch(() => {});
    if (!name.includes('paused')) await arrived;
    user.resetAndDestroy();
    // The one that arrived is closed, which an uncaught 'error' would have told of by now.
    await until(() => !descriptors().includes(connection) || name.includes('paused'));
    await new Promise((resolve) => setImmediate(resolve));
    peer.resume();
  });
}

test("a connection's error is the program's as soon as it listens to it", options, async (t) => {
  const { client, peer } = await pair(t);
  const front = await listening(t);
  const { port } = /** @type {any} */ (front.address());
  const accepted = next(front, 'connection');
  const user = builtin.connect(port, '127.0.0.1');
  user.on('error', () => {});
  const socket = await accepted;
  const taken = new Promise((resolve) => {
    peer.on('message', (/** @type {any} */ _, /** @type {any} */ handle) => resolve(handle));
  });
  client.send('take', socket);
  const handle = await taken;
  handle.on('data', () => {});
  assert.equal(handle.listenerCount('error'), 0);
  assert.equal(handle.listenerCount('newListener'), 0);
  handle.destroy();
  user.destroy();
});

test('two loops on one channel leave no descriptor', options, async (t) => {
  const { client, peer } = await pair(t);
  const fd = fs.openSync(__filename, 'r');
  t.after(() => fs.closeSync(fd));
  const files = openFiles();
  const loop = async () => {
    let count = 0;
    for await (const message of peer) {
      if (message === 'end') break;
      count++;
    }
    return count;
  };
  const loops = [loop(), loop()];
  for (let n = 0; n < 20; n++) client.send(n, fd);
  client.send('end');
  assert.deepEqual(await Promise.all(loops), [20, 20]);
  await until(() => openFiles() <= files);
});
