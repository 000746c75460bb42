"""Renders snippets.txt with Jinja2 as transformers sets it up.

    python make_golden.py [SNIPPETS [GOLDEN]]

writes snippets.json: for each snippet its output, or the class of its error.
The committed file was made with Python 3.11, Jinja2 3.1.6, transformers 5.23.0.
"""

import copy
import json
import pathlib
import sys

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = pathlib.Path(__file__).parent

VARS = {
    "s": "Hello, Wörld",
    "l": [1, 2, 3, 4],
    "d": {"z": "last", "a": 1, "b": {"c": [True, None]}},
    "d2": {"items": "own", "keys": [1], "other": 0},
    "msgs": [
        {"role": "system", "meta": {"n": 1}},
        {"role": "user", "meta": {"n": 2}},
        {"role": "assistant", "meta": {}},
    ],
    "loopvar": 1,
    "big": {"i": 123456789012345678901234567890, "f": 1e100, "n": -5},
}


def render(source):
    try:
        return {"out": _compile_jinja_template(source).render(**copy.deepcopy(VARS))}
    except jinja2.exceptions.TemplateSyntaxError as err:
        return {"error": type(err).__name__, "line": err.lineno}
    except Exception as err:  # every error of a template is data here
        return {"error": type(err).__name__}


def main():
    snippets = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "snippets.txt"
    golden = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else HERE / "snippets.json"
    sources = snippets.read_text(encoding="utf-8").split("\n====\n")
    out = {
        "jinja2": jinja2.__version__,
        "transformers": transformers.__version__,
        "python": sys.version.split()[0],
        "vars": VARS,
        "snippets": [{"source": s, **render(s)} for s in sources],
    }
    text = json.dumps(out, ensure_ascii=False, indent=1)
    golden.write_text(text.encode("utf-8", "surrogatepass").decode("utf-8") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
