'use strict';

// Other runtimes and versions: docs/compatibility.md says what happens with those that are here, and corral finds out by itself
// where its core cannot run.

const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { describe, test } = require('node:test');
const { promisify } = require('node:util');

const { CELLS } = require('../scripts/compatibility/cells');
const document = require('../scripts/compatibility/document');
const { BUN, DENO, NODES, find } = require('../scripts/lib-runtimes');
const { nodeWithout } = require('./helpers/node-without');

const root = path.dirname(__dirname);
const run = promisify(execFile);

const own = `Node ${process.versions.node.split('.')[0]}`;
/** Another Node, as far from this one as can be. */
const other = own === NODES[0] ? NODES[NODES.length - 1] : NODES[0];

/** @typedef {import('../scripts/compatibility/document').Outcome} Outcome */

/** @param {Pick<Outcome, 'table' | 'row' | 'column'>} cell */
function nameOf({ table, row, column }) {
  return `${table}: ${row}, ${column}`;
}

const told = new Map(document.read().map((cell) => [nameOf(cell), cell.outcome]));

test('docs/compatibility.md tells of every cell, and of nothing else', () => {
  assert.deepEqual([...told.keys()].sort(), CELLS.map(nameOf).sort());
});

/**
 * What the document says of these runtimes is what happens.
 *
 * @param {string[]} names this Node, and others
 */
function compare(names) {
  const found = new Map(names.map((name) => [name, find(name)]));
  const missing = [...found.values()].flatMap((one) => ('missing' in one ? [one.missing] : []));
  const cells = CELLS.filter(
    ({ runtimes }) =>
      runtimes.every((name) => found.has(name)) &&
      (names.length === 1 || runtimes.some((name) => name !== own)),
  );
  describe(names.join(', '), { concurrency: 2, skip: missing[0] ?? false }, () => {
    for (const cell of cells) {
      test(nameOf(cell), async () => {
        const runtime = (/** @type {string} */ name) => /** @type {any} */ (found.get(name)).runtime;
        assert.equal(await cell.run(runtime), told.get(nameOf(cell)));
      });
    }
  });
}

compare([own]);
compare([own, other]);
compare([own, BUN]);
compare([own, DENO]);

describe('a runtime that the core cannot run in', () => {
  for (const [napi, reason] of [
    ['7', 'has version 7 of Node-API, and the core needs version 8'],
    [undefined, 'has no Node-API, and the core needs version 8'],
  ]) {
    test(`it ${reason}`, async () => {
      const program = `
        Object.defineProperty(process.versions, 'napi', { value: ${JSON.stringify(napi)} });
        console.log(JSON.stringify(require('./lib/native')));
      `;
      const { stdout } = await run(process.execPath, ['-e', program], { cwd: root });
      assert.deepEqual(JSON.parse(stdout), { reason: `this runtime (${process.version}) ${reason}` });
    });
  }

  for (const name of ['napi_create_threadsafe_function', 'napi_get_uv_event_loop']) {
    test(`it does not export ${name}`, async (t) => {
      const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-node-'));
      t.after(() => fs.rmSync(directory, { recursive: true }));
      const node = path.join(directory, 'node');
      if (!nodeWithout(name, node)) return t.skip('Node and its functions are two files here');
      const { stdout, stderr } = await run(node, ['-p', "require('.').native"], { cwd: root });
      assert.equal(stdout, 'false\n');
      assert.match(stderr, new RegExp(`CORRAL_NO_NATIVE.*does not export ${name}`));
      // Nothing was called that is not there.
      assert.doesNotMatch(stderr, /has not been loaded/);
    });
  }
});

for (const name of [BUN, DENO]) {
  const found = find(name);
  describe(name, { skip: 'missing' in found && found.missing }, () => {
    /** @param {string} program @param {string[]} args */
    async function start(program, ...args) {
      const { runtime } = /** @type {{ runtime: import('../scripts/lib-runtimes').Runtime }} */ (found);
      const env = { ...process.env, NO_COLOR: '1' };
      const file = path.join(root, '__test__/fixtures/runtimes', program);
      const { stdout } = await run(runtime.binary, [...runtime.args, file, ...args], { env });
      return JSON.parse(stdout);
    }

    test('corral/net without channels is net, and with them throws with the reason', async () => {
      const [[code, message], text] = await start('net.js');
      assert.equal(code, 'ERR_CORRAL_NO_NATIVE');
      assert.match(message, new RegExp(`net.createServer.*does not run here: ${name}\\.\\d+ `));
      assert.equal(text, 'plain');
    });

    test('what is of the core says why it is not there, once there is one warning', async () => {
      const { isSame, warnings, stats } = await start('primary.js');
      assert.equal(isSame, true);
      assert.deepEqual(warnings, ['CORRAL_NO_NATIVE']);
      assert.equal(stats, 'ERR_CORRAL_NO_NATIVE');
    });
  });
}

describe('a worker of another runtime that loads corral', () => {
  const found = find(DENO);
  const options = { skip: 'missing' in found && found.missing };

  test('it asks and answers, and other workers are out of its reach', options, async () => {
    const file = path.join(root, '__test__/fixtures/runtimes/requests.js');
    const { stdout } = await run(process.execPath, [
      file,
      JSON.stringify(/** @type {any} */ (found).runtime),
    ]);
    assert.deepEqual(JSON.parse(stdout), {
      answer: { worker: 'a question' },
      seen: [{ primary: 'another' }, 'ERR_CORRAL_NO_NATIVE', 'ERR_CORRAL_NO_NATIVE'],
      exit: [0, null],
    });
  });
});
