'use strict';

// Some seconds of scripts/soak.js: whatever happens to a service, nothing stays behind.

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { soak } = require('../../scripts/soak');

/** How many requests there are at a time. */
const CLIENTS = 3;

const skip = process.platform !== 'linux' && 'this needs Linux';

test('in random orders of what happens to it a service leaves nothing behind', { skip }, async (t) => {
  const seed = Number(process.env.CORRAL_SEED ?? 2);
  t.diagnostic(`CORRAL_SEED=${seed}`);
  const { answered, failed, failedDuring, happened } = await soak({ seconds: 12, seed }, (line) =>
    t.diagnostic(line),
  );
  assert.ok(answered > 0);
  // While it is started anew nobody listens, and what waits then is reset; of a worker that is killed its clients hear nothing.
  const { ECONNREFUSED = 0, ...others } = failed;
  assert.ok(ECONNREFUSED === 0 || happened['start anew'] > 0, JSON.stringify(failedDuring));
  const lost = Object.values(others).reduce((sum, count) => sum + count, 0);
  const harmed = (happened.kill ?? 0) + (happened['start anew'] ?? 0);
  assert.ok(lost <= CLIENTS * harmed, JSON.stringify({ failed, happened }));
});
