'use strict';

// kill -9 of either side at any point: nobody hangs, what was answered was handled, what was called back for arrives, and
// no descriptor stays. Processes are killed many at a time; when is left to a seeded generator and to the scheduler.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');

const { next, until } = require('./helpers/events');
const { environment } = require('./helpers/programs');
const { openFiles } = require('./helpers/proc');
const { serve } = require('./helpers/ipc');

const KILLS = 100;
const AT_A_TIME = 4;
const options = { timeout: 60_000, skip: process.platform !== 'linux' && 'counts in /proc' };

/** @param {any} t @param {string} file @param {string} where */
function victim(t, file, where) {
  const child = spawn(process.execPath, [path.join(__dirname, 'fixtures/net', file), where], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: environment(),
  });
  const kill = () => child.exitCode === null && child.signalCode === null && child.kill('SIGKILL');
  t.after(kill);
  let text = '';
  child.stdout.setEncoding('latin1').on('data', (part) => {
    text += part;
  });
  // A line that breaks off was not finished.
  const lines = next(child, 'close').then(() => text.split('\n').slice(0, -1).map(Number));
  return { pid: child.pid, kill, lines };
}

/**
 * @param {any} t
 * @param {any} server
 * @param {(channel: any, kill: () => void, lines: Promise<number[]>, index: number) => Promise<void>} round
 * @param {string} file
 */
async function repeatedly(t, server, file, round) {
  /** @type {Map<number, (channel: any) => void>} */
  const expected = new Map();
  server.on('connection', (/** @type {any} */ channel) => expected.get(channel.peer.pid)?.(channel));
  let index = 0;
  const line = async () => {
    while (index < KILLS) {
      const turn = index++;
      const { pid, kill, lines } = victim(t, file, server.address());
      /** @type {any} */
      const channel = await new Promise((resolve) => expected.set(/** @type {number} */ (pid), resolve));
      channel.on('error', () => {});
      await round(channel, kill, lines, turn);
    }
  };
  const files = openFiles();
  await Promise.all(Array.from({ length: AT_A_TIME }, line));
  await until(() => server.connections.size === 0);
  await until(() => openFiles() <= files);
}

test(`${KILLS} senders are killed: what they were called back for has arrived`, options, async (t) => {
  const server = await serve(t);
  let total = 0;
  await repeatedly(t, server, 'sender.js', async (channel, kill, lines, turn) => {
    let last = -1;
    const closed = next(channel, 'close');
    channel.on('message', (/** @type {any} */ { n }) => {
      assert.equal(n, last + 1);
      last = n;
      if (n === (turn * 37) % 1500) kill();
    });
    await closed;
    const calledBack = await lines;
    total += calledBack.length;
    for (const n of calledBack)
      assert.ok(n <= last, `${n} was called back for, ${last} was the last to arrive`);
  });
  assert.ok(total > 0);
});

test(`${KILLS} answerers are killed: what was answered was handled`, options, async (t) => {
  const server = await serve(t);
  let total = 0;
  await repeatedly(t, server, 'answerer.js', async (channel, kill, lines, turn) => {
    /** @type {number[]} */
    const answered = [];
    const codes = new Set();
    const ask = async (/** @type {number} */ from) => {
      for (let n = from; ; n += 8) {
        try {
          answered.push(await channel.request(n));
        } catch (error) {
          codes.add(/** @type {any} */ (error).code);
          return;
        }
        if (answered.length === 1 + ((turn * 31) % 300)) kill();
      }
    };
    const closed = next(channel, 'close');
    await Promise.all(Array.from({ length: 8 }, (_, from) => ask(from)));
    await closed;
    const handled = new Set(await lines);
    total += answered.length;
    for (const n of answered) assert.ok(handled.has(n), `${n} was answered and not handled`);
    for (const code of codes) {
      assert.ok(
        ['ERR_CORRAL_NO_REPLY', 'ERR_IPC_CHANNEL_CLOSED', 'EPIPE', 'ECONNRESET'].includes(code),
        code,
      );
    }
  });
  assert.ok(total > KILLS);
});
