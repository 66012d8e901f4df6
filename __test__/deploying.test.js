'use strict';

// What docs/deploying.md says, tried: its programs as they are printed there, started and stopped as those do that it
// is about.

const assert = require('node:assert/strict');
const { execFile, execFileSync, spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { describe, test } = require('node:test');
const timers = require('node:timers/promises');
const { promisify } = require('node:util');

const { writeFilesOf } = require('./helpers/document');
const { POLL_INTERVAL, scratchDirectory } = require('./helpers/example');
const { environment } = require('./helpers/programs');
const { freePort } = require('../scripts/lib-free-port');

const root = path.dirname(__dirname);
const DOCUMENT = 'docs/deploying.md';

/** Nothing takes nearly so long. */
const TIMEOUT_MS = 120_000;

/** A program that knows nothing of signals. */
const CARELESS = `
  const cluster = require('corral');
  if (cluster.isPrimary) cluster.fork();
  else require('node:http').createServer((request, response) => {
    response.flushHeaders();
    if (request.url !== '/for-ever') response.end('served');
  }).listen(process.env.PORT);
`;

/**
 * A directory with the programs of the document, in which corral is installed.
 *
 * @param {import('node:test').TestContext} t
 */
function project(t) {
  const directory = fs.realpathSync(scratchDirectory(t));
  fs.mkdirSync(path.join(directory, 'node_modules'));
  fs.symlinkSync(root, path.join(directory, 'node_modules/corral'));
  writeFilesOf(DOCUMENT, directory);
  fs.writeFileSync(path.join(directory, 'careless.js'), CARELESS);
  return directory;
}

/** @param {string} program */
function has(program) {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;
}

/**
 * Starts a program in a process group of its own, of which nothing is left after the test.
 *
 * @param {import('node:test').TestContext} t
 * @param {string[]} command
 * @param {{ cwd: string, env?: NodeJS.ProcessEnv, stdio?: import('node:child_process').StdioOptions }} options
 */
function start(t, [file, ...args], { cwd, env, stdio = ['ignore', 'ignore', 'inherit'] }) {
  const child = spawn(file, args, { cwd, env: environment(env), stdio, detached: true });
  const end = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  t.after(async () => {
    try {
      process.kill(-pidOf(child), 'SIGKILL');
    } catch {
      // The group is gone already.
    }
    await end;
  });
  return { pid: pidOf(child), end };
}

/** @param {import('node:child_process').ChildProcess} child */
function pidOf(child) {
  return /** @type {number} */ (child.pid);
}

/**
 * @param {number} port
 * @param {string} [url]
 * @returns {Promise<http.IncomingMessage>} as soon as its head is there
 */
async function request(port, url = '/') {
  const [response] = await once(http.get({ host: '127.0.0.1', port, path: url, agent: false }), 'response');
  return response;
}

/** @param {http.IncomingMessage} response */
async function bodyOf(response) {
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk;
  return body;
}

/**
 * Asks again until it is as it should be: a program that is started by somebody else tells nobody when it is there.
 *
 * @template T
 * @param {() => Promise<T>} look
 * @param {(found: T) => boolean} isRight
 */
async function until(look, isRight) {
  const end = performance.now() + TIMEOUT_MS;
  for (;;) {
    const found = await look().catch(() => undefined);
    if (found !== undefined && isRight(found)) return found;
    assert.ok(performance.now() < end, 'time is up');
    await timers.setTimeout(POLL_INTERVAL);
  }
}

/** @param {number} port */
const statusOf = async (port) => {
  const response = await request(port);
  response.resume();
  return response.statusCode;
};

/**
 * server.js of the document, ready.
 *
 * @param {import('node:test').TestContext} t
 * @param {{ command?: string[], env?: NodeJS.ProcessEnv }} [options]
 */
async function startServer(t, { command = [process.execPath], env } = {}) {
  const port = await freePort();
  const health = await freePort();
  const ports = { PORT: `${port}`, HEALTH_PORT: `${health}` };
  const started = start(t, [...command, 'server.js'], { cwd: project(t), env: { ...ports, ...env } });
  await until(
    () => statusOf(health),
    (status) => status === 200,
  );
  return { ...started, port, health };
}

describe('stopping', () => {
  test('SIGTERM to the primary alone: requests end, and then the program, with code 0', async (t) => {
    const { pid, port, end } = await startServer(t);
    const slow = await request(port, '/slow');
    process.kill(pid, 'SIGTERM');
    assert.match(await bodyOf(slow), /^worker \d\n$/);
    assert.deepEqual(await end, { code: 0, signal: null });
  });

  test('SIGTERM to the whole group, as with `KillMode=control-group`: the same', async (t) => {
    const { pid, port, end } = await startServer(t);
    const slow = await request(port, '/slow');
    process.kill(-pid, 'SIGTERM');
    assert.match(await bodyOf(slow), /^worker \d\n$/);
    assert.deepEqual(await end, { code: 0, signal: null });
  });

  test('SIGTERM to the whole group of a program without listeners: the requests are lost', async (t) => {
    const port = await freePort();
    const env = { PORT: `${port}` };
    const { pid, end } = start(t, [process.execPath, 'careless.js'], { cwd: project(t), env });
    await until(
      () => statusOf(port),
      (status) => status === 200,
    );
    const lost = await request(port, '/for-ever');
    process.kill(-pid, 'SIGTERM');
    await assert.rejects(bodyOf(lost), { code: 'ECONNRESET' });
    assert.deepEqual(await end, { code: null, signal: 'SIGTERM' });
  });

  test('LEAVE_AFTER: it serves on, and is not ready', async (t) => {
    const { pid, port, health } = await startServer(t, { env: { LEAVE_AFTER: `${TIMEOUT_MS * 10}` } });
    process.kill(pid, 'SIGTERM');
    await until(
      () => statusOf(health),
      (status) => status === 503,
    );
    assert.match(await bodyOf(await request(port)), /^worker \d\n$/);
  });

  test('after the deadline, workers that do not end are killed', async (t) => {
    const { pid, end } = await startServer(t, { env: { DEADLINE: '1' } });
    const workers = childrenOf(pid);
    // A stopped process does nothing that it is asked to.
    for (const worker of workers) process.kill(worker, 'SIGSTOP');
    process.kill(pid, 'SIGTERM');
    assert.deepEqual(await end, { code: 1, signal: null });
    await until(
      async () => workers.filter(isAlive),
      (alive) => alive.length === 0,
    );
  });

  test('when the primary is killed, its workers end', async (t) => {
    const { pid, end } = await startServer(t);
    const workers = childrenOf(pid);
    assert.equal(workers.length, 2);
    process.kill(pid, 'SIGKILL');
    await end;
    await until(
      async () => workers.filter(isAlive),
      (alive) => alive.length === 0,
    );
  });

  test('a worker that dies is replaced, and meanwhile the program is not ready', async (t) => {
    const { pid, health } = await startServer(t);
    const [victim] = childrenOf(pid);
    process.kill(victim, 'SIGKILL');
    await until(
      async () => childrenOf(pid),
      (children) => children.length === 2 && !children.includes(victim),
    );
    await until(
      () => statusOf(health),
      (status) => status === 200,
    );
  });
});

/** @param {number} pid @returns {boolean} false also for one that nobody has reaped yet */
function isAlive(pid) {
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', `${pid}`], { encoding: 'utf8' });
  return stdout !== '' && !stdout.startsWith('Z');
}

/** @param {number} pid */
function childrenOf(pid) {
  const { stdout } = spawnSync('ps', ['-o', 'pid=', '--ppid', `${pid}`], { encoding: 'utf8' });
  return stdout.trim().split(/\s+/).filter(Boolean).map(Number);
}

/** Of those that it needs, for a process that is process 1 of its own. */
const UNSHARE = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];

describe('process 1', {
  skip: spawnSync(UNSHARE[0], [...UNSHARE.slice(1), 'true']).status !== 0 && 'not allowed here',
}, () => {
  test('with a listener for SIGTERM it ends well', async (t) => {
    const { pid, port, end } = await startServer(t, { command: [...UNSHARE, process.execPath] });
    const slow = await request(port, '/slow');
    process.kill(childrenOf(pid)[0], 'SIGTERM');
    assert.match(await bodyOf(slow), /^worker \d\n$/);
    assert.deepEqual(await end, { code: 0, signal: null });
  });

  test('without one it ignores SIGTERM', async (t) => {
    const port = await freePort();
    const command = [...UNSHARE, process.execPath, 'careless.js'];
    const { pid } = start(t, command, { cwd: project(t), env: { PORT: `${port}` } });
    await until(
      () => statusOf(port),
      (status) => status === 200,
    );
    process.kill(childrenOf(pid)[0], 'SIGTERM');
    assert.equal(await statusOf(port), 200);
  });
});

describe('systemd', () => {
  test('the unit files are valid', { skip: !has('systemd-analyze') && 'no systemd here' }, (t) => {
    const directory = project(t);
    for (const name of ['my-app.service', 'my-app.socket']) {
      const file = path.join(directory, name);
      // It looks for the programs that they name, which are not where they will be.
      const text = fs.readFileSync(file, 'utf8').replace('/usr/bin/node', process.execPath);
      fs.writeFileSync(file, text);
      const { stderr, status } = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
      const own = stderr.split('\n').filter((line) => line.includes('my-app'));
      assert.deepEqual([own, status], [[], 0], stderr);
    }
  });

  test('a socket that somebody else holds serves across a restart', async (t) => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = /** @type {net.AddressInfo} */ (server.address());
    // The shell holds the descriptor, as systemd does, and starts the program again when it has ended.
    const script = '"$0" activated.js; "$0" activated.js';
    const { fd } = /** @type {any} */ (server)._handle;
    const options = { cwd: project(t), stdio: /** @type {any} */ (['ignore', 'ignore', 'inherit', fd]) };
    const { pid } = start(t, ['/bin/sh', '-c', script, process.execPath], options);
    server.close();
    assert.match(await bodyOf(await request(port)), /^worker \d\n$/);
    const [first] = childrenOf(pid);
    process.kill(first, 'SIGTERM');
    // Until it has gone, it may still accept.
    await until(
      async () => childrenOf(pid)[0],
      (second) => second !== first,
    );
    // This one waits in the socket until the second is there.
    assert.match(await bodyOf(await request(port)), /^worker \d\n$/);
  });

  const tool = 'systemd-socket-activate';
  test('a socket of systemd', { skip: !has(tool) && 'no systemd here' }, async (t) => {
    const port = await freePort();
    const command = [tool, `--listen=127.0.0.1:${port}`, process.execPath, 'activated.js'];
    start(t, command, { cwd: project(t), stdio: 'ignore' });
    const body = await until(
      async () => bodyOf(await request(port)),
      () => true,
    );
    assert.match(body, /^worker \d\n$/);
  });
});

/** Says which release it is of, and the worker of the next fork's, when one has changed `current` in between. */
const RELEASE = `
  const cluster = require('corral');
  const { once } = require('node:events');
  const fs = require('node:fs');
  async function primary() {
    const releases = [];
    for (const next of ['2', null]) {
      const worker = cluster.fork();
      const [release] = await once(worker, 'message');
      releases.push(release);
      await once(worker, 'exit');
      if (next === null) continue;
      fs.symlinkSync('releases/' + next, process.env.APP + '/next');
      fs.renameSync(process.env.APP + '/next', process.env.APP + '/current');
    }
    console.log(JSON.stringify(releases));
  }
  if (cluster.isPrimary) primary();
  else process.send(require('./release.json'), () => process.exit());
`;

describe('release directories behind a symlink', () => {
  /** @param {import('node:test').TestContext} t */
  function releases(t) {
    const app = project(t);
    for (const release of ['1', '2']) {
      const directory = path.join(app, 'releases', release);
      fs.mkdirSync(directory, { recursive: true });
      fs.writeFileSync(path.join(directory, 'server.js'), RELEASE);
      fs.writeFileSync(path.join(directory, 'release.json'), `"release ${release}"`);
    }
    fs.symlinkSync('releases/1', path.join(app, 'current'));
    return app;
  }

  /** @param {string} app @param {string} script */
  async function seenBy(app, script) {
    const env = environment({ APP: app });
    const command = ['-c', script, process.execPath];
    const { stdout } = await promisify(execFile)('/bin/sh', command, { cwd: app, env });
    return JSON.parse(stdout);
  }

  test('started by its absolute path, new workers run the new release', async (t) => {
    const app = releases(t);
    assert.deepEqual(await seenBy(app, `"$0" ${app}/current/server.js`), ['release 1', 'release 2']);
  });

  test('started by a relative path, they run the old one for ever', async (t) => {
    const app = releases(t);
    assert.deepEqual(await seenBy(app, 'cd current && "$0" server.js'), ['release 1', 'release 1']);
  });

  test('when the old one is removed, they end at once', async (t) => {
    const app = releases(t);
    const program = `
      const cluster = require('corral');
      if (cluster.isPrimary) {
        require('node:fs').rmSync(__dirname, { recursive: true });
        cluster.setupPrimary({ silent: true, cwd: process.env.APP });
        cluster.fork().on('exit', (code) => console.log(code));
      }
    `;
    fs.writeFileSync(path.join(app, 'releases/1/server.js'), program);
    assert.equal(await seenBy(app, 'cd current && "$0" server.js'), 1);
  });

  test('with `exec` and `cwd` set it does not matter', async (t) => {
    const app = releases(t);
    const setting = /^cluster\.setupPrimary\(\{ exec: .*$/m.exec(
      fs.readFileSync(path.join(root, DOCUMENT), 'utf8'),
    );
    assert.ok(setting, 'the document has the line');
    const line = setting[0].replaceAll('/srv/my-app', app);
    for (const release of ['1', '2']) {
      const program = RELEASE.replace('if (cluster.isPrimary) primary', `if (cluster.isPrimary) ${line}\n$&`);
      fs.writeFileSync(path.join(app, 'releases', release, 'server.js'), program);
    }
    assert.deepEqual(await seenBy(app, 'cd current && "$0" server.js'), ['release 1', 'release 2']);
  });
});

describe('`--require` of a bare name', () => {
  const PROGRAM = "console.log(require('node:cluster').native)";

  for (const flag of ['--require', '--import']) {
    test(`${flag} resolves from the working directory`, async (t) => {
      const directory = project(t);
      fs.writeFileSync(path.join(directory, 'app.js'), PROGRAM);
      const app = path.join(directory, 'app.js');
      const node = (/** @type {string} */ name, /** @type {string} */ cwd) =>
        promisify(execFile)(process.execPath, [flag, name, app], { cwd, env: environment() });
      assert.equal((await node('corral/register', directory)).stdout, 'true\n');
      await assert.rejects(node('corral/register', '/'), /Cannot find (module|package) 'corral/);
      const absolute = path.join(directory, 'node_modules/corral/register.js');
      assert.equal((await node(absolute, '/')).stdout, 'true\n');
    });
  }
});

describe('bundlers', () => {
  const ESBUILD = path.join(root, 'node_modules/.bin/esbuild');

  test('esbuild, with corral outside of the bundle', async (t) => {
    const directory = project(t);
    fs.copyFileSync(path.join(__dirname, 'fixtures/two-workers.js'), path.join(directory, 'app.js'));
    const command = /^npx esbuild (.*)$/m.exec(fs.readFileSync(path.join(root, DOCUMENT), 'utf8'));
    assert.ok(command, 'the document has the line');
    execFileSync(ESBUILD, [...command[1].split(' '), '--log-level=warning'], { cwd: directory });
    const { stdout } = await promisify(execFile)(process.execPath, ['dist/app.js'], {
      cwd: directory,
      env: environment(),
    });
    const seen = JSON.parse(stdout);
    assert.equal(seen.native, true);
    assert.deepEqual(seen.answered.toSorted(), seen.workers.toSorted());
  });

  test('esbuild, with corral in the bundle, fails', (t) => {
    const directory = project(t);
    fs.writeFileSync(path.join(directory, 'app.js'), "require('corral')");
    const args = ['app.js', '--bundle', '--platform=node', '--outfile=dist/app.js', '--log-limit=0'];
    const { status, stderr } = spawnSync(ESBUILD, args, { cwd: directory, encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /No loader is configured for "\.node" files/);
  });
});

test('the binary needs no newer glibc than the document says', {
  skip: process.platform !== 'linux' && 'for Linux',
}, () => {
  const name = fs.readdirSync(root).find((file) => /^corral\..+\.node$/.test(file));
  assert.ok(name, 'this test needs the binary that `npm run build` makes');
  const binary = fs.readFileSync(path.join(root, name), 'latin1');
  const minors = Array.from(binary.matchAll(/GLIBC_2\.(\d+)/g), ([, minor]) => Number(minor));
  const said = /needs glibc 2\.(\d+) or newer/.exec(fs.readFileSync(path.join(root, DOCUMENT), 'utf8'));
  assert.ok(said, 'the document has the number');
  assert.ok(Math.max(0, ...minors) <= Number(said[1]), `2.${Math.max(...minors)}`);
});
