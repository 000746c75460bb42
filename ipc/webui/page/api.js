// The daemon's API, as the port behind this page passes it on. The key lives in
// this tab only; a reload keeps it.

const slot = 'edged-key';

// Refusal is an answer that is an error, with the API's own words.
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail.message);
    this.status = status;
    this.code = detail.code ?? '';
    this.detail = detail;
  }
}

// login exchanges the token of the link for the key.
export async function login(token) {
  const resp = await fetch('/login', { method: 'POST', body: JSON.stringify({ token }) });
  if (resp.ok) sessionStorage.setItem(slot, (await resp.json()).key);
  else if (sessionStorage.getItem(slot) === null) throw await refusal(resp);
  // Otherwise the link was followed again in a tab that has the key.
}

async function refusal(resp) {
  try {
    return new Refusal(resp.status, (await resp.json()).error);
  } catch {
    return new Refusal(resp.status, { message: `the answer had the status ${resp.status}` });
  }
}

async function send(method, path, body, signal) {
  const headers = { Authorization: 'Bearer ' + (sessionStorage.getItem(slot) ?? '') };
  let resp;
  try {
    resp = await fetch(path, { method, headers, body, signal });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Refusal(0, { message: '`edged ui` does not run any more. Start it again for a new link.' });
  }
  if (!resp.ok) throw await refusal(resp);
  return resp;
}

async function call(method, path, body) {
  return (await send(method, path, body === undefined ? undefined : JSON.stringify(body))).json();
}

export const status = () => call('GET', '/v1/status');
export const models = async () => (await call('GET', '/v1/models')).data;
export const session = (id) => call('GET', '/v1/sessions/' + id);
export const createSession = (title) => call('POST', '/v1/sessions', { title });
export const editSession = (id, edit) => call('PATCH', '/v1/sessions/' + id, edit);
export const deleteSession = (id) => call('DELETE', '/v1/sessions/' + id);
export const forkSession = (id, title, messages) => call('POST', `/v1/sessions/${id}/fork`, { title, messages });
export const importSession = async (file) => (await send('POST', '/v1/sessions/import', file)).json();

// ready is the daemon's state: not to be ready is no error.
export async function ready() {
  try {
    return await call('GET', '/readyz');
  } catch (e) {
    if (e.status !== 503) throw e;
    return { status: 'loading', text: e.message, ...e.detail };
  }
}

// sessions lists them all, the last changed first.
export async function sessions() {
  const all = new Map();
  for (let after = ''; ;) {
    const page = await call('GET', '/v1/sessions?limit=1000' + (after && '&after=' + after));
    for (const s of page.data) all.set(s.id, s);
    if (!page.has_more || page.data.length === 0) return [...all.values()];
    after = page.data.at(-1).id;
  }
}

// exportSession lets the browser download a session.
export async function exportSession(s) {
  const { path } = await call('POST', '/ticket', { path: `/v1/sessions/${s.id}/export` });
  location.assign(path);
}

// chat streams an answer: each is called with every event.
export async function chat(request, signal, each) {
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true, include_progress: true, include_reach: true } });
  const resp = await send('POST', '/v1/chat/completions', body, signal);
  const reader = resp.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Refusal(0, { message: 'the answer was cut off' });
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith('data:')) continue;
      const data = line.slice(5).trim();
      if (data === '[DONE]') return;
      const event = JSON.parse(data);
      if (event.error) throw new Refusal(0, event.error);
      each(event);
    }
  }
}
