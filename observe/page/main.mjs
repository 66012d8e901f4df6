// The page of `cluster.observe`: what the cluster does, live.

import 'uplot/dist/uPlot.min.css';
import './style.css';
import { colorOf, Heat, Lines } from './charts.mjs';
import { ask, follow, setToken } from './feed.mjs';
import { show as showFlame, treeOf } from './flame.mjs';
import { History } from './history.mjs';
import { addLife, BlockList, count, noLives, percent, size, span, WorkerTable } from './tables.mjs';

const PROFILE_SECONDS = 5;
/** In milliseconds. */
const DRAW_EVERY = 500;

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

const history = new History();
const charts = byId('charts');
const rate = new Lines(charts, 'Connections per second', count);
const latency = new Heat(charts, 'From accept to the worker');
const utilization = new Lines(charts, 'Event loop utilization', percent);
const lag = new Heat(charts, 'Event loops busy in one go');
const pending = new Lines(charts, 'Connections that wait in the primary', count);
const memory = new Lines(charts, 'Memory', size);
const workers = new WorkerTable(byId('workers'), profile);
const blocks = new BlockList(byId('blocks'));
noLives(byId('restarts'));

let isDue = false;
let drawnAt = 0;

/** At most twice a second, however much comes, and only while somebody looks. */
function drawSoon() {
  if (isDue) return;
  isDue = true;
  const pause = Math.max(drawnAt + DRAW_EVERY - performance.now(), 0);
  setTimeout(() => requestAnimationFrame(drawDue), pause);
}

function drawDue() {
  isDue = false;
  drawnAt = performance.now();
  if (!document.hidden) draw();
}

function draw() {
  const { times, last } = history;
  if (last === undefined) return;
  /** @param {'rate' | 'utilization' | 'memory'} what */
  const lines = (what) =>
    [...history.workers].map(([id, moments]) => ({
      name: `worker ${id}`,
      color: colorOf(id),
      values: moments.map((moment) => moment[what]),
    }));
  const total = history.accepted.at(-1) ?? 0;
  rate.show(times, lines('rate'), `${count(total)} accepted`);
  utilization.show(times, lines('utilization'), '');
  const waiting = history.pending.at(-1) ?? 0;
  pending.show(
    times,
    [{ name: 'pending', color: colorOf(1), values: history.pending }],
    `${count(waiting)} now`,
  );
  const all = last.workers.reduce((bytes, worker) => bytes + (worker.memory ?? 0), last.primary.memory ?? 0);
  memory.show(times, lines('memory'), `${size(all)} in all`);
  latency.show(history.latency, last.bounds);
  lag.show(history.lag, last.bounds);
  workers.show(last.workers, history.workers);
  const servers = last.servers.map(({ name }) => name).join(', ');
  const blocked = (last.primary.blockedFor ?? 0) >= 1000;
  byId('summary').textContent =
    `${last.workers.length} workers${servers && ` at ${servers}`}` +
    `${blocked ? `; the primary is blocked for ${span((last.primary.blockedFor ?? 0) / 1000)}` : ''}`;
}

/** @param {'connecting' | 'live' | 'lost'} state */
function setConnection(state) {
  const shown = byId('connection');
  if (shown.dataset.state === state) return;
  shown.dataset.state = state;
  shown.textContent = state === 'lost' ? 'connection lost, trying again' : state;
}

/** @param {number} worker */
async function profile(worker) {
  const [dialog, state, flame, save] = ['profile', 'profile-state', 'flame', 'profile-save'].map(byId);
  byId('profile-title').textContent = `Worker ${worker}`;
  state.textContent = `taking a profile of ${PROFILE_SECONDS} s ...`;
  flame.textContent = '';
  save.hidden = true;
  dialog.showModal();
  try {
    const response = await ask(`/profile?worker=${worker}&seconds=${PROFILE_SECONDS}`);
    const text = await response.text();
    if (!response.ok) throw new Error(text.trim());
    const root = treeOf(JSON.parse(text));
    state.textContent = `busy for ${(root.time / 1000).toFixed(0)} ms of ${PROFILE_SECONDS} s`;
    save.onclick = () => download(`worker-${worker}.cpuprofile`, text);
    save.hidden = false;
    showFlame(flame, root);
  } catch (error) {
    state.textContent = `There is no profile: ${/** @type {Error} */ (error).message}`;
  }
}

/**
 * @param {string} name
 * @param {string} text
 */
function download(name, text) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

byId('profile-close').addEventListener('click', () => byId('profile').close());
document.addEventListener('visibilitychange', drawSoon);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawSoon);

follow({
  async onOpen() {
    setConnection('live');
    try {
      const response = await ask('/blocks');
      if (response.ok) blocks.set(await response.json());
    } catch {
      // The next connection asks again.
    }
  },
  onLost: () => setConnection('lost'),
  onEvent(name, data) {
    if (name === 'overview') history.add(data);
    else if (name === 'blocked' || name === 'unblocked') blocks.show(data);
    else if (name === 'exit' || name === 'fork') addLife(byId('restarts'), name, data);
    drawSoon();
  },
  onRefused: () =>
    new Promise((resolve) => {
      const form = byId('sign-in');
      form.hidden = false;
      byId('token').focus();
      form.addEventListener(
        'submit',
        (/** @type {Event} */ event) => {
          event.preventDefault();
          form.hidden = true;
          setToken(byId('token').value);
          resolve(undefined);
        },
        { once: true },
      );
    }),
});
