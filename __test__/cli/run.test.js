'use strict';

// `corral run` and the commands that ask it, with real processes.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { describe, test } = require('node:test');

const corralNet = require('../../net');
const { APP, PATIENT, QUICK, project } = require('../helpers/cli');
const { Clients, ask } = require('../helpers/supervise');
const { until } = require('../helpers/events');

const [major, minor] = process.versions.node.split('.').map(Number);
const RUNS_TYPESCRIPT = major > 22 || (major === 22 && minor >= 18);

/** The program in each of its forms, unmodified. @type {Record<string, Record<string, string>>} */
const FORMS = {
  'app.cjs': { 'app.cjs': APP },
  'app.mjs': { 'app.mjs': APP.replace("const http = require('node:http')", "import http from 'node:http'") },
  'app.ts': {
    'app.ts': APP.replace("const http = require('node:http')", "import http from 'node:http'").replace(
      '(request, response)',
      '(request: http.IncomingMessage, response: http.ServerResponse)',
    ),
    'package.json': '{ "type": "module" }',
  },
};

/** @param {{ hasSaid: (pattern: RegExp) => Promise<RegExpExecArray> }} running @returns {Promise<number>} */
async function portOf({ hasSaid }) {
  const [, port] = await hasSaid(/listening at .*?(\d+)$/m);
  await hasSaid(/^\[corral\] ready$/m);
  return Number(port);
}

/** @param {string} word @returns {string[]} the numbers of processes that have it on their command lines; none where /proc is not there */
function processesWith(word) {
  if (!fs.existsSync('/proc/self/cmdline')) return [];
  return fs.readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(word);
    } catch {
      // It has ended meanwhile.
      return false;
    }
  });
}

describe('corral run', { concurrency: 2 }, () => {
  for (const [name, files] of Object.entries(FORMS)) {
    const skip = name.endsWith('.ts') && !RUNS_TYPESCRIPT && 'this Node runs no TypeScript';
    test(`runs ${name} as it is, reloads it under load, and stops`, { skip }, async (t) => {
      const { corral, start } = project(t, files);
      const running = start(['run', '-w', '2', ...PATIENT, name]);
      const port = await portOf(running);
      const clients = new Clients(port);
      const reload = await corral(['reload']);
      await clients.end();
      assert.deepEqual(clients.errors, []);
      assert.equal(reload.code, 0, reload.stderr);
      assert.match(reload.stdout, /^reload: 1 of 2\nreload: 2 of 2\nreloaded: 2 replaced in \d+ ms\n$/);
      const status = JSON.parse((await corral(['status', '--json'])).stdout);
      assert.deepEqual(
        status.workers.map((/** @type {any} */ { slot, state, generation }) => [slot, state, generation]),
        [
          [0, 'ready', 1],
          [1, 'ready', 1],
        ],
      );
      assert.deepEqual(await corral(['stop']), { code: 0, stdout: 'stopped\n', stderr: '' });
      assert.equal((await running.close).code, 0);
    });
  }

  test('ends with 0 after SIGTERM', async (t) => {
    const { start, sockets } = project(t, { 'app.js': APP });
    const running = start(['run', '-w', '1', ...QUICK, 'app.js']);
    await portOf(running);
    running.child.kill('SIGTERM');
    assert.equal((await running.close).code, 0);
    assert.deepEqual(fs.readdirSync(path.join(sockets, 'corral')), []);
  });

  test('ends with 1 and the last lines if the program does not start, and leaves nothing', async (t) => {
    const { start, sockets } = project(t, { 'app.js': "console.error('no database'); process.exit(3);" });
    const { code, output } = await start(['run', '-w', '2', 'app.js']).close;
    assert.equal(code, 1);
    assert.match(
      output,
      /^corral: No worker has started: one has exited with code 3 before it was ready\n {4}no database$/m,
    );
    assert.deepEqual(fs.readdirSync(path.join(sockets, 'corral')), []);
  });

  test('goes on without a worker that cannot be spawned, which was a TypeError and the end of all', async (t) => {
    const { directory, start } = project(t, { 'app.js': APP });
    fs.mkdirSync(path.join(directory, 'release'));
    const running = start(['run', '-w', '2', ...QUICK, '--cwd', 'release', '../app.js']);
    const port = await portOf(running);
    fs.rmdirSync(path.join(directory, 'release'));
    const [pid] = processesWith(path.join(directory, 'app.js'));
    process.kill(Number(pid), 'SIGKILL');
    await running.hasSaid(/worker \d \(null\) could not be started: .*ENOENT/);
    assert.match(await ask(port), /^[01]$/);
    fs.mkdirSync(path.join(directory, 'release'));
    running.child.kill('SIGTERM');
    assert.equal((await running.close).code, 0);
  });

  test('says that a port is in use', async (t) => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = /** @type {net.AddressInfo} */ (server.address());
    const { start } = project(t, { 'app.js': APP.replace('listen(0', `listen(${port}`) });
    const { code, output } = await start(['run', '-w', '1', 'app.js']).close;
    assert.equal(code, 1);
    assert.match(output, /EADDRINUSE/);
  });

  test('runs no program twice under one name', async (t) => {
    const { start } = project(t, { 'app.js': APP });
    await portOf(start(['run', '-w', '1', ...QUICK, 'app.js']));
    const { code, output } = await start(['run', '-w', '1', 'app.js']).close;
    assert.equal(code, 1);
    assert.match(
      output,
      /^corral: my-app runs already, and listens at .*my-app\.sock: give this one another --name\n$/,
    );
  });

  test('ends if its control socket cannot be opened, says why in one line, and leaves no worker', async (t) => {
    const { corral, directory } = project(t, { 'app.js': APP });
    const open = path.join(directory, 'open');
    fs.mkdirSync(open);
    fs.chmodSync(open, 0o777);
    for (const [control, why] of [
      ['open/socket', /^corral: .*open.* .*\n$/],
      ['nowhere/socket', /^corral: .*EACCES.*nowhere.*\n$/],
    ]) {
      const { code, stdout, stderr } = await corral(['run', '-w', '2', '--control', `${control}`, 'app.js']);
      assert.match(stderr, /** @type {RegExp} */ (why));
      assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
      assert.deepEqual(processesWith(path.join(directory, 'app.js')), []);
    }
  });

  test('a release that does not work changes nothing, and the exit status is 1', async (t) => {
    const { corral, start, directory } = project(t, { 'app.js': APP });
    const running = start(['run', '-w', '2', ...QUICK, 'app.js']);
    const port = await portOf(running);
    fs.writeFileSync(path.join(directory, 'app.js'), "throw new Error('a broken release')");
    const { code, stderr } = await corral(['reload']);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^corral: The reload has ended.*the new one has exited with code 1 before it was ready\n[\s\S]*a broken release/,
    );
    assert.match(await ask(port), /^[01]$/);
    const { stdout } = await corral(['status']);
    assert.match(stdout, /The last reload failed: .*exited with code 1/);
    fs.writeFileSync(path.join(directory, 'app.js'), APP);
    assert.equal((await corral(['reload'])).code, 0);
  });

  test('a reload reads the config file again, and goes back to what was there if it fails', async (t) => {
    const app = `${APP}\nconsole.log('as', process.env.RELEASE, ...process.argv.slice(2));\nif (process.env.RELEASE === 'bad') process.exit(1);`;
    const config = (/** @type {object} */ more) =>
      JSON.stringify({ script: 'app.js', workers: 1, minUptime: 50, idle: 100, ...more });
    const files = { 'app.js': app, 'corral.config.json': config({ env: { RELEASE: 'first' }, args: ['x'] }) };
    const { corral, start, directory } = project(t, files);
    const write = (/** @type {object} */ more) =>
      fs.writeFileSync(path.join(directory, 'corral.config.json'), config(more));
    const running = start(['run']);
    await portOf(running);
    await running.hasSaid(/^\[0\] as first x$/m);
    write({ env: { RELEASE: 'second' }, args: ['y'], workers: 2, drain: 5000 });
    assert.equal((await corral(['reload'])).code, 0);
    await running.hasSaid(/^\[1\] as second y$/m);
    await running.hasSaid(
      /^\[corral\] drain has changed: that takes effect when the program is started anew$/m,
    );
    write({ env: { RELEASE: 'bad' }, workers: 2 });
    assert.equal((await corral(['reload'])).code, 1);
    const before = running.output().split('as second').length;
    await corral(['kill', '0']);
    await until(() => running.output().split('as second').length > before);
    write({ wrong: true });
    const { code, stderr } = await corral(['reload']);
    assert.equal(code, 1);
    assert.match(stderr, /corral.config.json: wrong is not known/);
  });

  test('a reload that waits for another one runs what the config file says in its turn, and one that fails scales nothing', async (t) => {
    // One that does not listen, and ends when it is told to.
    const silent = "setInterval(() => require('node:fs').existsSync('end') && process.exit(1), 20);";
    const app = `if (process.env.RELEASE === 'silent') { ${silent} } else { ${APP} }\nconsole.log('as', process.env.RELEASE);`;
    const config = (/** @type {string} */ RELEASE, /** @type {number} */ workers) =>
      JSON.stringify({ script: 'app.js', workers, minUptime: 50, env: { RELEASE } });
    const files = { 'app.js': app, 'corral.config.json': config('first', 1) };
    const { start, directory, sockets } = project(t, files);
    const write = (/** @type {string} */ text) =>
      fs.writeFileSync(path.join(directory, 'corral.config.json'), text);
    const running = start(['run', '--idle', '100ms']);
    await portOf(running);
    const channel = corralNet.connect({ path: path.join(sockets, 'corral/my-app.sock'), ipc: true });
    await once(channel, 'connect');
    const ask = (/** @type {string} */ command) => channel.request({ command });
    write(config('silent', 3));
    const first = ask('reload');
    await running.hasSaid(/as silent/);
    // It is found out what is wrong before the first one has ended.
    write(config('second', 2));
    const second = ask('reload');
    assert.equal((await ask('status')).size, 1);
    fs.writeFileSync(path.join(directory, 'end'), '');
    await assert.rejects(first, /exited with code 1/);
    assert.equal((await second).replaced, 1);
    await until(() => running.output().split('as second').length === 3);
    assert.equal(running.output().split('as first').length, 2);
    assert.equal((await ask('status')).size, 2);
    channel.disconnect();
  });

  test('workers are counted, killed, shown and scaled', async (t) => {
    const { corral, start } = project(t, { 'app.js': APP });
    const running = start(['run', '-w', '1', ...QUICK, 'app.js']);
    await portOf(running);
    const statusOf = async () => JSON.parse((await corral(['status', '--json'])).stdout);
    assert.deepEqual(await corral(['scale', '+1']), {
      code: 0,
      stdout: '1 worker, and 2 from now on\n',
      stderr: '',
    });
    const isReady = ({ state }) => state === 'ready';
    await until(async () => (await statusOf()).workers.filter(isReady).length === 2);
    const { workers } = await statusOf();
    const { stdout } = await corral(['kill', '1', '--json']);
    assert.deepEqual(JSON.parse(stdout), { slot: 1, pid: workers[1].pid, signal: 'SIGKILL' });
    await until(async () => (await statusOf()).restarts === 1);
    await until(async () => (await statusOf()).workers.filter(isReady).length === 2);
    assert.match(
      (await corral(['status'])).stdout,
      /^my-app \(\d+\): running, 2 workers, up \d+s, 1 restart\n\nSLOT +PID +STATE.*\n0 +\d+ +ready +0 +\d+s +\d+ MiB +\d+\n1 /,
    );
    for (const words of [
      ['kill', '7'],
      ['kill', '0', '--signal', 'SIGWHAT'],
      ['scale', '--', '-2'],
      ['scale', '-12'],
      ['scale', '0'],
      ['scale', '5000'],
    ]) {
      const { code, stderr } = await corral(words);
      assert.equal(code, 1, words.join(' '));
      assert.match(stderr, /^corral: .+\n$/);
    }
    assert.equal((await corral(['scale', '-1'])).stdout, '2 workers, and 1 from now on\n');
    assert.equal((await corral(['stop', '--now'])).code, 0);
  });

  test('lines are whole, whoever writes them, and may be JSON', async (t) => {
    const long = 300;
    const app = `${APP}
      const write = () => process.stdout.write(process.env.NODE_APP_INSTANCE.repeat(${long}) + '\\n');
      for (let i = 0; i < 200; i++) setImmediate(write);
      process.stderr.write('half');
      setTimeout(() => process.stderr.write(' and half\\n'), 50);`;
    const { start, corral } = project(t, { 'app.js': app });
    const running = start(['run', '-w', '2', '--log', 'json', ...QUICK, 'app.js']);
    await running.hasSaid(/"slot":0,[^\n]*half and half/);
    await running.hasSaid(/"slot":1,[^\n]*half and half/);
    await until(() => running.output().split(/"line":"[01]{300}"/).length === 401);
    const lines = running
      .output()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    for (const { slot, line, stream, pid, time } of lines) {
      assert.ok(pid > 0 && !Number.isNaN(Date.parse(time)));
      if (stream === 'stdout') assert.equal(line, `${slot}`.repeat(long));
    }
    const { stdout } = await corral(['logs', '--json', '-n', '400']);
    assert.ok(stdout.trimEnd().split('\n').length > 300);
    running.child.kill('SIGTERM');
    await running.close;
  });

  test('a worker is inspected, at a port of its own', async (t) => {
    const { corral, start } = project(t, { 'app.js': APP });
    const running = start(['run', '-w', '2', ...QUICK, 'app.js']);
    await portOf(running);
    const urls = await Promise.all(['0', '1'].map(async (slot) => (await corral(['inspect', slot])).stdout));
    for (const url of urls) assert.match(url, /^ws:\/\/127\.0\.0\.1:\d+\/[-\w]+\n$/);
    assert.notEqual(urls[0], urls[1]);
    const { code, stderr } = await corral(['inspect', '9']);
    assert.equal(code, 1);
    assert.match(stderr, /^corral: The value of "slot" is out of range/);
    await corral(['stop', '--now']);
  });

  test('logs follow, and end with the program', async (t) => {
    const app = `${APP}\nprocess.on('SIGUSR2', () => console.log('told'));`;
    const { start, corral } = project(t, { 'app.js': app });
    const running = start(['run', '-w', '1', ...QUICK, 'app.js']);
    await portOf(running);
    const follower = start(['logs', '-f', '-n', '1']);
    await follower.hasSaid(/^\[corral\] ready$/m);
    await corral(['kill', '0', '--signal', 'SIGUSR2']);
    await follower.hasSaid(/^\[0\] told$/m);
    await corral(['stop']);
    assert.equal((await follower.close).code, 0);
  });

  test('the control socket is its owner’s, takes JSON, and shows no environment', async (t) => {
    const { start, sockets } = project(t, { 'app.js': APP });
    await portOf(start(['run', '-w', '1', '--env', 'SECRET=hidden', ...QUICK, 'app.js']));
    const file = path.join(sockets, 'corral/my-app.sock');
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    const channel = corralNet.connect({ path: file, ipc: true });
    await once(channel, 'connect');
    const status = await channel.request({ command: 'status' });
    assert.equal(status.name, 'my-app');
    assert.ok(!JSON.stringify(status).includes('hidden'));
    for (const request of [
      {},
      null,
      'status',
      { command: 'toString' },
      { command: 'scale' },
      { command: 'scale', workers: 0 },
    ]) {
      await assert.rejects(channel.request(request), Error, JSON.stringify(request));
    }
    channel.disconnect();
    await once(channel, 'close');
  });

  test("a program runs on Node's own cluster, without a control socket", async (t) => {
    const { start, sockets } = project(t, { 'app.js': APP });
    const running = start(['run', '-w', '1', ...QUICK, 'app.js'], { CORRAL_NATIVE: '0' });
    assert.match(await ask(await portOf(running)), /^0$/);
    assert.match(running.output(), /there is no control socket without the native core/);
    assert.ok(!fs.existsSync(path.join(sockets, 'corral')));
    running.child.kill('SIGINT');
    assert.equal((await running.close).code, 0);
  });

  test("pm2's ecosystem file is run, with a line for what is not taken over", async (t) => {
    const apps = [{ name: 'shop', script: 'app.js', instances: 1, min_uptime: 50, max_restarts: 3 }];
    const files = { 'app.js': APP, 'ecosystem.config.js': `module.exports = ${JSON.stringify({ apps })}` };
    const { corral, start } = project(t, files);
    const running = start(['run', '--idle', '100ms', 'ecosystem.config.js']);
    await portOf(running);
    assert.match(
      running.output(),
      /^\[corral\] ecosystem.config.js: max_restarts is not taken over\n\[corral\] shop: 1 worker of app.js$/m,
    );
    // The only one that runs.
    assert.match((await corral(['status'])).stdout, /^shop /);
    assert.equal((await corral(['stop', '--name', 'shop'])).code, 0);
  });
});
