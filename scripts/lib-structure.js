'use strict';

// How the files of src/ and lib/ hang together: what each imports, circles, floors, lengths, and what two
// folders have twice. __test__/structure.test.js holds the rules, and `node scripts/lib-structure.js` prints
// where they stand.

const fs = require('node:fs');
const path = require('node:path');

const ROOT = path.dirname(__dirname);

/** @typedef {Map<string, Set<string>>} Imports the files that each file imports, relative to the root */

/** @param {string} file */
function read(file) {
  return fs.readFileSync(path.join(ROOT, file), 'utf8');
}

/**
 * @param {string} directory
 * @param {string} ending
 * @returns {string[]} the files in it and below, relative to the root
 */
function filesUnder(directory, ending) {
  const entries = fs.readdirSync(path.join(ROOT, directory), { withFileTypes: true });
  return entries.flatMap((entry) => {
    const name = `${directory}/${entry.name}`;
    if (entry.isDirectory()) {
      return filesUnder(name, ending);
    }
    return name.endsWith(ending) ? [name] : [];
  });
}

/** @param {string} file */
const isTest = (file) => /(^|\/)tests(\/|\.rs$)/.test(file);

/** The folders of Rust, of one crate each. */
const CRATES = ['src', 'bus/src', 'observe/src', 'redis/src'];

/** @param {string} [crate] @returns {string[]} its files but for tests */
function rustFiles(crate = 'src') {
  return filesUnder(crate, '.rs').filter((file) => !isTest(file));
}

/** @returns {string[]} */
function libFiles() {
  return filesUnder('lib', '.js');
}

/**
 * A file without its tests, from `#[cfg(test)] mod tests {` to its end.
 *
 * @param {string} file
 */
function withoutTests(file) {
  const text = read(file);
  const tests = /^#\[cfg\(test\)\]\nmod tests\b/m.exec(text);
  // What stands behind a declaration (`mod tests;`) is the file's own.
  return tests && text.startsWith('mod tests {', tests.index + '#[cfg(test)]\n'.length)
    ? text.slice(0, tests.index)
    : text;
}

/** @param {string} file @returns {number} its lines without its tests */
function linesOf(file) {
  return withoutTests(file).trimEnd().split('\n').length;
}

/** @param {string} file of Rust @returns {string} its code, without comments and strings */
function codeOf(file) {
  const notCode = /r#"[\s\S]*?"#|b?"(?:[^"\\]|\\[\s\S])*"|b?'(?:[^'\\]|\\[^'])'|\/\/.*/g;
  const onlyForTests = /#\[cfg\(test\)\]\s*(?:pub )?(?:use|mod)[^;]*;/g;
  let code = withoutTests(file).replace(notCode, ' ').replace(onlyForTests, '');
  // The parent of a module inside the file is the file.
  for (const inside = /\bmod \w+ \{/g; inside.test(code); ) {
    const [begin, end] = [inside.lastIndex, closingBrace(code, inside.lastIndex - 1)];
    const inner = code.slice(begin, end).replace(/(?<!super::)\bsuper::/g, 'self::');
    code = code.slice(0, begin) + inner + code.slice(end);
  }
  return code;
}

/**
 * @param {string} code
 * @param {number} from in front of an opening brace
 * @returns {number} where it is closed
 */
function closingBrace(code, from) {
  let depth = 0;
  for (let at = code.indexOf('{', from); at < code.length; at += 1) {
    depth += code[at] === '{' ? 1 : code[at] === '}' ? -1 : 0;
    if (depth === 0) {
      return at;
    }
  }
  return code.length;
}

/** @param {string} file of a crate @returns {string} its module: '' for lib.rs, 'ipc', 'ipc::link' */
function moduleOf(file) {
  return file
    .replace(/^.*?\bsrc\//, '')
    .replace(/\.rs$/, '')
    .replace(/(^|\/)(mod|lib)$/, '')
    .replaceAll('/', '::');
}

/** @param {string} module @param {string} name */
const within = (module, name) => (module === '' ? name : `${module}::${name}`);

/** @param {string} module */
const parentOf = (module) => module.split('::').slice(0, -1).join('::');

/**
 * The paths in a `use` tree: 'a::{b, c::{self, d as e}}' has a::b, a::c and a::c::d.
 *
 * @param {string} tree
 * @returns {Array<{ path: string[], name: string }>} each with the name that it has in the file
 */
function pathsOf(tree) {
  const open = tree.indexOf('{');
  if (open === -1) {
    const [whole, alias] = tree.trim().split(/\s+as\s+/);
    const segments = whole.split('::').map((segment) => segment.trim());
    if (segments.at(-1) === 'self') {
      segments.pop();
    }
    return [{ path: segments, name: alias ?? segments.at(-1) ?? '' }];
  }
  const before = tree
    .slice(0, open)
    .split('::')
    .map((segment) => segment.trim())
    .filter(Boolean);
  const inner = tree.slice(open + 1, tree.lastIndexOf('}'));
  /** @type {string[]} */
  const parts = [''];
  let depth = 0;
  for (const character of inner) {
    depth += character === '{' ? 1 : character === '}' ? -1 : 0;
    if (character === ',' && depth === 0) {
      parts.push('');
    } else {
      parts[parts.length - 1] += character;
    }
  }
  return parts
    .filter((part) => part.trim() !== '')
    .flatMap(pathsOf)
    .map((found) =>
      found.path.length === 0
        ? { path: before, name: before.at(-1) ?? '' }
        : { path: [...before, ...found.path], name: found.name },
    );
}

/**
 * What each file of a crate imports of others in it. A name that a folder's mod.rs only passes on counts for the file that
 * defines it. That the head of a folder uses the files in it does not count, as it puts them together.
 *
 * @param {string} [crate]
 * @returns {Imports}
 */
function rustImports(crate = 'src') {
  const files = rustFiles(crate);
  const fileOf = new Map(files.map((file) => [moduleOf(file), file]));
  const code = new Map(files.map((file) => [moduleOf(file), codeOf(file)]));
  /** @type {Map<string, Array<{ path: string[], name: string }>>} */
  const uses = new Map();
  for (const [module, text] of code) {
    const trees = Array.from(text.matchAll(/\buse\s+([^;]+);/g), (match) => match[1]);
    uses.set(module, trees.flatMap(pathsOf));
  }

  /**
   * @param {string} from the module in which the path stands
   * @param {string[]} segments
   * @param {Set<string>} seen
   * @returns {string | undefined} the module that defines what the path names
   */
  function resolve(from, segments, seen = new Set()) {
    let [module, rest] = [from, segments];
    if (rest[0] === 'crate') {
      [module, rest] = ['', rest.slice(1)];
    } else if (rest[0] === 'self' || rest[0] === 'super') {
      while (rest[0] === 'self' || rest[0] === 'super') {
        module = rest[0] === 'super' ? parentOf(module) : module;
        rest = rest.slice(1);
      }
    } else if (!fileOf.has(within(from, rest[0] ?? ''))) {
      // Another crate, or a name that an import of this file has brought.
      return undefined;
    }
    while (rest.length > 0 && fileOf.has(within(module, rest[0]))) {
      [module, rest] = [within(module, rest[0]), rest.slice(1)];
    }
    const key = `${module} ${rest[0]}`;
    if (rest.length === 0 || seen.has(key)) {
      return module;
    }
    seen.add(key);
    const passedOn = (uses.get(module) ?? []).find((use) => use.name === rest[0]);
    return (passedOn && resolve(module, passedOn.path, seen)) ?? module;
  }

  /** @type {Imports} */
  const imports = new Map();
  for (const [module, text] of code) {
    const inline = Array.from(text.matchAll(/\b(?:crate|super|self)(?:::\w+)+/g), (match) =>
      match[0].split('::'),
    );
    const paths = [...(uses.get(module) ?? []).map((use) => use.path), ...inline];
    const found = paths.map((segments) => resolve(module, segments));
    const file = /** @type {string} */ (fileOf.get(module));
    const others = found.filter(
      (other) =>
        other !== undefined && other !== module && fileOf.has(other) && !other.startsWith(within(module, '')),
    );
    imports.set(file, new Set(others.map((other) => /** @type {string} */ (fileOf.get(other ?? '')))));
  }
  return imports;
}

/**
 * What a line as `a -> { b -> c, d } -> e` says: which folders are above which.
 *
 * @param {string} line
 * @returns {Map<string, Set<string>>} each with those below it
 */
function floorsIn(line) {
  const tokens = line.match(/\w+|->|[{},]/g) ?? [];
  /** @type {Map<string, Set<string>>} */
  const below = new Map();

  /** @returns {string[]} the names in a chain of floors, of which each is above the next ones */
  function chain() {
    const floors = [floor()];
    while (tokens[0] === '->') {
      tokens.shift();
      floors.push(floor());
    }
    floors.forEach((names, index) => {
      const lower = floors.slice(index + 1).flat();
      for (const name of names) {
        below.set(name, new Set([...(below.get(name) ?? []), ...lower]));
      }
    });
    return floors.flat();
  }

  /** @returns {string[]} */
  function floor() {
    const first = tokens.shift() ?? '';
    if (first !== '{') {
      return [first];
    }
    const names = chain();
    while (tokens.shift() === ',') {
      names.push(...chain());
    }
    return names;
  }

  chain();
  return below;
}

/**
 * What each file of lib/ requires of others in it.
 *
 * @returns {Imports}
 */
function libImports() {
  const files = libFiles();
  const known = new Set(files);
  return new Map(
    files.map((file) => {
      const text = read(file).replace(/^\s*(\/\/|\*|\/\*).*$/gm, '');
      const names = Array.from(text.matchAll(/\brequire\('(\.[^']*)'\)/g), (match) => match[1]);
      const required = names.flatMap((name) => {
        const target = path.posix.join(path.posix.dirname(file), name);
        return [target, `${target}.js`, `${target}/index.js`].filter((candidate) => known.has(candidate));
      });
      return [file, new Set(required)];
    }),
  );
}

/**
 * @param {Imports} imports
 * @returns {string[][]} files of which each imports, in the end, every other one of its circle
 */
function circles(imports) {
  /** @param {string} from */
  function reachable(from) {
    const seen = new Set();
    const next = [...(imports.get(from) ?? [])];
    for (let file = next.pop(); file !== undefined; file = next.pop()) {
      if (!seen.has(file)) {
        seen.add(file);
        next.push(...(imports.get(file) ?? []));
      }
    }
    return seen;
  }
  const reach = new Map(Array.from(imports.keys(), (file) => [file, reachable(file)]));
  /** @type {Map<string, string[]>} */
  const found = new Map();
  for (const [file, others] of reach) {
    if (others.has(file)) {
      const circle = [...others].filter((other) => reach.get(other)?.has(file)).sort();
      found.set(circle[0], circle);
    }
  }
  return [...found.values()];
}

/**
 * @param {Imports} imports without circles: this does not end with them
 * @returns {Map<string, number>} the floor of each file: one that imports nothing is on the first
 */
function floors(imports) {
  /** @type {Map<string, number>} */
  const known = new Map();
  /** @param {string} file @returns {number} */
  function floorOf(file) {
    const below = Array.from(imports.get(file) ?? []);
    const floor = known.get(file) ?? 1 + Math.max(0, ...below.map(floorOf));
    known.set(file, floor);
    return floor;
  }
  imports.forEach((_, file) => {
    floorOf(file);
  });
  return known;
}

/**
 * The lines of a file that say something: no blank ones, no brackets alone.
 *
 * @param {string} file
 * @returns {Array<{ text: string, number: number }>}
 */
function tellingLines(file) {
  const lines = withoutTests(file).split('\n');
  return lines
    .map((line, index) => ({ text: line.trim(), number: index + 1 }))
    .filter(({ text }) => /\w/.test(text));
}

/**
 * @param {string[]} some
 * @param {string[]} others
 * @param {number} longest
 * @returns {string[]} the runs of more equal lines than that, as 'file:line file:line count'
 */
function equalRuns(some, others, longest) {
  /** @type {string[]} */
  const runs = [];
  const linesOfOthers = others.map((file) => ({ file, lines: tellingLines(file) }));
  for (const one of some) {
    const mine = tellingLines(one);
    for (const { file, lines } of linesOfOthers) {
      for (let i = 0; i < mine.length; i += 1) {
        for (let j = 0; j < lines.length; j += 1) {
          const isBegin = i === 0 || j === 0 || mine[i - 1].text !== lines[j - 1].text;
          if (isBegin) {
            let count = 0;
            while (mine[i + count] && mine[i + count].text === lines[j + count]?.text) {
              count += 1;
            }
            if (count > longest) {
              runs.push(`${one}:${mine[i].number} ${file}:${lines[j].number} ${count} lines`);
            }
          }
        }
      }
    }
  }
  return runs;
}

module.exports = {
  CRATES,
  circles,
  equalRuns,
  floors,
  floorsIn,
  libFiles,
  libImports,
  linesOf,
  rustFiles,
  rustImports,
};

if (require.main === module) {
  const rust = CRATES.flatMap(rustFiles);
  const under = (/** @type {string} */ folder) => rust.filter((file) => file.startsWith(`src/${folder}/`));
  const count = (/** @type {string[]} */ files) => files.reduce((sum, file) => sum + linesOf(file), 0);
  for (const crate of CRATES) console.log(`circles in ${crate}/:`, circles(rustImports(crate)));
  console.log('circles in lib/:', circles(libImports()));
  if (circles(libImports()).length === 0) {
    const all = floors(libImports());
    const top = Math.max(...all.values());
    console.log(
      'floors of lib/:',
      top,
      [...all].filter(([, floor]) => floor === top).map(([file]) => file),
    );
  }
  console.log(
    'longest files:',
    [...rust, ...libFiles()].filter((file) => linesOf(file) > 400).map((file) => `${file} ${linesOf(file)}`),
  );
  console.log('lines of src/primary and src/ipc:', count(under('primary')), count(under('ipc')));
  console.log('equal runs:', equalRuns(under('primary'), under('ipc'), 6));
}
