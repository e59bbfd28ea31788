#!/usr/bin/env python3
"""Makes tok-llama2.json, tok-qwen2.json and tok-vectors.jsonl.

usage: mktok.py TEXT     (needs the package tokenizers; made with 0.23.3)

Two byte pair encodings of 2000 tokens are trained on TEXT and described as
the files of Llama-2 (Prepend and Replace, byte fallback) and of Qwen2 (NFC,
its regular expression, byte-level) are.  The vectors are random strings, one
JSON object a line:

  tokenizer  ref (sq-ref-7m/tokenizer.json), llama2 or qwen2
  flags      1: special tokens are parsed, 2: the post-processor runs
  text, ids  what the library encodes, and to what
  decoded    the ids' text where it is not `text`
  plain      the same without special tokens where it is not `decoded`

Characters newer than the library's tables (NFC: Unicode 9) are left out.
"""
import json
import os
import random
import sys
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                        normalizers, pre_tokenizers, processors, trainers)

HERE = os.path.dirname(os.path.abspath(__file__))
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
WORDS = """the of and a in hello World I'll can't WE'VE don't 123 45 1,000 3.14
foo_bar x==y http://a.b/c?d=e na\u00efve caf\u00e9 e\u0301 \u65e5\u672c\u8a9e
\u4e2d\u6587 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab \u0395\u03bb\u03bb
\u0440\u0443\u0441 \u05e2\u05d1\u05e8 \u0639\u0631\u0628\u064a \u0939\u093f
\u0e44\u0e17\u0e22 \U0001f44d\U0001f3fd \ufb01 \ufb06 \u017f \u00df \u212a
\u0130 \u0131 \u01c4 \u00bd \u00b2 \u2167 \u0663 \u0345 \u0301\u0316 \u2126
\u200b \u200d \ufeff <0x41> <unk> <s> </s> <|endoftext|> <|im_start|>
<|begin_of_text|> <tool_call> </tool_call> \u2581 \u2581the the\u2581
\u0120""".split()
SPACE = ' |  |\t|\n|\n\n|\r\n|\x0b|\x85|\xa0|\u1680|\u2003|\u3000|\u180e'.split('|')


def llama2(lines):
    t = Tokenizer(models.BPE(unk_token='<unk>', byte_fallback=True,
                             fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend('\u2581'),
                                         normalizers.Replace(' ', '\u2581')])
    # SentencePiece cuts at spaces in training; its files do not say so
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='never')
    special = ['<unk>', '<s>', '</s>'] + [f'<0x{b:02X}>' for b in range(256)]
    t.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=2000, special_tokens=special, limit_alphabet=120,
        show_progress=False))
    t.decoder = decoders.Sequence([
        decoders.Replace('\u2581', ' '), decoders.ByteFallback(),
        decoders.Fuse(), decoders.Strip(' ', 1, 0)])
    t.post_processor = processors.TemplateProcessing(
        single='<s> $A', pair='<s> $A <s> $B', special_tokens=[('<s>', 1)])
    doc = json.loads(t.to_str())
    doc['pre_tokenizer'] = None
    doc['added_tokens'] = [a for a in doc['added_tokens'] if a['id'] < 3]
    doc['model']['merges'] = [' '.join(m) for m in doc['model']['merges']]
    return doc


def qwen2(lines):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), 'isolated'),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=2000, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens(['<|endoftext|>', '<|im_start|>', '<|im_end|>'])
    t.add_tokens([AddedToken(s, normalized=False)
                  for s in ('<tool_call>', '</tool_call>')])
    return json.loads(t.to_str())


def char(r):
    top = r.choice([0x7f, 0x7f, 0x250, 0x370, 0x1000, 0x3000, 0x10000,
                    0x20000])
    c = chr(r.randrange(1, top))
    return '?' if unicodedata.category(c) in ('Cs', 'Cn', 'Co') else c


def newer(c):
    return (0x860 <= c < 0x900 or 0x1ab0 <= c < 0x1b00 or
            0x1df0 <= c < 0x1e00 or 0x10d00 <= c < 0x11000 or
            0x1e100 <= c < 0x1e300 or c in (0x9fe, 0x1145e))


def string(r):
    out = ''
    for _ in range(r.choice([1, 2, 4, 8])):
        k = r.random()
        if k < .4:
            out += r.choice(WORDS)
        elif k < .6:
            out += r.choice(SPACE) * r.choice([1, 1, 2, 7])
        elif k < .9:
            out += ''.join(char(r) for _ in range(r.choice([1, 3, 7])))
        else:
            out += r.choice('aeos=-.! \n9') * r.choice([3, 10, 60])
    return ''.join(c for c in out if not newer(ord(c)))


def vectors(name, path, r):
    t = Tokenizer.from_file(os.path.join(HERE, path))
    for k in range(120):
        text, flags = string(r), k % 4
        t.encode_special_tokens = not flags & 1
        ids = t.encode(text, add_special_tokens=bool(flags & 2)).ids
        v = {'tokenizer': name, 'flags': flags, 'text': text, 'ids': ids}
        decoded = t.decode(ids, skip_special_tokens=False)
        plain = t.decode(ids, skip_special_tokens=True)
        if decoded != text:
            v['decoded'] = decoded
        if plain != decoded:
            v['plain'] = plain
        yield v


def dump(name, doc):
    with open(os.path.join(HERE, name), 'w') as f:
        json.dump(doc, f, ensure_ascii=False, separators=(',', ':'))
        f.write('\n')


def main():
    text = open(sys.argv[1]).read().replace('<|endoftext|>', '\n')
    dump('tok-llama2.json', llama2(text.split('\n')))
    dump('tok-qwen2.json', qwen2(text.split('\n')))
    r = random.Random(20261123)
    with open(os.path.join(HERE, 'tok-vectors.jsonl'), 'w') as f:
        for name, path in (('ref', 'sq-ref-7m/tokenizer.json'),
                           ('llama2', 'tok-llama2.json'),
                           ('qwen2', 'tok-qwen2.json')):
            for v in vectors(name, path, r):
                f.write(json.dumps(v, separators=(',', ':')) + '\n')


if __name__ == '__main__':
    main()
