import { hlsClearKey } from './hls-clearkey.js';

// The player page. What to play stands in the fragment, which is never sent
// to a server nor in a Referer:
//   /#api=<BASE_URL>&hash=<hash>&token=<token>&output=ts|cmaf|…
// The token goes out as an Authorization header on key requests and nowhere
// else. window.sealcast shows the state to tests.

(() => {
  const $ = (id) => document.getElementById(id);
  const video = $('video');
  const params = new URLSearchParams(location.hash.slice(1));
  const api = origin(params.get('api'));
  const hash = params.get('hash') ?? '';
  const token = params.get('token') ?? '';
  const output = params.get('output') || 'ts';
  let stop = () => {};

  const state = window.sealcast = {
    output, engine: '', ready: false, error: null, levels: [], level: -1, keyRequests: 0,
    get currentTime() { return video.currentTime; },
    get readyState() { return video.readyState; },
  };

  const sentences = {
    token_required: 'This title is encrypted, and no token was given.',
    invalid_token: 'The token is not valid.',
    token_expired: 'The token has expired: ask for a new one.',
    token_not_yet_valid: 'The token is not valid yet.',
    token_ttl_exceeded: 'The token is valid for longer than is allowed.',
    token_too_large: 'The token is too long.',
    token_mismatch: 'The token is for another title.',
    token_revoked: 'The token was revoked.',
    no_key: 'There is no key for this title.',
    rate_limited: 'Too many key requests: wait a moment and try again.',
    key_integrity: 'The key of this title is damaged.',
    unavailable: 'The key service is away at the moment: try again soon.',
    key_refused: 'The key was refused.',
    not_found: 'Nothing is published under this hash in this output.',
    unreachable: 'The API does not answer, or this page may not talk to it.',
    bad_address: 'The address of this page is not complete.',
    no_mse: 'This browser has no Media Source Extensions, which this page needs.',
    playback_failed: 'Playback failed.',
  };

  function origin(text) {
    try { return new URL(text).origin; } catch { return ''; }
  }

  // isKey tells the key routes of our API from everything else: only these get
  // the token.
  function isKey(uri) {
    const u = new URL(uri, location.href);
    return u.origin === api && (u.pathname.startsWith('/api/key/') || u.pathname.startsWith('/api/license/'));
  }

  // authorize is the Authorization header for a request, or nothing.
  function authorize(uri) {
    if (!isKey(uri)) return '';
    state.keyRequests++;
    return token && `Bearer ${token}`;
  }

  // problemCode finds the code of a problem+json answer in bytes or text.
  function problemCode(body) {
    try {
      const text = typeof body === 'string' ? body : new TextDecoder().decode(body);
      const { code } = JSON.parse(text);
      return typeof code === 'string' ? code : '';
    } catch { return ''; }
  }

  // fail ends playback for good and says why. The first reason stays.
  function fail(code, status = 0, detail = '') {
    if (state.error) return;
    const sentence = sentences[code] ?? sentences.key_refused;
    const small = [code, status ? `HTTP ${status}` : '', detail].filter(Boolean).join(', ');
    state.error = { code, status, detail, text: `${sentence} (${small})` };
    state.ready = false;
    stop();
    video.removeAttribute('src');
    video.load();
    video.controls = false;
    $('bar').hidden = true;
    $('error').textContent = state.error.text;
    $('error').hidden = false;
  }

  // failed names a refused or broken request.
  function failed(key, status, body, detail) {
    if (key) return fail(problemCode(body) || (status ? 'key_refused' : 'unreachable'), status);
    if (status === 404) return fail('not_found', status);
    if (status === 0) return fail('unreachable', 0, detail);
    return fail('playback_failed', status, detail);
  }

  // ready fills the menu of renditions. levels: {label, value}[], best first.
  function ready(levels, pick) {
    if (state.ready || state.error) return;
    state.levels = levels;
    menu($('quality'), [{ label: 'auto', value: -1 }, ...levels], pick);
    $('bar').hidden = false;
    state.ready = true;
  }

  function tracks(audio, pick) {
    menu($('audio'), audio, pick);
    $('audio-label').hidden = audio.length < 2;
  }

  function menu(select, options, pick) {
    select.replaceChildren(...options.map(({ label, value }) => new Option(label, value)));
    select.onchange = () => pick(Number(select.value));
  }

  const levelLabel = ({ height, bitrate }) => `${height}p, ${(bitrate / 1e6).toFixed(1)} Mb/s`;
  const byHeight = (a, b) => b.height - a.height || b.bitrate - a.bitrate;

  // playHls plays with hls.js; eme says how it gets the key of sample encryption.
  function playHls(url, eme = {}) {
    if (!window.Hls?.isSupported()) return fail('no_mse');
    state.engine = `hls.js ${Hls.version}`;
    const policy = structuredClone(Hls.DefaultConfig.keyLoadPolicy);
    // A refusal is final: asking again would only be a storm of requests.
    policy.default.errorRetry = {
      maxNumRetry: 4, retryDelayMs: 1000, maxRetryDelayMs: 8000, backoff: 'exponential',
      shouldRetry: (retry, n, _timeout, answer) =>
        n < retry.maxNumRetry && !(answer?.code >= 400 && answer.code < 500 && answer.code !== 429),
    };
    const hls = new Hls({
      keyLoadPolicy: policy,
      xhrSetup(xhr, uri) {
        xhr.open('GET', uri, true);
        const header = authorize(uri);
        if (header) xhr.setRequestHeader('Authorization', header);
      },
      ...eme,
    });
    stop = () => hls.destroy();
    let recovered = false;
    hls.on(Hls.Events.ERROR, (_, e) => {
      const status = e.response?.code ?? 0;
      const { KEY_LOAD_ERROR, KEY_LOAD_TIMEOUT, KEY_SYSTEM_LICENSE_REQUEST_FAILED } = Hls.ErrorDetails;
      const key = [KEY_LOAD_ERROR, KEY_LOAD_TIMEOUT, KEY_SYSTEM_LICENSE_REQUEST_FAILED].includes(e.details);
      if (key && (e.fatal || (status >= 400 && status < 500 && status !== 429))) {
        return failed(true, status, e.networkDetails?.response, e.details);
      }
      if (!e.fatal) return;
      if (e.type === Hls.ErrorTypes.MEDIA_ERROR && !recovered) {
        recovered = true;
        return hls.recoverMediaError();
      }
      if (e.type === Hls.ErrorTypes.NETWORK_ERROR) return failed(false, status, null, e.details);
      fail('playback_failed', 0, e.details);
    });
    hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => {
      state.level = level;
      $('now').value = levelLabel(hls.levels[level]);
    });
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      const levels = hls.levels.map((l, value) => ({ value, height: l.height, bitrate: l.bitrate, label: levelLabel(l) }));
      ready(levels.sort(byHeight), (v) => { hls.currentLevel = v; });
    });
    // The tracks are those of the level's group: hls.js has none before it has a level.
    hls.on(Hls.Events.AUDIO_TRACKS_UPDATED, (_, { audioTracks }) => {
      tracks(audioTracks.map((t, value) => ({ value, label: t.name || t.lang || `track ${value + 1}` })), (v) => { hls.audioTrack = v; });
    });
    hls.loadSource(url);
    hls.attachMedia(video);
  }

  // licensed is hls.js's configuration for a licence server.
  const licensed = (url) => ({
    emeEnabled: true,
    drmSystems: { 'org.w3.clearkey': { licenseUrl: url } },
    licenseXhrSetup(xhr, uri) {
      xhr.open('POST', uri, true);
      xhr.setRequestHeader('Content-Type', 'application/json');
      const header = authorize(uri);
      if (header) xhr.setRequestHeader('Authorization', header);
    },
  });

  async function playShaka(url) {
    window.shaka?.polyfill.installAll();
    if (!window.shaka?.Player.isBrowserSupported()) return fail('no_mse');
    state.engine = `Shaka Player ${shaka.Player.version}`;
    const player = new shaka.Player();
    stop = () => { player.destroy(); };
    const { KEY, LICENSE } = shaka.net.NetworkingEngine.RequestType;
    player.getNetworkingEngine().registerRequestFilter((type, request) => {
      if (!request.uris.some(isKey)) return;
      request.uris = request.uris.filter(isKey); // the token goes nowhere else
      const header = authorize(request.uris[0]);
      if (header) request.headers.Authorization = header;
    });
    const onError = (e) => {
      const { BAD_HTTP_STATUS, HTTP_ERROR, TIMEOUT, LICENSE_REQUEST_FAILED } = shaka.util.Error.Code;
      if (e?.code === shaka.util.Error.Code.LOAD_INTERRUPTED) return;
      if (e?.code === LICENSE_REQUEST_FAILED) return onError(e.data[0]);
      const detail = `shaka ${e?.code ?? e}`;
      if (e?.code === BAD_HTTP_STATUS) {
        const [uri, status, body, , type] = e.data;
        return failed(type === KEY || type === LICENSE || isKey(uri), status, body, detail);
      }
      if (e?.code === HTTP_ERROR || e?.code === TIMEOUT) return failed(false, 0, null, detail);
      fail('playback_failed', 0, detail);
    };
    player.addEventListener('error', ({ detail }) => {
      if (detail.severity === shaka.util.Error.Severity.CRITICAL) onError(detail);
    });
    const showLevel = () => {
      const active = player.getVariantTracks().find((t) => t.active);
      if (!active) return;
      state.level = active.height;
      $('now').value = levelLabel({ height: active.height, bitrate: active.bandwidth });
    };
    player.addEventListener('adaptation', showLevel);
    player.addEventListener('variantchanged', showLevel);
    try {
      await player.attach(video);
      await player.load(url);
    } catch (e) {
      return onError(e);
    }
    // A menu entry's value is a height: the tracks change with the language.
    const variants = () => player.getVariantTracks().filter((t) => t.language === player.getVariantTracks().find((a) => a.active)?.language);
    const levels = variants().map((t) => ({ value: t.height, height: t.height, bitrate: t.bandwidth }))
      .map((l) => ({ ...l, label: levelLabel(l) }));
    const pick = (v) => {
      player.configure('abr.enabled', v < 0);
      const track = variants().find((t) => t.height === v);
      if (track) player.selectVariantTrack(track, true);
    };
    ready(levels.sort(byHeight), pick);
    const sounds = player.getAudioTracks();
    tracks(sounds.map((t, value) => ({ value, label: t.label || t.language || `track ${value + 1}` })), (v) => player.selectAudioTrack(sounds[v]));
    showLevel();
  }

  const at = (name) => `${api}/stream/${hash}/${name}`;
  const outputs = {
    ts: () => playHls(at('ts/master.m3u8')),
    cmaf: () => playShaka(at('master.m3u8')),
    'cmaf-aes128': () => playHls(at('cmaf-aes128/master.m3u8')),
    'cmaf-dash': () => playShaka(at('manifest.mpd')),
    'cmaf-identity': () => playHls(at('master.m3u8'), hlsClearKey(Hls, { authorize })),
    'cmaf-eme': () => playHls(at('eme.m3u8'), licensed(`${api}/api/license/clearkey/${hash}`)),
  };

  // A new fragment is a new title.
  addEventListener('hashchange', () => location.reload());
  $('form').addEventListener('submit', (e) => {
    e.preventDefault();
    location.hash = new URLSearchParams(new FormData($('form'))).toString();
  });

  if (location.hash.length < 2) {
    video.hidden = true;
    $('form').hidden = false;
    return;
  }
  $('about').textContent = `${output} ${hash.slice(0, 12)}…`;
  if (!api || !/^[0-9a-f]{64}$/.test(hash) || !Object.hasOwn(outputs, output)) return fail('bad_address');
  outputs[output]();
})();
