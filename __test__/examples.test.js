'use strict';

// Runs each example as a reader of its header comment would, and checks what that comment promises.

const assert = require('node:assert');
const { execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { test } = require('node:test');
const timers = require('node:timers/promises');

const EXAMPLES = path.join(__dirname, '../examples');
/** Nothing takes nearly so long; a test that waits for it in vain says what the example had printed. */
const TIMEOUT = 30_000;
const POLL_INTERVAL = 10;

/** One run of an example, in a process group of its own, as a shell would start it. */
class Example {
  /** @type {string[]} */
  #lines = [];
  /** How many lines the waits have gone through: each wait looks at what came after the last one's line. */
  #position = 0;
  /** @type {Set<() => void>} */
  #watchers = new Set();
  #child;
  /** @type {Promise<{ code: number | null, signal: string | null }>} once its output has ended, too */
  exit;

  /**
   * @param {import('node:test').TestContext} t
   * @param {string} name
   * @param {Record<string, string>} [env]
   */
  constructor(t, name, env = {}) {
    this.#child = spawn(process.execPath, [path.join(EXAMPLES, name)], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PORT: '0', ...env },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      readline.createInterface({ input: stream }).on('line', (line) => {
        this.#lines.push(line);
        for (const watcher of this.#watchers) watcher();
      });
    }
    this.exit = once(this.#child, 'close').then(([code, signal]) => ({ code, signal }));
    t.after(() => {
      for (const pid of this.processes()) process.kill(pid, 'SIGKILL');
    });
  }

  /** @returns {number} */
  get pid() {
    return /** @type {number} */ (this.#child.pid);
  }

  /**
   * Waits for a line, beginning after the one that the last wait found.
   * @param {RegExp} pattern
   */
  async line(pattern) {
    const index = await this.#waitFor(pattern, () => {
      const found = this.#lines.findIndex((line, i) => i >= this.#position && pattern.test(line));
      return found === -1 ? undefined : found;
    });
    this.#position = index + 1;
    return /** @type {RegExpExecArray} */ (pattern.exec(this.#lines[index]));
  }

  /**
   * Waits until a pattern has been in so many lines, wherever they stand, and gives those.
   * @param {RegExp} pattern
   * @param {number} count
   */
  lines(pattern, count) {
    return this.#waitFor(pattern, () => {
      const matches = this.#lines.map((line) => pattern.exec(line)).filter((match) => match !== null);
      return matches.length >= count ? matches : undefined;
    });
  }

  /**
   * @template T
   * @param {RegExp} pattern
   * @param {() => T | undefined} look
   * @returns {Promise<T>}
   */
  #waitFor(pattern, look) {
    return new Promise((resolve, reject) => {
      const settle = (/** @type {() => void} */ how) => {
        clearTimeout(timer);
        this.#watchers.delete(watcher);
        how();
      };
      const watcher = () => {
        const result = look();
        if (result !== undefined) settle(() => resolve(result));
      };
      const fail = (/** @type {string} */ why) => () =>
        settle(() => reject(new Error(`${why}, no ${pattern} in:\n${this.#lines.join('\n')}`)));
      const timer = setTimeout(fail('time is up'), TIMEOUT);
      this.#watchers.add(watcher);
      this.exit.then(fail('the example ended'));
      watcher();
    });
  }

  /** What Ctrl-C in a terminal is: SIGINT for the whole process group. */
  pressCtrlC() {
    process.kill(-this.pid, 'SIGINT');
  }

  /** The living processes of the group. */
  processes() {
    return processGroup(this.pid);
  }

  /** Waits until all of them have ended: those that were killed take a moment, and nobody tells us about it. */
  async gone() {
    const end = performance.now() + TIMEOUT;
    while (this.processes().length > 0 && performance.now() < end) await timers.setTimeout(POLL_INTERVAL);
    assert.deepStrictEqual(this.processes(), []);
  }
}

/**
 * @param {number} group
 * @returns {number[]} pids, without those that are only waiting to be reaped
 */
function processGroup(group) {
  if (process.platform !== 'linux') {
    return execFileSync('ps', ['-A', '-o', 'pid=,pgid=,stat='], { encoding: 'utf8' })
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, pgid, state]) => Number(pgid) === group && !state.startsWith('Z'))
      .map(([pid]) => Number(pid));
  }
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && inGroup(name, group))
    .map(Number);
}

/**
 * @param {string} pid
 * @param {number} group
 */
function inGroup(pid, group) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, , pgid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state !== 'Z' && Number(pgid) === group;
  } catch {
    // It ended between the listing and the look.
    return false;
  }
}

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

for (const transport of ['a Unix socket', 'TCP']) {
  test(`node-ipc: hello gets its world over ${transport}`, async (t) => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-'));
    t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
    const overTcp = transport === 'TCP';
    /** @type {Record<string, string>} */
    const env = { SOCKET_ROOT: `${directory}/`, PORT: overTcp ? '0' : '' };
    const world = new Example(t, 'node-ipc/world.js', env);
    const [, port = ''] = await world.line(
      overTcp ? /^world listens on port (\d+) / : /^world listens on .*\/app\.world /,
    );
    const hello = new Example(t, 'node-ipc/hello.js', { ...env, PORT: port });
    await hello.line(/^world says: hello world!$/);
    assert.deepStrictEqual(await hello.exit, { code: 0, signal: null });
    await world.line(/^a client says: hello$/);
    await world.line(/^a client has left$/);
    world.pressCtrlC();
    assert.deepStrictEqual(await world.exit, { code: null, signal: 'SIGINT' });
    assert.deepStrictEqual([...hello.processes(), ...world.processes()], []);
  });
}
