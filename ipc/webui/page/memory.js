// What memory and disk hold, and which tokens the last answer attended to.

import { $, el, svg, bytes, number } from './dom.js';
import * as api from './api.js';

const names = { device: 'GPU memory', host: 'Host memory' };

// refresh draws the tiers as they are now.
export async function refresh() {
  const s = await api.status();
  const tiers = Object.groupBy(s.memory, (m) => m.tier);
  const parts = Object.entries(tiers).map(([tier, uses]) => tierOf(names[tier] ?? tier, tier === 'host' ? s.host.total : 0, uses));
  if (s.store !== null) {
    parts.push(tierOf('Disk', s.store.budget, [{ purpose: s.store.sessions === 1 ? '1 session' : `${number(s.store.sessions)} sessions`, bytes: s.store.disk_bytes }]));
  }
  if (s.model !== null) parts.unshift(cacheOf(s.model));
  $('tiers').replaceChildren(...parts);
}

function cacheOf(m) {
  return el('section', {}, el('h3', {}, 'Cache'),
    el('dl', {}, ...pairs([['kept as', m.cache], ['free', `${number(m.free_tokens)} of ${number(m.cache_tokens)} tokens`], ['kept', `${number(m.idle_kept)} idle conversation${m.idle_kept === 1 ? '' : 's'}`]])));
}

// tierOf draws what a tier holds: a bar of its total where there is one, and a
// list, which says the same in words.
function tierOf(name, total, uses) {
  const sum = uses.reduce((n, u) => n + u.bytes, 0);
  const whole = Math.max(total, sum, 1);
  let at = 0;
  const bars = uses.map((u, i) => {
    const bar = svg('rect', { x: at, y: 0, width: u.bytes, height: 1, class: `part p${i % 5}` }, svg('title', {}, `${u.purpose}: ${bytes(u.bytes)}`));
    at += u.bytes;
    return bar;
  });
  return el('section', { class: 'tier' }, el('h3', {}, name),
    el('p', { class: 'dim' }, total > 0 ? `${bytes(sum)} of ${bytes(total)}` : bytes(sum)),
    svg('svg', { viewBox: `0 0 ${whole} 1`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, ...bars),
    el('dl', {}, ...pairs(uses.map((u) => [u.purpose, bytes(u.bytes)]))));
}

const pairs = (list) => list.flatMap(([k, v]) => [el('dt', {}, k), el('dd', {}, v)]);

export function forget() { $('reach').replaceChildren(); }

// reach draws which tokens the last step of an answer attended to: the tokens from
// left to right, and how much of the model attended to each part.
export function reach(r) {
  if (!r) return forget();
  if (r.share === null) {
    $('reach').replaceChildren(el('h3', {}, 'Attention'), el('p', { class: 'dim' }, `All ${r.layers} layers attend to all ${number(r.tokens)} tokens, or to their windows.`));
    return;
  }
  const n = r.share.length;
  const bars = r.share.map((v, i) => svg('rect', { x: i, y: 1 - v, width: 1, height: v, class: 'part p0' }));
  const mean = r.share.reduce((a, b) => a + b, 0) / n;
  $('reach').replaceChildren(el('h3', {}, 'Attention'),
    el('p', { class: 'dim' }, `The last step fetched what mattered: ${(100 * mean).toFixed(1)} % of ${number(r.tokens)} tokens, in ${r.sparse} of ${r.layers} layers.`),
    svg('svg', { viewBox: `0 0 ${n} 1`, preserveAspectRatio: 'none', role: 'img', 'aria-label': peaks(r) }, ...bars),
    el('p', { class: 'ends dim' }, el('span', {}, 'first token'), el('span', {}, 'last')));
}

// peaks tells in words where most was attended to.
function peaks(r) {
  const span = r.tokens / r.share.length;
  const top = r.share.map((v, i) => [v, i]).sort((a, b) => b[0] - a[0]).slice(0, 3);
  return 'Attended to most: ' + top.map(([v, i]) => `tokens ${number(Math.round(i * span))} to ${number(Math.round(Math.min((i + 1) * span, r.tokens)))} (${(100 * v).toFixed(0)} %)`).join(', ');
}
