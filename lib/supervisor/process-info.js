'use strict';

// What Linux shows of a process. Elsewhere, and of one that has ended, nothing.

const fs = require('node:fs');

const canTell = fs.existsSync('/proc/self/status');

/**
 * @param {number | undefined} pid
 * @returns {{ rss: number, isHeld: boolean } | undefined} its memory in bytes, and whether it is stopped or being traced
 */
function processInfo(pid) {
  if (!canTell || pid === undefined) return undefined;
  let text;
  try {
    text = fs.readFileSync(`/proc/${pid}/status`, 'latin1');
  } catch {
    // It has ended.
    return undefined;
  }
  const rss = /^VmRSS:\s+(\d+) kB$/m.exec(text);
  // A zombie has no memory.
  if (rss === null) return undefined;
  const isStopped = /^State:\s+[Tt]/m.test(text);
  const isTraced = /^TracerPid:\s+[1-9]/m.test(text);
  return { rss: Number(rss[1]) * 1024, isHeld: isStopped || isTraced };
}

module.exports = { canTell, processInfo };
