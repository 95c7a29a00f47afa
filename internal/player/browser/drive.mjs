// Drives the player page in a real Chromium, headless, and tells on stdout, as
// JSON lines, what it saw. Input: one JSON document on stdin, see "plan" below.
// Package browsertest runs it. Events:
//   browser {version}            ready {engine, levels}
//   played {currentTime, frames} quality {value, label, height}
//   shot {at, currentTime, file} refused {name, code, text, currentTime, readyState, frames, file}
//   request {case, url, method, authorized, referer}   console {case, text}
//   fail {case, text}            done
import { chromium } from 'playwright-core';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

const plan = JSON.parse(await text(process.stdin));
// plan: { page, api, hash, output, token,
//         bad: [{name, token}],  // tokens that must be refused, "" for none
//         times: [seconds],      // where to take pictures, after seeking there
//         past: seconds,         // play from the start beyond this time
//         dir,                   // folder for the pictures
//         seconds }              // deadline of the whole run

const emit = (event, more) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);
let where = 'start';
let failed = false;
let browser;
let current; // the page in use

const deadline = setTimeout(() => finish(`no end within ${plan.seconds} s`), plan.seconds * 1000);
process.on('SIGTERM', () => finish('stopped by a signal'));

async function finish(text) {
  if (failed) return; // closing the browser makes whatever is under way fail, too
  clearTimeout(deadline);
  if (text) {
    failed = true;
    const state = await Promise.race([current?.evaluate(videoState).catch(String), sleep(2000, 'the page hangs')]);
    emit('fail', { case: where, text: `${text}; video: ${JSON.stringify(state)}` });
  }
  await browser?.close().catch(() => {});
  if (!failed) emit('done', {});
  process.exitCode = failed ? 1 : 0;
  setTimeout(() => process.exit(), 1000).unref();
}

function videoState() {
  const v = document.querySelector('video');
  const buffered = [];
  for (let i = 0; i < v.buffered.length; i++) buffered.push([v.buffered.start(i), v.buffered.end(i)]);
  return {
    currentTime: v.currentTime, readyState: v.readyState, networkState: v.networkState, paused: v.paused,
    seeking: v.seeking, height: v.videoHeight, buffered, error: v.error?.message, level: window.sealcast?.level,
  };
}

// open loads the page in a context of its own (no cache, no cookies shared).
async function open(name, token) {
  where = name;
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = current = await context.newPage();
  page.on('console', (m) => {
    if (m.type() === 'error' || m.type() === 'warning') emit('console', { case: name, text: m.text() });
  });
  page.on('pageerror', (e) => emit('console', { case: name, text: String(e) }));
  page.on('request', (r) => {
    const h = r.headers();
    emit('request', { case: name, url: r.url(), method: r.method(), authorized: h.authorization !== undefined, referer: h.referer ?? '' });
  });
  const fragment = new URLSearchParams({ api: plan.api, hash: plan.hash, output: plan.output, ...(token && { token }) });
  await page.goto(`${plan.page}/#${fragment}`);
  return page;
}

// until waits for a condition in the page, and fails at once on the page's
// error. It asks again and again from here: the page's policy forbids eval,
// which playwright's waitForFunction needs.
async function until(page, step, condition, arg) {
  where = `${where.split(':')[0]}: ${step}`;
  for (;;) {
    if (await page.evaluate(condition, arg)) return;
    const error = await page.evaluate(() => window.sealcast?.error?.text);
    if (error) throw new Error(`the page says: ${error}`);
    await sleep(100);
  }
}

// shoot takes a picture of the video element. A canvas would be black for a
// video behind EME; a screenshot is not.
async function shoot(page, name) {
  const file = join(plan.dir, `${name}.png`);
  await page.evaluate(() => {
    // The picture alone: no controls, no bars beside a portrait, no round corners.
    const v = document.querySelector('video');
    v.controls = false;
    v.style.borderRadius = '0';
    if (v.videoWidth > 0) {
      v.style.minHeight = '0';
      v.style.width = `min(100%, calc(75vh * ${v.videoWidth / v.videoHeight}))`;
    }
    return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  });
  await page.locator('video').screenshot({ path: file });
  return file;
}

const frames = (page) => page.evaluate(() => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames);

async function play() {
  const page = await open('play', plan.token);
  await until(page, 'get ready', () => window.sealcast?.ready && sealcast.readyState >= 2);
  emit('ready', await page.evaluate(() => ({ engine: sealcast.engine, levels: sealcast.levels })));

  await page.evaluate(() => { const v = document.querySelector('video'); v.muted = true; v.play().catch((e) => console.error(String(e))); });
  await until(page, 'play past', (past) => sealcast.currentTime > past, plan.past);
  emit('played', { currentTime: await page.evaluate(() => sealcast.currentTime), frames: await frames(page) });
  await page.evaluate(() => document.querySelector('video').pause());

  // The quality menu: the worst, then the best, which also makes the pictures sharp.
  const levels = await page.evaluate(() => sealcast.levels);
  for (const level of levels.length > 1 ? [levels.at(-1), levels[0]] : []) {
    await page.selectOption('#quality', String(level.value));
    await seek(page, plan.times[0] ?? 0);
    await until(page, `change to ${level.height}p`, (height) => document.querySelector('video').videoHeight === height, level.height);
    emit('quality', { value: level.value, label: level.label, height: level.height });
  }
  for (const at of plan.times) {
    await seek(page, at);
    const currentTime = await page.evaluate(() => sealcast.currentTime);
    emit('shot', { at, currentTime, file: await shoot(page, `at-${at.toFixed(3)}`) });
  }
  await page.context().close();
}

// seek goes to a time and waits until its picture is there. A player may move
// the time by itself while it waits for data (hls.js nudges a stalled video by
// 0.1 s), so seek tries again before it gives up.
async function seek(page, at) {
  let currentTime;
  for (let i = 0; i < 3; i++) {
    await page.evaluate((at) => { document.querySelector('video').currentTime = at; }, at);
    await until(page, `seek to ${at}`, () => {
      const v = document.querySelector('video');
      return !v.seeking && v.readyState >= 2;
    });
    currentTime = await page.evaluate(() => sealcast.currentTime);
    if (Math.abs(currentTime - at) < 0.01) return;
  }
  throw new Error(`a seek to ${at} leads to ${currentTime}`);
}

async function refuse({ name, token }) {
  const page = await open(name, token);
  while (!await page.evaluate(() => Boolean(window.sealcast?.error))) {
    await page.evaluate(() => { document.querySelector('video').play().catch(() => {}); });
    await sleep(100);
  }
  const seen = await page.evaluate(() => {
    const v = document.querySelector('video');
    return {
      code: sealcast.error.code,
      text: document.getElementById('error').checkVisibility() ? document.getElementById('error').textContent : '',
      currentTime: v.currentTime, readyState: v.readyState,
    };
  });
  emit('refused', { name, ...seen, frames: await frames(page), file: await shoot(page, `refused-${name}`) });
  await page.context().close();
}

try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    headless: true,
    chromiumSandbox: false,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'],
  });
  emit('browser', { version: browser.version() });
  await play();
  for (const bad of plan.bad ?? []) await refuse(bad);
  await finish('');
} catch (e) {
  await finish(String(e?.message ?? e));
}
