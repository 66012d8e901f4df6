'use strict';

// What this process serves, on threads of its own: files, and to the workers of its cluster the engine in memory.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const errors = require('../errors');
const { engines } = require('./engines');
const { native, reason } = require('./native');

/** What the engine in memory is called. */
const MEMORY = 'memory';

/** @param {string} file resolved @returns {string} what its engine is called */
const fileName = (file) => `file:${file}`;

/** The files that this process serves. @type {Map<string, import('./binding').FileBroker>} */
const served = new Map();

/** @returns {NonNullable<typeof native>} */
function addon() {
  if (native === undefined) throw errors.noCore('corral/bus', reason);
  return native;
}

/**
 * Serves a file, if nobody else does.
 *
 * @param {string} file resolved
 * @returns {import('./binding').FileBroker | undefined} undefined if another process does
 */
function serve(file) {
  const known = served.get(file);
  if (known?.isServing()) return known;
  stopServing(file);
  const broker = addon().FileBroker.serve(file);
  if (broker === null) return undefined;
  served.set(file, broker);
  return broker;
}

/** @param {string} file resolved */
function stopServing(file) {
  const known = served.get(file);
  served.delete(file);
  known?.stop();
}

/**
 * A connection to whoever serves a file: this process, if nobody else does.
 *
 * @param {string} file resolved
 * @returns {number} its descriptor
 */
function connectFile(file) {
  const broker = serve(file);
  return broker === undefined ? addon().connectFile(file) : broker.connect();
}

/** The buses of this process by their files. @type {Map<string, number>} */
const users = new Map();

/** Files that are served for as long as this process lives. @type {Set<string>} */
const forWorkers = new Set();

/** By which workers reach the engine in memory. @type {string | undefined} */
let place;

/** @returns {string} */
function placeInMemory() {
  if (place !== undefined) return place;
  const directory = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'corral-bus-'));
  process.on('exit', () => fs.rmSync(directory, { recursive: true, force: true }));
  const found = path.join(directory, 'memory');
  addon().listenMemory(found);
  place = found;
  engines.add(MEMORY, () => addon().connectMemory());
  return found;
}

/**
 * @param {any} wanted of a worker
 * @returns {{ path: string }}
 */
function serveWorker(wanted) {
  const file = wanted?.file;
  if (file === undefined) return { path: placeInMemory() };
  if (typeof file !== 'string') throw errors.invalidArgType('file', 'of type string', file);
  if (!forWorkers.has(file)) {
    forWorkers.add(file);
    users.set(file, (users.get(file) ?? 0) + 1);
    engines.add(fileName(file), () => connectFile(file));
  }
  serve(file);
  return { path: file };
}

module.exports = { MEMORY, addon, connectFile, fileName, serve, serveWorker, stopServing, users };
