// Lines and heat maps over the last minutes.

import uPlot from 'uplot';

const HEIGHT = 150;
/** How many moments have room in a heat map at least. */
const LEAST_SHOWN = 30;
const COLORS = ['#3b82f6', '#f59e0b', '#10b981', '#ef4444', '#8b5cf6', '#06b6d4', '#ec4899', '#84cc16'];

/** @param {number} id of a worker */
export const colorOf = (id) => COLORS[(id - 1) % COLORS.length];

/** @param {string} name of a color in the style sheet */
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

/**
 * @param {HTMLElement} parent
 * @param {string} title
 */
function frame(parent, title) {
  const figure = document.createElement('div');
  figure.className = 'chart';
  figure.setAttribute('role', 'group');
  const head = document.createElement('header');
  const heading = document.createElement('h3');
  heading.textContent = title;
  const now = document.createElement('span');
  now.className = 'now';
  head.append(heading, now);
  figure.append(head);
  parent.append(figure);
  return { figure, now };
}

/** Lines, of which there may be more or less each time. */
export class Lines {
  #parent;
  #now;
  #format;
  /** @type {uPlot | undefined} */
  #plot;
  /** What the lines are. */
  #names = '';

  /**
   * @param {HTMLElement} parent
   * @param {string} title
   * @param {(value: number) => string} format
   */
  constructor(parent, title, format) {
    const { figure, now } = frame(parent, title);
    this.#parent = figure;
    this.#now = now;
    this.#format = format;
    new ResizeObserver(() => this.#plot?.setSize({ width: this.#width(), height: HEIGHT })).observe(figure);
  }

  #width() {
    return Math.max(this.#parent.clientWidth - 16, 100);
  }

  /**
   * @param {number[]} times
   * @param {{ name: string, color: string, values: (number | null)[] }[]} lines
   * @param {string} now what is said of the last moment
   */
  show(times, lines, now) {
    this.#now.textContent = now;
    const data = /** @type {uPlot.AlignedData} */ ([times, ...lines.map(({ values }) => values)]);
    const names = lines.map(({ name }) => name).join();
    if (this.#plot !== undefined && names === this.#names) return this.#plot.setData(data);
    this.#names = names;
    this.#plot?.destroy();
    const axis = { stroke: () => css('--soft'), grid: { stroke: () => css('--line'), width: 1 } };
    /** @type {uPlot.Options} */
    const options = {
      width: this.#width(),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, size: 24 },
        { ...axis, size: 56, values: (_, ticks) => ticks.map(this.#format) },
      ],
      series: [
        {},
        ...lines.map(({ name, color }) => ({
          label: name,
          stroke: color,
          width: 1.5,
          points: { show: false },
        })),
      ],
    };
    this.#plot = new uPlot(options, data, this.#parent);
  }
}

/** How often something took how long, by time: the darker the more often. */
export class Heat {
  #canvas = document.createElement('canvas');
  #cells = document.createElement('canvas');
  #now;

  /**
   * @param {HTMLElement} parent
   * @param {string} title
   */
  constructor(parent, title) {
    const { figure, now } = frame(parent, title);
    this.#now = now;
    this.#canvas.className = 'heat';
    this.#canvas.setAttribute('role', 'img');
    this.#canvas.setAttribute('aria-label', title);
    figure.append(this.#canvas);
  }

  /**
   * @param {number[][]} columns
   * @param {number[]} bounds in microseconds
   */
  show(columns, bounds) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0) return;
    const scale = devicePixelRatio;
    if (this.#canvas.width !== width * scale || this.#canvas.height !== height * scale) {
      this.#canvas.width = width * scale;
      this.#canvas.height = height * scale;
    }
    const context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext('2d'));
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const rows = bounds.length + 1;
    const left = 56;
    const tall = height / rows;
    const shown = Math.max(columns.length, LEAST_SHOWN);
    const most = columns.reduce((all, buckets) => Math.max(all, ...buckets), 1);
    const [red, green, blue] = css('--heat').split(',').map(Number);
    // A pixel for each cell, stretched: thousands of rectangles would cost as much as all the rest.
    if (this.#cells.width !== shown || this.#cells.height !== rows) {
      this.#cells.width = shown;
      this.#cells.height = rows;
    }
    const cells = /** @type {CanvasRenderingContext2D} */ (this.#cells.getContext('2d'));
    const image = cells.createImageData(shown, rows);
    columns.forEach((buckets, place) => {
      buckets.forEach((count, row) => {
        if (count === 0) return;
        // One among thousands is what matters here: it has to be seen.
        const depth = 0.2 + 0.8 * (Math.log1p(count) / Math.log1p(most));
        const pixel = ((rows - 1 - row) * shown + shown - columns.length + place) * 4;
        image.data.set([red, green, blue, depth * 255], pixel);
      });
    });
    cells.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.#cells, left, 0, width - left, height);
    context.fillStyle = css('--soft');
    context.font = '11px system-ui, sans-serif';
    for (let row = 1; row < rows; row += 4) {
      context.fillText(duration(bounds[row - 1]), 2, height - row * tall + 4);
    }
    this.#now.textContent = `p99 ${quantile(columns.slice(-10), bounds, 0.99)}`;
  }
}

/** @param {number} micros */
function duration(micros) {
  return micros < 1e6 ? `${micros / 1e3} ms` : `${micros / 1e6} s`;
}

/**
 * @param {number[][]} columns
 * @param {number[]} bounds
 * @param {number} part
 */
function quantile(columns, bounds, part) {
  const counts = bounds.map((_, row) => columns.reduce((total, buckets) => total + (buckets[row] ?? 0), 0));
  const beyond = columns.reduce((total, buckets) => total + (buckets[bounds.length] ?? 0), 0);
  const total = counts.reduce((all, count) => all + count, beyond);
  if (total === 0) return '–';
  let below = 0;
  const row = counts.findIndex((count) => {
    below += count;
    return below >= total * part;
  });
  return row < 0 ? `above ${duration(bounds[bounds.length - 1])}` : `up to ${duration(bounds[row])}`;
}
