// The conversation: one item per message.

import { $, el, bytes, number } from './dom.js';

const long = 4000; // characters of a message above which it is folded

// show replaces the conversation. tools gives the buttons of a message.
export function show(messages, tools) {
  $('transcript').replaceChildren(...messages.map((m, i) => item(m, tools(m, i))));
  if (messages.length === 0) announce('');
  toEnd();
}

export function add(message, buttons = []) {
  const e = item(message, buttons);
  $('transcript').append(e);
  toEnd();
  return e;
}

function item(m, buttons) {
  const body = m.content.length > long && m.role !== 'assistant' ? folded(m.content) : formatted(m.content);
  const tools = buttons.length > 0 ? el('div', { class: 'tools row' }, ...buttons) : null;
  return el('li', { class: m.role }, el('div', { class: 'who' }, who(m)), thought(m.reasoning_content), body, tools);
}

// thought is what the model has thought before it answered, folded.
function thought(text) {
  return text ? el('details', { class: 'thought' }, el('summary', {}, 'Thought'), el('div', { class: 'text' }, text)) : null;
}

// note writes under the last message.
export function note(text) {
  $('transcript').lastElementChild?.append(el('div', { class: 'who' }, text));
  toEnd();
}

function who(m) {
  const name = { user: 'You', assistant: 'Model', system: 'System', tool: 'Tool' }[m.role] ?? m.role;
  return m.tokens > 0 ? `${name} · ${number(m.tokens)} tokens` : name;
}

// folded shows a document's beginning and its end, which has the question.
function folded(text) {
  const tail = text.slice(text.lastIndexOf('\n', text.length - 2) + 1).slice(-600);
  return el('div', {},
    el('details', {}, el('summary', {}, `${bytes(new Blob([text]).size)} of text`), el('div', { class: 'text' }, text)),
    el('div', { class: 'text' }, tail));
}

// formatted keeps text as it is, and sets fenced code apart.
function formatted(text) {
  const out = el('div', { class: 'content' });
  const parts = text.split(/^```.*$/m);
  parts.forEach((part, i) => {
    if (i % 2 === 1) out.append(el('pre', { tabindex: '0' }, el('code', {}, part.replace(/^\n|\n$/g, ''))));
    else if (part.trim() !== '') out.append(el('div', { class: 'text' }, part.replace(/^\n+|\n+$/g, '')));
  });
  return out;
}

// writer shows an answer while it comes. Screen readers get it whole, at its end.
export function writer() {
  const e = add({ role: 'assistant', content: '' });
  e.setAttribute('aria-busy', 'true');
  let text = '', thinking = null, due = false;
  const draw = () => {
    due = false;
    const follow = atEnd();
    e.querySelector('.content').replaceWith(formatted(text));
    if (follow) toEnd();
  };
  return {
    think(more) {
      if (thinking === null) {
        thinking = thought(' ');
        thinking.open = true;
        e.querySelector('.content').before(thinking);
      }
      const follow = atEnd(), body = thinking.lastElementChild;
      body.textContent = (body.textContent + more).trimStart();
      body.scrollTop = body.scrollHeight;
      if (follow) toEnd();
    },
    write(more) {
      if (text === '' && thinking !== null) thinking.open = false;
      text += more;
      if (!due) { due = true; requestAnimationFrame(draw); }
    },
    end(note) {
      draw();
      e.removeAttribute('aria-busy');
      if (note) e.append(el('div', { class: 'who' }, note));
      if (text === '' && thinking === null && !note) e.remove();
      announce(text);
      return text;
    },
    remove: () => e.remove(),
  };
}

function announce(text) {
  const live = document.querySelector('.announcer') ?? document.body.appendChild(el('div', { class: 'announcer hidden', 'aria-live': 'polite' }));
  live.textContent = text;
}

function atEnd() {
  const t = $('transcript');
  return t.scrollHeight - t.scrollTop - t.clientHeight < 60;
}

function toEnd() { $('transcript').scrollTop = $('transcript').scrollHeight; }
