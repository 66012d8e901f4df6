'use strict';

// `corral run` under a service manager, and as process 1 of a container.

const assert = require('node:assert/strict');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { describe, test } = require('node:test');

const { zombiesOf } = require('../../cli/orphans');
const { APP, CORRAL, QUICK, project } = require('../helpers/cli');
const { until } = require('../helpers/events');
const { manage, noManager } = require('../helpers/service-manager');
const { ask } = require('../helpers/supervise');

const HOST = '127.0.0.1';

/** How long a watchdog is not told anything before that counts as silence, in milliseconds. */
const SILENCE = 1_000;

/** Listens at the port and the path in its arguments, and says which of the manager's variables it sees. */
const SERVICE = `
  const http = require('node:http');
  const seen = Object.keys(process.env).filter((name) => /^(LISTEN|NOTIFY|WATCHDOG)_/.test(name));
  for (const where of process.argv.slice(2)) {
    const server = http.createServer((request, response) => response.end(JSON.stringify(seen)));
    if (where.startsWith('/')) server.listen(where);
    else server.listen(Number(where), '${HOST}');
  }
`;

/**
 * @param {import('node:test').TestContext} t
 * @param {Record<string, string>} files
 * @param {object} config
 * @param {(addresses: any[]) => string[]} wordsOf
 */
async function service(t, files, config, wordsOf) {
  const made = project(t, files);
  const scratch = path.dirname(made.directory);
  const options = { cwd: made.directory, env: { ...made.env, SCRATCH: scratch } };
  const notify = path.join(scratch, 'notify');
  // The ports are known when the manager has opened them: a shell waits for the words.
  const words = path.join(scratch, 'words');
  const command = ['sh', '-c', `while [ ! -e ${words} ]; do sleep 0.05; done; eval "exec $(cat ${words})"`];
  const manager = manage(t, { notify, ...config }, command, options);
  const addresses = await manager.addresses();
  const quoted = [process.execPath, CORRAL, 'run', ...QUICK, ...wordsOf(addresses)].map(
    (word) => `'${word}'`,
  );
  fs.writeFileSync(`${words}.new`, quoted.join(' '));
  const start = () => fs.renameSync(`${words}.new`, words);
  return { ...made, manager, addresses, start, scratch };
}

/** @param {number} pid */
function parentOf(pid) {
  return Number(/^PPid:\s+(\d+)$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** @param {string} socketPath @returns {Promise<string>} the body of the answer to a GET */
async function askAt(socketPath) {
  const http = require('node:http');
  const [response] = await once(http.get({ socketPath, agent: false }), 'response');
  let body = '';
  for await (const part of response) body += part;
  return body;
}

describe('as a service', { skip: noManager, concurrency: 2 }, () => {
  test('a server gets the socket of its address, and what came before it', async (t) => {
    const unix = path.join(fs.mkdtempSync('/tmp/corral-unix-'), 's');
    t.after(() => fs.rmSync(path.dirname(unix), { recursive: true }));
    const sockets = [
      { name: 'other', host: HOST, port: 0 },
      { name: 'web', host: HOST, port: 0 },
      { name: 'unix', path: unix },
    ];
    const { manager, addresses, start, corral } = await service(
      t,
      { 'app.js': SERVICE },
      { sockets },
      ([, web, path]) => ['-w', '1', '--surge', '0', 'app.js', `${web}`, path],
    );
    const [other, web] = addresses;
    const early = ask(web);
    start();
    // No variable of the manager's is there for workers.
    assert.equal(await early, '[]');
    assert.equal(await askAt(unix), '[]');
    const { by } = await manager.told('READY=1');
    assert.equal(by, await manager.pid());
    await manager.told(`MAINPID=${by}`);
    await manager.told('STATUS=1 of 1 workers ready');
    await until(() => manager.text().includes(`no worker listens at ${HOST}:${other}, descriptor 3 (other)`));
    // With the only worker away, nobody is refused: the sockets stay.
    const reload = corral(['reload']);
    while ((await Promise.race([reload, undefined])) === undefined) assert.equal(await ask(web), '[]');
    assert.equal((await reload).code, 0);
    process.kill(by, 'SIGTERM');
    assert.equal(await manager.code(), 0);
    assert.ok(fs.existsSync(unix), 'the path is the manager’s');
    await manager.told('STOPPING=1');
  });

  test('who comes while a primary that was killed is started anew waits, and is served', async (t) => {
    const sockets = [{ name: 'web', host: HOST, port: 0 }];
    const { manager, addresses, start } = await service(
      t,
      { 'app.js': SERVICE },
      { sockets, restart: true },
      ([web]) => ['-w', '1', 'app.js', `${web}`],
    );
    const [web] = addresses;
    start();
    const { by } = await manager.told('READY=1');
    const before = manager.lines().length;
    process.kill(by, 'SIGKILL');
    await manager.line(({ started }) => started !== undefined, before);
    // It has gone, and the next one is not there yet: these are in the backlog of the manager's socket.
    const answers = await Promise.all([ask(web), ask(web), ask(web)]);
    const again = await manager.told('READY=1', before);
    assert.notEqual(again.by, by);
    assert.deepEqual(answers, ['[]', '[]', '[]']);
    process.kill(again.by, 'SIGTERM');
    assert.equal(await manager.code(), 0);
  });

  test('reloads are told with their time, and those that fail, too', async (t) => {
    const { manager, start, directory } = await service(t, { 'app.js': APP }, {}, () => [
      '-w',
      '1',
      'app.js',
    ]);
    start();
    const { by } = await manager.told('READY=1');
    for (const text of [APP, "throw new Error('a broken release')"]) {
      fs.writeFileSync(path.join(directory, 'app.js'), text);
      const before = manager.lines().length;
      const signalled = process.hrtime.bigint() / 1000n;
      process.kill(by, 'SIGHUP');
      const { told } = await manager.told('RELOADING=1', before);
      const [, usec] = /^MONOTONIC_USEC=(\d+)$/.exec(told[1]) ?? [];
      assert.ok(BigInt(usec) >= signalled);
      await manager.told('READY=1', before);
    }
    await manager.told('STATUS=1 of 1 workers ready, the last reload failed');
    process.kill(by, 'SIGTERM');
    assert.equal(await manager.code(), 0);
  });

  test('the watchdog hears while workers serve, and not while their loops do not turn', async (t) => {
    const app = `
      const fs = require('node:fs');
      const http = require('node:http');
      http.createServer((request, response) => {
        while (!fs.existsSync(process.env.SCRATCH + '/free'));
        response.end('free');
      }).listen(0, '${HOST}');`;
    const words = ['-w', '1', '--hung-after', '0', 'app.js'];
    const config = { watchdog: 200_000 };
    const { manager, start, scratch, corral } = await service(t, { 'app.js': app }, config, () => words);
    start();
    const { by } = await manager.told('READY=1');
    const beats = () => manager.lines().filter(({ told = [] }) => told.includes('WATCHDOG=1')).length;
    await until(() => beats() >= 3);
    await until(() => manager.text().includes('listening at'));
    const [, port] = /listening at .*:(\d+)/.exec(manager.text()) ?? [];
    const answer = ask(Number(port));
    // Until it has been silent for as long as several beats take.
    for (let before = -1; before !== beats(); ) {
      before = beats();
      await new Promise((resolve) => setTimeout(resolve, SILENCE));
    }
    fs.writeFileSync(path.join(scratch, 'free'), '');
    assert.equal(await answer, 'free');
    const before = beats();
    await until(() => beats() > before);
    assert.ok(manager.lines().every(({ told = [], by: pid }) => told.length === 0 || pid === by));
    assert.equal((await corral(['stop'])).code, 0);
    assert.equal(await manager.code(), 0);
  });

  test('orphans of workers are taken note of, and workers are as before', async (t) => {
    const app = `${APP}
      const { spawn } = require('node:child_process');
      const wait = 'while [ ! -e $SCRATCH/free ]; do sleep 0.05; done';
      spawn('sh', ['-c', '(' + wait + ') & echo orphan $!'], { stdio: ['ignore', 'inherit', 'inherit'] });
    `;
    const config = { subreaper: true };
    const words = ['-w', '1', 'app.js'];
    const { manager, start, scratch, corral } = await service(t, { 'app.js': app }, config, () => words);
    start();
    const { by } = await manager.told('READY=1');
    await until(() => /orphan \d+\n/.test(manager.text()));
    const [, orphan] = /orphan (\d+)/.exec(manager.text()) ?? [];
    // A zombie it is for a moment that may be missed.
    await until(() => parentOf(Number(orphan)) === by);
    fs.writeFileSync(path.join(scratch, 'free'), '');
    await until(() => !fs.existsSync(`/proc/${orphan}`));
    const { stdout } = await corral(['kill', '0', '--json']);
    await until(() => manager.text().includes(`worker 0 (${JSON.parse(stdout).pid}) was killed by SIGKILL`));
    assert.equal((await corral(['stop'])).code, 0);
    assert.equal(await manager.code(), 0);
  });

  test('a descriptor that is no socket, and a manager that is not there, are told and harm nobody', async (t) => {
    const { directory, env } = project(t, { 'app.js': APP });
    const script = `exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=file NOTIFY_SOCKET=/nowhere/notify "$@" 3< app.js`;
    const words = [process.execPath, CORRAL, 'run', '-w', '1', ...QUICK, 'app.js'];
    const running = spawn('sh', ['-c', script, 'sh', ...words], { cwd: directory, env });
    t.after(() => running.kill('SIGKILL'));
    let text = '';
    for (const stream of [running.stdout, running.stderr]) {
      stream.setEncoding('utf8').on('data', (piece) => {
        text += piece;
      });
    }
    await until(() => /^\[corral\] ready$/m.test(text));
    await until(() => /\[CORRAL_SERVICE\].*descriptor 3 \(file\) of LISTEN_FDS: .*EINVAL/.test(text));
    await until(() => /\[CORRAL_SERVICE\].*NOTIFY_SOCKET=\/nowhere\/notify: .*ENOENT/.test(text));
    running.kill('SIGTERM');
    assert.deepEqual(await once(running, 'exit'), [0, null]);
  });
});

const alone = ['--pid', '--fork', '--mount-proc', '--kill-child'];
const { status } = spawnSync('unshare', [...alone, 'true']);
const noNamespace = status !== 0 && 'this process may make no PID namespaces';

test('process 1 of a container ends when it is told to, with what it has begun', {
  skip: noNamespace,
}, async (t) => {
  const app = `
    const http = require('node:http');
    process.on('SIGWINCH', () => console.log('told'));
    http.createServer((request, response) => {
      console.log('asked');
      setTimeout(() => response.end('slow'), 500);
    }).listen(0, '${HOST}');
    const { spawn } = require('node:child_process');
    spawn('sh', ['-c', 'sleep 0.2 &'], { stdio: 'ignore' });`;
  const { directory, env } = project(t, { 'app.js': app });
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGQUIT'])) {
    const words = [...alone, process.execPath, CORRAL, 'run', '-w', '2', ...QUICK, 'app.js'];
    const outside = spawn('unshare', words, { cwd: directory, env });
    t.after(() => outside.kill('SIGKILL'));
    let text = '';
    for (const stream of [outside.stdout, outside.stderr]) {
      stream.setEncoding('utf8').on('data', (piece) => {
        text += piece;
      });
    }
    const has = (/** @type {RegExp} */ pattern) => until(() => pattern.test(text));
    await has(/^\[corral\] ready$/m);
    const first = Number(fs.readFileSync(`/proc/${outside.pid}/task/${outside.pid}/children`, 'utf8'));
    const [, port] = /listening at .*:(\d+)/.exec(text) ?? [];
    const exit = once(outside, 'exit');
    const answer = ask(Number(port));
    await has(/^\[\d\] asked$/m);
    process.kill(first, 'SIGWINCH');
    await has(/^\[0\] told$/m);
    await until(() => zombiesOf(first).length === 0);
    process.kill(first, signal);
    assert.equal(await answer, 'slow');
    assert.deepEqual(await exit, [0, null]);
  }
});
