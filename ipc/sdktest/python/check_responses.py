"""Runs the responses of the official OpenAI SDK for Python, unmodified.

EDGED_SOCKET: path of the daemon's socket. EDGED_MODEL: model id.
EDGED_SCRIPTED: set when the engine is the scripted one, which calls every tool
with {"city": "Rome"} and fails on demand.
"""

import json
import os
import sys

import openai

from common import MODEL, expect, fails, openai_client

CLIENT = openai_client()
ASK = "Note: the access code of red-apple is 4711234.\nWhat is the access code of red-apple?"
COMMON = {"model": MODEL, "temperature": 0, "max_output_tokens": 24}
TOOLS = [{"type": "function", "name": n, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}} for n in ("weather", "time")]


def stateless():
    r = CLIENT.responses.create(input=ASK, instructions="Be brief.", store=False, **COMMON)
    expect(r.object == "response" and r.status in ("completed", "incomplete") and r.output_text, r)
    expect(r.usage.input_tokens > 0 and r.usage.total_tokens == r.usage.input_tokens + r.usage.output_tokens, r.usage)
    expect(r.store is False and r.instructions == "Be brief." and r.output[0].content[0].annotations == [], r)
    turns = [{"role": "user", "content": ASK}, *r.output, {"role": "user", "content": "And?"}]
    expect(CLIENT.responses.create(input=turns, **COMMON).output_text, turns)
    fails(openai.NotFoundError, lambda: CLIENT.responses.retrieve(r.id))


def stream():
    kinds, text = [], ""
    with CLIENT.responses.stream(input=ASK, **COMMON) as s:
        for i, e in enumerate(s):
            expect(e.sequence_number == i, e)
            kinds.append(e.type)
            if e.type == "response.output_text.delta":
                text += e.delta
        r = s.get_final_response() if "response.completed" in kinds else None
    expect(kinds[:2] == ["response.created", "response.in_progress"], kinds)
    expect(kinds[-1] in ("response.completed", "response.incomplete"), kinds)
    expect(text == CLIENT.responses.create(input=ASK, **COMMON).output_text, text)
    expect(r is None or r.output_text == text, r, text)


def stored():
    one = CLIENT.responses.create(input=ASK, store=True, metadata={"k": "v"}, **COMMON)
    expect(one.store and one.model_extra["session"]["durable"], one)
    back = CLIENT.responses.retrieve(one.id)
    expect(back.output == one.output and back.metadata == {"k": "v"} and back.status == one.status, back, one)
    expect(back.usage.total_tokens == one.usage.total_tokens, back.usage, one.usage)
    two = CLIENT.responses.create(input="And again?", store=True, previous_response_id=one.id, **COMMON)
    other = CLIENT.responses.create(input="Another question.", previous_response_id=one.id, **COMMON)
    expect(two.id != one.id and two.previous_response_id == one.id, two)
    if "EDGED_SCRIPTED" not in os.environ:  # whose engine counts new messages only
        expect(two.usage.input_tokens > one.usage.input_tokens, two, one)
    expect(other.usage.input_tokens > one.usage.input_tokens, other)
    CLIENT.responses.delete(one.id)
    e = fails(openai.NotFoundError, lambda: CLIENT.responses.create(input="x", previous_response_id=one.id, **COMMON))
    expect(e.code == "response_not_found" and e.param == "previous_response_id", e.body)
    expect(CLIENT.responses.retrieve(two.id).output == two.output)
    CLIENT.responses.delete(two.id)


def tools():
    if "EDGED_SCRIPTED" not in os.environ:
        return
    r = CLIENT.responses.create(input=ASK, tools=TOOLS, store=True, **COMMON)
    expect([(i.type, i.name, json.loads(i.arguments)) for i in r.output] == [("function_call", n, {"city": "Rome"}) for n in ("weather", "time")], r)
    results = [{"type": "function_call_output", "call_id": i.call_id, "output": "fine"} for i in r.output]
    expect(CLIENT.responses.retrieve(r.id).output == r.output)
    expect(CLIENT.responses.create(input=results, tools=TOOLS, previous_response_id=r.id, **COMMON).output_text)
    with CLIENT.responses.stream(input=ASK, tools=TOOLS, tool_choice={"type": "function", "name": "time"}, **COMMON) as s:
        done = [e for e in s if e.type == "response.function_call_arguments.done"]
    expect([json.loads(e.arguments) for e in done] == [{"city": "Rome"}], done)


def errors():
    def ask(**more):
        return lambda: CLIENT.responses.create(**{"input": ASK, **COMMON, **more})

    e = fails(openai.NotFoundError, ask(model="gpt-none"))
    expect(e.code == "model_not_found", e.body)
    e = fails(openai.BadRequestError, ask(background=True))
    expect(e.param == "background", e.body)
    e = fails(openai.BadRequestError, ask(input="word " * 20000))
    expect(e.code == "context_length_exceeded", e.body)
    if "EDGED_SCRIPTED" in os.environ:
        events = list(CLIENT.responses.create(input="fail", stream=True, **COMMON))
        expect(events[-1].type == "response.failed" and events[-1].response.error.code == "server_error", events[-1])


def cancel():
    for _ in range(3):
        events = CLIENT.responses.create(model=MODEL, input="Write an endless story about the sea.", stream=True)
        for e in events:
            if e.type == "response.output_text.delta":
                break
        events.close()
    stateless()  # the daemon goes on


print(f"openai-python {openai.__version__}, Python {sys.version.split()[0]}")
for check in (stateless, stream, stored, tools, errors, cancel):
    check()
    print("ok", check.__name__)
