// `corral/bus` as a TypeScript program uses it.

import { type Bus, connect, type Job } from 'corral/bus';

interface Order {
  item: string;
}

const bus: Bus = await connect('file:bus.db', { durability: 'disk', offline: { messages: 10 }, timeout: 0 });
const state: 'up' | 'down' | 'closed' = bus.state;
bus
  .on('down', (error) => error.message)
  .on('unreadable', (error, topic, raw) => [error.name, topic, raw.length]);

const orders = bus.queue<Order>('orders', { maxDeliveries: 3, retry: { delay: 10, jitter: 0 } });
const { id, duplicate }: { id: string; duplicate: boolean } = await orders.send(
  { item: 'apples' },
  { delay: 1, priority: 2, group: 'g', headers: { a: 'b' }, signal: AbortSignal.timeout(1) },
);
// @ts-expect-error: it is no order
orders.send({ thing: 1 });
// @ts-expect-error: headers are texts
orders.send({ item: 'apples' }, { headers: { a: 1 } });

const jobs: Job<Order>[] = await orders.receive({ wait: Number.POSITIVE_INFINITY, count: 2 });
for (const job of jobs) {
  const text: string = job.message.item + job.id + (job.group ?? '') + (job.dead?.reason === 'failed');
  await job.extend(1_000);
  await job.nack({ delay: 1, error: new Error(text) });
}
await orders.ack(jobs);
const done: Promise<void> = orders.process(async (job, { signal }) => [job.message.item, signal.aborted], {
  concurrency: 2,
  onError: (error, job) => console.log(error.message, job.id),
});
const { waiting, held }: { waiting: number; held: number } = await orders.stats();

const subscription = await bus.subscribe<Order>('news.*', { buffer: 1, overflow: 'end' });
for await (const { topic, message } of subscription) console.log(topic, message.item);
await bus.subscribe<number>('count', (message, topic) => message.toFixed() + topic);
const heard: number = await bus.publish('news.a', { item: 'pears' });

const value: string | undefined = await bus.list<string>('plain').pop({ wait: 1 });
const sent: string = await bus.transaction((tx) => {
  for (const job of jobs) tx.ack(job);
  tx.list<string>('plain').push('value');
  tx.publish('news', 1);
  // @ts-expect-error: it waits for nothing
  tx.queue('next').send(1, { timeout: 1 });
  return tx.queue('next').send(1, { priority: 1 });
});
await bus.close({ timeout: 1 });

export { done, duplicate, heard, held, id, sent, state, value, waiting };
