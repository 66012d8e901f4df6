'use strict';

// The page of cluster.observe as a file. What it does in a browser is in cluster/observe/page.js.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { test } = require('node:test');
const zlib = require('node:zlib');

const { PAGE, bundle } = require('../scripts/page');

test('observe/page.html is what observe/page/ makes, small, and complete', async () => {
  const page = fs.readFileSync(PAGE, 'utf8');
  assert.ok(page === (await bundle()), 'run `npm run page`');
  assert.ok(zlib.gzipSync(page).length < 100 * 1024);
  // The license of what it carries is there, and nothing is loaded from elsewhere.
  assert.match(page, /<!-- uPlot, .*\nThe MIT License/);
  assert.doesNotMatch(page, /(src|href)="?https?:/);
});
