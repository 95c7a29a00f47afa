// The players behind the player page. Each engine takes {video, session,
// output, ready, tracks, fail, say} and has start() and stop(). It calls ready
// once, and tracks whenever there are other audio or text tracks. A refused
// request goes to session.refused, which gets a new token if it can.

const levelLabel = ({ height, bitrate }) => (height ? `${height}p, ${(bitrate / 1e6).toFixed(1)} Mb/s` : `audio, ${Math.round(bitrate / 1000)} kb/s`);
const best = (a, b) => b.height - a.height || b.bitrate - a.bitrate;

// problemCode finds the code of a problem+json answer in bytes or text.
function problemCode(body) {
  try {
    const text = typeof body === 'string' ? body : new TextDecoder().decode(body);
    return JSON.parse(text).code ?? '';
  } catch { return ''; }
}

export function hlsEngine({ video, session, output, ready, tracks, fail, say }) {
  const { Hls } = window;
  say(`hls.js ${Hls.version}`);
  const final = (answer) => answer?.code >= 400 && answer.code < 500 && answer.code !== 429;
  const policy = (of) => {
    const p = structuredClone(Hls.DefaultConfig[of]);
    p.default.errorRetry = {
      maxNumRetry: 4, retryDelayMs: 1000, maxRetryDelayMs: 8000, backoff: 'exponential',
      shouldRetry: (retry, n, _timeout, answer) => n < retry.maxNumRetry && !final(answer),
    };
    return p;
  };
  const hls = new Hls({
    // A refusal is final: asking again with the same token would be a storm.
    keyLoadPolicy: policy('keyLoadPolicy'), fragLoadPolicy: policy('fragLoadPolicy'),
    playlistLoadPolicy: policy('playlistLoadPolicy'), manifestLoadPolicy: policy('manifestLoadPolicy'),
    xhrSetup(xhr, uri) {
      xhr.open('GET', uri, true);
      if (!session.ours(uri)) return;
      for (const [name, value] of Object.entries(session.headers())) xhr.setRequestHeader(name, value);
    },
  });
  let recovered = false;
  hls.on(Hls.Events.ERROR, async (_, e) => {
    const status = e.response?.code ?? 0;
    const refused = status >= 400 && status < 500 && status !== 429;
    if (!e.fatal && !refused) return;
    if (e.type === Hls.ErrorTypes.NETWORK_ERROR && refused) {
      hls.stopLoad();
      const code = problemCode(e.networkDetails?.response ?? '') || 'not_found';
      if (!await session.refused(code, status, e.details)) return;
      if (hls.levels.length) hls.startLoad(video.currentTime);
      else hls.loadSource(session.folder + output.master_playlist);
      return;
    }
    if (!e.fatal) return;
    if (e.type === Hls.ErrorTypes.MEDIA_ERROR && !recovered) {
      recovered = true;
      return hls.recoverMediaError();
    }
    fail(e.type === Hls.ErrorTypes.NETWORK_ERROR ? 'unreachable' : 'playback_failed', status, e.details);
  });
  hls.on(Hls.Events.MANIFEST_PARSED, () => {
    const levels = hls.levels.map((l, value) => ({ value, height: l.height ?? 0, bitrate: l.bitrate })).map((l) => ({ ...l, label: levelLabel(l) }));
    ready({ levels: levels.sort(best), pickLevel: (v) => { hls.currentLevel = v; } });
  });
  // The tracks are those of the level's groups: hls.js has none before it has a level.
  const name = (t, i) => t.name || t.lang || `track ${i + 1}`;
  const tell = () => tracks({
    audio: hls.audioTracks.map((t, value) => ({ value, label: name(t, value) })), pickAudio: (v) => { hls.audioTrack = v; }, heard: hls.audioTrack,
    captions: hls.subtitleTracks.map((t, value) => ({ value, label: name(t, value) })), shown: hls.subtitleTrack,
    pickCaption: (v) => { hls.subtitleTrack = v; hls.subtitleDisplay = v >= 0; },
  });
  const { AUDIO_TRACKS_UPDATED, AUDIO_TRACK_SWITCHED, SUBTITLE_TRACKS_UPDATED, SUBTITLE_TRACK_SWITCH } = Hls.Events;
  for (const event of [AUDIO_TRACKS_UPDATED, AUDIO_TRACK_SWITCHED, SUBTITLE_TRACKS_UPDATED, SUBTITLE_TRACK_SWITCH]) hls.on(event, tell);
  return {
    start() {
      hls.loadSource(session.folder + output.master_playlist);
      hls.attachMedia(video);
    },
    stop() { hls.destroy(); },
  };
}

export function shakaEngine({ video, session, output, ready, tracks, fail, say }) {
  const { shaka } = window;
  say(`Shaka Player ${shaka.Player.version}`);
  const player = new shaka.Player();
  const { BAD_HTTP_STATUS, HTTP_ERROR, TIMEOUT, LOAD_INTERRUPTED } = shaka.util.Error.Code;
  player.getNetworkingEngine().registerRequestFilter((_, request) => {
    if (request.uris.every((uri) => session.ours(uri))) Object.assign(request.headers, session.headers());
  });
  const onError = async (e, loading) => {
    if (e?.code === LOAD_INTERRUPTED) return;
    const detail = `shaka ${e?.code ?? e}`;
    if (e?.code === BAD_HTTP_STATUS) {
      const [, status, body] = e.data;
      if (!await session.refused(problemCode(body) || 'not_found', status, detail)) return;
      if (loading) load();
      else player.retryStreaming();
      return;
    }
    fail(e?.code === HTTP_ERROR || e?.code === TIMEOUT ? 'unreachable' : 'playback_failed', 0, detail);
  };
  player.addEventListener('error', ({ detail }) => {
    if (detail.severity === shaka.util.Error.Severity.CRITICAL) onError(detail, false);
  });
  async function load() {
    try {
      await player.attach(video);
      await player.load(session.folder + output.master_playlist);
    } catch (e) {
      return onError(e, true);
    }
    const active = () => player.getVariantTracks().find((t) => t.active);
    const variants = () => player.getVariantTracks().filter((t) => t.language === active()?.language);
    const levels = variants().map((t) => ({ value: t.height ?? 0, height: t.height ?? 0, bitrate: t.bandwidth })).map((l) => ({ ...l, label: levelLabel(l) }));
    const audio = player.getAudioTracks();
    const texts = player.getTextTracks();
    const name = (t, i) => t.label || t.language || `track ${i + 1}`;
    const shown = texts.findIndex((t) => t.primary); // hls.js shows the default track by itself
    if (texts.length) {
      // Shaka Player holds text of HLS back until it gets a segment of the film
      // after text was chosen for the first time: choose some now.
      player.selectTextTrack(texts[Math.max(0, shown)]);
      if (shown < 0) player.selectTextTrack(null);
    }
    ready({
      levels: levels.sort(best),
      pickLevel: (v) => {
        player.configure('abr.enabled', v < 0);
        const track = variants().find((t) => (t.height ?? 0) === v);
        if (track) player.selectVariantTrack(track, true);
      },
    });
    tracks({
      audio: audio.map((t, value) => ({ value, label: name(t, value) })), pickAudio: (v) => player.selectAudioTrack(audio[v]), heard: audio.findIndex((t) => t.active),
      captions: texts.map((t, value) => ({ value, label: name(t, value) })), shown,
      pickCaption: (v) => { player.selectTextTrack(v < 0 ? null : texts[v]); },
    });
  }
  return { start: load, stop() { player.destroy(); } };
}

// nativeEngine is for browsers without Media Source Extensions. They send no
// header, so the token goes in the path, and a new one is a new address.
export function nativeEngine({ video, session, output, ready, tracks, fail, say }) {
  say('native');
  const address = () => session.folder + (session.token ? `t/${session.token}/` : '') + output.master_playlist;
  let last = 0;
  let used = '';
  const open = () => { video.src = used = address(); };
  let playing = false; // as the viewer wants it: an error stops the element, without an event
  video.addEventListener('play', () => { playing = true; });
  video.addEventListener('pause', () => { playing = false; });
  video.addEventListener('loadedmetadata', () => {
    if (last) video.currentTime = last;
    if (playing) video.play().catch(() => {});
    const texts = [...video.textTracks].filter((t) => t.kind === 'subtitles' || t.kind === 'captions');
    ready({ levels: [], pickLevel() {} });
    tracks({
      audio: [], pickAudio() {}, heard: 0,
      captions: texts.map((t, value) => ({ value, label: t.label || t.language })), shown: texts.findIndex((t) => t.mode === 'showing'),
      pickCaption: (v) => texts.forEach((t, i) => { t.mode = i === v ? 'showing' : 'disabled'; }),
    });
  });
  video.addEventListener('error', async () => {
    if (!video.src) return;
    last = video.currentTime || last;
    if (used !== address()) return open(); // the token that it had has ended, and there is another one
    try {
      await session.get(output.master_playlist); // says why
    } catch (e) {
      if (await session.refused(e.code, e.status, 'native')) open();
      return;
    }
    fail('playback_failed', 0, `native ${video.error?.code ?? ''}`);
  });
  return { start: open, stop() {} };
}
