"""Tools through the official OpenAI SDK for Python, unmodified.

EDGED_SOCKET: path of the daemon's socket. EDGED_MODEL: model id. The engine is
the scripted one, which calls every tool with {"city": "Rome"}.
"""

import json

import openai

from common import MODEL, expect, openai_client

CLIENT = openai_client()
ASK = [{"role": "user", "content": "Weather and time in Rome?"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": CITY}},
    {"type": "function", "function": {"name": "time", "parameters": CITY, "strict": True}},
]


def whole():
    r = CLIENT.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS)
    m = r.choices[0].message
    expect(r.choices[0].finish_reason == "tool_calls" and m.content is None, r)
    expect([c.function.name for c in m.tool_calls] == ["weather", "time"], m)
    expect(all(json.loads(c.function.arguments) == {"city": "Rome"} for c in m.tool_calls), m)
    expect(len({c.id for c in m.tool_calls}) == 2, m)
    results = [{"role": "tool", "tool_call_id": c.id, "content": "fine"} for c in m.tool_calls]
    r = CLIENT.chat.completions.create(model=MODEL, messages=[*ASK, m, *results], tools=TOOLS)
    expect(r.choices[0].finish_reason == "stop" and r.choices[0].message.content, r)


def stream():
    with CLIENT.chat.completions.stream(model=MODEL, messages=ASK, tools=TOOLS[:1]) as s:
        kinds = [e.type for e in s]
        r = s.get_final_completion()
    expect("tool_calls.function.arguments.delta" in kinds and "tool_calls.function.arguments.done" in kinds, kinds)
    call = r.choices[0].message.tool_calls[0].function
    expect(call.name == "weather" and json.loads(call.arguments) == {"city": "Rome"}, r)


def choice():
    for tool_choice, names in {"none": None, "auto": 2, "required": 2}.items():
        r = CLIENT.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS, tool_choice=tool_choice)
        expect(len(r.choices[0].message.tool_calls or []) == (names or 0), tool_choice, r)
    named = {"type": "function", "function": {"name": "time"}}
    r = CLIENT.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS, tool_choice=named)
    expect([c.function.name for c in r.choices[0].message.tool_calls] == ["time"], r)
    try:
        named["function"]["name"] = "other"
        CLIENT.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS, tool_choice=named)
    except openai.BadRequestError as e:
        expect(e.param == "tool_choice", e)
    else:
        raise AssertionError("a tool that does not exist was accepted")


def several():
    r = CLIENT.chat.completions.create(model=MODEL, messages=ASK, n=3)
    expect([c.index for c in r.choices] == [0, 1, 2] and all(c.message.content for c in r.choices), r)


for check in (whole, stream, choice, several):
    check()
    print(check.__name__)
