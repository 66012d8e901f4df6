'use strict';

// The program of the reload bench: a plain server that knows nothing of who runs it. GRACEFUL=1 is the recipe of pm2's documentation.

const http = require('node:http');

/** How long each answer takes, in milliseconds. */
const TAKES = 20;

const server = http.createServer((_request, response) => {
  setTimeout(() => response.end(`${process.pid}`), TAKES);
});
server.listen(Number(process.env.PORT), '127.0.0.1', () => {
  if (process.env.GRACEFUL) process.send?.('ready');
});

if (process.env.GRACEFUL) {
  process.on('SIGINT', () => server.close(() => process.exit(0)));
}
