'use strict';

// Bundles the page of cluster.observe, observe/page/, into one file that needs nothing else: observe/page.html, which is committed and
// which the addon carries.
//
//   node scripts/page.js

const fs = require('node:fs');
const path = require('node:path');

const root = path.dirname(__dirname);
const SOURCES = path.join(root, 'observe', 'page');
const PAGE = path.join(root, 'observe', 'page.html');

/** @returns {Promise<string>} the page */
async function bundle() {
  const esbuild = require('esbuild');
  const { outputFiles } = await esbuild.build({
    entryPoints: [path.join(SOURCES, 'main.mjs')],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'eof',
    write: false,
    outdir: 'out',
  });
  const text = (/** @type {string} */ ending) => {
    const file = outputFiles.find((one) => one.path.endsWith(ending));
    // What ends the element in HTML has no other meaning in a string of JavaScript's.
    return (file?.text ?? '').trim().replaceAll('</script', '<\\/script');
  };
  const license = fs.readFileSync(path.join(path.dirname(require.resolve('uplot')), '..', 'LICENSE'), 'utf8');
  const page = fs.readFileSync(path.join(SOURCES, 'index.html'), 'utf8');
  return page
    .replace('<!-- style -->', () => `<style>${text('.css')}</style>`)
    .replace('</html>', () => `<!-- uPlot, which is part of this page:\n${license.trim()}\n-->\n</html>`)
    .replace('<!-- script -->', () => `<script type="module">${text('.js')}</script>`);
}

if (require.main === module) {
  bundle().then(
    (page) => fs.writeFileSync(PAGE, page),
    (error) => {
      console.error(error);
      process.exitCode = 1;
    },
  );
}

module.exports = { PAGE, bundle };
