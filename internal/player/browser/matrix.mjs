// Plays cells of the matrix, output by player, in one headless Chromium, and
// tells on stdout, a JSON line for each cell, what became of each step. Input:
// one JSON document on stdin. Package browsertest runs it.
//   plan: { page, dir, cells: [{ id, engine, url, token, fresh, wrong, scheme, licence, past, times, only }] }
//   line: { id, engine, browser, steps: { <step>: "" or what went wrong }, shots: [{ at, file }], keyRequests, refusal }
import { chromium } from 'playwright-core';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

const plan = JSON.parse(await text(process.stdin));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  chromiumSandbox: false,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'],
});
process.on('SIGTERM', () => browser.close().finally(() => process.exit(1)));

async function open(c, token) {
  const context = await browser.newContext({ viewport: { width: 800, height: 500 } });
  const page = await context.newPage();
  const fragment = new URLSearchParams({ engine: c.engine, url: c.url, scheme: c.scheme, licence: c.licence, ...(token && { token }) });
  await page.goto(`${plan.page}/matrix.html#${fragment}`);
  return page;
}

// until waits for a condition in the page; the player's error ends it.
async function until(page, seconds, condition, arg) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    if (await page.evaluate(condition, arg)) return;
    const error = await page.evaluate(() => window.cell?.error);
    if (error) throw new Error(error);
    if (Date.now() > end) {
      const state = await page.evaluate(() => `at ${cell.video.currentTime.toFixed(2)} s, ready state ${cell.video.readyState}, height ${cell.video.videoHeight}`);
      throw new Error(`nothing within ${seconds} s (${state})`);
    }
    await sleep(100);
  }
}

const start = (page) => page.evaluate(() => { cell.video.muted = true; cell.video.play().catch(() => {}); });

async function seek(page, at, seconds) {
  for (let i = 0; i < 3; i++) {
    await page.evaluate((at) => { cell.video.currentTime = at; }, at);
    await until(page, seconds, () => !cell.video.seeking && cell.video.readyState >= 2);
    if (Math.abs(await page.evaluate(() => cell.video.currentTime) - at) < 0.01) return;
  }
  throw new Error(`a seek to ${at} leads to ${await page.evaluate(() => cell.video.currentTime)}`);
}

// show seeks until the picture near a time has the height: Shaka Player may
// stand still when a seek meets the emptying of its buffer.
async function show(page, at, height) {
  for (let i = 0; ; i++) {
    await page.evaluate((at) => { cell.video.currentTime = at; }, at + i * 0.05);
    try {
      return await until(page, 8, (height) => !cell.video.seeking && cell.video.readyState >= 2 && cell.video.videoHeight === height, height);
    } catch (e) {
      if (i === 3) throw new Error(`${height} lines: ${e.message}`);
    }
  }
}

async function play(c, out) {
  const page = await open(c, c.token);
  const step = async (name, run) => {
    try { await run(); out.steps[name] = ''; } catch (e) { out.steps[name] = String(e?.message ?? e).slice(0, 300); }
    return out.steps[name] === '';
  };
  const patience = c.only ? 10 : 60;
  const plays = await step('play', async () => {
    await until(page, patience, () => window.cell?.ready && cell.video.readyState >= 1);
    await start(page);
    await until(page, patience, (past) => cell.video.currentTime > past, c.past);
    const frames = await page.evaluate(() => cell.video.getVideoPlaybackQuality().totalVideoFrames);
    if (frames < 20) throw new Error(`${frames} pictures`);
  });
  out.engine = await page.evaluate(() => window.cell?.engine ?? '');
  if (plays && !c.only) {
    await step('sound', async () => {
      if (!(await page.evaluate(() => cell.video.webkitAudioDecodedByteCount > 0))) throw new Error('no sound was decoded');
    });
    await page.evaluate((token) => { cell.token = token; }, c.fresh);
    const levels = await page.evaluate(() => cell.levels);
    if (levels.length > 1) {
      await step('switch', async () => {
        // Far from what is in the buffer: video.js keeps that.
        for (const [height, at] of [[levels.at(-1), 10.4], [levels[0], 0.5]]) {
          await page.evaluate((height) => { cell.video.pause(); cell.pick(height); }, height);
          await show(page, at, height);
          await start(page);
          await until(page, 30, (past) => cell.video.currentTime > past, at + 0.8);
        }
      });
    }
    await page.evaluate(() => cell.video.pause());
    await step('seek', async () => {
      for (const at of c.times) {
        await seek(page, at, 30);
        await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
        const file = join(plan.dir, `${c.id}-${at.toFixed(3)}.png`);
        await page.screenshot({ path: file, clip: { x: 0, y: 0, width: 640, height: 360 } });
        out.shots.push({ at, file });
      }
    });
  }
  out.keyRequests = await page.evaluate(() => window.cell?.keyRequests ?? 0);
  await page.context().close();
}

// refuse plays with a wrong token: an error must come, and no picture.
async function refuse(c, out) {
  const page = await open(c, c.wrong);
  const end = Date.now() + 60000;
  while (!(out.refusal = await page.evaluate(() => window.cell?.error)) && Date.now() < end) {
    await page.evaluate(() => { window.cell?.video?.play().catch(() => {}); });
    await sleep(200);
  }
  const frames = await page.evaluate(() => cell.video.getVideoPlaybackQuality().totalVideoFrames);
  out.steps.refuse = !out.refusal ? 'no error within 60 s' : frames > 0 ? `${frames} pictures all the same` : '';
  await page.context().close();
}

for (const c of plan.cells) {
  const out = { id: c.id, browser: browser.version(), engine: '', steps: {}, shots: [], keyRequests: 0, refusal: '' };
  try {
    await play(c, out);
    if (c.wrong && !c.only && out.steps.play === '') await refuse(c, out);
  } catch (e) {
    out.steps.driver = String(e?.message ?? e).slice(0, 300);
  }
  process.stdout.write(`${JSON.stringify(out)}\n`);
}
await browser.close();
