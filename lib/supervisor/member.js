'use strict';

// One worker of a supervisor: what lifecycle.js says of it, done to a Worker of the cluster.

const { Action, FIRST, Input, State, transition } = require('./lifecycle');
const { watchReadiness } = require('./readiness');
const { StderrTail } = require('./stderr-tail');
const { blockText } = require('../util/block-text');

/** How much longer than its deadline a worker may take that has loaded corral: it ends its connections itself. In milliseconds. */
const DRAIN_GRACE = 1_000;
/** How long a process may stay whose channel has closed: its servers and their connections have ended. In milliseconds. */
const EXIT_GRACE = 1_000;
/** How long a hung worker has after the signal for it. In milliseconds. */
const HUNG_GRACE = 1_000;
/** How long the end of a process is awaited that has closed its channel without having been asked to. In milliseconds. */
const EXIT_SOON = 250;
/** How long a worker has to start its inspector, in milliseconds. */
const INSPECTOR_WITHIN = 5_000;
/** What Node says of that. */
const INSPECTOR_STARTED = /Debugger listening on (ws:\/\/\S+)/;
const INSPECTOR_FAILED = /Starting inspector on .*/;
/** And how long the end of what it has written to stderr, which a child of its own may hold open. In milliseconds. */
const STDERR_SOON = 250;

/** @typedef {import('./fleet').Loss} Loss */

class Member {
  #settings;
  #onChange;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {ReturnType<typeof watchReadiness> | undefined} */
  #readiness;
  #tail = new StderrTail(null);
  /** @type {Loss} */
  #loss = { reason: 'has left' };
  #isAsked = false;
  /** @type {import('node:stream').Readable | null} */
  #stderr = null;
  /** Where its inspector is. @type {Promise<string> | undefined} */
  #inspector;
  /** @type {any} */
  worker;
  slot;
  generation;
  /** @type {State} */
  state;
  forkedAt = Date.now();
  readyAt = 0;
  /** Addresses at which it listens, each with how it is shown. @type {Map<string, any>} */
  servers = new Map();

  /**
   * @param {object} options
   * @param {() => any} options.fork
   * @param {number} options.slot
   * @param {number} options.generation
   * @param {number} options.servers how many servers a worker before it had
   * @param {import('./options').Settings} options.settings
   * @param {(stream: any) => any} options.capture gives what is to be remembered of its stderr, or null
   * @param {(member: Member, was: State, loss: Loss) => void} onChange
   */
  constructor({ fork, slot, generation, servers, settings, capture }, onChange) {
    this.slot = slot;
    this.generation = generation;
    this.#settings = settings;
    this.#onChange = onChange;
    const [state, ...actions] = FIRST;
    this.state = state;
    try {
      this.worker = fork();
    } catch (error) {
      this.#loss = { reason: `could not be started: ${/** @type {Error} */ (error).message}` };
      setImmediate(() => this.input(Input.EXITED));
      return;
    }
    // It gets no connections before it says that it is ready.
    if (settings.ready === 'message' && 'weight' in this.worker) this.worker.weight = 0;
    this.#stderr = capture(this.worker.process.stderr ?? null);
    this.#tail = new StderrTail(this.#stderr);
    this.#follow(servers);
    for (const action of actions) this.#do(action);
  }

  /** @param {number} servers */
  #follow(servers) {
    const { worker, slot } = this;
    worker.on('listening', (/** @type {any} */ address) => {
      this.servers.set(`${address.addressType} ${address.address} ${address.port}`, address);
    });
    worker.once('disconnect', () => this.#disconnected());
    worker.once('exit', (/** @type {number | null} */ code, /** @type {string | null} */ signal) =>
      this.#exited(code, signal),
    );
    // Of a process that could not be spawned there is nothing else.
    worker.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      if (worker.process.pid !== undefined) return this.#complain(error);
      this.#loss = { reason: `could not be started: ${error.message}` };
      this.input(Input.EXITED);
    });
    this.#readiness = watchReadiness(this.#settings.ready, {
      worker,
      slot,
      servers,
      onReady: () => {
        this.readyAt = Date.now();
        if (worker.weight === 0) worker.weight = 1;
        this.input(Input.READY);
      },
      onFailed: (reason) => {
        this.#loss = { reason };
        this.input(Input.TIMEOUT);
      },
    });
  }

  /** @param {Error} error the worker broke the protocol, and loses its channel */
  #complain(error) {
    this.#loss = { reason: `was cut off: ${error.message}` };
    process.emitWarning(error);
  }

  #disconnected() {
    if (this.#isAsked) return this.input(Input.DISCONNECTED);
    // It has said so before. Its process may take its time to end.
    if (this.state === State.READY && this.worker.exitedAfterDisconnect)
      this.#loss = { reason: 'has left', isVoluntary: true };
    // If it has crashed, its end says more.
    afterReading(EXIT_SOON, () => this.input(Input.DISCONNECTED));
  }

  /**
   * @param {number | null} code
   * @param {string | null} signal
   */
  #exited(code, signal) {
    const { state } = this;
    const isVoluntary = code === 0 && this.worker.exitedAfterDisconnect && state !== State.STARTING;
    const how = signal === null ? `has exited with code ${code}` : `was killed by ${signal}`;
    const when = state === State.STARTING ? ' before it was ready' : '';
    if (state === State.STARTING || state === State.READY)
      this.#loss = { reason: `${how}${when}`, isVoluntary };
    const over = () => this.input(Input.EXITED);
    this.#tail.ended(over);
    afterReading(STDERR_SOON, over);
  }

  /** @param {Input} input */
  input(input) {
    const was = this.state;
    if (was === State.STARTING && input === Input.TIMEOUT && this.#readiness !== undefined) this.#notReady();
    if (input === Input.HUNG && was !== State.GONE) this.#loss = { reason: this.#whyHung() };
    if (input === Input.DRAIN || input === Input.STOP || input === Input.KILL) this.#isAsked = true;
    const [state, ...actions] = transition(was, input);
    this.state = state;
    if (was === State.STARTING && state !== was) this.#readiness?.cancel();
    for (const action of actions) this.#do(action);
    if (state !== was) this.#onChange(this, was, { ...this.#loss, lines: this.#tail.lines });
  }

  /** What it does instead is known while somebody observes the cluster. */
  #whyHung() {
    const { blocked } = this.worker;
    const why = `was hung: its event loop has not turned for ${this.#settings.hungAfter} ms`;
    return blocked === undefined ? why : `${why}: it ${blockText(blocked)}`;
  }

  /** Whether somebody may keep its event loop from turning. */
  get isInspected() {
    return this.#inspector !== undefined;
  }

  /** @returns {Promise<string>} where its inspector is, which is started by the first call */
  inspect() {
    this.#inspector ??= this.#startInspector().catch((error) => {
      this.#inspector = undefined;
      throw error;
    });
    return this.#inspector;
  }

  /** @returns {Promise<string>} */
  async #startInspector() {
    const stream = this.#stderr;
    if (stream === null)
      throw new Error("the worker's stderr is not captured, where it says where its inspector is");
    let text = '';
    const said = new Promise((resolve, reject) => {
      const end = (/** @type {() => void} */ settle) => {
        clearTimeout(timer);
        stream.removeListener('data', onData).removeListener('close', onClose);
        settle();
      };
      const onData = (/** @type {Buffer | string} */ piece) => {
        text = `${text}${piece}`.slice(-8192);
        const url = INSPECTOR_STARTED.exec(text)?.[1];
        const failure = INSPECTOR_FAILED.exec(text)?.[0];
        if (url !== undefined) end(() => resolve(url));
        else if (failure !== undefined) end(() => reject(new Error(failure)));
      };
      const onClose = () => end(() => reject(new Error('the worker has ended')));
      const timer = setTimeout(
        () =>
          end(() => reject(new Error(`the worker has not started its inspector in ${INSPECTOR_WITHIN} ms`))),
        INSPECTOR_WITHIN,
      );
      stream.on('data', onData).once('close', onClose);
    });
    this.worker.process.kill('SIGUSR1');
    return /** @type {Promise<string>} */ (said);
  }

  #notReady() {
    // A check that has failed has said why.
    if (this.#loss.reason !== 'has left') return;
    const { readyTimeout } = this.#settings;
    this.#loss = { reason: `was not ready after ${readyTimeout} ms: it ${this.#readiness?.missing()}` };
  }

  /** @param {Action} action */
  #do(action) {
    const { worker } = this;
    // It could not be spawned, and its end is on its way.
    if (worker === undefined) return;
    const { drain, idle, killTimeout, readyTimeout, hungSignal } = this.#settings;
    switch (action) {
      case Action.DISCONNECT:
        if (worker.isConnected()) worker.disconnect({ drain, idle: Math.min(idle, drain) });
        return;
      case Action.TERMINATE:
        worker.process.kill('SIGTERM');
        // One that takes a SIGTERM for that of its whole group hears by this that it is meant.
        if (worker.isConnected()) worker.process.disconnect();
        return;
      case Action.INTERRUPT:
        worker.process.kill(hungSignal);
        return;
      case Action.KILL:
        worker.process.kill('SIGKILL');
        return;
      case Action.TIME_START:
        return this.#time(readyTimeout);
      case Action.TIME_DRAIN:
        return this.#time(drain + DRAIN_GRACE);
      case Action.TIME_EXIT:
        return this.#time(EXIT_GRACE);
      case Action.TIME_KILL:
        return this.#time(killTimeout);
      case Action.TIME_HUNG:
        return this.#time(HUNG_GRACE);
      default:
        clearTimeout(this.#timer);
    }
  }

  /** @param {number} milliseconds */
  #time(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.input(Input.TIMEOUT), milliseconds);
  }
}

/**
 * Timers come before what can be read: where this process was kept from running, what has come meanwhile is read first.
 *
 * @param {number} milliseconds
 * @param {() => void} callback
 */
function afterReading(milliseconds, callback) {
  setTimeout(() => setImmediate(callback), milliseconds).unref();
}

module.exports = { Member };
