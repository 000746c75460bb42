"""Renders every template with every conversation, as transformers does.

    python make_golden.py [TEMPLATE_DIR [GOLDEN_DIR]]

writes conversations.json (the requests) and one golden file per template,
with the prompt or the class of the error for each request. The committed
files were made with Python 3.11, Jinja2 3.1.6 and transformers 5.23.0.
"""

import copy
import datetime
import json
import pathlib
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils

from conversations import CASES

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 3, 5, 7, 8, 9, 123456)
BOS, EOS = "<BOS>", "<EOS>"


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FixedClock


def requests():
    for name, case in CASES.items():
        for prompt in [True, False] if case.get("both") else [True]:
            yield name + ("" if prompt else "/open"), {
                "messages": case["messages"],
                "tools": case.get("tools"),
                "add_generation_prompt": prompt,
                "vars": case.get("vars", {}),
            }


def with_parsed_arguments(messages):
    """Does what the package does before it renders: a call's arguments that
    are JSON text of an object become the object."""
    messages = copy.deepcopy(messages)
    for message in messages:
        for call in message.get("tool_calls", []):
            try:
                parsed = json.loads(call["function"]["arguments"])
            except (TypeError, ValueError):
                continue
            if isinstance(parsed, dict):
                call["function"]["arguments"] = parsed
    return messages


def render(template, request):
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            [with_parsed_arguments(request["messages"])],
            tools=request["tools"],
            chat_template=template,
            add_generation_prompt=request["add_generation_prompt"],
            bos_token=BOS,
            eos_token=EOS,
            **request["vars"],
        )
        return {"prompt": rendered[0]}
    except jinja2.exceptions.TemplateError as err:
        if type(err) is jinja2.exceptions.TemplateError:
            return {"raised": err.message}
        return {"error": type(err).__name__}
    except (TypeError, ValueError, AttributeError) as err:
        return {"error": type(err).__name__}


def write(path, value):
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    assert len(text.encode()) <= 100_000, f"{path}: {len(text.encode())} bytes"
    path.write_text(text, encoding="utf-8")


def main():
    templates = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "templates"
    golden = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else HERE / "golden"
    golden.mkdir(exist_ok=True)
    write(HERE / "conversations.json", dict(requests()))
    for path in sorted(templates.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        write(
            golden / (path.stem + ".json"),
            {
                "jinja2": jinja2.__version__,
                "transformers": transformers.__version__,
                "python": sys.version.split()[0],
                "now": NOW.isoformat(),
                "bos_token": BOS,
                "eos_token": EOS,
                "renders": {name: render(source, request) for name, request in requests()},
            },
        )


if __name__ == "__main__":
    main()
