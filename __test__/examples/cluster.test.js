'use strict';

// Runs each example of cluster as a reader of its header comment would, and checks what that comment promises.

const assert = require('node:assert');
const { once } = require('node:events');
const http = require('node:http');
const net = require('node:net');
const { test } = require('node:test');
const timers = require('node:timers/promises');
const { Example, POLL_INTERVAL } = require('../helpers/example.js');

/**
 * One request on a connection of its own.
 * @param {number | string} port
 * @param {string} [url]
 * @returns {Promise<string>}
 */
async function get(port, url = '/') {
  const request = http.get({ port: Number(port), host: 'localhost', path: url, agent: false });
  const [response] = await once(request, 'response');
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk;
  return body;
}

/**
 * Has one request answered and leaves a second one half sent: the worker cannot be done with this connection.
 * @param {number | string} port
 */
async function connectHalfway(port) {
  const socket = net.connect(Number(port), 'localhost').setEncoding('utf8');
  const request = 'GET / HTTP/1.1\r\nHost: localhost\r\n';
  // In one write: whoever answers the first has read the half of the second.
  socket.write(`${request}\r\n${request}`);
  await once(socket, 'data');
  return {
    socket,
    /** Sends the rest and reads to the end. */
    async finish() {
      socket.write('\r\n');
      let text = '';
      for await (const chunk of socket) text += chunk;
      return text;
    },
  };
}

/** A client that asks again as soon as it has its answer, on the same connection if it may, until nobody listens. */
class KeptClient {
  #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  #port;
  /** How many answers were cut off. */
  torn = 0;
  /** It has its first answer. @type {Promise<void>} */
  answered;
  /** It has found nobody. @type {Promise<KeptClient>} */
  ended;

  /** @param {number} port */
  constructor(port) {
    this.#port = port;
    let answered = () => {};
    this.answered = new Promise((resolve) => {
      answered = () => resolve(undefined);
    });
    this.ended = this.#run(answered);
  }

  /** @param {() => void} answered */
  async #run(answered) {
    for (let code; code !== 'ECONNREFUSED'; ) {
      code = await this.#ask();
      if (code === undefined) answered();
    }
    this.#agent.destroy();
    return this;
  }

  /** @returns {Promise<string | undefined>} the code of its error */
  #ask() {
    return new Promise((resolve) => {
      const request = http.get(
        { port: this.#port, host: 'localhost', agent: this.#agent },
        async (response) => {
          try {
            for await (const _ of response);
            resolve(undefined);
          } catch {
            this.torn++;
            resolve('torn');
          }
        },
      );
      request.on('error', (/** @type {NodeJS.ErrnoException} */ { code }) => resolve(code));
    });
  }
}

test('start: serves, replaces what is killed, and stops at Ctrl-C with code 0', async (t) => {
  const example = new Example(t, 'start.js', { WORKERS: '2' });
  await example.line(/^primary \d+, 2 workers/);
  const [, port] = await example.line(/^http:\/\/localhost:(\d+)\/ \(Ctrl-C stops\)$/);
  const started = await example.lines(/^worker (\d+) \(pid (\d+)\) started$/, 2);

  const bodies = await Promise.all([get(port), get(port), get(port), get(port)]);
  for (const body of bodies)
    assert.match(body, /^Hello from worker [12] \(pid \d+\), request \d+ of this worker\.$/m);
  await example.line(/^\d+ requests\/s$/);

  const [, id, pid] = started[0];
  process.kill(Number(pid), 'SIGKILL');
  await example.line(new RegExp(`^worker ${id} \\(pid ${pid}\\) died \\(SIGKILL\\), replacing it`));
  await example.line(/^worker 3 \(pid \d+\) started$/);

  process.kill(Number(started[1][2]), 'SIGTERM');
  await example.line(/^worker \d+ \(pid \d+\) died \(code 0\), replacing it/);
  await example.line(/^worker 4 \(pid \d+\) started$/);
  assert.match(await get(port), /^Hello from worker [34] /);

  example.pressCtrlC();
  await example.line(/^stopping: /);
  await example.line(/^stopped$/);
  assert.deepStrictEqual(await example.exit, { code: 0, signal: null });
  assert.deepStrictEqual(example.processes(), []);
});

test('start: a request that Ctrl-C finds under way is answered', async (t) => {
  const example = new Example(t, 'start.js', { WORKERS: '1' });
  const [, port] = await example.line(/^http:\/\/localhost:(\d+)\//);
  const connection = await connectHalfway(port);
  example.pressCtrlC();
  await example.line(/^stopping: /);
  assert.match(await connection.finish(), /request 2 of this worker/);
  assert.deepStrictEqual(await example.exit, { code: 0, signal: null });
  assert.deepStrictEqual(example.processes(), []);
});

for (const command of ['start.js', 'request-counter.js', 'events.js']) {
  test(`${command}: stops under clients that go on for ever on their connections`, async (t) => {
    // Each request takes 20 ms, in which the next one of the same client cannot come.
    const slow = require.resolve('../fixtures/slow-requests.js');
    const example = new Example(t, command, { WORKERS: '2', NODE_OPTIONS: `--require ${slow}` });
    const [port] = (await example.lines(/(?:localhost:|listening .*"port":)(\d+)/, 1)).map(
      ([, port]) => port,
    );
    const clients = Array.from({ length: 4 }, () => new KeptClient(Number(port)));
    await Promise.all(clients.map((client) => client.answered));
    example.pressCtrlC();
    assert.deepStrictEqual(await example.exit, { code: 0, signal: null });
    for (const client of clients) assert.strictEqual((await client.ended).torn, 0);
    assert.deepStrictEqual(example.processes(), []);
  });
}

test('start: a second Ctrl-C stops at once with code 1', async (t) => {
  const example = new Example(t, 'start.js', { WORKERS: '1' });
  const [, port] = await example.line(/^http:\/\/localhost:(\d+)\//);
  const { socket } = await connectHalfway(port);
  socket.on('error', () => {}).resume();
  const closed = once(socket, 'close');
  example.pressCtrlC();
  await example.line(/^stopping: /);
  // Again and again, as a person would: one that comes right behind the first is taken for the same.
  const pressing = setInterval(() => example.pressCtrlC(), POLL_INTERVAL);
  t.after(() => clearInterval(pressing));
  await example.line(/^stopping at once$/);
  clearInterval(pressing);
  assert.deepStrictEqual(await example.exit, { code: 1, signal: null });
  await closed;
  await example.gone();
});

test('start: SIGTERM stops it with code 0', async (t) => {
  const example = new Example(t, 'start.js', { WORKERS: '2' });
  await example.lines(/^worker \d+ \(pid \d+\) started$/, 2);
  process.kill(example.pid, 'SIGTERM');
  await example.line(/^stopped$/);
  assert.deepStrictEqual(await example.exit, { code: 0, signal: null });
  assert.deepStrictEqual(example.processes(), []);
});

test('start: a worker that dies at once is replaced more and more slowly', async (t) => {
  const example = new Example(t, 'start.js', { WORKERS: '1' });
  for (const delay of ['0.2', '0.4', '0.8']) {
    const [, pid] = await example.line(/^worker \d+ \(pid (\d+)\) started$/);
    process.kill(Number(pid), 'SIGKILL');
    await example.line(new RegExp(`died \\(SIGKILL\\), replacing it in ${delay} s$`));
  }
  // Nothing lives but the primary, which waits for the next try: there is nobody to wait for.
  example.pressCtrlC();
  await example.line(/^stopped$/);
  assert.deepStrictEqual(await example.exit, { code: 0, signal: null });
});

test('start: a port that is taken is an error that says so', async (t) => {
  const other = net.createServer().listen(0);
  await once(other, 'listening');
  t.after(() => other.close());
  const { port } = /** @type {net.AddressInfo} */ (other.address());
  const example = new Example(t, 'start.js', { PORT: String(port) });
  await example.lines(new RegExp(`^port ${port} is taken by another program; .*PORT=${port + 1}`), 1);
  assert.deepStrictEqual(await example.exit, { code: 1, signal: null });
});

test('request-counter: counts what its workers serve', async (t) => {
  const example = new Example(t, 'request-counter.js');
  const [, port] = await example.line(/^http:\/\/localhost:(\d+)\/$/);
  await example.line(/^requests: 0$/);
  await Promise.all([get(port), get(port), get(port)]);
  await example.line(/^requests: 3$/);
  await get(port);
  await example.line(/^requests: 4$/);
  example.pressCtrlC();
  assert.deepStrictEqual(await example.exit, { code: 0, signal: null });
  assert.deepStrictEqual(example.processes(), []);
});

test('events: prints each event, with messages both ways, and replaces what dies', async (t) => {
  const example = new Example(t, 'events.js');
  await example.lines(/^cluster {6}fork {8}worker [12] /, 2);
  await example.lines(/^in worker [12] {2}message {5}\{"hello":"from the primary"\}$/, 2);
  await example.lines(/^worker [12] {5}message {5}\{"hello":"from worker [12]"\}$/, 2);
  const listening = await example.lines(/^cluster {6}listening {3}worker [12] .*"port":(\d+)/, 2);
  const port = listening[0][1];
  assert.strictEqual(listening[1][1], port, 'both workers have the same port');

  const [, answering] = /** @type {RegExpExecArray} */ (/^worker (\d)$/m.exec(await get(port, '/hello')));
  await example.lines(new RegExp(`^worker ${answering} .*\\{"served":"/hello","by":${answering}\\}$`), 1);

  const [[, pid]] = await example.lines(/^cluster {6}online {6}worker 1 \(pid (\d+)\)$/, 1);
  process.kill(Number(pid), 'SIGKILL');
  await example.line(/^worker 1 {5}disconnect$/);
  await example.line(/^worker 1 {5}exit {8}null "SIGKILL"$/);
  await example.line(/^cluster {6}exit {8}worker 1 \(pid \d+\) null "SIGKILL"$/);
  await example.line(/^cluster {6}fork {8}worker 3 /);
  await example.line(/^cluster {6}listening {3}worker 3 /);

  example.pressCtrlC();
  for (const id of [2, 3]) {
    await example.lines(new RegExp(`^in worker ${id} {2}leaving {5}"disconnect"$`), 1);
    await example.lines(new RegExp(`^in worker ${id} {2}disconnect$`), 1);
    await example.lines(new RegExp(`^cluster {6}disconnect {2}worker ${id} `), 1);
    await example.lines(new RegExp(`^cluster {6}exit {8}worker ${id} \\(pid \\d+\\) 0 null$`), 1);
  }
  await example.lines(/^cluster {6}all workers are disconnected$/, 1);
  assert.deepStrictEqual(await example.exit, { code: 0, signal: null });
  assert.deepStrictEqual(example.processes(), []);
});

test('send-server: three processes serve the connections of one server', async (t) => {
  const example = new Example(t, 'send-server.js');
  const [, port] = await example.line(/^http:\/\/localhost:(\d+)\/$/);
  const ready = await example.lines(/^((?:worker \d|the plain child) \(pid \d+\)) has the server$/, 3);
  const names = ready.map(([, name]) => name);
  assert.strictEqual(new Set(names).size, 3);
  for (let i = 0; i < 10; i++) {
    const body = await get(port);
    assert.ok(names.includes(body.trim()), `${body} is none of ${names}`);
  }
  example.pressCtrlC();
  assert.deepStrictEqual(await example.exit, { code: 0, signal: null });
  assert.deepStrictEqual(example.processes(), []);
});

test('opentelemetry: the metrics of all workers are in one place, together', async (t) => {
  const example = new Example(t, 'opentelemetry.js', { INTERVAL: '100' });
  const [, port] = await example.line(/^http:\/\/localhost:(\d+)\/$/);
  const [, metrics] = await example.line(/^http:\/\/127\.0\.0\.1:(\d+)\/metrics$/);
  for (let i = 0; i < 4; i++) assert.match(await get(port), /^worker \d+/);
  const isComplete = (/** @type {string} */ text) => /^requests_total\{.*method="GET".*\} 4$/m.test(text);
  while (!isComplete(await get(metrics, '/metrics'))) await timers.setTimeout(POLL_INTERVAL);
  example.pressCtrlC();
  await example.gone();
});
