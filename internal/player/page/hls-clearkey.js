// hls.js plays AES-128 by itself, but not sample encryption with a key that
// lies behind a URI: sealcast's output cmaf, cbcs or cenc, whose playlists say
// METHOD=SAMPLE-AES (or SAMPLE-AES-CTR), KEYFORMAT="identity". This adapter
// closes the gap with the key route alone. It shows such playlists to hls.js as
// W3C Clear Key, turns the browser's licence request into a GET of the key URI,
// and the 16 bytes that come back into the licence that the browser expects.
//
//   import { hlsClearKey } from './hls-clearkey.js';
//   const hls = new Hls({ ...hlsClearKey(Hls, { authorize: async () => `Bearer ${await freshToken()}` }) });
//   hls.loadSource('https://media.example.org/stream/<hash>/master.m3u8');
//
// The page needs a secure context (https, or localhost): Encrypted Media
// Extensions want one. Tried with hls.js 1.7.

const IDENTITY = /^(#EXT-X-(?:SESSION-)?KEY:(?=.*METHOD=SAMPLE-AES).*KEYFORMAT=)"identity"/gm;
const CLEAR_KEY = 'org.w3.clearkey';

// asClearKey renames the key format of a playlist's sample-encryption keys.
export function asClearKey(playlist) {
  return playlist.replace(IDENTITY, `$1"${CLEAR_KEY}"`);
}

// clearKeyLicence makes the licence (EME, 9.1.4) for a request that names one
// key id, out of the key's 16 bytes.
export function clearKeyLicence(request, key) {
  const { kids, type } = JSON.parse(new TextDecoder().decode(request));
  if (kids.length !== 1 || key.byteLength !== 16) throw new Error('want one key id and 16 bytes of key');
  const k = btoa(String.fromCharCode(...new Uint8Array(key))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  return new TextEncoder().encode(JSON.stringify({ keys: [{ kty: 'oct', kid: kids[0], k }], type })).buffer;
}

// hlsClearKey returns members for the configuration of hls.js.
//   authorize(uri)  gives the Authorization header for the key URI, or a
//                   promise of it; empty: none is sent. It is called for every
//                   key request, so it can hand out a fresh token each time.
export function hlsClearKey(Hls, { authorize = () => '' } = {}) {
  class PlaylistLoader extends Hls.DefaultConfig.loader {
    load(context, config, callbacks) {
      const onSuccess = (response, ...rest) => {
        if (typeof response.data === 'string') response.data = asClearKey(response.data);
        callbacks.onSuccess(response, ...rest);
      };
      super.load(context, config, { ...callbacks, onSuccess });
    }
  }
  const requests = new WeakMap(); // licence requests by their XMLHttpRequest
  return {
    pLoader: PlaylistLoader,
    emeEnabled: true,
    drmSystems: { [CLEAR_KEY]: { licenseUrl: 'the key URI stands in the playlist' } },
    async licenseXhrSetup(xhr, _url, { decryptdata }, challenge) {
      const header = await authorize(decryptdata.uri);
      xhr.open('GET', decryptdata.uri, true);
      if (header) xhr.setRequestHeader('Authorization', header);
      requests.set(xhr, challenge);
      return challenge;
    },
    licenseResponseCallback: (xhr) => clearKeyLicence(requests.get(xhr), xhr.response),
  };
}
