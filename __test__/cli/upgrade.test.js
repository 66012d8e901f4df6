'use strict';

// `corral upgrade`: another process takes over, and nobody outside sees anything of it.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { describe, test } = require('node:test');

const { APP, CORRAL, PATIENT, QUICK, project } = require('../helpers/cli');
const { until } = require('../helpers/events');
const { scratchDirectory } = require('../helpers/example');
const { manage, noManager } = require('../helpers/service-manager');
const { Clients, ask } = require('../helpers/supervise');

const isLinux = process.platform === 'linux';

/** A server that says which of the primaries its worker has. */
const BY_PRIMARY = `
  const http = require('node:http');
  http.createServer((request, response) => {
    if (request.url === '/slow') setTimeout(() => response.end('slow'), 1000);
    else response.end(String(process.ppid));
    if (request.url === '/slow') console.log('asked');
  }).listen(0, '127.0.0.1');
`;

/** @param {{ hasSaid: (pattern: RegExp) => Promise<RegExpExecArray> }} running @returns {Promise<number>} */
async function portOf({ hasSaid }) {
  const [, port] = await hasSaid(/listening at .*?(\d+)$/m);
  await hasSaid(/^\[corral\] ready$/m);
  return Number(port);
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** @param {import('node:test').TestContext} t @param {number} pid that is nobody's child here, and its workers */
function endAfter(t, pid) {
  t.after(async () => {
    if (!isAlive(pid)) return;
    process.kill(pid, 'SIGKILL');
    await until(() => !isAlive(pid));
  });
}

describe('an upgrade', { skip: !isLinux && 'this needs Linux', concurrency: 2 }, () => {
  test('loses no request, and the pid file and the control socket are the new one’s', async (t) => {
    const files = { 'app.js': BY_PRIMARY };
    const { corral, start, directory } = project(t, files);
    const running = start(['run', '-w', '2', '--pid-file', 'my.pid', ...PATIENT, 'app.js']);
    const port = await portOf(running);
    const pidFile = () => Number(fs.readFileSync(path.join(directory, 'my.pid'), 'utf8'));
    assert.equal(pidFile(), running.child.pid);
    const clients = new Clients(port);
    const exit = once(running.child, 'exit');
    const slow = ask(port, '/slow');
    await running.hasSaid(/asked/);
    const { code, stdout, stderr } = await corral(['upgrade', '--json']);
    assert.equal(code, 0, stderr);
    const { pid } = JSON.parse(stdout);
    endAfter(t, pid);
    assert.equal(await slow, 'slow');
    // Its streams are the new one's as well.
    assert.deepEqual(await exit, [0, null]);
    await until(() => pidFile() === pid);
    const status = JSON.parse((await corral(['status', '--json'])).stdout);
    assert.equal(status.pid, pid);
    await clients.end();
    assert.deepEqual(clients.errors, []);
    assert.equal(await ask(port), `${pid}`);
    assert.equal((await corral(['stop'])).code, 0);
    await until(() => !isAlive(pid));
    assert.ok(!fs.existsSync(path.join(directory, 'my.pid')));
  });

  test('is carried out by the files that the old one was started with, whatever is there now', async (t) => {
    // A copy of the commands alone: the rest is where the links lead.
    const copy = scratchDirectory(t);
    const root = path.join(CORRAL, '../..');
    for (const name of fs.readdirSync(root)) {
      if (name !== 'cli') fs.symlinkSync(path.join(root, name), path.join(copy, name));
    }
    fs.cpSync(path.join(root, 'cli'), path.join(copy, 'cli'), { recursive: true });
    const { corral, start } = project(t, { 'app.js': APP }, path.join(copy, 'cli/corral.js'));
    const running = start(['run', '-w', '1', ...QUICK, 'app.js']);
    await portOf(running);
    await until(() => corral(['status', '--json']).then(({ code }) => code === 0));
    fs.appendFileSync(path.join(copy, 'cli/upgrade.js'), "console.error('read by', process.pid);\n");
    const { code, stdout, stderr } = await corral(['upgrade', '--json']);
    assert.equal(code, 0, stderr);
    const { pid } = JSON.parse(stdout);
    endAfter(t, pid);
    const [, by] = await running.hasSaid(/read by (\d+)/);
    assert.equal(Number(by), pid);
  });

  test('by SIGUSR2 runs the release to which the link leads, and paths stay', async (t) => {
    const at = (/** @type {string} */ release) => `
      const http = require('node:http');
      for (const where of ['../../s', 0]) {
        http.createServer((request, response) => response.end('${release}')).listen(where);
      }`;
    const { start, directory, corral } = project(t, {});
    for (const release of ['one', 'two']) {
      fs.mkdirSync(path.join(directory, release));
      fs.writeFileSync(path.join(directory, release, 'app.js'), at(release));
    }
    const link = path.join(directory, 'current');
    fs.symlinkSync('one', link);
    const running = start(['run', '-w', '1', '--cwd', 'current', ...QUICK, 'app.js']);
    await portOf(running);
    await until(() => running.output().split('listening at').length === 3);
    const socketPath = path.join(directory, '../s');
    const askPath = async () => {
      const [response] = await once(http.get({ socketPath, agent: false }), 'response');
      return (await response.toArray()).join('');
    };
    assert.equal(await askPath(), 'one');
    fs.rmSync(link);
    fs.symlinkSync('two', link);
    const exit = once(running.child, 'exit');
    running.child.kill('SIGUSR2');
    const [, took] = await running.hasSaid(/ready, in the place of (\d+)$/m);
    assert.equal(Number(took), running.child.pid);
    const { pid } = JSON.parse((await corral(['status', '--json'])).stdout);
    endAfter(t, pid);
    await exit;
    // The old one has ended, and has left the file.
    assert.equal(await askPath(), 'two');
    assert.equal((await corral(['stop'])).code, 0);
    await until(() => !isAlive(pid));
    assert.ok(!fs.existsSync(socketPath), 'the new one removes it');
  });

  test('that fails changes nothing, and says why', async (t) => {
    const { corral, start, directory } = project(t, { 'app.js': BY_PRIMARY });
    const running = start(['run', '-w', '2', ...QUICK, 'app.js']);
    const port = await portOf(running);
    const clients = new Clients(port);
    const broken = [
      [
        "console.error('no database'); process.exit(3);",
        /exited with code 3 before it was ready\n {4}no data/,
      ],
      // It listens, and would have got connections.
      [
        `${BY_PRIMARY}; setTimeout(() => process.exit(4), 20);`,
        /a worker has exited with code 4|exited with code 4/,
      ],
      // It does nothing at all, for longer than is waited for.
      ['', /No worker has started: one was not ready after 1000 ms/],
    ];
    const config = path.join(directory, 'corral.config.json');
    for (const [app, why] of /** @type {[string, RegExp][]} */ (broken)) {
      fs.writeFileSync(path.join(directory, 'app.js'), app);
      if (app === '') fs.writeFileSync(config, '{ "readyTimeout": 1000 }');
      const { code, stderr } = await corral(['upgrade']);
      assert.equal(code, 1);
      assert.match(stderr, /^corral: The upgrade has ended, and this program goes on: /);
      assert.match(stderr, why);
    }
    fs.rmSync(config);
    await clients.end();
    assert.deepEqual(clients.errors, []);
    assert.equal(await ask(port), `${running.child.pid}`);
    fs.writeFileSync(path.join(directory, 'app.js'), BY_PRIMARY);
    const { stdout } = await corral(['upgrade', '--json']);
    const { pid } = JSON.parse(stdout);
    endAfter(t, pid);
    assert.equal(await ask(port), `${pid}`);
    assert.equal((await corral(['stop'])).code, 0);
  });

  test('whose new process is killed before it serves changes nothing', async (t) => {
    const slowly = `${BY_PRIMARY}; console.log('started by', process.ppid);`;
    const { corral, start } = project(t, { 'app.js': slowly });
    const running = start(['run', '-w', '1', '--min-uptime', '30s', '--idle', '100ms', 'app.js']);
    const port = await portOf(running);
    const clients = new Clients(port);
    const upgrade = corral(['upgrade']);
    await until(() => running.output().split('started by').length === 3);
    const pids = [...running.output().matchAll(/started by (\d+)/g)].map(([, pid]) => Number(pid));
    const other = pids.find((pid) => pid !== running.child.pid);
    process.kill(Number(other), 'SIGKILL');
    const { code, stderr } = await upgrade;
    assert.equal(code, 1);
    assert.match(stderr, /this program goes on: it was killed by SIGKILL\n$/);
    await clients.end();
    assert.deepEqual(clients.errors, []);
    assert.equal(await ask(port), `${running.child.pid}`);
    running.child.kill('SIGTERM');
    assert.equal((await running.close).code, 0);
  });

  test('whose new process is stopped when it is nearly proved had nobody serve in the end', async (t) => {
    // A worker that takes its time to end, for longer than it has to prove itself.
    const lingering = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000);";
    const app = `${BY_PRIMARY}; console.log('started by', process.ppid); ${lingering}`;
    const { corral, start } = project(t, { 'app.js': app });
    const times = ['--min-uptime', '5s', '--idle', '100ms', '--kill-timeout', '6s'];
    const running = start(['run', '-w', '1', ...times, 'app.js']);
    const port = await portOf(running);
    const upgrade = corral(['upgrade']);
    await until(() => running.output().split('listening at').length === 3);
    const pids = [...running.output().matchAll(/started by (\d+)/g)].map(([, pid]) => Number(pid));
    const other = Number(pids.find((pid) => pid !== running.child.pid));
    endAfter(t, other);
    process.kill(other, 'SIGTERM');
    const { code, stderr } = await upgrade;
    assert.equal(code, 1);
    assert.match(stderr, /this program goes on: it has exited with code 0\n$/);
    assert.equal(await ask(port), `${running.child.pid}`);
    assert.equal((await corral(['stop', '--now'])).code, 0);
  });

  test('that cannot write its pid file any more goes on, as nobody else serves', async (t) => {
    const { corral, start, directory } = project(t, { 'app.js': BY_PRIMARY });
    const pids = path.join(directory, 'pids');
    fs.mkdirSync(pids);
    const file = path.join(pids, 'my.pid');
    const running = start(['run', '-w', '1', '--pid-file', file, '--min-uptime', '5s', 'app.js']);
    const port = await portOf(running);
    fs.renameSync(pids, `${pids}.old`);
    // At the beginning it is an error, and the old one goes on.
    const { code, stderr } = await corral(['upgrade']);
    assert.equal(code, 1);
    assert.match(stderr, /this program goes on: .*ENOENT/);
    fs.renameSync(`${pids}.old`, pids);
    const upgrade = corral(['upgrade', '--json']);
    await until(() => running.output().split('listening at').length === 3);
    // What stands there now is no file.
    fs.rmSync(file);
    fs.mkdirSync(file);
    const { pid } = JSON.parse((await upgrade).stdout);
    endAfter(t, pid);
    await running.hasSaid(/my\.pid: EISDIR/);
    await running.hasSaid(/ready, in the place of/);
    assert.equal(await ask(port), `${pid}`);
    assert.equal((await corral(['stop'])).code, 0);
    await until(() => !isAlive(pid));
  });

  test('whose old process is killed in the middle of it goes on alone, and its sockets have stayed open', async (t) => {
    const app = `${BY_PRIMARY}; console.log('started by', process.ppid);`;
    const { corral, start } = project(t, { 'app.js': app });
    const running = start(['run', '-w', '1', '--min-uptime', '5s', '--idle', '100ms', 'app.js']);
    const port = await portOf(running);
    const upgrade = corral(['upgrade']);
    await until(() => running.output().split('started by').length === 3);
    const pids = [...running.output().matchAll(/started by (\d+)/g)].map(([, pid]) => Number(pid));
    const other = Number(pids.find((pid) => pid !== running.child.pid));
    endAfter(t, other);
    running.child.kill('SIGKILL');
    // Nobody accepts, and nobody is refused.
    assert.equal(await ask(port), `${other}`);
    assert.equal((await upgrade).code, 1);
    await until(async () => (await corral(['status'])).code === 0);
    const status = JSON.parse((await corral(['status', '--json'])).stdout);
    assert.equal(status.pid, other);
    assert.equal((await corral(['stop'])).code, 0);
    await until(() => !isAlive(other));
  });

  test('is not begun twice, nor without a control socket, and ends with the program', async (t) => {
    const { corral, start, env, directory } = project(t, { 'app.js': BY_PRIMARY });
    const running = start(['run', '-w', '1', '--min-uptime', '30s', 'app.js']);
    await portOf(running);
    const first = corral(['upgrade']);
    await until(() => running.output().split('my-app: 1 worker').length === 3);
    const { code, stderr } = await corral(['upgrade']);
    assert.equal(code, 1);
    assert.equal(stderr, 'corral: another upgrade is under way\n');
    running.child.kill('SIGTERM');
    assert.equal((await running.close).code, 0);
    assert.equal((await first).code, 1);
    const without = start(['run', '-w', '1', '--control', 'none', ...QUICK, 'app.js']);
    await portOf(without);
    without.child.kill('SIGUSR2');
    await without.hasSaid(/an upgrade needs the control socket/);
    without.child.kill('SIGTERM');
    assert.equal((await without.close).code, 0);
    // Nobody's place: the one that it is told of is not there.
    const options = { cwd: directory, env: { ...env, CORRAL_UPGRADE: path.join(directory, 'none.sock') } };
    const words = ['--version'];
    assert.match(`${execFileSync(process.execPath, [CORRAL, ...words], options)}`, /^\d+\./);
  });

  test('moves the main process of a service', { skip: noManager }, async (t) => {
    const { directory, env, corral } = project(t, { 'app.js': APP });
    const command = [process.execPath, CORRAL, 'run', '-w', '1', ...QUICK, 'app.js'];
    const notify = path.join(directory, '../notify');
    const manager = manage(t, { notify, watchdog: 400_000 }, command, { cwd: directory, env });
    const { by: old } = await manager.told('READY=1');
    const { code, stdout } = await corral(['upgrade', '--json']);
    assert.equal(code, 0);
    const { pid } = JSON.parse(stdout);
    endAfter(t, pid);
    const moved = await manager.told(`MAINPID=${pid}`);
    assert.equal(moved.by, old);
    await manager.told('WATCHDOG=1', manager.lines().length);
    const lines = manager.lines();
    // Nobody says anything whom the manager does not believe.
    const at = lines.indexOf(moved);
    assert.ok(lines.slice(0, at).every(({ told, by }) => told === undefined || by === old));
    assert.ok(lines.slice(at + 1).every(({ told, by }) => told === undefined || by === pid));
    assert.ok(lines.slice(at + 1).some(({ told = [] }) => told.includes('READY=1')));
    assert.equal((await corral(['stop'])).code, 0);
    await until(() => !isAlive(pid));
  });
});
