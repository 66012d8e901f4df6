'use strict';

const { execFile, execFileSync } = require('node:child_process');

/** Whether the load generator wrk can be run here. */
function hasWrk() {
  try {
    // It prints its version and exits with 1.
    execFileSync('wrk', ['-v'], { stdio: 'ignore' });
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT';
  }
}

/**
 * Saturates an HTTP server, with one connection per request unless `keepAlive`.
 *
 * @param {{ port: number, clients: number, seconds: number, keepAlive?: boolean, path?: string }} options
 * @returns {Promise<{ completed: number, seconds: number, failed: number }>}
 */
function runWrk({ port, clients, seconds, keepAlive = false, path = '/' }) {
  const header = keepAlive ? [] : ['-H', 'Connection: close'];
  const args = [`-t1`, `-c${clients}`, `-d${seconds}s`, ...header, `http://127.0.0.1:${port}${path}`];
  return new Promise((resolve, reject) => {
    execFile('wrk', args, (error, stdout) => {
      if (error) return reject(error);
      const total = /(\d+) requests in ([\d.]+)(ms|s|m)/.exec(stdout);
      if (!total) return reject(new Error(`wrk printed nothing that we know: ${stdout}`));
      const unit = { ms: 0.001, s: 1, m: 60 }[total[3]] ?? NaN;
      const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout);
      const failed = errors ? errors.slice(1).reduce((sum, count) => sum + Number(count), 0) : 0;
      resolve({ completed: Number(total[1]), seconds: Number(total[2]) * unit, failed });
    });
  });
}

module.exports = { hasWrk, runWrk };
