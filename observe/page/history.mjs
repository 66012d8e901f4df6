// What was seen in the last minutes: numbers by time and worker, and how often something took how long.

/** How many moments are shown. */
const LENGTH = 180;

/**
 * @typedef {object} Worker as /events has it
 * @property {number} id
 * @property {number | null} pid
 * @property {string} state
 * @property {number} age in seconds
 * @property {Record<string, number>} restarts how often those before it in its place have ended, by how
 * @property {number | null} utilization
 * @property {number | null} blockedFor in milliseconds
 * @property {number} dispatched
 * @property {number | null} memory in bytes
 * @property {number[]} taken
 * @property {number[]} lag
 */

/**
 * @typedef {object} Overview
 * @property {number} now in microseconds
 * @property {number[]} bounds in microseconds
 * @property {{ name: string, accepted: number, pending: number, handedOver: number[] }[]} servers
 * @property {Worker[]} workers
 * @property {{ utilization: number | null, blockedFor: number | null, memory: number | null, lag: number[] }} primary
 */

/** @typedef {{ rate: number | null, utilization: number | null, memory: number | null }} Moment */

/** @typedef {(number | null)[]} Column */

const sum = (/** @type {number[]} */ all) => all.reduce((total, one) => total + one, 0);

export class History {
  /** In seconds since 1970. @type {number[]} */
  times = [];
  /** @type {Map<number, Moment[]>} */
  workers = new Map();
  /** @type {Column} */
  accepted = [];
  /** @type {Column} */
  pending = [];
  /** How many connections took how long, each moment. @type {number[][]} */
  latency = [];
  /** The same of event loops that were busy. @type {number[][]} */
  lag = [];
  /** @type {Overview | undefined} */
  last;

  /** Each worker's row, and what it has done since the moment before. @param {Overview} overview */
  add(overview) {
    const { last } = this;
    this.last = overview;
    const seconds = last === undefined ? 0 : (overview.now - last.now) / 1e6;
    const rate = (/** @type {number} */ now, /** @type {number | undefined} */ before) =>
      seconds > 0 && before !== undefined ? Math.max(now - before, 0) / seconds : null;
    this.times.push(Date.now() / 1000);
    const before = new Map(last?.workers.map((worker) => [worker.id, worker]));
    for (const worker of overview.workers) {
      const moments = this.workers.get(worker.id) ?? [];
      // Before it was there it had nothing.
      while (moments.length < this.times.length - 1) {
        moments.push({ rate: null, utilization: null, memory: null });
      }
      const { utilization, memory, dispatched } = worker;
      moments.push({ rate: rate(dispatched, before.get(worker.id)?.dispatched), utilization, memory });
      this.workers.set(worker.id, moments);
    }
    const ids = new Set(overview.workers.map(({ id }) => id));
    for (const id of this.workers.keys()) if (!ids.has(id)) this.workers.delete(id);
    const accepted = (/** @type {Overview} */ one) => sum(one.servers.map((server) => server.accepted));
    this.accepted.push(rate(accepted(overview), last && accepted(last)));
    this.pending.push(sum(overview.servers.map((server) => server.pending)));
    const latencies = (/** @type {Overview} */ one) => added(one.workers.map(({ taken }) => taken));
    this.latency.push(grown(latencies(overview), last && latencies(last)));
    const lags = (/** @type {Overview} */ one) => added(one.workers.map(({ lag }) => lag));
    this.lag.push(grown(lags(overview), last && lags(last)));
    this.#forget();
  }

  #forget() {
    while (this.times.length > LENGTH) {
      for (const column of [this.times, this.accepted, this.pending, this.latency, this.lag]) column.shift();
      for (const moments of this.workers.values()) moments.shift();
    }
  }
}

/** @param {number[][]} all @returns {number[]} */
function added(all) {
  return (all[0] ?? []).map((_, place) => sum(all.map((buckets) => buckets[place] ?? 0)));
}

/** @param {number[]} now @param {number[] | undefined} before @returns {number[]} */
function grown(now, before) {
  // A worker that has gone takes its counts with it.
  return now.map((count, place) => (before === undefined ? 0 : Math.max(count - (before[place] ?? 0), 0)));
}
