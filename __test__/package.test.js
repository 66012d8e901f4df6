'use strict';

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, test } = require('node:test');
const { promisify } = require('node:util');

const root = path.dirname(__dirname);

/** Of a checkout, what a release is not made from. */
const NOT_COPIED = ['.git', 'node_modules', 'target'];

/** @type {string} */
let scratch;
before(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-package-'));
});
after(() => fs.rmSync(scratch, { recursive: true }));

/**
 * Runs npm as a user would: none of the settings that our own `npm test` passes down, a cache of its own, no network.
 *
 * @param {string} cwd
 * @param {...string} args
 */
function npm(cwd, ...args) {
  const own = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name));
  const env = { ...Object.fromEntries(own), npm_config_cache: path.join(scratch, 'cache') };
  return promisify(execFile)('npm', [...args, '--offline', '--no-audit', '--no-fund'], { cwd, env });
}

/**
 * The tarballs of corral and of this platform's package, made in a copy of the checkout.
 *
 * @returns {Promise<string[]>}
 */
async function pack() {
  const binary = fs.readdirSync(root).find((name) => /^corral\..+\.node$/.test(name));
  assert.ok(binary, 'this test needs the binary that `npm run build` makes');
  const checkout = path.join(scratch, 'checkout');
  fs.cpSync(root, checkout, {
    recursive: true,
    filter: (source) => !NOT_COPIED.includes(path.relative(root, source)),
  });
  const platform = path.join(checkout, 'npm', binary.split('.')[1]);
  fs.renameSync(path.join(checkout, binary), path.join(platform, binary));

  const tarballs = path.join(scratch, 'tarballs');
  fs.mkdirSync(tarballs);
  const manifest = fs.readFileSync(path.join(checkout, 'package.json'), 'utf8');
  for (const directory of [checkout, platform]) await npm(directory, 'pack', '--pack-destination', tarballs);
  assert.equal(
    fs.readFileSync(path.join(checkout, 'package.json'), 'utf8'),
    manifest,
    'packing leaves no trace',
  );
  return fs.readdirSync(tarballs).map((name) => path.join(tarballs, name));
}

test('a project that installs the packed packages runs two workers on the native core', async () => {
  const tarballs = await pack();
  assert.equal(tarballs.length, 2);

  const project = path.join(scratch, 'project');
  fs.mkdirSync(project);
  fs.writeFileSync(path.join(project, 'package.json'), '{ "private": true }');
  await npm(project, 'install', ...tarballs);

  const installed = path.join(project, 'node_modules', 'corral');
  for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md', 'index.d.ts', 'register.js', 'binding.d.ts']) {
    assert.ok(fs.existsSync(path.join(installed, name)), `${name} is in the package`);
  }
  const needless = fs
    .readdirSync(installed)
    .filter((name) => /^(src|scripts|npm|__test__|Cargo.*|.*\.node)$/.test(name));
  assert.deepEqual(needless, []);
  const { version, dependencies, optionalDependencies } = require(path.join(installed, 'package.json'));
  assert.equal(dependencies, undefined);
  assert.deepEqual(
    optionalDependencies,
    Object.fromEntries(fs.readdirSync(path.join(root, 'npm')).map((name) => [`corral-${name}`, version])),
  );

  fs.copyFileSync(path.join(__dirname, 'fixtures', 'two-workers.js'), path.join(project, 'app.js'));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['app.js'], { cwd: project });
  assert.equal(stderr, '');
  const seen = JSON.parse(stdout);
  assert.equal(seen.corral, path.join(fs.realpathSync(installed), 'index.js'));
  assert.equal(seen.native, true);
  assert.deepEqual(seen.answered.toSorted(), seen.workers.toSorted());
  assert.deepEqual(seen.exits, [
    [0, null],
    [0, null],
  ]);
  for (const pid of seen.workers) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});
