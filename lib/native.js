'use strict';

// The native binding, or why there is none. Nothing here throws: a program that runs on the built-in cluster must
// also run where corral's binary is missing or broken.

/** '0' in this variable of the environment turns the binding off. */
const VARIABLE = 'CORRAL_NATIVE';

/**
 * Where corral has a binary, as `process.platform` and `process.arch` say it; package.json lists the same as
 * triples. The generated loader would look for packages of ours that do not exist on any other platform.
 */
const PLATFORMS = ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'];

const platform = `${process.platform}-${process.arch}`;

/**
 * @typedef {typeof import('../binding')} Binding
 * @typedef {{ native: Binding | undefined, reason: string }} Loaded why there is none; empty if there is one
 */

/** @returns {Loaded} */
function load() {
  if (process.env[VARIABLE] === '0') return unavailable(`${VARIABLE}=0 is set`);
  if (!PLATFORMS.includes(platform)) return unavailable(`there is no binary for ${platform}`);
  try {
    return { native: require('../binding'), reason: '' };
  } catch (error) {
    return unavailable(explain(error));
  }
}

/**
 * @param {string} reason
 * @returns {Loaded}
 */
function unavailable(reason) {
  return { native: undefined, reason };
}

/**
 * The generated loader tries a file beside it and then the platform's package, and throws one error whose chain of
 * causes has the result of each try. All tries but one are expected to find nothing. The user has to know everything else: a file
 * that dlopen refuses, a wrong version.
 *
 * @param {unknown} error
 */
function explain(error) {
  const faults = messages(error).filter((message) => !/^Cannot find (module|native binding)/.test(message));
  if (faults.length > 0) return `the binary for ${platform} cannot be loaded: ${faults.join('; ')}`;
  return (
    `the binary for ${platform} is not installed: install again without --omit=optional, ` +
    'or run `npm run build` in a checkout of corral'
  );
}

/**
 * The messages of an error and its causes; of each its first line, as the rest is Node's require stack.
 *
 * @param {unknown} error
 */
function messages(error) {
  const found = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    found.push(cause.message.split('\n')[0]);
  return found;
}

module.exports = load();
