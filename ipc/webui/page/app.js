// The page: one conversation at a time, of a session or a temporary one.

import { $, el, ask, number } from './dom.js';
import * as api from './api.js';
import * as sessions from './sessions.js';
import * as transcript from './transcript.js';
import * as composer from './composer.js';
import * as memory from './memory.js';

// now is the conversation. A session that is null with keep set is made by the
// first message; without keep, the messages live in this page alone.
const now = { session: null, keep: false, messages: [], running: null };

// at is what the link had behind its #: a token, or the session to open.
const at = location.hash.slice(1);

const refreshTime = 5000; // milliseconds between two looks at the memory

async function main() {
  composer.start(say, problem);
  const on = (id, f) => $(id).addEventListener('click', guarded(f));
  on('new-session', () => begin(true));
  on('new-chat', () => begin(false));
  on('stop', () => now.running?.abort());
  on('rename', () => changed(sessions.rename(now.session)));
  on('tag', () => changed(sessions.tag(now.session)));
  on('fork', () => forkFrom());
  on('export', () => api.exportSession(now.session));
  on('delete', async () => { if (await sessions.remove(now.session)) { begin(true); await list(); } });
  begin(true);
  try {
    const token = /^[A-Z2-7]+$/.test(at);
    if (token) await api.login(at);
    await watch();
    await sessions.start(open, problem);
    await memory.refresh();
    setInterval(() => { if (!document.hidden) memory.refresh().catch(() => {}); }, refreshTime);
    if (at !== '' && !token) await open(at);
  } catch (e) {
    problem(e);
  }
}

// guarded shows what a click's work fails with.
const guarded = (f) => async () => {
  try {
    problem(null);
    await f();
  } catch (e) {
    problem(e);
  }
};

function problem(e, remedy) {
  const box = $('problem');
  box.hidden = e === null;
  if (e !== null) box.replaceChildren(e.message, ...(remedy ? [' ', remedy] : []));
}

// watch shows the daemon's state, and asks again while it loads a model.
async function watch() {
  const h = await api.ready();
  const [model] = await api.models();
  $('state').textContent = h.status === 'ready' ? `${model.id} · ${number(model.max_model_len ?? 0)} tokens of context` : `${h.status}: ${h.text ?? ''}`;
  if (h.status !== 'ready') setTimeout(guarded(watch), 500);
}

const list = () => sessions.refresh(open, now.session?.id ?? '');

// leave ends what runs in the conversation that is left.
function leave() {
  now.running?.abort();
  now.running = null;
  composer.busy(false);
  progress(null);
  problem(null);
  memory.forget();
}

// begin starts an empty conversation.
function begin(keep) {
  leave();
  Object.assign(now, { session: null, keep, messages: [] });
  history.replaceState(null, '', '/');
  head(keep ? 'New session' : 'Temporary chat', keep ? 'It is kept on this machine’s disk from the first answer on.' : 'Nothing of it is written to the disk.');
  transcript.show([], () => []);
  $('message').focus();
}

function head(title, facts) {
  $('title').textContent = title;
  document.title = title + ' – edged';
  $('facts').textContent = facts;
  $('actions').hidden = now.session === null;
}

const open = async (id) => {
  leave();
  await guarded(async () => {
    await load(id);
    await list();
    $('title').focus();
  })();
};

// load shows a session as the daemon has it.
async function load(id) {
  now.session = await api.session(id);
  now.keep = true;
  now.messages = now.session.history;
  history.replaceState(null, '', '#' + id);
  head(now.session.title, sessions.facts(now.session));
  transcript.show(now.messages, tools);
}

// tools are the buttons of a message of a session.
function tools(m, i) {
  if (now.session === null) return [];
  const buttons = [el('button', { type: 'button', onclick: guarded(() => forkFrom(i + 1)) }, 'Fork after this')];
  if (m.role === 'user') buttons.unshift(el('button', { type: 'button', onclick: guarded(() => edit(m, i)) }, 'Edit'));
  return buttons;
}

async function changed(promise) {
  if (await promise === null) return;
  await load(now.session.id);
  await list();
}

async function forkFrom(messages) {
  const s = await sessions.fork(now.session, messages);
  if (s !== null) await open(s.id);
}

// edit sends another message in place of an earlier one: in a fork, as what was
// said stays said.
async function edit(m, i) {
  const text = await ask({
    title: 'Edit', text: 'The edited message goes on in a fork; this session stays as it is.',
    label: 'Message', value: m.content, rows: 8, yes: 'Send in a fork',
  });
  if (text === null || text.trim() === '') return;
  const s = await api.forkSession(now.session.id, now.session.title + ' (edited)', i);
  await open(s.id);
  await say(text);
}

// say sends a message and shows the answer while it comes.
async function say(text, recompute = false) {
  if (now.running !== null) return;
  const running = now.running = new AbortController();
  composer.busy(true);
  problem(null);
  const mine = transcript.add({ role: 'user', content: text });
  const out = transcript.writer();
  const answer = { usage: null, timings: null, session: null, reach: null };
  let made = null;
  try {
    if (now.keep && now.session === null) made = now.session = await api.createSession(titleOf(text));
    await api.chat(request(text, recompute), running.signal, (event) => receive(event, out, answer));
    if (now.running !== running) return; // another conversation is shown
    const said = out.end(cost(answer));
    now.messages = [...now.messages, { role: 'user', content: text }, { role: 'assistant', content: said }];
    composer.clear();
    await settle(answer);
  } catch (e) {
    if (made !== null) await unmake(made);
    if (now.running === running) failed(e, text, { mine, out });
  } finally {
    if (now.running === running) {
      now.running = null;
      composer.busy(false);
      progress(null);
    }
  }
}

// settle brings the page to what the daemon has after an answer.
async function settle(answer) {
  if (now.session !== null) {
    await load(now.session.id);
    transcript.note(cost(answer));
    await list();
    if (answer.session && !answer.session.durable) problem(new Error('This answer is not stored: ' + answer.session.reason));
  }
  memory.reach(answer.reach);
  await memory.refresh();
}

function request(text, recompute) {
  const message = { role: 'user', content: text };
  if (now.session !== null) return { session: now.session.id, messages: [message], recompute };
  return { messages: [...now.messages.map(({ role, content }) => ({ role, content })), message] };
}

function receive(event, out, answer) {
  if (event.progress) progress(event.progress);
  if (event.usage) Object.assign(answer, { usage: event.usage, timings: event.timings });
  if (event.session) answer.session = event.session;
  if (event.reach) answer.reach = event.reach;
  const { content, reasoning_content: thought } = event.choices[0]?.delta ?? {};
  if (thought) { progress(null); out.think(thought); }
  if (content) { progress(null); out.write(content); }
}

// progress shows how much of a prompt has been read.
function progress(p) {
  $('progress').hidden = p === null;
  if (p === null) return;
  $('bar').value = p.total > 0 ? p.done / p.total : 0;
  $('reading').textContent = `Reading: ${number(p.done)} of ${number(p.total)} tokens` + (p.cached > 0 ? `, ${number(p.cached)} known already` : '');
}

function cost({ usage, timings: t }) {
  if (usage === null) return '';
  const known = t.cache_n > 0 ? `, ${number(t.cache_n)} known already` : '';
  const restored = t.restored_n > 0 ? ` (${number(t.restored_n)} from disk in ${(t.restore_ms / 1000).toFixed(2)} s)` : '';
  return `${number(usage.prompt_tokens)} tokens read${known}${restored} · ${number(t.predicted_n)} written at ${t.predicted_per_second.toFixed(1)} per second`;
}

// failed shows an error. What was refused goes back to the field; what was seen of
// a cancelled answer stays on the page.
function failed(e, text, { mine, out }) {
  if (e.name === 'AbortError') {
    out.end('Cancelled. Nothing of this turn was kept.');
    return;
  }
  out.remove();
  mine.remove();
  $('message').value ||= text;
  problem(e, e.code === 'session_mismatch' ? el('button', { type: 'button', onclick: () => say(text, true) }, 'Read the session’s text again') : undefined);
}

// unmake removes the session that a first message made and that has no answer.
async function unmake(s) {
  if (now.session === s) {
    now.session = null;
    head('New session', '');
  }
  await guarded(() => api.deleteSession(s.id))();
}

// titleOf names a session after the last line of its first message, which is the
// question where documents stand before it.
function titleOf(text) {
  const line = text.trim().split('\n').at(-1).replace(/\p{C}/gu, ' ').trim();
  return line.length > 60 ? line.slice(0, 59).trim() + '…' : line || 'Session';
}

main();
