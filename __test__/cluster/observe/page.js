'use strict';

// The page of `cluster.observe`, in a browser. With CORRAL_SCREENSHOTS=directory it writes the README's pictures there.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');

const { chromiumProgram, whyNoChromium } = require('../../../scripts/lib-chromium');
const { ask } = require('../../helpers/clients');
const { compiledAnew } = require('../../helpers/compiled-anew');
const { endAll, hasSettled, next, portOf, until } = require('../../helpers/events');
const { block, blockUntilThere, release, times } = require('../../helpers/lanes');
const { answering } = require('../../helpers/servers');

const WHY_NOT = process.platform === 'linux' && whyNoChromium();
/** Nothing takes nearly so long, but for a browser that others leave no processor. */
const PATIENCE_MS = 120_000;
/** In pictures paths are not those of this machine. */
const ROOT = path.join(__dirname, '../../..');

/**
 * @param {number} port of an observer
 * @param {(page: import('playwright-core').Page, requests: string[]) => Promise<void>} use
 * @param {import('playwright-core').BrowserContextOptions} [options]
 */
async function browse(port, use, options = {}) {
  const { chromium } = require('playwright-core');
  const browser = await chromium.launch({ executablePath: chromiumProgram(), timeout: PATIENCE_MS });
  try {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    /** @type {string[]} */
    const requests = [];
    const errors = [];
    page.on('request', (request) => requests.push(request.url()));
    page.on('pageerror', (error) => errors.push(error));
    await page.goto(`http://127.0.0.1:${port}/`);
    await use(page, requests);
    assert.deepEqual(errors, []);
  } finally {
    await browser.close();
  }
}

/** @param {any} context */
async function cluster({ cluster, fork }, options = {}) {
  const observer = cluster.observe({ port: 0, ...options });
  cluster.on('blocked', () => {});
  const workers = [fork(), fork(), fork()];
  const [server] = await Promise.all(workers.map(portOf));
  await until(() => workers.every((worker) => hasSettled(cluster, worker)));
  return { observer, port: observer.address().port, workers, server };
}

/** A worker's program: it computes what clients ask for, and blocks at a message until it is released. @param {any} context */
function serve({ cluster, scratch }) {
  const { id } = cluster.worker;
  answering(id).listen({ port: 0, host: '127.0.0.1' });
  const hashPasswords = () => blockUntilThere(path.join(scratch, `go-${id}`));
  process.on('message', () => {
    fs.writeFileSync(path.join(scratch, `blocked-${id}`), '');
    hashPasswords();
  });
  const addTaxes = (/** @type {number} */ depth) => {
    const end = performance.now() + 1;
    while (performance.now() < end);
    if (depth > 0) addTaxes(depth - 1);
  };
  const computePrices = compiledAnew(`function computePrices(addTaxes) { addTaxes(${id * 5}); }`);
  setInterval(() => computePrices(addTaxes), 50).unref();
}

/** @param {import('playwright-core').Page} page @param {string} name */
async function picture(page, name) {
  const directory = process.env.CORRAL_SCREENSHOTS;
  if (directory === undefined) return;
  await page.evaluate((root) => {
    for (const shown of document.querySelectorAll('pre')) {
      shown.textContent = shown.textContent.replaceAll(root, '/srv/shop');
    }
  }, ROOT);
  await page.screenshot({ path: path.join(directory, `${name}.png`), fullPage: true });
}

module.exports = {
  'a worker that is blocked appears with its stack, and what was lost is said': {
    linux: true,
    skip: WHY_NOT,
    async primary(context) {
      const { observer, port, workers, server } = await cluster(context);
      const load = setInterval(() => {
        for (const _ of times(5)) ask(server).catch(() => {});
      }, 50);
      await browse(port, async (page, requests) => {
        await page.waitForSelector('#connection[data-state=live]');
        await page.waitForFunction(() => document.querySelectorAll('#workers tr').length === 3);
        await page.waitForFunction(() => document.querySelectorAll('.chart canvas').length === 6);
        if (process.env.CORRAL_SCREENSHOTS) await page.waitForTimeout(20_000);
        const item = page.locator('#blocks .lasting', { hasText: 'Worker 2,' });
        const told = async () => {
          await block(context.scratch, workers[1]);
          await item.waitFor();
          return item.innerText();
        };
        let text = await told();
        // Others may have all processors for as long as a stack is waited for.
        while (text.includes('No stack')) {
          const over = next(context.cluster, 'unblocked');
          release(context.scratch, workers[1]);
          await over;
          await item.waitFor({ state: 'detached' });
          for (const name of ['blocked-2', 'go-2']) fs.rmSync(path.join(context.scratch, name));
          text = await told();
        }
        assert.match(text, /Worker 2, since [\s\S]*at hashPasswords \(.*page\.js:\d+:\d+\)/);
        await page.waitForSelector('#workers .alarm');
        await picture(page, 'observe-light');
        await page.emulateMedia({ colorScheme: 'dark' });
        await picture(page, 'observe-dark');
        release(context.scratch, workers[1]);
        await page.waitForFunction(() =>
          /for \d+\.\d s from/.test(document.querySelector('#blocks')?.textContent ?? ''),
        );
        const fresh = context.fork();
        await page.getByText(/worker 4 \(pid \d+\) was started/).waitFor();
        fresh.process.kill('SIGKILL');
        await page.getByText(/worker 4 \(pid \d+\) ended with SIGKILL/).waitFor();
        await page.waitForFunction(() => document.querySelectorAll('#workers tr').length === 3);
        // One takes its place, whose row says so.
        context.fork();
        const restarts = page.locator('#workers tr', { hasText: 'pid' }).nth(3).locator('td').nth(3);
        await page.waitForFunction(() => document.querySelectorAll('#workers tr').length === 4);
        assert.deepEqual(
          [await restarts.innerText(), await page.locator('#workers tr td:nth-child(4)').first().innerText()],
          ['1: SIGKILL', '0'],
        );
        const drawn = await page.evaluate(() => {
          const sparkline = /** @type {HTMLCanvasElement} */ (document.querySelector('#workers tr canvas'));
          const context = /** @type {CanvasRenderingContext2D} */ (sparkline.getContext('2d'));
          return context
            .getImageData(0, 0, sparkline.width, sparkline.height)
            .data.some((value) => value > 0);
        });
        assert.ok(drawn, 'the sparkline is drawn');
        observer.close();
        await page.getByText('connection lost').waitFor();
        context.cluster.observe({ port });
        await page.waitForSelector('#connection[data-state=live]');
        const paths = new Set(requests.map((url) => url.replace(`http://127.0.0.1:${port}`, '')));
        assert.deepEqual([...paths].sort(), ['/', '/blocks', '/events']);
      });
      clearInterval(load);
      await endAll(context.cluster);
    },
    worker: serve,
  },

  'a profile is a flame graph, with the keyboard alone and 400 px wide': {
    linux: true,
    skip: WHY_NOT,
    async primary(context) {
      const { port } = await cluster(context);
      const viewport = { width: 400, height: 800 };
      await browse(
        port,
        async (page) => {
          await page.waitForFunction(() => document.querySelectorAll('#workers tr').length === 3);
          await page.waitForFunction(() => document.querySelectorAll('.chart canvas').length === 6);
          const width = await page.evaluate(() => document.documentElement.scrollWidth);
          assert.ok(width <= 400, `${width} px`);
          const isFocused = () =>
            page.evaluate(() => document.activeElement?.getAttribute('aria-label') === 'Profile worker 3');
          do await page.keyboard.press('Tab');
          while (!(await isFocused()));
          await page.keyboard.press('Enter');
          const frame = page.locator('#flame button', { hasText: 'computePrices' }).first();
          await frame.waitFor();
          await picture(page, 'observe-profile');
          // Its part alone.
          await frame.focus();
          await page.keyboard.press('Enter');
          const wide = await page.locator('#flame button').first();
          assert.match(
            /** @type {string} */ (await wide.getAttribute('aria-label')),
            /^computePrices .*100\.0 %/,
          );
          const [download] = await Promise.all([
            page.waitForEvent('download'),
            page.locator('#profile-save').click(),
          ]);
          assert.equal(download.suggestedFilename(), 'worker-3.cpuprofile');
          await page.keyboard.press('Escape');
          await page.waitForFunction(() => !document.querySelector('dialog')?.open);
        },
        { viewport, colorScheme: 'dark' },
      );
      await endAll(context.cluster);
    },
    worker: serve,
  },

  'with a token the page asks for it': {
    linux: true,
    skip: WHY_NOT,
    async primary(context) {
      const { port } = await cluster(context, { token: 's3cret' });
      await browse(port, async (page) => {
        await page.getByLabel('Token').fill('wrong');
        await page.keyboard.press('Enter');
        await page.waitForSelector('#sign-in:not([hidden])');
        await page.getByLabel('Token').fill('s3cret');
        await page.keyboard.press('Enter');
        await page.waitForSelector('#connection[data-state=live]');
        await page.waitForFunction(() => document.querySelectorAll('#workers tr').length === 3);
      });
      await endAll(context.cluster);
    },
    worker: serve,
  },
};
