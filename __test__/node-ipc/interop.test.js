'use strict';

// corral/node-ipc and node-ipc 9.2.1 talk to each other.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const readline = require('node:readline');
const { after, describe, test } = require('node:test');

const { IPC } = require('../../node-ipc');
const { LIMIT, TRANSPORTS, instance, next, pair, scratch, started } = require('../helpers/node-ipc');
const { install } = require('../helpers/real-node-ipc');

const real = install();
const OPTIONS = { ...LIMIT, skip: 'unreachable' in real && real.unreachable };

/** @type {any} */
let Real;
if ('directory' in real) {
  after(() => fs.rmSync(real.directory, { recursive: true }));
  Real = require(path.join(real.directory, 'node_modules/node-ipc')).IPC;
}

/**
 * A port for a server: node-ipc does not take 0, so for it one that was free.
 *
 * @param {any} Server
 */
async function portFor(Server) {
  if (Server !== Real) return 0;
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * A UDP socket.
 *
 * @param {import('node:test').TestContext} t
 * @param {new () => any} Implementation
 */
async function bound(t, Implementation) {
  const ipc = instance(t, Implementation);
  ipc.serveNet('127.0.0.1', await portFor(Implementation), 'udp4');
  const server = await started(ipc);
  // node-ipc has 'start' before the socket is bound.
  if (server.sockets.length === 0) await next(server, 'connect');
  return server;
}

/** @type {Record<string, () => { Server: any, Client: any }>} */
const DIRECTIONS = {
  'our server, its client': () => ({ Server: IPC, Client: Real }),
  'its server, our client': () => ({ Server: Real, Client: IPC }),
};

const TEXT = 'hello wörld 🌍\f\n';

describe('with node-ipc 9.2.1', () => {
  for (const [direction, who] of Object.entries(DIRECTIONS)) {
    for (const [name, transport] of Object.entries(TRANSPORTS)) {
      test(`messages over ${name}: ${direction}`, OPTIONS, async (t) => {
        const port = await portFor(who().Server);
        const { server, client } = await pair(t, transport, { ...who(), port });
        server.on('message', (/** @type {any} */ data, /** @type {any} */ socket) =>
          server.emit(socket, 'message', data),
        );
        for (const data of [TEXT, { id: 'me', text: TEXT }, [1, null], 0, false, 'x'.repeat(1_000_000)]) {
          const answer = next(client, 'message');
          client.emit('message', data);
          assert.deepEqual(await answer, [data]);
        }
        const nothing = next(client, 'message');
        client.emit('message');
        assert.deepEqual(await nothing, [{}]);

        const all = next(client, 'news');
        server.broadcast('news', TEXT);
        assert.deepEqual(await all, [TEXT]);

        const left = next(server, 'socket.disconnected');
        client.explicitlyDisconnected = true;
        client.socket.end();
        assert.equal((await left)[1], 'me');
      });

      test(`raw buffers over ${name}: ${direction}`, OPTIONS, async (t) => {
        const port = await portFor(who().Server);
        // node-ipc makes text of bytes in between: only with hex are they the same afterwards.
        const config = { rawBuffer: true, encoding: 'hex' };
        const { server, client } = await pair(t, transport, { ...who(), port, config });
        server.on('data', (/** @type {Buffer} */ bytes, /** @type {any} */ socket) =>
          server.emit(socket, bytes),
        );
        for (const bytes of [Buffer.from([0, 255, 0xc3, 12]), [5, 0x6d, 0x5c], 'c3a4']) {
          const answer = next(client, 'data');
          client.emit(bytes);
          const [received] = await answer;
          assert.ok(Buffer.isBuffer(received));
          assert.deepEqual(received, Buffer.from(/** @type {any} */ (bytes), 'hex'));
        }
      });
    }

    test(`UDP: ${direction}`, OPTIONS, async (t) => {
      const { Server, Client } = who();
      const [server, client] = [await bound(t, Server), await bound(t, Client)];
      server.on('message', (/** @type {any} */ data, /** @type {any} */ from) =>
        server.emit(from, 'message', `${data} world!`),
      );
      const answer = next(client, 'message');
      client.emit({ address: '127.0.0.1', port: server.port }, 'message', 'hello');
      assert.equal((await answer)[0], 'hello world!');
    });
  }
});

/**
 * The program under a heading of node-ipc's README, with nothing changed but the require, and where the server is.
 *
 * @param {RegExp} heading
 * @param {string} config
 */
function readmeProgram(heading, config) {
  const { directory } = /** @type {{ directory: string }} */ (real);
  const readme = fs
    .readFileSync(path.join(directory, 'node_modules/node-ipc/README.md'), 'utf8')
    .replaceAll('\r', '');
  const section = readme.split(/^#### /m).find((text) => heading.test(text)) ?? '';
  const program = /^```javascript\n(.*?)^```$/ms.exec(section)?.[1] ?? '';
  const require = `require(${JSON.stringify(path.join(__dirname, '../../node-ipc'))})`;
  assert.match(program, /require\('node-ipc'\);/);
  return program.replace("require('node-ipc');", `${require};${config}`);
}

/**
 * Runs a program until it has said something.
 *
 * @param {import('node:test').TestContext} t
 * @param {string} program
 * @param {RegExp} wanted
 */
async function says(t, program, wanted) {
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  });
  for await (const line of readline.createInterface({ input: child.stdout })) {
    if (wanted.test(line)) return;
  }
  assert.fail(`it has ended without saying ${wanted}`);
}

describe("the first pair of node-ipc's README", () => {
  const SERVER = /^Server for Unix Sockets, Windows Sockets & TCP Sockets/;
  const CLIENT = /^Client for Unix Sockets & TCP Sockets/;

  test('over a Unix socket', OPTIONS, async (t) => {
    const config = `ipc.config.socketRoot = ${JSON.stringify(scratch(t))};`;
    await says(t, readmeProgram(SERVER, config), /started the server/);
    await says(t, readmeProgram(CLIENT, config), /hello world!$/);
  });

  test('over TCP', OPTIONS, async (t) => {
    const config = `ipc.config.networkPort = ${await portFor(Real)};`;
    const server = readmeProgram(SERVER, config).replace('ipc.serve(', 'ipc.serveNet(');
    await says(t, server, /started the server/);
    const client = readmeProgram(CLIENT, config).replace('ipc.connectTo(', 'ipc.connectToNet(');
    await says(t, client, /hello world!$/);
  });
});
