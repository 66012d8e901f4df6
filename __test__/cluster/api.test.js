'use strict';

// The cluster object itself.

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { programs, run } = require('../helpers/programs');

describe('the cluster object', { concurrency: 2 }, () => programs('api/cluster'));

describe('a primary inside something else', { concurrency: 2 }, () => programs('api/nested'));

test('nothing that corral makes when it is loaded looks as if it kept the process alive', async () => {
  const { code, stdout } = await run([process.execPath, require.resolve('./api/resources.js')], {});
  assert.equal(code, 0);
  const { made, open } = JSON.parse(stdout);
  assert.ok(made > 0);
  assert.deepEqual(open, []);
});
