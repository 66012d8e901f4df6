'use strict';

// What bench/mixed.js compares with: the calculated queue, and the load that is the same for all sides.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { oneQueue } = require('../../bench/lib/one-queue');
const { WORKLOADS, meanCost, schedule } = require('../../bench/lib/workloads');

test('a request begins when it arrives, or when the first server is idle', () => {
  const latencies = oneQueue({ times: [0, 1, 2, 3, 20], costs: [10, 2, 2, 2, 5], servers: 2 });
  // The second server takes the three short ones, one after the other: 1 to 3, 3 to 5, 5 to 7.
  assert.deepEqual([...latencies], [10, 2, 3, 4, 5]);
});

test('with a server for each request nobody waits', () => {
  assert.deepEqual([...oneQueue({ times: [0, 0, 0], costs: [3, 1, 2], servers: 3 })], [3, 1, 2]);
});

test('with one server everybody waits for all before', () => {
  assert.deepEqual([...oneQueue({ times: [0, 0, 0], costs: [3, 1, 2], servers: 1 })], [3, 4, 6]);
});

test('the mean wait of equal costs and Poisson arrivals is that of the Pollaczek-Khinchine formula', () => {
  const rate = 140;
  const { times, costs } = schedule({ workload: '5', rate, seconds: 3000, seed: 1 });
  const latencies = oneQueue({ times, costs, servers: 1 });
  const cost = WORKLOADS[5].kinds[0].cost;
  const load = (rate * cost) / 1000;
  const expected = (load * cost) / (2 * (1 - load));
  const mean = latencies.reduce((sum, latency) => sum + latency - cost, 0) / latencies.length;
  assert.ok(Math.abs(mean / expected - 1) < 0.05, `${mean} ms instead of ${expected} ms`);
});

test('a schedule is the same for the same seed, and another for another', () => {
  const arrivals = { workload: '1-20', rate: 1000, seconds: 2, seed: 7 };
  const first = schedule(arrivals);
  assert.deepEqual(schedule(arrivals), first);
  assert.notDeepEqual(schedule({ ...arrivals, seed: 8 }).times, first.times);
});

test('a schedule has the rate and the mean cost that are asked for', () => {
  for (const [workload, description] of Object.entries(WORKLOADS)) {
    const { times, costs } = schedule({ workload, rate: 1000, seconds: 300, seed: 3 });
    assert.ok(Math.abs(times.length / 300_000 - 1) < 0.02, `${workload}: ${times.length} requests`);
    const mean = costs.reduce((sum, cost) => sum + cost) / costs.length;
    assert.ok(Math.abs(mean / meanCost(description) - 1) < 0.1, `${workload}: ${mean} ms`);
    assert.deepEqual(times, times.toSorted());
  }
});
