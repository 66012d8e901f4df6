'use strict';

// Prometheus and promtool, from Debian's package `prometheus` (bookworm's: in newer ones promtool is not there). It is fetched
// once; CORRAL_PROMETHEUS=directory uses the programs that are there instead.

const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');
const { download, needCommand, run, Unavailable } = require('./lib-debian');

const SUITE = 'bookworm';
const PROGRAMS = ['prometheus', 'promtool'];
const CACHE = path.join(path.dirname(__dirname), '.cache', 'prometheus');

/**
 * @param {'prometheus' | 'promtool'} name
 * @returns {string} the program
 */
function prometheusProgram(name) {
  const given = process.env.CORRAL_PROMETHEUS;
  if (given) {
    const file = path.join(path.resolve(given), name);
    if (!fs.existsSync(file)) throw new Unavailable(`CORRAL_PROMETHEUS=${given} has no ${name}`);
    return file;
  }
  if (!spawnSync(name, ['--version'], { stdio: 'ignore' }).error) return name;
  const cached = path.join(CACHE, name);
  if (!fs.existsSync(cached)) fetchPrograms();
  return cached;
}

function fetchPrograms() {
  needCommand('dpkg-deb', 'it unpacks packages (Debian: dpkg)');
  download({ type: 'deb', suite: SUITE, what: ['download', 'prometheus'] }, (work) => {
    const archive = fs.readdirSync(work).find((name) => /^prometheus_.*\.deb$/.test(name));
    if (!archive) throw new Unavailable('apt-get downloaded no prometheus_*.deb');
    run('dpkg-deb', ['--extract', archive, 'files'], 'unpacking', work);
    // Unpacked beside its place and then renamed: an interrupted run never looks like a complete one.
    fs.mkdirSync(CACHE, { recursive: true });
    for (const name of PROGRAMS) {
      const partial = path.join(CACHE, `${name}.${process.pid}`);
      fs.copyFileSync(path.join(work, 'files', 'usr', 'bin', name), partial);
      fs.renameSync(partial, path.join(CACHE, name));
    }
  });
}

module.exports = { prometheusProgram, Unavailable };
