'use strict';

// Requests at a steady rate until stdin ends, on new connections or on kept ones, whatever becomes of the ones before. Prints what became of
// them as one line of JSON. Nothing is repeated: what a client library would send once more counts as lost.
//
//   node reload-load.js <port> <requests per second> <new | kept>

const http = require('node:http');

/** A request that is not answered within this hangs, in milliseconds. */
const PATIENCE = 5_000;
/** How often requests that are due are sent, in milliseconds. */
const TICK = 5;
const CONNECTIONS = 64;

const [port, rate, kind] = process.argv.slice(2);
const agent = kind === 'kept' ? new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS }) : false;

let sent = 0;
let under = 0;
let answered = 0;
let hung = 0;
let longest = 0;
/** Why requests were lost, and how many. @type {Record<string, number>} */
const lost = {};
let isOver = false;
const start = performance.now();

function send() {
  const at = performance.now();
  sent++;
  under++;
  let isDone = false;
  const done = (/** @type {string | undefined} */ why) => {
    if (isDone) return;
    isDone = true;
    under--;
    longest = Math.max(longest, performance.now() - at);
    if (why === undefined) answered++;
    else if (why === 'hung') hung++;
    else lost[why] = (lost[why] ?? 0) + 1;
    if (isOver && under === 0) report();
  };
  const request = http.get({ port: Number(port), host: '127.0.0.1', agent }, (response) => {
    response
      .resume()
      .on('end', () => done(response.statusCode === 200 ? undefined : `${response.statusCode}`));
    response.on('error', ({ message }) => done(message));
  });
  const timer = setTimeout(() => {
    done('hung');
    request.destroy();
  }, PATIENCE);
  request.on('error', (/** @type {NodeJS.ErrnoException} */ error) => done(error.code ?? error.message));
  request.on('close', () => {
    clearTimeout(timer);
    done('closed');
  });
}

const ticking = setInterval(() => {
  const due = Math.floor(((performance.now() - start) / 1000) * Number(rate));
  while (sent < due) send();
}, TICK);

function report() {
  const seconds = (performance.now() - start) / 1000;
  process.stdout.write(`${JSON.stringify({ sent, answered, hung, lost, longest, seconds })}\n`);
  process.exit();
}

process.stdin.resume().on('end', () => {
  isOver = true;
  clearInterval(ticking);
  if (under === 0) report();
});
