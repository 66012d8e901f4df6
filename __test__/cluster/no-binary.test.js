'use strict';

// The warning of a corral without its binary names what is missing and what to do: each case in a copy of corral, as an
// installation leaves it.

const assert = require('node:assert/strict');
const { execFile, execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');
const { environment } = require('../helpers/programs');

const root = path.join(__dirname, '../..');

const BINARY = fs.readdirSync(root).find((name) => /^corral\..+\.node$/.test(name)) ?? '';
assert.notEqual(BINARY, '', 'this test needs the binary that `npm run build` makes');
const PLATFORM = BINARY.split('.')[1];
const OTHER = PLATFORM === 'linux-arm64-gnu' ? 'linux-x64-gnu' : 'linux-arm64-gnu';
const onLinux = { skip: process.platform !== 'linux' && 'for Linux' };
const onGlibc = { skip: !PLATFORM.endsWith('-gnu') && 'for Linux with glibc' };

/**
 * A project in whose node_modules there is a corral without a binary.
 *
 * @param {import('node:test').TestContext} t
 * @param {Record<string, unknown>} [manifest] what package.json has otherwise
 * @returns {{ project: string, corral: string }} directories
 */
function installCopy(t, manifest = {}) {
  const project = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-copy-'));
  t.after(() => fs.rmSync(project, { recursive: true }));
  const corral = path.join(project, 'node_modules/corral');
  for (const name of ['index.js', 'binding.js', 'lib']) {
    fs.cpSync(path.join(root, name), path.join(corral, name), { recursive: true });
  }
  const text = JSON.stringify({ ...require('../../package.json'), ...manifest });
  fs.writeFileSync(path.join(corral, 'package.json'), text);
  return { project, corral };
}

/** What a published corral depends on. */
const PUBLISHED = {
  optionalDependencies: Object.fromEntries(
    fs.readdirSync(path.join(root, 'npm')).map((name) => [`corral-${name}`, '0.1.0']),
  ),
};

/**
 * @param {string} project
 * @param {{ env?: NodeJS.ProcessEnv, before?: string }} [options] before: code that runs first
 * @returns {Promise<string>} the reason in the one warning that a program gets
 */
async function reasonIn(project, { env, before = '' } = {}) {
  const program = `${before}; console.log(require('corral').native)`;
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['-e', program], {
    cwd: project,
    env: environment(env),
  });
  assert.equal(stdout, 'false\n');
  const warnings = [
    ...stderr.matchAll(/\[CORRAL_NO_NATIVE\] Warning: corral runs on Node's own cluster: (.*)/g),
  ];
  assert.equal(warnings.length, 1, stderr);
  return warnings[0][1];
}

test('a clone that is not built', async (t) => {
  const { project, corral } = installCopy(t);
  fs.copyFileSync(path.join(root, 'Cargo.toml'), path.join(corral, 'Cargo.toml'));
  const directory = fs.realpathSync(corral);
  assert.equal(
    await reasonIn(project),
    `the binary for ${PLATFORM} is not built: run \`npm run build\` in ${directory}`,
  );
});

test('a copy that was packed without being built', async (t) => {
  const { project } = installCopy(t);
  assert.match(
    await reasonIn(project),
    /packed without its binary for \S+, as with --ignore-scripts: .*npm run pack/,
  );
});

test('a tarball that carries the binary of another platform', async (t) => {
  const { project, corral } = installCopy(t);
  fs.writeFileSync(path.join(corral, `corral.${OTHER}.node`), '');
  const reason = await reasonIn(project);
  assert.ok(
    reason.startsWith(`this copy of corral has the binary for ${OTHER}, and this is ${PLATFORM}: `),
    reason,
  );
  assert.match(reason, /npm run pack/);
});

test('optional dependencies that were left out', async (t) => {
  const { project } = installCopy(t, PUBLISHED);
  const reason = await reasonIn(project);
  assert.ok(reason.startsWith(`the package corral-${PLATFORM} is not installed: `), reason);
  assert.match(reason, /--omit=optional/);
});

test('a node_modules from another system', async (t) => {
  const { project } = installCopy(t, PUBLISHED);
  const other = path.join(project, 'node_modules', `corral-${OTHER}`);
  fs.mkdirSync(other);
  fs.writeFileSync(path.join(other, 'package.json'), JSON.stringify({ name: `corral-${OTHER}` }));
  const reason = await reasonIn(project);
  const start = `the package corral-${PLATFORM} is not installed, but corral-${OTHER} is: `;
  assert.ok(reason.startsWith(start), reason);
  assert.match(reason, /node_modules was made on another system/);
});

test('a package of the platform whose binary is broken', async (t) => {
  const { project } = installCopy(t, PUBLISHED);
  const own = path.join(project, 'node_modules', `corral-${PLATFORM}`);
  fs.mkdirSync(own);
  const manifest = fs.readFileSync(path.join(root, 'npm', PLATFORM, 'package.json'));
  fs.writeFileSync(path.join(own, 'package.json'), manifest);
  fs.writeFileSync(path.join(own, BINARY), 'not a shared library');
  // "file too short" or "invalid ELF header" on Linux, "not a mach-o file" on macOS; each with the file's name.
  assert.match(
    await reasonIn(project),
    /^the binary for \S+ cannot be loaded: .*corral\.\S+\.node.*(ELF|short|mach-o)/,
  );
});

test('a binary that needs a newer glibc', onGlibc, async (t) => {
  const { project, corral } = installCopy(t);
  const binary = fs.readFileSync(path.join(root, BINARY));
  // The name of a version is all that the loader compares: no system has this one.
  const name = Buffer.from('\0GLIBC_2.34\0');
  const at = binary.indexOf(name);
  assert.notEqual(at, -1, 'the binary needs this version');
  binary.write('\0GLIBC_9.99\0', at, 'latin1');
  fs.writeFileSync(path.join(corral, BINARY), binary);
  assert.match(
    await reasonIn(project),
    /cannot be loaded: .*version `GLIBC_9\.99' not found.* \(it needs glibc 9\.99 or newer, and this system has [\d.]+\)$/,
  );
});

test('a binary for musl under glibc', onGlibc, async (t) => {
  const { project, corral } = installCopy(t);
  const libc = `libc.musl-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}.so.1`;
  // A library of this name is there when it is linked, and not when it is loaded.
  const cc = (/** @type {string[]} */ ...args) =>
    execFileSync('cc', ['-shared', '-nostdlib', '-x', 'c', '/dev/null', ...args], { cwd: corral });
  cc('-o', libc, `-Wl,-soname,${libc}`);
  cc('-o', BINARY, '-L.', '-Wl,--no-as-needed', `-l:${libc}`);
  fs.rmSync(path.join(corral, libc));
  assert.match(
    await reasonIn(project),
    /cannot be loaded: .*libc\.musl-\S+: .* \(it is for musl, and this Node runs on glibc\)$/,
  );
});

test('a binary for glibc under musl', onLinux, async (t) => {
  const { project, corral } = installCopy(t);
  // What musl's loader says; whether that is what runs Node is asked of the report.
  const said =
    'Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by corral.node)';
  fs.writeFileSync(path.join(corral, 'binding.js'), `throw new Error(${JSON.stringify(said)});`);
  const before = `
    const { getReport } = process.report;
    process.report.getReport = () => {
      const report = getReport.call(process.report);
      delete report.header.glibcVersionRuntime;
      return report;
    }`;
  const reason = await reasonIn(project, { before });
  assert.ok(reason.endsWith(`${said} (it is for glibc, and this Node runs on musl)`), reason);
  assert.match(reason, /^the binary for linux-\w+-musl cannot be loaded: /);
});

test('a variable of napi-rs that leads nowhere', async (t) => {
  const { project } = installCopy(t);
  const nowhere = path.join(project, 'nowhere.node');
  assert.equal(
    await reasonIn(project, { env: { NAPI_RS_NATIVE_LIBRARY_PATH: nowhere } }),
    `NAPI_RS_NATIVE_LIBRARY_PATH is set, and ${nowhere} does not exist`,
  );
});

test('a Node that is too old', async (t) => {
  const { project, corral } = installCopy(t);
  fs.copyFileSync(path.join(root, BINARY), path.join(corral, BINARY));
  const before =
    "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '18.20.8' } })";
  assert.equal(await reasonIn(project, { before }), 'Node 18.20.8 is too old: corral needs 20 or newer');
  const { engines } = require('../../package.json');
  assert.equal(engines.node, '>=20', 'what package.json says');
});
