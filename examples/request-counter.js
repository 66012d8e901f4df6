'use strict';

// A primary that counts the requests of all its workers by the messages they send. Run it with
//
//   node examples/request-counter.js          (PORT=3000 for another port than 8000)
//
// It prints its URL and then, each second, the number of requests so far: `requests: 0`. Open the URL a few
// times and see it grow. Ctrl-C stops it.

const http = require('node:http');
const os = require('node:os');
const cluster = require('corral');

const DEFAULT_PORT = 8000;
const REPORT_MILLISECONDS = 1_000;
/** For so long the workers may finish their requests when they are to stop. */
const DRAIN_MILLISECONDS = 5_000;

function runPrimary() {
  let requests = 0;

  cluster.on('message', (_worker, message) => {
    if (message.command === 'count-request') requests++;
  });
  cluster.once('listening', (_worker, { port }) => {
    console.log(`http://localhost:${port}/`);
    // Keeps nothing alive: the workers do.
    setInterval(() => console.log(`requests: ${requests}`), REPORT_MILLISECONDS).unref();
  });
  for (let i = os.availableParallelism(); i > 0; i--) cluster.fork();

  process.on('SIGINT', () => cluster.disconnect({ drain: DRAIN_MILLISECONDS }));
}

function runWorker() {
  const server = http.createServer((_request, response) => {
    // Before the answer, so that whoever has the answer is counted.
    process.send?.({ command: 'count-request' });
    response.end('counted\n');
  });
  server.listen(Number(process.env.PORT ?? DEFAULT_PORT));

  // A Ctrl-C in a terminal goes to the workers as well; they wait for the primary's disconnect().
  process.on('SIGINT', () => {});
}

if (cluster.isPrimary) runPrimary();
else runWorker();
