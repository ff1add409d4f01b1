#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tiny_bert/: a BERT of random weights, and what transformers computes with it in double precision.

    pip install torch transformers tokenizers safetensors numpy
    python make_tiny_bert.py tiny_bert
"""
import json
import pathlib
import string
import sys

import numpy
import torch
from safetensors.numpy import save_file
from tokenizers.implementations import BertWordPieceTokenizer
from transformers import BertConfig, BertModel

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the of and to in is was it for with as on be at by this had not are but from or have an they which one you were
all her she there would their we him been has when who will no more if out so up said what its about than into them can only
other time new some could these two may first then do any like my now over such our man me even most made after also did many
off before must well back through years where much your way down should because long each just state those people too mr how
little world still see men work life very house again old year day night river snow mill dog fox quick brown jump jump lazy
cold bright village quiet sea ship stone fire light dark road horse king queen child children mother father city garden door
window hand head eye voice word book letter morning evening winter summer autumn spring rain wind sun moon star tree bird fish
run runn walk talk sing read write eat sleep dream love hate fear hope truth wise fool rich poor
un re pre dis over under""".split()
SUFFIXES = """ing ed er est ly s es ness less ful able tion ment ity al ous ive ning ner e n t d y r in an on or en""".split()
BEYOND_ASCII = "\u00df \u00e6 \u00f8 \u0111 \u0142 \u03b1 \u03b2 \u03b3 \u03c3 \u03c9 \u0430 \u0431 \u0432 \u0433 \u0434 " \
    "\u0435 \u0438 \u043e \u4e00 \u4eba \u5927 \u65e5 \u672c \u8a9e \u1112 \u1161 \u11ab \u2013 \u2019 \u201c \u201d " \
    "\u20ac \u2603 \U0001f600".split()
CONTINUED = "\u00df \u00e6 \u00f8 \u03b1 \u03c3 \u0430 \u0431 \u043e \u1161 \u11ab \u1100 \u1173 \u11af".split()

# Texts, or bytes that are no UTF-8.
HARD = [
    "Snow fell on the quiet village during the night.",
    "The quick brown fox jumps over the lazy dog; nobody notices it, not even the man at the mill!",
    "",
    " \t\r\n ",
    "caf\u00e9 CAF\u00c9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m \u1e69\u0323 I\u0307stanbul \u0130ST",
    "\u03a3\u0399\u03a3\u03a5\u03a6\u039f\u03a3 \u03b1\u03b2\u03b3 \u0431\u043e\u0433 \u0411\u041e\u0413 \u0439 stra\u00dfe STRASSE \ufb01sh \u00bd",
    "\u65e5\u672c\u8a9e\u306f\u96e3\u3057\u3044 a\u4eba\u5927b \U00020000\u2f00\uf900 \ud55c\uae00 \u1112\u1161\u11ab",
    "hope \U0001f600\U0001f600 love \u2764\ufe0f \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2603 snow\u2603man",
    "zero\u0000width\u200bjoin\u200der \u0007bell\u007f \u00ad soft\u00adhyphen \ufeff\ufffd bom \ue000private",
    "no\u00a0break\u2003em\u3000wide\u2028line\u0085next\u000bvertical\u000cfeed",
    "x" * 100 + " " + "x" * 101 + " " + "\u00e9" * 100 + " " + "e\u0301" * 101,
    "## ##ing #hash ##the running unlikeliest dreamlessness [",
    "[CLS] hope [SEP] fear [MASK][UNK]x[PAD] [cls] [SE[SEP]P] [[MASK]",
    "don't stop--$5.00 (50%) a_b@c.d/e\\f ^g` {h|i}~ \u00abj\u00bb \u2018k\u2019 \u201cl\u201d \u2013m\u2014n\u2026 \u00a1o! \u00bfp? \u00a7 \u20ac",
    "qwrtzpsdfghjklxcvbnm mnbvcxlkjhgfdspztrwq 0123456789",
    " ".join(["the sea and the wind and the stars were"] * 12),
    "A",
    ".",
    "walking talked singer readable truthfulness hopeful unfearing overdreamt",
    "the\u0301 o\u0300\u0301\u0302f \u0301\u0302 a\u0315\u0300\u05ae\u0300\u0062 \u0064\u0307\u0323",
    b"snow \xff\xfe fell \xc3( \xe4\xb8 \xf0\x9f\x98 \xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80 end\xe4",
    b"\xe4\xb8\x80\x80\xf0\x9f\x98\x80 ca\xcc\x81fe\xcc",
]


def as_text(text):
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def entry(text, ids, embedding=None, digits=8):
    result = {"bytes": text.hex()} if isinstance(text, bytes) else {"text": text}
    result["ids"] = ids
    if embedding is not None:
        result["embedding"] = [float(f"{x:.{digits}f}") for x in embedding]
    return result


def write_oracle(path, entries, tolerance):
    """One sentence a line: a text, or bytes in hexadecimal; its ids; its embedding, where it has one."""
    lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)
    pathlib.Path(path).write_text(f'{{"tolerance": {tolerance}, "sentences": [\n{lines}\n]}}\n', encoding="ascii")


def vocabulary():
    pieces = list(SPECIALS)
    pieces += [c for c in string.punctuation + string.digits + string.ascii_lowercase]
    pieces += ["##" + c for c in string.digits + string.ascii_lowercase]
    pieces += WORDS + ["##" + s for s in SUFFIXES] + BEYOND_ASCII + ["##" + c for c in CONTINUED]
    return list(dict.fromkeys(pieces))


def main(folder):
    folder.mkdir(exist_ok=True)
    pieces = vocabulary()
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    longest = 48
    config = BertConfig(vocab_size=len(pieces), hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=96, max_position_embeddings=64, layer_norm_eps=1e-12, hidden_act="gelu",
                        attn_implementation="eager")
    kept = ["hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings", "model_type",
            "num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size"]
    everything = config.to_dict()
    (folder / "config.json").write_text(json.dumps({k: everything[k] for k in kept}, indent=2) + "\n")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest}, indent=2) + "\n")

    # Matrices in F16 and vectors in F32; large enough for attention to prefer some tokens, and GELU to bend.
    random = numpy.random.default_rng(1)
    model = BertModel(config, add_pooling_layer=False).double().eval()
    tensors = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if len(shape) == 2:
            value = random.normal(0, 0.25, shape).astype(numpy.float16)
        else:
            value = random.normal(1 if name.endswith("LayerNorm.weight") else 0, 0.2, shape).astype(numpy.float32)
        tensors[name] = value
        parameter.data = torch.from_numpy(value.astype(numpy.float64))
    save_file(tensors, folder / "model.safetensors")

    tokenizer = BertWordPieceTokenizer(vocab=str(folder / "vocab.txt"))
    tokenizer.enable_truncation(longest)
    entries = []
    for text in HARD:
        ids = tokenizer.encode(as_text(text)).ids
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        mean = hidden.mean(0)
        entries.append(entry(text, ids, (mean / mean.norm()).tolist()))
    write_oracle(folder / "oracle.json", entries, 1e-10)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
