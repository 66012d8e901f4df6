'use strict';

// What is in the package, and the ways of installing it that take seconds. __test__/install/ has those that take minutes.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { before, test, after } = require('node:test');
const { ADDONS } = require('../scripts/lib-addons');
const install = require('./helpers/install');

const { root, run } = install;

const scratch = install.scratchDirectory({ after });
/** npm needs no network for any of this, and is not given one. @type {NodeJS.ProcessEnv} */
const env = { ...install.userEnvironment(path.join(scratch, 'home')), npm_config_offline: 'true' };
/** @type {Promise<string>} the tarball that carries its binary */
let carrying;
/** @type {ReturnType<typeof install.packPublished>} */
let published;

before(() => {
  carrying = install.packCarrying(path.join(scratch, 'carrying'), env);
  published = install.packPublished(path.join(scratch, 'published'), env);
  // What fails here is told by the tests that wait for it.
  for (const packing of [carrying, published]) packing.catch(() => {});
});

/** @param {string} name */
function project(name) {
  return install.makeProject(path.join(scratch, name));
}

/** @param {string} cwd @param {...string} args */
function npm(cwd, ...args) {
  return run(['npm', ...args], { cwd, env });
}

/** @param {string} tarball @returns {Promise<string[]>} the files in it */
async function filesOf(tarball) {
  const { stdout } = await run(['tar', '-tzf', tarball], { cwd: scratch });
  return stdout
    .trim()
    .split('\n')
    .map((name) => name.replace(/^package\//, ''));
}

test('every entry has types for both kinds of import, which say what it exports', async () => {
  const { main } = await published;
  const tool = (/** @type {string} */ name, /** @type {string[]} */ ...args) =>
    run([path.join(root, 'node_modules', '.bin', name), ...args], { cwd: scratch });
  await tool('attw', main);
  // Its exit code is of errors alone.
  assert.match((await tool('publint', 'run', '--strict', main)).stdout, /All good/);
});

test('a published package has the packages of all platforms, and no binary of its own', async () => {
  const { main, platform } = await published;
  const carried = (await filesOf(platform)).filter((name) => name.endsWith('.node'));
  assert.deepEqual(carried.sort(), install.builtBinaries().sort());
  const files = await filesOf(main);
  for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md', 'index.d.ts', 'register.js', 'binding.d.ts']) {
    assert.ok(files.includes(name), `${name} is in the package`);
  }
  const needless = files.filter((name) =>
    /^(src|bus\/|observe\/|redis\/|scripts|npm|__test__|Cargo)|\.node$/.test(name),
  );
  assert.deepEqual(needless, []);
  const { stdout } = await run(['tar', '-xzOf', main, 'package/package.json'], { cwd: scratch });
  const { version, dependencies, optionalDependencies } = JSON.parse(stdout);
  assert.equal(dependencies, undefined);
  assert.deepEqual(
    optionalDependencies,
    Object.fromEntries(fs.readdirSync(path.join(root, 'npm')).map((name) => [`corral-${name}`, version])),
  );
});

test('what `npm run pack` makes carries its binaries, and depends on nothing', async () => {
  const tarball = await carrying;
  const { version } = require('../package.json');
  const binary = install.builtBinary();
  assert.equal(path.basename(tarball), `corral-${version}-${binary.split('.')[1]}.tgz`);
  const files = await filesOf(tarball);
  for (const name of install.builtBinaries()) assert.ok(files.includes(name), name);
  const { stdout } = await run(['tar', '-xzOf', tarball, 'package/package.json'], { cwd: scratch });
  const names = Object.keys(JSON.parse(stdout)).filter((name) => /^(?!dev).*dependencies$/i.test(name));
  assert.deepEqual(names, []);
});

test('what the README links to is in the package, or the link is absolute', async () => {
  const files = await filesOf((await published).main);
  const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8');
  const links = Array.from(readme.matchAll(/\]\(([^)\s#]+)[^)]*\)/g), (match) => match[1]);
  assert.ok(links.length > 20, 'the links are found');
  const missing = links.filter(
    (link) => !/^https:/.test(link) && !files.some((name) => name === link || name.startsWith(link)),
  );
  assert.deepEqual(missing, []);
});

test('package.json, also those of the platforms, says where the source is', () => {
  const { repository, homepage, bugs } = require('../package.json');
  assert.match(repository.url, /^git\+https:/);
  assert.match(homepage, /^https:/);
  assert.match(bugs, /^https:/);
  for (const name of fs.readdirSync(path.join(root, 'npm'))) {
    // Provenance is refused otherwise.
    assert.deepEqual(require(path.join(root, 'npm', name, 'package.json')).repository, repository);
  }
});

test('a project with the tarball in it is copied elsewhere, and `npm ci --omit=dev` is enough', async () => {
  const developed = project('developed');
  fs.mkdirSync(path.join(developed, 'vendor'));
  const name = path.basename(await carrying);
  fs.copyFileSync(await carrying, path.join(developed, 'vendor', name));
  await npm(developed, 'install', `./vendor/${name}`);

  const deployed = install.deploy(developed, path.join(scratch, 'deployed'));
  fs.rmSync(developed, { recursive: true });
  await npm(deployed, 'ci', '--omit=dev');
  assert.ok(!fs.existsSync(path.join(deployed, 'node_modules/dev-tool')), 'nothing for development');
  await install.assertRunsNatively(deployed, { env });
  const { stdout } = await run([path.join(deployed, 'node_modules/.bin/corral'), '--version'], {
    cwd: deployed,
  });
  assert.equal(stdout, `${require('../package.json').version}\n`);
});

test('a project that installs the published packages runs two workers on the native core', async () => {
  const { main, platform } = await published;
  const developed = project('of-published');
  await npm(developed, 'install', main, platform);
  await install.assertRunsNatively(developed, { env });
});

test('`--install-links` copies a built clone, and the project needs the clone no more', async () => {
  const clone = install.copyCheckout(path.join(scratch, 'clone'));
  // What says that the binaries are those of the sources, and what that is asked of: npm runs "prepare" in the clone.
  const stamps = ADDONS.map(({ name }) => `target/${name}.stamp`);
  for (const name of [...stamps, 'node_modules/@napi-rs/cli']) {
    fs.cpSync(path.join(root, name), path.join(clone, name), { recursive: true });
  }
  const developed = project('developed-beside');
  await npm(developed, 'install', '--install-links', '../clone');
  const deployed = install.deploy(developed, path.join(scratch, 'deployed-beside'));
  await npm(deployed, 'ci', '--omit=dev', '--install-links');
  fs.rmSync(clone, { recursive: true });
  await install.assertRunsNatively(deployed, { env });
});
