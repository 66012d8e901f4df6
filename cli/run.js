'use strict';

// `corral run`: a supervised cluster of an unmodified program, in the foreground.

const fs = require('node:fs');
const path = require('node:path');
const { isatty } = require('node:tty');

const cluster = /** @type {any} */ (require('..'));
const { configOf } = require('./config');
const { cores } = require('./cores');
const { Output } = require('./output');
const { PidFile } = require('./pid-file');
const { socketOf } = require('./sockets');
const { Turns } = require('./turns');
const { UsageError } = require('./usage-error');
const { handleSignals, hasTerminal } = require('../lib/supervisor/signals');
const { slots } = require('../lib/util/slots');

// The first request is answered the sooner, the less is loaded before the workers are spawned: what is needed later is loaded where it is.

/** What makes a program's cluster corral's. */
const REGISTER = path.join(__dirname, '../register.js');

/** The options of `cluster.supervise` that have the same names as settings. */
const SAME = ['ready', 'readyTimeout', 'surge', 'minUptime', 'drain', 'idle', 'killTimeout', 'hungSignal'];

/** Settings that a reload reads again. */
const READ_AGAIN = ['env', 'args', 'nodeArgs', 'workers'];

/** How long a new worker is watched unless it is set, in milliseconds. */
const DEFAULT_MIN_UPTIME = 1_000;

/** Tells a process that it takes the place of another one (succession.js). */
const SUCCESSION = 'CORRAL_UPGRADE';

/** What may be needed later. */
const LATER = ['./upgrade', './ecosystem', '../lib/supervisor/cron', '../lib/observe/profile'];

/** How long the process stays when the last worker has gone, in milliseconds. */
const EXIT_AFTER = 20;

/** @typedef {import('./config').Config} Config */

/**
 * @param {import('./arguments').Parsed} parsed
 * @returns {Promise<void>} when it is running or has failed; rejects with what is to be said
 */
async function run({ flags, words }) {
  const directory = startDirectory();
  const env = { ...process.env };
  const readConfig = () => configOf(flags, words, directory);
  const { config, notes } = await readConfig();
  const output = new Output({ json: config.log === 'json', colours: hasColours() });
  await new Run(config, readConfig, output, { directory, env, notes }).start();
}

class Run {
  /** What workers are started with. */
  #config;
  /** How that is found out. @type {() => ReturnType<typeof configOf>} */
  #readConfig;
  #output;
  /** @type {any} */
  #supervisor;
  /** @type {{ close: () => void } | undefined} */
  #control;
  #pidFile;
  /** With what this process was started. */
  #started;
  /** @type {import('./upgrade').Upgrade | undefined} */
  #upgrade;
  /** Whether it has been said what runs. */
  #isIntroduced = false;
  /** What is said behind that. @type {string[]} */
  #held = [];
  /** Whether a signal has told it to end. */
  #isTold = false;
  #reloads = new Turns((isOver) => this.#reloadInTurn(isOver));

  /**
   * @param {Config} config
   * @param {() => ReturnType<typeof configOf>} readConfig
   * @param {Output} output
   * @param {{ directory: string, env: NodeJS.ProcessEnv, notes: string[] }} started
   */
  constructor(config, readConfig, output, started) {
    this.#config = config;
    this.#readConfig = readConfig;
    this.#output = output;
    this.#started = started;
    this.#pidFile = new PidFile(config.pidFile);
  }

  async start() {
    this.#setUp();
    const before =
      process.env[SUCCESSION] && (await require('./succession').succession(cluster, process.env));
    if (before) await this.#startInPlaceOf(before);
    else await this.#startAnew();
  }

  async #startAnew() {
    this.#pidFile.check();
    // If somebody may listen there, no workers are started for nothing. As a rule nobody does, and they start meanwhile.
    const isFree = !this.#isControlThere();
    if (!isFree) await this.#openControl();
    try {
      this.#supervise({});
      const { ready } = this.#supervisor;
      // It is awaited below.
      ready.catch(() => {});
      if (isFree) await this.#openControl();
      this.#pidFile.write();
      this.#introduce();
      await ready;
    } catch (error) {
      // It is stopped by whoever has stopped it.
      if (/** @type {any} */ (error).code === 'ERR_CORRAL_STOPPED') return;
      this.#release();
      await this.#supervisor?.kill();
      throw error;
    }
    this.#output.say('ready');
    loadTheRest();
  }

  /** @param {import('./succession').Succession} before */
  async #startInPlaceOf(before) {
    const { ppid } = process;
    const servers = await before.receive();
    if (servers === undefined) return this.#startAnew();
    /** @type {(value?: unknown) => void} */
    let begin = () => {};
    const begun = new Promise((resolve) => {
      begin = resolve;
    });
    try {
      this.#pidFile.check();
      // The service manager believes the other one until then.
      this.#supervise({ servers, systemd: begun });
      this.#introduce();
      await this.#supervisor.ready;
      await this.#proved();
      // Whoever has stopped it sees to its end.
      if (/^stop/.test(this.#supervisor.status().state)) return;
      await before.takeOver();
    } catch (error) {
      const { code, message } = /** @type {any} */ (error);
      if (code === 'ERR_CORRAL_STOPPED') return;
      await before.giveUp(message);
      await this.#supervisor?.kill();
      throw error;
    }
    // Nobody else serves from here on: without a socket or a file this one goes on.
    const { onceFree } = require('./succession');
    await this.#orSay(() => onceFree(() => this.#openControl()));
    await this.#orSay(() => this.#pidFile.write());
    begin();
    this.#output.say(`ready, in the place of ${ppid}`);
    loadTheRest();
  }

  /** @param {() => unknown} publish what others are to know this process by */
  async #orSay(publish) {
    try {
      await publish();
    } catch (error) {
      this.#output.say(/** @type {Error} */ (error).message);
    }
  }

  /** @param {object} more options of the supervisor */
  #supervise(more) {
    this.#supervisor = cluster.supervise({ ...this.#options(), ...more });
    surviveLostTerminal();
    const say = (/** @type {string} */ text) => this.#say(text);
    require('./narration').narrate(cluster, this.#supervisor, { say });
    this.#supervisor.on('stopped', () => say('stopped'));
    this.#handleSignals();
    const { native } = require('../lib/native');
    if (native !== undefined) require('./orphans').reapOrphans(native);
  }

  /** @param {string} text about a worker: nothing if it does not even come to the introduction */
  #say(text) {
    if (this.#isIntroduced) this.#output.say(text);
    else this.#held.push(text);
  }

  #introduce() {
    this.#isIntroduced = true;
    for (const note of this.#started.notes) this.#output.say(note);
    const { script, name } = this.#config;
    const { size } = this.#supervisor.status();
    this.#output.say(`${name}: ${size} ${size === 1 ? 'worker' : 'workers'} of ${path.relative('', script)}`);
    for (const text of this.#held.splice(0)) this.#output.say(text);
  }

  /** Resolves when all workers have been ready for as long as one is watched in a reload; rejects if one is lost meanwhile. */
  #proved() {
    const { minUptime = DEFAULT_MIN_UPTIME } = this.#config;
    return new Promise((resolve, reject) => {
      const lost = (/** @type {any} */ { reason, lines }) =>
        reject(new Error([`a worker ${reason}`, ...lines].join('\n    ')));
      this.#supervisor.once('crash', lost);
      setTimeout(() => {
        this.#supervisor.removeListener('crash', lost);
        resolve(undefined);
      }, minUptime);
    });
  }

  #setUp() {
    const { script, args, cwd, keepAlive, policy } = this.#config;
    cluster.setupPrimary({
      ...(this.#isInspected() ? {} : { inspectPort: 0 }),
      exec: script,
      args,
      cwd,
      execArgv: this.#execArgv(),
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      ...(keepAlive === undefined ? {} : { keepAlive }),
      ...(policy === undefined ? {} : { schedulingPolicy: policy }),
    });
    cluster.on('fork', (/** @type {any} */ worker) => {
      const slot = slots.get(worker);
      // One that could not be spawned has no streams.
      if (worker.process.pid !== undefined && slot !== undefined) this.#output.follow(worker.process, slot);
    });
  }

  #execArgv() {
    // `inspect` starts an inspector: each at a port that is free.
    const port = this.#isInspected() ? [] : ['--inspect-port=0'];
    return [...(this.#config.nodeArgs ?? []), ...port, '--require', REGISTER];
  }

  /** Whether the workers have an inspector from the start, at ports that the user has chosen. */
  #isInspected() {
    return (this.#config.nodeArgs ?? []).some((/** @type {string} */ word) =>
      /^--(inspect|debug)/.test(word),
    );
  }

  #size() {
    const { workers = 'max' } = this.#config;
    return workers === 'max' ? cores() : workers;
  }

  #options() {
    const config = this.#config;
    const { maxMemory, hardMemory, maxAge, maxConnections, recycleAt, hungAfter } = config;
    const given = SAME.filter((key) => config[key] !== undefined).map((key) => [key, config[key]]);
    const isUrl = /^https?:/.test(config.ready ?? '');
    const recycle = {
      memory: maxMemory,
      hardMemory,
      age: maxAge,
      connections: maxConnections,
      at: recycleAt,
    };
    return {
      ...Object.fromEntries(given),
      ...(isUrl ? { ready: { url: config.ready } } : {}),
      workers: this.#size(),
      recycle: Object.fromEntries(Object.entries(recycle).filter(([, limit]) => limit !== undefined)),
      ...(hungAfter === undefined
        ? {}
        : { hungAfter: hungAfter === 0 ? Number.POSITIVE_INFINITY : hungAfter }),
      env: () => this.#environment(),
      captureStderr: true,
      signals: false,
    };
  }

  #environment() {
    const { env, log } = this.#config;
    // Its stdout is a pipe, and what comes out of that in the end is on a terminal.
    return { ...(hasColours() && log !== 'json' ? { FORCE_COLOR: '1' } : {}), ...env };
  }

  /** @returns {string | undefined} where other commands reach this process; undefined if nowhere */
  get #controlPath() {
    const { control, name } = this.#config;
    if (control === 'none' || !cluster.native) return undefined;
    return path.resolve(control ?? socketOf(name));
  }

  /** @returns {boolean} whether there is anything where the control socket is to be */
  #isControlThere() {
    const where = this.#controlPath;
    return where !== undefined && fs.lstatSync(where, { throwIfNoEntry: false }) !== undefined;
  }

  async #openControl() {
    const { control, name, script } = this.#config;
    const where = this.#controlPath;
    if (where === undefined) {
      if (control !== 'none') this.#output.say('there is no control socket without the native core');
      return;
    }
    const running = () => this.#running();
    const upgrade = () => this.#upgrading();
    const program = {
      name,
      script,
      cluster,
      output: this.#output,
      get supervisor() {
        return running();
      },
      get upgrade() {
        return upgrade();
      },
      reload: () => this.#reload(),
      stop: (/** @type {boolean} */ now) => this.#stop(now),
    };
    try {
      this.#control = await require('./control').serveControl(program, where);
    } catch (error) {
      const { code } = /** @type {any} */ (error);
      if (code !== 'EADDRINUSE') throw error;
      if (!fs.lstatSync(where, { throwIfNoEntry: false })?.isSocket())
        throw new UsageError(`${where} is no socket, and stays as it is: name another path by --control`);
      const message = `${name} runs already, and listens at ${where}: give this one another --name`;
      throw Object.assign(new Error(message), { code });
    }
  }

  #upgrading() {
    const { directory, env } = this.#started;
    const { Upgrade } = require('./upgrade');
    this.#upgrade ??= new Upgrade({
      cluster,
      supervisor: this.#running(),
      env,
      directory,
      controlPath: this.#controlPath,
      release: () => this.#release(),
      leave: () => this.#leave(),
      exit: () => process.exit(),
    });
    return this.#upgrade;
  }

  /** What others know this process by is another one's, or nobody's. */
  #release() {
    this.#control?.close();
    this.#control = undefined;
    this.#pidFile.remove();
  }

  /** Another process serves. */
  async #leave() {
    const { workers } = this.#running().status();
    this.#output.say(`another process serves: ${workers.length} workers finish what they have begun`);
    await this.#running().stop();
  }

  /** @returns {any} the supervisor */
  #running() {
    if (this.#supervisor === undefined) throw new Error('the program is about to start');
    return this.#supervisor;
  }

  #handleSignals() {
    const hadTerminal = hasTerminal();
    const stop = () => {
      const isStopping = this.#supervisor.status().state === 'stopping';
      // Whoever finishes what he has begun because of an upgrade has not been told to.
      const now = this.#isTold || (isStopping && !this.#upgrade?.hasYielded);
      this.#isTold = true;
      this.#stop(now);
    };
    const scale = (/** @type {number} */ by) => {
      const { size } = this.#supervisor.status();
      this.#supervisor.scale(Math.max(size + by, 1));
    };
    handleSignals({
      SIGTERM: stop,
      SIGINT: stop,
      // What some images stop with.
      SIGQUIT: stop,
      SIGHUP: () => {
        if (hadTerminal && !hasTerminal()) stop();
        // Its failure has been said.
        else this.#reload().catch(() => {});
      },
      SIGUSR2: () => void this.#upgradeUnasked(),
      SIGTTIN: () => scale(1),
      SIGTTOU: () => scale(-1),
      ...(process.pid === 1 ? passing() : {}),
    });
  }

  async #upgradeUnasked() {
    try {
      await this.#upgrading().begin();
    } catch (error) {
      this.#output.say(/** @type {Error} */ (error).message);
    }
  }

  /** What the config file says counts from a reload's turn on. */
  #reload() {
    return this.#reloads.take();
  }

  /** @param {() => void} isOver what comes of it is certain: all workers have been replaced */
  async #reloadInTurn(isOver) {
    const before = this.#config;
    try {
      await this.#readAgain();
      const { result, replaced } = this.#replaceAll();
      await Promise.race([result, replaced]);
      if (this.#config.workers !== before.workers) this.#supervisor.scale(this.#size());
      isOver();
      return await result;
    } catch (error) {
      this.#config = before;
      cluster.setupPrimary({ args: before.args, execArgv: this.#execArgv() });
      if (error instanceof UsageError) this.#output.say(error.message);
      throw error;
    }
  }

  async #readAgain() {
    const { config } = await this.#readConfig();
    const before = this.#config;
    const isNew = (/** @type {string} */ key) => JSON.stringify(config[key]) !== JSON.stringify(before[key]);
    const changed = [...new Set([...Object.keys(config), ...Object.keys(before)])].filter(isNew);
    for (const key of changed.filter((one) => !READ_AGAIN.includes(one))) {
      this.#output.say(`${key} has changed: that takes effect when the program is started anew`);
    }
    this.#config = { ...before, ...Object.fromEntries(READ_AGAIN.map((key) => [key, config[key]])) };
    cluster.setupPrimary({ args: this.#config.args, execArgv: this.#execArgv() });
  }

  /** `replaced`: the new ones serve, while the old ones may still finish what they have begun. */
  #replaceAll() {
    const supervisor = this.#supervisor;
    let onProgress = (/** @type {any} */ _progress) => {};
    const replaced = new Promise((resolve) => {
      onProgress = ({ done, total }) => {
        if (done >= total) resolve(undefined);
      };
    });
    supervisor.on('reloading', onProgress);
    const result = supervisor.reload().finally(() => supervisor.removeListener('reloading', onProgress));
    return { result, replaced };
  }

  /** @param {boolean} now */
  async #stop(now) {
    await this.#upgrade?.stop();
    await (now ? this.#running().kill() : this.#running().stop());
    // Whoever has asked for it over the control socket gets the answer first.
    setTimeout(() => {
      this.#release();
      process.exit();
    }, EXIT_AFTER);
  }
}

/** @returns {string} where this process was started, by the path that a shell shows: a symbolic link in it may lead elsewhere by now */
function startDirectory() {
  const real = process.cwd();
  const { PWD: shown } = process.env;
  try {
    return shown && path.isAbsolute(shown) && fs.realpathSync(shown) === real ? shown : real;
  } catch {
    // It leads nowhere: it is of another time.
    return real;
  }
}

/** Reads what only an upgrade, a reload or a look at a worker needs. By then another version's files may be where this one's are now. */
function loadTheRest() {
  for (const name of LATER) require(name);
}

/** @returns {boolean} whether what this process writes may have colours. To ask the stream would be to open it. */
function hasColours() {
  return isatty(1) && process.env.NO_COLOR === undefined;
}

/** Signals that the program may listen for, and that process 1 of a container alone gets. */
function passing() {
  const pass = (/** @type {NodeJS.Signals} */ signal) => () => {
    for (const worker of Object.values(cluster.workers)) /** @type {any} */ (worker).process.kill(signal);
  };
  return { SIGCONT: pass('SIGCONT'), SIGWINCH: pass('SIGWINCH') };
}

/** What is written to a terminal that has gone, or to a reader that has, is lost, and no reason to end without the workers. */
function surviveLostTerminal() {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
}

module.exports = { run };
