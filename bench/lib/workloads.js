'use strict';

// What requests cost in the mixed bench, and when they arrive.

const { seededRandom } = require('./random');

/**
 * @typedef {object} Kind
 * @property {number} cost milliseconds for which a request keeps its worker's JavaScript
 * @property {number} share of all requests
 * @property {number} [server] which of the workers' servers it is for, the first unless given
 */

/**
 * @typedef {object} Workload
 * @property {string} title
 * @property {[Kind] | [Kind, Kind]} kinds the short ones, and the long ones if there are any
 * @property {number} load percent of what the workers can do, unless the command line says otherwise
 * @property {boolean} [saturates] as many requests as the workers take, instead of arrivals
 */

/** @type {Record<string, Workload>} */
const WORKLOADS = {
  '1-20': {
    title: '1 ms, one in 10 takes 20 ms',
    kinds: [
      { cost: 1, share: 0.9 },
      { cost: 20, share: 0.1 },
    ],
    load: 60,
  },
  5: { title: 'all take 5 ms', kinds: [{ cost: 5, share: 1 }], load: 75 },
  '40us-50': {
    title: '40 us, one in 50 takes 50 ms',
    kinds: [
      { cost: 0.04, share: 0.98 },
      { cost: 50, share: 0.02 },
    ],
    load: 60,
  },
  'rare-300': {
    title: '0.2 ms, one in 1,000 takes 300 ms',
    kinds: [
      { cost: 0.2, share: 0.999 },
      { cost: 300, share: 0.001 },
    ],
    load: 60,
  },
  'two-servers': {
    title: 'one server takes 1 ms, another on the same workers 20 ms',
    kinds: [
      { cost: 1, share: 0.9 },
      { cost: 20, share: 0.1, server: 1 },
    ],
    load: 60,
  },
  nothing: {
    title: 'all take 40 us, as many as the workers take',
    kinds: [{ cost: 0.04, share: 1 }],
    load: 100,
    saturates: true,
  },
};

/** @param {Workload} workload @returns {number} milliseconds that a request costs on average */
function meanCost({ kinds }) {
  return kinds.reduce((sum, { cost, share }) => sum + cost * share, 0);
}

/** @param {Workload} workload */
function serverCount({ kinds }) {
  return Math.max(...kinds.map(({ server = 0 }) => server)) + 1;
}

/**
 * @typedef {object} Arrivals
 * @property {string} workload its name
 * @property {number} rate requests per second
 * @property {number} seconds
 * @property {number} seed
 */

/**
 * @typedef {object} Schedule
 * @property {Float64Array} times milliseconds from the start at which requests are due
 * @property {Uint8Array} kinds which of the workload's kinds each is of
 * @property {Float64Array} costs milliseconds
 */

/**
 * Poisson arrivals: the same for the same seed, in every process.
 *
 * @param {Arrivals} arrivals
 * @returns {Schedule}
 */
function schedule({ workload, rate, seconds, seed }) {
  const { kinds } = WORKLOADS[workload];
  const random = seededRandom(seed);
  /** @type {number[]} */
  const times = [];
  /** @type {number[]} */
  const chosen = [];
  const gap = () => (-Math.log(random()) * 1000) / rate;
  let time = gap();
  while (time < seconds * 1000) {
    times.push(time);
    chosen.push(random() < kinds[0].share ? 0 : 1);
    time += gap();
  }
  return {
    times: Float64Array.from(times),
    kinds: Uint8Array.from(chosen),
    costs: Float64Array.from(chosen, (kind) => /** @type {Kind} */ (kinds[kind]).cost),
  };
}

module.exports = { WORKLOADS, meanCost, schedule, serverCount };
