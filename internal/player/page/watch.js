// The player page: /watch/{playback key}#token=… and, inside other pages,
// /embed/{playback key}#token=…. The token stands in the fragment, which no
// browser sends anywhere (?token= and ?jwt= are taken, too), and goes out as an
// Authorization header to this origin alone.
//
// A new token comes from window.sealcastRenew({playbackKey, reason}), which may
// give a promise, or from the page around an embedded one:
//   ← {type: "sealcast:token-needed", playbackKey, reason, expiresAt}
//   → {type: "sealcast:token", token}
// That page also hears sealcast:ready, sealcast:play, sealcast:pause,
// sealcast:ended and sealcast:error {code, text}.
import { hlsEngine, nativeEngine, shakaEngine } from './engines.js';
import { storyboard } from './storyboard.js';
import { clock, menu, sentence, until } from './words.js';

const $ = (id) => document.getElementById(id);
const video = $('video');
const embedded = location.pathname.startsWith('/embed/');
const playbackKey = decodeURIComponent(location.pathname.split('/')[2] ?? '');
const folder = `/v1/p/${playbackKey}/`;
const params = new URLSearchParams(location.hash.slice(1));
const query = new URLSearchParams(location.search);

const session = {
  token: params.get('token') || query.get('token') || query.get('jwt') || '',
  expiresAt: 0, // seconds since 1970; 0: unknown, or no token is needed
  folder,
  // headers go with every request under the playback key, and nowhere else.
  headers() {
    const h = {};
    if (session.token) h.Authorization = `Bearer ${session.token}`;
    if (embedded && embedder()) h['Sealcast-Embedder'] = embedder();
    return h;
  },
  ours(uri) {
    const u = new URL(uri, location.href);
    return u.origin === location.origin && u.pathname.startsWith(folder);
  },
  async get(path) {
    const answer = await fetch(folder + path, { headers: session.headers(), credentials: 'same-origin', referrerPolicy: 'same-origin' });
    if (!answer.ok) throw await refusal(answer);
    return answer;
  },
  // refused is called by an engine when a request was refused. It resolves when
  // there is a new token and the engine may go on.
  refused,
};

// state is for tests and for pages that look in.
const state = window.sealcast = {
  engine: '', ready: false, error: null, levels: [], renewals: 0, output: '',
  get currentTime() { return video.currentTime; },
  get readyState() { return video.readyState; },
};

let engine;

function embedder() {
  if (window === window.top) return '';
  const around = location.ancestorOrigins?.[0];
  if (around) return around;
  try { return new URL(document.referrer).origin; } catch { return ''; }
}

function tell(type, more = {}) {
  if (embedded && window.parent !== window) window.parent.postMessage({ type: `sealcast:${type}`, playbackKey, ...more }, '*');
}

async function refusal(answer) {
  let code = '';
  try { code = (await answer.json()).code ?? ''; } catch { /* not a problem document */ }
  return Object.assign(new Error(code), { code: code || 'unreachable', status: answer.status });
}

// fail shows why nothing plays. The first reason stays.
function fail(code, status = 0, detail = '') {
  if (state.error) return;
  const small = [code, status ? `HTTP ${status}` : '', detail].filter(Boolean).join(', ');
  state.error = { code, status, detail, text: `${sentence(code)} (${small})` };
  state.ready = false;
  engine?.stop();
  video.pause();
  video.removeAttribute('src');
  video.load();
  $('message-text').textContent = sentence(code);
  $('message-code').textContent = small;
  $('retry').hidden = !['unavailable', 'unreachable', 'rate_limited'].includes(code);
  $('message').hidden = false;
  $('controls').hidden = $('start').hidden = true;
  tell('error', { code, text: state.error.text });
}

// A refusal that another token mends.
const renewable = new Set(['token_expired', 'token_required', 'invalid_token', 'token_revoked', 'token_ttl_exceeded']);
let renewing;

function renew(reason) {
  renewing ??= ask(reason).then(async (token) => {
    session.token = token;
    state.renewals++;
    await readPlayback();
  }).finally(() => { renewing = undefined; });
  return renewing;
}

async function ask(reason) {
  if (typeof window.sealcastRenew === 'function') {
    const token = await window.sealcastRenew({ playbackKey, reason });
    if (typeof token === 'string' && token) return token;
    throw Object.assign(new Error(reason), { code: reason });
  }
  if (!embedded || window.parent === window) throw Object.assign(new Error(reason), { code: reason });
  return new Promise((resolve, reject) => {
    const give = (e) => {
      if (e.source !== window.parent || e.data?.type !== 'sealcast:token' || typeof e.data.token !== 'string') return;
      clearTimeout(patience);
      removeEventListener('message', give);
      resolve(e.data.token);
    };
    const patience = setTimeout(() => {
      removeEventListener('message', give);
      reject(Object.assign(new Error(reason), { code: reason }));
    }, 10_000);
    addEventListener('message', give);
    tell('token-needed', { reason, expiresAt: session.expiresAt });
  });
}

async function refused(code, status, detail) {
  if (!renewable.has(code) || state.error) {
    fail(code || 'unreachable', status, detail);
    return false;
  }
  try {
    await renew(code);
    return true;
  } catch (e) {
    fail(e.code || code, status, detail);
    return false;
  }
}

let playback;
let timer;

async function readPlayback() {
  playback = await (await session.get('playback.json')).json();
  session.expiresAt = playback.token ? Date.parse(playback.token.expires_at) / 1000 : 0;
  clearTimeout(timer);
  if (session.expiresAt) {
    // Early enough that nothing is refused, late enough that a short token is used.
    const left = session.expiresAt - Date.now() / 1000;
    timer = setTimeout(() => renew('token_expires').catch(() => {}), Math.min(Math.max(left - Math.max(10, left * .1), 1), 2 ** 31 / 1000 - 1) * 1000);
  }
  showValidity();
}

function showValidity() {
  const left = session.expiresAt - Date.now() / 1000;
  $('validity').textContent = !session.expiresAt ? '' : left > 0 ? `token valid for ${until(left)}` : 'token expired';
}

// choose picks an output and the engine that plays it here: hls.js and Shaka
// Player first, the browser's own player only without Media Source Extensions,
// for it cannot send a header and plays less.
function choose() {
  const outputs = playback.outputs;
  const wanted = params.get('output') || query.get('output');
  const forced = params.get('player') || query.get('player');
  const fits = (o) => !wanted || o.name === wanted;
  const aes = (o) => o.scheme === null || o.scheme === 'aes-128';
  const has = { hls: Boolean(window.Hls?.isSupported()), shaka: false, native: video.canPlayType('application/vnd.apple.mpegurl') !== '' };
  window.shaka?.polyfill.installAll();
  has.shaka = Boolean(window.shaka?.Player.isBrowserSupported());
  const hls = outputs.filter(fits).filter(aes).sort((a, b) => Number(b.container === 'fmp4') - Number(a.container === 'fmp4'));
  const ways = [
    { name: 'hls', make: hlsEngine, list: hls },
    { name: 'shaka', make: shakaEngine, list: outputs.filter(fits) },
    { name: 'native', make: nativeEngine, list: [...hls].reverse() }, // MPEG-TS first: it plays in the oldest
  ];
  for (const { name, make, list } of ways) {
    if (has[name] && list.length && (!forced || forced === name)) return { make, output: list[0] };
  }
  return null;
}

async function poster() {
  if (!playback.poster) return;
  try {
    video.poster = URL.createObjectURL(await (await session.get(playback.poster)).blob());
  } catch { /* the token may not cover it */ }
}

function tracks({ audio, pickAudio, heard, captions, pickCaption, shown }) {
  menu($('audio'), audio.length > 1 ? audio : [], pickAudio, heard);
  menu($('captions'), captions.length ? [{ label: 'off', value: -1 }, ...captions] : [], pickCaption, shown);
}

function ready({ levels, pickLevel }) {
  if (state.ready || state.error) return;
  state.levels = levels;
  menu($('quality'), levels.length > 1 ? [{ label: 'auto', value: -1 }, ...levels] : [], pickLevel);
  $('controls').hidden = false;
  $('start').hidden = !video.paused;
  state.ready = true;
  tell('ready', { duration: playback.duration_seconds });
}

function wireControls() {
  const toggle = () => (video.paused ? video.play().catch(() => {}) : video.pause());
  $('play').onclick = $('start').onclick = toggle;
  video.onclick = toggle;
  $('mute').onclick = () => { video.muted = !video.muted; };
  $('fullscreen').onclick = () => (document.fullscreenElement ? document.exitFullscreen() : $('stage').requestFullscreen()).catch(() => {});
  $('retry').onclick = () => location.reload();
  video.onvolumechange = () => { $('mute').textContent = video.muted ? 'Sound' : 'Mute'; };
  video.onplay = () => { $('play').textContent = 'Pause'; $('start').hidden = true; tell('play'); };
  video.onpause = () => { $('play').textContent = 'Play'; tell('pause'); };
  video.onended = () => tell('ended');
  const seek = $('seek');
  const showTime = () => {
    if (!seek.matches(':active')) seek.value = video.currentTime;
    $('time').textContent = `${clock(video.currentTime)} / ${clock(video.duration)}`;
  };
  video.ontimeupdate = showTime;
  video.ondurationchange = () => {
    seek.max = Number.isFinite(video.duration) ? video.duration : 0;
    showTime();
  };
  seek.oninput = () => { video.currentTime = Number(seek.value); };
  addEventListener('keydown', (e) => {
    if (e.target.matches('select, input, button') || e.ctrlKey || e.metaKey || e.altKey) return;
    const act = { ' ': toggle, k: toggle, m: $('mute').onclick, f: $('fullscreen').onclick,
      ArrowLeft: () => { video.currentTime -= 5; }, ArrowRight: () => { video.currentTime += 5; } }[e.key];
    if (act) { e.preventDefault(); act(); }
  });
  let idle;
  $('stage').onpointermove = () => {
    $('stage').classList.remove('idle');
    clearTimeout(idle);
    idle = setTimeout(() => { if (!video.paused) $('stage').classList.add('idle'); }, 3000);
  };
  setInterval(showValidity, 1000);
}

async function start() {
  wireControls();
  if (!/^[A-Za-z0-9_-]{3,64}$/.test(playbackKey)) return fail('bad_address');
  for (;;) {
    try { await readPlayback(); break; } catch (e) {
      if (!await refused(e.code || 'unreachable', e.status ?? 0, '')) return;
    }
  }
  if (playback.storyboard) {
    storyboard(session, playback.storyboard, { video, seek: $('seek'), box: $('preview'), picture: $('preview-picture'), time: $('preview-time') });
  }
  await poster();
  const way = choose();
  if (!way) return fail('no_player');
  state.output = way.output.name;
  engine = way.make({ video, session, output: way.output, ready, tracks, fail, say: (text) => { state.engine = text; } });
  engine.start();
}

// A new fragment is a new token, or another title.
addEventListener('hashchange', () => location.reload());
start();
