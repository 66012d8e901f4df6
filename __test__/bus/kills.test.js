'use strict';

// Processes that are killed: whoever serves, whoever sends, whoever works. Nothing that was acknowledged is lost.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const timers = require('node:timers/promises');
const { pathToFileURL } = require('node:url');
const { connect } = require('../../bus');
const { until, withCode } = require('./contract');

const PART = path.join(__dirname, '../fixtures/bus/part.js');
const onLinux = { skip: process.platform !== 'linux' && 'it looks into /proc' };

/** Nothing takes nearly so long, in milliseconds. */
const LONG = 60_000;

/** @param {import('node:test').TestContext} t */
function scene(t) {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'corral-bus-')));
  const file = path.join(directory, 'bus.db');
  const log = path.join(directory, 'log');
  fs.writeFileSync(log, '');
  const url = pathToFileURL(file).href;
  /** @type {Set<import('node:child_process').ChildProcess>} */
  const children = new Set();
  /** @type {import('../../bus').Bus[]} */
  const buses = [];
  t.after(async () => {
    // This process would take over from those that are killed, while the directory is removed.
    await Promise.all(buses.map((bus) => bus.close()));
    await Promise.all([...children].map(kill));
    fs.rmSync(directory, { recursive: true });
  });

  /** @param {object} [options] */
  async function open(options) {
    const bus = await connect(url, { durability: 'process', ...options });
    buses.push(bus);
    return bus;
  }

  const lines = () => fs.readFileSync(log, 'utf8').split('\n').slice(0, -1);

  /** @param {string} role @param {string} [name] */
  function start(role, name = role) {
    const child = spawn(process.execPath, [PART, role, url, name, log], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    children.add(child);
    return child;
  }

  /** @param {import('node:child_process').ChildProcess} child */
  async function kill(child) {
    children.delete(child);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }

  /** @param {string} role @param {string} [name] */
  async function ready(role, name) {
    const child = start(role, name);
    await until(async () => lines().includes(`ready ${child.pid}`));
    return child;
  }

  /** @param {number | undefined} pid @returns {boolean} whether it has the file open: it serves it */
  function serves(pid) {
    try {
      const numbers = fs.readdirSync(`/proc/${pid}/fd`);
      return numbers.some((number) => linkOf(`/proc/${pid}/fd/${number}`) === file);
    } catch {
      return false;
    }
  }

  return { directory, file, log, lines, open, start, ready, kill, serves, children };
}

/** @param {string} name */
function linkOf(name) {
  try {
    return fs.readlinkSync(name);
  } catch {
    return '';
  }
}

test('when the serving process is killed, another one serves, and nothing is lost', onLinux, async (t) => {
  const { open, ready, kill, serves } = scene(t);
  const first = await ready('idle');
  const bus = await open();
  assert.ok(serves(first.pid) && !serves(process.pid));
  const queue = bus.queue('jobs');
  await queue.send('before');
  const [held] = await queue.receive({ visibility: LONG });
  const delayed = await queue.send('delayed', { delay: 50, id: 'once' });
  const waiting = queue.receive({ wait: LONG });
  /** @type {string[]} */
  const seen = [];
  await bus.subscribe('news', (message) => seen.push(message));
  /** @type {string[]} */
  const events = [];
  bus.on('down', () => events.push('down')).on('up', () => events.push('up'));

  const down = once(bus, 'down');
  await kill(first);
  await down;
  assert.equal(bus.state, 'down');
  // It is sent when there is somebody again, and in its order.
  const sent = ['a', 'b', 'c'].map((message) => bus.queue('later').send(message));
  await Promise.all(sent);
  assert.ok(serves(process.pid));
  assert.deepEqual(events, ['down', 'up']);
  const later = await bus.queue('later').receive({ count: 3 });
  assert.deepEqual(
    later.map(({ message }) => message),
    ['a', 'b', 'c'],
  );
  // What was held is held, and who waited waits.
  assert.equal((await queue.stats()).held >= 1, true);
  await held.ack();
  assert.deepEqual(
    (await waiting).map(({ message }) => message),
    ['delayed'],
  );
  assert.equal((await queue.send('again', { id: delayed.id })).duplicate, true);
  await bus.publish('news', 'still there');
  await until(async () => seen.length === 1);
});

test('a consumer that is killed gives its messages back at once', async (t) => {
  const { open, ready, kill, lines } = scene(t);
  const bus = await open();
  await bus.queue('work').send('precious');
  const holder = await ready('holder');
  await until(async () => lines().includes('held precious'));
  const waiting = bus.queue('work').receive({ wait: LONG });
  await kill(holder);
  const [job] = await waiting;
  assert.deepEqual([job.message, job.deliveries], ['precious', 2]);
});

test('a bus that is away takes so many messages and no more', async (t) => {
  const { open, ready, kill, directory } = scene(t);
  const first = await ready('idle');
  const bus = await open({ offline: { messages: 2 } });
  // Nobody can take over.
  const lock = path.join(directory, 'bus.db.lock');
  fs.rmSync(lock);
  fs.mkdirSync(lock);
  const down = once(bus, 'down');
  await kill(first);
  await down;
  const sent = ['a', 'b'].map((message) => bus.queue('jobs').send(message));
  await assert.rejects(bus.queue('jobs').send('c'), withCode('ERR_CORRAL_BUS_OFFLINE'));
  await assert.rejects(bus.queue('jobs').send('d', { timeout: 10 }), withCode('ERR_CORRAL_BUS_OFFLINE'));
  fs.rmdirSync(lock);
  await Promise.all(sent);
  const jobs = await bus.queue('jobs').receive({ count: 10 });
  assert.deepEqual(
    jobs.map(({ message }) => message),
    ['a', 'b'],
  );
});

test('many take over at once, and one does', onLinux, async (t) => {
  const { ready, kill, serves, lines, children } = scene(t);
  const first = await ready('idle');
  assert.ok(serves(first.pid));
  const others = await Promise.all(Array.from({ length: 4 }, () => ready('idle')));
  let serving = first;
  for (let round = 0; round < 3; round += 1) {
    others.splice(others.indexOf(serving), others.includes(serving) ? 1 : 0);
    await kill(serving);
    await until(async () => others.some(({ pid }) => serves(pid)));
    const now = others.filter(({ pid }) => serves(pid));
    assert.equal(now.length, 1);
    [serving] = now;
  }
  assert.ok(lines().length >= 5 && children.size === 2);
});

test('processes are killed at random, and every message that was kept is worked on', onLinux, async (t) => {
  const { open, start, kill, lines, serves } = scene(t);
  const KILLS = 24;
  /** So many messages are kept between two of them. */
  const AT_LEAST = 5;
  /** @type {Map<string, import('node:child_process').ChildProcess>} */
  const parts = new Map();
  let incarnation = 0;
  const launch = (/** @type {string} */ role) =>
    parts.set(role, start(role.split(' ')[0], `${role}.${incarnation++}`));
  const roles = ['producer 1', 'producer 2', 'consumer 1', 'consumer 2', 'consumer 3', 'idle 1'];
  for (const role of roles) launch(role);
  await until(async () => lines().some((line) => line.startsWith('done')));
  const keptCount = () => lines().filter((line) => line.startsWith('kept')).length;
  for (let count = 0; count < KILLS; count += 1) {
    // On a busy machine it may take them longer than this to start.
    const before = keptCount();
    await timers.setTimeout(100);
    await until(async () => keptCount() >= before + AT_LEAST);
    // Every other time it is the one that serves, if there is one just now.
    const serving = count % 2 === 0 ? roles.find((role) => serves(parts.get(role)?.pid)) : undefined;
    const role = serving ?? roles[Math.floor(Math.random() * roles.length)];
    await kill(/** @type {import('node:child_process').ChildProcess} */ (parts.get(role)));
    launch(role);
  }
  for (const role of ['producer 1', 'producer 2']) {
    await kill(/** @type {import('node:child_process').ChildProcess} */ (parts.get(role)));
  }
  const bus = await open();
  await bus.queue('work').drain();

  /** @type {{ kept: string[], done: string[] }} */
  const all = { kept: [], done: [] };
  for (const line of lines()) {
    const [, what, which] = /^(kept|done) (.*)$/.exec(line) ?? [];
    if (what !== undefined) all[/** @type {'kept' | 'done'} */ (what)].push(which);
  }
  const done = new Set(all.done);
  const lost = all.kept.filter((one) => !done.has(one));
  assert.deepEqual(lost, []);
  assert.ok(all.kept.length > 100, `${all.kept.length} were kept`);
  // Of a group, the first time of each comes in the order in which they were sent.
  /** @type {Map<string, number>} */
  const last = new Map();
  for (const one of done) {
    const [, group, number] = /** @type {RegExpExecArray} */ (/^(.*) (\d+)$/.exec(one));
    assert.ok(Number(number) > (last.get(group) ?? -1), `${one} comes after ${last.get(group)}`);
    last.set(group, Number(number));
  }
  // Twice comes only what somebody was working on: four messages of each who was killed, or had to wait for long.
  const twice = all.done.length - done.size;
  t.diagnostic(`${all.kept.length} kept, ${done.size} worked on, ${twice} of them twice`);
  assert.ok(twice <= KILLS * 4 * 3, `${twice} came twice`);
});
