'use strict';

// Other runtimes than the one that runs this: versions of Node, Bun and Deno, from npm's packages of their binaries, kept in
// .cache/runtimes. Nothing of a package runs but its binary.

const { spawnSync } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const CACHE = path.join(__dirname, '..', '.cache', 'runtimes');

/** Bun 1.4 and Deno 2.9, by package: their versions and what npm has for them. */
const BUN = '1.4.5';
const DENO = '2.9.6';
/** @type {Record<string, string>} */
const INTEGRITY = {
  '@oven/bun-linux-x64':
    'sha512-IWX9BELoGHAUtMonkeSaNaZwXzRk+oDw6Mk+HBFXd3KHYIBNBsIGRupMZPcgNoDbJpLu6gAJjIoIVPZtt1aJ1g==',
  '@oven/bun-linux-aarch64':
    'sha512-4BXmsSKnjOrlGWqZV4x/oWa7AVoR+B6lCXddMzOAXBIm3t50eslg9wb66gmtW1AamEQ1l1CDvmmruysEhqOWMg==',
  '@oven/bun-linux-x64-musl':
    'sha512-10QoW/YfTgnURaGEaHpJCiXjLI2e5iTtfVDaA5JKcyUzaa1cq6cVUY9/Uq5XkYzvtRjHLRe9Oj/lTDIQcxy8HQ==',
  '@oven/bun-linux-aarch64-musl':
    'sha512-XCNc+WvvMAdNNb+OWTogpy+N9wm62fkVeEVLb6how0RZhW5LPi6c7BlkeVCuWps7XjEl2saFpHFa20/1E+PAHg==',
  '@oven/bun-darwin-x64':
    'sha512-qkLPMGHZM9NI6CeHTWwVezzmlo6cC4Ta7yUAjYIWXS366qQcOlcp75t2uZyiuVRBMPS0h9qE0tCcvCHGaFqjJg==',
  '@oven/bun-darwin-aarch64':
    'sha512-4MIFXHmctH2EhAxLXm2/qxNtv17dFtLJylvaOCsrgq6KSqHTs6eW5YSrJjRbJxYUJaR901fsN8JfZOa+CsWpWQ==',
  '@deno/linux-x64-glibc':
    'sha512-3md4TKLCuzsLDmfOoC5KN7NAZaxSVkMgm64vg6foD00JBADCpYS2/5QqXfzgnP5ZQz3iLP9vBQJtEgc116OAoQ==',
  '@deno/linux-arm64-glibc':
    'sha512-poqhoH9B3nYloigEMPT5t8HY+wBeiuea1An5Q7fqgJzP0SYmWsoS/oUnWO/pEiA4ofzIBy1Elt/in58xKtxEoQ==',
  '@deno/darwin-x64':
    'sha512-tPi3CWPRdjW1MaWlvWjORE7Ass5SADdWdj1BF1Q1PEdzi+5u/mC5YhmZzniMiPr81PpaFeqjXaLAsfb8lFsZ0Q==',
  '@deno/darwin-arm64':
    'sha512-V8uO1Aolrl/yvdMb5lOtgtigs8YuZBjrOrgviVMiYkQ0swymFfzkae1wZak4Xi24t7vf7d/eiMb/7ryjjVm+tg==',
};

/** What npm says when there is no registry, or none that answers. */
const UNREACHABLE =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|E5\d\d|EPROTO)\b/;

/**
 * A runtime, as programs are started in it.
 * @typedef {object} Runtime
 * @property {string} name with as much of its version as the documents name: 'Node 26', 'Bun 1.4'
 * @property {string} binary
 * @property {string[]} args in front of a program's file
 */
/** @typedef {{ runtime: Runtime } | { missing: string }} Found why there is none here, in words for a test that is skipped */

/** The versions of Node that corral supports, oldest first. */
const NODES = ['20', '22', '24', '26'];

function isMusl() {
  if (process.platform !== 'linux') return false;
  const { header } = /** @type {any} */ (process.report?.getReport() ?? { header: {} });
  return header.glibcVersionRuntime === undefined;
}

/**
 * Where npm has a runtime for this machine.
 *
 * @param {string} name
 * @returns {{ id: string, file: string, args: string[] } | undefined} `id` with the version; undefined if npm has none
 */
function packageOf(name) {
  const { platform, arch } = process;
  const [kind, version] = name.split(' ');
  switch (kind) {
    case 'Node':
      return isMusl() ? undefined : { id: `node-${platform}-${arch}@${version}`, file: 'bin/node', args: [] };
    case 'Bun': {
      const machine = arch === 'arm64' ? 'aarch64' : arch;
      return {
        id: `@oven/bun-${platform}-${machine}${isMusl() ? '-musl' : ''}@${BUN}`,
        file: 'bin/bun',
        args: [],
      };
    }
    default: {
      const libc = platform === 'linux' ? '-glibc' : '';
      return isMusl()
        ? undefined
        : { id: `@deno/${platform}-${arch}${libc}@${DENO}`, file: 'deno', args: ['run', '-A'] };
    }
  }
}

/**
 * The binary of npm's package, fetched unless it has been.
 *
 * @param {{ id: string, file: string }} what
 * @returns {string}
 */
function fetched({ id, file }) {
  const directory = path.join(CACHE, id.replaceAll(/[@/]/g, '+'));
  const binary = path.join(directory, 'package', file);
  if (fs.existsSync(binary)) return binary;
  fs.mkdirSync(CACHE, { recursive: true });
  // Unpacked beside its place and then renamed: an interrupted run never looks like a complete one.
  const partial = fs.mkdtempSync(path.join(CACHE, 'partial-'));
  try {
    const options = [
      '--loglevel=error',
      '--prefer-offline',
      '--fetch-retries',
      '1',
      '--pack-destination',
      partial,
    ];
    const archive = path.join(
      partial,
      command('npm', ['pack', id, ...options])
        .trim()
        .split('\n')
        .pop() ?? '',
    );
    check(id, archive);
    command('tar', ['-xzf', archive, '-C', partial, `package/${file}`]);
    fs.rmSync(archive);
    fs.chmodSync(path.join(partial, 'package', file), 0o755);
    fs.chmodSync(partial, 0o755);
    try {
      fs.renameSync(partial, directory);
    } catch (error) {
      // Another run had it first.
      if (!fs.existsSync(binary)) throw error;
    }
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
  return binary;
}

/**
 * @param {string} id
 * @param {string} archive throws if it is another than the one whose hash stands here
 */
function check(id, archive) {
  const expected = INTEGRITY[id.slice(0, id.lastIndexOf('@'))];
  if (expected === undefined) return;
  const found = `sha512-${crypto.createHash('sha512').update(fs.readFileSync(archive)).digest('base64')}`;
  if (found !== expected) throw new Error(`${id} is not what it was: ${found}`);
}

/**
 * @param {string} file
 * @param {string[]} args
 * @returns {string} what it has printed; throws with its complaints if it fails
 */
function command(file, args) {
  // Without what npm or a test run has put into the environment, but for the registry.
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(npm_(?!config_registry$)|NODE_(OPTIONS|TEST_))/i.test(name),
  );
  // Not in the repo: there npm would take part in its workspace and its scripts.
  const result = spawnSync(file, args, { cwd: CACHE, encoding: 'utf8', env: Object.fromEntries(own) });
  if (result.error) throw result.error;
  if (result.status !== 0)
    throw new Error(`${file} ${args.join(' ')} failed\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** @param {string} name 'Node 26', 'Bun 1.4' */
function isRunning(name) {
  return process.versions.bun === undefined && name === `Node ${process.versions.node.split('.')[0]}`;
}

/**
 * A runtime: the one that runs this, or one from npm.
 *
 * @param {string} name 'Node 20', 'Bun 1.4', 'Deno 2.9'
 * @returns {Found}
 */
function find(name) {
  if (isRunning(name)) return { runtime: { name, binary: process.execPath, args: [] } };
  const what = packageOf(name);
  if (what === undefined) return { missing: `npm has no ${name} for this machine` };
  try {
    return { runtime: { name, binary: fetched(what), args: what.args } };
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    const code = UNREACHABLE.exec(message)?.[0];
    // A package that npm does not have for this platform is none, and so is one for a registry that is not there.
    if (code !== undefined)
      return { missing: `${name} cannot be fetched: the registry cannot be reached (${code})` };
    if (/\bE404\b|\bETARGET\b/.test(message)) return { missing: `npm has no ${name} for this machine` };
    throw error;
  }
}

module.exports = { BUN: 'Bun 1.4', DENO: 'Deno 2.9', NODES: NODES.map((version) => `Node ${version}`), find };
