'use strict';

// Packages that ask for Node's cluster where the program has corral's. Their programs are in fixtures/dependencies/, and
// require corral first.

const assert = require('node:assert/strict');
const path = require('node:path');
const { describe, test } = require('node:test');

const { assertEndedWell, run } = require('../helpers/programs');

const PROGRAMS = path.join(__dirname, '../fixtures/dependencies');

/** @param {string} name of a program, which ends by itself */
async function outcomeOf(name) {
  const outcome = await run([process.execPath, path.join(PROGRAMS, name)], {});
  assertEndedWell(outcome);
  return { seen: JSON.parse(outcome.stdout), stderr: outcome.stderr };
}

describe('a program whose dependencies use the cluster', { concurrency: 2 }, () => {
  test('prom-client adds up what the workers have counted', async () => {
    const { seen } = await outcomeOf('prom-client.js');
    assert.deepEqual(seen, { native: true, served: '3' });
  });

  test("log4js writes the workers' lines in the primary", async () => {
    const { seen, stderr } = await outcomeOf('log4js.js');
    assert.equal(seen.native, true);
    assert.deepEqual(stderr.trim().split('\n').toSorted(), [
      'line of the primary',
      'line of worker 1',
      'line of worker 2',
    ]);
  });

  test('@socket.io/sticky gives clients to workers, and @socket.io/cluster-adapter connects those', async () => {
    const { seen } = await outcomeOf('socket.io.js');
    assert.deepEqual(seen, { native: true, ids: [1, 2], sameNews: true });
  });

  test('socket.io begins with long polling, over workers of which one dies now and then', async () => {
    const { seen } = await outcomeOf('socket.io-sticky.js');
    assert.deepEqual(seen, {
      native: true,
      allLive: { upgraded: 20, answered: 20, lost: 0 },
      unknown: 0,
      known: 50,
    });
  });
});
