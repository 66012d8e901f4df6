'use strict';

// What clients lose while a server is reloaded, or its process replaced, under load: `corral run` beside pm2, on new and on kept connections. See
// README.md.

const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { readOptions } = require('./lib/options');
const { freePort } = require('../scripts/lib-free-port');

const run = promisify(execFile);

const CORRAL = path.join(__dirname, '../cli/corral.js');
const LOAD = path.join(__dirname, 'programs/reload-load.js');

/** Between two reloads, in milliseconds. */
const PAUSE = 500;
const KINDS = /** @type {const} */ (['new', 'kept']);

/**
 * @typedef {object} Side
 * @property {string} title
 * @property {() => Promise<void>} start
 * @property {() => Promise<void>} reload
 * @property {() => Promise<void>} stop
 */

const options = readOptions({
  rate: 500,
  reloads: 10,
  workers: 2,
  requests: 20_000,
  sides: 'corral,pm2,pm2-recipe',
  programs: 'http',
  // Executables, in turn: with them each reload is an upgrade by the next one.
  nodes: '',
});

/**
 * @typedef {object} Program
 * @property {string} file in programs/; or a directory
 * @property {string[]} packages what it needs of npm
 * @property {(directory: string) => Promise<string>} [build] makes the program of what is in that directory; resolves with its file
 */

/** @type {Record<string, Program>} */
const PROGRAMS = {
  http: { file: 'reload-app.js', packages: [] },
  esm: { file: 'reload-app.mjs', packages: [] },
  express: { file: 'reload-express.js', packages: ['express@5.3.0'] },
  fastify: { file: 'reload-fastify.js', packages: ['fastify@5.12.8'] },
  h3: { file: 'reload-h3.mjs', packages: ['h3@1.9.0'] },
  next: {
    file: 'reload-next',
    packages: ['next@16.4.6', 'react@19', 'react-dom@19'],
    async build(directory) {
      // Here it has the name by which the checkers know what it is.
      fs.renameSync(path.join(directory, 'app/route.mjs'), path.join(directory, 'app/route.js'));
      const env = { ...process.env, NODE_ENV: 'production', NEXT_TELEMETRY_DISABLED: '1' };
      await run(process.execPath, ['node_modules/next/dist/bin/next', 'build'], { cwd: directory, env });
      return path.join(directory, '.next/standalone/server.js');
    },
  },
};

const PM2 = 'pm2@7.0.4';

const NODES = `${options.nodes}`.split(',').filter((node) => node !== '');

/**
 * @param {string} directory
 * @param {number} port
 * @param {string} app
 * @returns {Record<string, Side>}
 */
function sidesIn(directory, port, app) {
  // Next.js listens at HOSTNAME.
  const env = { ...process.env, PORT: `${port}`, HOSTNAME: '127.0.0.1', XDG_RUNTIME_DIR: directory };
  /** @type {import('node:child_process').ChildProcess} */
  let child;
  let upgrades = 0;
  const node = () => NODES[upgrades % NODES.length] ?? process.execPath;
  const corral = (/** @type {string[]} */ ...args) =>
    run(node(), [CORRAL, ...args, '--name', 'bench'], { env });
  return {
    corral: {
      title: 'corral run',
      async start() {
        const args = ['run', '--workers', `${options.workers}`, '--name', 'bench', app];
        child = spawn(node(), [CORRAL, ...args], { env, stdio: 'ignore' });
      },
      async reload() {
        upgrades++;
        await corral(NODES.length > 0 ? 'upgrade' : 'reload');
      },
      async stop() {
        await corral('stop');
        if (child.exitCode === null) await once(child, 'exit');
      },
    },
    pm2: pm2Side(directory, app, { ...env, PM2_HOME: path.join(directory, 'pm2') }, []),
    'pm2-recipe': pm2Side(directory, app, { ...env, PM2_HOME: path.join(directory, 'pm2'), GRACEFUL: '1' }, [
      '--wait-ready',
      '--listen-timeout',
      '10000',
      '--kill-timeout',
      '10000',
    ]),
  };
}

/**
 * @param {string} directory with pm2 in it
 * @param {string} app
 * @param {NodeJS.ProcessEnv} env
 * @param {string[]} flags
 * @returns {Side}
 */
function pm2Side(directory, app, env, flags) {
  const pm2 = (/** @type {string[]} */ ...args) =>
    run(process.execPath, [path.join(directory, 'node_modules/pm2/bin/pm2'), ...args], {
      env,
      cwd: directory,
    });
  return {
    title: `pm2 ${flags.length === 0 ? '(the plain program)' : '(its own recipe)'}`,
    start: async () =>
      void (await pm2('start', app, '--name', 'bench', '-i', `${options.workers}`, ...flags)),
    reload: async () => void (await pm2('reload', 'bench')),
    // Its daemon, with what it runs.
    stop: async () => void (await pm2('kill')),
  };
}

/** @param {number} port */
async function answers(port) {
  for (;;) {
    const isThere = await new Promise((resolve) => {
      http
        .get({ port, host: '127.0.0.1', agent: false }, (response) => {
          response.resume().on('end', () => resolve(true));
        })
        .on('error', () => resolve(false));
    });
    if (isThere) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/**
 * @param {Side} side
 * @param {'new' | 'kept'} kind
 * @param {number} port
 */
async function measure(side, kind, port) {
  await side.start();
  try {
    await answers(port);
    const load = spawn(process.execPath, [LOAD, `${port}`, `${options.rate}`, kind], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let output = '';
    load.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
    const ended = once(load, 'close');
    const begin = performance.now();
    const times = [];
    for (let i = 0; i < options.reloads; i++) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      const at = performance.now();
      await side.reload();
      times.push(performance.now() - at);
    }
    // As many requests as there are to be, at least: the load takes a moment to begin.
    const rest = (options.requests / options.rate + 1) * 1000 - (performance.now() - begin);
    await new Promise((resolve) => setTimeout(resolve, Math.max(rest, 0)));
    load.stdin.end();
    await ended;
    return { ...JSON.parse(output), reload: times.sort((a, b) => a - b)[Math.floor(times.length / 2)] };
  } finally {
    await side.stop();
  }
}

async function main() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-reload-'));
  fs.chmodSync(directory, 0o700);
  const names = `${options.sides}`.split(',');
  try {
    const programs = `${options.programs}`.split(',');
    for (const name of programs)
      if (PROGRAMS[name] === undefined)
        throw new Error(`--programs wants some of ${Object.keys(PROGRAMS).join(', ')}; what is ${name}?`);
    const packages = programs.flatMap((name) => PROGRAMS[name].packages);
    if (names.some((name) => name.startsWith('pm2'))) packages.push(PM2);
    fs.writeFileSync(path.join(directory, 'package.json'), '{ "private": true }');
    if (packages.length > 0)
      await run('npm', ['install', '--no-audit', '--no-fund', ...packages], { cwd: directory });
    const rows = [];
    for (const program of programs) {
      const { file, build } = PROGRAMS[program];
      const source = path.join(__dirname, 'programs', file);
      // Where its packages are.
      const target = build === undefined ? path.join(directory, file) : directory;
      fs.cpSync(source, target, { recursive: true });
      const app = build === undefined ? target : await build(directory);
      for (const kind of KINDS) {
        for (const name of names) {
          const port = await freePort();
          const side = sidesIn(directory, port, app)[name];
          if (side === undefined)
            throw new Error(`--sides wants some of corral, pm2, pm2-recipe; what is ${name}?`);
          rows.push({ program, side: side.title, kind, ...(await measure(side, kind, port)) });
          if (!options.json) printRow(rows[rows.length - 1]);
        }
      }
    }
    if (options.json) console.log(JSON.stringify(rows));
    const ours = rows.filter(({ side }) => side === 'corral run');
    const isMet = ours.every(({ sent, answered }) => sent === answered);
    if (!options.json) console.log(`corral loses no request: ${isMet ? 'met' : 'MISSED'}`);
    if (options.check && !isMet) process.exitCode = 1;
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** @param {any} row */
function printRow({ program, side, kind, sent, hung, lost, longest, reload }) {
  const total = Object.values(lost).reduce((/** @type {number} */ sum, count) => sum + Number(count), 0);
  const why = Object.entries(lost).map(([code, count]) => `${count} ${code}`);
  console.log(
    [
      `${program}, ${side}, ${kind} connections: ${sent} requests`,
      `${total} lost${why.length > 0 ? ` (${why.join(', ')})` : ''}`,
      `${hung} hung`,
      `longest ${longest.toFixed(0)} ms`,
      `${NODES.length > 0 ? 'an upgrade' : 'a reload'} ${reload.toFixed(0)} ms`,
    ].join(', '),
  );
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
