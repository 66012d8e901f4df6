'use strict';

// The connections of corral/node-ipc: when they are tried, and what they send when.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { describe, test } = require('node:test');

const { IPC } = require('../../node-ipc');
const {
  CLIENT_TLS,
  LIMIT,
  OURS,
  TRANSPORTS,
  instance,
  next,
  pair,
  plainServer,
  scratch,
} = require('../helpers/node-ipc');

const UNIX = TRANSPORTS['a Unix socket'];
const { TCP } = TRANSPORTS;

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
