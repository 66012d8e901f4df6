'use strict';

// What one cell of docs/compatibility.md does: a primary and a worker, of whatever runtimes. The primary prints one line of JSON.
//
//   <runtime> program.js <the worker's runtime, as JSON> <serialization> <does the worker load corral: 'corral' or 'plain'>

const http = require('node:http');
const net = require('node:net');

const WORKER = 'CORRAL_COMPATIBILITY_WORKER';
const role = process.env[WORKER];
const corral = '../..';

/** What a value of `advanced` says that JSON does not. */
function rich() {
  return {
    map: new Map([['key', 1n]]),
    date: new Date(0),
    bytes: new Uint8Array([1, 2, 3]),
    none: undefined,
  };
}

/** @param {any} value */
function isRich({ map, date, bytes }) {
  return map.get('key') === 1n && date.getTime() === 0 && bytes.length === 3;
}

/** What a worker does: answers, serves, takes a socket and sends one. */
function work() {
  const cluster = role === 'corral' ? require(corral) : require('node:cluster');
  if (role === 'corral') cluster.worker.respond((/** @type {any} */ message) => ({ answer: message }));
  process.on('message', (message, /** @type {any} */ handle) => {
    if (message === 'leave') return cluster.worker.disconnect();
    if (handle) return handle.end('a socket');
    process.send?.({ back: message });
    if (message === 'send') {
      const server = net.createServer();
      server.listen({ port: 0, host: '127.0.0.1', exclusive: true }, () => {
        process.send?.('a server', server, {}, () => server.close());
      });
    }
  });
  http.createServer((_request, response) => response.end('served')).listen(0, '127.0.0.1');
}

/** @param {number} port */
async function isServed(port) {
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
  return (await response.text()) === 'served';
}

/** Gives the worker a connection, and reads what it says there. @param {any} worker */
function passSocket(worker) {
  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => {
      worker.send('a socket', socket);
      server.close();
    });
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {net.AddressInfo} */ (server.address());
      let text = '';
      const client = net.connect(port, '127.0.0.1').setEncoding('utf8');
      client.on('data', (data) => {
        text += data;
      });
      client.on('end', () => resolve(text === 'a socket'));
      client.on('error', reject);
    });
  });
}

/** @returns {Promise<string>} 'works', or what is wrong */
async function primary() {
  const [runtime, serialization, load] = process.argv.slice(2);
  const { binary, args } = JSON.parse(runtime);
  const cluster = require(corral);
  cluster.setupPrimary({ serialization, execArgv: args });
  // A primary has its own runtime for its workers, by this name.
  process.execPath = binary;
  const worker = cluster.fork({ [WORKER]: load });
  const failed = new Promise((resolve) => {
    worker.on('error', (/** @type {any} */ { code, message }) => {
      // Behind it the path of the worker's program.
      resolve(`${code}: ${message.replace(/; the worker runs .*/, '')}`);
    });
  });
  const ended = new Promise((resolve) => {
    worker.on('exit', (/** @type {number} */ code, /** @type {string} */ signal) => {
      // An error of the channel may still be on its way.
      setImmediate(resolve, `the worker ends with ${signal ?? code}`);
    });
  });
  const next = (/** @type {string} */ event) =>
    new Promise((resolve) => worker.once(event, (/** @type {any[]} */ ...about) => resolve(about)));
  const listening = next('listening');

  async function run() {
    await next('online');
    const [{ port }] = await listening;
    if (!(await isServed(port))) return 'a server is not served';
    const value = serialization === 'advanced' ? rich() : { text: 'ä€', list: [1, null, true] };
    const reply = next('message');
    worker.send(value);
    const [{ back }] = await reply;
    const arrived =
      serialization === 'advanced' ? isRich(back) : JSON.stringify(back) === JSON.stringify(value);
    if (!arrived) return 'a message changes on its way';
    if (load === 'corral') {
      const { answer } = await worker.request('a question');
      if (answer !== 'a question') return 'a request is answered wrong';
    }
    if (!(await passSocket(worker))) return 'a socket does not arrive';
    const server = new Promise((resolve) => {
      worker.on('message', (/** @type {any} */ message, /** @type {any} */ handle) => {
        if (message === 'a server') resolve(handle);
      });
    });
    worker.send('send');
    const handle = await server;
    if (!(handle instanceof net.Server)) return 'a server does not arrive';
    handle.close();
    worker.send('leave');
    const end = await ended;
    return end === 'the worker ends with 0' ? 'works' : end;
  }

  return Promise.race([run(), failed, ended.then((end) => failedOr(end))]);

  /** @param {any} end what is said unless the channel has an error to tell */
  function failedOr(end) {
    return Promise.race([failed, new Promise((resolve) => setTimeout(resolve, 100, end))]);
  }
}

if (role !== undefined) work();
else {
  primary().then(
    (outcome) => {
      const { native } = require(corral);
      process.stdout.write(`${JSON.stringify({ native, outcome })}\n`, () => process.exit());
    },
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}
