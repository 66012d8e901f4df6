'use strict';

// docs/cli.md as its reader uses it: each command prints what the document says, but for numbers.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { project } = require('../helpers/cli');
const { stepsOf } = require('../helpers/document');
const { until } = require('../helpers/events');

const DOCUMENT = 'docs/cli.md';

/** @param {string} text @returns {string[]} its lines without numbers and without what they are padded with */
function linesOf(text) {
  const lines = text
    .replace(/\d+/g, 'N')
    .replace(/(\dN|N)[smh]N?[sm]?/g, 'Ns')
    .replace(/ +/g, ' ')
    .split('\n');
  return lines.map((line) => line.trimEnd()).filter((line) => line !== '');
}

test('every command of docs/cli.md prints what it says', async (t) => {
  const { directory, corral, start } = project(t, {});
  const steps = stepsOf(DOCUMENT);
  // After an upgrade the process is nobody's child here.
  t.after(() => corral(['stop', '--now']));
  for (const step of steps) {
    if (step.kind !== 'file' || !step.name.endsWith('.js')) continue;
    fs.writeFileSync(path.join(directory, step.name), step.text);
  }
  let ran = 0;
  for (const step of steps) {
    if (step.kind !== 'commands') continue;
    const [line] = step.lines;
    const [, words] = /^npx corral (.*)$/.exec(line) ?? assert.fail(`what is that? ${line}`);
    const expected = linesOf(step.output ?? assert.fail(`${line} prints something`));
    ran++;
    if (words.startsWith('run --workers 2 ')) {
      const running = start(words.split(' '), { PORT: '0' });
      await until(() => linesOf(running.output()).length >= expected.length);
      // Workers start at the same time.
      assert.deepEqual(linesOf(running.output()).sort(), [...expected].sort(), line);
      continue;
    }
    // What `kill` has started has to have written its line.
    const look = async () => {
      const { stdout, stderr } = await corral(words.split(' '));
      return linesOf(`${stdout}${stderr}`);
    };
    let lines = await look();
    if (words.startsWith('logs')) {
      await until(async () => {
        lines = await look();
        return lines[0] === expected[0];
      });
    }
    assert.deepEqual(lines, expected, line);
  }
  assert.equal(ran, 9);
});
