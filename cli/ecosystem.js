'use strict';

// pm2's ecosystem file: what corral has as well is taken over, and of the rest the user is told.

const { UsageError } = require('./usage-error');

/** What means the same, by pm2's names. @type {Record<string, string>} */
const SAME = {
  name: 'name',
  script: 'script',
  cwd: 'cwd',
  env: 'env',
  max_memory_restart: 'maxMemory',
  listen_timeout: 'readyTimeout',
  min_uptime: 'minUptime',
  kill_timeout: 'drain',
  cron_restart: 'recycleAt',
};

/** What is so anyway, with the values for which that holds. @type {Record<string, (value: any) => boolean>} */
const ANYWAY = {
  exec_mode: (value) => value === 'cluster' || value === 'cluster_mode',
  autorestart: (value) => value === true,
  instance_var: (value) => value === 'NODE_APP_INSTANCE',
  watch: (value) => value === false,
  merge_logs: () => true,
};

/** @param {any} content @returns {boolean} */
function isEcosystem(content) {
  return Array.isArray(content?.apps);
}

/**
 * @param {{ apps: any[] }} content
 * @param {string | undefined} only
 * @param {string} where
 * @returns {{ settings: Record<string, any>, notes: string[] }}
 */
function fromEcosystem({ apps }, only, where) {
  const names = apps.map(({ name }) => name).join(', ');
  const app = only === undefined && apps.length === 1 ? apps[0] : apps.find(({ name }) => name === only);
  if (app === undefined) {
    throw new UsageError(
      only === undefined
        ? `${where} has several programs: choose one by --only (${names})`
        : `${where} has no program ${only}, but ${names}`,
    );
  }
  /** @type {Record<string, any>} */
  const settings = {};
  const notes = [];
  for (const [key, value] of Object.entries(app)) {
    if (SAME[key] !== undefined) settings[SAME[key]] = value;
    else if (key === 'args') settings.args = wordsOf(value);
    else if (key === 'node_args' || key === 'interpreter_args') settings.nodeArgs = wordsOf(value);
    else if (key === 'instances') settings.workers = instancesOf(value);
    else if (key === 'wait_ready') settings.ready = value ? 'message' : 'listening';
    else if (!ANYWAY[key]?.(value)) notes.push(`${where}: ${key} is not taken over`);
  }
  return { settings, notes };
}

/** @param {any} value a text, or a list */
function wordsOf(value) {
  return typeof value === 'string' ? value.split(/\s+/).filter((word) => word !== '') : value;
}

/** @param {any} value pm2 has 0 and 'max' for all processors, and -1 for one less */
function instancesOf(value) {
  const isAll = value === 'max' || Number(value) === 0;
  if (isAll) return 'max';
  const count = Number(value);
  return count < 0 ? Math.max(1, require('./cores').cores() + count) : value;
}

module.exports = { fromEcosystem, isEcosystem };
