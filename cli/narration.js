'use strict';

// What `corral run` says of what happens to its workers.

/** What is said of each event of the supervisor. @type {Record<string, (about: any) => string>} */
const SAYINGS = {
  crash: ({ slot, pid, reason }) => `worker ${slot} (${pid}) ${reason}`,
  respawn: ({ slot, failures, delay }) =>
    `worker ${slot} is started anew in ${delay} ms${failures > 2 ? `, after ${failures} failures in a row` : ''}`,
  recycle: ({ slot, pid, reason }) => `worker ${slot} (${pid}) is replaced: ${reason}`,
  reloading: ({ done, total }) => `reload: ${done} of ${total}`,
  reloaded: ({ replaced, milliseconds }) => `reloaded: ${replaced} replaced in ${milliseconds} ms`,
  reloadFailed: ({ message }) => message,
};

/**
 * @param {any} cluster
 * @param {any} supervisor of its workers
 * @param {{ say: (text: string) => void }} output
 */
function narrate(cluster, supervisor, output) {
  /** Where the workers listen has been said. @type {Set<string>} */
  const said = new Set();
  cluster.on('listening', (/** @type {any} */ _worker, /** @type {any} */ address) => {
    const where = whereOf(address);
    if (!said.has(where)) output.say(`listening at ${where}`);
    said.add(where);
  });
  for (const [event, saying] of Object.entries(SAYINGS)) {
    supervisor.on(event, (/** @type {any} */ about) => output.say(saying(about)));
  }
}

/** @param {{ addressType: number | string, address: string | null, port: number }} address */
function whereOf({ addressType, address, port }) {
  if (addressType === -1) return `${address}`;
  if (addressType === 'udp4' || addressType === 'udp6') return `udp ${address ?? ''}:${port}`;
  if (address === null || address === '::' || address === '0.0.0.0') return `port ${port}`;
  return addressType === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}

module.exports = { narrate };
