// The message field, with the documents that go before the message.

import { $, el, bytes } from './dom.js';

const most = 32 << 20; // bytes: the daemon takes no larger request

const documents = []; // {name, text, size}

// start calls send with the text of a message when there is one, and problem with
// what went wrong.
export function start(send, problem) {
  const field = $('message');
  $('composer').addEventListener('submit', (e) => {
    e.preventDefault();
    if (field.value.trim() !== '' && !$('send').disabled) send(withDocuments(field.value));
  });
  field.addEventListener('keydown', (e) => {
    if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); $('composer').requestSubmit(); }
  });
  $('attach').addEventListener('change', async () => {
    await attach([...$('attach').files], problem);
    $('attach').value = '';
    field.focus();
  });
  for (const [name, over] of [['dragover', true], ['dragleave', false], ['drop', false]]) {
    $('composer').addEventListener(name, (e) => {
      if (!e.dataTransfer.types.includes('Files')) return;
      e.preventDefault();
      $('composer').classList.toggle('drop', over);
      if (name === 'drop') attach([...e.dataTransfer.files], problem);
    });
  }
}

async function attach(files, problem) {
  for (const f of files) {
    try {
      if (f.size > most) throw new Error(`${bytes(f.size)} is more than the ${bytes(most)} that the daemon takes`);
      const text = new TextDecoder('utf-8', { fatal: true }).decode(await f.arrayBuffer());
      if (text.trim() === '') throw new Error('the file is empty');
      documents.push({ name: f.name, text, size: f.size });
    } catch (e) {
      problem(new Error(`${f.name}: ${e instanceof TypeError ? 'this is not UTF-8 text' : e.message}`));
    }
  }
  draw();
}

function draw() {
  $('documents').hidden = documents.length === 0;
  $('documents').replaceChildren(...documents.map((d, i) => el('li', {},
    el('button', { type: 'button', 'aria-label': `Leave out ${d.name}`, onclick: () => { documents.splice(i, 1); draw(); } },
      `${d.name} · ${bytes(d.size)} ✕`))));
}

// withDocuments puts the documents before a message, as `edged ask` does: with
// their names where there are several, each ending with a newline.
function withDocuments(text) {
  const name = (d) => (documents.length > 1 ? d.name + ':\n' : '');
  return documents.map((d) => name(d) + d.text.replace(/\n+$/, '') + '\n').join('') + text;
}

// clear is called when a message has been taken.
export function clear() {
  $('message').value = '';
  documents.length = 0;
  draw();
}

export function busy(is) {
  $('send').disabled = is;
  $('stop').hidden = !is;
}
