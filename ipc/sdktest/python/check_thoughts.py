"""How the official Python SDKs see what a model thinks before it answers.

EDGED_SOCKET: path of the daemon's socket. EDGED_MODEL: model id. The engine must
be the scripted one, which thinks when it is asked to ponder.
"""

import anthropic

from common import MODEL, expect, openai_client, transport

CLIENT = openai_client()
CLAUDE = anthropic.Anthropic(
    base_url="http://localhost", api_key="-", max_retries=0, http_client=anthropic.DefaultHttpxClient(transport=transport())
)
ASK = [{"role": "user", "content": "ponder"}]
THOUGHT, ANSWER = "Let me see.", "The answer is 42."


def chat():
    r = CLIENT.chat.completions.create(model=MODEL, messages=ASK)
    expect(r.choices[0].message.content == ANSWER and r.choices[0].message.reasoning_content == THOUGHT, r)
    expect(r.usage.completion_tokens_details.reasoning_tokens == 2, r.usage)
    deltas = [c.choices[0].delta for c in CLIENT.chat.completions.create(model=MODEL, messages=ASK, stream=True)]
    expect("".join(getattr(d, "reasoning_content", None) or "" for d in deltas) == THOUGHT, deltas)
    expect("".join(d.content or "" for d in deltas) == ANSWER, deltas)


def responses():
    r = CLIENT.responses.create(model=MODEL, input="ponder")
    expect([i.type for i in r.output] == ["reasoning", "message"] and r.output_text == ANSWER, r)
    expect(r.output[0].content[0].text == THOUGHT and r.usage.output_tokens_details.reasoning_tokens == 2, r)
    with CLIENT.responses.stream(model=MODEL, input="ponder") as events:
        thought = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
        final = events.get_final_response()
    expect(thought == THOUGHT and [i.type for i in final.output] == ["reasoning", "message"], thought, final)
    # What was answered can be sent back as it is.
    again = CLIENT.responses.create(model=MODEL, input=ASK + [i.model_dump(exclude_none=True) for i in r.output] + ASK)
    expect(again.status == "completed", again)


def messages():
    options = {"model": MODEL, "max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024}, "messages": ASK}
    m = CLAUDE.messages.create(**options)
    expect([b.type for b in m.content] == ["thinking", "text"] and m.content[0].thinking == THOUGHT, m)
    with CLAUDE.messages.stream(**options) as s:
        thought = "".join(e.thinking for e in s if e.type == "thinking")
        final = s.get_final_message()
    expect(thought == final.content[0].thinking == THOUGHT and final.content[1].text == ANSWER, final)
    again = ASK + [{"role": "assistant", "content": [b.model_dump() for b in m.content]}] + ASK
    expect(CLAUDE.messages.create(**{**options, "messages": again}).stop_reason == "end_turn")


for check in (chat, responses, messages):
    check()
    print("ok", check.__name__)
