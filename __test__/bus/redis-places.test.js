'use strict';

// Where a Redis may be: in a cluster, behind sentinels, behind TLS.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { after, before, describe, test } = require('node:test');
const { connect } = require('../../bus');
const { freePort } = require('../../scripts/lib-free-port');
const { RedisServer, command, nodePorts } = require('../helpers/redis');
const { contract, place, until, withCode } = require('./contract');

// A bus with nothing to wait for keeps no process.
const alive = setInterval(() => {}, 60_000);
after(() => clearInterval(alive));

/** @type {RedisServer} */
let node;
let url = '';

before(async () => {
  const ports = await nodePorts();
  const { port } = ports;
  node = await new RedisServer({ ...ports, bind: '127.0.0.1', 'cluster-enabled': 'yes' }).start();
  const slots = Array.from({ length: 16_384 }, (_, i) => `${i}`);
  await command(node, 'CLUSTER', 'ADDSLOTS', ...slots);
  await until(async () => /cluster_state:ok/.test(await command(node, 'CLUSTER', 'INFO')));
  url = `redis://127.0.0.1:${port}?cluster=true`;
});

after(() => node.remove());

// Its tests have a transaction with a list beside queues: here that list is in their slot.
contract({
  name: 'redis, cluster',
  reported: 'redis',
  lists: '{corral}:',
  async start(t) {
    await command(node, 'FLUSHALL');
    return place(t, (options) => connect(url, options));
  },
});

test('in a cluster, a transaction with a list in another slot is refused, and nothing of it happens', async (t) => {
  await command(node, 'FLUSHALL');
  const { connect: connectHere } = place(t, (options) => connect(url, options));
  const bus = await connectHere();
  const across = bus.transaction((tx) => {
    tx.queue('jobs').send('must not come');
    tx.list('elsewhere').push('must not come');
  });
  await assert.rejects(across, withCode('ERR_CORRAL_BUS_CROSS_SLOT'));
  await bus.transaction((tx) => {
    tx.list('elsewhere').push('comes');
    tx.publish('news', 'comes');
  });
  assert.equal((await bus.queue('jobs').stats()).waiting, 0);
  assert.equal(await bus.list('elsewhere').pop(), 'comes');
});

describe('sentinels', () => {
  test('the master is found by its name, also when it is another one', async (t) => {
    const [port, otherPort, sentinelPort] = [await freePort(), await freePort(), await freePort()];
    const settings = (/** @type {number} */ own) => ({ port: `${own}`, bind: '127.0.0.1' });
    const master = await new RedisServer(settings(port)).start();
    const other = await new RedisServer(settings(otherPort)).start();
    t.after(() => Promise.all([master.remove(), other.remove()]));
    const config = path.join(master.directory, 'sentinel.conf');
    fs.writeFileSync(
      config,
      `port ${sentinelPort}\nbind 127.0.0.1\ndir ${master.directory}\nsentinel monitor main 127.0.0.1 ${port} 1\n`,
    );
    const sentinel = await new RedisServer({}, [config, '--sentinel']).start();
    t.after(() => sentinel.remove());
    const bus = await connect(`redis://127.0.0.1:${sentinelPort}?sentinel=main`);
    // Its server is gone by then.
    t.after(() => bus.close({ timeout: 100 }));
    await bus.queue('jobs').send('work');
    assert.match(await command(master, 'KEYS', '*'), /jobs/);
    await assert.rejects(
      connect(`redis://127.0.0.1:${sentinelPort}?sentinel=unknown`, { connectTimeout: 300 }),
      withCode('ERR_CORRAL_BUS_UNAVAILABLE'),
    );
    await command(sentinel, 'SENTINEL', 'REMOVE', 'main');
    await command(sentinel, 'SENTINEL', 'MONITOR', 'main', '127.0.0.1', `${otherPort}`, '1');
    const up = once(bus, 'up');
    await master.stop();
    await up;
    await bus.queue('jobs').send('work');
    assert.match(await command(other, 'KEYS', '*'), /jobs/);
  });
});

describe('TLS', () => {
  test('the server is who its certificate says, and so is the client', async (t) => {
    const port = await freePort();
    const server = new RedisServer({ bind: '127.0.0.1' });
    t.after(() => server.remove());
    const file = (/** @type {string} */ name) => path.join(server.directory, name);
    const openssl = (/** @type {string[]} */ ...words) => execFileSync('openssl', words, { stdio: 'pipe' });
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    openssl('req', '-x509', ...key, '-keyout', file('ca.key'), '-out', file('ca.pem'), '-subj', '/CN=ca');
    for (const name of ['server', 'client']) {
      const made = ['-keyout', file(`${name}.key`), '-out', file(`${name}.pem`), '-subj', `/CN=${name}`];
      const extensions = ['-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=CA:FALSE'];
      openssl(
        'req',
        '-x509',
        ...key,
        ...made,
        ...extensions,
        '-CA',
        file('ca.pem'),
        '-CAkey',
        file('ca.key'),
      );
    }
    server.set({
      'tls-port': `${port}`,
      'tls-cert-file': file('server.pem'),
      'tls-key-file': file('server.key'),
      'tls-ca-cert-file': file('ca.pem'),
    });
    await server.start();
    const base = `rediss://127.0.0.1:${port}?ca=${file('ca.pem')}`;
    const bus = await connect(`${base}&cert=${file('client.pem')}&key=${file('client.key')}`);
    // Its server is gone by then.
    t.after(() => bus.close({ timeout: 100 }));
    await bus.queue('jobs').send('works');
    const refused = withCode('ERR_CORRAL_BUS_UNAVAILABLE');
    // A certificate that nobody vouches for; a client without one.
    await assert.rejects(connect(`rediss://127.0.0.1:${port}`, { connectTimeout: 300 }), refused);
    await assert.rejects(connect(base, { connectTimeout: 300 }), refused);
  });
});
