'use strict';

// How many workers a machine or a container has processors for: those that this process may run on, and no more than its control groups
// have the time of.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

/**
 * @param {string} file
 * @returns {string | undefined}
 */
function read(file) {
  try {
    return fs.readFileSync(file, 'utf8').trim();
  } catch {
    // There is no such group, or it is not for us to see.
    return undefined;
  }
}

/**
 * @param {string} quota
 * @param {string} period
 * @returns {number} processors
 */
function share(quota, period) {
  const processors = Number(quota) / Number(period);
  return processors > 0 ? processors : Number.POSITIVE_INFINITY;
}

/** @param {string} directory of a group of version 2 */
function shareOfV2(directory) {
  const [quota, period] = (read(path.join(directory, 'cpu.max')) ?? 'max').split(' ');
  return quota === 'max' ? Number.POSITIVE_INFINITY : share(quota, period);
}

/** @param {string} directory of a group of version 1 */
function shareOfV1(directory) {
  const quota = read(path.join(directory, 'cpu.cfs_quota_us')) ?? '-1';
  return share(quota, read(path.join(directory, 'cpu.cfs_period_us')) ?? '1');
}

/**
 * @param {string} mount where the groups are
 * @param {string} group whose path there is not seen from within every container
 * @param {(directory: string) => number} shareOf
 * @returns {number} the least that the group and those above it have
 */
function leastOf(mount, group, shareOf) {
  let least = shareOf(mount);
  for (let directory = group; directory !== '/' && directory !== '.'; directory = path.dirname(directory)) {
    least = Math.min(least, shareOf(path.join(mount, directory)));
  }
  return least;
}

/**
 * @param {string} [root] of the file system
 * @returns {number} of processors, with fractions; Infinity without a limit
 */
function quota(root = '/') {
  let least = Number.POSITIVE_INFINITY;
  const mount = path.join(root, 'sys/fs/cgroup');
  for (const line of (read(path.join(root, 'proc/self/cgroup')) ?? '').split('\n')) {
    const [, controllers, group] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === '') least = Math.min(least, leastOf(mount, group, shareOfV2));
    else if (controllers?.split(',').includes('cpu')) {
      for (const name of new Set([controllers, 'cpu'])) {
        least = Math.min(least, leastOf(path.join(mount, name), group, shareOfV1));
      }
    }
  }
  return least;
}

/**
 * @param {string} [root] of the file system
 * @param {number} [affinity] how many processors this process may run on
 * @returns {number} at least 1; a part of a processor is none
 */
function cores(root = '/', affinity = os.availableParallelism()) {
  return Math.max(1, Math.min(affinity, Math.floor(quota(root))));
}

module.exports = { cores };
