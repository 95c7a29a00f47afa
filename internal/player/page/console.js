// The console: jobs with their progress, titles, playback keys and tokens,
// behind an API key. The key is kept for this tab alone (sessionStorage) and
// sent as X-API-Key to this origin. Everything that comes from the server is
// shown as text.
import { until } from './words.js';

const $ = (selector, from = document) => from.querySelector(selector);
const store = 'sealcast-api-key';
let key = sessionStorage.getItem(store) ?? '';
let tab = '';
let timer;

class Refused extends Error {}

// call asks the API. Its error has a sentence for people.
async function call(method, path, body) {
  const headers = { 'X-API-Key': key };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), referrerPolicy: 'no-referrer' });
  } catch { throw new Refused('The server does not answer.'); }
  const text = await answer.text();
  let document = null;
  try { document = text ? JSON.parse(text) : null; } catch { /* told below */ }
  if (answer.status === 401) leave('The API key is not valid.');
  if (!answer.ok) throw new Refused(document?.detail ? `${document.detail} (${document.code})` : `HTTP ${answer.status}`);
  return document;
}

function show(error) {
  $('#error').textContent = error ? error.message : '';
  $('#error').hidden = !error;
}

// attempt runs what a click asks for, and shows what went wrong.
const attempt = (f) => async (...args) => {
  try { await f(...args); show(null); } catch (e) {
    if (!(e instanceof Refused)) throw e;
    show(e);
  }
};

// element makes a node: element('td', {className: 'id', textContent: 'x'}, children…).
function element(tag, members = {}, ...children) {
  const e = Object.assign(document.createElement(tag), members);
  e.append(...children);
  return e;
}

const text = (s, className = '') => element('td', { textContent: s ?? '', className });
const time = (s) => text(s ? new Date(s).toLocaleString() : '');
const short = (hash) => element('td', { className: 'id', textContent: `${hash.slice(0, 12)}…`, title: hash });
const button = (label, act) => element('button', { type: 'button', textContent: label, onclick: attempt(act) });
const list = (s) => s.split(/[\s,]+/).filter(Boolean);

// ---- jobs

const ended = (job) => ['succeeded', 'failed', 'cancelled'].includes(job.state);

async function jobs() {
  const page = await call('GET', '/api/jobs?limit=50');
  $('#jobs tbody').replaceChildren(...page.jobs.map((job) => {
    const row = element('tr', {},
      element('td', { className: 'id', textContent: job.id }), short(job.hash), text(job.type),
      element('td', { className: job.state, textContent: [job.state, job.stage].filter(Boolean).join(', '), title: job.error ? `${job.error.message} (${job.error.code})` : '' }),
      element('td', {}, element('progress', { max: 100, value: job.progress }), ` ${Math.floor(job.progress)} %`),
      text(job.eta_seconds === null || ended(job) ? '' : until(job.eta_seconds)), time(job.created_at), element('td'));
    row.dataset.job = job.id;
    if (job.state === 'queued' || job.state === 'running') row.lastChild.append(button('Cancel', async () => { await call('POST', `/api/jobs/${encodeURIComponent(job.id)}/cancel`); await jobs(); }));
    if (job.state === 'failed' || job.state === 'cancelled') row.lastChild.append(button('Retry', async () => { await call('POST', `/api/jobs/${encodeURIComponent(job.id)}/retry`); await jobs(); }));
    return row;
  }));
  // Live: as often as the event streams tell, while something runs.
  again(page.jobs.some((job) => !ended(job)) ? 1000 : 5000, jobs);
}

function again(ms, f) {
  clearTimeout(timer);
  const mine = tab;
  timer = setTimeout(() => { if (tab === mine && !document.hidden) attempt(f)(); else if (tab === mine) again(ms, f); }, ms);
}

// ---- lists by pages

function pages(section, path, member, row) {
  const body = $(`#${section} tbody`);
  const more = $(`#${section} .more`);
  const load = async (cursor) => {
    const page = await call('GET', cursor ? `${path}?cursor=${encodeURIComponent(cursor)}` : path);
    if (!cursor) body.replaceChildren();
    body.append(...page[member].map(row));
    more.hidden = !page.next_cursor;
    more.onclick = attempt(() => load(page.next_cursor));
  };
  return () => load();
}

// ---- titles

const assets = pages('assets', '/api/media', 'assets', (a) => {
  const closed = element('input', { type: 'checkbox', checked: a.private, ariaLabel: 'private' });
  closed.onchange = attempt(async () => {
    closed.disabled = true;
    try { closed.checked = (await call('PATCH', `/api/media/${a.hash}`, { private: closed.checked })).private; } catch (e) { closed.checked = !closed.checked; throw e; } finally { closed.disabled = false; }
  });
  return element('tr', {}, short(a.hash), text(a.external_id), text(String(a.generation)), text(a.encrypted ? 'yes' : 'no'), time(a.published_at),
    element('td', {}, closed), element('td', {}, button('Playback key…', () => { open('keys'); $('#new-key').elements.hash.value = a.hash; })));
});

// ---- playback keys

function policy(k) {
  const rules = [k.private ? 'private' : 'public'];
  if (k.hosts?.length) rules.push(`on ${k.hosts.join(', ')}`);
  if (k.ips?.length) rules.push(`from ${k.ips.join(', ')}`);
  if (k.downloads) rules.push('downloads');
  return rules.join('; ');
}

const keys = pages('keys', '/api/playback-keys', 'playback_keys', (k) => {
  const row = element('tr', {}, element('td', { className: 'id' }, element('a', { href: `/watch/${k.id}`, target: '_blank', rel: 'noopener', textContent: k.id })),
    short(k.hash), text(k.label), text(k.status), text(policy(k)), time(k.created_at), element('td'));
  if (k.status !== 'revoked') {
    row.lastChild.append(button('Token…', () => { open('tokens'); $('#new-token').elements.playback_key.value = k.id; }),
      ' ', button('Revoke', async () => { if (confirm(`Revoke ${k.id}? Its tokens end at once, for ever.`)) { await call('DELETE', `/api/playback-keys/${k.id}`); await keys(); } }));
  }
  return row;
});

$('#new-key').onsubmit = (e) => {
  e.preventDefault();
  attempt(async () => {
    const f = e.target.elements;
    await call('POST', '/api/playback-keys', {
      hash: f.hash.value, label: f.label.value, private: !f.public.checked, downloads: f.downloads.checked,
      hosts: list(f.hosts.value), ips: list(f.ips.value),
    });
    e.target.reset();
    await keys();
  })();
};

// ---- tokens

const tokens = pages('tokens', '/api/tokens', 'tokens', (t) => element('tr', {}, element('td', { className: 'id', textContent: t.id }),
  element('td', { className: 'id', textContent: t.playback_key ?? '*' }), text((t.scope ?? []).join(' ')), text(t.tag), time(t.expires_at), time(t.last_used_at)));

$('#new-token').onsubmit = (e) => {
  e.preventDefault();
  attempt(async () => {
    const f = e.target.elements;
    const request = { scope: [f.scope.value], expires_in: Number(f.ttl.value) };
    if (f.ip.value) request.ip = list(f.ip.value);
    if (f.referer.value) request.referer = list(f.referer.value);
    if (f.tag.value) request.tag = f.tag.value;
    const made = await call('POST', `/api/playback-keys/${encodeURIComponent(f.playback_key.value)}/tokens`, request);
    const rows = { Token: made.token, Expires: made.expires_at, ...made.urls };
    $('#minted dl').replaceChildren(...Object.entries(rows).flatMap(([name, value]) => [element('dt', { textContent: name }), element('dd', { textContent: value })]));
    $('#minted').hidden = false;
    await tokens();
  })();
};

async function known() {
  const page = await call('GET', '/api/playback-keys');
  $('#known-keys').replaceChildren(...page.playback_keys.filter((k) => k.status !== 'revoked').map((k) => element('option', { value: k.id, label: k.label || k.hash.slice(0, 12) })));
}

// ---- the frame

const tabs = { jobs, assets, keys, tokens: async () => { await Promise.all([tokens(), known()]); } };

function open(name) {
  tab = name;
  clearTimeout(timer);
  for (const b of document.querySelectorAll('nav button')) b.toggleAttribute('aria-current', b.dataset.tab === name);
  for (const s of document.querySelectorAll('section')) s.hidden = s.id !== name;
  location.hash = name;
  return attempt(tabs[name])();
}

function enter() {
  $('#enter').hidden = true;
  $('#tabs').hidden = $('#leave').hidden = false;
  open(tabs[location.hash.slice(1)] ? location.hash.slice(1) : 'jobs');
}

function leave(why) {
  key = '';
  tab = '';
  clearTimeout(timer);
  sessionStorage.removeItem(store);
  for (const s of document.querySelectorAll('section')) s.hidden = true;
  $('#tabs').hidden = $('#leave').hidden = $('#minted').hidden = true;
  $('#minted dl').replaceChildren();
  $('#enter').hidden = false;
  if (why) throw new Refused(why);
}

$('#leave').onclick = () => { leave(); show(null); };
for (const b of document.querySelectorAll('nav button')) b.onclick = () => open(b.dataset.tab);
$('#enter').onsubmit = (e) => {
  e.preventDefault();
  attempt(async () => {
    key = e.target.elements.key.value;
    await call('GET', '/api/jobs?limit=1');
    sessionStorage.setItem(store, key);
    e.target.reset();
    enter();
  })();
};
if (key) enter();
