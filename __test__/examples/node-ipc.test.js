'use strict';

// Runs the examples of corral/node-ipc and checks what their header comments promise.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Example, scratchDirectory } = require('../helpers/example.js');

for (const transport of ['a Unix socket', 'TCP']) {
  test(`node-ipc: hello gets its world over ${transport}`, async (t) => {
    const overTcp = transport === 'TCP';
    const env = { SOCKET_ROOT: `${scratchDirectory(t)}/`, PORT: overTcp ? '0' : '' };
    const world = new Example(t, 'node-ipc/world.js', env);
    const [, port = ''] = await world.line(
      overTcp ? /^world listens on port (\d+) / : /^world listens on .*\/app\.world /,
    );
    const hello = new Example(t, 'node-ipc/hello.js', { ...env, PORT: port });
    await hello.line(/^world says: hello world!$/);
    assert.deepEqual(await hello.exit, { code: 0, signal: null });
    await world.line(/^a client says: hello$/);
    await world.line(/^a client has left$/);
    world.pressCtrlC();
    assert.deepEqual(await world.exit, { code: null, signal: 'SIGINT' });
    assert.deepEqual([...hello.processes(), ...world.processes()], []);
  });
}
