"""Makes tok-MODEL.json, the reference ids of a real model, with llama.cpp's own tokenizer.

    llama-server -m MODEL.gguf --port PORT &
    python make_tokens.py PORT text.txt tok-MODEL.json

text.txt is any long English text; paragraphs of it follow the texts below. Per text the output holds "tokens" (plain
text, nothing added) and "special" (BOS and EOS added as the model asks, special tokens parsed). Needs Python 3 alone.
"""

import json
import sys
import urllib.request

TEXTS = [
    "Hello world", " Hello  world", "Hello, y'all! How are you 😁 ?", "1234567890 12 3.14159 1,000,000",
    "\n\n\n  \t\ttabs\tand\nnewlines\r\n\r\n", "ünïcödé naïve Ærøskøbing ﬁ ﬃ", "日本語のテキスト、中文文本。한국어 텍스트",
    "مرحبا بالعالم שלום עולם", "def f(x):\n    return x ** 2  # comment\n", "I'm you're he'll we've they'd IT'S DON'T",
    "🇩🇪👨‍👩‍👧‍👦👍🏽", "a" * 40, " " * 17 + "x", "x" + " " * 9, "e\u0301 vs \u00e9", "\u00a0nbsp\u2003em\u200bzw",
    "https://example.org/a?b=c&d=%20#frag", "<|im_start|>user\nhi<|im_end|>", "<start_of_turn>user\nhi<end_of_turn>",
    '{"a": [1, 2.5e-3, null]}', "SELECT * FROM t WHERE x >= 10;", "The quick brown fox jumps over the lazy dog.",
    "$€£¥ ±×÷ ∑∫√ αβγ", "---===+++***", "camelCaseWordsAndSNAKE_CASE_words", "mixed123abc456", "½ ² ³ ① Ⅷ",
    "ก็ไทย ไม่มีช่องว่าง", "नमस्ते दुनिया", "tail space ", "tail newline\n", "\ufeffBOM", "a\u0000b", "C:\\path\\to\\file.txt",
    "“quotes” ‘single’ – — …", "",
]


def tokenize(port, text, special):
    body = json.dumps({"content": text, "add_special": special, "parse_special": special}).encode()
    url = f"http://127.0.0.1:{port}/tokenize"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)["tokens"]


def main(port, text_file, out):
    with open(text_file, encoding="utf-8") as f:
        lines = f.read().split("\n")
    texts = TEXTS + ["\n".join(lines[i:i + 3]) for i in range(100, 30000, 1500)]
    cases = [{"text": t, "tokens": tokenize(port, t, False), "special": tokenize(port, t, True)} for t in texts]
    with open(out, "w", encoding="utf-8") as f:
        json.dump(cases, f, ensure_ascii=False)


main(*sys.argv[1:])
