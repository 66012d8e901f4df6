// A CPU profile as a flame graph: who called whom, and how much of the time was spent there.

const ROW = 18;
/** What takes less of the time is not drawn. */
const LEAST = 0.001;

/**
 * @typedef {object} Node
 * @property {string} name
 * @property {string} where
 * @property {number} time in microseconds, with that of those it has called
 * @property {Node[]} children
 */

/** @param {any} profile of V8's @returns {Node} */
export function treeOf({ nodes, samples = [], timeDeltas = [] }) {
  const own = new Map();
  samples.forEach((/** @type {number} */ id, /** @type {number} */ place) => {
    own.set(id, (own.get(id) ?? 0) + Math.max(timeDeltas[place] ?? 0, 0));
  });
  const byId = new Map(nodes.map((/** @type {any} */ node) => [node.id, node]));
  const make = (/** @type {any} */ { id, callFrame, children = [] }) => {
    const below = children.map((/** @type {number} */ child) => make(byId.get(child)));
    const time = below.reduce(
      (/** @type {number} */ total, /** @type {Node} */ child) => total + child.time,
      own.get(id) ?? 0,
    );
    const { functionName, url, lineNumber } = callFrame;
    const where = url === '' ? '' : `${url}:${lineNumber + 1}`;
    below.sort((/** @type {Node} */ one, /** @type {Node} */ two) => two.time - one.time);
    return { name: functionName || '(anonymous)', where, time, children: below };
  };
  const root = make(nodes[0]);
  // Time in which nothing was done says nothing about who took it.
  root.children = root.children.filter((/** @type {Node} */ child) => child.name !== '(idle)');
  root.time = root.children.reduce(
    (/** @type {number} */ total, /** @type {Node} */ child) => total + child.time,
    0,
  );
  return root;
}

/**
 * @param {HTMLElement} place
 * @param {Node} root
 */
export function show(place, root) {
  const draw = (/** @type {Node} */ top) => {
    place.textContent = '';
    let depth = 0;
    const add = (/** @type {Node} */ node, /** @type {number} */ left, /** @type {number} */ row) => {
      const part = top.time === 0 ? 0 : node.time / top.time;
      if (part < LEAST) return;
      depth = Math.max(depth, row);
      const button = document.createElement('button');
      const share = `${(part * 100).toFixed(1)} %, ${(node.time / 1000).toFixed(1)} ms`;
      button.textContent = node.name;
      button.title = `${node.name} ${node.where}\n${share}`;
      button.setAttribute('aria-label', `${node.name} ${node.where}, ${share}`);
      button.style.left = `${left * 100}%`;
      button.style.width = `${part * 100}%`;
      button.style.top = `${row * ROW}px`;
      button.style.background = `hsl(${hue(node)} 75% 70%)`;
      // Its part alone; once more, and all of it again.
      button.addEventListener('click', () => draw(node === top ? root : node));
      place.append(button);
      let from = left;
      for (const child of node.children) {
        add(child, from, row + 1);
        from += top.time === 0 ? 0 : child.time / top.time;
      }
    };
    add(top, 0, 0);
    place.style.height = `${(depth + 1) * ROW + 4}px`;
    /** @type {HTMLElement | null} */ (place.querySelector('button'))?.focus();
  };
  draw(root);
}

/** Of the same file the same. @param {Node} node */
function hue({ where, name }) {
  const text = where.replace(/:\d+$/, '') || name;
  let hash = 0;
  for (const character of text) hash = (hash * 31 + character.charCodeAt(0)) % 60;
  return where.startsWith('node:') ? 190 + hash / 2 : 10 + hash;
}
