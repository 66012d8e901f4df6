'use strict';

// What `corral` says of what it is asked for: help, and one line for what cannot be meant.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { describe, test } = require('node:test');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const os = require('node:os');

const { COMMANDS } = require('../../cli/commands');
const { SETTINGS, TYPES } = require('../../cli/settings');
const { FILES } = require('../../scripts/cli-docs');
const { APP, project } = require('../helpers/cli');

const root = path.join(__dirname, '../..');

for (const [file, make] of Object.entries(FILES)) {
  test(`${file} is what the tables say; npm run cli-docs writes it`, () => {
    const written = fs.readFileSync(path.join(root, file), 'utf8');
    if (file.endsWith('.json')) assert.deepEqual(JSON.parse(written), JSON.parse(make()));
    else assert.equal(written, make());
  });
}

test('every type of a setting has its check, and every flag one key', () => {
  for (const { key, type } of SETTINGS) assert.ok(TYPES[type], key);
  const flags = SETTINGS.flatMap(({ flag }) => flag ?? []);
  assert.equal(new Set(flags).size, flags.length);
});

test('the help has every command, and that of each every flag', async (t) => {
  const { corral } = project(t, {});
  const { code, stdout } = await corral(['--help']);
  assert.equal(code, 0);
  for (const { name, flags } of COMMANDS) {
    assert.match(stdout, new RegExp(`^  ${name} `, 'm'));
    const [long, other] = await Promise.all([corral([name, '--help']), corral(['help', name])]);
    assert.deepEqual(long, other);
    assert.equal(long.code, 0);
    for (const { flag } of flags) assert.ok(long.stdout.includes(`--${flag}`), `${name} --${flag}`);
  }
  assert.equal((await corral(['--version'])).stdout, `${require('../../package.json').version}\n`);
});

/** Words, files, and what is said of them, with exit status 2. @type {[string[], Record<string, string>, RegExp][]} */
const REFUSED = [
  [[], {}, /^corral: which command\?/],
  [['relaod'], {}, /^corral: there is no command relaod; did you mean reload\?\n$/],
  [
    ['run', '--wrokers', '2', 'app.js'],
    {},
    /^corral: corral run has no flag --wrokers; did you mean --workers\?\n$/,
  ],
  [['run', '--xyzzy', 'app.js'], {}, /^corral: corral run has no flag --xyzzy\n$/],
  [['run', '--workers'], {}, /^corral: --workers needs N\n$/],
  [['run', '--workers', '--name', 'x', 'app.js'], {}, /^corral: --workers needs N\n$/],
  [
    ['run', '--workers', '0', 'app.js'],
    {},
    /^corral: --workers must be a whole number from 1 to 4096, or 'max', and not "0"\n$/,
  ],
  [
    ['run', '--drain', 'soon', 'app.js'],
    {},
    /^corral: --drain must be milliseconds, or a number with a unit .*"soon"\n$/,
  ],
  [['run', '-w', '5000', 'app.js'], {}, /^corral: --workers must be .* to 4096, .*"5000"\n$/],
  [['run', '--max-age', '0', 'app.js'], {}, /^corral: --max-age must be .* from 1ms to 24d, and not "0"\n$/],
  [['run', '--drain', '25d', 'app.js'], {}, /^corral: --drain must be .* from 0 to 24d, and not "25d"\n$/],
  [
    ['run', '--hung-after', '20ms', 'app.js'],
    {},
    /^corral: --hung-after must be .* 0, or from 100ms to 24d, and not "20ms"\n$/,
  ],
  [['run', '--max-memory', '5X', 'app.js'], {}, /^corral: --max-memory must be bytes, .*"5X"\n$/],
  [['run', '--surge', '2', 'app.js'], {}, /^corral: --surge must be 0 or 1, and not "2"\n$/],
  [['run', '--env', 'NAME', 'app.js'], {}, /^corral: --env must be variables, each with a text, and not/],
  [
    ['run', '--hung-signal', 'SIGWHAT', 'app.js'],
    {},
    /^corral: --hung-signal must be the name of a signal, and/,
  ],
  [['run', '--name', 'a/b', 'app.js'], {}, /^corral: "a\/b" is no name/],
  [['run', '--cwd', 'nowhere', 'app.js'], {}, /^corral: nowhere: there is no such directory\n$/],
  [['run', 'missing.js'], {}, /^corral: missing.js: there is no such program\n$/],
  [['run'], {}, /^corral: which program\?/],
  [['run', '--config', 'missing.json'], {}, /^corral: missing.json: there is no such file\n$/],
  [
    ['run'],
    { 'corral.config.json': '{ "wokers": 2 }' },
    /^corral: corral.config.json: wokers is not known; did you mean workers\?\n$/,
  ],
  [
    ['run'],
    { 'corral.config.json': '{ "workers": true }' },
    /^corral: corral.config.json: workers must be .*, and not true\n$/,
  ],
  [['run'], { 'corral.config.json': '{ "workers": ' }, /^corral: corral.config.json: .*JSON/],
  [['run'], { 'corral.config.json': '[]' }, /^corral: corral.config.json: there are no settings in it\n$/],
  [
    ['run'],
    { 'corral.config.mjs': 'throw new Error("as asked")' },
    /^corral: corral.config.mjs: as asked\n$/,
  ],
  [
    ['run'],
    { 'package.json': '{ "corral": { "drian": 1 } }' },
    /^corral: package.json: drian is not known; did you mean drain\?\n$/,
  ],
  [
    ['run', 'ecosystem.config.js'],
    { 'ecosystem.config.js': 'module.exports = { apps: [{ name: "a" }, { name: "b" }] }' },
    /^corral: ecosystem.config.js has several programs: choose one by --only \(a, b\)\n$/,
  ],
  [['scale'], {}, /^corral: scale needs N, \+N or -N\n$/],
  [['scale', '--name', 'x', 'many'], {}, /^corral: scale needs N, \+N or -N\n$/],
  [
    ['run', '--recycle-at', '61 * * * *', 'app.js'],
    {},
    /^corral: --recycle-at must be five fields as cron has them .*"61 \* \* \* \*"\n$/,
  ],
  [['run', '--control', 'app.js', 'app.js'], {}, /^corral: .*app.js is no socket, and stays as it is/],
  [['run', '--pid-file', 'nowhere/pid', 'app.js'], {}, /^corral: .*nowhere\/pid: ENOENT/],
  [['inspect'], {}, /^corral: inspect needs the number of a slot\n$/],
  [['inspect', '0', '1'], {}, /^corral: 1 is one word too many\n$/],
  [['upgrade', 'now'], {}, /^corral: now is one word too many\n$/],
  [['reload', 'now'], {}, /^corral: now is one word too many\n$/],
  [['kill', 'first'], {}, /^corral: kill needs the number of a slot\n$/],
  [['status', 'now'], {}, /^corral: now is one word too many\n$/],
  [['logs', '-n', 'all'], {}, /^corral: --lines needs a whole number, and not all\n$/],
  [['status', '--json=yes'], {}, /^corral: --json takes no value\n$/],
];

describe('what cannot be meant', { concurrency: 4 }, () => {
  for (const [words, files, pattern] of REFUSED) {
    const where = Object.entries(files).map(([name, text]) => `${name}: ${text}`);
    test(['corral', ...words, ...where].join(' '), async (t) => {
      const { corral } = project(t, { 'app.js': APP, ...files });
      const { code, stdout, stderr } = await corral(words);
      assert.match(stderr, pattern);
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' });
    });
  }
});

test('where nobody listens that is what is said, with exit status 1', async (t) => {
  const { corral } = project(t, {});
  assert.deepEqual(await corral(['status']), { code: 1, stdout: '', stderr: 'corral: no program runs\n' });
  const { code, stderr } = await corral(['stop', '--name', 'other']);
  assert.equal(code, 1);
  assert.match(stderr, /^corral: no program listens at .*\/other\.sock\n$/);
});

const asRoot = { skip: process.getuid?.() !== 0 && 'only root has a second user at hand' };

test('a socket of another user is not spoken to', asRoot, async (t) => {
  const { corral, directory } = project(t, { 'app.js': APP });
  const place = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-other-'));
  t.after(() => fs.rmSync(place, { recursive: true }));
  fs.chownSync(place, 65534, 65534);
  fs.chmodSync(place, 0o755);
  const where = path.join(place, 's');
  const listening = spawn(
    process.execPath,
    [
      '-e',
      `require('net').createServer((socket) => socket.on('error', () => {})).listen(${JSON.stringify(where)}, () => console.log('listens'))`,
    ],
    { uid: 65534, gid: 65534, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.after(() => listening.kill('SIGKILL'));
  await once(listening.stdout, 'data');
  const { code, stderr } = await corral(['status', '--control', where]);
  assert.equal(code, 1);
  assert.match(stderr, /^corral: .*\/s: .+\n$/);
  const run = await corral(['run', '-w', '1', '--control', where, path.join(directory, 'app.js')]);
  assert.notEqual(run.code, 0);
  assert.match(run.stderr, /^corral: [^\n]+\n$/);
});

test('sockets are looked for in no directory of somebody else', async (t) => {
  const { corral, sockets } = project(t, {});
  fs.mkdirSync(path.join(sockets, 'corral'));
  fs.chmodSync(path.join(sockets, 'corral'), 0o777);
  const { code, stderr } = await corral(['status']);
  assert.equal(code, 2);
  assert.match(stderr, /is not a directory of this user's alone/);
});
