'use strict';

// How soon `cluster.observe` says what a blocked worker does, by the way in which it blocks.

const path = require('node:path');

const { Remote, whileItRuns } = require('./remote');
const { formatNumber } = require('./report');
const { SIDE_VARIABLE } = require('./side');
const { median } = require('./stats');

const TARGET_MS = 1500;

/** In which V8 can be interrupted; of the others there is what the thread does. */
const INTERRUPTIBLE = ['loop', 'backtrack', 'wait'];
const KINDS = [...INTERRUPTIBLE, 'parse', 'read'];

class Blocking {
  #remote = new Remote(path.join(__dirname, '../programs/observe-primary.js'), {
    env: { [SIDE_VARIABLE]: 'corral' },
  });

  get pid() {
    return this.#remote.pid;
  }

  /** @param {number} workers */
  async start(workers) {
    await this.#remote.ask('start', workers);
  }

  /** @param {string} kind @returns {Promise<{ milliseconds: number, top: string | null, activity: string }>} */
  blockOnce(kind) {
    return this.#remote.ask('blockOnce', kind);
  }

  stop() {
    return this.#remote.stop();
  }
}

/** @param {number} rounds */
async function blocks(rounds) {
  /** @type {string[]} */
  const lines = [];
  let slowest = 0;
  let wrong = 0;
  await whileItRuns(new Blocking(), 2, async (cluster) => {
    for (const kind of KINDS) {
      const found = [];
      for (let round = 0; round < rounds; round++) found.push(await cluster.blockOnce(kind));
      const times = found.map(({ milliseconds }) => milliseconds);
      slowest = Math.max(slowest, ...times);
      const isInterruptible = INTERRUPTIBLE.includes(kind);
      wrong += found.filter(({ top }) => (isInterruptible ? top !== kind : top !== null)).length;
      const [{ top, activity }] = found;
      const [middle, most] = [median(times), Math.max(...times)].map((time) => formatNumber(time, 0));
      lines.push(`  ${kind.padEnd(10)} ${middle} ms, at most ${most}: ${top ?? 'no stack'}, ${activity}`);
    }
  });
  console.log(`blocks: from the beginning of a block until 'blocked' is emitted, blockedAfter 1000 ms, ${rounds} times each, Node ${process.version}
${lines.join('\n')}
`);
  return [
    {
      text: `what a blocked worker does told within ${TARGET_MS} ms, with the right function or none`,
      met: slowest <= TARGET_MS && wrong === 0,
      got: `${formatNumber(slowest, 0)} ms, ${wrong} wrong`,
    },
  ];
}

module.exports = { blocks };
