'use strict';

// The program `corral` in directories of its own.

const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');

const { scratchDirectory } = require('./example');
const { environment } = require('./programs');

const root = path.join(__dirname, '../..');
const CORRAL = path.join(root, 'cli/corral.js');

/** Ready and gone quickly. */
const QUICK = ['--min-uptime', '50ms', '--idle', '100ms'];

/** The same for clients that go on asking: one that is late with its next request, on a busy machine, finds its connection open. */
const PATIENT = ['--min-uptime', '50ms', '--idle', '20s'];

/** A server that says which of its workers answers. */
const APP = `
  const http = require('node:http');
  http.createServer((request, response) => response.end(process.env.NODE_APP_INSTANCE)).listen(0, '127.0.0.1');
`;

/**
 * A directory with files, and one for its control sockets.
 *
 * @param {import('node:test').TestContext} t
 * @param {Record<string, string>} files
 * @param {string} [program] the file that is run as `corral`
 */
function project(t, files, program = CORRAL) {
  const scratch = fs.realpathSync(scratchDirectory(t));
  const directory = path.join(scratch, 'my-app');
  const sockets = path.join(scratch, 'run');
  fs.mkdirSync(directory);
  fs.mkdirSync(sockets, { mode: 0o700 });
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(directory, name), text);
  const env = environment({ XDG_RUNTIME_DIR: sockets, NO_COLOR: '1' });

  /**
   * @param {string[]} args
   * @param {NodeJS.ProcessEnv} [more]
   * @returns {Promise<{ code: number, stdout: string, stderr: string }>} when it has ended
   */
  const corral = (args, more = {}) =>
    new Promise((resolve) => {
      const options = { cwd: directory, env: { ...env, ...more } };
      execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
      });
    });

  /**
   * A program that goes on.
   *
   * @param {string[]} args
   * @param {NodeJS.ProcessEnv} [more]
   */
  const start = (args, more = {}) => {
    const child = spawn(process.execPath, [program, ...args], {
      cwd: directory,
      env: { ...env, ...more },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.after(() => child.kill('SIGKILL'));
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
        child.emit('text');
      });
    }
    const close = once(child, 'close').then(([code, signal]) => ({ code, signal, output }));
    /** @param {RegExp} pattern @returns {Promise<RegExpExecArray>} */
    const hasSaid = async (pattern) => {
      for (;;) {
        const found = pattern.exec(output);
        if (found !== null) return found;
        const ended = await Promise.race([once(child, 'text').then(() => undefined), close]);
        if (ended !== undefined && !pattern.test(output))
          throw new Error(`it has ended without saying ${pattern}: ${output}`);
      }
    };
    return { child, close, hasSaid, output: () => output };
  };
  return { directory, sockets, env, corral, start };
}

module.exports = { APP, CORRAL, PATIENT, QUICK, project };
