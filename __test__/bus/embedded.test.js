'use strict';

// The engines of our own: where they are, files that they cannot use, and programs as they are run.

const assert = require('node:assert/strict');
const { execFile, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { describe, test } = require('node:test');
const { promisify } = require('node:util');
const { pathToFileURL } = require('node:url');
const { Worker } = require('node:worker_threads');
const { connect } = require('../../bus');
const { receiptOf } = require('../../lib/bus/job');
const { until, withCode } = require('./contract');
const { environment } = require('../helpers/programs');

const BUS = path.join(__dirname, '../../bus');

/** @param {import('node:test').TestContext} t */
function scratch(t) {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'corral-bus-')));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

/**
 * A program that has to end by itself.
 *
 * @param {import('node:test').TestContext} t
 * @param {string} source
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<string>} what it has printed
 */
async function run(t, source, env = {}) {
  const file = path.join(scratch(t), 'program.js');
  const head = `const { connect } = require(${JSON.stringify(BUS)});
    const corral = ${JSON.stringify(path.join(BUS, '..'))};`;
  fs.writeFileSync(file, `${head}\n(async () => {${source}\n})();`);
  const options = { timeout: 60_000, env: environment(env) };
  const { stdout } = await promisify(execFile)(process.execPath, [file], options);
  return stdout;
}

describe('the URL says which engine', () => {
  test('what is none is refused', async () => {
    /** @type {[string, any][]} */
    const bad = [
      ['ERR_INVALID_ARG_TYPE', 1],
      ['ERR_INVALID_ARG_TYPE', null],
      ['ERR_INVALID_ARG_VALUE', 'no url'],
      ['ERR_INVALID_ARG_VALUE', 'http://localhost'],
      ['ERR_INVALID_ARG_VALUE', 'file:'],
      ['ERR_INVALID_ARG_VALUE', 'file:directory/'],
      ['ERR_INVALID_ARG_VALUE', 'file:100%.db'],
      ['ERR_INVALID_ARG_VALUE', 'file:bus.db?durability=process'],
      ['ERR_INVALID_ARG_VALUE', 'file:///tmp/bus.db?prefix=a'],
      ['ERR_INVALID_ARG_VALUE', new URL('file:///tmp/bus.db#a')],
    ];
    for (const [code, url] of bad) await assert.rejects(connect(url), withCode(code), String(url));
    for (const url of ['http://me:secret@host', 'redis://me:secret@host:port', 'x://host?pass=secret']) {
      await assert.rejects(connect(url), (/** @type {any} */ { code, message }) => {
        assert.deepEqual([code, message.includes('secret')], ['ERR_INVALID_ARG_VALUE', false], message);
        return true;
      });
    }
    await assert.rejects(connect('', { timeout: -1 }), withCode('ERR_OUT_OF_RANGE'));
    await assert.rejects(connect('', /** @type {any} */ ({ durability: 'hope' })), {
      code: 'ERR_INVALID_ARG_VALUE',
    });
    await assert.rejects(connect('', { signal: AbortSignal.abort() }), withCode('ABORT_ERR'));
  });

  test('a path may be relative, have all kinds of characters, and be long', async (t) => {
    const directory = scratch(t);
    const deep = path.join(directory, 'ä #?%'.repeat(20));
    fs.mkdirSync(deep);
    const file = path.join(deep, 'bus.db');
    const one = await connect(pathToFileURL(file));
    const relative = `file:${encodeURI(path.relative(process.cwd(), file)).replaceAll('#', '%23').replaceAll('?', '%3F')}`;
    const other = await connect(relative);
    await one.queue('jobs').send('the same');
    assert.equal((await other.queue('jobs').receive())[0].message, 'the same');
    await Promise.all([one.close(), other.close()]);
    assert.deepEqual(fs.readdirSync(deep).sort(), ['bus.db', 'bus.db.lock', 'bus.db.sock']);
  });

  test('a file is of its user alone', async (t) => {
    const directory = scratch(t);
    const bus = await connect(pathToFileURL(path.join(directory, 'bus.db')));
    await bus.queue('jobs').send('secret');
    const modes = fs
      .readdirSync(directory)
      .map((name) => [name, fs.statSync(path.join(directory, name)).mode & 0o077]);
    await bus.close();
    assert.deepEqual(
      modes,
      ['bus.db', 'bus.db-wal', 'bus.db.lock', 'bus.db.sock'].map((name) => [name, 0]),
    );
  });

  test('a link leads to the same engine', async (t) => {
    const directory = scratch(t);
    const file = path.join(directory, 'bus.db');
    const one = await connect(pathToFileURL(file));
    fs.symlinkSync(file, path.join(directory, 'link.db'));
    const other = await connect(pathToFileURL(path.join(directory, 'link.db')));
    await one.queue('jobs').send(1);
    assert.equal((await other.queue('jobs').stats()).waiting, 1);
    await Promise.all([one.close(), other.close()]);
  });

  test('a directory that is not there is an error', async (t) => {
    await assert.rejects(connect(pathToFileURL(path.join(scratch(t), 'none/bus.db'))), { code: 'ENOENT' });
  });
});

describe('a file', () => {
  test('keeps what was sent, also when nobody is there', async (t) => {
    const url = pathToFileURL(path.join(scratch(t), 'bus.db'));
    const first = await connect(url);
    await first.queue('jobs', { visibility: 1_234 }).send('kept', { headers: { a: 'b' } });
    await first.list('plain').push('kept');
    await first.close();
    const second = await connect(url);
    const [job] = await second.queue('jobs').receive();
    assert.deepEqual([job.message, job.headers], ['kept', { a: 'b' }]);
    assert.equal(receiptOf(job).visibility, 1_234);
    assert.equal(await second.list('plain').pop(), 'kept');
    await second.close();
  });

  test('of another program, or no file of ours at all, is left alone', async (t) => {
    const directory = scratch(t);
    const file = path.join(directory, 'notes.txt');
    fs.writeFileSync(file, 'these are my notes\n'.repeat(100));
    await assert.rejects(connect(pathToFileURL(file)), withCode('ERR_CORRAL_BUS_FORMAT'));
    assert.equal(fs.readFileSync(file, 'utf8'), 'these are my notes\n'.repeat(100));
    fs.writeFileSync(file, '');
    // What is empty may become one.
    await (await connect(pathToFileURL(file))).close();
  });

  test('of a newer version is an error that says so, and is left alone', async (t) => {
    const file = path.join(scratch(t), 'bus.db');
    const bus = await connect(pathToFileURL(file));
    await bus.queue('jobs').send(1);
    await bus.close();
    // `user_version` in the header of SQLite.
    const bytes = fs.readFileSync(file);
    bytes.writeUInt32BE(2, 60);
    fs.writeFileSync(file, bytes);
    const error = await connect(pathToFileURL(file)).catch((reason) => reason);
    assert.equal(error.code, 'ERR_CORRAL_BUS_FORMAT');
    assert.match(error.message, /bus\.db has format 2, .* written by a newer one/);
    bytes.writeUInt32BE(1, 60);
    fs.writeFileSync(file, bytes);
    const again = await connect(pathToFileURL(file));
    assert.equal((await again.queue('jobs').stats()).waiting, 1);
    await again.close();
  });

  test('whose last write was torn has all that was kept before it', async (t) => {
    const directory = scratch(t);
    const url = pathToFileURL(path.join(directory, 'bus.db'));
    const copy = path.join(directory, 'copy.db');
    const bus = await connect(url);
    await bus.queue('jobs').send('whole');
    const size = fs.statSync(path.join(directory, 'bus.db-wal')).size;
    await bus.queue('jobs').send('torn');
    // As a loss of power may leave it.
    fs.copyFileSync(path.join(directory, 'bus.db'), copy);
    const log = fs.readFileSync(path.join(directory, 'bus.db-wal'));
    assert.ok(log.length > size);
    fs.writeFileSync(`${copy}-wal`, Buffer.concat([log.subarray(0, size + 100), Buffer.alloc(5_000, 0xa5)]));
    await bus.close();
    const other = await connect(pathToFileURL(copy));
    const jobs = await other.queue('jobs').receive({ count: 10 });
    assert.deepEqual(
      jobs.map(({ message }) => message),
      ['whole'],
    );
    await other.close();
  });

  test('that is broken is an error with a code', async (t) => {
    const file = path.join(scratch(t), 'bus.db');
    const bus = await connect(pathToFileURL(file));
    for (let i = 0; i < 100; i += 1) bus.queue('jobs').send('x'.repeat(1_000));
    await bus.close();
    const bytes = fs.readFileSync(file);
    bytes.fill(0xa5, 8_192);
    fs.writeFileSync(file, bytes);
    await assert.rejects(connect(pathToFileURL(file)), (/** @type {any} */ error) => {
      assert.match(error.code, /^ERR_CORRAL_BUS_(FORMAT|STORE)$/);
      return true;
    });
  });

  test('that nobody may write is an error with a code', {
    skip: process.getuid?.() === 0 && 'root may',
  }, async (t) => {
    const directory = scratch(t);
    fs.chmodSync(directory, 0o500);
    await assert.rejects(connect(pathToFileURL(path.join(directory, 'bus.db'))), { code: 'EACCES' });
    fs.chmodSync(directory, 0o700);
  });
});

/** Whether this user may have a disk of its own. */
function mayMount() {
  const { status } = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', os.tmpdir()]);
  return status === 0;
}

test('on a full disk what is kept can be worked off, and makes room', {
  skip: mayMount() ? false : 'no file system can be mounted here',
}, async (t) => {
  const disk = scratch(t);
  const program = path.join(scratch(t), 'program.js');
  fs.writeFileSync(
    program,
    `const { connect } = require(${JSON.stringify(BUS)});
    const RedisSMQ = require(${JSON.stringify(path.join(BUS, '../rsmq'))});
    const place = ${JSON.stringify(path.join(disk, 'bus.db'))};
    const codeOf = (promise) => promise.then(() => 'done', ({ code }) => code);
    (async () => {
      const bus = await connect('file:' + place);
      const jobs = bus.queue('jobs');
      const rsmq = new RedisSMQ({ embedded: place });
      await rsmq.createQueueAsync({ qname: 'others' });
      for (const round of [1, 2]) {
        let kept = 0;
        const fill = () => jobs.send({ kept, text: 'x'.repeat(50_000) }).then(() => kept++);
        const full = await (async () => { for (;;) await fill(); })().catch(({ code }) => code);
        const [first] = await jobs.receive();
        console.log(full, await codeOf(rsmq.sendMessageAsync({ qname: 'others', message: 'x'.repeat(50_000) })));
        console.log(await codeOf(bus.transaction((tx) => {
          tx.ack(first);
          tx.queue('jobs').send('x'.repeat(50_000));
        })));
        // What makes room comes through beside what is refused.
        console.log(...(await Promise.all([fill().catch(({ code }) => code), first.ack()])));
        const seen = [first.message.kept];
        for (;;) {
          const some = await jobs.receive({ count: 10 });
          if (some.length === 0) break;
          seen.push(...some.map(({ message }) => message.kept));
          await jobs.ack(some);
        }
        console.log(kept > 50, seen.length === kept && seen.every((number, i) => number === i));
      }
      await rsmq.quitAsync?.();
      await bus.close();
      process.exit();
    })();`,
  );
  const shell = 'mount -t tmpfs -o size=16m none "$0" && exec "$@"';
  const { stdout } = await promisify(execFile)(
    'unshare',
    ['-rm', 'sh', '-c', shell, disk, process.execPath, program],
    { timeout: 60_000, env: environment() },
  );
  const store = 'ERR_CORRAL_BUS_STORE';
  const round = `${store} ${store}\n${store}\n${store} undefined\ntrue true\n`;
  assert.equal(stdout, round + round);
});

describe('programs', () => {
  test('end by themselves when they have nothing to wait for', async (t) => {
    const file = pathToFileURL(path.join(scratch(t), 'bus.db')).href;
    for (const url of ['', file]) {
      const program = `
        const bus = await connect(${JSON.stringify(url)});
        await bus.queue('jobs').send('work');
        const [job] = await bus.queue('jobs').receive();
        const subscription = await bus.subscribe('news', () => {});
        await subscription.close();
        console.log(job.message);`;
      assert.equal(await run(t, program), 'work\n');
      await run(t, `await connect(${JSON.stringify(url)});`);
    }
  });

  test('have one engine in memory, whatever threads they have', async () => {
    const bus = await connect();
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       require(workerData).connect().then(async (bus) => {
         await bus.queue('of threads').send('from a thread');
         await bus.close();
       });`,
      { eval: true, workerData: BUS },
    );
    // Before anything else is waited for: it may end at any time.
    const exit = once(worker, 'exit');
    const [job] = await bus.queue('of threads').receive({ wait: 60_000 });
    assert.equal(job.message, 'from a thread');
    await bus.queue('of threads').delete();
    await Promise.all([bus.close(), exit]);
  });

  test('that are a cluster have it in the primary, also while that is blocked', async (t) => {
    const program = `
      const cluster = require(corral);
      if (cluster.isPrimary) {
        const bus = await connect();
        const workers = [cluster.fork(), cluster.fork()];
        await bus.queue('ready').receive({ wait: 60_000, count: 1 });
        await bus.queue('ready').receive({ wait: 60_000, count: 1 });
        // The workers talk to each other meanwhile.
        await bus.publish('go', 1);
        const until = Date.now() + 60_000;
        const seen = require('node:path').join(__dirname, 'seen');
        while (!require('node:fs').existsSync(seen) && Date.now() < until);
        console.log(require('node:fs').readFileSync(seen, 'utf8'));
        for (const worker of workers) worker.kill();
      } else {
        const bus = await connect();
        const name = 'to ' + cluster.worker.id;
        await bus.subscribe('go', async () => {
          await bus.queue('to ' + (3 - cluster.worker.id)).send('hello from ' + cluster.worker.id);
          const [job] = await bus.queue(name).receive({ wait: 60_000 });
          if (cluster.worker.id === 1) {
            const fs = require('node:fs');
            fs.writeFileSync(__dirname + '/part', job.message);
            fs.renameSync(__dirname + '/part', __dirname + '/seen');
          }
        });
        await bus.queue('ready').send(1);
      }`;
    assert.equal(await run(t, program), 'hello from 2\n');
  });

  test('that are a cluster serve a file in the primary', {
    skip: process.platform !== 'linux',
  }, async (t) => {
    const file = path.join(scratch(t), 'bus.db');
    const program = `
      const cluster = require(corral);
      const fs = require('node:fs');
      if (cluster.isPrimary) {
        const worker = cluster.fork();
        worker.on('message', () => {
          const links = fs.readdirSync('/proc/self/fd').map((fd) => { try { return fs.readlinkSync('/proc/self/fd/' + fd) } catch {} });
          console.log(links.includes(${JSON.stringify(file)}));
          worker.disconnect();
        });
      } else {
        const bus = await connect('file:' + ${JSON.stringify(file)});
        await bus.queue('jobs').send(1);
        await bus.close();
        process.send('sent');
      }`;
    assert.equal(await run(t, program), 'true\n');
  });

  test('whose primary is not ours have no engine in memory, and are told', async (t) => {
    const program = `
      const cluster = require('node:cluster');
      if (cluster.isPrimary) cluster.fork().on('message', (code) => console.log(code));
      else connect().catch(({ code }) => process.send(code, () => process.disconnect()));`;
    assert.equal(await run(t, program), 'ERR_CORRAL_BUS_UNAVAILABLE\n');
  });

  test('without the addon are told what is missing', async (t) => {
    const program = 'connect().catch(({ code, message }) => console.log(code, message));';
    const said = await run(t, program, { CORRAL_NATIVE: '0' });
    assert.match(said, /^ERR_CORRAL_NO_NATIVE corral\/bus needs .*CORRAL_NATIVE=0 is set\n$/);
  });
});

test('a message on a topic that is no JSON is told, and does no harm', async () => {
  const [json, advanced] = [await connect(), await connect()];
  /** @type {unknown[]} */
  const seen = [];
  await json.subscribe('news', (message) => seen.push(message));
  json.on('unreadable', (error, topic) => seen.push([/** @type {any} */ (error).code, topic]));
  // Whoever speaks the protocol may write what it likes.
  const { FrameWriter } = require('../../lib/bus/frame-writer');
  const { KIND } = require('../../lib/bus/frames');
  const { memoryEngine } = require('../../lib/bus/embedded');
  const socket = new net.Socket({ fd: await memoryEngine().open() });
  const writer = new FrameWriter();
  const hello = writer.begin(KIND.hello, 0).u32(1).raw(Buffer.alloc(16, 7)).u8(0).u32(0).end();
  const publish = writer.begin(KIND.publish, 1).text('news').bytes(Buffer.from('{"a":')).end();
  socket.write(Buffer.concat([hello, publish]));
  await until(async () => seen.length === 1);
  await advanced.publish('news', 'fine');
  await until(async () => seen.length === 2);
  assert.deepEqual(seen, [['ERR_CORRAL_BUS_UNREADABLE', 'news'], 'fine']);
  socket.destroy();
  await Promise.all([json.close(), advanced.close()]);
});

test('a listener that throws is an uncaught exception, and misses nothing', async (t) => {
  const printed = await run(
    t,
    `const bus = await connect();
    const seen = [];
    const thrown = new Promise((resolve) => process.once('uncaughtException', resolve));
    await bus.subscribe('news', (message) => {
      seen.push(message);
      if (message === 1) throw new Error('of the listener');
    });
    await Promise.all([bus.publish('news', 1), bus.publish('news', 2)]);
    console.log((await thrown).message, bus.state);
    while (seen.length < 2) await new Promise(setImmediate);
    console.log(seen.join());
    await bus.close();`,
  );
  assert.equal(printed, 'of the listener up\n1,2\n');
});

test('a message that sends another one while it is written does no harm', async () => {
  const bus = await connect();
  const queue = bus.queue('nested');
  /** @type {Promise<unknown>[]} */
  const sent = [];
  const toJSON = () => {
    sent.push(queue.send('inner'), bus.publish('news', 'inner'));
    return 'outer';
  };
  await queue.send({ toJSON });
  await bus.transaction((tx) => tx.queue('nested').send({ toJSON }));
  await Promise.all(sent);
  const jobs = await queue.receive({ count: 10 });
  assert.deepEqual(jobs.map(({ message }) => message).sort(), ['inner', 'inner', 'outer', 'outer']);
  await queue.ack(jobs);
  await bus.close();
});

test('who speaks the protocol badly loses its connection, and nobody else anything', async () => {
  const bus = await connect();
  const { FrameWriter } = require('../../lib/bus/frame-writer');
  const { KIND } = require('../../lib/bus/frames');
  const { memoryEngine } = require('../../lib/bus/embedded');
  const writer = new FrameWriter();
  const hello = (/** @type {number} */ version = 1) =>
    writer.begin(KIND.hello, 0).u32(version).raw(Buffer.alloc(16, 8)).u8(0).u32(0).end();
  const cases = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.alloc(8, 0xff),
    hello(2),
    Buffer.concat([hello(), hello()]),
    writer.begin(KIND.stats, 1).u8(0).text('q').end(),
    Buffer.concat([hello(), writer.begin(99, 1).end()]),
    Buffer.concat([hello(), writer.begin(KIND.stats, 1).u8(0).text('').end()]),
    Buffer.concat([hello(), writer.begin(KIND.stats, 1).u8(0).text('q').u8(1).end()]),
    Buffer.concat([hello(), writer.begin(KIND.ack, 1).u8(0).text('q').u32(0xffffffff).end()]),
  ];
  for (const bytes of cases) {
    const socket = new net.Socket({ fd: await memoryEngine().open() });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {});
    socket.resume();
    socket.write(bytes);
    // What is no whole frame yet is waited for.
    socket.end();
    await closed;
  }
  await bus.queue('jobs').send('works');
  await bus.queue('jobs').delete();
  await bus.close();
});
