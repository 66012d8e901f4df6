'use strict';

// What `corral run` is to run, and how: flags, then a config file.

const fs = require('node:fs');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

const { RANGES, SETTINGS, TYPES } = require('./settings');
const { UsageError, suggestion } = require('./usage-error');

/** The first that is there counts. */
const FILES = [
  'corral.config.js',
  'corral.config.mjs',
  'corral.config.cjs',
  'corral.config.json',
  'package.json',
];

/** An editor's, for the schema. */
const IGNORED = ['$schema'];

/**
 * @typedef {Record<string, any> & { script: string, args: string[], cwd: string, name: string }} Config
 */

/**
 * @param {string} file
 * @returns {Promise<any>} what it exports, read anew
 */
async function load(file) {
  if (path.extname(file) === '.json') return JSON.parse(fs.readFileSync(file, 'utf8'));
  // Node keeps what it has imported once, by its URL, and what it has required, by its name.
  delete require.cache[require.resolve(file)];
  const url = pathToFileURL(file);
  url.searchParams.set('at', `${fs.statSync(file).mtimeMs}-${process.hrtime.bigint()}`);
  const module = await import(url.href);
  return module.default ?? module;
}

/**
 * @param {string | undefined} file that was named
 * @param {string} directory
 * @returns {string | undefined} the one to read
 */
function find(file, directory) {
  if (file !== undefined) {
    const named = path.resolve(directory, file);
    if (!fs.existsSync(named)) throw new UsageError(`${file}: there is no such file`);
    return named;
  }
  const here = FILES.map((name) => path.join(directory, name)).filter((name) => fs.existsSync(name));
  return here.find((name) => path.basename(name) !== 'package.json' || 'corral' in packageOf(directory));
}

/** @param {string} directory @returns {any} its package.json; empty if there is none */
function packageOf(directory) {
  const file = path.join(directory, 'package.json');
  if (!fs.existsSync(file)) return {};
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    throw new UsageError(`${file}: ${/** @type {Error} */ (error).message}`);
  }
}

/**
 * @param {string | undefined} file
 * @param {string} [only] of an ecosystem file
 * @returns {Promise<{ settings: Record<string, any>, notes: string[] }>}
 */
async function readConfig(file, only = undefined) {
  if (file === undefined) return { settings: {}, notes: [] };
  const short = path.basename(file);
  let content;
  try {
    content = await load(file);
  } catch (error) {
    throw new UsageError(`${short}: ${/** @type {Error} */ (error).message}`);
  }
  if (short === 'package.json') content = content.corral;
  const { fromEcosystem, isEcosystem } = require('./ecosystem');
  if (isEcosystem(content)) {
    const { settings, notes } = fromEcosystem(content, only, short);
    return { settings: checkAll(settings, short), notes };
  }
  return { settings: checkAll(content, short), notes: [] };
}

/**
 * @param {any} content
 * @param {string} where for errors
 * @returns {Record<string, any>} as the types read it
 */
function checkAll(content, where) {
  if (content === null || typeof content !== 'object' || Array.isArray(content)) {
    throw new UsageError(`${where}: there are no settings in it`);
  }
  const keys = SETTINGS.map(({ key }) => key);
  const entries = Object.entries(content).filter(([key]) => !IGNORED.includes(key));
  return Object.fromEntries(
    entries.map(([key, value]) => {
      const setting = SETTINGS.find((one) => one.key === key);
      if (setting === undefined)
        throw new UsageError(`${where}: ${key} is not known${suggestion(key, keys)}`);
      return [key, check(setting, value, `${where}: ${key}`)];
    }),
  );
}

/**
 * @param {import('./settings').Setting} setting
 * @param {any} value
 * @param {string} where
 */
function check(setting, value, where) {
  const type = TYPES[setting.type];
  const read = type.read(value, setting);
  if (read !== undefined) return read;
  const { choices } = setting;
  const range = RANGES[setting.type]?.(setting) ?? '';
  const what = choices === undefined ? `${type.what}${range}` : choices.join(' or ');
  throw new UsageError(`${where} must be ${what}, and not ${JSON.stringify(value)}`);
}

/**
 * @param {Record<string, any>} flags as parseArguments gives them
 * @param {string[]} words
 * @param {string} directory
 * @returns {Promise<{ config: Config, notes: string[] }>}
 */
async function configOf(flags, words, directory) {
  const [first, ...rest] = words;
  // `corral run ecosystem.config.js`, as pm2 has it.
  const isConfig =
    first !== undefined && /^(ecosystem|corral)\.config\.(c|m)?js(on)?$/.test(path.basename(first));
  const file = find(isConfig ? first : flags.config, directory);
  const { settings, notes } = await readConfig(file, flags.only);
  /** @type {Record<string, any>} */
  const config = { ...settings };
  for (const setting of SETTINGS) {
    const value = setting.flag === undefined ? undefined : flags[setting.flag];
    if (value === undefined) continue;
    const read = check(setting, value, `--${setting.flag}`);
    config[setting.key] = setting.type === 'environment' ? { ...config[setting.key], ...read } : read;
  }
  if (first !== undefined && !isConfig) Object.assign(config, { script: first, args: rest });
  else if (rest.length > 0) config.args = rest;
  return { config: complete(config, directory), notes };
}

/**
 * @param {Record<string, any>} config
 * @param {string} directory
 * @returns {Config}
 */
function complete(config, directory) {
  const { main } = packageOf(directory);
  const script = config.script ?? main;
  if (script === undefined) throw new UsageError('which program? Name it, or give "script" in a config file');
  const cwd = path.resolve(directory, config.cwd ?? '.');
  if (!fs.existsSync(cwd)) throw new UsageError(`${config.cwd}: there is no such directory`);
  const file = path.resolve(cwd, script);
  const name = config.name ?? nameHere(directory);
  if (!/^[\w@.-]+$/.test(name))
    throw new UsageError(`${JSON.stringify(name)} is no name: it becomes one of a file`);
  if (!isProgram(file)) throw new UsageError(`${script}: there is no such program`);
  return { ...config, script: file, args: config.args ?? [], cwd, name };
}

/** @param {string} file which may lack the extension that Node adds */
function isProgram(file) {
  try {
    return require.resolve(file) !== '';
  } catch {
    return false;
  }
}

/** @param {string} directory @returns {string} what a program is called that nobody has named */
function nameHere(directory) {
  const { name } = packageOf(directory);
  return (typeof name === 'string' ? name : path.basename(directory)).replace(/[^\w@.-]+/g, '-');
}

module.exports = { configOf, nameHere };
