// The list of sessions, and what is done to one.

import { $, el, ask, bytes, number, ago } from './dom.js';
import * as api from './api.js';

let all = [];

// start fills the list and keeps it so. open is called with the id of a session
// that is chosen.
export function start(open, problem) {
  $('find').addEventListener('input', () => draw(open));
  $('import').addEventListener('change', async () => {
    const [file] = $('import').files;
    $('import').value = '';
    try {
      const s = await api.importSession(file);
      await refresh(open);
      open(s.id);
    } catch (e) {
      problem(e);
    }
  });
  return refresh(open);
}

export async function refresh(open, current = here) {
  here = current;
  all = await api.sessions();
  draw(open);
}

let here = ''; // id of the session that is open

function draw(open) {
  const find = $('find').value.toLowerCase();
  const fits = (s) => [s.title, ...s.tags].some((t) => t.toLowerCase().includes(find));
  const found = all.filter(fits);
  $('sessions').replaceChildren(...found.map((s) => el('li', {},
    el('button', { type: 'button', 'aria-current': s.id === here ? 'true' : false, onclick: () => open(s.id) },
      s.title, el('small', {}, [number(s.tokens) + ' tokens', ago(s.updated), ...s.tags.map((t) => '#' + t)].join(' · '))))));
  if (found.length === 0) $('sessions').append(el('li', { class: 'dim' }, all.length === 0 ? 'No sessions yet.' : 'Nothing found.'));
}

// facts is a line about a session.
export function facts(s) {
  const stored = s.stored_tokens < s.tokens ? `, ${number(s.stored_tokens)} of them need not be read again` : '';
  return `${number(s.tokens)} tokens${stored} · ${bytes(s.bytes)} on disk · ${s.model}${s.policy ? ' · cache ' + s.policy : ''}`;
}

export async function rename(s) {
  const title = await ask({ title: 'Rename', label: 'Title', value: s.title, yes: 'Rename' });
  return title === null ? null : api.editSession(s.id, { title: title.trim() });
}

export async function tag(s) {
  const text = await ask({ title: 'Tags', label: 'Separated by commas', value: s.tags.join(', '), yes: 'Set' });
  return text === null ? null : api.editSession(s.id, { tags: text.split(',').map((t) => t.trim()).filter((t) => t !== '') });
}

// fork asks for a title and copies the first messages, or all.
export async function fork(s, messages) {
  const part = messages === undefined ? 'all messages' : `the first ${messages} message${messages === 1 ? '' : 's'}`;
  const title = await ask({
    title: 'Fork', text: `A new session with ${part}. What is stored of the text is shared, not copied.`,
    label: 'Title', value: s.title + ' (fork)', yes: 'Fork',
  });
  return title === null ? null : api.forkSession(s.id, title.trim(), messages);
}

export async function remove(s) {
  const yes = await ask({ title: `Delete “${s.title}”?`, text: 'Its text and what the model has computed of it are removed for good.', yes: 'Delete' });
  if (yes === null) return false;
  await api.deleteSession(s.id);
  return true;
}
