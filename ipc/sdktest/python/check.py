"""Runs the official Python SDK, unmodified, against the daemon.

EDGED_SOCKET: path of the daemon's socket. EDGED_MODEL: model id.
EDGED_SCRIPTED: set when the engine is the scripted one, which fails on demand.
Prints one line per check; the first failure ends the run with a traceback.
"""

import os
import struct
import sys

import openai

from common import MODEL, expect, fails, openai_client

CLIENT = openai_client()
PROMPT = [
    {
        "role": "user",
        "content": "Note: the access code of red-apple is 4711234.\nWhat is the access code of red-apple?",
    }
]
ENDLESS = [{"role": "user", "content": "Write an endless story about the sea."}]
GREEDY = {"model": MODEL, "temperature": 0, "seed": 1, "max_tokens": 24}


def models():
    expect(MODEL in [m.id for m in CLIENT.models.list()])
    one = CLIENT.models.retrieve(MODEL)
    expect(one.id == MODEL and one.object == "model" and one.max_model_len > 0, one)
    e = fails(openai.NotFoundError, lambda: CLIENT.models.retrieve("no/such model"))
    expect(e.code == "model_not_found" and e.param == "model", e.body)


def chat():
    r = CLIENT.chat.completions.create(messages=PROMPT, **GREEDY)
    choice = r.choices[0]
    expect(r.object == "chat.completion" and r.model == MODEL, r)
    expect(choice.message.role == "assistant" and choice.message.content, r)
    expect(choice.finish_reason in ("stop", "length"), r)
    u = r.usage
    expect(0 < u.prompt_tokens and 0 < u.completion_tokens <= 24, u)
    expect(u.prompt_tokens + u.completion_tokens == u.total_tokens, u)
    expect(0 <= u.prompt_tokens_details.cached_tokens <= u.prompt_tokens, u)
    expect(r._request_id.startswith("req-"), r._request_id)


def stream():
    whole = CLIENT.chat.completions.create(messages=PROMPT, **GREEDY)
    chunks = list(
        CLIENT.chat.completions.create(messages=PROMPT, stream=True, stream_options={"include_usage": True}, **GREEDY)
    )
    expect(len({(c.id, c.created, c.model) for c in chunks}) == 1)
    expect(chunks[0].choices[0].delta.role == "assistant", chunks[0])
    deltas = [c.choices[0] for c in chunks if c.choices]
    expect("".join(d.delta.content or "" for d in deltas) == whole.choices[0].message.content, chunks)
    expect([d.finish_reason for d in deltas if d.finish_reason] == [whole.choices[0].finish_reason], chunks)
    expect([c.usage is not None for c in chunks] == [False] * (len(chunks) - 1) + [True], chunks)
    expect(chunks[-1].usage.completion_tokens == whole.usage.completion_tokens, chunks[-1])
    plain = list(CLIENT.chat.completions.create(messages=PROMPT, stream=True, **GREEDY))
    expect(all(c.usage is None and len(c.choices) == 1 for c in plain), plain)


def logprobs():
    r = CLIENT.chat.completions.create(messages=PROMPT, logprobs=True, top_logprobs=3, **GREEDY)
    tokens = r.choices[0].logprobs.content
    expect(tokens)
    text = b"".join(bytes(t.bytes) for t in tokens)
    expect(text.decode("utf-8", "ignore") == r.choices[0].message.content, text, r)
    for t in tokens:
        expect(t.logprob <= 0 and len(t.top_logprobs) == 3, t)
        expect(t.top_logprobs[0].token == t.token, t)  # greedy
        ranked = [a.logprob for a in t.top_logprobs]
        expect(ranked == sorted(ranked, reverse=True), t)


def completions():
    ask = {"prompt": "The access code is", **GREEDY}
    whole = CLIENT.completions.create(logprobs=2, **ask)
    choice = whole.choices[0]
    lp = choice.logprobs
    expect(whole.object == "text_completion" and choice.text, whole)
    expect(len(lp.tokens) == len(lp.token_logprobs) == len(lp.top_logprobs) == len(lp.text_offset) > 0, lp)
    chunks = list(CLIENT.completions.create(stream=True, **ask))
    expect("".join(c.choices[0].text for c in chunks) == choice.text, chunks)
    expect(chunks[-1].choices[0].finish_reason == choice.finish_reason, chunks[-1])


def errors():
    def ask(messages=PROMPT, **kw):
        return lambda: CLIENT.chat.completions.create(messages=messages, **{**GREEDY, **kw})

    e = fails(openai.NotFoundError, ask(model="gpt-none"))
    expect(e.code == "model_not_found" and e.type == "not_found_error", e.body)
    e = fails(openai.BadRequestError, ask(temperature=5))
    expect(e.param == "temperature" and e.code is None and "5" in e.message, e.body)
    e = fails(openai.BadRequestError, ask(functions=[{"name": "f"}]))
    expect(e.param == "functions", e.body)
    too_long = [{"role": "user", "content": "word " * (CLIENT.models.retrieve(MODEL).max_model_len + 1)}]
    for streaming in (False, True):
        e = fails(openai.BadRequestError, ask(messages=too_long, stream=streaming))
        expect(e.code == "context_length_exceeded", e.body)
        expect(e.body["n_prompt_tokens"] >= e.body["n_ctx"] > 0, e.body)
        expect(e.response.headers["x-should-retry"] == "false", e.response.headers)


def embeddings():
    texts = ["The cat sleeps.", "A feline is asleep.", "x"]
    r = CLIENT.embeddings.create(model=MODEL, input=texts)  # base64, which the SDK unpacks
    expect([d.index for d in r.data] == [0, 1, 2] and r.model == MODEL and r.object == "list", r)
    plain = CLIENT.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    expect([d.embedding for d in r.data] == [[float32(x) for x in d.embedding] for d in plain.data], r, plain)
    expect(all(abs(sum(x * x for x in d.embedding) - 1) < 1e-4 for d in r.data), r)
    expect(r.usage.prompt_tokens == r.usage.total_tokens > 2, r.usage)
    one = CLIENT.embeddings.create(model=MODEL, input="x", dimensions=2)
    expect(len(one.data) == 1 and len(one.data[0].embedding) == 2, one)
    ids = CLIENT.embeddings.create(model=MODEL, input=[[1, 2], [3]])
    expect(len(ids.data) == 2 and ids.usage.prompt_tokens == 3, ids)
    e = fails(openai.BadRequestError, lambda: CLIENT.embeddings.create(model=MODEL, input=[]))
    expect(e.param == "input", e.body)


def float32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def failure():
    if "EDGED_SCRIPTED" not in os.environ:
        return
    seen = []

    def ask():
        fail = [{"role": "user", "content": "fail"}]
        for chunk in CLIENT.chat.completions.create(messages=fail, stream=True, **GREEDY):
            seen.append(chunk.choices[0].delta.content)

    e = fails(openai.APIError, ask)
    expect(seen == ["", "The"] and e.code == "internal_error", seen, e)


def cancel():
    for _ in range(3):
        events = CLIENT.chat.completions.create(model=MODEL, messages=ENDLESS, stream=True)
        for chunk in events:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        events.close()
    chat()  # the daemon goes on


print(f"openai-python {openai.__version__}, Python {sys.version.split()[0]}")
for check in (models, chat, stream, logprobs, completions, embeddings, errors, failure, cancel):
    check()
    print("ok", check.__name__)
