'use strict';

// docs/getting-started.md, as a newcomer goes through it: in an empty directory, line by line, with packages from the registry.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { after, test } = require('node:test');

const { freePort } = require('../scripts/lib-free-port');
const { killAllOnSignals, runGroup } = require('../scripts/lib-process-group');
const { stepsOf } = require('./helpers/document');
const install = require('./helpers/install');

/** Most of it is npm's. */
const TIMEOUT_MS = 120_000;

killAllOnSignals();

const scratch = install.scratchDirectory({ after });

/** The ports that the document has, and ones that are free here. @returns {Promise<(text: string) => string>} */
async function portsReplaced() {
  const [first, second] = [await freePort(), await freePort()];
  return (text) => text.replaceAll('3000', `${first}`).replaceAll('3001', `${second}`);
}

/** Which worker answers first, is open. @param {string} text */
const withoutIds = (text) => text.replace(/worker \d+/g, 'worker N');

test('the whole way', async (t) => {
  const project = path.join(scratch, 'my-app');
  fs.mkdirSync(project);
  const env = { ...install.userEnvironment(path.join(scratch, 'home')), CORRAL: install.root };
  const replaced = await portsReplaced();
  for (const step of stepsOf('docs/getting-started.md')) {
    if (step.kind === 'file') {
      fs.writeFileSync(path.join(project, step.name), replaced(step.text));
      continue;
    }
    await t.test(step.lines[0], async () => {
      // A line that fails ends it, and says which one it was.
      const script = ['set -e', 'PS4="> "', 'set -x', ...step.lines.map(replaced)].join('\n');
      const { code, stdout, output, timedOut, leftovers } = await runGroup('/bin/sh', ['-c', script], {
        cwd: project,
        env,
        timeout: TIMEOUT_MS,
      });
      assert.deepEqual({ code, timedOut, leftovers }, { code: 0, timedOut: false, leftovers: [] }, output);
      if (step.output === undefined) return;
      // npm's own lines come before.
      const end = withoutIds(stdout).slice(-withoutIds(step.output).length);
      assert.equal(end, withoutIds(step.output), output);
    });
  }
  await install.assertRunsNatively(twoWorkersIn(path.join(project, 'deployed')), { env });
});

/** @param {string} project */
function twoWorkersIn(project) {
  fs.copyFileSync(path.join(__dirname, 'fixtures/two-workers.js'), path.join(project, 'app.js'));
  return project;
}
