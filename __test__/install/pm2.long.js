'use strict';

// pm2, as docs/deploying.md has it: its workers are corral's by NODE_OPTIONS, and it stops a program that has a primary
// of its own.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { after, afterEach, before, test } = require('node:test');
const { writeFilesOf } = require('../helpers/document');
const install = require('../helpers/install');

const PM2 = 'pm2@7.0.4';

const scratch = install.scratchDirectory({ after });
/** Its daemon keeps its files there, and a test of its own begins with none. */
const env = { ...install.userEnvironment(path.join(scratch, 'home')), PM2_HOME: path.join(scratch, 'pm2') };
const project = path.join(scratch, 'project');

/** @type {string} */
let port;
/** @param {...string} args */
const pm2 = (...args) => install.run(['npx', 'pm2', ...args], { cwd: project, env });

before(async () => {
  install.makeProject(project);
  writeFilesOf('docs/deploying.md', project);
  const tarball = await install.packCarrying(path.join(project, 'vendor'), env);
  await install.run(['npm', 'install', '--ignore-scripts', PM2, tarball], { cwd: project, env });
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = String(/** @type {net.AddressInfo} */ (server.address()).port);
  await once(server.close(), 'close');
});
afterEach(() => pm2('kill'));

/** @param {string} [agentPort] @returns {Promise<string>} */
async function ask(agentPort = port) {
  const [response] = await once(http.get({ host: '127.0.0.1', port: agentPort, agent: false }), 'response');
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk;
  return body;
}

test('the instances of a program are workers of corral', async () => {
  const program = `
    const cluster = require('node:cluster');
    require('node:http')
      .createServer((request, response) => response.end(process.pid + ' ' + cluster.isWorker + ' ' + cluster.native))
      .listen(${port});
  `;
  fs.writeFileSync(path.join(project, 'app.js'), program);
  const document = fs.readFileSync(path.join(install.root, 'docs/deploying.md'), 'utf8');
  const line = /^NODE_OPTIONS=.* npx pm2 start .*$/m.exec(document);
  assert.ok(line, 'the document has the line');
  await install.run(['/bin/sh', '-c', `${line[0]} --wait-ready --listen-timeout 100`], { cwd: project, env });
  const pids = new Set();
  for (let i = 0; i < 200 && pids.size < 2; i++) {
    const [pid, ...seen] = (await ask()).split(' ');
    assert.deepEqual(seen, ['true', 'true']);
    pids.add(pid);
  }
  assert.equal(pids.size, 2, 'both instances answer');
});

for (const flags of [[], ['--no-treekill']]) {
  test(`a program with a primary of its own is stopped well (${flags})`, async () => {
    const started = { PORT: port, HEALTH_PORT: '0' };
    Object.assign(env, started);
    await pm2('start', 'server.js', '--kill-timeout', '20000', ...flags);
    // It is there when its workers are: pm2 has waited for the process alone.
    let answer = '';
    while (answer === '') answer = await ask().catch(() => '');
    assert.match(answer, /^worker \d\n$/);
    await pm2('stop', 'server');
    const [{ pm2_env: state }] = JSON.parse((await pm2('jlist')).stdout);
    assert.deepEqual([state.status, state.exit_code], ['stopped', 0]);
    await assert.rejects(ask(), { code: 'ECONNREFUSED' });
  });
}
