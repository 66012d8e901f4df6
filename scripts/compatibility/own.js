'use strict';

// A primary of any runtime, with workers of the same. It prints one line of JSON: what corral is here, and whether the workers work.

const http = require('node:http');

const cluster = require('../..');

/** @type {string[]} */
const warnings = [];
process.on('warning', (/** @type {any} */ { code, message }) => warnings.push(`${code}: ${message}`));

function work() {
  process.on('message', (message) => process.send?.({ back: message }));
  http.createServer((_request, response) => response.end('served')).listen(0, '127.0.0.1');
}

/** @returns {Promise<string>} 'works', or what is wrong */
async function primary() {
  const worker = cluster.fork();
  const next = (/** @type {string} */ event) =>
    new Promise((resolve) => worker.once(event, (/** @type {any[]} */ ...about) => resolve(about)));
  const exit = next('exit');
  return Promise.race([
    exit.then(([code, signal]) => `its worker ends with ${signal ?? code}`),
    use(worker, next),
  ]);
}

/**
 * @param {any} worker
 * @param {(event: string) => Promise<any>} next
 */
async function use(worker, next) {
  const [online, listening] = [next('online'), next('listening')];
  await online;
  const [{ port }] = await listening;
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
  if ((await response.text()) !== 'served') return 'a server is not served';
  const reply = next('message');
  worker.send('a message');
  const [{ back }] = await reply;
  // Not `disconnect`: a worker of Bun's serves on.
  worker.process.kill('SIGKILL');
  return back === 'a message' ? 'works' : 'a message changes on its way';
}

if (cluster.isWorker) work();
else {
  primary().then(
    (outcome) => {
      console.log(JSON.stringify({ native: cluster.native, warnings, outcome }));
      process.exit();
    },
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}
