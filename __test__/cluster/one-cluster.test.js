'use strict';

// There is one cluster in a process, and one object that is it, whoever loads what in which order.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, describe, test } = require('node:test');

const { assertEndedWell, run } = require('../helpers/programs');

const root = path.join(__dirname, '../..');

/** @type {string} */
let project;
before(() => {
  project = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-one-'));
  fs.mkdirSync(path.join(project, 'node_modules'));
  fs.symlinkSync(root, path.join(project, 'node_modules', 'corral'));
});
after(() => fs.rmSync(project, { recursive: true }));

let files = 0;

/**
 * Runs a program, which prints JSON.
 *
 * @param {string} source
 * @param {'cjs' | 'mjs'} [kind]
 * @returns {Promise<{ seen: any, stderr: string }>}
 */
async function outcomeOf(source, kind = 'cjs') {
  const file = path.join(project, `${++files}.${kind}`);
  fs.writeFileSync(file, source);
  const outcome = await run([process.execPath, file], {});
  assertEndedWell(outcome);
  return { seen: JSON.parse(outcome.stdout), stderr: outcome.stderr };
}

/** @param {string} stderr */
function warningCodes(stderr) {
  return [...stderr.matchAll(/\[(\w+)\] Warning/g)].map(([, code]) => code);
}

describe("corral's object and Node's are one", { concurrency: 2 }, () => {
  test('from the first require on', async () => {
    const { seen, stderr } = await outcomeOf(`
      const corral = require('corral');
      const cluster = require('node:cluster');
      console.log(JSON.stringify([corral === cluster, corral === require('cluster'), cluster.native]));`);
    assert.deepEqual(seen, [true, true, true]);
    assert.equal(stderr, '');
  });

  test('for an ES module that imported names before', async () => {
    const { seen } = await outcomeOf(
      `
      import before, { fork, setupPrimary, Worker } from 'node:cluster';
      const early = fork;
      const { default: corral } = await import('corral');
      const { default: later } = await import('node:cluster');
      console.log(JSON.stringify({
        same: before === corral && later === corral,
        wasAnother: early !== fork,
        names: [fork === corral.fork, setupPrimary === corral.setupPrimary, Worker === corral.Worker],
      }));`,
      'mjs',
    );
    assert.deepEqual(seen, { same: true, wasAnother: true, names: [true, true, true] });
  });

  test('what was done with it before stays', async () => {
    const { seen } = await outcomeOf(`
      const cluster = require('node:cluster');
      if (cluster.isWorker) {
        require('node:net').createServer((socket) => socket.end()).listen(0, '127.0.0.1');
      } else {
        const { Worker, workers } = cluster;
        const seen = [];
        cluster.on('fork', ({ id }) => seen.push(['fork', id]));
        cluster.on('setup', ({ args }) => seen.push(['setup', args]));
        cluster.on('connection', ({ id }) => { seen.push(['connection', id]); cluster.disconnect(); });
        cluster.once('listening', (_worker, { port }) => require('node:net').connect(port, '127.0.0.1').resume());
        cluster.once('exit', (worker, code) => {
          seen.push(['exit', code, worker instanceof Worker, worker.constructor === cluster.Worker]);
          console.log(JSON.stringify(seen));
        });
        cluster.schedulingPolicy = cluster.SCHED_RR;
        cluster.setupPrimary({ args: ['of before'] });
        require('corral');
        if (!cluster.native) throw new Error('setupPrimary alone is no fork');
        const worker = cluster.fork();
        if (workers[1] !== worker || cluster.workers !== workers) throw new Error('the list is another one');
      }`);
    assert.deepEqual(seen, [
      // Node's own call, and the fork's: the question whether there was a fork emits nothing.
      ['setup', ['of before']],
      ['setup', ['of before']],
      ['fork', 1],
      ['connection', 1],
      ['exit', 0, true, true],
    ]);
  });

  test('a policy that was set before holds', async () => {
    const { seen } = await outcomeOf(`
      const cluster = require('node:cluster');
      cluster.schedulingPolicy = cluster.SCHED_NONE;
      console.log(JSON.stringify(require('corral').schedulingPolicy));`);
    assert.equal(seen, 1);
  });

  test("the fork of Node's own, taken off the object before, begins no second cluster", async () => {
    const { seen } = await outcomeOf(`
      const { fork } = require('node:cluster');
      const cluster = require('corral');
      let code;
      try { fork(); } catch (error) { ({ code } = error); }
      console.log(JSON.stringify({ code, workers: Object.keys(cluster.workers) }));
      cluster.setupPrimary();`);
    assert.deepEqual(seen, { code: 'ERR_CORRAL_TOO_LATE', workers: [] });
  });
});

describe("where Node's own has forked, corral is Node's own", { concurrency: 2 }, () => {
  /** When corral is loaded, each the code for it: 'first' is the worker that was forked before. */
  const MOMENTS = {
    'while its worker runs': 'load();',
    'while its worker, which it does not list any more, is about to end':
      "first.once('online', () => { first.disconnect(); load(); });",
    'when its worker has gone': "first.once('exit', load); first.once('online', () => first.kill());",
  };
  for (const [moment, when] of Object.entries(MOMENTS)) {
    test(moment, async () => {
      const { seen, stderr } = await outcomeOf(`
        const cluster = require('node:cluster');
        if (cluster.isPrimary) {
          const first = cluster.fork();
          function load() {
            const corral = require('corral');
            require('corral/register');
            const second = corral.fork();
            second.once('message', (native) => {
              console.log(JSON.stringify({
                same: corral === cluster,
                native: corral.native,
                worker: native,
                clash: first.id === second.id,
              }));
              if (first.isConnected()) first.disconnect();
              second.disconnect();
            });
          }
          ${when}
        } else {
          process.send(require('corral').native);
        }`);
      assert.deepEqual(seen, { same: true, native: false, worker: false, clash: false });
      assert.deepEqual(warningCodes(stderr), ['CORRAL_TOO_LATE']);
    });
  }
});

describe('two copies of corral', { concurrency: 2 }, () => {
  /** @type {string} */
  let copy;
  before(() => {
    copy = path.join(project, 'copy');
    fs.mkdirSync(copy);
    const binary = fs.readdirSync(root).find((name) => /^corral\..+\.node$/.test(name));
    assert.ok(binary, 'this test needs the binary that `npm run build` makes');
    for (const name of ['package.json', 'index.js', 'binding.js', 'lib', binary]) {
      fs.cpSync(path.join(root, name), path.join(copy, name), { recursive: true });
    }
  });

  const PROGRAM = `
    const first = require('corral');
    const { fork } = first;
    const second = require('./copy');
    const { fork: afterwards } = first;
    if (first.isPrimary) {
      const worker = second.fork();
      worker.on('message', (sameThere) => {
        console.log(JSON.stringify({ same: first === second, untouched: fork === afterwards, sameThere, id: worker.id }));
        worker.disconnect();
      });
    } else {
      process.send(first === second);
    }`;
  const ONE = { same: true, untouched: true, sameThere: true, id: 1 };

  test('are one cluster, that of the first', async () => {
    const { seen, stderr } = await outcomeOf(PROGRAM);
    assert.deepEqual(seen, ONE);
    assert.equal(stderr, '');
  });

  test('of which the second has another version, say so', async () => {
    const manifest = path.join(copy, 'package.json');
    const { version, ...rest } = JSON.parse(fs.readFileSync(manifest, 'utf8'));
    const changed = path.join(project, 'changed');
    fs.cpSync(copy, changed, { recursive: true });
    fs.writeFileSync(path.join(changed, 'package.json'), JSON.stringify({ ...rest, version: '99.0.0' }));
    const { seen, stderr } = await outcomeOf(PROGRAM.replace('./copy', './changed'));
    assert.deepEqual(seen, ONE);
    // In the primary and in its worker.
    assert.deepEqual(warningCodes(stderr), ['CORRAL_OTHER_VERSION', 'CORRAL_OTHER_VERSION']);
    assert.ok(stderr.includes(`version ${version} in `), stderr);
  });
});
