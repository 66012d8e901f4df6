'use strict';

// The limit that the sides are measured against: one queue, first come first served, and a request begins as soon as
// any server is idle. Nobody who does not know the costs in advance, and does not interrupt a request, does better for
// all requests together.

/**
 * @param {object} load
 * @param {ArrayLike<number>} load.times when each request arrives, ascending
 * @param {ArrayLike<number>} load.costs how long each keeps a server, in the same unit
 * @param {number} load.servers
 * @returns {Float64Array} for each request the time from its arrival to its end
 */
function oneQueue({ times, costs, servers }) {
  /** When each server is idle again. */
  const idleAt = new Float64Array(servers);
  const latencies = new Float64Array(times.length);
  for (let i = 0; i < times.length; i++) {
    let first = 0;
    for (let server = 1; server < servers; server++) {
      if (idleAt[server] < idleAt[first]) first = server;
    }
    idleAt[first] = Math.max(idleAt[first], times[i]) + costs[i];
    latencies[i] = idleAt[first] - times[i];
  }
  return latencies;
}

module.exports = { oneQueue };
