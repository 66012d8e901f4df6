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

/** Prints which names of the cluster object cannot be imported, in the primary and in a worker. */
const COMPLETE = `
  import * as names from ${JSON.stringify(entry.href)};
  import events from 'node:events';
  const cluster = names.default;
  const missing = [...Object.keys(cluster), 'respond', 'workerById', 'bindSession', 'stats']
    .filter((name) => !name.startsWith('_') && !(name in events.prototype) && !(name in names));
  if (cluster.isPrimary) {
    cluster.fork().on('message', (ofWorker) => console.log(JSON.stringify({ missing, ofWorker })));
  } else {
    process.send(missing, () => process.disconnect());
  }
`;

const PROGRAM = `
  import cluster, { fork, isPrimary, SCHED_RR, worker } from ${JSON.stringify(entry.href)};
  if (isPrimary) {
    if (fork !== cluster.fork || SCHED_RR !== 2) process.exit(1);
    fork().on('message', (id) => console.log('worker', id)).on('exit', (code) => process.exit(code));
  } else {
    process.send(worker.id, () => process.exit(0));
  }
`;

/**
 * @param {string} source of an ES module
 * @returns {Promise<string>} what it prints
 */
async function run(source) {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'corral-'));
  try {
    const program = path.join(directory, 'program.mjs');
    await fs.writeFile(program, source);
    const { stdout } = await promisify(execFile)(process.execPath, [program], { timeout: 120_000 });
    return stdout;
  } finally {
    await fs.rm(directory, { recursive: true });
  }
}

test('an ES module imports by name what it imports from node:cluster', async () => {
  assert.equal(await run(PROGRAM), 'worker 1\n');
});

test('every name of the cluster object can be imported, in the primary and in a worker', async () => {
  assert.deepEqual(JSON.parse(await run(COMPLETE)), { missing: [], ofWorker: [] });
});
