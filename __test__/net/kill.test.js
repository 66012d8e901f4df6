'use strict';

// kill -9 of either side at any point: nobody hangs, what was answered was handled, what was called back for arrives, and
// no descriptor stays. Processes are killed many at a time; when is left to a seeded generator and to the scheduler.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { next, until } = require('../helpers/events');
const { environment } = require('../helpers/programs');
const { openFiles } = require('../helpers/proc');
const { open, scratch, serve, start } = require('../helpers/ipc');

const KILLS = 100;
const AT_A_TIME = 4;
const options = { timeout: 240_000, skip: process.platform !== 'linux' && 'counts in /proc' };

/** @param {any} t @param {string} file @param {string} where */
function victim(t, file, where) {
  const child = spawn(process.execPath, [path.join(__dirname, '../fixtures/net', file), where], {
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

/** A small generator: the same numbers every time. @param {number} seed */
function generator(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Now and then more than a socket's buffer takes, in one or in many, so that the end comes in the midst of them. */
const TEXTS = Array.from({ length: 200 }, (_, n) => {
  if (n === 7) return 'x'.repeat(400_000);
  return n >= 100 ? 'x'.repeat(8000) : '';
});

/**
 * A client that sends and asks and knows what must have become of it.
 *
 * @param {any} t
 * @param {string} where
 * @param {string} who
 * @param {() => void} onAnswer
 */
function steadyClient(t, where, who, onAnswer) {
  const client = open(t, where, { reconnect: { minDelay: 1, maxDelay: 20 } });
  let connections = 0;
  let ends = 0;
  client.on('connect', () => connections++);
  client.on('disconnect', () => ends++);
  client.on('error', (/** @type {any} */ error) => assert.fail(error));
  client.on('close', () => assert.fail('given up'));
  /** @type {Set<string>} */
  const news = new Set();
  client.on('message', (/** @type {any} */ message) => news.add(message.news));
  /** What was sent, by its number: how it ended, and on which connection. @type {{ fate: string, on: number }[]} */
  const sent = [];
  const number = () => {
    const entry = { fate: 'open', on: 0 };
    sent.push(entry);
    /** @param {string} fate */
    const settle = (fate) => {
      assert.equal(entry.fate, 'open');
      Object.assign(entry, { fate, on: connections });
    };
    return { n: sent.length - 1, settle };
  };
  const tell = () => {
    const { n, settle } = number();
    const text = TEXTS[n % TEXTS.length];
    client.send({ who, n, text }, (/** @type {any} */ error) =>
      settle(error === null ? 'written' : 'failed'),
    );
  };
  const ask = async () => {
    const { n, settle } = number();
    try {
      assert.equal(await client.request({ who, n }), n);
      settle('answered');
      onAnswer();
    } catch (/** @type {any} */ error) {
      assert.equal(error.code, 'ERR_CORRAL_NO_REPLY', error.message);
      settle('unknown');
    }
  };
  return { who, client, sent, news, ask, tell, ends: () => ends };
}

/** @param {ReturnType<typeof steadyClient>} client @param {string[][]} log */
function assertKept({ who, sent, news }, log) {
  const mine = log.filter(([, name]) => name === who);
  const got = mine.filter(([what]) => what === 'got').map(([, , n]) => Number(n));
  for (const [index, n] of got.entries()) {
    assert.ok(index === 0 || n > got[index - 1], `${who}: ${n} came behind ${got[index - 1]}`);
  }
  const handled = new Set(got);
  /** The last that was answered on each connection. @type {Map<number, number>} */
  const answered = new Map();
  for (const [n, { on, fate }] of sent.entries()) {
    assert.notEqual(fate, 'open', `${who}: nobody knows what became of ${n}`);
    if (fate === 'answered') answered.set(on, n);
    if (fate === 'failed') assert.ok(!handled.has(n), `${who}: ${n} failed and was handled`);
  }
  for (const [n, { on, fate }] of sent.entries()) {
    // Answered, or written to a connection on which something behind it was.
    const isKnown = ['answered', 'written'].includes(fate) && n <= (answered.get(on) ?? -1);
    if (isKnown) assert.ok(handled.has(n), `${who}: ${n} was answered and not handled`);
  }
  for (const [what, , item] of mine) {
    if (what === 'told') assert.ok(news.has(item), `${who}: ${item} was called back for and did not arrive`);
  }
}

test(
  `${KILLS} servers are killed: clients come back, and what was acknowledged is not lost`,
  options,
  async (t) => {
    const LANES = 2;
    const CLIENTS = 3;
    await Promise.all(
      Array.from({ length: LANES }, async (_, lane) => {
        const directory = scratch(t);
        const [where, log] = [path.join(directory, 's'), path.join(directory, 'log')];
        fs.writeFileSync(log, '');
        const random = generator(77 + lane);
        let answers = 0;
        /** @type {() => void} */
        let onAnswer = () => {};
        const clients = Array.from({ length: CLIENTS }, (_, index) =>
          steadyClient(t, where, `${lane}.${index}`, () => {
            answers++;
            onAnswer();
          }),
        );
        let isOver = false;
        const busy = clients.map(async ({ ask, tell }) => {
          while (!isOver) {
            for (let count = random(8) === 0 ? 150 : 3; count > 0; count--) tell();
            await Promise.all([ask(), ask()]);
          }
        });
        for (let kill = 0; kill < KILLS / LANES; kill++) {
          const server = start(t, 'mortal.js', [where, log]);
          // While it starts, as soon as it listens, or after so many answers.
          const kind = random(8);
          if (kind === 0) await next(server.child, 'spawn');
          else if (kind === 1) await server.line();
          else {
            const last = answers + 1 + random(150);
            await new Promise((resolve) => {
              onAnswer = () => answers >= last && resolve(0);
            });
          }
          await server.kill();
        }
        const server = start(t, 'mortal.js', [where, log]);
        await server.line();
        isOver = true;
        await Promise.all(busy);
        for (const { ask } of clients) await ask();
        const lines = () =>
          fs
            .readFileSync(log, 'latin1')
            .split('\n')
            .map((line) => line.split(' '));
        for (const client of clients) {
          // What the server told last is under way.
          await client.client.request({ who: client.who, n: -1 }).catch(() => {});
          assert.equal(client.sent.at(-1).fate, 'answered');
          assert.ok(client.ends() > 0);
          assertKept(
            client,
            lines().filter(([, , n]) => n !== '-1'),
          );
        }
        await server.kill();
        for (const { client } of clients) {
          client.removeAllListeners('close');
          client.destroy();
        }
      }),
    );
  },
);
