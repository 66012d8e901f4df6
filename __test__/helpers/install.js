'use strict';

// Projects that install corral as a user would, in temporary directories from which nothing leads to this checkout.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');

const { ADDONS } = require('../../scripts/lib-addons');

const root = path.join(__dirname, '../..');

/** Of a checkout, what a release is not made from. */
const NOT_COPIED = ['.git', '.cache', 'node_modules', 'target', 'bench/load/target'];

/** A build from source, with all else that a package manager does, on a busy machine. */
const TIMEOUT_MS = 900_000;

/** @typedef {{ cwd: string, env?: NodeJS.ProcessEnv }} Options */

/**
 * A directory, by its real path, that is gone after the test.
 *
 * @param {{ after: (hook: () => void) => void }} t
 */
function scratchDirectory(t) {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'corral-install-')));
  // Some package managers make what they have stored read-only.
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/**
 * The environment of a user: none of the settings that our own `npm test` passes down, or that Node's runner has; a home
 * of its own, so that neither its settings nor what it has cached before decide.
 *
 * @param {string} home
 * @returns {NodeJS.ProcessEnv}
 */
function userEnvironment(home) {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|NODE_(?!EXTRA_CA_CERTS)|CORRAL_)/i.test(name),
  );
  fs.mkdirSync(home, { recursive: true });
  return {
    ...Object.fromEntries(own),
    HOME: home,
    // Where Rust is, if somebody builds.
    CARGO_HOME: process.env.CARGO_HOME ?? path.join(os.homedir(), '.cargo'),
    RUSTUP_HOME: process.env.RUSTUP_HOME ?? path.join(os.homedir(), '.rustup'),
    npm_config_cache: path.join(home, 'npm-cache'),
    npm_config_update_notifier: 'false',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env.PATH}`,
  };
}

/**
 * Runs a program to its end. What it printed is in the error if it fails.
 *
 * @param {string[]} command
 * @param {Options} options
 */
async function run([file, ...args], options) {
  try {
    return await promisify(execFile)(file, args, { timeout: TIMEOUT_MS, maxBuffer: 1 << 26, ...options });
  } catch (error) {
    const { code, stdout, stderr } = /** @type {any} */ (error);
    throw new Error(`${[file, ...args].join(' ')}: ${code}\n${stdout}${stderr}`, { cause: error });
  }
}

/**
 * A copy of the checkout without what belongs to a working copy alone; with the binary, if it was built.
 *
 * @param {string} directory
 */
function copyCheckout(directory) {
  fs.cpSync(root, directory, {
    recursive: true,
    filter: (source) => !NOT_COPIED.includes(path.relative(root, source)),
  });
  return directory;
}

/** The binaries that `npm run build` has made here: the core's, then those of the other addons. */
function builtBinaries() {
  const built = fs.readdirSync(root).filter((name) => name.endsWith('.node'));
  return ADDONS.map(({ name }) => {
    const binary = built.find((file) => file.startsWith(`${name}.`));
    assert.ok(binary, `this test needs the binary of ${name} that \`npm run build\` makes`);
    return binary;
  });
}

/** The core's. */
function builtBinary() {
  return builtBinaries()[0];
}

/**
 * The tarball that `npm run pack` makes.
 *
 * @param {string} directory where to put it
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<string>} its path
 */
async function packCarrying(directory, env) {
  const { stdout } = await run(['npm', 'run', 'pack', '--', directory], { cwd: root, env });
  return stdout.trim().split('\n').at(-1) ?? '';
}

/**
 * Corral and this platform's package as they are published, packed in a copy of the checkout.
 *
 * @param {string} directory where to put the tarballs
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<{ main: string, platform: string }>} their paths
 */
async function packPublished(directory, env) {
  const checkout = copyCheckout(path.join(directory, 'checkout'));
  const platform = path.join(checkout, 'npm', builtBinary().split('.')[1]);
  // They stay where the build has put them, too: whoever publishes from a clone that is built publishes none of them.
  for (const binary of builtBinaries())
    fs.copyFileSync(path.join(checkout, binary), path.join(platform, binary));
  const manifest = fs.readFileSync(path.join(checkout, 'package.json'), 'utf8');
  const pack = async (/** @type {string} */ cwd) => {
    const args = ['pack', '--ignore-scripts', '--pack-destination', directory];
    const { stdout } = await run(['npm', ...args], { cwd, env });
    return path.join(directory, stdout.trim().split('\n').at(-1) ?? '');
  };
  await run([process.execPath, 'scripts/publish.js', 'prepare'], { cwd: checkout, env });
  const packed = { main: await pack(checkout), platform: await pack(platform) };
  await run([process.execPath, 'scripts/publish.js', 'restore'], { cwd: checkout, env });
  assert.equal(
    fs.readFileSync(path.join(checkout, 'package.json'), 'utf8'),
    manifest,
    'publishing leaves no trace in package.json',
  );
  fs.rmSync(checkout, { recursive: true });
  return packed;
}

/**
 * A project with a program that needs corral, and with a dependency for development that a deployment leaves out.
 *
 * @param {string} directory
 */
function makeProject(directory) {
  fs.mkdirSync(path.join(directory, 'dev-tool'), { recursive: true });
  fs.writeFileSync(
    path.join(directory, 'dev-tool/package.json'),
    '{ "name": "dev-tool", "version": "1.0.0" }',
  );
  fs.writeFileSync(
    path.join(directory, 'package.json'),
    JSON.stringify({ name: 'project', private: true, devDependencies: { 'dev-tool': 'file:./dev-tool' } }),
  );
  fs.copyFileSync(path.join(__dirname, '../fixtures/two-workers.js'), path.join(directory, 'app.js'));
  return directory;
}

/**
 * What a deployment takes along of a project: what is under version control.
 *
 * @param {string} project
 * @param {string} target
 */
function deploy(project, target) {
  const left = ['node_modules', '.yarn', '.pnp.cjs', '.pnp.loader.mjs'];
  fs.cpSync(project, target, {
    recursive: true,
    filter: (source) => !left.includes(path.relative(project, source)),
  });
  return target;
}

/**
 * Checks that a project runs two workers on the native core, and has that from nowhere but itself.
 *
 * @param {string} project
 * @param {{ env: NodeJS.ProcessEnv, command?: string[] }} options command: what runs the program
 */
async function assertRunsNatively(project, { env, command = [process.execPath, 'app.js'] }) {
  assertIsClosed(project);
  const { stdout, stderr } = await run(command, { cwd: project, env });
  assert.equal(stderr, '');
  const seen = JSON.parse(stdout);
  assert.equal(seen.native, true);
  assert.deepEqual(seen.answered.toSorted(), seen.workers.toSorted());
  assert.deepEqual(seen.exits, [
    [0, null],
    [0, null],
  ]);
  for (const pid of seen.workers) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  assert.ok(isUnder(project, seen.corral), `${seen.corral} is in ${project}`);
  return seen;
}

/**
 * Checks that nothing of a project leads out of the directory that it is in: no link, and no path of the checkout in
 * what package managers have written.
 *
 * @param {string} project
 */
function assertIsClosed(project) {
  for (const entry of fs.readdirSync(project, { withFileTypes: true, recursive: true })) {
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    if (entry.isSymbolicLink()) {
      assert.ok(isUnder(project, fs.realpathSync(file)), `${file} leads to ${fs.realpathSync(file)}`);
    } else if (/lock|^\.pnp|^package\.json$/.test(entry.name) && entry.isFile()) {
      assert.ok(!fs.readFileSync(file, 'utf8').includes(root), `${file} names the checkout`);
    }
  }
}

/**
 * @param {string} directory
 * @param {string} file
 */
function isUnder(directory, file) {
  return `${file}/`.startsWith(`${fs.realpathSync(directory)}/`);
}

module.exports = {
  assertRunsNatively,
  builtBinaries,
  builtBinary,
  copyCheckout,
  deploy,
  makeProject,
  packCarrying,
  packPublished,
  root,
  run,
  scratchDirectory,
  userEnvironment,
};
