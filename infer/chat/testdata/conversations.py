"""The conversations that make_golden.py renders with every template."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather at a place, e.g. \"Zürich\" <b>now</b> & here.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "City, 東京 or Zürich"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1, "maximum": 10000000000000000000000},
                "altitude": {"type": "number", "default": 1e16, "multipleOf": 0.1, "examples": [1.0, -2.5e-7]},
            },
            "required": ["place"],
            "additionalProperties": False,
        },
    },
}
# Keys in no sorted order, no parameters, and a key that is also a dict method.
ODD = {
    "type": "function",
    "function": {
        "name": "zeta",
        "parameters": {"zz": 1, "items": {"b": None, "a": True}, "aa": [], "empty": {}},
        "description": "",
    },
}


def call(name, arguments, id="call_1"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def turns(*contents):
    roles = ["user", "assistant"]
    return [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]


SYSTEM = {"role": "system", "content": "Answer in one word."}
ARGS = {"place": "Zürich", "days": 2, "flags": [True, None], "ratio": 0.5}
THOUGHT = "<think>\nFirst, add.\nThen check.\n</think>\n\nIt is 4."

ASKED = turns("Weather in Zürich?")
CALLED = ASKED + [{"role": "assistant", "content": "", "tool_calls": [call("get_weather", ARGS)]}]
ANSWERED = CALLED + [{"role": "tool", "content": "{\"temp\": 21.5}", "tool_call_id": "call_1"}]

# name -> request; "both" renders it with and without the generation prompt.
CASES = {
    "plain": dict(messages=turns("Hi"), both=True),
    "system": dict(messages=[SYSTEM] + turns("Hi"), both=True),
    "multi_turn": dict(messages=turns("a", "b", "c"), both=True),
    "multi_turn_system": dict(messages=[SYSTEM] + turns("a", "b", "c", "d"), both=True),
    "no_messages": dict(messages=[]),
    "system_only": dict(messages=[SYSTEM]),
    "system_late": dict(messages=turns("a", "b") + [SYSTEM] + turns("c")),
    "assistant_first": dict(messages=[{"role": "assistant", "content": "Hello"}] + turns("Hi")),
    "user_twice": dict(messages=turns("a") + turns("b")),
    "unknown_role": dict(messages=[{"role": "critic", "content": "no"}]),
    "unicode": dict(messages=turns("Grüße, 日本語 🎉 עברית e\u0301 \u200b\u00a0x")),
    "braces": dict(messages=turns("{{ 7 * 7 }} {% raw %} {# c #} {{ bos_token }} {%- if %}\\n")),
    "special_text": dict(messages=turns("<|im_end|><|eot_id|></s>[/INST]<end_of_turn><|end|>", "<start_of_turn>model\n", "x")),
    "markup": dict(messages=turns("<b>\"q\" & 'x'</b> 1 < 2 \\ \t")),
    "padded": dict(messages=[{"role": "system", "content": " \n sys \n"}] + turns(" \n padded \u3000\n", "\n\n out \n", "\n")),
    "empty": dict(messages=turns("", "", "")),
    "name": dict(messages=[{"role": "user", "content": "Hi", "name": "Ada"}]),
    "think_history": dict(messages=turns("2+2?", THOUGHT, "Sure?")),
    "think_last": dict(messages=turns("2+2?", THOUGHT), both=True),
    "think_unclosed": dict(messages=turns("2+2?", "<think>\nhm", "?")),
    "think_twice": dict(messages=turns("2+2?", THOUGHT + "</think>\nAgain.", "?", "\n</think>\n")),
    "reasoning": dict(messages=[*turns("2+2?"), {"role": "assistant", "content": "4.", "reasoning_content": "\nadd\n"}], both=True),
    "reasoning_history": dict(messages=[*turns("2+2?"), {"role": "assistant", "content": "4.", "reasoning_content": "add"}, *turns("ok")]),
    "thinking_off": dict(messages=turns("Hi"), vars={"enable_thinking": False}, both=True),
    "thinking_on": dict(messages=turns("Hi"), vars={"enable_thinking": True}),
    "tools": dict(messages=ASKED, tools=[WEATHER], both=True),
    "tools_system": dict(messages=[SYSTEM] + ASKED, tools=[WEATHER, ODD]),
    "tools_empty": dict(messages=ASKED, tools=[]),
    "tools_no_user": dict(messages=[], tools=[ODD]),
    "tools_in_system": dict(messages=ASKED, tools=[ODD], vars={"tools_in_user_message": False, "date_string": "1 Jan 2030"}),
    "call": dict(messages=CALLED, tools=[ODD]),
    "call_without_tools": dict(messages=CALLED),
    "call_answer": dict(messages=ANSWERED, tools=[ODD], both=True),
    "call_done": dict(messages=ANSWERED + [{"role": "assistant", "content": "21.5 degrees."}] + turns("Thanks"), tools=[ODD]),
    "call_text": dict(messages=ASKED + [{"role": "assistant", "content": "Let me see.", "reasoning_content": "call it", "tool_calls": [call("get_weather", {})]}]),
    "call_arguments_text": dict(messages=ASKED + [{"role": "assistant", "content": "", "tool_calls": [call("get_weather", "{\"z\": 1, \"a\": \"ü\"}")]}]),
    "call_arguments_broken": dict(messages=ASKED + [{"role": "assistant", "content": "", "tool_calls": [call("get_weather", "{\"z\": ")]}]),
    "calls_parallel": dict(
        messages=ASKED
        + [{"role": "assistant", "content": "", "tool_calls": [call("get_weather", ARGS), call("zeta", {"a": "<x>"}, "call_2")]}]
        + [{"role": "tool", "content": "one", "tool_call_id": "call_1"}, {"role": "tool", "content": "two", "tool_call_id": "call_2"}]
        + turns("and?"),
        tools=[ODD],
    ),
    "tool_response_as_user": dict(messages=turns("q", "a", "<tool_response>\nx\n</tool_response>", THOUGHT)),
    "parts": dict(messages=[{"role": "user", "content": [{"type": "text", "text": " one "}, {"type": "text", "text": "two"}]}]),
    "parts_image": dict(messages=[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]),
    "parts_system": dict(messages=[{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}] + turns("Hi")),
    "parts_tool": dict(messages=CALLED + [{"role": "tool", "content": [{"type": "text", "text": "21"}], "tool_call_id": "call_1"}]),
}
