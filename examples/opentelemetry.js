'use strict';

// Workers that measure with OpenTelemetry, and one place where the metrics of all of them are scraped, which answers while
// they are busy. It needs two packages:
//
//   npm install @opentelemetry/sdk-metrics @opentelemetry/exporter-prometheus
//   node examples/opentelemetry.js          (PORT=3000 for another port than 8000)
//
// It prints the URL of the server, and that of the metrics. Open the first one a few times: the second has `requests_total`
// with the requests of all workers together, some 5 s later. Ctrl-C stops it.

const http = require('node:http');
const cluster = require('corral');

const DEFAULT_PORT = 8000;
const WORKERS = 2;
const INTERVAL_MILLISECONDS = Number(process.env.INTERVAL ?? 5_000);

function runPrimary() {
  const { port } = /** @type {import('node:net').AddressInfo} */ (cluster.observe({ port: 0 }).address());
  cluster.once('listening', (_worker, address) => {
    console.log(`http://localhost:${address.port}/`);
    console.log(`http://127.0.0.1:${port}/metrics`);
  });
  for (let i = 0; i < WORKERS; i++) cluster.fork();
}

function runWorker() {
  const { MeterProvider } = require('@opentelemetry/sdk-metrics');
  const { PrometheusExporter, PrometheusSerializer } = require('@opentelemetry/exporter-prometheus');
  // It collects, and serves nothing itself.
  const exporter = new PrometheusExporter({ preventServerStart: true });
  const meter = new MeterProvider({ readers: [exporter] }).getMeter('example');
  const requests = meter.createCounter('requests', { description: 'Requests that were answered.' });
  const serializer = new PrometheusSerializer(undefined, false, undefined, true);
  cluster.publishMetrics(async () => serializer.serialize((await exporter.collect()).resourceMetrics), {
    interval: INTERVAL_MILLISECONDS,
  });

  http
    .createServer((request, response) => {
      requests.add(1, { method: request.method ?? '' });
      response.end(`worker ${process.pid}\n`);
    })
    .listen(process.env.PORT ?? DEFAULT_PORT);
}

if (cluster.isPrimary) {
  runPrimary();
} else {
  runWorker();
}
