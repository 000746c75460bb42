"""Runs Anthropic's official Python SDK, unmodified, against the daemon.

EDGED_SOCKET: path of the daemon's socket. EDGED_MODEL: model id.
EDGED_SCRIPTED: set when the engine is the scripted one, which calls every tool
with {"city": "Rome"} and fails on demand.
"""

import os
import sys

import anthropic

from common import MODEL, expect, fails, transport

CLIENT = anthropic.Anthropic(
    base_url="http://localhost",
    api_key="-",
    max_retries=0,
    http_client=anthropic.DefaultHttpxClient(transport=transport()),
)
ASK = [{"role": "user", "content": "Note: the access code of red-apple is 4711234.\nWhat is the access code of red-apple?"}]
COMMON = {"model": MODEL, "max_tokens": 24, "extra_body": {"temperature": 0}}
TOOLS = [{"name": n, "description": n, "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}} for n in ("weather", "time")]


def whole():
    m = CLIENT.messages.create(messages=ASK, system="Be brief.", **COMMON)
    expect(m.type == "message" and m.role == "assistant" and m.model == MODEL, m)
    expect(m.content[0].type == "text" and m.content[0].text, m)
    expect(m.stop_reason in ("end_turn", "max_tokens"), m)
    expect(m.usage.input_tokens > 0 and 0 < m.usage.output_tokens <= 24, m.usage)


def stream():
    kinds = []
    with CLIENT.messages.stream(messages=ASK, **COMMON) as s:
        for e in s:
            kinds.append(e.type)
        m = s.get_final_message()
    expect(kinds[0] == "message_start" and kinds[-1] == "message_stop" and "content_block_delta" in kinds, kinds)
    expect(m.content[0].text == CLIENT.messages.create(messages=ASK, **COMMON).content[0].text, m)
    expect(m.stop_reason in ("end_turn", "max_tokens") and m.usage.output_tokens > 0, m)


def count():
    n = CLIENT.messages.count_tokens(model=MODEL, messages=ASK).input_tokens
    m = CLIENT.messages.create(messages=ASK, **COMMON)
    expect(n == m.usage.input_tokens + m.usage.cache_read_input_tokens, n, m.usage)


def tools():
    if "EDGED_SCRIPTED" not in os.environ:
        return
    m = CLIENT.messages.create(messages=ASK, tools=TOOLS, **COMMON)
    expect(m.stop_reason == "tool_use" and [b.name for b in m.content] == ["weather", "time"], m)
    expect(all(b.input == {"city": "Rome"} for b in m.content), m)
    results = [{"type": "tool_result", "tool_use_id": b.id, "content": "fine"} for b in m.content]
    turns = [*ASK, {"role": "assistant", "content": m.content}, {"role": "user", "content": results}]
    m = CLIENT.messages.create(messages=turns, tools=TOOLS, **COMMON)
    expect(m.stop_reason == "end_turn" and m.content[0].text, m)
    with CLIENT.messages.stream(messages=ASK, tools=TOOLS, tool_choice={"type": "tool", "name": "time"}, **COMMON) as s:
        m = s.get_final_message()
    expect([(b.name, b.input) for b in m.content] == [("time", {"city": "Rome"})] and m.stop_reason == "tool_use", m)


def errors():
    def ask(**more):
        return lambda: CLIENT.messages.create(**{"messages": ASK, **COMMON, **more})

    e = fails(anthropic.NotFoundError, ask(model="claude-none"))
    expect(e.body["error"]["type"] == "not_found_error" and e.body["request_id"].startswith("req-"), e.body)
    e = fails(anthropic.BadRequestError, ask(extra_body={"temperature": 5}))
    expect(e.body["error"]["type"] == "invalid_request_error" and "temperature" in e.body["error"]["message"], e.body)
    e = fails(anthropic.BadRequestError, ask(thinking={"type": "enabled", "budget_tokens": 5}, max_tokens=2048))
    expect("thinking.budget_tokens" in e.body["error"]["message"], e.body)
    too_long = [{"role": "user", "content": "word " * 20000}]
    e = fails(anthropic.BadRequestError, ask(messages=too_long))
    expect("context" in e.body["error"]["message"], e.body)
    if "EDGED_SCRIPTED" in os.environ:
        def failing():
            with CLIENT.messages.stream(messages=[{"role": "user", "content": "fail"}], **COMMON) as s:
                s.get_final_message()

        e = fails(anthropic.APIStatusError, failing)
        expect("Internal error" in str(e), e)


def cancel():
    for _ in range(3):
        with CLIENT.messages.stream(model=MODEL, max_tokens=100000, messages=[{"role": "user", "content": "Write an endless story about the sea."}]) as s:
            for e in s:
                if e.type == "content_block_delta":
                    break
    whole()  # the daemon goes on


print(f"anthropic {anthropic.__version__}, Python {sys.version.split()[0]}")
for check in (whole, stream, count, tools, errors, cancel):
    check()
    print("ok", check.__name__)
