// Elements are made here and filled with text, never with markup: whatever a
// model or a file says stays text.

export const $ = (id) => document.getElementById(id);

// el makes an element. Properties that begin with "on" are listeners, others
// attributes; children are elements or text.
export function el(name, props = {}, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(props)) {
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (v === true) e.setAttribute(k, '');
    else if (v !== false && v !== undefined && v !== null) e.setAttribute(k, v);
  }
  e.append(...children.filter((c) => c !== undefined && c !== null));
  return e;
}

// svg makes an element of a drawing.
export function svg(name, props = {}, ...children) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [k, v] of Object.entries(props)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

// ask shows a dialog. It gives the text of its field (or true without one), or
// null when it was cancelled.
export function ask({ title, text = '', label, value = '', rows = 1, yes = 'OK' }) {
  $('ask-title').textContent = title;
  $('ask-text').textContent = text;
  $('ask-text').hidden = text === '';
  $('ask-field').hidden = label === undefined;
  $('ask-label').textContent = label ?? '';
  const field = $('ask-value');
  field.value = value;
  field.rows = rows;
  field.onkeydown = (e) => {
    if (e.key === 'Enter' && rows === 1) { e.preventDefault(); $('ask-yes').click(); }
  };
  $('ask-yes').textContent = yes;
  const dialog = $('ask');
  dialog.returnValue = 'no';
  dialog.showModal();
  (label === undefined ? $('ask-yes') : field).focus();
  if (rows === 1) field.select();
  return new Promise((done) => {
    dialog.onclose = () => done(dialog.returnValue !== 'yes' ? null : label === undefined ? true : field.value);
  });
}

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let u = 0;
  while (n >= 1024 && u < units.length - 1) { n /= 1024; u++; }
  return (u === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)) + ' ' + units[u];
}

export const number = (n) => n.toLocaleString('en');

export function ago(seconds) {
  const s = Math.max(0, Date.now() / 1000 - seconds);
  if (s < 60) return 'just now';
  for (const [unit, n, next] of [['minute', 60, 60], ['hour', 3600, 24], ['day', 86400, 365]]) {
    const v = Math.floor(s / n);
    if (v < next) return `${v} ${unit}${v === 1 ? '' : 's'} ago`;
  }
  return new Date(seconds * 1000).toLocaleDateString();
}
