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
      servers: servers.map(({ port, counters, ...rest }) => ({
        ...rest,
        port: port ?? null,
        ...byName(described.server, counters),
      })),
      workers: workers.map(({ id, laneReason, counters, traffic, ...rest }) => {
        const worker = reactor.channelOf(id)?.worker;
        const { pid } = worker.process;
        return {
          id,
          pid,
          state: worker.state,
          laneReason: laneReason ?? null,
          ...rest,
          ...byName(described.worker, counters),
          ...byName(described.channel, traffic),
        };
      }),
    };
  };
}

module.exports = { addStats };
