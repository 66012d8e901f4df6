'use strict';

// A directory of repositories, over HTTP on this machine: not every package manager knows git's file: addresses.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');

/**
 * @param {string} directory
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<http.Server>} that listens
 */
async function serveRepositories(directory, env) {
  const server = http.createServer((request, response) => {
    const [pathname, query = ''] = (request.url ?? '').split('?');
    const backend = spawn('git', ['http-backend'], {
      env: {
        ...env,
        GIT_PROJECT_ROOT: directory,
        GIT_HTTP_EXPORT_ALL: '1',
        PATH_INFO: pathname,
        QUERY_STRING: query,
        REQUEST_METHOD: request.method,
        CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
        GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    // Git may have read enough before everything is written.
    backend.stdin.on('error', () => {});
    request.pipe(backend.stdin);
    answer(backend.stdout, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/**
 * What a CGI program writes: header lines, an empty one, and the body.
 *
 * @param {NodeJS.ReadableStream} output
 * @param {http.ServerResponse} response
 */
async function answer(output, response) {
  let head = Buffer.alloc(0);
  for await (const chunk of output) {
    if (response.headersSent) {
      response.write(chunk);
      continue;
    }
    head = Buffer.concat([head, /** @type {Buffer} */ (chunk)]);
    const end = head.indexOf('\r\n\r\n');
    if (end === -1) continue;
    for (const line of head.toString('latin1', 0, end).split('\r\n')) {
      const [, name, value] = /^([^:]+): (.*)$/.exec(line) ?? [];
      if (name === 'Status') response.statusCode = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.flushHeaders();
    response.write(head.subarray(end + 4));
  }
  response.end();
}

module.exports = { serveRepositories };
