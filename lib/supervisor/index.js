'use strict';

// `cluster.supervise`: an operator's day with a cluster, on the public cluster object alone.
//
//   index.js         one supervisor for each cluster
//   supervisor.js    what it can be asked for, and its events
//   options.js       its options
//   lifecycle.js     the states of a worker, and what each event causes; no I/O
//   fleet.js         the places for workers, who has them, and who comes next; no I/O
//   replacement.js   one worker in the place of another
//   rolling.js       reloads and recycling: replacements one after the other
//   backoff.js       how long to wait before a worker that has failed is started again
//   member.js        what lifecycle.js says, done to a worker of the cluster
//   readiness.js     when a worker is ready
//   stderr-tail.js   the last lines that it has written
//   watch.js         memory, age, connections and event loops, once a second; process-info.js: what Linux shows
//   service.js       systemd: its sockets, and what it is told; environment.js: its variables; service-manager.js: the messages
//   cron.js          times of the clock at which workers are replaced
//   release.js       where the program's paths lead
//   signals.js       the primary's signals

const errors = require('../errors');

/**
 * @param {any} cluster of a primary
 */
function addSupervise(cluster) {
  /** @type {any} */
  let supervisor;
  cluster.supervise = (/** @type {unknown} */ options) => {
    if (supervisor !== undefined) throw errors.supervised();
    // Most programs need none of it.
    const { Supervisor } = require('./supervisor');
    supervisor = new Supervisor(cluster, options, () => {
      supervisor = undefined;
    });
    return supervisor;
  };
}

module.exports = { addSupervise };
