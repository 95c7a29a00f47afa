// What the pages say, and small helpers that both use.

const sentences = {
  token_required: 'This title is private: open it with a link that has a token.',
  invalid_token: 'The token is not valid.',
  token_expired: 'The token has expired: ask for a new link.',
  token_not_yet_valid: 'The token is not valid yet.',
  token_ttl_exceeded: 'The token is valid for longer than is allowed.',
  token_too_large: 'The token is too long.',
  token_mismatch: 'The token is for another title.',
  token_revoked: 'The token was revoked.',
  issuer_mismatch: 'The token comes from somebody else than it should.',
  insufficient_scope: 'The token does not open this.',
  scope_not_allowed: 'The token asks for more than its signing key may give.',
  ip_denied: 'The token is not for your network address.',
  referer_denied: 'This title may not be played on this page.',
  playback_key_revoked: 'This link has been withdrawn.',
  playback_key_inactive: 'This link is not active at the moment.',
  not_published: 'Nothing is published here yet.',
  not_found: 'There is nothing here.',
  no_key: 'There is no key for this title.',
  rate_limited: 'Too many requests: wait a moment and try again.',
  key_integrity: 'The key of this title is damaged.',
  unavailable: 'The service is away at the moment: try again soon.',
  unreachable: 'The service does not answer.',
  bad_address: 'The address of this page is not complete.',
  no_player: 'This browser plays none of the forms that this title has.',
  playback_failed: 'Playback failed.',
};

export const sentence = (code) => sentences[code] ?? 'Access was refused.';

// clock writes seconds as [h:]mm:ss.
export function clock(seconds) {
  if (!Number.isFinite(seconds)) return '0:00';
  const s = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

// until writes how long something still lasts.
export function until(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

// menu fills a select and shows the entry now (the first one by itself), or hides
// it with its label when there is no choice.
export function menu(select, options, pick, now) {
  select.replaceChildren(...options.map(({ label, value }) => new Option(label, value)));
  if (now !== undefined) select.value = now;
  select.onchange = () => pick(Number(select.value));
  select.parentElement.hidden = options.length === 0;
}
