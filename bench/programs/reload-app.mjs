// The program of the reload bench as an ES module that waits before it listens.

import http from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';

/** How long each answer takes, in milliseconds. */
const TAKES = 20;

await wait(TAKES);
http
  .createServer(async (_request, response) => {
    await wait(TAKES);
    response.end(`${process.pid}`);
  })
  .listen(Number(process.env.PORT), '127.0.0.1');
