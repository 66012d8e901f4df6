'use strict';

// A process of scripts/bus-kills.js, which may be killed at any time: lib-bus-part.js <role> <url> <name> <log> <first>. It appends to
// the log of all what has happened, each line by one write, which outlives it.

const fs = require('node:fs');
const { connect } = require('../bus');

const [role, url, name, log, first] = process.argv.slice(2);

/** How many messages a producer has on their way, and how many a consumer works on. */
const SENDS = 16;
const WORKS = 8;

/** How many groups the messages of a producer have. */
const GROUPS = 8;

/** For so long a consumer that was killed holds its messages where nobody sees that it is gone, in milliseconds. */
const VISIBILITY = 1_500;

const file = fs.openSync(log, 'a');
const note = (/** @type {string} */ what) => fs.writeSync(file, `${name} ${what}\n`);

/** @type {Record<string, (bus: import('../bus').Bus) => Promise<unknown>>} */
const ROLES = {
  /** Serves a file, if nobody else does. */
  async idle(bus) {
    await bus.subscribe('nothing', () => {});
  },
  /** Sends messages without end, from a number on. */
  async producer(bus) {
    const queue = bus.queue('work', { visibility: VISIBILITY });
    const own = name.split('.')[0];
    let next = Number(first);
    const send = async () => {
      for (;;) {
        const number = next++;
        note(`send ${number}`);
        await queue.send({ number }, { group: `${own}-${number % GROUPS}`, timeout: 0 });
        note(`kept ${number}`);
      }
    };
    await Promise.all(Array.from({ length: SENDS }, send));
  },
  /** Works on all that comes. What it has worked on and not acknowledged was under way when it was killed. */
  async consumer(bus) {
    const queue = bus.queue('work', { visibility: VISIBILITY });
    await queue.process(
      async (job) => {
        note(`done ${job.message.number} ${job.group}`);
        await job.ack({ timeout: 0 });
        note(`acked ${job.message.number}`);
      },
      { concurrency: WORKS, onError: (error, job) => note(`failed ${job.message.number} ${error.message}`) },
    );
  },
};

connect(url, { durability: 'process', connectTimeout: 60_000 }).then(async (bus) => {
  note('ready');
  await ROLES[role](bus);
});
