'use strict';

// A worker's own metrics (`cluster.publishMetrics`), as whoever observes the cluster is given them: what prom-client's registries
// have, or text. The primary's thread merges them. Nothing is collected while nobody observes.

const errors = require('../errors');
const { integer } = require('../util/integer');

/** In milliseconds. */
const DEFAULT_INTERVAL = 5000;
const MIN_INTERVAL = 100;
const MAX_INTERVAL = 3_600_000;

/** @typedef {import('../..').MetricsSource} MetricsSource */

/**
 * @typedef {object} Publication
 * @property {MetricsSource} source
 * @property {number} interval in milliseconds
 * @property {{ families: string[], texts: string[] }} last `families` as JSON; what it was when it was collected last
 * @property {boolean} hasFailed a warning said so
 * @property {NodeJS.Timeout | undefined} timer
 */

/** @type {Set<Publication>} */
const publications = new Set();

/** Sends what all have together; returns whether anybody reads it. @type {((text: string) => boolean) | undefined} */
let publish;

/** @param {(text: string) => boolean} to whoever observes from now on */
function begin(to) {
  publish = to;
  for (const publication of publications) collect(publication);
}

/**
 * @param {any} source
 * @param {any} options
 * @returns {() => void} ends it
 */
function publishMetrics(source, options) {
  const isSource = [source].flat().every((one) => typeof one?.getMetricsAsJSON === 'function');
  if (typeof source !== 'function' && !isSource) {
    throw errors.invalidArgType('source', 'a registry, an array of registries, or a function', source);
  }
  if (options === null || typeof options !== 'object') {
    throw errors.invalidArgType('options', 'of type object', options);
  }
  const interval = integer(options, 'interval', DEFAULT_INTERVAL, MIN_INTERVAL, MAX_INTERVAL);
  /** @type {Publication} */
  const publication = {
    source,
    interval,
    last: { families: [], texts: [] },
    hasFailed: false,
    timer: undefined,
  };
  publications.add(publication);
  if (publish !== undefined) collect(publication);
  return () => {
    publications.delete(publication);
    clearTimeout(publication.timer);
  };
}

/** @param {Publication} publication */
async function collect(publication) {
  clearTimeout(publication.timer);
  try {
    publication.last = await collected(publication.source);
    publication.hasFailed = false;
  } catch (error) {
    if (!publication.hasFailed) warn(/** @type {Error} */ (error));
    publication.hasFailed = true;
  }
  if (!publications.has(publication)) return;
  const all = [...publications].map(({ last }) => last);
  const families = all.flatMap((one) => one.families).join(',');
  const texts = JSON.stringify(all.flatMap((one) => one.texts));
  // What has failed has an age that grows.
  const isRead = publication.hasFailed || publish?.(`{"families":[${families}],"texts":${texts}}`);
  // Whoever observes next begins anew.
  if (!isRead) publish = undefined;
  if (publish === undefined) return;
  clearTimeout(publication.timer);
  publication.timer = setTimeout(collect, publication.interval, publication).unref();
}

/** @param {any} source @returns {Promise<Publication['last']>} */
async function collected(source) {
  if (typeof source === 'function') return { families: [], texts: [`${await source()}`] };
  const registries = [source].flat();
  const families = await Promise.all(registries.map((registry) => registry.getMetricsAsJSON()));
  return { families: families.flat().map((family) => JSON.stringify(family, sayable)), texts: [] };
}

/** A label may be a bigint, which JSON does not know. @param {string} _name @param {unknown} value */
function sayable(_name, value) {
  return typeof value === 'bigint' ? `${value}` : value;
}

/** @param {unknown} error */
function warn(error) {
  const reason = error instanceof Error ? error.message : error;
  process.emitWarning(`a source of metrics has failed: ${reason}`, { code: 'CORRAL_METRICS_SOURCE' });
}

module.exports = { begin, publishMetrics };
