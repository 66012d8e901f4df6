'use strict';

// Corral as it is published: `npm publish` to a registry on this machine, and from there into projects.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { after, before, test } = require('node:test');
const install = require('../helpers/install');
const { installManagers } = require('../helpers/package-managers');

/** The newest that runs on Node 20. One of what it needs is asked for by a tag that not every mirror has. */
const VERDACCIO = { dependencies: { verdaccio: '6.0.5' }, overrides: { 'node-fetch': '2.7.0' } };

const SERVER = `
  const { runServer } = require('verdaccio');
  runServer(process.cwd() + '/config.yaml').then((app) => {
    const server = app.listen(0, '127.0.0.1', () => process.send(server.address().port));
  });
`;

const CONFIG = `
storage: ./storage
auth: { htpasswd: { file: ./htpasswd } }
packages: { '**': { access: $all, publish: $all } }
log: { type: stdout, format: json, level: warn }
`;

/** @type {Awaited<ReturnType<typeof installManagers>>} */
let managers;
/** @type {import('node:child_process').ChildProcess[]} */
const servers = [];
// The directory goes after them: hooks run in their order.
after(async () => {
  for (const server of servers.filter(({ exitCode }) => exitCode === null)) {
    const end = once(server, 'exit');
    server.kill();
    await end;
  }
});
const scratch = install.scratchDirectory({ after });
const env = install.userEnvironment(path.join(scratch, 'home'));

before(async () => {
  managers = await installManagers(path.join(scratch, 'managers'), env);
  await installRegistry();
  const port = await startRegistry('registry');
  const registry = `http://127.0.0.1:${port}/`;
  fs.writeFileSync(path.join(scratch, 'home/.npmrc'), settingsFor(port));
  Object.assign(env, {
    YARN_REGISTRY: registry,
    YARN_NPM_REGISTRY_SERVER: registry,
    YARN_UNSAFE_HTTP_WHITELIST: '127.0.0.1',
    // By itself yarn 4 takes no version that was published less than a day ago.
    YARN_NPM_MINIMAL_AGE_GATE: '0',
  });
  await publish();
});

/** @param {number} port of a registry */
function settingsFor(port) {
  // A token has to be there, whatever it is.
  return `registry=http://127.0.0.1:${port}/\n//127.0.0.1:${port}/:_authToken=anybody\n`;
}

const verdaccio = path.join(scratch, 'verdaccio');

async function installRegistry() {
  fs.mkdirSync(verdaccio);
  fs.writeFileSync(path.join(verdaccio, 'package.json'), JSON.stringify({ private: true, ...VERDACCIO }));
  fs.writeFileSync(path.join(verdaccio, 'server.js'), SERVER);
  await install.run(['npm', 'install'], { cwd: verdaccio, env });
}

/**
 * @param {string} name of its directory
 * @returns {Promise<number>} its port
 */
async function startRegistry(name) {
  const directory = path.join(scratch, name);
  fs.mkdirSync(directory);
  fs.writeFileSync(path.join(directory, 'config.yaml'), CONFIG);
  const server = spawn(process.execPath, [path.join(verdaccio, 'server.js')], {
    cwd: directory,
    env,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  servers.push(server);
  const [port] = await once(server, 'message');
  return port;
}

/** As .github/workflows/release.yml does it: each binary in its package, the platforms first, then corral. */
async function publish() {
  const checkout = install.copyCheckout(path.join(scratch, 'checkout'));
  const binary = install.builtBinary();
  for (const platform of fs.readdirSync(path.join(checkout, 'npm'))) {
    const file = path.join(checkout, 'npm', platform, `corral.${platform}.node`);
    // Those of other platforms cannot be built here, and nobody loads them.
    if (path.basename(file) === binary) fs.renameSync(path.join(checkout, binary), file);
    else fs.writeFileSync(file, 'of another platform');
    await install.run(['npm', 'publish'], { cwd: path.dirname(file), env });
  }
  const manifest = fs.readFileSync(path.join(checkout, 'package.json'), 'utf8');
  await install.run(['npm', 'publish'], { cwd: checkout, env });
  assert.equal(fs.readFileSync(path.join(checkout, 'package.json'), 'utf8'), manifest, 'it leaves no trace');
  fs.rmSync(checkout, { recursive: true });
}

for (const id of ['npm-10', 'npm-11', 'pnpm', 'yarn-1', 'yarn-4', 'yarn-4-pnp']) {
  test(id, async () => {
    const { add, deploy, command, files = {}, env: own } = managers[id];
    const options = { ...env, ...own };
    const developed = install.makeProject(path.join(scratch, id));
    for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(developed, name), text);
    await install.run(add('corral'), { cwd: developed, env: options });

    const deployed = install.deploy(developed, path.join(scratch, `${id}-deployed`));
    fs.rmSync(developed, { recursive: true });
    await install.run(deploy, { cwd: deployed, env: options });
    await install.assertRunsNatively(deployed, { env: options, command });
  });
}

test("the tarball that carries its binary can be published to a registry of one's own", async () => {
  const port = await startRegistry('own-registry');
  const project = install.makeProject(path.join(scratch, 'own'));
  const own = { ...env, npm_config_userconfig: path.join(scratch, 'own.npmrc') };
  fs.writeFileSync(own.npm_config_userconfig, settingsFor(port));
  const tarball = await install.packCarrying(path.join(scratch, 'packed'), env);
  const [node, cli] = managers['npm-11'].deploy;
  await install.run([node, cli, 'publish', tarball], { cwd: project, env: own });
  await install.run([node, cli, 'install', 'corral'], { cwd: project, env: own });
  await install.assertRunsNatively(project, { env });
});

test('without its optional dependency it says so, and runs on the built-in', async () => {
  const project = install.makeProject(path.join(scratch, 'omitted'));
  const [node, cli] = managers['npm-11'].deploy;
  await install.run([node, cli, 'install', 'corral', '--omit=optional'], { cwd: project, env });
  const program = "console.log(require('corral').native)";
  const { stdout, stderr } = await install.run([process.execPath, '-e', program], { cwd: project, env });
  assert.equal(stdout, 'false\n');
  const name = `corral-${install.builtBinary().split('.')[1]}`;
  assert.match(
    stderr,
    new RegExp(`\\[CORRAL_NO_NATIVE\\].* the package ${name} is not installed.*--omit=optional`),
  );
});
