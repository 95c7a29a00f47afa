// One page for all players of the matrix: #engine=…&url=…&token=…&scheme=…
// window.cell is the same for each: error, ready, token (may be replaced at any
// time), pictureAt (of what is on the screen), heights (that came on it; native
// only), levels (heights of one codec, best first) and pick(height), codec() that
// is played, pickAudio(i), pickText(i) (-1: none), hertz() of the sound, shown()
// of text and whether it is drawn(text).
// Buffers are short, so that a switch or a new key comes while the film plays.
const params = new URLSearchParams(location.hash.slice(1));
const url = params.get('url');
const cell = window.cell = {
  engine: '', ready: false, error: '', token: params.get('token') ?? '',
  pictureAt: -1, levels: [], heights: [], pick() {}, codec: () => '', pickAudio() {}, pickText() {}, hertz, shown, drawn: () => true,
  video: document.getElementById('video'),
};
const buffer = 4; // seconds
const wanted = params.get('codec') ?? ''; // the rendition's codec, where the output has several
const fail = (text) => { cell.error ||= String(text); };
addEventListener('unhandledrejection', (e) => fail(e.reason?.message ?? e.reason));

// authorize gives the header for key routes, and for nothing else.
const isKey = (uri) => /^\/api\/(key|license)\//.test(new URL(uri, location.href).pathname);
const authorize = (uri) => isKey(uri) && cell.token && `Bearer ${cell.token}`;

const script = (src) => new Promise((done, failed) => {
  document.head.append(Object.assign(document.createElement('script'), { src, onload: done, onerror: () => failed(new Error(`no ${src}`)) }));
});
// ready takes the player's renditions as {height, codec, use()}.
const ready = (list, more) => {
  const own = () => list().filter((r) => r.height && (!wanted || r.codec?.startsWith(wanted)));
  cell.levels = [...new Set(own().map((r) => r.height))].sort((a, b) => b - a);
  cell.pick = (height) => own().find((r) => r.height === height).use();
  Object.assign(cell, more);
  if (wanted && cell.levels.length) cell.pick(cell.levels[0]);
  follow();
  cell.ready = true;
};

// follow notes the time of the picture that is on the screen.
function follow() {
  cell.video.requestVideoFrameCallback((_, { mediaTime }) => { cell.pictureAt = mediaTime; follow(); });
}

// hertz is the strongest tone that is heard, or 0.
let analyser;
function hertz() {
  if (!analyser) {
    const audio = new AudioContext();
    analyser = new AnalyserNode(audio, { fftSize: 8192 });
    audio.createMediaElementSource(cell.video).connect(analyser);
  }
  const bins = new Uint8Array(analyser.frequencyBinCount);
  analyser.getByteFrequencyData(bins);
  const top = bins.indexOf(Math.max(...bins));
  return bins[top] < 100 ? 0 : top * analyser.context.sampleRate / analyser.fftSize;
}

// onPicture says whether a rectangle of the page is one, and begins on the picture.
const onPicture = (r) => r.width > 0 && r.height > 0 && r.top >= 0 && r.top < 360;

// shown is the text on the picture now.
function shown(tracks = cell.video.textTracks) {
  return Array.from(tracks).filter((t) => t.mode === 'showing' && ['subtitles', 'captions'].includes(t.kind))
    .flatMap((t) => Array.from(t.activeCues ?? [], (c) => c.text)).join(' ');
}

const engines = {
  async 'hls.js'() {
    await script('/lib/hls.js');
    cell.engine = `hls.js ${Hls.version}`;
    let eme = {};
    if (['cbcs', 'cenc'].includes(params.get('scheme'))) {
      const { hlsClearKey } = await import('/hls-clearkey.js');
      eme = hlsClearKey(Hls, { authorize });
    }
    if (url.endsWith('/eme.m3u8')) {
      eme = {
        emeEnabled: true, drmSystems: { 'org.w3.clearkey': { licenseUrl: params.get('licence') } },
        licenseXhrSetup(xhr, uri) {
          xhr.open('POST', uri, true);
          xhr.setRequestHeader('Content-Type', 'application/json');
          const header = authorize(uri);
          if (header) xhr.setRequestHeader('Authorization', header);
        },
      };
    }
    const hls = new Hls({
      xhrSetup(xhr, uri) {
        xhr.open('GET', uri, true);
        const header = authorize(uri);
        if (header) xhr.setRequestHeader('Authorization', header);
      },
      maxBufferLength: buffer, maxMaxBufferLength: buffer,
      ...eme,
    });
    hls.on(Hls.Events.ERROR, (_, e) => { if (e.fatal) fail(`${e.details} ${e.response?.code ?? ''} ${e.error?.message ?? ''}`); });
    const list = () => hls.levels.map((l, i) => ({ height: l.height, codec: l.videoCodec, use() { hls.currentLevel = i; } }));
    hls.on(Hls.Events.MANIFEST_PARSED, () => ready(list, {
      codec: () => hls.levels[hls.currentLevel]?.videoCodec ?? '',
      pickAudio(i) { hls.audioTrack = i; },
      pickText(i) { hls.subtitleDisplay = i >= 0; hls.subtitleTrack = i; },
    }));
    hls.loadSource(url);
    hls.attachMedia(cell.video);
  },

  async 'Shaka Player'() {
    await script('/lib/shaka.js');
    cell.engine = `Shaka Player ${shaka.Player.version}`;
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    player.configure('streaming.bufferingGoal', buffer);
    player.configure('abr.enabled', false);
    player.getNetworkingEngine().registerRequestFilter((_, request) => {
      const header = authorize(request.uris[0]);
      if (header) request.headers.Authorization = header;
    });
    player.addEventListener('error', ({ detail }) => { if (detail.severity === 2) fail(`shaka ${detail.code} ${detail.data?.[1] ?? ''}`); });
    await player.attach(cell.video);
    try { await player.load(url); } catch (e) { return fail(`shaka ${e.code} ${e.data?.[1] ?? ''}`); }
    const active = () => player.getVariantTracks().find((t) => t.active);
    const list = () => player.getVariantTracks().filter((t) => t.language === active()?.language)
      .map((t) => ({ height: t.height, codec: t.videoCodec, use: () => player.selectVariantTrack(t, true) }));
    const audios = player.getAudioTracks();
    // It holds text of HLS back until it gets a segment of the film after text
    // was chosen for the first time (5.2.12, text_engine.js): choose some early.
    player.selectTextTrack(player.getTextTracks()[0] ?? null);
    ready(list, {
      codec: () => active()?.videoCodec ?? '',
      pickAudio: (i) => player.selectAudioTrack(audios[i]),
      pickText: (i) => player.selectTextTrack(player.getTextTracks()[i] ?? null),
    });
  },

  async 'dash.js'() {
    await script('/lib/dash.js');
    const player = dashjs.MediaPlayer().create();
    cell.engine = `dash.js ${player.getVersion()}`;
    player.updateSettings({ streaming: {
      abr: { autoSwitchBitrate: { video: false } },
      buffer: { bufferTimeDefault: buffer, bufferTimeAtTopQuality: buffer, bufferTimeAtTopQualityLongForm: buffer },
    } });
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
      const video = player.getTracksFor('video').find((t) => !wanted || t.codec?.includes(wanted));
      if (wanted && video !== player.getCurrentTrackFor('video')) player.setCurrentTrack(video);
      const list = () => player.getRepresentationsByType('video').map((r, i) => (
        { height: r.height, codec: r.codecs, use: () => player.setRepresentationForTypeByIndex('video', i, true) }));
      const audios = player.getTracksFor('audio');
      ready(list, {
        codec: () => player.getCurrentRepresentationForType('video')?.codecs ?? '',
        pickAudio: (i) => player.setCurrentTrack(audios[i]),
        pickText(i) { player.enableText(i >= 0); player.setTextTrack(i); },
      });
    });
    player.initialize(cell.video, url, false);
  },

  async 'video.js'() {
    await script('/lib/video.js');
    await script('/lib/videojs-eme.js');
    document.head.prepend(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: '/lib/video-js.css' })); // it draws text itself
    videojs.Vhs.GOAL_BUFFER_LENGTH = videojs.Vhs.MAX_GOAL_BUFFER_LENGTH = buffer;
    cell.engine = `video.js ${videojs.VERSION}`;
    cell.video.className = 'video-js';
    const player = videojs(cell.video, { html5: { vhs: { overrideNative: true, cacheEncryptionKeys: true, maxPlaylistRetries: 2 } } });
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
        fetch(params.get('licence'), { method: 'POST', body: message, headers: cell.token ? { Authorization: authorize(params.get('licence')) } : {} })
          .then(async (r) => (r.ok ? done(null, new Uint8Array(await r.arrayBuffer())) : done(new Error(`licence ${r.status}`))))
          .catch(done);
      } } };
    }
    player.src(source);
    player.one('loadedmetadata', () => {
      cell.video = player.tech(true).el();
      const reps = player.tech(true).vhs?.representations() ?? [];
      // One is used at once when it is enabled after the others were disabled;
      // one that is enabled already is not.
      const list = () => reps.map((r) => ({ height: r.height, codec: r.codecs?.video, use() {
        for (const other of reps) other.enabled(false);
        r.enabled(true);
      } }));
      const texts = () => Array.from(player.textTracks()).filter((t) => t.kind === 'subtitles');
      ready(list, {
        codec: () => reps.find((r) => r.id === player.tech(true).vhs.playlists.media()?.id)?.codecs?.video ?? '',
        pickAudio(i) { player.audioTracks()[i].enabled = true; },
        pickText: (i) => texts().forEach((t, n) => { t.mode = n === i ? 'showing' : 'disabled'; }), shown: () => shown(player.textTracks()),
        drawn: (text) => Array.from(document.querySelectorAll('.vjs-text-track-cue')).some((cue) => cue.textContent.includes(text) && cue.checkVisibility() && onPicture(cue.getBoundingClientRect())),
      });
    });
  },

  async native() {
    cell.engine = 'the browser itself';
    cell.video.onresize = () => cell.heights.push(cell.video.videoHeight);
    cell.video.onerror = () => fail(`media error ${cell.video.error?.code}: ${cell.video.error?.message}`);
    cell.video.onloadedmetadata = () => ready(() => []);
    cell.video.src = url;
  },
};

try { await engines[params.get('engine')](); } catch (e) { fail(e?.message ?? e); }
