'use strict';

// What the page of `cluster.observe` takes of a core: 8 workers, 10 updates a second.

const fs = require('node:fs');
const http = require('node:http');
const { setTimeout: wait } = require('node:timers/promises');

const { chromiumProgram } = require('../../scripts/lib-chromium');
const { PAGE } = require('../../scripts/page');
const { formatNumber } = require('./report');

const WORKERS = 8;
const UPDATES_PER_SECOND = 10;
const TARGET = 0.1;
const BOUNDS = [
  100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1e6, 2.5e6, 5e6, 1e7,
];

/** @param {number} count of updates so far */
function overview(count) {
  const buckets = () => [...BOUNDS, 0].map((_, place) => count * (20 - place) + ((Math.random() * 5) | 0));
  const process = () => ({
    utilization: Math.random(),
    blockedFor: 0,
    memory: (60 + Math.random()) * 2 ** 20,
    lag: buckets(),
  });
  const worker = (/** @type {number} */ id) => ({
    ...process(),
    id,
    pid: 1000 + id,
    state: 'listening',
    age: count,
    restarts: { SIGKILL: id },
    dispatched: count * 100 + Math.floor(Math.random() * 50),
    taken: buckets(),
  });
  return {
    now: (count * 1e6) / UPDATES_PER_SECOND,
    bounds: BOUNDS,
    servers: [{ name: '127.0.0.1:80', accepted: count * 800, pending: count % 7, handedOver: buckets() }],
    primary: process(),
    workers: Array.from({ length: WORKERS }, (_, place) => worker(place + 1)),
  };
}

/** A server that has the page, and events at that rate. */
function serve() {
  const page = fs.readFileSync(PAGE);
  return http.createServer((request, response) => {
    if (request.url === '/blocks') return response.end('[]');
    if (request.url !== '/events') return response.setHeader('content-type', 'text/html').end(page);
    response.setHeader('content-type', 'text/event-stream');
    let count = 0;
    const timer = setInterval(() => {
      count++;
      response.write(`event: overview\ndata: ${JSON.stringify(overview(count))}\n\n`);
    }, 1000 / UPDATES_PER_SECOND);
    response.on('close', () => clearInterval(timer));
  });
}

/** @param {number} seconds */
async function page(seconds) {
  const { chromium } = require('playwright-core');
  const server = serve();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const browser = await chromium.launch({ executablePath: chromiumProgram() });
  try {
    const context = await browser.newContext();
    const shown = await context.newPage();
    await shown.goto(`http://127.0.0.1:${port}/`);
    const session = await context.newCDPSession(shown);
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });
    // Processor time of its thread, for layout and painting, too, in seconds.
    const busy = async () => {
      const { metrics } = await session.send('Performance.getMetrics');
      return metrics.find(({ name }) => name === 'TaskDuration')?.value ?? 0;
    };
    // The history is full then.
    await wait(20_000);
    const before = await busy();
    await wait(seconds * 1000);
    const part = ((await busy()) - before) / seconds;
    console.log(`page: ${WORKERS} workers, ${UPDATES_PER_SECOND} updates a second, 3 minutes of history: ${formatNumber(part * 100, 1)} % of a core for its thread in Chromium
`);
    return [
      {
        text: `the page draws with at most ${TARGET * 100} % of a core`,
        met: part <= TARGET,
        got: `${formatNumber(part * 100, 1)} %`,
      },
    ];
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
}

module.exports = { page };
