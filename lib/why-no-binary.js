'use strict';

// Why the binding could not be loaded, for who installed corral: what is missing, or what the system said of what is
// there, and what to do. The core loads it only then.

const fs = require('node:fs');
const path = require('node:path');

const { optionalDependencies = {} } = /** @type {{ optionalDependencies?: Record<string, string> }} */ (
  require('../package.json')
);

const directory = path.dirname(__dirname);

/** The version of glibc that runs this process; undefined on musl, and where there is neither. */
function glibcVersion() {
  const report = /** @type {any} */ (process.report);
  // It would look up the names of all peers of this process's sockets.
  const { excludeNetwork } = report;
  report.excludeNetwork = true;
  const { header } = report.getReport();
  report.excludeNetwork = excludeNetwork;
  return /** @type {string | undefined} */ (header.glibcVersionRuntime);
}

/** As the files and packages are named: linux-x64-gnu. */
function ownPlatform() {
  const base = `${process.platform}-${process.arch}`;
  if (process.platform !== 'linux') return base;
  return `${base}-${glibcVersion() === undefined ? 'musl' : 'gnu'}`;
}

/**
 * The generated loader tries a file beside it and then the platform's package, and throws one error whose chain of
 * causes has the result of each try. All tries but one are expected to find nothing. The user has to know everything else: a file
 * that dlopen refuses, a wrong version.
 *
 * @param {unknown} error
 * @param {string} [addon] its name
 * @returns {string}
 */
function whyNoBinary(error, addon = 'corral') {
  const platform = ownPlatform();
  const faults = messages(error).filter((message) => !/^Cannot find (module|native binding)/.test(message));
  if (faults.length === 0) return whyMissing(platform, addon);
  const texts = faults.map((fault) => `${fault}${hint(fault)}`);
  return `the binary for ${platform} cannot be loaded: ${texts.join('; ')}`;
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

/**
 * @param {string} message of dlopen
 * @returns {string} what it comes from, in brackets, where that can be told
 */
function hint(message) {
  const needed = /version `GLIBC_([\d.]+)' not found/.exec(message)?.[1];
  const version = glibcVersion();
  if (needed !== undefined) return ` (it needs glibc ${needed} or newer, and this system has ${version})`;
  if (/libc\.musl-/.test(message)) return ' (it is for musl, and this Node runs on glibc)';
  if (version === undefined && /ld-linux|Error relocating|GLIBC/.test(message)) {
    return ' (it is for glibc, and this Node runs on musl)';
  }
  return '';
}

/**
 * @param {string} platform
 * @param {string} addon
 * @returns {string}
 */
function whyMissing(platform, addon) {
  const override = process.env.NAPI_RS_NATIVE_LIBRARY_PATH;
  // The generated loader's alone: lib/addon.js knows no such variable.
  if (override && addon === 'corral')
    return `NAPI_RS_NATIVE_LIBRARY_PATH is set, and ${override} does not exist`;
  const carried = fs.readdirSync(directory).map((name) => name.split('.'));
  const others = carried
    .filter(([name, , end]) => name === addon && end === 'node')
    .map(([, other]) => other);
  if (others.length > 0) {
    return (
      `this copy of corral has the binary for ${others.join(', ')}, and this is ${platform}: ` +
      'make one on this platform with `npm run pack` in a clone of corral'
    );
  }
  if (Object.keys(optionalDependencies).length > 0) return whyNotInstalled(platform);
  if (fs.existsSync(path.join(directory, 'Cargo.toml'))) {
    return `the binary for ${platform} is not built: run \`npm run build\` in ${directory}`;
  }
  return (
    `this copy of corral was packed without its binary for ${platform}, as with --ignore-scripts: ` +
    'allow corral to run its "prepare" script, or install a tarball that `npm run pack` has made'
  );
}

/**
 * For a published corral, whose binaries are in packages of their own.
 *
 * @param {string} platform
 * @returns {string}
 */
function whyNotInstalled(platform) {
  const name = `corral-${platform}`;
  if (!(name in optionalDependencies)) return `there is no binary for ${platform}`;
  const installed = Object.keys(optionalDependencies).filter(isInstalled);
  if (installed.length > 0) {
    return (
      `the package ${name} is not installed, but ${installed.join(', ')} is: ` +
      'node_modules was made on another system; install again on this one'
    );
  }
  return (
    `the package ${name} is not installed: optional dependencies were left out ` +
    '(--omit=optional, --no-optional), or the lock file does not have it; install again with them'
  );
}

/** @param {string} name */
function isInstalled(name) {
  try {
    require.resolve(`${name}/package.json`);
    return true;
  } catch {
    return false;
  }
}

module.exports = { ownPlatform, whyNoBinary };
