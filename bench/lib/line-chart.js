'use strict';

// Lines over a logarithmic axis as an SVG picture that needs nothing else, and that can be read on light and on dark pages:
// it brings its own ground, and follows the reader's choice of colors.

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {{ x: number, y: number }[]} points by ascending x
 * @property {string} color the name of one below
 * @property {boolean} [dashed]
 */

/**
 * @typedef {object} Chart
 * @property {string} title
 * @property {string} subtitle
 * @property {string} xLabel
 * @property {string} yLabel
 * @property {string} description for those who hear the picture
 * @property {Line[]} lines
 */

/** Each on white and on near black; told apart also by those who see few colors, and named at the line's end. */
const COLORS = /** @type {Record<string, { light: string, dark: string }>} */ ({
  blue: { light: '#0969da', dark: '#58a6ff' },
  orange: { light: '#bc4c00', dark: '#f0883e' },
  green: { light: '#1a7f37', dark: '#3fb950' },
  purple: { light: '#8250df', dark: '#bc8cff' },
  pink: { light: '#bf3989', dark: '#f778ba' },
  yellow: { light: '#9a6700', dark: '#d29922' },
  gray: { light: '#57606a', dark: '#9198a1' },
});
const PAGE = {
  ground: { light: '#ffffff', dark: '#0d1117' },
  text: { light: '#1f2328', dark: '#f0f6fc' },
  faint: { light: '#59636e', dark: '#9198a1' },
  grid: { light: '#d1d9e0', dark: '#3d444d' },
};

const WIDTH = 760;
const HEIGHT = 420;
/** Where the lines are; the labels of the lines stand on the right. */
const PLOT = { left: 62, right: 560, top: 88, bottom: 362 };
const LABEL_HEIGHT = 17;

/** @param {string} text */
function escapeText(text) {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}

/** @param {number} least @param {number} most @returns {number[]} 1, 2, 5, 10 ... from at most the one to at least the other */
function logarithmicTicks(least, most) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
    ticks.push(...[1, 2, 5].map((digit) => Number((digit * 10 ** power).toPrecision(1))));
  }
  const first = ticks.findLastIndex((tick) => tick <= least);
  const last = ticks.findIndex((tick) => tick >= most);
  return ticks.slice(first, last + 1);
}

/**
 * Where labels stand that should stand at `wanted`, and must not cover each other.
 * @param {number[]} wanted
 */
function spread(wanted) {
  const order = [...wanted.keys()].sort((a, b) => wanted[a] - wanted[b]);
  const places = [...wanted];
  // Downwards as far as needed, then upwards from the bottom, should they have left the picture.
  let next = -Infinity;
  for (const i of order) {
    places[i] = Math.max(places[i], next);
    next = places[i] + LABEL_HEIGHT;
  }
  let last = PLOT.bottom;
  for (const i of order.reverse()) {
    places[i] = Math.min(places[i], last);
    last = places[i] - LABEL_HEIGHT;
  }
  return places;
}

/** @param {'light' | 'dark'} scheme */
function colorRules(scheme) {
  const { ground, text, faint, grid } = PAGE;
  return [
    `.ground { fill: ${ground[scheme]} }`,
    `.text { fill: ${text[scheme]} }`,
    `.faint { fill: ${faint[scheme]} }`,
    `.grid { stroke: ${grid[scheme]} }`,
    ...Object.entries(COLORS).flatMap(([name, color]) => [
      `.line-${name} { stroke: ${color[scheme]} }`,
      `.fill-${name} { fill: ${color[scheme]} }`,
    ]),
  ].join('\n    ');
}

/**
 * @param {Chart} chart
 * @returns {string} SVG
 */
function lineChart({ title, subtitle, xLabel, yLabel, description, lines }) {
  const all = lines.flatMap(({ points }) => points);
  const xs = [...new Set(all.map(({ x }) => x))].sort((a, b) => a - b);
  const yTicks = logarithmicTicks(Math.min(...all.map(({ y }) => y)), Math.max(...all.map(({ y }) => y)));
  const [low, high] = [yTicks[0], yTicks[yTicks.length - 1]].map(Math.log);
  const [first, last] = [xs[0], xs[xs.length - 1]];
  const atX = (/** @type {number} */ x) =>
    round(PLOT.left + ((x - first) / (last - first || 1)) * (PLOT.right - PLOT.left));
  const atY = (/** @type {number} */ y) =>
    round(PLOT.bottom - ((Math.log(y) - low) / (high - low || 1)) * (PLOT.bottom - PLOT.top));

  const grid = yTicks.map(
    (tick) =>
      `<path class="grid" d="M${PLOT.left} ${atY(tick)}H${PLOT.right}"/>` +
      `<text class="faint" x="${PLOT.left - 8}" y="${atY(tick) + 4}" text-anchor="end">${tick}</text>`,
  );
  const axis = xs.map(
    (x) =>
      `<text class="faint" x="${atX(x)}" y="${PLOT.bottom + 20}" text-anchor="middle">${round(x)}</text>`,
  );
  const places = spread(lines.map(({ points }) => atY(points[points.length - 1].y)));
  const drawn = lines.flatMap(({ label, points, color, dashed }, i) => {
    const path = points.map(({ x, y }) => `${atX(x)} ${atY(y)}`).join('L');
    const dash = dashed ? ' stroke-dasharray="6 4"' : '';
    const dots = dashed
      ? []
      : points.map(({ x, y }) => `<circle class="fill-${color}" cx="${atX(x)}" cy="${atY(y)}" r="3"/>`);
    return [
      `<path class="line line-${color}" d="M${path}"${dash}/>`,
      ...dots,
      `<text class="fill-${color}" x="${PLOT.right + 10}" y="${round(places[i] + 4)}">${escapeText(label)}</text>`,
    ];
  });

  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="title description">
  <title id="title">${escapeText(title)}</title>
  <desc id="description">${escapeText(description)}</desc>
  <style>
    text { font-family: system-ui, -apple-system, 'Segoe UI', sans-serif; font-size: 13px }
    .title { font-size: 16px; font-weight: 600 }
    .grid { stroke-width: 1 }
    .line { fill: none; stroke-width: 2; stroke-linejoin: round }
    ${colorRules('light')}
    @media (prefers-color-scheme: dark) {
    ${colorRules('dark')}
    }
  </style>
  <rect class="ground" width="${WIDTH}" height="${HEIGHT}" rx="6"/>
  <text class="text title" x="16" y="27">${escapeText(title)}</text>
  <text class="faint" x="16" y="47">${escapeText(subtitle)}</text>
  <text class="faint" x="16" y="${PLOT.top - 16}">${escapeText(yLabel)}</text>
  ${[...grid, ...axis, ...drawn].join('\n  ')}
  <text class="faint" x="${(PLOT.left + PLOT.right) / 2}" y="${PLOT.bottom + 42}" text-anchor="middle">${escapeText(xLabel)}</text>
</svg>
`;
}

module.exports = { lineChart };
