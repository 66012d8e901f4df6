'use strict';

// `import { … } from 'corral'`, in the primary and in a worker.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const fs = require('node:fs/promises');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { pathToFileURL } = require('node:url');
const { promisify } = require('node:util');

const entry = pathToFileURL(path.join(__dirname, '../../index.mjs'));

const PROGRAM = `
  import cluster, { fork, isPrimary, SCHED_RR, worker } from ${JSON.stringify(entry.href)};
  if (isPrimary) {
    if (fork !== cluster.fork || SCHED_RR !== 2) process.exit(1);
    fork().on('message', (id) => console.log('worker', id)).on('exit', (code) => process.exit(code));
  } else {
    process.send(worker.id, () => process.exit(0));
  }
`;

test('an ES module imports by name what it imports from node:cluster', async () => {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'corral-'));
  try {
    const program = path.join(directory, 'program.mjs');
    await fs.writeFile(program, PROGRAM);
    const { stdout } = await promisify(execFile)(process.execPath, [program], { timeout: 30_000 });
    assert.equal(stdout, 'worker 1\n');
  } finally {
    await fs.rm(directory, { recursive: true });
  }
});
