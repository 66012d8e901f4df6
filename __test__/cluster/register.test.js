'use strict';

// Programs that know nothing of corral and run on it: `--require corral/register` and `--import corral/register`.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, describe, test } = require('node:test');
const { pathToFileURL } = require('node:url');

const { assertEndedWell, run } = require('../helpers/programs');

const root = path.join(__dirname, '../..');
const REGISTER = path.join(root, 'register.js');
const REGISTER_URL = pathToFileURL(REGISTER).href;

/** What every program here does with the cluster object that it came by: serve with two workers, report, end. */
const SERVE = fs.readFileSync(path.join(__dirname, '../fixtures/register/serve.js'), 'utf8');

/** The ways to the cluster object, each the beginning of a program. @type {Record<string, string>} */
const PROGRAMS = {
  'required.cjs': "const cluster = require('cluster');",
  'required-node.cjs': "const cluster = require('node:cluster');",
  'default.mjs': "import cluster from 'node:cluster';",
  'default-bare.mjs': "import cluster from 'cluster';",
  // Named imports are called without their object. A worker does not have these names: another program is the worker.
  'named.mjs': `
    import whole, { Worker, disconnect, fork, isPrimary, setupPrimary, workers } from 'node:cluster';
    if (workers !== whole.workers || Worker !== whole.Worker) throw new Error('they are not the same');
    setupPrimary({ exec: new URL('required.cjs', import.meta.url).pathname });
    const cluster = { disconnect, fork, isPrimary, native: whole.native };`,
  'namespace.mjs': "import * as names from 'node:cluster'; const cluster = names.default;",
  'dynamic.mjs': "const { default: cluster } = await import('cluster');",
  'create-require.mjs': `
    import { createRequire } from 'node:module';
    const cluster = createRequire(import.meta.url)('cluster');`,
  'dependency.cjs': "const cluster = require('dependency');",
  'dependency.mjs': "import cluster from 'dependency';",
  'builtin-module.cjs':
    "const cluster = process.getBuiltinModule ? process.getBuiltinModule('cluster') : require('cluster');",
};

/** @type {string} */
let project;
before(() => {
  project = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-register-'));
  const dependency = path.join(project, 'node_modules', 'dependency');
  fs.mkdirSync(dependency, { recursive: true });
  fs.writeFileSync(path.join(dependency, 'package.json'), '{ "name": "dependency", "main": "index.js" }');
  fs.writeFileSync(path.join(dependency, 'index.js'), "module.exports = require('cluster');\n");
  fs.symlinkSync(root, path.join(project, 'node_modules', 'corral'));
  fs.writeFileSync(path.join(project, 'serve.cjs'), SERVE);
  for (const [name, beginning] of Object.entries(PROGRAMS)) {
    const load = name.endsWith('.cjs')
      ? "const serve = require('./serve.cjs');"
      : "import serve from './serve.cjs';";
    const imports = name.endsWith('.cjs') ? [beginning, load] : [load, beginning];
    fs.writeFileSync(path.join(project, name), `${imports.join('\n')}\nserve(cluster);\n`);
  }
});
after(() => fs.rmSync(project, { recursive: true }));

/**
 * @param {string[]} args of node
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<any>} the report of serve.js
 */
async function reportOf(args, env) {
  const outcome = await run([process.execPath, ...args], { env });
  assertEndedWell(outcome);
  assert.equal(outcome.stderr, '');
  return JSON.parse(outcome.stdout);
}

/** What serve.js reports where corral is at work. */
const ON_CORRAL = {
  native: true,
  isPrimary: true,
  workers: [
    { id: 1, native: true, isWorker: true, registered: true },
    { id: 2, native: true, isWorker: true, registered: true },
  ],
  answers: ['1', '2'],
};

describe('a program that knows nothing of corral', { concurrency: 2 }, () => {
  for (const name of Object.keys(PROGRAMS)) {
    test(`--require, ${name}`, async () => {
      assert.deepEqual(await reportOf(['--require', REGISTER, path.join(project, name)]), ON_CORRAL);
    });
    test(`--import, ${name}`, async () => {
      assert.deepEqual(await reportOf(['--import', REGISTER_URL, path.join(project, name)]), ON_CORRAL);
    });
  }

  test('runs on the built-in without any of this', async () => {
    const report = await reportOf([path.join(project, 'required.cjs')]);
    assert.deepEqual(
      { ...report, workers: report.workers.length },
      {
        native: null,
        isPrimary: true,
        workers: 2,
        answers: ['1', '2'],
      },
    );
  });
});

describe('NODE_OPTIONS', { concurrency: 2 }, () => {
  for (const name of ['required.cjs', 'named.mjs', 'dependency.mjs']) {
    test(`--require in it, ${name}`, async () => {
      const NODE_OPTIONS = `--require ${JSON.stringify(REGISTER)}`;
      assert.deepEqual(await reportOf([path.join(project, name)], { NODE_OPTIONS }), ON_CORRAL);
    });
    test(`--import in it, ${name}`, async () => {
      const NODE_OPTIONS = `--import ${JSON.stringify(REGISTER_URL)}`;
      assert.deepEqual(await reportOf([path.join(project, name)], { NODE_OPTIONS }), ON_CORRAL);
    });
  }
});

describe('by its name', { concurrency: 2 }, () => {
  test('corral/register is found from the project that has it', async () => {
    const beginning =
      "process.chdir(__dirname); const cluster = require('cluster'); const serve = require('./serve.cjs');";
    const file = path.join(project, 'by-name.cjs');
    fs.writeFileSync(file, `require('corral/register');\n${beginning}\nserve(cluster);\n`);
    const report = await reportOf([file]);
    assert.equal(report.native, true);
    assert.deepEqual(report.answers, ['1', '2']);
  });

  test('loading it twice, and corral beside it, is the same as once', async () => {
    const file = path.join(project, 'twice.cjs');
    const beginning = `
      const cluster = require('cluster');
      const { fork } = cluster;
      require('corral/register');
      require(${JSON.stringify(REGISTER)});
      if (cluster.fork !== fork) throw new Error('it was installed again');
      if (require('corral') !== cluster) throw new Error('corral is not what was installed');
      const serve = require('./serve.cjs');`;
    fs.writeFileSync(file, `${beginning}\nserve(cluster);\n`);
    assert.deepEqual(await reportOf(['--require', REGISTER, '--import', REGISTER_URL, file]), ON_CORRAL);
  });

  test('names that were imported before it was loaded are its own', async () => {
    const file = path.join(project, 'late.mjs');
    const beginning = `
      import whole, { disconnect, fork, isPrimary, setupPrimary } from 'node:cluster';
      import 'corral/register';
      import serve from './serve.cjs';
      if (fork !== whole.fork) throw new Error('the name is still the built-in one');
      setupPrimary({ exec: new URL('required.cjs', import.meta.url).pathname });`;
    fs.writeFileSync(file, `${beginning}\nserve({ disconnect, fork, isPrimary, native: whole.native });\n`);
    const { native, answers } = await reportOf([file]);
    assert.deepEqual({ native, answers }, { native: true, answers: ['1', '2'] });
  });

  test('without a binary the program runs on the built-in, with one warning', async () => {
    const command = [process.execPath, '--require', REGISTER, path.join(project, 'named.mjs')];
    const outcome = await run(command, { env: { CORRAL_NATIVE: '0' } });
    assertEndedWell(outcome);
    const { native, answers } = JSON.parse(outcome.stdout);
    assert.deepEqual({ native, answers }, { native: false, answers: ['1', '2'] });
    assert.equal(outcome.stderr.match(/CORRAL_NO_NATIVE/g)?.length, 1, outcome.stderr);
  });
});
