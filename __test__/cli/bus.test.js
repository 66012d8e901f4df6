'use strict';

// `corral bus`: what it shows and does, in a file and in Redis.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const path = require('node:path');
const { describe, test } = require('node:test');
const { connect } = require('../../bus');
const { project } = require('../helpers/cli');
const { until } = require('../helpers/events');
const { RedisServer } = require('../helpers/redis');

/** Where buses are. @type {Record<string, (t: import('node:test').TestContext, directory: string) => Promise<string>>} */
const PLACES = {
  async 'a file'(_t, directory) {
    return `file:${path.join(directory, 'bus.db')}`;
  },
  async Redis(t) {
    const server = await new RedisServer().start();
    t.after(() => server.remove());
    return server.url;
  },
};

for (const [name, placeOf] of Object.entries(PLACES)) {
  describe(name, () => {
    test('what is sent is seen, counted and moved', async (t) => {
      const { corral, directory } = project(t, {});
      const url = await placeOf(t, directory);
      const bus = await connect(url);
      // Its server may be gone by then.
      t.after(() => bus.close({ timeout: 100 }));
      const ask = async (/** @type {string[]} */ ...args) => {
        const { code, stdout, stderr } = await corral(['bus', url, ...args]);
        assert.equal(code, 0, stderr);
        return stdout;
      };
      assert.equal(await ask('ls'), '');
      const id = (await ask('send', 'mails', '{"to":"me"}', '--priority', '7', '--id', 'first')).trim();
      assert.equal(id, 'first');
      assert.equal(await ask('send', 'mails', '{}', '--id', 'first'), 'first was there\n');
      await ask('send', 'mails', 'not JSON', '--text', '--group', 'g');
      await ask('send', 'mails', '1', '--delay', '600000');
      assert.equal(await ask('ls'), 'mails\n');
      assert.equal(
        await ask('stats'),
        'QUEUE  WAITING  DELAYED  HELD  RECEIVERS\nmails  2        1        0     0\n',
      );
      assert.match(await ask('peek', 'mails'), /^first {2}\{"to":"me"\}\n\S+ {2}"not JSON"\n$/);
      assert.equal(await ask('move', 'mails', 'others', '-n', '1'), 'moved 1\n');
      const [seen] = (await ask('peek', 'others', '--json'))
        .split('\n')
        .map((line) => line && JSON.parse(line));
      assert.deepEqual([seen.message, seen.priority], [{ to: 'me' }, 7]);
      assert.deepEqual(JSON.parse(await ask('move', 'mails', 'others', '--json')), { moved: 1 });
      const [first, second] = await bus.queue('others').receive({ count: 2 });
      assert.deepEqual([first.message, second.message, second.group], [{ to: 'me' }, 'not JSON', 'g']);
    });

    test('topics are followed until it is ended', async (t) => {
      const { start, directory } = project(t, {});
      const url = await placeOf(t, directory);
      const bus = await connect(url);
      // Its server may be gone by then.
      t.after(() => bus.close({ timeout: 100 }));
      const running = start(['bus', url, 'tail', 'news.*']);
      await until(() => running.output().includes('listening'));
      assert.equal(await bus.publish('news.de', { a: 1 }), 1);
      await until(() => running.output().includes('news.de  {"a":1}'));
      const exit = once(running.child, 'exit');
      running.child.kill('SIGINT');
      assert.deepEqual(await exit, [0, null]);
    });
  });
}

test('what cannot be meant is one line', async (t) => {
  const { corral, directory } = project(t, {});
  const file = `file:${path.join(directory, 'bus.db')}`;
  const bus = await connect(file);
  t.after(() => bus.close());
  /** @type {[string[], number, RegExp][]} */
  const cases = [
    [[], 2, /^corral: which bus\?\n$/],
    [['nonsense', 'ls'], 2, /nonsense is no URL/],
    [['file:none.db', 'ls'], 1, /there is no file none.db/],
    [['http://localhost', 'ls'], 1, /must begin with one of/],
    [[file], 2, /which action: ls, stats/],
    [[file, 'lss'], 2, /did you mean ls\?/],
    [[file, 'ls', 'more'], 2, /more is one word too many/],
    [[file, 'peek'], 2, /which queue\?/],
    [[file, 'peek', 'q', '-n', 'x'], 2, /--lines needs a whole number/],
    [[file, 'send', 'q', '{'], 2, /\{ is no JSON/],
    [[file, 'send', 'q', '1', '--priority', '300'], 1, /options.priority/],
    [[file, 'move', 'q'], 2, /which other queue\?/],
  ];
  for (const [args, code, text] of cases) {
    const result = await corral(['bus', ...args]);
    assert.match(result.stderr, text);
    assert.deepEqual([result.code, result.stderr.trimEnd().split('\n').length], [code, 1], result.stderr);
  }
});
