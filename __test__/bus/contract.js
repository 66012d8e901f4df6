'use strict';

// What every engine of the bus has to do: the same tests for each. A third engine is one more file that calls `contract`.

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const timers = require('node:timers/promises');

/** @typedef {import('../../bus').Bus} Bus */
/** @typedef {import('../../bus').ConnectOptions} ConnectOptions */
/** @typedef {import('node:test').TestContext} TestContext */
/**
 * @typedef {object} Place where there is one engine, and nothing in it
 * @property {(options?: ConnectOptions) => Promise<Bus>} connect a bus, which is closed after the test
 */
/**
 * @typedef {object} Engine
 * @property {string} name
 * @property {string} reported what `bus.engine` says
 * @property {string} [lists] what names of lists begin with that are in one transaction with queues
 * @property {(t: TestContext) => Promise<Place>} start
 */

/** Long enough for what does not happen, in milliseconds. */
const LONG = 60_000;

/** Short enough to be waited for. */
const SHORT = 30;

/**
 * Does what has to be over before something is due. On a busy machine it may not be: then it is done again, with a longer delay.
 *
 * @template T
 * @param {(delay: number) => Promise<T>} attempt
 * @returns {Promise<T>}
 */
async function inTime(attempt) {
  for (let delay = SHORT; ; delay *= 2) {
    const start = performance.now();
    try {
      return await attempt(delay);
    } catch (error) {
      // Nothing was due yet, by far: it is wrong.
      if (performance.now() - start < delay / 2) throw error;
    }
  }
}

/** @param {string} code */
const withCode = (code) => (/** @type {NodeJS.ErrnoException} */ error) => {
  assert.equal(error.code, code, error.stack);
  return true;
};

/** @param {import('../../bus').QueuedMessage[]} jobs */
const messagesOf = (jobs) => jobs.map(({ message }) => message);

/** @param {import('../../bus').Queue} queue @param {number} [count] */
const take = (queue, count = 1) => queue.receive({ count, wait: LONG });

/** @param {() => Promise<boolean>} isSo */
async function until(isSo) {
  while (!(await isSo())) await timers.setTimeout(5);
}

/**
 * @param {() => Promise<unknown>} call
 * @returns {Promise<NodeJS.ErrnoException>} what it was rejected with
 */
async function rejection(call) {
  try {
    await call();
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error);
  }
  throw new assert.AssertionError({ message: 'it was not rejected' });
}

/** @type {Record<string, (place: Place, engine: Engine, t: TestContext) => Promise<void>>} */
const QUEUES = {
  async 'a message that was sent is received and acknowledged, and is gone'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs');
    const { id, duplicate } = await queue.send(
      { hello: 'world' },
      { headers: { trace: 'abc' }, priority: 7 },
    );
    assert.equal(duplicate, false);
    const [job] = await queue.receive();
    assert.deepEqual(job.message, { hello: 'world' });
    assert.deepEqual(
      [job.id, job.headers, job.priority, job.group, job.deliveries, job.queue, job.dead],
      [id, { trace: 'abc' }, 7, undefined, 1, 'jobs', undefined],
    );
    assert.ok(Math.abs(job.sentAt.getTime() - Date.now()) < LONG);
    assert.deepEqual(await queue.stats(), { waiting: 0, delayed: 0, held: 1, receivers: 0 });
    await job.ack();
    assert.deepEqual(await queue.stats(), { waiting: 0, delayed: 0, held: 0, receivers: 0 });
    assert.deepEqual(await queue.receive(), []);
  },

  async 'messages are received in the order in which they were sent'({ connect }) {
    const queue = (await connect()).queue('jobs');
    await Promise.all(Array.from({ length: 100 }, (_, i) => queue.send(i)));
    const seen = messagesOf([...(await take(queue, 30)), ...(await take(queue, 100))]);
    assert.deepEqual(
      seen,
      Array.from({ length: 100 }, (_, i) => i),
    );
  },

  async 'a larger priority comes first, and order is kept within one'({ connect }) {
    const queue = (await connect()).queue('jobs');
    for (const [message, priority] of /** @type {[string, number][]} */ ([
      ['low 1', 0],
      ['high 1', 255],
      ['middle', 3],
      ['low 2', 0],
      ['high 2', 255],
    ])) {
      await queue.send(message, { priority });
    }
    assert.deepEqual(messagesOf(await queue.receive({ count: 10 })), [
      'high 1',
      'high 2',
      'middle',
      'low 1',
      'low 2',
    ]);
  },

  async 'who waits gets what comes, one after the other'({ connect }) {
    const [consumer, producer] = [await connect(), await connect()];
    const waiting = [take(consumer.queue('jobs')), take(consumer.queue('jobs'))];
    await until(async () => (await producer.queue('jobs').stats()).receivers === 2);
    await producer.queue('jobs').send('first');
    await producer.queue('jobs').send('second');
    assert.deepEqual(
      (await Promise.all(waiting)).map((jobs) => messagesOf(jobs)),
      [['first'], ['second']],
    );
  },

  async 'a wait without a message ends with none'({ connect }) {
    const queue = (await connect()).queue('jobs');
    assert.deepEqual(await queue.receive({ wait: SHORT }), []);
    assert.equal((await queue.stats()).receivers, 0);
  },

  async 'a wait ends when its signal says so, and takes no message along'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs');
    const controller = new AbortController();
    const waiting = queue.receive({ wait: Number.POSITIVE_INFINITY, signal: controller.signal });
    await until(async () => (await queue.stats()).receivers === 1);
    controller.abort();
    await assert.rejects(waiting, withCode('ABORT_ERR'));
    await until(async () => (await queue.stats()).receivers === 0);
    await queue.send('for another');
    const [job] = await take(queue);
    assert.deepEqual([job.message, job.deliveries], ['for another', 1]);
    await assert.rejects(queue.receive({ signal: AbortSignal.abort() }), withCode('ABORT_ERR'));
  },

  async 'a delayed message comes when it is due, and not before others'({ connect }) {
    const bus = await connect();
    const queue = await inTime(async (delay) => {
      const fresh = bus.queue(`jobs, some after ${delay} ms`);
      await fresh.send('never seen', { delay: LONG });
      await fresh.send('later', { delay });
      await fresh.send('now');
      assert.deepEqual(messagesOf(await fresh.receive({ count: 10 })), ['now']);
      return fresh;
    });
    assert.deepEqual(messagesOf(await take(queue)), ['later']);
    assert.equal((await queue.stats()).delayed, 1);
  },

  async 'a message that nobody took in time is gone'({ connect }) {
    const queue = (await connect()).queue('jobs');
    await queue.send('too late', { expires: 1 });
    await queue.send('in time', { expires: LONG });
    await until(async () => (await queue.stats()).waiting === 1);
    assert.deepEqual(messagesOf(await queue.receive({ count: 10 })), ['in time']);
  },

  async 'a message with an id that was there is not kept again'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs');
    assert.deepEqual(await queue.send(1, { id: 'a' }), { id: 'a', duplicate: false });
    assert.deepEqual(await queue.send(2, { id: 'a' }), { id: 'a', duplicate: true });
    assert.deepEqual(await bus.queue('others').send(3, { id: 'a' }), { id: 'a', duplicate: false });
    const [job] = await queue.receive({ count: 10 });
    await job.ack();
    // Also when the first one is done.
    assert.equal((await queue.send(4, { id: 'a' })).duplicate, true);
    assert.deepEqual(await queue.receive(), []);
    await queue.send(5, { id: 'b', deduplicate: 1 });
    await until(async () => !(await queue.send(6, { id: 'b', deduplicate: 1 })).duplicate);
  },

  async 'a message that was given back comes again, in its old place'({ connect }) {
    const queue = (await connect()).queue('jobs');
    await queue.send('first');
    await queue.send('second');
    const [job] = await queue.receive();
    await job.nack();
    const again = await queue.receive({ count: 2 });
    assert.deepEqual(messagesOf(again), ['first', 'second']);
    assert.deepEqual(
      again.map(({ deliveries }) => deliveries),
      [2, 1],
    );
    await again[0].nack({ delay: LONG });
    assert.deepEqual(await queue.stats(), { waiting: 0, delayed: 1, held: 1, receivers: 0 });
  },

  async 'a message that is held for too long comes again'({ connect }) {
    const queue = (await connect()).queue('jobs', { visibility: SHORT });
    await queue.send('slow');
    const [first] = await queue.receive();
    const [second] = await take(queue);
    assert.deepEqual([second.id, second.deliveries], [first.id, 2]);
    await assert.rejects(first.ack(), withCode('ERR_CORRAL_BUS_NOT_HELD'));
    await second.ack();
  },

  async 'a late acknowledgement counts while nobody else has the message'({ connect }) {
    const queue = (await connect()).queue('jobs');
    await queue.send('slow');
    const [job] = await queue.receive({ visibility: 1 });
    await until(async () => (await queue.stats()).waiting === 1);
    await job.ack();
    assert.deepEqual(await queue.stats(), { waiting: 0, delayed: 0, held: 0, receivers: 0 });
    await assert.rejects(job.ack(), withCode('ERR_CORRAL_BUS_NOT_HELD'));
  },

  async 'extend keeps a message'({ connect }) {
    const bus = await connect();
    const { queue, job, clock } = await inTime(async (visibility) => {
      const fresh = bus.queue(`jobs, held for ${visibility} ms`);
      await fresh.send('long work');
      await fresh.send('clock');
      const [first] = await fresh.receive({ visibility });
      await first.extend(LONG);
      const [second] = await fresh.receive({ visibility });
      assert.deepEqual([first.message, second.message], ['long work', 'clock']);
      return { queue: fresh, job: first, clock: second };
    });
    // That one comes back, and by then the first one would have.
    assert.deepEqual(messagesOf(await take(queue, 2)), ['clock']);
    await job.ack();
    await assert.rejects(clock.ack(), withCode('ERR_CORRAL_BUS_NOT_HELD'));
  },

  async 'what was delivered too often goes to the dead letters'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs', { maxDeliveries: 2 });
    await queue.send('poison', { headers: { trace: 'abc' } });
    const [first] = await take(queue);
    await first.nack({ error: new Error('broken') });
    const [last] = await take(queue);
    assert.equal(last.deliveries, 2);
    await last.nack({ error: new Error('still broken'), delay: LONG });
    assert.deepEqual(await queue.stats(), { waiting: 0, delayed: 0, held: 0, receivers: 0 });
    const [dead] = await bus.queue('jobs.dead').receive();
    assert.deepEqual([dead.message, dead.headers, dead.deliveries], ['poison', { trace: 'abc' }, 1]);
    assert.deepEqual(dead.dead, {
      queue: 'jobs',
      deliveries: 2,
      reason: 'failed',
      error: 'Error: still broken',
    });
    await dead.ack();
  },

  async 'who is late with a message that is a dead letter now leaves that to who holds it'({ connect }) {
    const bus = await connect();
    const [queue, graves] = [bus.queue('jobs', { maxDeliveries: 1, visibility: 1 }), bus.queue('jobs.dead')];
    await queue.send('poison');
    const [late] = await take(queue);
    const [dead] = await take(graves);
    await assert.rejects(late.ack(), withCode('ERR_CORRAL_BUS_NOT_HELD'));
    await assert.rejects(late.nack(), withCode('ERR_CORRAL_BUS_NOT_HELD'));
    await assert.rejects(late.extend(), withCode('ERR_CORRAL_BUS_NOT_HELD'));
    assert.equal((await graves.stats()).held, 1);
    assert.ok(/** @type {any} */ (graves).holds(dead));
    await dead.ack();
    assert.equal((await graves.stats()).held, 0);
  },

  async 'who does not wait gets what those leave who do'({ connect }) {
    const [bus, other] = [await connect(), await connect()];
    const waiting = take(other.queue('jobs'));
    await until(async () => (await bus.queue('jobs').stats()).receivers === 1);
    const sent = [1, 2, 3].map((message) => bus.queue('jobs').send(message));
    const rest = await bus.queue('jobs').receive({ count: 3 });
    assert.ok(rest.length >= 2, `${rest.length} of 3`);
    await Promise.all(sent);
    if (rest.length === 2) assert.deepEqual(messagesOf(await waiting), [1]);
    else await bus.queue('jobs').send(4);
    await waiting;
  },

  async 'dead letters go where the queue says, also of those that were held for too long'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs', { maxDeliveries: 1, deadLetter: 'graves', visibility: 1 });
    await queue.send('poison');
    await queue.receive();
    const [dead] = await take(bus.queue('graves'));
    assert.deepEqual([dead.message, dead.dead?.reason, dead.dead?.deliveries], ['poison', 'expired', 1]);
  },

  async 'the options of a queue are its own, whoever gave them'({ connect }) {
    const [one, other] = [await connect(), await connect()];
    await one.queue('jobs', { maxDeliveries: 1 }).send('poison');
    const [job] = await other.queue('jobs').receive();
    await job.nack();
    assert.equal((await other.queue('jobs.dead').stats()).waiting, 1);
  },

  async 'a group is worked on one after the other, and others meanwhile'({ connect }) {
    const queue = (await connect()).queue('jobs');
    for (const message of ['a1', 'a2', 'b1', 'a3', 'b2']) await queue.send(message, { group: message[0] });
    await queue.send('alone');
    const first = await queue.receive({ count: 10 });
    assert.deepEqual(messagesOf(first), ['a1', 'b1', 'alone']);
    assert.deepEqual(await queue.receive(), []);
    await first[0].nack();
    let [again] = await queue.receive({ count: 10 });
    assert.deepEqual([again.message, again.group], ['a1', 'a']);
    // One that is tried again later holds up its group.
    await inTime(async (delay) => {
      await again.nack({ delay });
      const early = await queue.receive();
      again = early[0] ?? again;
      assert.deepEqual(early, []);
    });
    const [third] = await take(queue);
    assert.equal(third.message, 'a1');
    await third.ack();
    assert.deepEqual(messagesOf(await queue.receive({ count: 10 })), ['a2']);
    await first[1].ack();
    assert.deepEqual(messagesOf(await queue.receive({ count: 10 })), ['b2']);
  },

  async 'a group goes on when one of it is a dead letter, or was removed'({ connect }) {
    const queue = (await connect()).queue('jobs', { maxDeliveries: 1 });
    for (const message of [1, 2]) await queue.send(message, { group: 'g' });
    const [job] = await queue.receive();
    await job.nack();
    const [second] = await take(queue);
    assert.equal(second.message, 2);
    await second.ack();
    await queue.send(3, { group: 'g' });
    assert.equal(await queue.purge(), 1);
    await queue.send(4, { group: 'g' });
    assert.deepEqual(messagesOf(await queue.receive()), [4]);
  },

  async 'several are acknowledged at once'({ connect }) {
    const queue = (await connect()).queue('jobs');
    for (let i = 0; i < 3; i += 1) await queue.send(i);
    const jobs = await queue.receive({ count: 3 });
    await jobs[1].ack();
    await assert.rejects(queue.ack(jobs), withCode('ERR_CORRAL_BUS_NOT_HELD'));
    assert.equal((await queue.stats()).held, 0);
    await queue.ack([]);
  },

  async 'peek shows what comes next, and takes nothing'({ connect }) {
    const queue = (await connect()).queue('jobs');
    await queue.send('second', { group: 'g' });
    await queue.send('first', { priority: 1, headers: { a: 'b' } });
    for (let i = 0; i < 20; i += 1) await queue.send(i);
    const seen = await queue.peek({ count: 2 });
    assert.deepEqual(messagesOf(seen), ['first', 'second']);
    assert.deepEqual([seen[0].headers, seen[0].deliveries, seen[1].group], [{ a: 'b' }, 0, 'g']);
    assert.equal((await queue.peek()).length, 10);
    assert.equal((await queue.stats()).waiting, 22);
  },

  async 'purge removes all but what is held, delete removes that too'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs', { maxDeliveries: 1 });
    for (let i = 0; i < 5; i += 1) await queue.send(i);
    await queue.send('later', { delay: LONG });
    const [held] = await queue.receive();
    assert.equal(await queue.purge(), 5);
    assert.deepEqual(await queue.stats(), { waiting: 0, delayed: 0, held: 1, receivers: 0 });
    assert.deepEqual(await bus.queues(), ['jobs']);
    await queue.delete();
    assert.deepEqual(await bus.queues(), []);
    await assert.rejects(held.ack(), withCode('ERR_CORRAL_BUS_NOT_HELD'));
    // With its options.
    await bus.queue('jobs').send('new');
    const [job] = await bus.queue('jobs').receive();
    await job.nack();
    assert.equal((await bus.queue('jobs').stats()).waiting, 1);
  },

  async 'queues lists what there is'({ connect }) {
    const bus = await connect();
    await bus.queue('b').send(1);
    await bus.queue('a').send(1);
    await bus.list('c').push(1);
    assert.deepEqual((await bus.queues()).sort(), ['a', 'b']);
  },

  async 'drain waits until all is done'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs');
    await queue.drain();
    await queue.send('held');
    await queue.send('delayed', { delay: SHORT });
    const [job] = await queue.receive();
    let isDrained = false;
    const drained = queue.drain().then(() => {
      isDrained = true;
    });
    const [other] = await take(queue);
    await other.ack();
    assert.equal(isDrained, false);
    await job.ack();
    await drained;
    await queue.send('one more');
    await assert.rejects(queue.drain({ timeout: SHORT }), withCode('ERR_CORRAL_BUS_TIMEOUT'));
  },

  async 'what a bus held goes back at once when it is closed'({ connect }) {
    const [one, other] = [await connect(), await connect()];
    await one.queue('jobs').send('work');
    await one.queue('jobs').receive({ visibility: LONG });
    const waiting = take(other.queue('jobs'));
    await one.close();
    const [job] = await waiting;
    assert.deepEqual([job.message, job.deliveries], ['work', 2]);
  },
};

/** @type {typeof QUEUES} */
const PROCESSING = {
  async 'process works on as many at a time as it may, and ends with its signal'({ connect }) {
    const queue = (await connect()).queue('jobs');
    for (let i = 0; i < 20; i += 1) await queue.send(i);
    const controller = new AbortController();
    let [running, most] = [0, 0];
    /** @type {number[]} */
    const seen = [];
    const done = queue.process(
      async ({ message }) => {
        running += 1;
        most = Math.max(most, running);
        await timers.setTimeout(1);
        running -= 1;
        seen.push(message);
      },
      { concurrency: 4, signal: controller.signal },
    );
    await queue.drain();
    controller.abort();
    await done;
    assert.equal(most, 4);
    assert.deepEqual(
      seen.toSorted((a, b) => a - b),
      Array.from({ length: 20 }, (_, i) => i),
    );
    await queue.send('for nobody');
    assert.equal((await queue.stats()).waiting, 1);
  },

  async 'what fails is tried again, and is a dead letter in the end'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs', { maxDeliveries: 3, retry: { delay: 1, jitter: 0 } });
    const controller = new AbortController();
    /** @type {string[]} */
    const told = [];
    /** @type {number[]} */
    const tries = [];
    const done = queue.process(
      (job) => {
        tries.push(job.deliveries);
        throw new Error(`try ${job.deliveries}`);
      },
      { signal: controller.signal, onError: (error) => told.push(error.message) },
    );
    await queue.send('poison');
    const [dead] = await take(bus.queue('jobs.dead'));
    assert.equal(dead.dead?.error, 'Error: try 3');
    assert.deepEqual(tries, [1, 2, 3]);
    controller.abort();
    await done;
    assert.deepEqual(told, ['try 1', 'try 2', 'try 3']);
  },

  async 'a message is held while the function works on it'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs', { visibility: 1_500 });
    await queue.send('long work');
    const controller = new AbortController();
    let calls = 0;
    const done = queue.process(
      async () => {
        calls += 1;
        // Another message that is held for as long comes again meanwhile.
        const clock = bus.queue('clock', { visibility: 1_500 });
        await clock.send('tick');
        await take(clock);
        await take(clock);
      },
      { concurrency: 2, signal: controller.signal },
    );
    await queue.drain();
    controller.abort();
    await done;
    assert.equal(calls, 1);
  },

  async 'what the function has acknowledged itself is left alone'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs');
    const controller = new AbortController();
    /** @type {Error[]} */
    const told = [];
    const done = queue.process(
      async (job) => {
        await bus.transaction((tx) => {
          tx.ack(job);
          tx.queue('next').send(job.message);
        });
        if (job.message === 2) throw new Error('afterwards');
      },
      { signal: controller.signal, onError: (error) => told.push(error) },
    );
    for (const message of [1, 2]) await queue.send(message);
    assert.deepEqual(
      messagesOf([...(await take(bus.queue('next'))), ...(await take(bus.queue('next')))]),
      [1, 2],
    );
    controller.abort();
    await done;
    assert.deepEqual(
      told.map(({ message }) => message),
      ['afterwards'],
    );
    assert.deepEqual(await queue.stats(), { waiting: 0, delayed: 0, held: 0, receivers: 0 });
  },

  async 'process ends with an error when the bus is closed'({ connect }) {
    const bus = await connect();
    const done = bus.queue('jobs').process(() => {});
    const ended = assert.rejects(done, withCode('ERR_CORRAL_BUS_CLOSED'));
    await until(async () => (await bus.queue('jobs').stats()).receivers === 1);
    await bus.close();
    await ended;
  },
};

/** @type {typeof QUEUES} */
const TOPICS = {
  async 'all who have subscribed get a message, and nobody else'({ connect }) {
    const [one, other] = [await connect(), await connect()];
    assert.equal(await one.publish('news', 'nobody is there'), 0);
    /** @type {unknown[][]} */
    const seen = [];
    const first = await one.subscribe('news', (message, topic) => seen.push(['one', topic, message]));
    await other.subscribe('news', (message, topic) => seen.push(['other', topic, message]));
    await other.subscribe('olds', () => assert.fail('of another topic'));
    assert.equal(await one.publish('news', { a: 1 }), 2);
    await until(async () => seen.length === 2);
    assert.deepEqual(seen.sort(), [
      ['one', 'news', { a: 1 }],
      ['other', 'news', { a: 1 }],
    ]);
    await first.close();
    assert.equal(await first.ended, undefined);
    await until(async () => (await other.publish('news', 2)) === 1);
  },

  async 'messages come in their order, to a loop too'({ connect }) {
    const [one, other] = [await connect(), await connect()];
    const subscription = await one.subscribe('count', { buffer: 10_000 });
    for (let i = 0; i < 2_500; i += 1) other.publish('count', i);
    let next = 0;
    for await (const { topic, message } of subscription) {
      assert.deepEqual([topic, message], ['count', next]);
      next += 1;
      if (next === 2_500) break;
    }
    assert.equal(await subscription.ended, undefined);
    assert.equal(subscription.dropped, 0);
    await until(async () => (await other.publish('count', 0)) === 0);
  },

  async patterns({ connect }) {
    const bus = await connect();
    /** @type {string[]} */
    const seen = [];
    for (const pattern of ['a.*', 'a.?', 'a.[bc]', 'a.[^b]', 'a.[0-9]', 'a\\.b', 'a.\\*', '*']) {
      await bus.subscribe(pattern, (message) => seen.push(`${pattern} ${message}`));
    }
    const expected = {
      'a.b': ['a.*', 'a.?', 'a.[bc]', 'a\\.b', '*'],
      'a.5': ['a.*', 'a.?', 'a.[^b]', 'a.[0-9]', '*'],
      'a.bc': ['a.*', '*'],
      'a.*': ['a.*', 'a.?', 'a.[^b]', 'a.\\*', '*'],
      b: ['*'],
    };
    for (const [topic, patterns] of Object.entries(expected)) {
      seen.length = 0;
      await bus.publish(topic, topic);
      await until(async () => seen.length >= patterns.length);
      assert.deepEqual(seen.sort(), patterns.map((pattern) => `${pattern} ${topic}`).sort());
    }
  },

  async 'a slow subscriber loses the oldest, and knows how many'({ connect }) {
    const [slow, fast] = [await connect(), await connect()];
    const subscription = await slow.subscribe('flood', { buffer: 10 });
    const quick = await fast.subscribe('flood', { buffer: 10_000 });
    for (let i = 0; i < 1_000; i += 1) await fast.publish('flood', i);
    /** @type {number[]} */
    const seen = [];
    for await (const { message } of subscription) {
      seen.push(message);
      if (message === 999) break;
    }
    assert.equal(subscription.dropped, 1_000 - seen.length);
    assert.ok(seen.length < 100, `${seen.length} were kept`);
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => a - b),
    );
    // Nobody else is held up by it.
    let next = 0;
    for await (const { message } of quick) {
      assert.equal(message, next);
      next += 1;
      if (next === 1_000) break;
    }
  },

  async 'a slow subscriber is ended, if it wants that'({ connect }) {
    const [slow, fast] = [await connect(), await connect()];
    const subscription = await slow.subscribe('flood', { buffer: 2, overflow: 'end' });
    await until(async () => (await fast.publish('flood', 'x')) === 0);
    assert.equal(/** @type {any} */ (await subscription.ended)?.code, 'ERR_CORRAL_BUS_SLOW');
    let count = 0;
    const error = await rejection(async () => {
      for await (const _ of subscription) count += 1;
    });
    assert.equal(error.code, 'ERR_CORRAL_BUS_SLOW');
    assert.ok(count > 0, 'what has come before is there');
  },

  async 'closing the bus ends its subscriptions'({ connect }) {
    const bus = await connect();
    const subscription = await bus.subscribe('news');
    await bus.close();
    assert.equal(await subscription.ended, undefined);
    for await (const _ of subscription) assert.fail('nothing came');
    await assert.rejects(bus.subscribe('news'), withCode('ERR_CORRAL_BUS_CLOSED'));
  },
};

/** @type {typeof QUEUES} */
const LISTS = {
  async 'values come out in the order in which they went in'({ connect }) {
    const [one, other] = [await connect(), await connect()];
    const list = one.list('plain');
    assert.equal(await list.pop(), undefined);
    for (const value of [1, 'two', { three: 3 }, null]) await list.push(value);
    assert.equal(await list.length(), 4);
    assert.deepEqual(
      [
        await other.list('plain').pop(),
        await list.pop(),
        await list.pop(),
        await list.pop(),
        await list.pop(),
      ],
      [1, 'two', { three: 3 }, null, undefined],
    );
  },

  async 'who waits gets a value, and nobody gets one twice'({ connect }) {
    const [one, other] = [await connect(), await connect()];
    const waiting = [one.list('plain').pop({ wait: LONG }), other.list('plain').pop({ wait: LONG })];
    await one.list('plain').push('a');
    await one.list('plain').push('b');
    assert.deepEqual((await Promise.all(waiting)).sort(), ['a', 'b']);
    assert.equal(await one.list('plain').length(), 0);
    assert.equal(await one.list('plain').pop({ wait: SHORT }), undefined);
    await assert.rejects(one.list('plain').pop({ wait: LONG, signal: AbortSignal.timeout(SHORT) }), {
      code: 'ABORT_ERR',
    });
  },
};

/** @type {typeof QUEUES} */
const TRANSACTIONS = {
  async 'all that belongs together happens'({ connect }, { lists = '' }) {
    const [bus, other] = [await connect(), await connect()];
    await bus.queue('a').send('work');
    const subscription = await other.subscribe('done');
    const [job] = await bus.queue('a').receive();
    const id = await bus.transaction((tx) => {
      tx.ack(job);
      const first = tx.queue('b').send('first', { priority: 1 });
      tx.queue('b').send('second', { id: 'own' });
      tx.list(`${lists}c`).push('value');
      tx.publish('done', job.message);
      return first;
    });
    assert.equal((await bus.queue('a').stats()).held, 0);
    const jobs = await bus.queue('b').receive({ count: 3 });
    assert.deepEqual([messagesOf(jobs), jobs[0].id, jobs[1].id], [['first', 'second'], id, 'own']);
    assert.equal(await bus.list(`${lists}c`).pop(), 'value');
    for await (const { message } of subscription) {
      assert.equal(message, 'work');
      break;
    }
    await bus.transaction(() => {});
  },

  async 'nothing of it happens when something cannot'({ connect }) {
    const [bus, other] = [await connect(), await connect()];
    await bus.queue('a').send('work');
    await bus.queue('a').send('other work');
    const [job, lost] = await bus.queue('a').receive({ count: 2 });
    await lost.ack();
    await other.subscribe('done', () => assert.fail('it was published'));
    const all = bus.transaction((tx) => {
      tx.ack(job);
      tx.queue('b').send('must not come');
      tx.publish('done', 'must not come');
      tx.ack(lost);
    });
    await assert.rejects(all, withCode('ERR_CORRAL_BUS_NOT_HELD'));
    assert.equal((await bus.queue('b').stats()).waiting, 0);
    assert.equal((await bus.queue('a').stats()).held, 1);
    await job.ack();
    // A function that throws has asked for nothing.
    const thrown = bus.transaction((tx) => {
      tx.queue('b').send('must not come');
      throw new Error('of the program');
    });
    await assert.rejects(thrown, /of the program/);
    assert.equal((await bus.queue('b').stats()).waiting, 0);
  },

  async 'giving back belongs to it as well'({ connect }) {
    const bus = await connect();
    await bus.queue('a').send('work');
    const [job] = await bus.queue('a').receive();
    await bus.transaction((tx) => {
      tx.nack(job, { delay: LONG, error: 'later' });
      tx.queue('b').send('instead');
    });
    assert.equal((await bus.queue('a').stats()).delayed, 1);
    assert.equal((await bus.queue('b').stats()).waiting, 1);
  },
};

/** @type {typeof QUEUES} */
const MESSAGES = {
  async 'advanced messages are what they were, in queues, topics and lists'({ connect }) {
    const bus = await connect({ serialization: 'advanced' });
    const value = {
      map: new Map([[1, new Date(0)]]),
      bytes: Buffer.from('abc'),
      nothing: undefined,
      big: 1n,
    };
    await bus.queue('jobs').send(value);
    assert.deepEqual(messagesOf(await bus.queue('jobs').receive()), [value]);
    await bus.list('plain').push(value);
    assert.deepEqual(await bus.list('plain').pop(), value);
    const subscription = await bus.subscribe('news');
    await bus.publish('news', value);
    for await (const { message } of subscription) {
      assert.deepEqual(message, value);
      break;
    }
    const bytes = Buffer.from([0xff, 0, 1, 2]);
    await bus.queue('jobs').send(bytes);
    const [job] = await bus.queue('jobs').receive();
    assert.ok(Buffer.isBuffer(job.message));
    assert.deepEqual([job.message, job.raw], [bytes, bytes]);
  },

  async 'each side reads what the other one writes'({ connect }) {
    const [json, advanced] = [await connect(), await connect({ serialization: 'advanced' })];
    await json.queue('jobs').send('json');
    await advanced.queue('jobs').send('advanced');
    assert.deepEqual(messagesOf(await json.queue('jobs').receive({ count: 2 })), ['json', 'advanced']);
  },

  async 'names and texts of all kinds'({ connect }) {
    const bus = await connect();
    const name = 'ä €𝒳 *?[a]\\ {}:"\'';
    await bus.queue(name).send(name, { id: name, group: name, headers: { [name]: name } });
    const [job] = await bus.queue(name).receive();
    assert.deepEqual([job.message, job.id, job.group, job.headers], [name, name, name, { [name]: name }]);
    assert.deepEqual(await bus.queues(), [name]);
    await bus.queue('x'.repeat(255)).send(1, { id: 'y'.repeat(255) });
  },

  async 'a large message comes whole, and one that is too large is refused'({ connect }) {
    const bus = await connect({ maxMessageSize: 8 << 20 });
    const large = 'ä'.repeat(3 << 20);
    await bus.queue('jobs').send(large);
    assert.equal((await bus.queue('jobs').receive())[0].message, large);
    const tooLarge = 'x'.repeat((8 << 20) + 1);
    const refused = withCode('ERR_CORRAL_BUS_TOO_LARGE');
    await assert.rejects(bus.queue('jobs').send(tooLarge), refused);
    await assert.rejects(bus.publish('news', tooLarge), refused);
    await assert.rejects(bus.list('plain').push(tooLarge), refused);
    await assert.rejects(
      bus.transaction((tx) => tx.queue('jobs').send(tooLarge)),
      refused,
    );
    const small = await connect({ maxMessageSize: 100 });
    await assert.rejects(small.queue('jobs').send(1, { headers: { long: 'x'.repeat(100) } }), refused);
    await small.queue('jobs').send('still works');
  },
};

/** @type {typeof QUEUES} */
const LIMITS = {
  async 'bad arguments are errors with codes, and nothing is sent'({ connect }) {
    const bus = await connect();
    const queue = bus.queue('jobs');
    const advanced = (await connect({ serialization: 'advanced' })).queue('jobs');
    /** @type {any} */
    const circular = {};
    circular.self = circular;
    /** @type {[string, () => any][]} */
    const bad = [
      ['ERR_INVALID_ARG_TYPE', () => bus.queue(/** @type {any} */ (1))],
      ['ERR_INVALID_ARG_VALUE', () => bus.queue('')],
      ['ERR_INVALID_ARG_VALUE', () => bus.queue('x'.repeat(256))],
      ['ERR_INVALID_ARG_VALUE', () => bus.queue('\ud800')],
      ['ERR_INVALID_ARG_VALUE', () => bus.list('')],
      ['ERR_OUT_OF_RANGE', () => bus.queue('jobs', { maxDeliveries: -1 })],
      ['ERR_OUT_OF_RANGE', () => bus.queue('jobs', { retry: { jitter: 2 } })],
      ['ERR_INVALID_ARG_VALUE', () => queue.send(undefined)],
      ['ERR_INVALID_ARG_VALUE', () => queue.send(circular)],
      ['ERR_INVALID_ARG_VALUE', () => queue.send(1n)],
      ['ERR_INVALID_ARG_VALUE', () => advanced.send(() => {})],
      ['ERR_INVALID_ARG_VALUE', () => bus.list('list').push(circular)],
      ['ERR_INVALID_ARG_VALUE', () => bus.transaction((tx) => tx.publish('news', 1n))],
      ['ERR_OUT_OF_RANGE', () => queue.send(1, { priority: 256 })],
      ['ERR_OUT_OF_RANGE', () => queue.send(1, { priority: 0.5 })],
      ['ERR_OUT_OF_RANGE', () => queue.send(1, { delay: -1 })],
      ['ERR_INVALID_ARG_TYPE', () => queue.send(1, { delay: /** @type {any} */ ('1') })],
      ['ERR_INVALID_ARG_TYPE', () => queue.send(1, { headers: /** @type {any} */ ({ a: 1 }) })],
      ['ERR_INVALID_ARG_VALUE', () => queue.send(1, { id: '' })],
      ['ERR_INVALID_ARG_TYPE', () => queue.send(1, /** @type {any} */ (null))],
      ['ERR_OUT_OF_RANGE', () => queue.receive({ count: 0 })],
      ['ERR_OUT_OF_RANGE', () => queue.receive({ wait: Number.NaN })],
      ['ERR_INVALID_ARG_TYPE', () => queue.receive({ signal: /** @type {any} */ ({}) })],
      ['ERR_INVALID_ARG_TYPE', () => queue.ack(/** @type {any} */ ({}))],
      ['ERR_INVALID_ARG_TYPE', () => queue.process(/** @type {any} */ (1))],
      ['ERR_INVALID_ARG_TYPE', () => bus.transaction(/** @type {any} */ (1))],
      ['ERR_INVALID_ARG_VALUE', () => bus.publish('', 1)],
      ['ERR_INVALID_ARG_TYPE', () => bus.subscribe('news', /** @type {any} */ (1))],
      ['ERR_INVALID_ARG_VALUE', () => bus.subscribe('news', { overflow: /** @type {any} */ ('wait') })],
      ['ERR_OUT_OF_RANGE', () => bus.subscribe('news', { buffer: 0 })],
    ];
    for (const [code, call] of bad) {
      const error = await rejection(async () => call());
      assert.equal(error.code, code, `${call}: ${error}`);
    }
    await bus.queue('others').send('of another queue');
    const [job] = await bus.queue('others').receive();
    await assert.rejects(queue.ack(job), withCode('ERR_INVALID_ARG_VALUE'));
    assert.deepEqual(await bus.queues(), ['others']);
  },

  async 'a closed bus says so, and closing it twice is closing it'({ connect }, engine) {
    const bus = await connect();
    assert.deepEqual([bus.engine, bus.state], [engine.reported, 'up']);
    const sent = bus.queue('jobs').send('before');
    await Promise.all([bus.close(), bus.close()]);
    assert.equal(bus.state, 'closed');
    assert.equal((await sent).duplicate, false, 'what was called before is carried out');
    const closed = withCode('ERR_CORRAL_BUS_CLOSED');
    await assert.rejects(bus.queue('jobs').send('after'), closed);
    await assert.rejects(bus.publish('news', 'after'), closed);
  },

  async 'a process that has nothing to wait for may end'({ connect }) {
    const bus = await connect();
    await bus.queue('jobs').send('work');
    const resources = process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap');
    const waiting = bus.queue('none').receive({ wait: LONG });
    await until(async () => (await bus.queue('none').stats()).receivers === 1);
    const more = process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap');
    assert.equal(more.length, resources.length + 1, 'a bus that waits keeps the process');
    await bus.queue('none').send('it');
    await waiting;
  },
};

/** @param {Engine} engine */
function contract(engine) {
  for (const [group, tests] of Object.entries({
    queues: QUEUES,
    process: PROCESSING,
    topics: TOPICS,
    lists: LISTS,
    transactions: TRANSACTIONS,
    messages: MESSAGES,
    limits: LIMITS,
  })) {
    describe(`${engine.name}: ${group}`, () => {
      for (const [name, run] of Object.entries(tests)) {
        test(name, async (t) => run(await engine.start(t), engine, t));
      }
    });
  }
}

/**
 * Has buses closed after a test, and then what they stand on.
 *
 * @param {TestContext} t
 * @param {(options?: ConnectOptions) => Promise<Bus>} connect
 * @param {() => void | Promise<void>} [end]
 * @returns {Place}
 */
function place(t, connect, end = () => {}) {
  /** @type {Bus[]} */
  const buses = [];
  t.after(async () => {
    await Promise.all(buses.map((bus) => bus.close()));
    await end();
  });
  return {
    async connect(options) {
      const bus = await connect(options);
      buses.push(bus);
      return bus;
    },
  };
}

module.exports = { contract, place, until, withCode };
