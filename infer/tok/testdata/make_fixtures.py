"""Makes the fixtures of package tok from independent implementations.

    python make_fixtures.py        (writes *.json beside this file)

Versions used: Python 3.11, tokenizers 0.23.3, sentencepiece 0.2.3. Output depends on nothing but this file and them.

split.json       pieces that Hugging Face's pre-tokenizers cut texts into, with the patterns that the model families
                 publish in their tokenizer.json
bpe-*.json       small byte-level BPE vocabularies, one per pattern, as GGUF metadata, with texts and their ids
spm-*.json       small SentencePiece BPE vocabularies with byte fallback, likewise
utf8.json        byte strings and how Python decodes them with errors="replace"
"""

import io
import json
import random
import sys
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
MADE_BY = f"make_fixtures.py, tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}"

# Published split patterns. The contractions of Llama 3 and Qwen 2 are case-insensitive in the original.
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def byte_level(regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level(False)])


PRE = {
    "gpt-2": byte_level(True),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
    "llama-bpe": split(LLAMA3),
    "qwen2": split(QWEN2),
}

TEXTS = [
    "", " ", "  ", "\n", " \n", "\n ", "a", "Hello world", " Hello  world", "Hello, y'all! It's HERE, we'Ve 'Ll'D",
    "1234567890 12 3.14159 1,000,000", "\n\n\n  \t\ttabs\tand\nnewlines\r\n\r\n", "trailing   ", "   leading", "x\t\ty",
    "ünïcödé naïve Ærøskøbing ﬁ", "日本語のテキスト、中文文本。한국어 텍스트", "مرحبا بالعالم שלום עולם", "ก็ไทย ไม่มีช่องว่าง",
    "नमस्ते दुनिया", "def f(x):\n    return x ** 2  # comment\n", "I'm you're he'll we've they'd IT'S DON'T", "😁 🇩🇪👨‍👩‍👧‍👦👍🏽",
    "e\u0301 vs \u00e9", "\u00a0nbsp\u2003em\u200bzw\u3000ideographic\u2028line", "https://example.org/a?b=c&d=%20#frag",
    "$€£¥ ±×÷ ∑∫√ αβγ", "½ ² ³ ① Ⅷ ٣", "a\u0000b", "\ufeffBOM", "----\n====\r\n++++", "!!! \n\n ??? \n", "12 ab34cd  567   8",
    "“quotes” ‘single’ – — …", "\x0b\x0c\x1c\x85", "camelCase SNAKE_CASE x1y22z333", " 1", "  1", "\t1 \t 2", "'s's 'S", "''",
]
PARTS = ["a", "B", "é", "ß", "日", "ก", "ा", "́", "1", "²", "٣", " ", " ", "  ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u3000", "\u200d",
         "!", "'", "'s", "'LL", "'re", "-", "…", "€", "😁", "\ufffd", "_", "word", "The", "99"]


def random_texts(n, seed):
    rng = random.Random(seed)
    return ["".join(rng.choices(PARTS, k=rng.randint(1, 12))) for _ in range(n)]


def write(name, value):
    path = HERE / name
    lines = json.dumps({"made_by": MADE_BY, **value}, ensure_ascii=False, separators=(",", ":"))
    path.write_text(lines.replace("},{", "},\n{") + "\n", encoding="utf-8")
    print(name, path.stat().st_size, file=sys.stderr)


def make_split():
    cases = []
    for text in TEXTS + random_texts(250, 1):
        pieces = {name: [text[a:b] for _, (a, b) in pre.pre_tokenize_str(text)] for name, pre in PRE.items()}
        assert all("".join(p) == text for p in pieces.values()), text
        cases.append({"text": text, "pieces": pieces})
    write("split.json", {"cases": cases})


def corpus():
    rng = random.Random(2)
    words = " ".join(TEXTS).split() + ["the", "of", "and", "token", "tokens", "user", "assistant", "merge", "merges", "bytes", "end of the", "> <"] * 8
    return [" ".join(rng.choices(words, k=12)) for _ in range(2000)]


CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER = ["</think>", "\n\n\n", "<tool>"]
SPECIAL_TEXTS = [
    "<|im_start|>user\nhi there<|im_end|>\n", "a<|im_end|><|im_end|> b", "<|im_<|im_end|>end|>", "so</think>it is  \n\n\n\n\n\nx",
    "<tool>the token</tool> <|endoftext|", "<|im_end|>", "</think>",
]


def make_bpe(name):
    tok = Tokenizer(models.BPE(ignore_merges=name == "llama-bpe"))
    tok.pre_tokenizer = PRE[name]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=CONTROL, show_progress=False))
    # A word that no merge makes tells apart vocabularies that look words up before merging.
    model = json.loads(tok.to_str())["model"]
    vocab = dict(model["vocab"])
    whole = "Ġmergeless"
    assert whole not in vocab
    vocab[whole] = len(vocab)
    tok.model = models.BPE(vocab=vocab, merges=[tuple(m) for m in model["merges"]], ignore_merges=name == "llama-bpe")
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in USER])

    size = tok.get_vocab_size()
    tokens = [tok.id_to_token(i) for i in range(size)]
    types = [3 if t in CONTROL else 4 if t in USER else 1 for t in tokens]
    cases = []
    for text in TEXTS + SPECIAL_TEXTS + [" mergeless mergeless"] + random_texts(40, 3):
        tok.encode_special_tokens = True
        plain = tok.encode(text, add_special_tokens=False).ids
        tok.encode_special_tokens = False
        special = tok.encode(text, add_special_tokens=False).ids
        cases.append({"text": text, "plain": plain, "special": special})
    write(f"bpe-{name}.json", {"cases": cases, "metadata": {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name, "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": [" ".join(m) for m in model["merges"]],
        "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_bos_token": False}})


def make_spm(name, prefix, split_words):
    user = [] if prefix else ["</think>", "<tool>"]
    blob = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=blob, model_type="bpe", vocab_size=700, byte_fallback=True,
        add_dummy_prefix=prefix, remove_extra_whitespaces=False, normalization_rule_name="identity",
        split_by_whitespace=split_words, split_digits=True, character_coverage=0.98, hard_vocab_limit=False, num_threads=1,
        user_defined_symbols=user, control_symbols=["<|im_start|>", "<|im_end|>"],
        minloglevel=2)
    sp = sentencepiece.SentencePieceProcessor(model_proto=blob.getvalue())
    ids = range(sp.get_piece_size())
    pieces = [sp.id_to_piece(i) for i in ids]
    types = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 4 if pieces[i] in user else 1 for i in ids]
    texts = TEXTS + SPECIAL_TEXTS + random_texts(60, 4)
    write(f"spm-{name}.json", {"cases": [{"text": t, "plain": sp.encode(t)} for t in texts], "metadata": {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": pieces, "tokenizer.ggml.scores": [sp.get_score(i) for i in ids],
        "tokenizer.ggml.token_type": types, "tokenizer.ggml.unknown_token_id": sp.unk_id(),
        "tokenizer.ggml.bos_token_id": sp.bos_id(), "tokenizer.ggml.eos_token_id": sp.eos_id(),
        "tokenizer.ggml.add_space_prefix": prefix}})


def make_utf8():
    rng = random.Random(5)
    whole = ["a", "é", "€", "😁", "\u0000", "\uffff", "\U0010ffff", "\ufffd"]
    cases = [b"", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", b"\xf0\x9f\x98A", b"\xe2\x82\xe2\x82\xac"]
    for _ in range(300):
        parts = []
        for _ in range(rng.randint(1, 5)):
            b = rng.choice(whole).encode()
            parts.append(b[rng.randint(0, 1):rng.randint(1, 4)] if rng.random() < 0.6 else b)
            if rng.random() < 0.2:
                parts.append(bytes([rng.randrange(256)]))
        cases.append(b"".join(parts))
    write("utf8.json", {"cases": [{"bytes": list(c), "text": c.decode("utf-8", "replace")} for c in cases]})


make_split()
for pre in PRE:
    make_bpe(pre)
make_spm("plain", False, True)
make_spm("prefix", True, True)
make_spm("glue", False, False)
make_utf8()
