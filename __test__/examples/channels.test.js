'use strict';

// Runs each example of channels between processes that meet at a path, and checks what its header comment promises.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const { test } = require('node:test');
const { Example, scratchDirectory } = require('../helpers/example.js');

/** @typedef {import('node:test').TestContext} TestContext */

/**
 * One request on a connection of its own.
 * @param {string} port
 * @param {string} url
 */
async function get(port, url) {
  const request = http.get({ port: Number(port), host: 'localhost', path: url, agent: false });
  const [response] = await once(request, 'response');
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk;
  return { status: response.statusCode, body };
}

/** @param {Example} example */
async function assertEndsWell(example) {
  assert.deepEqual(await example.exit, { code: 0, signal: null });
  assert.deepEqual(example.processes(), []);
}

/**
 * A dispatch centre, in a directory for temporary files of its own.
 * @param {TestContext} t
 * @param {string} name
 */
async function startCentre(t, name) {
  const TMPDIR = scratchDirectory(t);
  const centre = new Example(t, name, { TMPDIR });
  const [[, port]] = await centre.lines(/^clients: curl http:\/\/localhost:(\d+)\/some\/words$/, 1);
  await centre.lines(new RegExp(`^workers: node .*${name} worker$`), 1);
  /** Starts a worker and waits until the centre has it. */
  const startWorker = async () => {
    const worker = new Example(t, name, { TMPDIR }, { args: ['worker'] });
    await centre.line(new RegExp(`^worker ${worker.pid} has come$`));
    return worker;
  };
  return { TMPDIR, centre, port, startWorker };
}

for (const name of ['dispatch-centre.js', 'dispatch-handover.js']) {
  test(`${name}: the workers answer in turn, and Ctrl-C leaves nothing behind`, async (t) => {
    const { TMPDIR, centre, port, startWorker } = await startCentre(t, name);
    assert.equal((await get(port, '/nobody')).status, 503);

    const workers = [await startWorker(), await startWorker(), await startWorker()];
    const turns = [];
    for (let i = 0; i < 7; i++) {
      const { status, body } = await get(port, `/some/words/${i}`);
      const [, pid] = /** @type {RegExpExecArray} */ (
        new RegExp(`^worker (\\d+): /SOME/WORDS/${i}\\n$`).exec(body)
      );
      assert.equal(status, 200);
      turns.push(workers.findIndex((worker) => worker.pid === Number(pid)));
    }
    assert.deepEqual(turns, [0, 1, 2, 0, 1, 2, 0]);
    await workers[1].line(/^\/some\/words\/1$/);

    centre.pressCtrlC();
    await assertEndsWell(centre);
    assert.deepEqual(fs.readdirSync(TMPDIR), []);
    if (name === 'dispatch-handover.js') await Promise.all(workers.map(assertEndsWell));
  });
}

test('dispatch-centre.js: a request whose worker is killed is given to another', async (t) => {
  const { centre, port, startWorker } = await startCentre(t, 'dispatch-centre.js');
  const victim = await startWorker();
  // It takes no request before it is killed.
  process.kill(victim.pid, 'SIGSTOP');
  const first = get(port, '/first');
  await centre.line(new RegExp(`^/first goes to worker ${victim.pid}$`));
  const other = await startWorker();
  process.kill(victim.pid, 'SIGKILL');
  await centre.line(new RegExp(`^worker ${victim.pid} has gone$`));
  await centre.line(new RegExp(`^/first goes to worker ${other.pid}$`));
  assert.deepEqual(await first, { status: 200, body: `worker ${other.pid}: /FIRST\n` });

  // And when it was the last one.
  process.kill(other.pid, 'SIGSTOP');
  const second = get(port, '/second');
  await centre.line(new RegExp(`^/second goes to worker ${other.pid}$`));
  process.kill(other.pid, 'SIGKILL');
  assert.equal((await second).status, 503);
});

test('dispatch-centre.js: a request that Ctrl-C finds under way is answered', async (t) => {
  const { centre, port, startWorker } = await startCentre(t, 'dispatch-centre.js');
  const worker = await startWorker();
  process.kill(worker.pid, 'SIGSTOP');
  const answer = get(port, '/late');
  await centre.line(/^\/late goes to worker /);
  centre.pressCtrlC();
  await centre.line(/^no more clients$/);
  process.kill(worker.pid, 'SIGCONT');
  assert.deepEqual(await answer, { status: 200, body: `worker ${worker.pid}: /LATE\n` });
  await assertEndsWell(centre);
});

test('dispatch-centre.js: the workers come back to a centre that was killed', async (t) => {
  const { TMPDIR, centre, startWorker } = await startCentre(t, 'dispatch-centre.js');
  const workers = [await startWorker(), await startWorker()];
  process.kill(centre.pid, 'SIGKILL');
  await Promise.all(workers.map((worker) => worker.line(/^waiting for the centre/)));
  const next = new Example(t, 'dispatch-centre.js', { TMPDIR });
  const come = await next.lines(/^worker (\d+) has come$/, 2);
  assert.deepEqual(come.map(([, pid]) => Number(pid)).sort(), workers.map(({ pid }) => pid).sort());
  const [[, port]] = await next.lines(/^clients: .*:(\d+)\//, 1);
  assert.equal((await get(port, '/again')).status, 200);
});

test('dispatch-handover.js: clients of a worker that is killed see their connections closed, the others are served', async (t) => {
  const { port, startWorker } = await startCentre(t, 'dispatch-handover.js');
  const victim = await startWorker();
  const other = await startWorker();
  process.kill(victim.pid, 'SIGSTOP');
  const answers = [];
  // Two for each; of the victim's, one is with it and one waits until that one has arrived.
  for (let i = 0; i < 4; i++) answers.push(get(port, `/${i}`));
  await other.lines(/^\/\d$/, 2);
  process.kill(victim.pid, 'SIGKILL');
  const results = await Promise.allSettled(answers);
  const good = results.filter(({ status }) => status === 'fulfilled');
  assert.equal(good.length, 2);
  for (const result of good) {
    const { status, body } = /** @type {any} */ (result).value;
    assert.equal(status, 200);
    assert.match(body, new RegExp(`^worker ${other.pid}: `));
  }
  // The centre may hear of the death after the clients; then one more is given to who is dead.
  let after;
  do after = await get(port, '/after').catch(() => undefined);
  while (after === undefined);
  assert.match(after.body, new RegExp(`^worker ${other.pid}: /AFTER`));
});

test('reports: children connect, get their work and report', async (t) => {
  const TMPDIR = scratchDirectory(t);
  const example = new Example(t, 'reports.js', { TMPDIR, BELOW: '100000' });
  await assertEndsWell(example);
  const come = await example.lines(/^child (\d) \(pid \d+\) has come$/, 3);
  assert.deepEqual(come.map(([, id]) => id).sort(), ['1', '2', '3']);
  const found = await example.lines(/^child \d has found (\d+)$/, 3);
  assert.equal(
    found.reduce((sum, [, primes]) => sum + Number(primes), 0),
    9592,
  );
  await example.line(/^9592 prime numbers below 100000$/);
  assert.deepEqual(fs.readdirSync(TMPDIR), []);
});

test('reports: children that die are named, and Ctrl-C leaves nothing behind', async (t) => {
  const TMPDIR = scratchDirectory(t);
  // More than can be done before they are killed.
  const example = new Example(t, 'reports.js', { TMPDIR, BELOW: String(10 ** 12) });
  const come = await example.lines(/^(child \d) \(pid (\d+)\) has come$/, 3);
  const [, victim, pid] = come[0];
  process.kill(Number(pid), 'SIGKILL');
  example.pressCtrlC();
  assert.deepEqual(await example.exit, { code: 1, signal: null });
  await example.lines(new RegExp(`^${victim} died \\(SIGKILL\\)$`), 1);
  await example.lines(/^child \d died \(SIGINT\)$/, 2);
  assert.deepEqual(fs.readdirSync(TMPDIR), []);
  assert.deepEqual(example.processes(), []);
});

/**
 * @param {TestContext} t
 * @param {string} TMPDIR
 */
async function startBoard(t, TMPDIR) {
  const board = new Example(t, 'notices.js', { TMPDIR }, { args: ['board'] });
  await board.line(/^the board is at /);
  return board;
}

/**
 * @param {TestContext} t
 * @param {Record<string, string>} env
 */
async function startReader(t, env) {
  const reader = new Example(t, 'notices.js', env, { stdin: 'pipe' });
  await reader.line(/^connected$/);
  return reader;
}

test('notices: what one types, all print; the clients wait for a board that has gone and carry on', async (t) => {
  const TMPDIR = scratchDirectory(t);
  const board = await startBoard(t, TMPDIR);
  const readers = [await startReader(t, { TMPDIR }), await startReader(t, { TMPDIR })];
  for (const { pid } of readers) await board.lines(new RegExp(`^client ${pid} has come$`), 1);
  const [{ pid }] = readers;

  readers[0].stdin.write('größer\n');
  await board.line(new RegExp(`^client ${pid}: größer$`));
  for (const reader of readers) await reader.lines(new RegExp(`^${pid}: größer$`), 1);
  await readers[0].lines(/^published to 2$/, 1);

  // It cannot clean up: its socket's file stays, and is taken over.
  process.kill(board.pid, 'SIGKILL');
  for (const reader of readers) await reader.line(/^waiting for the board$/);
  readers[0].stdin.write('meanwhile\n');
  const next = await startBoard(t, TMPDIR);
  for (const reader of readers) await reader.line(/^connected$/);
  await next.line(new RegExp(`^client ${pid}: meanwhile$`));
  await readers[0].lines(/^published to \d$/, 2);

  await next.lines(/^client \d+ has come$/, 2);
  readers[1].stdin.write('together again\n');
  for (const reader of readers) await reader.lines(new RegExp(`^${readers[1].pid}: together again$`), 1);

  // Ctrl-D
  for (const reader of readers) reader.stdin.end();
  await Promise.all(readers.map(assertEndsWell));
  await next.lines(/^client \d+ has gone$/, 2);
  next.pressCtrlC();
  await assertEndsWell(next);
  assert.deepEqual(fs.readdirSync(TMPDIR), []);
});

test('notices: there is one board only', async (t) => {
  const TMPDIR = scratchDirectory(t);
  await startBoard(t, TMPDIR);
  const second = new Example(t, 'notices.js', { TMPDIR }, { args: ['board'] });
  assert.deepEqual(await second.exit, { code: 1, signal: null });
  assert.match(second.text, /^listen EADDRINUSE: .*notices\.sock$/);
});

test('notices: a board that does not answer in time', async (t) => {
  const TMPDIR = scratchDirectory(t);
  const board = await startBoard(t, TMPDIR);
  const reader = await startReader(t, { TMPDIR, TIMEOUT: '50' });
  process.kill(board.pid, 'SIGSTOP');
  reader.stdin.write('hello?\n');
  await reader.line(/^not published: .*50/);
  process.kill(board.pid, 'SIGCONT');
  // Only the answer came too late.
  await reader.line(new RegExp(`^${reader.pid}: hello\\?$`));
  reader.stdin.end();
  await assertEndsWell(reader);
});
