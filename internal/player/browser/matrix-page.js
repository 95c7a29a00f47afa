// One page for all players of the matrix: #engine=…&url=…&token=…&scheme=…
// window.cell is the same for each: error, ready, levels (heights, best first),
// pick(height), token (may be replaced at any time), keyRequests.
const params = new URLSearchParams(location.hash.slice(1));
const url = params.get('url');
const cell = window.cell = {
  engine: '', ready: false, error: '', levels: [], pick: () => {}, token: params.get('token') ?? '', keyRequests: 0,
  video: document.getElementById('video'),
};
const fail = (text) => { cell.error ||= String(text); };
addEventListener('unhandledrejection', (e) => fail(e.reason?.message ?? e.reason));

const isKey = (uri) => /^\/api\/(key|license)\//.test(new URL(uri, location.href).pathname);
// authorize gives the header for key routes, and for nothing else.
function authorize(uri) {
  if (!isKey(uri)) return '';
  cell.keyRequests++;
  return cell.token && `Bearer ${cell.token}`;
}

const script = (src) => new Promise((done, failed) => {
  document.head.append(Object.assign(document.createElement('script'), { src, onload: done, onerror: () => failed(new Error(`no ${src}`)) }));
});
const ready = (levels, pick) => {
  cell.levels = [...new Set(levels)].filter(Boolean).sort((a, b) => b - a);
  cell.pick = pick;
  cell.ready = true;
};

const engines = {
  async 'hls.js'() {
    await script('/lib/hls.js');
    cell.engine = `hls.js ${Hls.version}`;
    let eme = {};
    if (['cbcs', 'cenc'].includes(params.get('scheme'))) {
      const { hlsClearKey } = await import('/hls-clearkey.js');
      eme = hlsClearKey(Hls, { authorize });
    }
    const hls = new Hls({
      xhrSetup(xhr, uri) {
        xhr.open('GET', uri, true);
        const header = authorize(uri);
        if (header) xhr.setRequestHeader('Authorization', header);
      },
      ...eme,
    });
    hls.on(Hls.Events.ERROR, (_, e) => { if (e.fatal) fail(`${e.details} ${e.response?.code ?? ''} ${e.error?.message ?? ''}`); });
    hls.on(Hls.Events.MANIFEST_PARSED, () => ready(hls.levels.map((l) => l.height), (height) => {
      hls.currentLevel = hls.levels.findIndex((l) => l.height === height);
    }));
    hls.loadSource(url);
    hls.attachMedia(cell.video);
  },

  async 'Shaka Player'() {
    await script('/lib/shaka.js');
    cell.engine = `Shaka Player ${shaka.Player.version}`;
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    player.getNetworkingEngine().registerRequestFilter((_, request) => {
      const header = authorize(request.uris[0]);
      if (header) request.headers.Authorization = header;
    });
    player.addEventListener('error', ({ detail }) => { if (detail.severity === 2) fail(`shaka ${detail.code} ${detail.data?.[1] ?? ''}`); });
    await player.attach(cell.video);
    try { await player.load(url); } catch (e) { return fail(`shaka ${e.code} ${e.data?.[1] ?? ''}`); }
    ready(player.getVariantTracks().map((t) => t.height), (height) => {
      player.configure('abr.enabled', false);
      player.selectVariantTrack(player.getVariantTracks().find((t) => t.height === height), true);
    });
  },

  async 'dash.js'() {
    await script('/lib/dash.js');
    const player = dashjs.MediaPlayer().create();
    cell.engine = `dash.js ${player.getVersion()}`;
    player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: false } } } });
    player.addRequestInterceptor?.((request) => {
      const header = authorize(request.url);
      if (header) request.headers = { ...request.headers, Authorization: header };
      return Promise.resolve(request);
    });
    player.registerLicenseRequestFilter((request) => {
      const header = authorize(request.url);
      if (header) request.headers = { ...request.headers, Authorization: header };
      return Promise.resolve();
    });
    player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => fail(`${error?.code ?? ''} ${error?.message ?? error}`));
    player.on(dashjs.MediaPlayer.events.STREAM_INITIALIZED, () => {
      const list = () => player.getRepresentationsByType('video');
      ready(list().map((r) => r.height), (height) => {
        player.setRepresentationForTypeByIndex('video', list().findIndex((r) => r.height === height), true);
      });
    });
    player.initialize(cell.video, url, false);
  },

  async 'video.js'() {
    await script('/lib/video.js');
    await script('/lib/videojs-eme.js');
    // So that a short film is not in the buffer whole before a rendition is chosen.
    videojs.Vhs.GOAL_BUFFER_LENGTH = 2;
    videojs.Vhs.MAX_GOAL_BUFFER_LENGTH = 3;
    cell.engine = `video.js ${videojs.VERSION}`;
    cell.video.className = 'video-js';
    const player = videojs(cell.video, { muted: true, html5: { vhs: { overrideNative: true, cacheEncryptionKeys: true, maxPlaylistRetries: 2 } } });
    player.eme?.();
    videojs.Vhs.xhr.onRequest((options) => {
      const header = authorize(options.uri ?? options.url);
      if (header) options.headers = { ...options.headers, Authorization: header };
      return options;
    });
    player.on('error', () => fail(`${player.error()?.code} ${player.error()?.message}`));
    const dash = url.endsWith('.mpd');
    const source = { src: url, type: dash ? 'application/dash+xml' : 'application/vnd.apple.mpegurl' };
    if (dash && params.get('scheme')) {
      source.keySystems = { 'org.w3.clearkey': { url: params.get('licence'), licenseHeaders: {}, getLicense(_, message, done) {
        fetch(params.get('licence'), { method: 'POST', body: message, headers: { Authorization: authorize(params.get('licence')) } })
          .then(async (r) => (r.ok ? done(null, new Uint8Array(await r.arrayBuffer())) : done(new Error(`licence ${r.status}`))))
          .catch(done);
      } } };
    }
    player.src(source);
    player.one('loadedmetadata', () => {
      cell.video = player.tech(true).el();
      const list = player.tech(true).vhs?.representations() ?? [];
      ready(list.map((r) => r.height), (height) => { for (const r of list) r.enabled(r.height === height); });
    });
  },

  async native() {
    cell.engine = 'the browser itself';
    cell.video.onerror = () => fail(`media error ${cell.video.error?.code}: ${cell.video.error?.message}`);
    cell.video.onloadedmetadata = () => ready([], () => {});
    cell.video.src = url;
  },
};

try { await engines[params.get('engine')](); } catch (e) { fail(e?.message ?? e); }
