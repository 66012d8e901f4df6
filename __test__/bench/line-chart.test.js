'use strict';

// The pictures of bench/mixed-plot.js.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { lineChart } = require('../../bench/lib/line-chart');

/** @param {import('../../bench/lib/line-chart').Line[]} lines */
function draw(lines) {
  const texts = { title: 'a < b', subtitle: 's', xLabel: 'x', yLabel: 'y', description: 'd' };
  return lineChart({ ...texts, lines });
}

/** @param {string} svg @param {string} color @returns {number[]} the heights at which lines of this color have their labels */
function labelHeights(svg, color) {
  const labels = svg.matchAll(new RegExp(`<text class="fill-${color}" x="[\\d.]+" y="([\\d.]+)"`, 'g'));
  return [...labels].map(([, y]) => Number(y));
}

test('higher values are drawn further up, later ones further right', () => {
  const svg = draw([
    {
      label: 'l',
      color: 'blue',
      points: [
        { x: 20, y: 1 },
        { x: 80, y: 90 },
      ],
    },
  ]);
  const [, x1, y1, x2, y2] = /d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"/.exec(svg) ?? [];
  assert.ok(Number(x2) > Number(x1) && Number(y2) < Number(y1), svg);
  for (const tick of [1, 2, 5, 10, 20, 50, 100]) assert.match(svg, new RegExp(`>${tick}</text>`));
});

test('labels of lines that end at one place stand one below the other, inside the picture', () => {
  const lines = Array.from({ length: 6 }, (_, i) => ({
    label: `line ${i}`,
    color: 'blue',
    points: [
      { x: 1, y: 100 },
      { x: 2, y: 1 + i / 1000 },
    ],
  }));
  const heights = labelHeights(draw(lines), 'blue').sort((a, b) => a - b);
  assert.equal(heights.length, 6);
  for (let i = 1; i < heights.length; i++) assert.ok(heights[i] - heights[i - 1] >= 16.9, `${heights}`);
  assert.ok(heights[5] < 420);
});

test('one load alone, and one value alone, can be drawn', () => {
  const svg = draw([{ label: 'l', color: 'gray', points: [{ x: 60, y: 5 }] }]);
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
});

test('what is a character of markup in a label is text', () => {
  const svg = draw([{ label: '{"a": 1} & <b>', color: 'gray', points: [{ x: 1, y: 5 }] }]);
  assert.match(svg, /<title id="title">a &#60; b<\/title>/);
  assert.ok(svg.includes('{&#34;a&#34;: 1} &#38; &#60;b&#62;'), svg);
});
