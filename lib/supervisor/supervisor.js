'use strict';

// What `cluster.supervise` returns: a fleet whose members are workers of the cluster, what an operator asks of it, and what he hears.

const EventEmitter = require('node:events');

const errors = require('../errors');
const { Fleet } = require('./fleet');
const { Input, State } = require('./lifecycle');
const { Member } = require('./member');
const { hasManager } = require('./environment');
const { check } = require('./options');
const { processInfo } = require('./process-info');
const { Release } = require('./release');
const { handleSignals, hasTerminal } = require('./signals');
const { SLOT_VARIABLE, SUPERVISED_VARIABLE } = require('../protocol');
const { integer } = require('../util/integer');
const { slots } = require('../util/slots');

/** How many failures in a row are a crash loop. */
const CRASH_LOOP = 3;

/** As many as `options.workers` may be. */
const MOST_WORKERS = 4096;

/** @typedef {import('./fleet').Loss} Loss */

class Supervisor extends EventEmitter {
  #cluster;
  #settings;
  #fleet;
  #release;
  #watch;
  /** @type {import('./service').Service | undefined} */
  #service;
  #unhandle = () => {};
  #onOver;
  /** All whose process has not ended. @type {Set<Member>} */
  #members = new Set();
  /** How many servers the workers have had that were ready. */
  #servers;
  #restarts = 0;
  /** @type {{ promise: Promise<void>, resolve: () => void, reject: (error: Error) => void }} */
  #ready = deferred();
  /** @type {any} */
  #lastReload = null;

  /**
   * @param {any} cluster of a primary
   * @param {unknown} options
   * @param {() => void} onOver called when nothing is supervised any more
   */
  constructor(cluster, options, onOver) {
    super();
    this.#cluster = cluster;
    this.#onOver = onOver;
    this.#settings = check(options);
    this.#servers = this.#settings.servers;
    cluster.setupPrimary();
    // Before the first worker asks for a server.
    const { systemd } = this.#settings;
    if (systemd && hasManager(process.env)) {
      const { Service } = require('./service');
      this.#service = new Service(cluster, systemd, () => this.#isServing());
    }
    this.#release = new Release(cluster);
    this.#captureStderr();
    this.#fleet = this.#makeFleet();
    // Loaded while the workers start.
    const { Watch } = require('./watch');
    this.#watch = new Watch(
      cluster,
      this.#settings,
      () => this.#members,
      (member, reason, isUrgent) => this.#fleet.recycle(member, reason, isUrgent),
    );
    if (this.#settings.signals) this.#handleSignals();
  }

  /** Workers write to a pipe, unless the program has said where to. */
  #captureStderr() {
    const { silent, stdio } = this.#cluster.settings;
    const isOwn = !silent && stdio === undefined;
    if (this.#settings.captureStderr && isOwn) {
      this.#cluster.setupPrimary({ stdio: ['inherit', 'inherit', 'pipe', 'ipc'] });
    }
    this.#capture = (stream) => {
      if (!this.#settings.captureStderr || stream === null) return null;
      // A pipe has several listeners there for each worker, and Node warns of more than ten.
      if (isOwn) stream.on('data', (/** @type {Buffer} */ piece) => process.stderr.write(piece));
      return stream;
    };
  }

  /** @type {(stream: any) => any} */
  #capture = () => null;

  #makeFleet() {
    const { workers: size, surge, minUptime } = this.#settings;
    return new Fleet(
      { size, surge, minUptime },
      {
        fork: (slot, generation, isReplacement) => this.#fork(slot, generation, isReplacement),
        setTimer: (milliseconds, callback) => {
          const timer = setTimeout(callback, milliseconds);
          return () => clearTimeout(timer);
        },
        now: Date.now,
        random: Math.random,
        prepare: () => {
          this.#countServers();
          this.#release.resolve();
        },
        revert: () => this.#release.revert(),
        tell: (event, about) => this.#tell(event, about),
      },
    );
  }

  /**
   * @param {number} slot
   * @param {number} generation
   * @param {boolean} isReplacement where nobody serves, one that does so at one address is better than none
   */
  #fork(slot, generation, isReplacement) {
    this.#countServers();
    const options = {
      fork: () => {
        const given = this.#settings.env(slot);
        const env = { ...given, [SLOT_VARIABLE]: `${slot}`, [SUPERVISED_VARIABLE]: '1' };
        const worker = this.#cluster.fork(env);
        slots.set(worker, slot);
        return worker;
      },
      slot,
      generation,
      servers: isReplacement ? this.#servers : this.#settings.servers,
      settings: this.#settings,
      capture: this.#capture,
    };
    const forked = new Member(options, (member, was, loss) => this.#changed(member, was, loss));
    this.#members.add(forked);
    return forked;
  }

  /**
   * @param {Member} member
   * @param {State} was
   * @param {Loss} loss
   */
  #changed(member, was, loss) {
    if (member.state === State.GONE) this.#members.delete(member);
    this.emit('state', { ...describe(member), was });
    this.#fleet.changed(member, was, loss);
    this.#showService();
  }

  /** Finds out how many servers a worker has that serves; if none does, it is how many it was the last time. */
  #countServers() {
    const serving = [...this.#members].filter(({ state }) => state === State.READY);
    if (serving.length === 0) return;
    // Those that it has closed again, the core alone knows of.
    const open = this.#cluster.native ? this.#cluster.stats().servers : undefined;
    const counts = serving.map(({ worker: { id }, servers }) => {
      const left = open?.filter((/** @type {any} */ { workers }) => workers.includes(id)).length;
      return Math.min(servers.size, left ?? servers.size);
    });
    this.#servers = Math.max(...counts);
  }

  /**
   * @param {string} event of the fleet
   * @param {any} about
   */
  #tell(event, about) {
    switch (event) {
      case 'started':
        this.#service?.ready();
        this.#ready.resolve();
        this.emit('ready');
        break;
      case 'lost': {
        const { member, loss } = about;
        this.emit('crash', { ...describe(member), reason: loss.reason, lines: loss.lines ?? [] });
        break;
      }
      case 'respawn':
        this.#respawning(about);
        break;
      case 'recycle':
        // With `surge: 0` it leaves before the other one is forked.
        this.#countServers();
        this.emit('recycle', { ...describe(about.member), reason: about.reason });
        break;
      case 'progress':
        if (about !== null) this.emit('reloading', about);
        this.#showService();
        break;
      case 'stopped':
        this.#stopped(about.error);
    }
  }

  /** @param {{ slot: number, failures: number, delay: number, loss: Loss }} about */
  #respawning({ slot, failures, delay, loss }) {
    this.#restarts++;
    this.emit('respawn', { slot, failures, delay });
    if (failures !== CRASH_LOOP || this.listenerCount('crash') > 0) return;
    process.emitWarning(`workers in slot ${slot} keep failing: the last one ${withLines(loss)}`, {
      code: 'CORRAL_CRASH_LOOP',
    });
  }

  /** @param {Loss | undefined} loss for which nothing was ever started */
  #stopped(loss) {
    this.#watch.stop();
    this.#unhandle();
    this.#service?.end();
    this.#onOver();
    if (loss !== undefined) this.#ready.reject(errors.startFailed(withLines(loss)));
    // Nobody waits for a start that was given up.
    else if (!this.#fleet.isStarted) this.#ready.reject(errors.supervisorStopped());
    this.emit('stopped');
  }

  /** A reload whose outcome nobody waits for. */
  #reloadUnasked() {
    this.reload().catch((error) => {
      if (this.listenerCount('reloadFailed') === 0) process.emitWarning(error);
    });
  }

  #handleSignals() {
    const hadTerminal = hasTerminal();
    const stop = () => {
      if (this.#fleet.isStopping) this.kill();
      else this.stop().then(() => process.exit());
    };
    this.#unhandle = handleSignals({
      SIGTERM: stop,
      SIGINT: stop,
      SIGHUP: () => {
        if (hadTerminal && !hasTerminal()) stop();
        else this.#reloadUnasked();
      },
      SIGTTIN: () => this.scale(this.#fleet.slots.length + 1),
      SIGTTOU: () => this.scale(Math.max(this.#fleet.slots.length - 1, 1)),
    });
  }

  /** @returns {Promise<void>} resolves when all workers are ready for the first time */
  get ready() {
    return this.#ready.promise;
  }

  /** @returns {Promise<any>} */
  reload() {
    this.#service?.reloading();
    const done = new Promise((resolve, reject) => {
      this.#fleet.reload({
        resolve,
        reject: (loss) =>
          reject(errors.reloadFailed(`${loss.isWhole ? '' : 'the new one '}${withLines(loss)}`)),
      });
    });
    return done.then(
      (result) => {
        this.#lastReload = { at: Date.now(), ...result };
        this.#reloadIsOver();
        this.emit('reloaded', result);
        return result;
      },
      (error) => {
        this.#lastReload = { at: Date.now(), error: error.message };
        this.#reloadIsOver();
        this.emit('reloadFailed', error);
        throw error;
      },
    );
  }

  #showService() {
    const ready = [...this.#members].filter(({ state }) => state === State.READY).length;
    const { slots, rolling } = this.#fleet;
    const { progress: reload } = rolling;
    this.#service?.show({ size: slots.length, ready, reload, lastReload: this.#lastReload });
  }

  #reloadIsOver() {
    this.#showService();
    this.#service?.reloaded();
  }

  /** @returns {boolean} whether any worker does: one that is ready and whose event loop turns, or one that finishes what it has begun */
  #isServing() {
    return [...this.#members].some(
      (member) =>
        member.state === State.DRAINING || (member.state === State.READY && !this.#watch.isSilent(member)),
    );
  }

  /** @param {number} workers how many there are to be */
  scale(workers) {
    // Not to be left out, unlike the option.
    this.#fleet.scale(integer({ workers: workers ?? null }, 'workers', 1, 1, MOST_WORKERS));
  }

  /** @param {number} slot @returns {Promise<string>} */
  async inspect(slot) {
    integer({ slot: slot ?? null }, 'slot', 0, 0, MOST_WORKERS);
    const there = [...this.#members].filter((member) => member.slot === slot && member.worker !== undefined);
    const member = there.find(({ state }) => state === State.READY) ?? there[0];
    if (member === undefined) throw errors.outOfRange('slot', 'the slot of a worker', slot);
    return member.inspect();
  }

  /** @param {number} pid another process is the service from now on, and the manager is told nothing more by this one */
  succeededBy(pid) {
    this.#service?.succeededBy(integer({ pid }, 'pid', 0, 1, 2 ** 31 - 1));
  }

  /** @returns {Promise<void>} resolves when the last worker has gone */
  stop() {
    return this.#end(Input.DRAIN);
  }

  /** @returns {Promise<void>} */
  kill() {
    return this.#end(Input.KILL);
  }

  /** @param {Input} input @returns {Promise<void>} */
  #end(input) {
    if (!this.#fleet.isStopping) this.#service?.stopping();
    // A start that is given up is no error of anybody's.
    this.#ready.promise.catch(() => {});
    return new Promise((resolve) => this.#fleet.stop(input, resolve));
  }

  /** @returns {import('../..').SupervisorStatus} */
  status() {
    const fleet = this.#fleet;
    const stats = this.#cluster.native ? this.#cluster.stats().workers : [];
    return {
      state: stateOf(fleet),
      size: fleet.slots.length,
      generation: fleet.generation,
      restarts: this.#restarts,
      reload: fleet.rolling.progress,
      lastReload: this.#lastReload,
      workers: [...this.#members].map((member) => {
        const counted = stats.find((/** @type {any} */ { id }) => id === member.worker?.id);
        return {
          ...describe(member),
          generation: member.generation,
          uptime: Date.now() - member.forkedAt,
          rss: processInfo(member.worker?.process.pid)?.rss ?? null,
          connections: counted?.dispatched ?? null,
          isStalled: counted?.stalled ?? null,
        };
      }),
    };
  }
}

/** @param {Fleet} fleet @returns {import('../..').SupervisorStatus['state']} */
function stateOf(fleet) {
  if (fleet.isStopped) return 'stopped';
  if (fleet.isStopping) return 'stopping';
  if (!fleet.isStarted) return 'starting';
  return fleet.rolling.progress === null ? 'running' : 'reloading';
}

/** @param {Member} member @returns {import('../..').SupervisedWorker} */
function describe({ slot, worker, state }) {
  const inTypes = /** @type {import('../..').WorkerLifeState} */ (state);
  return { slot, id: worker?.id ?? null, pid: worker?.process.pid ?? null, state: inTypes };
}

/** @param {Loss} loss */
function withLines({ reason, lines = [] }) {
  return lines.length === 0 ? reason : `${reason}\n${lines.map((line) => `    ${line}`).join('\n')}`;
}

function deferred() {
  /** @type {any} */
  const all = {};
  all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }));
  return all;
}

module.exports = { Supervisor };
