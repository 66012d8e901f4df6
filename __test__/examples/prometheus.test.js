'use strict';

// examples/prometheus: the alerts come when they are to come, and what is asked for is there.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');

const { prometheusProgram } = require('../../scripts/lib-prometheus');

const root = path.join(__dirname, '../..');
const example = path.join(root, 'examples', 'prometheus');
const options = { skip: process.platform !== 'linux' && 'for Linux', timeout: 300_000 };

/** @param {string} directory @param {...string} args */
function promtool(directory, ...args) {
  return execFileSync(prometheusProgram('promtool'), args, { cwd: directory, encoding: 'utf8' });
}

/** @param {import('node:test').TestContext} t */
function scratch(t) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-prometheus-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

/** @returns {string[]} the queries of the dashboard */
function queries() {
  const { panels } = JSON.parse(fs.readFileSync(path.join(example, 'dashboard.json'), 'utf8'));
  return panels.flatMap((/** @type {any} */ { targets = [] }) =>
    targets.map((/** @type {any} */ t) => t.expr),
  );
}

test('the alerts of examples/prometheus come when they are to come, and at no other time', options, (t) => {
  const directory = scratch(t);
  fs.copyFileSync(path.join(example, 'alerts.yml'), path.join(directory, 'alerts.yml'));
  const tests = path.join(__dirname, '../fixtures/prometheus/alerts-test.yml');
  fs.copyFileSync(tests, path.join(directory, 'alerts-test.yml'));
  promtool(directory, 'check', 'rules', 'alerts.yml');
  promtool(directory, 'test', 'rules', 'alerts-test.yml');
});

test('the dashboard of examples/prometheus asks what Prometheus can answer', options, (t) => {
  const directory = scratch(t);
  // A rule, so that it is read as a query. Grafana fills in the variables.
  const rules = queries().map((query, index) => ({
    record: `q${index}`,
    expr: query.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*'),
  }));
  assert.ok(rules.length > 20);
  // YAML has JSON in it.
  fs.writeFileSync(path.join(directory, 'rules.yml'), JSON.stringify({ groups: [{ name: 'q', rules }] }));
  promtool(directory, 'check', 'rules', 'rules.yml');
});

test('examples/prometheus names no metric that docs/observing.md does not have', () => {
  const documented = fs.readFileSync(path.join(root, 'docs/observing.md'), 'utf8');
  const texts = [...queries(), fs.readFileSync(path.join(example, 'alerts.yml'), 'utf8')].join('\n');
  const names = new Set(texts.match(/\bcorral_\w+/g));
  assert.ok(names.size > 20);
  const isThere = (/** @type {string} */ name) =>
    documented.includes(`| \`${name}\` |`) ||
    (/_bucket$/.test(name) && documented.includes(`| \`${name.replace(/_bucket$/, '')}\` |`));
  assert.deepEqual(
    [...names].filter((name) => !isThere(name)),
    [],
  );
});
