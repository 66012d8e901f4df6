'use strict';

// `cluster.stats()`: what the core has counted, under the names that it has there (src/primary/stats.rs,
// src/channel/traffic.rs), and what only JavaScript knows of a worker.

/**
 * @param {import('../../binding').NativeDescription[]} descriptions
 * @param {number[]} values
 * @returns {any} the values by their names
 */
function byName(descriptions, values) {
  return Object.fromEntries(descriptions.map(({ name }, index) => [name, values[index]]));
}

/** @param {import('./cluster').Primary} primary */
function addStats({ cluster, reactor }) {
  /** @returns {import('../..').Stats} */
  cluster.stats = () => {
    const { servers, workers } = reactor.counts();
    const described = reactor.describeCounters();
    return {
      servers: servers.map(({ port, policyReason, counters, load, ...rest }) => ({
        ...rest,
        policyReason: policyReason ?? null,
        port: port ?? null,
        load: load.map(({ worker, open, decisions }) => ({
          worker,
          weight: reactor.channelOf(worker)?.worker.weight ?? 1,
          open: open ?? null,
          decisions,
        })),
        ...byName(described.server, counters),
      })),
      workers: workers.map(
        ({ id, laneReason, idleReason, keepAliveReason, turns, counters, traffic, ...rest }) => {
          const worker = reactor.channelOf(id)?.worker;
          const { pid } = worker.process;
          return {
            id,
            pid,
            state: worker.state,
            laneReason: laneReason ?? null,
            idleReason: idleReason ?? null,
            keepAliveReason: keepAliveReason ?? null,
            turns: turns ?? null,
            ...rest,
            ...byName(described.worker, counters),
            ...byName(described.channel, traffic),
          };
        },
      ),
    };
  };
}

module.exports = { addStats };
