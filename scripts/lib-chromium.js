'use strict';

// Chromium, for the tests of the page of cluster.observe: what is here, or Debian's package `chromium`, which `npm test` installs where it
// may. CORRAL_CHROMIUM=program uses that one. Without any these tests are skipped, and say why.

const { spawnSync } = require('node:child_process');
const { run, Unavailable } = require('./lib-debian');

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** How long apt-get may take, in seconds. */
const LONGEST = '300';

/** @returns {string | undefined} the program that is here */
function found() {
  return NAMES.find((name) => !spawnSync(name, ['--version'], { stdio: 'ignore' }).error);
}

/** Whether this process may install a package. */
function canInstall() {
  const isRoot = process.getuid?.() === 0;
  return isRoot && !spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).error;
}

/** Sees to it that there is one, where this process may install packages. */
function provideChromium() {
  if (process.platform !== 'linux' || whyNoChromium() === false) return;
  if (!canInstall()) throw new Unavailable(whyNoChromium() || '');
  const apt = (/** @type {string} */ purpose, /** @type {string[]} */ ...words) =>
    run('timeout', [LONGEST, 'apt-get', '-o', 'DPkg::Lock::Timeout=60', ...words], purpose);
  apt('reading the lists of packages', 'update');
  apt('installing chromium', 'install', '--yes', '--no-install-recommends', 'chromium');
}

/** @returns {string | false} why there is no browser for tests */
function whyNoChromium() {
  if (process.env.CORRAL_CHROMIUM || found() !== undefined) return false;
  return `none of ${NAMES.join(', ')} is here: install one (apt-get install chromium), or say where it is with CORRAL_CHROMIUM`;
}

/** @returns {string} the program */
function chromiumProgram() {
  const name = process.env.CORRAL_CHROMIUM || found();
  if (name === undefined) throw new Unavailable(whyNoChromium() || '');
  return pathOf(name);
}

/** @param {string} name @returns {string} */
function pathOf(name) {
  return run('sh', ['-c', 'command -v -- "$1"', 'sh', name], 'looking for a browser').trim();
}

module.exports = { chromiumProgram, provideChromium, whyNoChromium };
