'use strict';

// `corral bus`: looks at a bus of corral/bus, and takes part in it.

const fs = require('node:fs');
const readline = require('node:readline');
const { fileURLToPath } = require('node:url');

const { connect } = require('../bus');
const { UsageError, suggestion } = require('./usage-error');

/** @typedef {import('./arguments').Parsed} Parsed */
/** @typedef {import('../bus').Bus} Bus */
/** @typedef {{ bus: Bus, words: string[], flags: Record<string, any> }} Call */

/** How many messages are moved at a time. */
const BATCH = 100;

/** @param {string} text */
function print(text) {
  process.stdout.write(`${text}\n`);
}

/** @param {string | undefined} word @param {string} what */
function needed(word, what) {
  if (word === undefined) throw new UsageError(`which ${what}?`);
  return word;
}

/** @param {string[]} words @param {number} most */
function noMore(words, most) {
  if (words.length > most) throw new UsageError(`${words[most]} is one word too many`);
}

/** @param {Record<string, any>} flags @param {string} name @returns {number | undefined} */
function numberOf(flags, name) {
  const text = flags[name];
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text)) throw new UsageError(`--${name} needs a whole number, and not ${text}`);
  return Number(text);
}

/** @param {() => any} read */
function readable(read) {
  try {
    return read();
  } catch (error) {
    return { unreadable: /** @type {Error} */ (error).message };
  }
}

/** @param {import('../bus').QueuedMessage} job */
function shown(job) {
  const { id, priority, group, deliveries, dead, headers, sentAt } = job;
  const message = readable(() => job.message);
  return { id, sentAt, priority, group, deliveries, headers, dead, message };
}

/** @param {string[][]} rows whose first one is the head */
function printTable(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows)
    print(
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    );
}

/** @type {Record<string, (call: Call) => Promise<void>>} */
const ACTIONS = {
  async ls({ bus, words, flags }) {
    noMore(words, 0);
    const names = (await bus.queues()).sort();
    if (flags.json) print(JSON.stringify(names));
    else for (const name of names) print(name);
  },

  async stats({ bus, words, flags }) {
    const names = words.length > 0 ? words : (await bus.queues()).sort();
    const all = [];
    for (const queue of names) all.push({ queue, ...(await bus.queue(queue).stats()) });
    if (flags.json) return print(JSON.stringify(all));
    const rows = all.map(({ queue, waiting, delayed, held, receivers }) =>
      [queue, waiting, delayed, held, receivers].map(String),
    );
    printTable([['QUEUE', 'WAITING', 'DELAYED', 'HELD', 'RECEIVERS'], ...rows]);
  },

  async peek({ bus, words, flags }) {
    noMore(words, 1);
    const queue = bus.queue(needed(words[0], 'queue'));
    const seen = (await queue.peek({ count: numberOf(flags, 'lines') ?? 10 })).map(shown);
    for (const one of seen) {
      print(flags.json ? JSON.stringify(one) : `${one.id}  ${JSON.stringify(one.message)}`);
    }
  },

  async send({ bus, words, flags }) {
    noMore(words, 2);
    const queue = bus.queue(needed(words[0], 'queue'));
    const { group, id } = flags;
    const options = { delay: numberOf(flags, 'delay'), priority: numberOf(flags, 'priority'), group, id };
    const text = needed(words[1], 'message');
    for await (const line of text === '-' ? lines() : [text]) {
      const { id: sent, duplicate } = await queue.send(messageOf(line, flags.text), options);
      print(flags.json ? JSON.stringify({ id: sent, duplicate }) : `${sent}${duplicate ? ' was there' : ''}`);
    }
  },

  async tail({ bus, words, flags }) {
    noMore(words, 1);
    const subscription = await bus.subscribe(needed(words[0], 'topic'));
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => subscription.close());
    bus.on('unreadable', (_error, topic, raw) => print(`${topic}  ${raw.toString('latin1')}`));
    process.stderr.write(`listening to ${words[0]}\n`);
    for await (const { topic, message } of subscription) {
      print(flags.json ? JSON.stringify({ topic, message }) : `${topic}  ${JSON.stringify(message)}`);
    }
  },

  async move({ bus, words, flags }) {
    noMore(words, 2);
    const [from, to] = [bus.queue(needed(words[0], 'queue')), needed(words[1], 'other queue')];
    let left = numberOf(flags, 'lines') ?? Number.POSITIVE_INFINITY;
    // Those that are there now: whoever gives one back meanwhile would have it moved again and again.
    left = Math.min(left, (await from.stats()).waiting);
    let moved = 0;
    while (left > 0) {
      const jobs = await from.receive({ count: Math.min(left, BATCH) });
      if (jobs.length === 0) break;
      for (const job of jobs) {
        const { priority, group, headers } = job;
        const message = job.message;
        // A new id: by its own it would be a message that was there already.
        await bus.transaction((tx) => {
          tx.ack(job);
          tx.queue(to).send(message, { priority, group, headers });
        });
        moved += 1;
      }
      left -= jobs.length;
    }
    print(flags.json ? JSON.stringify({ moved }) : `moved ${moved}`);
  },
};

function lines() {
  return readline.createInterface({ input: process.stdin });
}

/** @param {string} text @param {boolean} isText */
function messageOf(text, isText) {
  if (isText) return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new UsageError(`${text} is no JSON; --text sends it as a text`);
  }
}

/** @param {string} url */
function checkPlace(url) {
  if (!URL.canParse(url)) throw new UsageError(`${url} is no URL: file:<path>, redis://<host>`);
  // A name that was mistyped would become a new file.
  if (!url.startsWith('file:')) return;
  const path = url.startsWith('file:/') ? fileURLToPath(url) : decodeURIComponent(url.slice('file:'.length));
  if (!fs.existsSync(path)) throw new Error(`there is no file ${path}`);
}

/** @param {Parsed} parsed */
async function run({ words: [url, action, ...words], flags }) {
  const known = Object.keys(ACTIONS);
  checkPlace(needed(url, 'bus'));
  const act = ACTIONS[needed(action, `action: ${known.join(', ')}`)];
  if (act === undefined) throw new UsageError(`bus has no ${action}${suggestion(action, known)}`);
  // What was written in V8's format is moved in it; everybody reads both.
  const bus = await connect(url, { serialization: action === 'move' ? 'advanced' : 'json' });
  try {
    await act({ bus, words, flags });
  } finally {
    await bus.close();
  }
}

module.exports = { run };
