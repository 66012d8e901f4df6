'use strict';

// What docs/running.md says, tried with its own program.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { writeFilesOf } = require('./helpers/document');
const { scratchDirectory } = require('./helpers/example');
const { environment } = require('./helpers/programs');

const root = path.dirname(__dirname);

test('the program of docs/running.md starts, reloads and stops as it says', async (t) => {
  const directory = fs.realpathSync(scratchDirectory(t));
  fs.mkdirSync(path.join(directory, 'node_modules'));
  fs.symlinkSync(root, path.join(directory, 'node_modules/corral'));
  writeFilesOf('docs/running.md', directory);
  const program = spawn(process.execPath, ['server.js'], {
    cwd: directory,
    env: environment({ PORT: '0' }),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => program.kill('SIGKILL'));
  const exit = once(program, 'exit');
  let output = '';
  program.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  /** @param {string} line */
  const hasSaid = async (line) => {
    while (!output.includes(`${line}\n`)) await once(program.stdout, 'data');
  };
  await hasSaid('ready');
  program.kill('SIGHUP');
  await hasSaid('reloaded 2 workers');
  program.kill('SIGTERM');
  assert.deepEqual(await exit, [0, null]);
});
