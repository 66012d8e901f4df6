'use strict';

// A worker, or a peer, that sends whatever it likes: who receives it goes on, and so do all others. `npm run hostile` does
// the same for longer, and measures.

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { damageOf, underAttack } = require('./helpers/hostile');

/** How long each attack goes on. */
const SECONDS = 5;

/**
 * What a process may have more than before, in MiB. `npm run hostile` is stricter, by half: there a run of minutes has shown what V8 has not
 * collected yet, and this test is about what grows without end, which in a second is more.
 */
const MOST_MEMORY = 128;

for (const kind of /** @type {const} */ (['cluster', 'server'])) {
  const who = kind === 'cluster' ? 'a hostile worker' : 'a hostile peer';
  for (const mode of ['json', 'advanced']) {
    test(`${who} stops, fills or takes over nobody (${mode})`, {
      skip: process.platform !== 'linux' && 'for Linux',
      timeout: 150_000,
    }, async (t) => {
      const seed = Math.floor(Math.random() * 2 ** 31);
      const result = await underAttack({ kind, mode, seed, seconds: SECONDS });
      t.diagnostic(`npm run hostile -- --kind ${kind} --mode ${mode} --seed ${seed} --seconds ${SECONDS}`);
      assert.deepEqual(damageOf(result, MOST_MEMORY), [], `seed ${seed}`);
    });
  }
}
