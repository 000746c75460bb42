// Runs the official Node SDK, unmodified, against the daemon.
//
// EDGED_SOCKET: path of the daemon's socket. EDGED_MODEL: model id.
// EDGED_SCRIPTED: set when the engine is the scripted one, which fails on demand.
// Prints one line per check; the first failure ends the run with a stack trace.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { VERSION } from 'openai/version';
import { Agent, fetch } from 'undici';

const { EDGED_SOCKET: socketPath, EDGED_MODEL: model } = process.env;
const dispatcher = new Agent({ connect: { socketPath }, headersTimeout: 0, bodyTimeout: 0 });
const client = new OpenAI({
  baseURL: 'http://localhost/v1',
  apiKey: '-',
  maxRetries: 0,
  fetch, // undici's own: a dispatcher works only with the fetch of its package
  fetchOptions: { dispatcher },
});
const messages = [
  {
    role: 'user',
    content: 'Note: the access code of red-apple is 4711234.\nWhat is the access code of red-apple?',
  },
];
const endless = [{ role: 'user', content: 'Write an endless story about the sea.' }];
const greedy = { model, temperature: 0, seed: 1, max_tokens: 24 };

async function collect(stream) {
  const all = [];
  for await (const item of await stream) all.push(item);
  return all;
}

async function fails(type, promise) {
  try {
    await promise;
  } catch (e) {
    assert.ok(e instanceof type, `${e}`);
    return e;
  }
  assert.fail(`no ${type.name}`);
}

const checks = {
  async models() {
    const ids = (await collect(client.models.list())).map((m) => m.id);
    assert.ok(ids.includes(model), ids);
    const one = await client.models.retrieve(model);
    assert.equal(one.id, model);
    assert.ok(one.max_model_len > 0);
    const e = await fails(OpenAI.NotFoundError, client.models.retrieve('no/such model'));
    assert.equal(e.code, 'model_not_found');
  },

  async chat() {
    const { data: r, request_id } = await client.chat.completions.create({ messages, ...greedy }).withResponse();
    const [choice] = r.choices;
    assert.equal(r.object, 'chat.completion');
    assert.equal(choice.message.role, 'assistant');
    assert.ok(choice.message.content);
    assert.ok(['stop', 'length'].includes(choice.finish_reason));
    assert.ok(r.usage.completion_tokens > 0 && r.usage.completion_tokens <= 24);
    assert.equal(r.usage.prompt_tokens + r.usage.completion_tokens, r.usage.total_tokens);
    assert.ok(r.usage.prompt_tokens_details.cached_tokens >= 0);
    assert.match(request_id, /^req-/);
  },

  async stream() {
    const whole = await client.chat.completions.create({ messages, ...greedy });
    const chunks = await collect(
      client.chat.completions.create({ messages, stream: true, stream_options: { include_usage: true }, ...greedy }),
    );
    assert.equal(new Set(chunks.map((c) => c.id + c.created + c.model)).size, 1);
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    const deltas = chunks.flatMap((c) => c.choices);
    assert.equal(deltas.map((d) => d.delta.content ?? '').join(''), whole.choices[0].message.content);
    assert.deepEqual(deltas.map((d) => d.finish_reason).filter(Boolean), [whole.choices[0].finish_reason]);
    assert.deepEqual(chunks.map((c) => !!c.usage), chunks.map((_, i) => i === chunks.length - 1));
    assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);

    const runner = client.chat.completions.stream({ messages, ...greedy });
    assert.equal(await runner.finalContent(), whole.choices[0].message.content);
  },

  async logprobs() {
    const r = await client.chat.completions.create({ messages, logprobs: true, top_logprobs: 3, ...greedy });
    const tokens = r.choices[0].logprobs.content;
    assert.ok(tokens.length > 0);
    const bytes = Uint8Array.from(tokens.flatMap((t) => t.bytes));
    const text = new TextDecoder().decode(bytes, { stream: true }); // drops a code point that is cut off
    assert.equal(text, r.choices[0].message.content);
    for (const t of tokens) {
      assert.ok(t.logprob <= 0 && t.top_logprobs.length === 3, t);
      assert.equal(t.top_logprobs[0].token, t.token);
    }
  },

  async completions() {
    const ask = { prompt: 'The access code is', ...greedy };
    const whole = await client.completions.create({ logprobs: 2, ...ask });
    const { text, logprobs } = whole.choices[0];
    assert.ok(text);
    assert.equal(logprobs.tokens.length, logprobs.token_logprobs.length);
    const chunks = await collect(client.completions.create({ stream: true, ...ask }));
    assert.equal(chunks.map((c) => c.choices[0].text).join(''), text);
  },

  async sessions() {
    const session = await client.post('/sessions', { body: { title: 'check' } });
    const response_format = {
      type: 'json_schema',
      json_schema: { name: 'x', schema: { type: 'object', properties: { x: { type: 'integer' } }, required: ['x'] } },
    };
    for (const turn of [1, 2]) {
      const r = await client.chat.completions.create(
        { messages, response_format, model, temperature: 0, max_tokens: 60 },
        { headers: { 'Edged-Session': session.id } },
      );
      assert.equal(r.session.id, session.id);
      assert.ok(r.session.durable);
      // The scripted engine says the same whatever it is asked for.
      if (!process.env.EDGED_SCRIPTED) assert.ok(Number.isInteger(JSON.parse(r.choices[0].message.content).x), turn);
    }
    const { history } = await client.get(`/sessions/${session.id}`);
    assert.deepEqual(history.map((m) => m.role), ['user', 'assistant', 'user', 'assistant']);
    assert.ok((await client.delete(`/sessions/${session.id}`)).deleted);
    await fails(OpenAI.NotFoundError, client.get(`/sessions/${session.id}`));
  },

  async tools() {
    if (!process.env.EDGED_SCRIPTED) return; // which calls every tool with this
    const city = { city: 'Rome' };
    const parameters = { type: 'object', properties: { city: { type: 'string' } } };
    const tools = ['weather', 'time'].map((name) => ({ type: 'function', function: { name, parameters } }));
    const r = await client.chat.completions.create({ messages, tools, ...greedy });
    assert.equal(r.choices[0].finish_reason, 'tool_calls');
    assert.deepEqual(r.choices[0].message.tool_calls.map((c) => JSON.parse(c.function.arguments)), [city, city]);
    const final = await client.chat.completions.stream({ messages, tools, ...greedy }).finalChatCompletion();
    assert.deepEqual(final.choices[0].message.tool_calls.map((c) => c.function.name), ['weather', 'time']);
  },

  async responses() {
    const ask = { model, input: messages[0].content, temperature: 0, max_output_tokens: 24 };
    const one = await client.responses.create({ store: true, ...ask });
    assert.ok(one.output_text && one.store);
    assert.deepEqual((await client.responses.retrieve(one.id)).output, one.output);
    const events = await collect(client.responses.create({ ...ask, stream: true, previous_response_id: one.id }));
    assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
    assert.ok(['response.completed', 'response.incomplete'].includes(events.at(-1).type));
    await client.responses.delete(one.id);
    const e = await fails(OpenAI.NotFoundError, client.responses.retrieve(one.id));
    assert.equal(e.code, 'response_not_found');
  },

  async errors() {
    const ask = (change) => client.chat.completions.create({ messages, ...greedy, ...change });
    let e = await fails(OpenAI.NotFoundError, ask({ model: 'gpt-none' }));
    assert.equal(e.code, 'model_not_found');
    assert.equal(e.type, 'not_found_error');
    e = await fails(OpenAI.BadRequestError, ask({ temperature: 5 }));
    assert.equal(e.param, 'temperature');
    assert.equal(e.code, null);
    e = await fails(OpenAI.BadRequestError, ask({ response_format: { type: 'xml' } }));
    assert.equal(e.param, 'response_format.type');
    const { max_model_len } = await client.models.retrieve(model);
    const tooLong = [{ role: 'user', content: 'word '.repeat(max_model_len + 1) }];
    for (const stream of [false, true]) {
      e = await fails(OpenAI.BadRequestError, ask({ messages: tooLong, stream }));
      assert.equal(e.code, 'context_length_exceeded');
      assert.ok(e.error.n_prompt_tokens >= e.error.n_ctx && e.error.n_ctx > 0);
      assert.equal(e.headers.get('x-should-retry'), 'false');
    }
  },

  async failure() {
    if (!process.env.EDGED_SCRIPTED) return;
    const seen = [];
    const stream = await client.chat.completions.create({
      messages: [{ role: 'user', content: 'fail' }],
      stream: true,
      ...greedy,
    });
    const e = await fails(
      OpenAI.APIError,
      (async () => {
        for await (const chunk of stream) seen.push(chunk.choices[0].delta.content);
      })(),
    );
    assert.deepEqual(seen, ['', 'The']);
    assert.equal(e.code, 'internal_error');
  },

  async embeddings() {
    const input = ['The cat sleeps.', 'x'];
    const packed = await client.embeddings.create({ model, input }); // base64, which the SDK unpacks
    const plain = await client.embeddings.create({ model, input, encoding_format: 'float' });
    assert.deepEqual(packed.data.map((d) => d.index), [0, 1]);
    packed.data.forEach((d, i) => assert.deepEqual(d.embedding, plain.data[i].embedding.map(Math.fround)));
    assert.ok(packed.usage.total_tokens > 1 && packed.usage.prompt_tokens === packed.usage.total_tokens);
    const e = await fails(OpenAI.BadRequestError, client.embeddings.create({ model, input: 'x', dimensions: 1e6 }));
    assert.equal(e.param, 'dimensions');
  },

  async cancel() {
    for (let i = 0; i < 3; i++) {
      const stream = await client.chat.completions.create({ model, messages: endless, stream: true });
      for await (const chunk of stream) {
        if (chunk.choices[0]?.delta.content) break; // ends the stream
      }
      assert.ok(stream.controller.signal.aborted);
    }
    await checks.chat(); // the daemon goes on
  },
};

console.log(`openai-node ${VERSION}, Node ${process.version}`);
for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log('ok', name);
}
await dispatcher.close();
