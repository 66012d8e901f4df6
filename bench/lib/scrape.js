'use strict';

const http = require('node:http');

/**
 * @param {number} port of 127.0.0.1
 * @param {http.Agent} [agent]
 * @returns {Promise<{ milliseconds: number, status: number }>} of a request for its metrics
 */
function scrape(port, agent) {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path: '/metrics', agent }, (response) => {
      response.resume();
      response.once('end', () =>
        resolve({
          milliseconds: performance.now() - begun,
          status: /** @type {number} */ (response.statusCode),
        }),
      );
    });
    request.once('error', reject);
  });
}

/**
 * Scrapes once a second while something is done.
 *
 * @template T
 * @param {number | undefined} port undefined for not at all
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function whileScraped(port, work) {
  const agent = new http.Agent({ keepAlive: true });
  /** @type {Promise<unknown>[]} */
  const scrapes = [];
  const timer = port === undefined ? undefined : setInterval(() => scrapes.push(scrape(port, agent)), 1000);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    await Promise.all(scrapes);
    agent.destroy();
  }
}

module.exports = { scrape, whileScraped };
