// The workers, their blocks and their ends, as tables and lists.

import { colorOf } from './charts.mjs';

/** Columns of the table of workers. */
const [UTILIZATION, BLOCKED, PROFILE] = [5, 7, 8];

/** How many of each list are shown. */
const MAX_SHOWN = 50;

/** @typedef {import('./history.mjs').Worker} Worker */
/** @typedef {import('./history.mjs').Moment} Moment */

/**
 * @typedef {object} Block as /blocks has it
 * @property {number} id
 * @property {number} worker
 * @property {number} since
 * @property {number | null} duration
 * @property {{ function: string, file: string, line: number, column: number }[] | null} stack
 * @property {boolean} isLate
 * @property {string} activity
 */

/**
 * @param {string} tag
 * @param {string} [text]
 * @param {string} [className]
 */
function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** @param {number} seconds */
export function span(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** @param {number} bytes */
export function size(bytes) {
  return bytes < 1 << 30 ? `${Math.round(bytes / (1 << 20))} MiB` : `${(bytes / (1 << 30)).toFixed(1)} GiB`;
}

/** @param {number} value */
export function count(value) {
  return value < 10 && value % 1 !== 0 ? value.toFixed(1) : Math.round(value).toLocaleString('en');
}

/** @param {number} part */
export function percent(part) {
  return `${Math.round(part * 100)} %`;
}

/** @param {Record<string, number>} restarts by how workers have ended that had the place before */
function restartsText(restarts) {
  const parts = Object.entries(restarts);
  if (parts.length === 0) return '0';
  const total = parts.reduce((sum, [, times]) => sum + times, 0);
  return `${total}: ${parts.map(([how, times]) => (times === 1 ? how : `${times} × ${how}`)).join(', ')}`;
}

export class WorkerTable {
  #body;
  #onProfile;
  /** @type {Map<number, HTMLTableRowElement>} */
  #rows = new Map();

  /**
   * @param {HTMLElement} body
   * @param {(worker: number) => void} onProfile
   */
  constructor(body, onProfile) {
    this.#body = body;
    this.#onProfile = onProfile;
  }

  /**
   * @param {Worker[]} workers
   * @param {Map<number, Moment[]>} moments
   */
  show(workers, moments) {
    for (const worker of workers) this.#showOne(worker, moments.get(worker.id) ?? []);
    const ids = new Set(workers.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
  }

  /** @param {Worker} worker @param {Moment[]} moments */
  #showOne({ id, pid, state, age, restarts, utilization, blockedFor, memory }, moments) {
    const row = this.#rows.get(id) ?? this.#make(id);
    const texts = [
      `${id}${pid === null ? '' : ` (pid ${pid})`}`,
      state,
      span(age),
      restartsText(restarts),
      count(moments.at(-1)?.rate ?? 0),
      utilization === null ? '–' : percent(utilization),
      memory === null ? '–' : size(memory),
      blockedFor === null ? '–' : blockedFor >= 1000 ? span(blockedFor / 1000) : '',
    ];
    texts.forEach((text, place) => {
      const cell = /** @type {HTMLElement} */ (row.cells[place].querySelector('span:last-of-type'));
      if (cell.textContent !== text) cell.textContent = text;
    });
    row.cells[BLOCKED].className = (blockedFor ?? 0) >= 1000 ? 'alarm' : '';
    const canvas = /** @type {HTMLCanvasElement} */ (row.querySelector('canvas'));
    draw(
      canvas,
      moments.map((moment) => moment.utilization),
      colorOf(id),
    );
  }

  /** @param {number} id */
  #make(id) {
    const row = document.createElement('tr');
    for (let place = 0; place <= PROFILE; place += 1) row.append(element('td'));
    const swatch = element('span', '', 'swatch');
    swatch.style.background = colorOf(id);
    row.cells[0].append(swatch);
    const canvas = document.createElement('canvas');
    canvas.setAttribute('aria-hidden', 'true');
    row.cells[UTILIZATION].append(canvas, ' ');
    for (let place = 0; place < PROFILE; place += 1) row.cells[place].append(element('span'));
    const button = element('button', 'Profile');
    button.setAttribute('aria-label', `Profile worker ${id}`);
    button.addEventListener('click', () => this.#onProfile(id));
    row.cells[PROFILE].append(button);
    this.#rows.set(id, row);
    this.#body.append(row);
    return row;
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {(number | null)[]} values from 0 to 1
 * @param {string} color
 */
function draw(canvas, values, color) {
  const [width, height] = [90, 20];
  const scale = devicePixelRatio;
  // To set them makes a new picture each time.
  if (canvas.width !== width * scale) {
    canvas.width = width * scale;
    canvas.height = height * scale;
  }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.strokeStyle = color;
  context.beginPath();
  const shown = values.slice(-60);
  const wide = width / Math.max(shown.length - 1, 20);
  shown.forEach((value, place) => {
    context.lineTo(place * wide, height - 1 - (value ?? 0) * (height - 2));
  });
  context.stroke();
}

/** @param {HTMLElement} list @param {string} none */
function cap(list, none) {
  while (list.children.length > MAX_SHOWN) list.lastElementChild?.remove();
  if (list.children.length === 0) list.append(element('li', none, 'none'));
}

export class BlockList {
  #list;
  /** @type {Map<number, Element>} */
  #items = new Map();

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
    this.set([]);
  }

  /** @param {Block[]} blocks all of them, the latest first */
  set(blocks) {
    this.#list.textContent = '';
    this.#items.clear();
    for (const block of [...blocks].reverse()) this.show(block);
    cap(this.#list, 'No worker has been blocked.');
  }

  /** @param {Block} block */
  show(block) {
    const item = element('li', undefined, block.duration === null ? 'lasting' : '');
    const known = this.#items.get(block.id);
    const details = document.createElement('details');
    details.open = known?.querySelector('details')?.open ?? block.duration === null;
    const since = new Date(block.since).toLocaleTimeString();
    const length = block.duration === null ? 'since' : `for ${(block.duration / 1000).toFixed(1)} s from`;
    details.append(element('summary', `Worker ${block.worker}, ${length} ${since}: it ${block.activity}`));
    const late = block.isLate ? 'What ran when the call of native code was over:\n' : '';
    const lines = (block.stack ?? []).map((frame) => `at ${frameText(frame)}`);
    details.append(element('pre', block.stack === null ? 'No stack: native code.' : late + lines.join('\n')));
    item.append(details);
    if (known) known.replaceWith(item);
    else this.#list.prepend(item);
    this.#items.set(block.id, item);
    this.#list.querySelector('.none')?.remove();
    cap(this.#list, '');
  }
}

/** @param {{ function: string, file: string, line: number, column: number }} frame */
function frameText({ function: name, file, line, column }) {
  const where = file === '' ? '<anonymous>' : `${file}:${line}:${column}`;
  return name === '' ? where : `${name} (${where})`;
}

/**
 * @param {HTMLElement} list
 * @param {string} name
 * @param {any} data of the event
 */
export function addLife(list, name, data) {
  const time = new Date().toLocaleTimeString();
  const how = data.signal ?? `code ${data.code}`;
  const text = name === 'exit' ? `ended with ${how}` : 'was started';
  list.querySelector('.none')?.remove();
  list.prepend(element('li', `${time}: worker ${data.worker} (pid ${data.pid}) ${text}`));
  cap(list, '');
}

/** @param {HTMLElement} list */
export function noLives(list) {
  cap(list, 'No worker has been started or has ended since this page was opened.');
}
