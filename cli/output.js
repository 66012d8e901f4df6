'use strict';

// What workers write, line by line: each line is written whole, behind the number of its worker's slot or as JSON, so that those of
// several never mix. The last ones are kept for `corral logs`.

const { StringDecoder } = require('node:string_decoder');

/** How many lines are kept. */
const KEPT = 1_000;
/** And how many characters, about: what a client of the control socket takes at once, whatever JSON makes of them. */
const KEPT_CHARACTERS = 4 * 2 ** 20;
/** A line that is longer is written in parts. In characters. */
const LONGEST = 64 * 1024;

const COLOURS = [36, 33, 32, 35, 34, 31];

/** @typedef {{ time: string, slot: number | null, pid: number, stream: 'stdout' | 'stderr' | 'corral', line: string }} Line */

class Output {
  #isJson;
  #hasColours;
  /** @type {Line[]} */
  #kept = [];
  /** Of those. */
  #characters = 0;
  /** Called with each line. @type {Set<(line: Line) => void>} */
  listeners = new Set();

  /** @param {{ json: boolean, colours: boolean }} options */
  constructor({ json, colours }) {
    this.#isJson = json;
    this.#hasColours = colours;
  }

  /** @param {number} count @returns {Line[]} the last so many */
  last(count) {
    return count === 0 ? [] : this.#kept.slice(-count);
  }

  /** @param {string} line of corral itself */
  say(line) {
    this.#write({ time: now(), slot: null, pid: process.pid, stream: 'corral', line });
  }

  /**
   * @param {any} child whose stdout and stderr are pipes
   * @param {number} slot
   */
  follow(child, slot) {
    for (const stream of /** @type {const} */ (['stdout', 'stderr'])) {
      const decoder = new StringDecoder('utf8');
      let rest = '';
      const take = (/** @type {string} */ text) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        while (rest.length > LONGEST) {
          lines.push(rest.slice(0, LONGEST));
          rest = rest.slice(LONGEST);
        }
        for (const line of lines) {
          this.#write({ time: now(), slot, pid: child.pid, stream, line: line.replace(/\r$/, '') });
        }
      };
      child[stream].on('data', (/** @type {Buffer} */ piece) => take(decoder.write(piece)));
      child[stream].once('end', () => {
        take(decoder.end());
        // The last line may have no end.
        if (rest !== '') take('\n');
      });
    }
  }

  /** Those that came first, so that half as many are left as may be. */
  #forget() {
    let [first, characters] = [this.#kept.length, 0];
    while (first > 0 && this.#kept.length - first < KEPT) {
      const { length } = this.#kept[first - 1].line;
      if (characters + length > KEPT_CHARACTERS) break;
      characters += length;
      first--;
    }
    this.#kept.splice(0, first);
    this.#characters = characters;
  }

  /** @param {Line} line */
  #write(line) {
    this.#kept.push(line);
    this.#characters += line.line.length;
    if (this.#kept.length > 2 * KEPT || this.#characters > 2 * KEPT_CHARACTERS) this.#forget();
    const text = this.#isJson ? JSON.stringify(line) : textOf(line, this.#hasColours);
    (line.stream === 'stdout' ? process.stdout : process.stderr).write(`${text}\n`);
    for (const listener of this.listeners) listener(line);
  }
}

/**
 * @param {Line} line
 * @param {boolean} hasColours
 * @returns {string}
 */
function textOf({ slot, line }, hasColours) {
  const name = slot === null ? 'corral' : `${slot}`;
  if (!hasColours) return `[${name}] ${line}`;
  const colour = slot === null ? 1 : COLOURS[slot % COLOURS.length];
  return `\x1b[${colour}m[${name}]\x1b[0m ${line}`;
}

function now() {
  return new Date().toISOString();
}

module.exports = { KEPT, KEPT_CHARACTERS, Output, textOf };
