'use strict';

// `cluster.stats()`: what the core has counted, and what only JavaScript knows of a worker.

/** @param {import('./cluster').Primary} primary */
function addStats({ cluster, reactor }) {
  /** @returns {import('../..').Stats} */
  cluster.stats = () => {
    const { servers, workers } = reactor.counts();
    return {
      servers: servers.map((server) => ({ ...server, port: server.port ?? null })),
      workers: workers.map(({ id, laneReason, ...counts }) => {
        const worker = reactor.channelOf(id)?.worker;
        const { pid } = worker.process;
        return { id, pid, state: worker.state, laneReason: laneReason ?? null, ...counts };
      }),
    };
  };
}

module.exports = { addStats };
