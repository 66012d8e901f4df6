'use strict';

// What a service manager says to a process, and what it is told, without processes.

const assert = require('node:assert/strict');
const { mock, test } = require('node:test');

const { takeService } = require('../../lib/supervisor/environment');
const { MOST_WAITING, RETRY_AFTER, ServiceManager } = require('../../lib/supervisor/service-manager');

const PID = 4711;

const everyOne = () => true;

test('what is meant for this process is taken out of the environment', () => {
  const env = {
    PATH: '/bin',
    NOTIFY_SOCKET: '/run/notify',
    WATCHDOG_USEC: '3000000',
    WATCHDOG_PID: `${PID}`,
    LISTEN_FDS: '3',
    LISTEN_PID: `${PID}`,
    LISTEN_FDNAMES: 'web:api',
  };
  assert.deepEqual(takeService(env, PID, everyOne), {
    address: '/run/notify',
    watchdog: 3000,
    sockets: [
      { fd: 3, name: 'web' },
      { fd: 4, name: 'api' },
      { fd: 5, name: 'unknown' },
    ],
    faults: [],
  });
  assert.deepEqual(env, { PATH: '/bin' });
});

test('what is meant for another process is left alone, and nothing is made of what makes no sense', () => {
  const nothing = {
    address: undefined,
    watchdog: Number.POSITIVE_INFINITY,
    sockets: [],
    faults: [],
  };
  assert.deepEqual(takeService({}, PID), nothing);
  const empty = { NOTIFY_SOCKET: '', WATCHDOG_USEC: '', LISTEN_FDS: '', LISTEN_PID: `${PID}` };
  assert.deepEqual(takeService(empty, PID), nothing);
  const ofAnother = { WATCHDOG_USEC: '1000', WATCHDOG_PID: '1', LISTEN_FDS: '2', LISTEN_PID: '1' };
  assert.deepEqual(takeService(ofAnother, PID), nothing);
  // Without a process it is meant for whoever reads it (`sd_watchdog_enabled(3)`), and sockets are nobody's.
  const ofNobody = takeService({ WATCHDOG_USEC: '1000', LISTEN_FDS: '2' }, PID);
  assert.deepEqual(ofNobody, { ...nothing, watchdog: 1 });
  const { faults, ...rest } = takeService(
    { WATCHDOG_USEC: '3s', LISTEN_FDS: '-1', LISTEN_PID: `${PID}` },
    PID,
  );
  assert.deepEqual({ ...rest, faults: [] }, nothing);
  assert.deepEqual(faults, [
    'WATCHDOG_USEC must be a whole number, and is "3s"',
    'LISTEN_FDS must be a whole number, and is "-1"',
  ]);
});

test('LISTEN_FDS with more than there are was an uncaught RangeError, or all of the memory', () => {
  const opened = (/** @type {number} */ fd) => fd < 5;
  const of = (/** @type {string} */ count) =>
    takeService({ LISTEN_FDS: count, LISTEN_PID: `${PID}` }, PID, opened);
  assert.equal(of('2').sockets.length, 2);
  assert.deepEqual(of('2').faults, []);
  assert.deepEqual(of('0').sockets, []);
  assert.deepEqual(of('0').faults, []);
  for (const count of ['3', '1000000000', '2147483645', '4294967296', '9007199254740991']) {
    const { sockets, faults } = of(count);
    assert.deepEqual(sockets, []);
    assert.deepEqual(faults, [`LISTEN_FDS is ${count}, and there is no descriptor ${Number(count) + 2}`]);
  }
  const ofThisProcess = takeService({ LISTEN_FDS: '1000000000', LISTEN_PID: `${PID}` }, PID);
  assert.deepEqual(ofThisProcess.faults, ['LISTEN_FDS is 1000000000, and there is no descriptor 1000000002']);
});

test('a watchdog that hears of nobody for longer than a timer can wait was told every millisecond', () => {
  const { watchdog, faults } = takeService({ WATCHDOG_USEC: '9007199254740991' }, PID);
  assert.equal(watchdog, 2 ** 31 - 1);
  assert.deepEqual(faults, []);
  // What systemd calls infinity is no time.
  const infinite = takeService({ WATCHDOG_USEC: '18446744073709551615' }, PID);
  assert.equal(infinite.watchdog, Number.POSITIVE_INFINITY);
  assert.equal(infinite.faults.length, 1);
});

/** @param {import('node:test').TestContext} t @param {number} [watchdog] */
function manager(t, watchdog = Number.POSITIVE_INFINITY) {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
  const told = /** @type {string[]} */ ([]);
  const send = mock.fn((/** @type {string} */ message) => void told.push(message));
  const fail = mock.fn();
  const isServing = mock.fn(() => true);
  const it = new ServiceManager({ send, fail, isServing }, watchdog);
  t.after(() => it.end());
  return { it, told, send, fail, isServing };
}

test('readiness, reloads and the end are told, with the time at which a reload begins', (t) => {
  const { it, told } = manager(t);
  it.status('1 of 2 workers\nready');
  it.ready();
  it.reloading();
  it.reloading();
  it.reloaded();
  it.reloaded();
  it.stopping();
  assert.deepEqual(told.splice(0, 2), ['STATUS=1 of 2 workers ready', `READY=1\nMAINPID=${process.pid}`]);
  const now = process.hrtime.bigint() / 1000n;
  for (const reloading of told.splice(0, 2)) {
    const [, usec] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(reloading) ?? [];
    assert.ok(BigInt(usec) <= now && BigInt(usec) > now - 60_000_000n, reloading);
  }
  // Of two reloads the manager hears when both are over.
  assert.deepEqual(told, ['READY=1', 'STOPPING=1']);
});

test('a status is told when it changes, and a reload before everything is ready is none of its business', (t) => {
  const { it, told } = manager(t);
  it.reloading();
  for (const text of ['one', 'one', 'two']) it.status(text);
  it.reloaded();
  assert.deepEqual(told, ['STATUS=one', 'STATUS=two']);
});

test('the watchdog hears twice in its time, once ready and only while workers serve', (t) => {
  const { it, told, isServing } = manager(t, 1000);
  t.mock.timers.tick(2000);
  assert.deepEqual(told, []);
  it.ready();
  told.splice(0);
  t.mock.timers.tick(1000);
  assert.deepEqual(told, ['WATCHDOG=1', 'WATCHDOG=1']);
  isServing.mock.mockImplementation(() => false);
  t.mock.timers.tick(1000);
  assert.equal(told.length, 2);
  isServing.mock.mockImplementation(() => true);
  it.end();
  t.mock.timers.tick(1000);
  assert.equal(told.length, 2);
});

test('a manager that does not read is told later, in order, and not of everything', (t) => {
  const { it, told, send, fail } = manager(t);
  const full = Object.assign(new Error('full'), { code: 'EAGAIN' });
  send.mock.mockImplementation(() => {
    throw full;
  });
  it.ready();
  for (let i = 0; i < 2 * MOST_WAITING; i++) it.reloading();
  t.mock.timers.tick(RETRY_AFTER);
  assert.deepEqual(told, []);
  send.mock.mockImplementation((message) => void told.push(message));
  t.mock.timers.tick(RETRY_AFTER);
  assert.equal(told.length, MOST_WAITING);
  assert.equal(told[0], `READY=1\nMAINPID=${process.pid}`);
  it.stopping();
  assert.equal(told.at(-1), 'STOPPING=1');
  assert.equal(fail.mock.callCount(), 0);
});

test('a new process with many workers was never ready, as the room was full of what it had said of them before', async (t) => {
  const { it, told } = manager(t);
  const begun = Promise.resolve();
  it.holdUntil(begun);
  for (let i = 0; i <= MOST_WAITING; i++) it.status(`${i} of ${MOST_WAITING} workers ready`);
  it.ready();
  await begun;
  const status = `STATUS=${MOST_WAITING} of ${MOST_WAITING} workers ready`;
  assert.deepEqual(told, [status, `READY=1\nMAINPID=${process.pid}`]);
});

test('a manager that did not read when another process took over took its service for ended', (t) => {
  const { it, told, send } = manager(t, 1000);
  it.ready();
  told.splice(0);
  send.mock.mockImplementation(() => {
    throw Object.assign(new Error('full'), { code: 'EAGAIN' });
  });
  for (let i = 0; i < 2 * MOST_WAITING; i++) it.reloading();
  it.succeededBy(4711);
  it.stopping();
  send.mock.mockImplementation((message) => void told.push(message));
  t.mock.timers.tick(5000);
  assert.deepEqual(told, ['MAINPID=4711']);
});

test('one that is not there is complained of once, and told nothing more', (t) => {
  const { it, send, fail } = manager(t, 1000);
  const gone = Object.assign(new Error('nobody'), { code: 'ECONNREFUSED' });
  send.mock.mockImplementation(() => {
    throw gone;
  });
  it.ready();
  it.stopping();
  t.mock.timers.tick(5000);
  assert.deepEqual(
    fail.mock.calls.map(({ arguments: [error] }) => error),
    [gone],
  );
  assert.equal(send.mock.callCount(), 1);
});
