'use strict';

// The servers of corral/node-ipc: where they listen, and whom they let in.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const { describe, test } = require('node:test');

const { IPC } = require('../../node-ipc');
const {
  CLIENT_TLS,
  LIMIT,
  OURS,
  SERVER_TLS,
  TRANSPORTS,
  instance,
  next,
  pair,
  scratch,
  started,
} = require('../helpers/node-ipc');

const UNIX = TRANSPORTS['a Unix socket'];
const { TCP } = TRANSPORTS;

/** What 'error' handlers get. @typedef {NodeJS.ErrnoException & { response?: string }} Failure */

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
