// Walks through pages in a real Chromium, headless. Input: one JSON document on
// stdin: {dir, seconds, steps: [{name, ...}]}; a step does what it has, in this
// order:
//   init: text      a script that runs before the page's own, on every page of the tab
//   goto: url       fill: [selector, text]   select: [selector, value]
//   click: selector hover: [selector, part]  (part of its width, 0 to 1)
//   until: text     an expression that becomes true
//   value: text     an expression; its value is told
//   shot: true      a picture of the page: <dir>/<name>.png
// A step with fresh: true begins in a tab of its own. Events, as JSON lines on
// stdout: value {name, value}, console {name, text}, request {name, url, method,
// authorized, referer}, fail {name, text}, done.
import { chromium } from 'playwright-core';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

const plan = JSON.parse(await text(process.stdin));
const emit = (event, more) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);
let browser;
let context;
let page;
let name = 'start';
let over = false;

const deadline = setTimeout(() => finish(`no end within ${plan.seconds} s`), plan.seconds * 1000);
process.on('SIGTERM', () => finish('stopped by a signal'));

async function finish(why) {
  if (over) return; // closing the browser makes whatever is under way fail, too
  over = true; // the walk stops where it is
  const at = name;
  clearTimeout(deadline);
  if (why) {
    await Promise.race([page?.screenshot({ path: join(plan.dir, 'failed.png') }).catch(() => {}), sleep(3000)]);
    const seen = await Promise.race([page?.evaluate('document.body?.innerText').catch(String), sleep(2000, 'the page hangs')]);
    emit('fail', { name: at, text: `${why}; the page shows: ${seen}` });
  } else emit('done', {});
  await browser?.close().catch(() => {});
  process.exitCode = why ? 1 : 0;
}

async function tab(init) {
  await context?.close();
  context = await browser.newContext({ viewport: { width: 1280, height: 760 } });
  if (init) await context.addInitScript({ content: init });
  page = await context.newPage();
  page.on('console', (m) => { if (m.type() === 'error' || m.type() === 'warning') emit('console', { name, text: m.text() }); });
  page.on('crash', () => finish('the page crashed'));
  page.on('pageerror', (e) => emit('console', { name, text: String(e) }));
  page.on('request', (r) => {
    const h = r.headers();
    emit('request', { name, url: r.url(), method: r.method(), authorized: h.authorization !== undefined, referer: h.referer ?? '' });
  });
}

async function walk(s) {
  ({ name } = s);
  if (s.fresh || !page) await tab(s.init);
  if (s.goto) await page.goto(s.goto);
  if (s.fill) await page.fill(...s.fill);
  if (s.select) await page.selectOption(...s.select);
  if (s.click) await page.click(s.click);
  if (s.hover) {
    const box = await page.locator(s.hover[0]).boundingBox();
    await page.mouse.move(box.x + box.width * s.hover[1], box.y + box.height / 2);
  }
  while (s.until && !await page.evaluate(s.until)) {
    await sleep(100);
    if (over) return;
  }
  if (s.value) emit('value', { name, value: await page.evaluate(s.value) });
  if (s.shot) await page.screenshot({ path: join(plan.dir, `${name}.png`) });
}

try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    headless: true,
    chromiumSandbox: false,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'],
  });
  for (const s of plan.steps) {
    await walk(s);
    if (over) break;
  }
  await finish('');
} catch (e) {
  await finish(String(e?.message ?? e));
}
