'use strict';

// What the types say of names, held against what is exported, and what the README writes, held against the types.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, describe, test } = require('node:test');
const { pathToFileURL } = require('node:url');
const ts = require('typescript');

const root = path.dirname(__dirname);

/** @type {import('typescript').CompilerOptions} */
const OPTIONS = {
  noEmit: true,
  strict: true,
  allowJs: true,
  checkJs: true,
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.Node16,
  esModuleInterop: true,
  skipLibCheck: true,
  types: ['node'],
  typeRoots: [path.join(root, 'node_modules', '@types')],
};

/**
 * @param {string} file of types
 * @param {number} flag of ts.SymbolFlags: values or types
 * @returns {string[]} the names of those that it declares
 */
function declaredIn(file, flag) {
  const program = ts.createProgram([file], OPTIONS);
  const checker = program.getTypeChecker();
  const module = checker.getSymbolAtLocation(/** @type {any} */ (program.getSourceFile(file)));
  assert.ok(module, `${file} is a module`);
  const isDeclared = (/** @type {import('typescript').Symbol} */ symbol) => {
    const isAlias = (symbol.flags & ts.SymbolFlags.Alias) !== 0;
    if (flag === ts.SymbolFlags.Value && isAlias)
      if (symbol.declarations?.some(ts.isTypeOnlyImportOrExportDeclaration)) return false;
    const target = isAlias ? checker.getAliasedSymbol(symbol) : symbol;
    return (target.flags & flag) !== 0;
  };
  return checker
    .getExportsOfModule(module)
    .filter(isDeclared)
    .map(({ name }) => name)
    .sort();
}

describe('the names that an ES module can import are those that the types declare', () => {
  for (const name of ['index', 'bus', 'net', 'node-ipc', 'rsmq']) {
    test(name, async () => {
      const exported = Object.keys(await import(pathToFileURL(path.join(root, `${name}.mjs`)).href)).sort();
      const declared = declaredIn(path.join(root, `${name}.d.mts`), ts.SymbolFlags.Value);
      // Of node:net a newer Node has more, and its types lag behind.
      if (name === 'net')
        assert.deepEqual(
          declared.filter((one) => !exported.includes(one)),
          [],
        );
      else assert.deepEqual(declared, exported);
    });
  }
});

/** Types of the namespace that only others of it are made of. */
const PARTS = [
  'AnyWorker',
  'AsNodeTypesHaveIt',
  'Listener',
  'Members',
  'Primary',
  'WithWorker',
  'WorkerConstructor',
];

test('the types that an ES module can import are those of the namespace', () => {
  const [imported, all] = ['index.d.mts', 'index.d.ts'].map((name) =>
    declaredIn(path.join(root, name), ts.SymbolFlags.Type),
  );
  assert.deepEqual(
    imported,
    all.filter((name) => !PARTS.includes(name)),
  );
});

/** Lines of the README's text, in the process that they are for. */
const LINES = {
  primary: ['await worker.request(message)', 'worker.respond(fn)', 'cluster.stats()', 'cluster.native'],
  worker: [
    'cluster.workerById(2).send(message)',
    'cluster.broadcast(message)',
    "cluster.on('message', (peer, message) => ...)",
  ],
};

describe('what the README writes compiles under strict', () => {
  const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8');
  /** @type {string} */
  let project;
  before(() => {
    project = fs.mkdtempSync(path.join(os.tmpdir(), 'corral-readme-'));
    fs.mkdirSync(path.join(project, 'node_modules'));
    fs.symlinkSync(root, path.join(project, 'node_modules', 'corral'));
  });
  after(() => fs.rmSync(project, { recursive: true }));

  /**
   * @param {string} name
   * @param {string} source
   */
  function assertCompiles(name, source) {
    const file = path.join(project, name);
    fs.writeFileSync(file, source);
    const found = ts.getPreEmitDiagnostics(ts.createProgram([file], OPTIONS));
    const texts = found.map(({ messageText, start = 0 }) => {
      const line = source.slice(0, start).split('\n').length;
      return `${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
    assert.deepEqual(texts, [], source);
  }

  const blocks = [...readme.matchAll(/^```(js|ts)\n(.*?)^```$/gms)];
  assert.ok(blocks.length >= 2, 'the programs are found');
  for (const [index, [, kind, source]] of blocks.entries()) {
    test(`program ${index + 1}`, () => assertCompiles(`program${index}.${kind}`, source));
  }

  test('lines of its text', () => {
    for (const line of Object.values(LINES).flat()) {
      assert.ok(readme.replace(/\s+/g, ' ').includes(`\`${line}\``), `the README has ${line}`);
    }
    const inPrimary = LINES.primary.join(';\n');
    const inWorker = LINES.worker.join(';\n').replaceAll('...', '[peer.id, message]');
    assertCompiles(
      'lines.mts',
      `import cluster from 'corral';
      declare const message: { any: 'message' };
      declare function fn(message: any): string;
      if (cluster.isPrimary && cluster.native) {
        const worker = cluster.fork();
        ${inPrimary};
        cluster.stats().workers[0]?.bytesSent.toFixed();
      } else if (cluster.isWorker) {
        ${inWorker};
        cluster.worker.request('hello');
      }`,
    );
  });
});
