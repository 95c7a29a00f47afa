// The picture above the seek bar: a tile of a storyboard's sprite.
import { clock } from './words.js';

const seconds = (text) => text.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);

// parse reads WebVTT cues whose payload is <sprite>#xywh=<x>,<y>,<w>,<h>.
export function parse(vtt) {
  const cues = [];
  let times;
  for (const line of vtt.split(/\r?\n/)) {
    const t = /^([\d:.]+) --> ([\d:.]+)/.exec(line);
    if (t) { times = [seconds(t[1]), seconds(t[2])]; continue; }
    const p = /^([A-Za-z0-9_-][A-Za-z0-9._-]*)#xywh=(\d+),(\d+),(\d+),(\d+)$/.exec(line);
    if (p && times) cues.push({ start: times[0], end: times[1], sprite: p[1], x: +p[2], y: +p[3], w: +p[4], h: +p[5] });
  }
  return cues;
}

export async function storyboard(session, path, { video, seek, box, picture, time }) {
  let cues;
  try { cues = parse(await (await session.get(path)).text()); } catch { return; } // the token may not cover it
  const sprites = new Map();
  const load = (name) => {
    if (!sprites.has(name)) {
      sprites.set(name, session.get(name).then((r) => r.blob()).then((b) => URL.createObjectURL(b)).catch(() => { sprites.delete(name); }));
    }
    return sprites.get(name);
  };
  let shown = 0;
  seek.onpointermove = async (e) => {
    const bar = seek.getBoundingClientRect();
    const at = Math.min(Math.max((e.clientX - bar.left) / bar.width, 0), 1) * (video.duration || 0);
    const cue = cues.findLast((c) => c.start <= at) ?? cues[0];
    if (!cue) return;
    const mine = ++shown;
    const url = await load(cue.sprite);
    if (!url || mine !== shown) return;
    picture.style.width = `${cue.w}px`;
    picture.style.height = `${cue.h}px`;
    picture.style.backgroundImage = `url("${url}")`;
    picture.style.backgroundPosition = `-${cue.x}px -${cue.y}px`;
    time.textContent = clock(at);
    box.hidden = false;
    const half = box.offsetWidth / 2;
    box.style.left = `${Math.min(Math.max(e.clientX - half, 4), innerWidth - 2 * half - 4)}px`;
  };
  seek.onpointerleave = () => { shown++; box.hidden = true; };
}
