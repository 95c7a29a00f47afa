// Plays cells of the matrix, output by player, in one headless Chromium, some
// at the same time, and tells on stdout, a JSON line for each cell, what became
// of each step. Input: one JSON document on stdin. Package browsertest runs it.
//   plan: { site: { page, revocations, apiKey }, dir, lanes, cells: [{ id, engine, url, token, fresh, wrong, inPath, probe, scheme, licence, codec, past,
//           times, tones, cues: [{ at, text }], only, slow }] }
//   line: { id, engine, browser, steps: { <step>: "" or what went wrong }, shots: [{ at, file }], texts: [{ at, file }],
//           keyRequests, freshRequests, authorized: [URLs that got the token], refusal }
import { chromium } from 'playwright-core';
import { readFile } from 'node:fs/promises';
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

const keyRoute = /^\/(api\/(key|license)\/|v1\/p\/[^/]+\/t\/[^/]+\/(key|license)$)/;

async function open(c, token, out) {
  const context = await browser.newContext({ viewport: { width: 800, height: 500 } });
  const page = await context.newPage();
  page.on('request', (r) => {
    if (token !== c.wrong && keyRoute.test(new URL(r.url()).pathname) && r.method() !== 'OPTIONS') {
      out.keyRequests++;
      if (out.ended && (r.url().includes(c.fresh) || r.headers().authorization === `Bearer ${c.fresh}`)) out.freshRequests++;
    }
    if (r.headers().authorization !== undefined && !out.authorized.includes(r.url())) out.authorized.push(r.url());
  });
  const own = (address) => (c.inPath ? address.replace(c.token, token) : address);
  const fragment = new URLSearchParams({
    engine: c.engine, url: own(c.url), scheme: c.scheme, licence: own(c.licence), codec: c.codec, ...(token && !c.inPath && { token }),
  });
  await page.goto(`${plan.site.page}/matrix.html#${fragment}`);
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
      const state = await page.evaluate(() => `at ${cell.video.currentTime.toFixed(2)} s, ready state ${cell.video.readyState}, height ${cell.video.videoHeight}, picture of ${cell.pictureAt.toFixed(2)} s, text ${cell.shown()}`);
      throw new Error(`nothing within ${seconds} s (${state})`);
    }
    await sleep(100);
  }
}

const start = (page) => page.evaluate(() => { cell.video.play().catch(() => {}); });

async function seek(page, at) {
  for (let i = 0; i < 3; i++) {
    await page.evaluate((at) => { cell.video.currentTime = at; }, at);
    await until(page, 60, () => !cell.video.seeking && cell.video.readyState >= 2);
    if (Math.abs(await page.evaluate(() => cell.video.currentTime) - at) < 0.01) return;
  }
  throw new Error(`a seek to ${at} leads to ${await page.evaluate(() => cell.video.currentTime)}`);
}

// from plays from a time.
async function from(page, at) {
  await page.evaluate(() => cell.video.pause());
  await seek(page, at);
  await start(page);
}

// playing waits for a condition while the film plays, again and again if need be.
async function playing(page, condition, arg) {
  const end = Date.now() + 90_000;
  while (!await page.evaluate(condition, arg)) {
    const seen = await page.evaluate(() => ({ error: cell.error, ended: cell.video.ended, state: `at ${cell.video.currentTime.toFixed(2)} s, ready state ${cell.video.readyState}, height ${cell.video.videoHeight}, ${Math.round(cell.hertz())} Hz` }));
    if (seen.error) throw new Error(seen.error);
    if (Date.now() > end) throw new Error(`nothing within 90 s (${seen.state})`);
    if (seen.ended) await from(page, 0.5);
    await sleep(50);
  }
}

// change goes to a rendition while the film plays, and wants it to go on.
async function change(page, height) {
  await page.evaluate((height) => cell.pick(height), height);
  await playing(page, (height) => cell.video.videoHeight === height && cell.video.readyState >= 3, height);
  const at = await page.evaluate(() => cell.video.currentTime);
  await until(page, 60, ([at, height]) => cell.video.videoHeight === height && (cell.video.currentTime > at + 0.8 || cell.video.ended), [at, height]);
}

async function shoot(page, c, name) {
  for (let i = 0; ; i++) {
    try {
      // The browser begins the time of MPEG-TS at the first decoding time, two pictures before the first one.
      await until(page, 8, (far) => Math.abs(cell.pictureAt - cell.video.currentTime) < far, c.engine === 'native' ? 0.13 : 0.05);
      break;
    } catch (e) { // the browser may not have told of the picture: let it be shown once more
      if (i === 5) throw e;
      await page.evaluate(() => { cell.video.currentTime = cell.video.currentTime; });
    }
  }
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const file = join(plan.dir, `${c.id}-${name}.png`);
  await page.screenshot({ path: file, clip: { x: 0, y: 0, width: 640, height: 360 } });
  return file;
}

// drawn takes a picture with text on it, once it differs from the bare one:
// video.js draws text some time after it is due, and only while time goes by.
async function drawn(page, c, at, text, bare) {
  const end = Date.now() + 20_000;
  for (;;) {
    const drawn = () => page.evaluate((text) => cell.drawn(text), text);
    const before = await drawn(); // it may go while the picture is taken
    const file = await shoot(page, c, `text-${at.toFixed(3)}`);
    if (!text || !bare || Date.now() > end || before && await drawn() && !(await readFile(file)).equals(await readFile(bare))) return file;
    await start(page);
    await sleep(200);
    await until(page, 0.5, (text) => cell.drawn(text), text).catch(() => {});
    await page.evaluate(() => cell.video.pause());
    await seek(page, at);
  }
}

// end revokes the cell's first token and waits until it is refused.
async function end(c) {
  const answer = await fetch(plan.site.revocations, {
    method: 'POST', headers: { 'X-API-Key': plan.site.apiKey, 'Content-Type': 'application/json' }, body: JSON.stringify({ kind: 'token', value: c.token }),
  });
  if (!answer.ok) throw new Error(`revoke: ${answer.status} ${await answer.text()}`);
  const until = Date.now() + 10_000;
  for (;;) {
    const { status } = await fetch(c.probe, { headers: c.inPath ? {} : { Authorization: `Bearer ${c.token}` } });
    if (status === 401 || status === 403) return;
    if (Date.now() > until) throw new Error(`a revoked token is good for ${status} after 10 s`);
    await sleep(50);
  }
}

// renew gives the page a fresh token and ends the one before. One in the
// address is renewed as the player page does it: with a new address, when the
// old one fails or, of a film that was loaded before, when it is wanted.
async function renew(page, c, out) {
  if (!c.inPath) {
    await page.evaluate((token) => { cell.token = token; }, c.fresh);
    await end(c);
    out.ended = true;
    return page;
  }
  await end(c);
  out.ended = true;
  for (let i = 0; i < 100 && !await page.evaluate((past) => cell.error || cell.video.currentTime > past, c.past); i++) await sleep(100);
  await page.context().close();
  const again = await open(c, c.fresh, out);
  await until(again, 90, () => window.cell?.ready && cell.video.readyState >= 1);
  await again.evaluate(() => cell.hertz());
  await start(again);
  return again;
}

async function play(c, out) {
  let page = await open(c, c.token, out);
  const step = async (name, run) => {
    try { await run(); out.steps[name] = ''; } catch (e) { out.steps[name] = String(e?.message ?? e).slice(0, 300); }
    return out.steps[name] === '';
  };
  const patience = c.only ? 10 : 90;
  const plays = await step('play', async () => {
    await until(page, patience, () => window.cell?.ready && cell.video.readyState >= 1);
    await page.evaluate(() => cell.hertz());
    await start(page);
    await until(page, patience, () => cell.video.currentTime > 1);
    if (c.token && !c.only) page = await renew(page, c, out);
    await until(page, patience, (past) => cell.video.currentTime > past, c.past);
    const frames = await page.evaluate(() => cell.video.getVideoPlaybackQuality().totalVideoFrames);
    if (frames < 20) throw new Error(`${frames} pictures`);
    if (c.only && c.cues?.length && !await page.evaluate(() => cell.video.textTracks.length)) throw new Error('no text track');
  });
  out.engine = await page.evaluate(() => window.cell?.engine ?? '');
  if (plays && !c.only) await look(page, c, out, step);
  await page.context().close();
  if (plays && !c.only && c.slow) await step('switch', () => measured(c));
}

// measured plays over a connection that becomes slow for a while, and wants the
// player, which chooses by what it measures, to go up and down without standing still.
async function measured(c) {
  const page = await open({ ...c, url: c.slow }, c.fresh, { keyRequests: 0, authorized: [] });
  try {
    await until(page, 90, () => window.cell?.ready && cell.video.readyState >= 3);
    const began = Date.now();
    await start(page);
    await until(page, 60, () => cell.heights.length >= 3 || cell.video.ended);
    const { heights, at } = await page.evaluate(() => ({ heights: cell.heights, at: cell.video.currentTime }));
    if (heights.length < 3) throw new Error(`the heights ${heights} one after the other`);
    const late = (Date.now() - began) / 1000 - at;
    if (late > 2) throw new Error(`stood still for ${late.toFixed(1)} s`);
    await until(page, 60, (at) => cell.video.currentTime > at + 0.8 || cell.video.ended, at);
  } finally {
    await page.context().close();
  }
}

async function look(page, c, out, step) {
  const hears = (tone) => playing(page, (tone) => Math.abs(cell.hertz() - tone) < 15, tone);
  await step('sound', async () => {
    await hears(c.tones[0]);
    if (c.tones.length < 2 || c.engine === 'native') return;
    for (const i of [1, 0]) {
      await page.evaluate((i) => cell.pickAudio(i), i);
      await hears(c.tones[i]);
    }
  });
  if (c.codec && c.engine !== 'native') { // which does not tell
    await step('codec', async () => {
      const codec = await page.evaluate(() => cell.codec());
      if (!codec.startsWith(c.codec)) throw new Error(`plays ${codec}`);
    });
  }
  const levels = await page.evaluate(() => cell.levels);
  if (levels.length > 1) {
    await step('switch', async () => {
      await from(page, 1);
      await change(page, levels.at(-1));
      await page.evaluate(() => cell.video.pause());
      await seek(page, 5.5);
      out.shots.push({ at: 5.5, file: await shoot(page, c, 'low') });
      await from(page, 1);
      await change(page, levels[0]);
    });
  }
  await page.evaluate(() => cell.video.pause());
  if (c.cues?.length) { // a default track may show, and what it has drawn goes when time goes by
    await page.evaluate(() => cell.pickText(-1));
    await from(page, 2.2);
    await until(page, 60, () => cell.video.currentTime > 2.8);
    await page.evaluate(() => cell.video.pause());
  }
  await step('seek', async () => {
    for (const at of c.times) {
      await seek(page, at);
      out.shots.push({ at, file: await shoot(page, c, at.toFixed(3)) });
    }
  });
  if (c.cues?.length) {
    await step('text', async () => {
      await from(page, 0.2);
      await page.evaluate(() => cell.pickText(0));
      await playing(page, (texts) => texts.includes(cell.shown()), c.cues.map((cue) => cue.text).filter(Boolean));
      await page.evaluate(() => cell.video.pause());
      for (const { at, text } of c.cues) {
        await seek(page, at - 0.1); // what is on the picture is looked at when time goes by
        await seek(page, at);
        await until(page, 60, (text) => cell.shown() === text, text);
        out.texts.push({ at, file: await drawn(page, c, at, text, out.shots.find((s) => s.at === at)?.file) });
      }
    });
  }
}

// refuse plays with a wrong token: an error must come, and no picture.
async function refuse(c, out) {
  const page = await open(c, c.wrong, out);
  const end = Date.now() + 60000;
  while (!(out.refusal = await page.evaluate(() => window.cell?.error)) && Date.now() < end) {
    await page.evaluate(() => { window.cell?.video?.play().catch(() => {}); });
    await sleep(200);
  }
  const frames = await page.evaluate(() => cell.video.getVideoPlaybackQuality().totalVideoFrames);
  out.steps.refuse = !out.refusal ? 'no error within 60 s' : frames > 0 ? `${frames} pictures all the same` : '';
  await page.context().close();
}

async function lane() {
  for (let c = plan.cells.shift(); c; c = plan.cells.shift()) {
    const out = {
      id: c.id, browser: browser.version(), engine: '', steps: {}, shots: [], texts: [],
      keyRequests: 0, freshRequests: 0, authorized: [], refusal: '',
    };
    try {
      await play(c, out);
      if (c.wrong && !c.only && out.steps.play === '') await refuse(c, out);
    } catch (e) {
      out.steps.driver = String(e?.message ?? e).slice(0, 300);
    }
    process.stdout.write(`${JSON.stringify(out)}\n`);
  }
}

await Promise.all(Array.from({ length: plan.lanes }, lane));
await browser.close();
