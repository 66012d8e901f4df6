'use strict';

// Workers of a cluster that tell each other things by topics: `GET /set?colour=red` to any of them changes what all of them
// answer. The bus is in memory, in the primary.
//
//   node examples/bus/workers.js
//
// PORT is the port; 0 takes any.

const http = require('node:http');
const cluster = require('../..');
const { connect } = require('../../bus');

const WORKERS = 2;

async function serve() {
  let colour = 'grey';
  const bus = await connect();
  await bus.subscribe('colour', (/** @type {string} */ chosen) => {
    colour = chosen;
    console.log(`worker ${cluster.worker.id}: ${colour}`);
  });
  const server = http.createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    if (pathname === '/set') {
      const heard = await bus.publish('colour', searchParams.get('colour') ?? 'grey');
      response.end(`${heard} workers were told\n`);
    } else {
      response.end(`worker ${cluster.worker.id} has ${colour}\n`);
    }
  });
  server.listen(Number(process.env.PORT ?? 8000));
}

if (cluster.isPrimary) {
  for (let i = 0; i < WORKERS; i += 1) cluster.fork();
  let ready = 0;
  cluster.on('listening', (/** @type {unknown} */ _worker, /** @type {{ port: number }} */ { port }) => {
    ready += 1;
    if (ready === WORKERS) console.log(`http://localhost:${port}/`);
  });
} else {
  serve();
}
