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

  worker.respond(async (question) => ({ answer: question }));
  const reply: Promise<unknown> = worker.request('who?', { timeout: 1000 });
  console.log(reply, cluster.stats().workers[0]?.moved === true);
  cluster.broadcast('to all', (error) => console.log(error?.message));
  // @ts-expect-error: a number
  worker.request('who?', { timeout: 'soon' });

  for (const each of Object.values(cluster.workers ?? {})) each?.disconnect({ drain: 1000 });
  cluster.disconnect({ drain: 1000 }, () => {});
  const channel = cluster.channel<{ of: string }, number>('cache');
  channel
    .respond((question, from) => question.of.length + from.id)
    .on('message', (from, { of }) => from.send(of));
  // @ts-expect-error no question
  channel.broadcast('cache');
  channel
    .gather({ of: 'cache' }, { timeout: 5 })
    .then(({ replies, gone }) => replies.map(({ id, reply }) => id + reply).concat(gone));
  cluster.disconnect(() => process.exit());
} else {
  createServer((_request, response) => response.end(String(cluster.worker?.id))).listen(0);
  cluster.worker?.send('ready');
  const peer = cluster.workerById(2);
  const goesOn: boolean = peer.send('hello', (error) => console.log(error?.message));
  cluster.worker.on('leaving', ({ reason }: cluster.Leaving) => reason === 'primary-gone');
  cluster.respond(function (message) {
    return [this.id, message];
  });
  console.log(goesOn, peer.on('message', (message) => console.log(message)).connected);
}

// What tells the kinds of cluster apart.
if (cluster.isPrimary) {
  const none: never = cluster.worker;
  // @ts-expect-error: a worker has it
  cluster.workerById(1);
  if (cluster.native) setInterval(() => console.log(cluster.stats().servers, none), 1000);
  if (cluster.native) {
    const observer = cluster.observe({ port: 9464, allow: ['10.0.0.0/8'] });
    const address = observer.address();
    console.log(typeof address === 'string' ? address : address.port);
    observer.close();
    const adopted: { address: string; port: number | null } = cluster.adoptSocket(3);
    console.log(adopted.address);
  } else {
    const nothing: never = cluster.stats();
    console.log(nothing);
  }
} else {
  // @ts-expect-error: the primary has it
  cluster.stats();
  createServer((_request, response) => response.end(`worker ${cluster.worker.id}`));
}
