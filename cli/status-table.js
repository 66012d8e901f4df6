'use strict';

// `corral status` for people.

const COLOURS = /** @type {Record<string, number>} */ ({
  starting: 33,
  ready: 32,
  draining: 36,
  stopping: 31,
});

const HEADS = ['SLOT', 'PID', 'STATE', 'GEN', 'UPTIME', 'MEMORY', 'CONNECTIONS'];

/**
 * @param {number} milliseconds
 * @returns {string} in its two largest units
 */
function span(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([count]) => Number(count) > 0);
  if (first < 0) return '0s';
  return parts
    .slice(first, first + 2)
    .map(([count, unit]) => `${count}${unit}`)
    .join('');
}

/** @param {number | null} bytes */
function memory(bytes) {
  return bytes === null ? '-' : `${Math.round(bytes / 2 ** 20)} MiB`;
}

/**
 * @param {any} status
 * @param {boolean} hasColours
 * @returns {string}
 */
function statusTable(status, hasColours) {
  const { name, pid, state, size, uptime, restarts, workers, reload, lastReload } = status;
  const rows = [...workers]
    .sort((a, b) => a.slot - b.slot || a.generation - b.generation)
    .map((worker) => [
      `${worker.slot}`,
      `${worker.pid ?? '-'}`,
      worker.isStalled ? `${worker.state}, blocked` : worker.state,
      `${worker.generation}`,
      span(worker.uptime),
      memory(worker.rss),
      `${worker.connections ?? '-'}`,
    ]);
  const widths = HEADS.map((head, index) => Math.max(head.length, ...rows.map((row) => row[index].length)));
  const lines = [HEADS, ...rows].map((row, at) =>
    row
      .map((cell, index) => {
        const padded = index === row.length - 1 ? cell : cell.padEnd(widths[index]);
        const colour = at > 0 && HEADS[index] === 'STATE' ? COLOURS[cell.split(',')[0]] : undefined;
        return hasColours && colour !== undefined ? `\x1b[${colour}m${padded}\x1b[0m` : padded;
      })
      .join('  '),
  );
  const progress = reload === null ? '' : `, ${reload.done} of ${reload.total} replaced`;
  const counted = (/** @type {number} */ count, /** @type {string} */ what) =>
    `${count} ${what}${count === 1 ? '' : 's'}`;
  const counts = `${counted(size, 'worker')}, up ${span(uptime)}, ${counted(restarts, 'restart')}`;
  const head = `${name} (${pid}): ${state}${progress}, ${counts}`;
  const tail = lastReload?.error === undefined ? [] : ['', `The last reload failed: ${lastReload.error}`];
  return [head, '', ...lines, ...tail].join('\n');
}

module.exports = { span, statusTable };
