'use strict';

// Workers that leave: 'leaving', and `disconnect({ drain })`.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const { describe, test } = require('node:test');

const { environment, programs } = require('../helpers/programs');

const KINDS = [
  ['with a lane', {}],
  ['without a lane', { CORRAL_LANE: '0' }],
  ["on Node's own cluster", { CORRAL_NATIVE: '0' }],
];

for (const [title, env] of KINDS) {
  describe(`a worker leaves, ${title}`, { concurrency: 2 }, () => programs('leaving/leaving', env));
}
describe('a worker leaves by a deadline', { concurrency: 2 }, () => programs('leaving/drain'));
describe("a worker leaves by a deadline, on Node's own cluster", { concurrency: 2 }, () =>
  programs('leaving/drain', { CORRAL_NATIVE: '0' }),
);

/**
 * A primary whose worker has a request under way.
 *
 * @param {import('node:test').TestContext} t
 * @param {NodeJS.ProcessEnv} env
 */
async function withRequest(t, env) {
  const primary = spawn(process.execPath, [require.resolve('../fixtures/orphan.js')], {
    env: environment(env),
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  t.after(() => primary.kill('SIGKILL'));
  const { stdout } = primary;
  let output = '';
  stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  const ended = once(stdout, 'close');
  const lines = () => output.split('\n').filter((line) => line !== '');
  /** @param {number} count */
  const haveSaid = async (count) => {
    while (lines().length < count) await once(stdout, 'data');
  };
  await haveSaid(1);
  const request = http.get({ port: Number(lines()[0]), host: '127.0.0.1', agent: false });
  const answer = once(request, 'response').then(([response]) => response.resume() && once(response, 'end'));
  // The request is under way.
  await haveSaid(2);
  return { primary, answer, haveSaid, ended: ended.then(() => lines().slice(1)) };
}

for (const [title, env] of KINDS) {
  for (const end of ['is killed', 'exits', 'throws']) {
    test(`a worker whose primary ${end} hears of it, and may answer what it has begun, ${title}`, async (t) => {
      const { primary, answer, ended } = await withRequest(t, env);
      if (end === 'is killed') primary.kill('SIGKILL');
      else primary.stdin.write(end);
      await answer;
      assert.deepEqual(await ended, ['asked', 'leaving: primary-gone', 'exit: 0']);
    });
  }

  test(`a worker that was leaving when its primary was killed ended with an error, ${title}`, async (t) => {
    const { primary, answer, haveSaid, ended } = await withRequest(t, env);
    primary.stdin.write('leave');
    await haveSaid(3);
    primary.kill('SIGKILL');
    await answer;
    assert.deepEqual(await ended, ['asked', 'leaving: disconnect', 'alone', 'exit: 0']);
  });
}
