'use strict';

// corral/node-ipc by itself. node-ipc-interop.test.js has the real package on the other side.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const { describe, test } = require('node:test');

const ipc = require('../node-ipc');
const {
  CLIENT_TLS,
  SERVER_TLS,
  TRANSPORTS,
  instance,
  next,
  pair,
  scratch,
  started,
} = require('./helpers/node-ipc');

const { IPC } = ipc;
const OURS = { Server: IPC, Client: IPC };
const UNIX = TRANSPORTS['a Unix socket'];
const { TCP } = TRANSPORTS;

/** Nothing takes nearly so long: what does waits for something that does not come. */
const LIMIT = { timeout: 60_000 };

/** What 'error' handlers get. @typedef {NodeJS.ErrnoException & { response?: string }} Failure */

/**
 * A server, and a plain socket that is connected to it.
 *
 * @param {import('node:test').TestContext} t
 * @param {object} [config]
 */
async function plainClient(t, config = {}) {
  const serving = instance(t, IPC, config);
  serving.serve(`${scratch(t)}socket`);
  const server = await started(serving);
  const arrived = next(server, 'connect');
  const client = net.connect(server.path);
  t.after(() => client.destroy());
  const [socket] = await arrived;
  return { server, client, socket };
}

/**
 * A plain server, and a client that is connected to it.
 *
 * @param {import('node:test').TestContext} t
 * @param {object} [config]
 */
async function plainServer(t, config = {}) {
  const path = `${scratch(t)}socket`;
  // The clients of the tests leave without a word.
  const server = net.createServer((socket) => socket.on('error', () => {})).listen(path);
  t.after(() => server.close());
  await once(server, 'listening');
  const connecting = instance(t, IPC, config);
  const arrived = once(server, 'connection');
  connecting.connectTo('world', path);
  await next(connecting.of.world, 'connect');
  const [socket] = await arrived;
  return { server, socket, connecting, client: connecting.of.world };
}

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  describe(`over ${name}`, LIMIT, () => {
    test('a message is answered', async (t) => {
      const { server, client, socket } = await pair(t, transport, OURS);
      const request = next(server, 'message');
      client.emit('message', { text: 'hello', list: [1] });
      const [data, from] = await request;
      assert.deepEqual(data, { text: 'hello', list: [1] });
      assert.equal(from, socket);
      const answer = next(client, 'message');
      server.emit(from, 'message', `${data.text} world!`);
      assert.deepEqual(await answer, ['hello world!']);
    });

    test('raw buffers are the same bytes on the other side, whatever they are', async (t) => {
      const { server, client } = await pair(t, transport, { ...OURS, config: { rawBuffer: true } });
      const bytes = Buffer.from([0, 255, 0xc3, 12, 0x80]);
      for (const sent of [bytes, [...bytes]]) {
        const data = next(server, 'data');
        client.emit(sent);
        const [received, from] = await data;
        assert.deepEqual(received, bytes);
        const back = next(client, 'data');
        server.emit(from, sent);
        assert.deepEqual(await back, [bytes]);
      }
    });

    test('a broadcast reaches all', async (t) => {
      const { server, client, where } = await pair(t, transport, OURS);
      const other = instance(t, IPC, transport.clientConfig);
      const arrived = next(server, 'connect');
      transport.connect(other, where);
      await arrived;
      const both = [next(client, 'news'), next(other.of.world, 'news')];
      server.broadcast('news', 7);
      assert.deepEqual(await Promise.all(both), [[7], [7]]);
    });

    test("a client that leaves is gone from `sockets`, and 'socket.disconnected' has its id", async (t) => {
      const { server, client, connecting, socket } = await pair(t, transport, OURS);
      const request = next(server, 'hello');
      client.emit('hello', { id: 'me' });
      await request;
      assert.equal(socket.id, 'me');
      assert.deepEqual(server.sockets, [socket]);
      const left = next(server, 'socket.disconnected');
      const events = [next(client, 'disconnect'), next(client, 'destroy')];
      connecting.disconnect('world');
      assert.deepEqual(connecting.of, {});
      assert.deepEqual(await left, [socket, 'me']);
      assert.deepEqual(server.sockets, []);
      await Promise.all(events);
    });

    test('a client connects again when its server is back', async (t) => {
      const { serving, server, client, socket, where } = await pair(t, transport, OURS);
      const lost = next(client, 'disconnect');
      server.stop();
      socket.destroy();
      await lost;
      const back = next(client, 'connect');
      transport.serve(serving, where);
      await started(serving);
      await back;
      const request = next(serving.server, 'message');
      client.emit('message', 1);
      assert.equal((await request)[0], 1);
    });
  });
}

describe('on the wire', LIMIT, () => {
  test('what is sent is JSON with the delimiter behind it', async (t) => {
    const { socket, client } = await plainServer(t);
    socket.setEncoding('utf8');
    for (const [data, text] of [
      ['\f', '"\\f"'],
      [undefined, '{}'],
      [null, '{}'],
      ['', '{}'],
      [socket, '{}'],
      [0, '0'],
      [false, 'false'],
    ]) {
      client.emit('a', data);
      assert.deepEqual(await once(socket, 'data'), [`{"type":"a","data":${text}}\f`]);
    }
  });

  for (const delimiter of ['\f', '\n--\n']) {
    test(`messages arrive in pieces of any size, delimiter ${JSON.stringify(delimiter)}`, async (t) => {
      const { server, client } = await plainClient(t, { delimiter });
      /** @type {any[]} */
      const received = [];
      server.on('message', (/** @type {any} */ data) => received.push(data));
      const texts = ['wörld 🌍', 'second', '€'.repeat(10)];
      const end = Buffer.from(delimiter);
      const frames = texts.map((data) =>
        Buffer.concat([Buffer.from(JSON.stringify({ type: 'message', data })), end]),
      );
      const bytes = Buffer.concat(frames);
      client.setNoDelay();
      for (const size of [1, 2, 3, 7, bytes.length]) {
        // The answer tells that a piece has been read, so that the next is one of its own.
        for (let i = 0; i < bytes.length; i += size) {
          const read = once(server.sockets[0], 'data');
          client.write(bytes.subarray(i, i + size));
          await read;
        }
        assert.deepEqual(received.splice(0), texts, `in pieces of ${size}`);
      }
    });
  }

  for (const delimiter of ['|', '-=-']) {
    test(`three messages in three pieces are three, wherever they are cut, delimiter ${delimiter}`, () => {
      const { Frames } = require('../lib/node-ipc/frames');
      const texts = ['first wörld', '🌍', '--third='];
      const bytes = Buffer.from(texts.map((text) => text + delimiter).join(''));
      for (let first = 0; first <= bytes.length; first++) {
        for (let second = first; second <= bytes.length; second++) {
          const frames = new Frames(delimiter, 100);
          const found = [];
          for (const piece of [
            bytes.subarray(0, first),
            bytes.subarray(first, second),
            bytes.subarray(second),
          ]) {
            frames.add(piece);
            for (let text = frames.next(); text !== undefined; text = frames.next()) found.push(text);
          }
          assert.deepEqual(found, texts, `cut at ${first} and ${second}`);
          assert.equal(frames.pending, 0);
        }
      }
    });
  }

  test('a message of 20 MB arrives', async (t) => {
    const { server, client } = await pair(t, UNIX, OURS);
    const request = next(server, 'message');
    const text = 'ä€'.repeat(4_000_000);
    client.emit('message', text);
    const [data] = await request;
    assert.ok(data === text);
  });

  for (const [what, text] of Object.entries({
    'no JSON': '{"type":',
    nothing: '',
    'no object': '5',
    null: 'null',
    'no type': '{"data":1}',
    'a type that is none': '{"type":{"toString":1}}',
  })) {
    test(`${what} is an error of its connection, which goes on`, async (t) => {
      const { server, client, socket } = await plainClient(t);
      const failed = next(server, 'error');
      const request = next(server, 'message');
      client.write(`${text}\f{"type":"message","data":1}\f`);
      const [error, from] = /** @type {[Failure, any]} */ (await failed);
      assert.equal(error.code, 'ERR_CORRAL_BAD_MESSAGE');
      assert.equal(error.response, text);
      assert.equal(from, socket);
      assert.equal((await request)[0], 1);
    });
  }

  test('types and data with the names of what objects inherit are like any others', async (t) => {
    const { server, client } = await plainClient(t);
    for (const type of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      const request = next(server, type);
      client.write(`{"type":"${type}","data":{"__proto__":{"polluted":1},"constructor":{"prototype":{}}}}\f`);
      const [data] = await request;
      assert.deepEqual(Object.keys(data), ['__proto__', 'constructor']);
    }
    assert.equal(/** @type {any} */ ({}).polluted, undefined);
    assert.equal(server.polluted, undefined);
  });

  test('an id that cannot be made text does no harm', async (t) => {
    const { server, client, socket } = await plainClient(t, { silent: false, logger: () => {} });
    const left = next(server, 'socket.disconnected');
    client.end('{"type":"hello","data":{"id":{"toString":1}}}\f');
    assert.deepEqual(await left, [socket, { toString: 1 }]);
    server.emit(socket, 'late');
    assert.equal((await next(server, 'error'))[0].code, 'ERR_STREAM_DESTROYED');
  });

  test('a message beyond config.maxMessageSize ends that connection of a server, and no other', async (t) => {
    const { server, client, socket } = await plainClient(t, { maxMessageSize: 100 });
    const arrived = next(server, 'connect');
    const other = net.connect(server.path);
    t.after(() => other.destroy());
    await arrived;
    const failed = next(server, 'error');
    const closed = once(client, 'close');
    client.on('error', () => {});
    client.write(`{"type":"message","data":1}\f${'x'.repeat(101)}`);
    const [error, from] = /** @type {[Failure, any]} */ (await failed);
    assert.equal(error.code, 'ERR_CORRAL_MESSAGE_TOO_LARGE');
    assert.equal(from, socket);
    await closed;
    const request = next(server, 'message');
    other.write('{"type":"message","data":2}\f');
    assert.equal((await request)[0], 2);
  });

  test('a message beyond config.maxMessageSize ends the connection of a client, which connects again', async (t) => {
    const { server, socket, client } = await plainServer(t, { maxMessageSize: 100 });
    const failed = next(client, 'error');
    const again = once(server, 'connection');
    socket.write('x'.repeat(200));
    assert.equal((await failed)[0].code, 'ERR_CORRAL_MESSAGE_TOO_LARGE');
    await again;
  });

  test('exactly config.maxMessageSize is not too large', async (t) => {
    const message = '{"type":"message","data":1}';
    const { server, client } = await plainClient(t, { maxMessageSize: message.length });
    const request = next(server, 'message');
    client.write(`${message}\f`);
    await request;
    const failed = next(server, 'error');
    client.on('error', () => {});
    client.write(`${message} \f`);
    assert.equal((await failed)[0].code, 'ERR_CORRAL_MESSAGE_TOO_LARGE');
  });
});

test('an exception of a handler is the program’s, and loses no message', () => {
  const { receive } = require('../lib/node-ipc/messages');
  const socket = new net.Socket();
  /** @type {string[]} */
  const received = [];
  receive(socket, new IPC().config, {
    bytes: assert.fail,
    error: assert.fail,
    message(type) {
      received.push(type);
      if (type === 'bad') throw new Error('on purpose');
    },
  });
  assert.throws(
    () => socket.emit('data', Buffer.from('{"type":"bad"}\f{"type":"good"}\f{"ty')),
    /on purpose/,
  );
  socket.emit('data', Buffer.from('pe":"more"}\f'));
  assert.deepEqual(received, ['bad', 'good', 'more']);
});

describe('events', LIMIT, () => {
  const events = () => new (require('../lib/node-ipc/events').Events)();

  test("'*' hears of all, its handlers last", () => {
    /** @type {any[]} */
    const seen = [];
    const each = events()
      .on('*', (...args) => seen.push(['*', ...args]))
      .on('a', (...args) => seen.push(['a', ...args]));
    each.publish('a', 1, 2).trigger('b');
    assert.deepEqual(seen, [
      ['a', 1, 2],
      ['*', 'a', 1, 2],
      ['*', 'b'],
    ]);
  });

  test('off removes one handler, however often it is there, or all of a type', () => {
    let calls = 0;
    const first = () => calls++;
    const each = events()
      .on('a', first)
      .subscribe('a', first)
      .on('a', () => (calls += 10));
    each.off('a', first).publish('a');
    assert.equal(calls, 10);
    each.unSubscribe('a', '*').publish('a');
    assert.equal(calls, 10);
    each.off('nothing of the kind', first);
  });

  test('once is once, also when it publishes itself', () => {
    let calls = 0;
    const each = events();
    each.once('a', () => {
      calls++;
      each.publish('a');
    });
    each.on('*', () => {}, true);
    each.publish('a').publish('a');
    assert.equal(calls, 1);
  });

  test('a handler may remove another that is about to be called, and what is no handler is refused', () => {
    const each = events();
    /** @type {string[]} */
    const seen = [];
    const second = () => seen.push('second');
    each.on('a', () => each.off('a', second).on('a', () => seen.push('third')));
    each.on('a', second);
    each.publish('a');
    assert.deepEqual(seen, ['second']);
    assert.throws(() => each.on('a', /** @type {any} */ (undefined)), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => each.off('a', /** @type {any} */ (undefined)), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});

describe('a client', LIMIT, () => {
  /**
   * @param {any} client
   * @returns {Promise<string[]>} its events until 'destroy', with the first
   */
  async function untilDestroyed(client) {
    /** @type {string[]} */
    const seen = [];
    client.on('*', (/** @type {string} */ type) => seen.push(type));
    await next(client, 'destroy');
    return seen;
  }

  test('tries as often as config.maxRetries says', async (t) => {
    const connecting = instance(t, IPC, { maxRetries: 2, socketRoot: scratch(t) });
    connecting.connectTo('nobody');
    const attempt = ['error', 'disconnect'];
    assert.deepEqual(await untilDestroyed(connecting.of.nobody), [
      ...attempt,
      ...attempt,
      ...attempt,
      'destroy',
    ]);
  });

  for (const config of [{ maxRetries: false }, { maxRetries: 0 }, { stopRetrying: true, retry: 1e6 }]) {
    test(`tries once with ${JSON.stringify(config)}`, async (t) => {
      const connecting = instance(t, IPC, { ...config, socketRoot: scratch(t) });
      connecting.connectTo('nobody');
      assert.deepEqual(await untilDestroyed(connecting.of.nobody), ['error', 'disconnect', 'destroy']);
    });
  }

  test('has its retries back once it is connected', async (t) => {
    const { client, socket, server } = await plainServer(t, { maxRetries: 1 });
    for (let connection = socket, i = 0; i < 3; i++) {
      const again = once(server, 'connection');
      const connected = next(client, 'connect');
      connection.destroy();
      [connection] = await again;
      await connected;
    }
    assert.equal(client.retriesRemaining, 1);
  });

  test('stops in the middle when config.stopRetrying is set', async (t) => {
    const connecting = instance(t, IPC, { socketRoot: scratch(t) });
    connecting.connectTo('nobody');
    const { nobody } = connecting.of;
    const destroyed = untilDestroyed(nobody);
    await next(nobody, 'disconnect');
    connecting.config.stopRetrying = true;
    assert.deepEqual(await destroyed, ['error', 'disconnect', 'destroy']);
  });

  test('that is disconnected between two tries makes no other', async (t) => {
    const connecting = instance(t, IPC, { socketRoot: scratch(t), retry: 1e6 });
    connecting.connectTo('nobody');
    const { nobody } = connecting.of;
    await next(nobody, 'disconnect');
    const destroyed = next(nobody, 'destroy');
    connecting.disconnect('nobody');
    await destroyed;
    connecting.disconnect('nobody');
  });

  test('is connected once for an id; the callback is called at once, with the instance or with nothing', async (t) => {
    const { connecting, client, where } = await pair(t, UNIX, OURS);
    /** @type {any[]} */
    const calls = [];
    connecting.connectTo('world', where.path, (/** @type {any[]} */ ...args) => calls.push(args));
    assert.equal(connecting.of.world, client);
    connecting.connectTo('other', where.path, (/** @type {any[]} */ ...args) => calls.push(args));
    assert.deepEqual(calls, [[], [connecting]]);
  });

  test('that had lost its connection gives way to a new one for the same id', async (t) => {
    const connecting = instance(t, IPC, { socketRoot: scratch(t) });
    connecting.connectTo('nobody');
    const former = connecting.of.nobody;
    await next(former, 'disconnect');
    const destroyed = next(former, 'destroy');
    connecting.connectTo('nobody');
    await destroyed;
    assert.notEqual(connecting.of.nobody, former);
  });

  test('that is not connected says that a message was lost', async (t) => {
    const connecting = instance(t, IPC, { socketRoot: scratch(t), maxRetries: 0 });
    connecting.connectTo('nobody');
    const { nobody } = connecting.of;
    await next(nobody, 'destroy');
    nobody.emit('message', 1);
    assert.equal((await next(nobody, 'error'))[0].code, 'ERR_STREAM_DESTROYED');
  });

  test('may be called __proto__, and must be called something', async (t) => {
    const connecting = instance(t, IPC, { maxRetries: 0, socketRoot: scratch(t) });
    connecting.connectTo('__proto__');
    assert.deepEqual(Object.keys(connecting.of), ['__proto__']);
    assert.equal(Object.getPrototypeOf(connecting.of), Object.prototype);
    const [client] = Object.values(connecting.of);
    await next(client, 'destroy');
    connecting.connectTo('');
    connecting.connectToNet(undefined);
    assert.deepEqual(Object.keys(connecting.of), ['__proto__']);
    connecting.disconnect('toString');
  });

  for (const name of ['interface', 'interfaces']) {
    test(`connects from where config.${name} says`, async (t) => {
      const { server } = await pair(t, TCP, OURS);
      let looked = '';
      const lookup = (/** @type {string} */ host, /** @type {any} */ { all }, /** @type {any} */ done) => {
        looked = host;
        if (all) done(null, [{ address: '127.0.0.1', family: 4 }]);
        else done(null, '127.0.0.1', 4);
      };
      const connecting = instance(t, IPC, {
        [name]: { localAddress: '127.0.0.2', lookup, localPort: false },
      });
      const arrived = next(server, 'connect');
      connecting.connectToNet('world', 'world.invalid', server.port);
      const [socket] = await arrived;
      assert.equal(socket.remoteAddress, '127.0.0.2');
      assert.equal(looked, 'world.invalid');
    });
  }

  test('does not trust a certificate that nobody has told it to', async (t) => {
    const { where } = await pair(t, TRANSPORTS.TLS, OURS);
    const connecting = instance(t, IPC, { tls: true, maxRetries: 1 });
    connecting.connectToNet('world', '127.0.0.1', where.port);
    let connects = 0;
    connecting.of.world.on('connect', () => connects++);
    const [error] = await next(connecting.of.world, 'error');
    assert.equal(error.code, 'DEPTH_ZERO_SELF_SIGNED_CERT');
    await next(connecting.of.world, 'destroy');
    assert.equal(connects, 0);
  });

  test('whose certificate cannot be read has an error, and leaves config.tls as it was', async (t) => {
    const tls = { ...CLIENT_TLS, trustedConnections: '/nowhere/cert.pem' };
    const connecting = instance(t, IPC, { tls, maxRetries: 0 });
    connecting.connectToNet('world', 1);
    const destroyed = next(connecting.of.world, 'destroy');
    assert.equal((await next(connecting.of.world, 'error'))[0].code, 'ENOENT');
    await destroyed;
    assert.deepEqual(tls, { ...CLIENT_TLS, trustedConnections: '/nowhere/cert.pem' });
  });
});

test('a server lets nobody in whose certificate it does not trust', LIMIT, async (t) => {
  const trusting = { ...SERVER_TLS, ...CLIENT_TLS };
  const serving = instance(t, IPC, { tls: { ...trusting, requestCert: true, rejectUnauthorized: true } });
  serving.serveNet(0);
  const server = await started(serving);
  const [refused, trusted] = [instance(t, IPC, { tls: CLIENT_TLS }), instance(t, IPC, { tls: trusting })];
  refused.connectToNet('world', server.port);
  await next(refused.of.world, 'disconnect');
  refused.disconnect('world');
  const arrived = next(server, 'connect');
  trusted.connectToNet('world', server.port);
  assert.equal((await arrived)[0].authorized, true);
  assert.equal(server.sockets.length, 1);
});

describe('config.sync', LIMIT, () => {
  test('a request waits for the answer to the one before it', async (t) => {
    const { socket, client } = await plainServer(t, { sync: true });
    for (const data of [1, 2, 3]) client.emit('message', data);
    socket.setEncoding('utf8');
    for (const data of [1, 2, 3]) {
      const [text] = await once(socket, 'data');
      assert.equal(text, `{"type":"message","data":${data}}\f`);
      socket.write('{"type":"answer"}\f');
    }
  });

  test('half of an answer is none', async (t) => {
    const { socket, client } = await plainServer(t, { sync: true });
    socket.setEncoding('utf8');
    client.emit('message', 1);
    await once(socket, 'data');
    client.emit('message', 2);
    const half = once(client.socket, 'data');
    socket.write('{"type":');
    await half;
    assert.equal(client.queue.contents.length, 1);
    socket.write('"answer"}\f');
    assert.equal((await once(socket, 'data'))[0], '{"type":"message","data":2}\f');
  });

  test('an answer that a lost connection owes holds nothing up', async (t) => {
    const { server, socket, client } = await plainServer(t, { sync: true });
    client.emit('message', 1);
    client.emit('message', 2);
    await once(socket, 'data');
    const again = once(server, 'connection');
    socket.destroy();
    const [connection] = await again;
    connection.setEncoding('utf8');
    assert.equal((await once(connection, 'data'))[0], '{"type":"message","data":2}\f');
  });

  test('requests from between two connections are sent on the second', async (t) => {
    const { server, socket, client } = await plainServer(t, { sync: true });
    const again = once(server, 'connection');
    const lost = next(client, 'disconnect');
    socket.destroy();
    await lost;
    client.emit('message', 1);
    const [connection] = await again;
    connection.setEncoding('utf8');
    assert.equal((await once(connection, 'data'))[0], '{"type":"message","data":1}\f');
  });

  test('requests from before the first connection are sent when it is there', async (t) => {
    const path = `${scratch(t)}socket`;
    const connecting = instance(t, IPC, { sync: true });
    connecting.connectTo('world', path);
    connecting.of.world.emit('message', 1);
    await next(connecting.of.world, 'disconnect');
    const serving = instance(t, IPC);
    serving.serve(path);
    const request = next(serving.server, 'message');
    serving.server.start();
    assert.equal((await request)[0], 1);
  });
});

describe('UDP', LIMIT, () => {
  for (const [type, address] of Object.entries({ udp4: '127.0.0.1', UDP6: '::1' })) {
    test(`a message is answered over ${type}`, async (t) => {
      const serving = instance(t, IPC);
      /** @type {any} */
      let bound;
      serving.serveNet(0, type, (/** @type {any} */ where) => {
        bound = where;
      });
      const server = await started(serving);
      assert.deepEqual(bound, { address, port: server.server.address().port });
      assert.equal(server.port, bound.port);
      assert.deepEqual([server.udp4, server.udp6], [type === 'udp4', type !== 'udp4']);
      server.on('message', (/** @type {any} */ data, /** @type {any} */ from) =>
        server.emit(from, 'message', `${data.text} ${from.id} world!`),
      );
      const asking = instance(t, IPC);
      asking.serveNet(address, 0, type.toLowerCase());
      const client = await started(asking);
      const answer = next(client, 'message');
      client.emit({ address, port: server.port }, 'message', { id: 'me', text: 'hello' });
      assert.equal((await answer)[0], 'hello me world!');
    });
  }

  /**
   * @param {import('node:test').TestContext} t
   * @param {object} [config]
   */
  async function bound(t, config) {
    const serving = instance(t, IPC, config);
    serving.serveNet(0, 'udp4');
    return started(serving);
  }

  test('raw buffers are the same bytes', async (t) => {
    const server = await bound(t, { rawBuffer: true });
    const bytes = Buffer.from([0, 255, 12]);
    const data = next(server, 'data');
    server.emit({ address: '127.0.0.1', port: server.port }, bytes);
    const [received, from] = await data;
    assert.deepEqual(received, bytes);
    assert.equal(from.port, server.port);
  });

  test('a broadcast goes to whom the program has put into `sockets`, and so does what is for nobody', async (t) => {
    const server = await bound(t);
    const peers = [await bound(t), await bound(t)];
    if (server.sockets.length === 0) await next(server, 'connect');
    for (const { port } of peers) server.sockets.push({ address: '127.0.0.1', port });
    for (const send of [() => server.broadcast('news', 1), () => server.emit({}, 'news', 1)]) {
      const both = peers.map((peer) => next(peer, 'news'));
      send();
      for (const [data] of await Promise.all(both)) assert.equal(data, 1);
    }
  });

  test('what is no message, or half of one, is an error; so is a datagram that is too large', async (t) => {
    const server = await bound(t);
    const self = { address: '127.0.0.1', port: server.port };
    for (const text of ['no message\f', '{"type":"message"}']) {
      const failed = next(server, 'error');
      server.server.send(text, server.port);
      assert.equal((await failed)[0].code, 'ERR_CORRAL_BAD_MESSAGE');
    }
    const failed = next(server, 'error');
    server.emit(self, 'message', 'x'.repeat(70_000));
    assert.equal((await failed)[0].code, 'EMSGSIZE');
  });

  test('stops, and starts again', async (t) => {
    const server = await bound(t);
    if (server.sockets.length === 0) await next(server, 'connect');
    const left = next(server, 'socket.disconnected');
    server.stop();
    server.stop();
    await left;
    assert.deepEqual(server.sockets, []);
    const start = next(server, 'start');
    server.start();
    await start;
  });
});

describe('a server', LIMIT, () => {
  /** @param {string} path */
  const modeOf = (path) => fs.statSync(path).mode & 0o777;

  /**
   * The file that a server leaves behind that does not close.
   *
   * @param {string} path
   */
  async function leaveBehind(path) {
    const other = net.createServer().listen(`${path}.other`);
    await once(other, 'listening');
    fs.linkSync(`${path}.other`, path);
    await new Promise((resolve) => other.close(resolve));
    assert.ok(fs.lstatSync(path).isSocket());
  }

  /**
   * @param {any} serving
   * @returns {Promise<Failure>}
   */
  async function failsToStart(serving) {
    const failed = next(serving.server, 'error');
    serving.server.start();
    return (await failed)[0];
  }

  test('listens on socketRoot, appspace and id, and so are clients of that id connected', async (t) => {
    const config = { socketRoot: scratch(t), appspace: 'space.', id: 'world' };
    const serving = instance(t, IPC, config);
    let starts = 0;
    serving.serve(() => starts++);
    const server = await started(serving);
    assert.equal(starts, 1);
    assert.equal(server.path, `${config.socketRoot}space.world`);
    const connecting = instance(t, IPC, { ...config, id: 'hello' });
    connecting.connectTo('world');
    await next(connecting.of.world, 'connect');
  });

  test('replaces a socket on which nobody listens', async (t) => {
    const serving = instance(t, IPC);
    serving.serve(`${scratch(t)}socket`);
    await leaveBehind(serving.server.path);
    await started(serving);
  });

  test('does not with `unlink: false`', async (t) => {
    const serving = instance(t, IPC, { unlink: false });
    serving.serve(`${scratch(t)}socket`);
    await leaveBehind(serving.server.path);
    assert.equal((await failsToStart(serving)).code, 'EADDRINUSE');
    assert.ok(fs.lstatSync(serving.server.path).isSocket());
  });

  test('never takes the place of one that lives', async (t) => {
    const { server, connecting } = await pair(t, UNIX, OURS);
    const serving = instance(t, IPC);
    serving.serve(server.path);
    assert.equal((await failsToStart(serving)).code, 'EADDRINUSE');
    connecting.connectTo('again', server.path);
    await next(connecting.of.again, 'connect');
  });

  test('removes nothing but sockets', async (t) => {
    const directory = scratch(t);
    await leaveBehind(`${directory}stale`);
    fs.writeFileSync(`${directory}file`, 'precious');
    fs.symlinkSync(`${directory}stale`, `${directory}link`);
    for (const name of ['file', 'link']) {
      const serving = instance(t, IPC);
      serving.serve(`${directory}${name}`);
      assert.equal((await failsToStart(serving)).code, 'EADDRINUSE');
    }
    assert.equal(fs.readFileSync(`${directory}file`, 'utf8'), 'precious');
    assert.ok(fs.lstatSync(`${directory}link`).isSymbolicLink());
  });

  test('can be started again after it could not', async (t) => {
    const serving = instance(t, IPC, { unlink: false });
    serving.serve(`${scratch(t)}socket`);
    await leaveBehind(serving.server.path);
    await failsToStart(serving);
    fs.unlinkSync(serving.server.path);
    await started(serving);
  });

  test('a TCP server removes no file with the name of its host', async (t) => {
    const directory = scratch(t);
    const former = process.cwd();
    process.chdir(directory);
    t.after(() => process.chdir(former));
    fs.writeFileSync('127.0.0.1', '');
    const serving = instance(t, IPC);
    serving.serveNet(0);
    await started(serving);
    assert.ok(fs.existsSync('127.0.0.1'));
  });

  for (const [config, mode] of /** @type {[object, number][]} */ ([
    [{}, 0o775],
    [{ readableAll: true }, 0o775],
    [{ writableAll: true }, 0o777],
    [{ readableAll: true, writableAll: true }, 0o777],
  ])) {
    test(`has a socket of mode ${mode.toString(8)} with ${JSON.stringify(config)}, and no umask`, async (t) => {
      const former = process.umask(0);
      try {
        const serving = instance(t, IPC, config);
        serving.serve(`${scratch(t)}socket`);
        await started(serving);
        assert.equal(modeOf(serving.server.path), mode);
      } finally {
        process.umask(former);
      }
    });
  }

  test('has a socket that the umask keeps from others, unless it is for all', async (t) => {
    const former = process.umask(0o077);
    try {
      for (const [config, mode] of /** @type {[object, number][]} */ ([
        [{}, 0o700],
        [{ readableAll: true }, 0o744],
        [{ writableAll: true }, 0o722],
      ])) {
        const serving = instance(t, IPC, config);
        serving.serve(`${scratch(t)}socket`);
        await started(serving);
        assert.equal(modeOf(serving.server.path), mode);
      }
    } finally {
      process.umask(former);
    }
  });

  test('has an error of a connection that was reset, with its socket', async (t) => {
    const { server, client, socket } = await pair(t, TCP, OURS);
    const failed = next(server, 'error');
    client.socket.resetAndDestroy();
    const [error, from] = await failed;
    assert.equal(error.code, 'ECONNRESET');
    assert.equal(from, socket);
  });

  test('takes no more than config.maxConnections', async (t) => {
    const { server } = await pair(t, UNIX, { ...OURS, config: { maxConnections: 1 } });
    const second = net.connect(server.path);
    await once(second, 'close');
    assert.equal(server.sockets.length, 1);
  });

  test('stops: nobody new is let in, and who is there stays', async (t) => {
    const { server, client, socket, where } = await pair(t, UNIX, OURS);
    server.stop();
    server.stop();
    assert.equal(fs.existsSync(where.path), false);
    const answer = next(client, 'message');
    server.emit(socket, 'message', 1);
    assert.deepEqual(await answer, [1]);
  });

  test('that is stopped before it listens does not', async (t) => {
    const serving = instance(t, IPC);
    // A name: its address has to be looked up first.
    serving.serveNet('localhost', 0);
    serving.server.on('start', () => assert.fail('it has started'));
    serving.server.stop();
    serving.server.start();
    serving.server.stop();
    await once(serving.server.server, 'close');
    serving.serve(`${scratch(t)}socket`);
    serving.server.start();
    serving.server.stop();
    await once(serving.server.server, 'close');
  });

  test('that is stopped at once has left its path, and can be started at once', async (t) => {
    const serving = instance(t, IPC, { unlink: false });
    serving.serve(`${scratch(t)}socket`);
    serving.server.start();
    serving.server.stop();
    await started(serving);
  });

  test('that is started twice is started once', async (t) => {
    const serving = instance(t, IPC);
    serving.serveNet(0);
    const server = await started(serving);
    const { server: nodes } = server;
    server.start();
    assert.equal(server.server, nodes);
  });

  test('on port 0 has any, and says which', async (t) => {
    const serving = instance(t, IPC);
    serving.serveNet('127.0.0.1', 0);
    const server = await started(serving);
    assert.ok(server.port > 0);
    assert.equal(server.port, server.server.address().port);
  });

  for (const [what, config, args] of /** @type {[string, object, any[]][]} */ ([
    ['no port', {}, [70_000]],
    ['TLS and no key', { tls: {} }, [0]],
    ['TLS and a key that is not there', { tls: { private: '/nowhere' } }, [0]],
    ['UDP at an address that is not here', {}, ['192.0.2.1', 0, 'udp4']],
  ])) {
    test(`has an error with ${what}, and no exception`, async (t) => {
      const serving = instance(t, IPC, config);
      serving.serveNet(...args);
      const error = await failsToStart(serving);
      assert.match(String(error.code), /^(ERR_SOCKET_BAD_PORT|ERR_MISSING_ARGS|ENOENT|EADDRNOTAVAIL)$/);
    });
  }
});

describe('an instance', LIMIT, () => {
  test('is what the module is, and makes others', () => {
    assert.ok(ipc instanceof IPC);
    const other = new IPC();
    assert.notEqual(other.config, ipc.config);
    assert.deepEqual([other.of, other.server], [{}, false]);
    assert.equal(ipc.config.socketRoot + ipc.config.appspace, '/tmp/app.');
    assert.equal(ipc.config.delimiter, '\f');
  });

  test('has a delimiter of its own', async (t) => {
    const one = await pair(t, UNIX, { ...OURS, config: { delimiter: '\n' } });
    const other = await pair(t, UNIX, OURS);
    for (const { server, client } of [one, other]) {
      const request = next(server, 'message');
      client.emit('message', 'text');
      assert.equal((await request)[0], 'text');
    }
  });

  test('log makes one text of what it is given, unless config.silent', (t) => {
    /** @type {string[]} */
    const texts = [];
    const logging = instance(t, IPC, { silent: false, logInColor: false, logDepth: 0 });
    logging.config.logger = (/** @type {string} */ text) => texts.push(text);
    logging.log('a', undefined, 1, { b: { c: 1 } }, null);
    assert.deepEqual(texts, ['a  1 { b: [Object] } null']);
    logging.config.silent = true;
    logging.log('b');
    assert.equal(texts.length, 1);
  });

  test('arguments of serveNet and connectToNet may be left out', () => {
    const { netArguments } = require('../lib/node-ipc/addresses');
    const config = { ...new IPC().config, networkPort: '8000' };
    const callback = () => {};
    const parsed = (/** @type {any[]} */ ...args) => {
      const { host, port, udp, callback: given } = netArguments(config, args);
      return [host, port, udp, given === callback];
    };
    assert.deepEqual(parsed(), ['127.0.0.1', 8000, undefined, false]);
    assert.deepEqual(parsed(callback), ['127.0.0.1', 8000, undefined, true]);
    assert.deepEqual(parsed('UDP4', callback), ['127.0.0.1', 8000, 'udp4', true]);
    assert.deepEqual(parsed('udp6'), ['::1', 8000, 'udp6', false]);
    assert.deepEqual(parsed(3435, 'udp4'), ['127.0.0.1', 3435, 'udp4', false]);
    assert.deepEqual(parsed('host', callback), ['host', 8000, undefined, true]);
    assert.deepEqual(parsed('::1', 3435, 'udp4', callback), ['127.0.0.1', 3435, 'udp4', true]);
    assert.deepEqual(parsed(undefined, '3435', false, callback), ['127.0.0.1', 3435, undefined, true]);
  });

  test('a path is a pipe on Windows', () => {
    const { systemPath } = require('../lib/node-ipc/addresses');
    assert.equal(systemPath('/tmp/app.world', 'win32'), '\\\\.\\pipe\\tmp-app.world');
    assert.equal(systemPath('\\\\.\\pipe\\it', 'win32'), '\\\\.\\pipe\\it');
    assert.equal(systemPath('/tmp/app.world', 'linux'), '/tmp/app.world');
  });
});
