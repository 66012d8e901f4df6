// A program as a TypeScript user writes it. Nothing here runs: it compiles, or lint fails.

import { createServer } from 'node:http';
import cluster, { fork, isPrimary, Worker } from 'corral';

if (isPrimary) {
  cluster.schedulingPolicy = cluster.SCHED_RR;
  cluster.setupPrimary({
    exec: 'worker.js',
    serialization: 'advanced',
    maxPendingConnections: 64,
    maxFrameSize: 1024 ** 2,
  });
  const bound: number | undefined = cluster.settings.maxPendingConnections;
  console.log(bound, cluster.native === false ? 'on the built-in' : 'native');

  const worker: Worker = fork({ ROLE: 'web' });
  worker.on('message', (message) => worker.send({ echo: message }));
  worker.once('listening', ({ port, addressType }) => console.log(port + 1, addressType));
  const left: boolean | undefined = worker.suicide;
  // @ts-expect-error: a getter only
  worker.suicide = true;
  console.log(left, worker instanceof Worker, new cluster.Worker({ id: 7 }).id);

  cluster
    .on('exit', (dead, code, signal) => console.log(dead.process.pid, code.toFixed(), signal.toLowerCase()))
    .once('setup', (settings) => console.log(settings.maxFrameSize))
    .on('connection', (taker, { key, port, family, remoteAddress }) => {
      const from: string | null = remoteAddress;
      console.log(taker.id, key, port?.toFixed(), family === 'IPv6', from?.trim());
    })
    .on('error', (error) => console.error(error.message))
    .on('not one of ours', (...args) => console.log(args));
  // @ts-expect-error: a number
  cluster.setupPrimary({ maxPendingConnections: '64' });

  worker.respond?.(async (question) => ({ answer: question }));
  const reply: Promise<unknown> | undefined = worker.request?.('who?', { timeout: 1000 });
  console.log(reply, cluster.stats?.().workers[0]?.moved === true);
  cluster.broadcast?.('to all', (error) => console.log(error?.message));
  // @ts-expect-error: a number
  worker.request?.('who?', { timeout: 'soon' });

  for (const each of Object.values(cluster.workers ?? {})) each?.disconnect();
  cluster.disconnect(() => process.exit());
} else {
  createServer((_request, response) => response.end(String(cluster.worker?.id))).listen(0);
  cluster.worker?.send('ready');
  const peer = cluster.workerById?.(2);
  const goesOn: boolean | undefined = peer?.send('hello', (error) => console.log(error?.message));
  cluster.respond?.(function (message) {
    return [this.id, message];
  });
  console.log(goesOn, peer?.on('message', (message) => console.log(message)).connected);
}
