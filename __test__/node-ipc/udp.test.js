'use strict';

// corral/node-ipc over UDP.

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');

const { IPC } = require('../../node-ipc');
const { LIMIT, instance, next, started } = require('../helpers/node-ipc');

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

  test('a datagram beyond config.maxMessageSize is an error, and nothing to die of', async (t) => {
    const server = await bound(t, { maxMessageSize: 50 });
    const failed = next(server, 'error');
    server.emit({ address: '127.0.0.1', port: server.port }, 'message', 'x'.repeat(100));
    assert.equal((await failed)[0].code, 'ERR_CORRAL_MESSAGE_TOO_LARGE');
    const behind = next(server, 'a');
    server.emit({ address: '127.0.0.1', port: server.port }, 'a', 1);
    assert.equal((await behind)[0], 1);
  });

  test('datagrams that come faster than they are taken are lost, with one error for many', async () => {
    const { DatagramReceiver } = require('../../lib/node-ipc/receiving');
    const receiver = new DatagramReceiver(new IPC().config);
    const datagram = Buffer.from('{"type":"message"}\f'.repeat(3000));
    let [messages, errors, lost] = [0, 0, 0];
    await new Promise((resolve) => {
      const taker = {
        bytes: assert.fail,
        message: () => {
          messages++;
        },
        error: (/** @type {any} */ error) => {
          assert.equal(error.code, 'ERR_CORRAL_QUEUE_FULL');
          errors++;
          lost += error.count;
        },
      };
      for (let index = 0; index < 1000; index++) receiver.add(datagram, taker);
      assert.ok(messages <= 256, `${messages} at once`);
      const check = () => (messages === (1000 - lost) * 3000 ? resolve(undefined) : setImmediate(check));
      check();
    });
    assert.equal(errors, 1);
    // 1 MiB of them waited.
    assert.ok(lost > 900, `${lost} lost`);
  });

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
