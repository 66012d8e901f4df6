'use strict';

// Writes docs/status.svg: what `corral status` prints of a program that runs, on a terminal.
//
//   node scripts/status-picture.js

const { execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');

const root = path.dirname(__dirname);
const CORRAL = path.join(root, 'cli/corral.js');

/** In pixels: of a character, of a line, and around all. */
const WIDTH = 8.4;
const HEIGHT = 20;
const MARGIN = 16;

/** By their numbers in ANSI's sequences. @type {Record<string, string>} */
const COLOURS = { 31: '#ff7b72', 32: '#7ee787', 33: '#e3b341', 36: '#79c0ff' };

const APP = `
  const http = require('node:http');
  http.createServer((request, response) => response.end('Hello!')).listen(0, '127.0.0.1');
`;

/** What sets a colour: the whole, and its number. */
const SEQUENCE = new RegExp(`(${String.fromCharCode(27)}\\[\\d+m)`);
const NUMBER = /\[(\d+)m$/;

/** How long there are requests before the picture is taken, in milliseconds. */
const LOAD_FOR = 4_000;

/**
 * @param {string} text with ANSI's sequences for colours
 * @returns {string}
 */
function svgOf(text) {
  const lines = text.trimEnd().split('\n');
  const plain = lines.map((line) => line.split(SEQUENCE).filter((piece) => !SEQUENCE.test(piece)));
  const longest = Math.max(...plain.map((pieces) => pieces.join('').length));
  const width = Math.ceil(longest * WIDTH + 2 * MARGIN);
  const height = lines.length * HEIGHT + 2 * MARGIN;
  const rows = lines.map((line, index) => {
    const y = MARGIN + (index + 0.75) * HEIGHT;
    let colour = '';
    const spans = line.split(SEQUENCE).map((piece) => {
      const [, number] = (SEQUENCE.test(piece) ? NUMBER.exec(piece) : null) ?? [];
      if (number === undefined) return piece === '' ? '' : `<tspan${colour}>${escaped(piece)}</tspan>`;
      colour = COLOURS[number] === undefined ? '' : ` fill="${COLOURS[number]}"`;
      return '';
    });
    return `  <text x="${MARGIN}" y="${y}" xml:space="preserve">${spans.join('')}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
  <title>What corral status prints</title>
  <rect width="100%" height="100%" rx="8" fill="#0d1117"/>
  <g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14" fill="#c9d1d9">
${rows.join('\n')}
  </g>
</svg>
`;
}

/** @param {string} text */
function escaped(text) {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
}

async function main() {
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-picture-'));
  const cwd = path.join(scratch, 'my-app');
  fs.mkdirSync(cwd);
  fs.writeFileSync(path.join(cwd, 'app.js'), APP);
  const env = { ...process.env, XDG_RUNTIME_DIR: scratch, FORCE_COLOR: '1' };
  const running = spawn(process.execPath, [CORRAL, 'run', '--workers', '4', 'app.js'], {
    cwd,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  try {
    let said = '';
    running.stderr.setEncoding('utf8').on('data', (piece) => {
      said += piece;
    });
    while (!/ready\n/.test(said)) await once(running.stderr, 'data');
    const port = Number(/listening at .*:(\d+)/.exec(said)?.[1]);
    const corral = (/** @type {string[]} */ ...words) =>
      execFileSync(process.execPath, [CORRAL, ...words], { cwd, env, encoding: 'utf8' });
    corral('kill', '2');
    for (const end = Date.now() + LOAD_FOR; Date.now() < end; ) {
      const [response] = await once(http.get({ port, host: '127.0.0.1', agent: false }), 'response');
      response.resume();
      await once(response, 'end');
    }
    fs.writeFileSync(path.join(root, 'docs/status.svg'), svgOf(`$ corral status\n${corral('status')}`));
    running.kill('SIGTERM');
    await once(running, 'exit');
  } finally {
    running.kill('SIGKILL');
    fs.rmSync(scratch, { recursive: true });
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
