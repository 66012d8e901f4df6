'use strict';

// A client of `cluster.observe`'s server. Run as a program it asks until the answer is as wanted, for primaries that block meanwhile:
//
//   node scrape.js <port> <path> [regular expression]

const http = require('node:http');
const { spawnSync } = require('node:child_process');

/** @typedef {{ status: number, headers: http.IncomingHttpHeaders, body: string }} Answer */

/**
 * @param {number | string} where a port on 127.0.0.1, or the path of a socket
 * @param {string} path
 * @param {http.OutgoingHttpHeaders} [headers]
 * @param {string} [method]
 * @returns {Promise<Answer>}
 */
function get(where, path, headers = {}, method = 'GET') {
  const at = typeof where === 'number' ? { host: '127.0.0.1', port: where } : { socketPath: where };
  return new Promise((resolve, reject) => {
    const request = http.request({ ...at, path, method, headers, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (part) => {
        body += part;
      });
      response.on('end', () =>
        resolve({ status: /** @type {number} */ (response.statusCode), headers: response.headers, body }),
      );
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end();
  });
}

/**
 * Asks in a process of its own until the answer is as wanted. This thread is blocked meanwhile.
 *
 * @param {number} port
 * @param {string} path
 * @param {RegExp} [wanted]
 * @returns {Answer}
 */
function scrapeBlocking(port, path, wanted = /^/) {
  const args = [__filename, `${port}`, path, wanted.source];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (stderr !== '') throw new Error(stderr);
  return JSON.parse(stdout);
}

/**
 * @param {string} text metrics
 * @returns {Map<string, number>} the samples, by their names with their labels
 */
function samplesOf(text) {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}

async function main() {
  const [port, path, wanted] = process.argv.slice(2);
  for (;;) {
    const answer = await get(Number(port), path);
    if (new RegExp(wanted, 'm').test(answer.body)) return process.stdout.write(JSON.stringify(answer));
  }
}

if (require.main === module) main();

module.exports = { get, samplesOf, scrapeBlocking };
