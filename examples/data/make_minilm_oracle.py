#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes minilm_oracle.json: token ids and embeddings of all-MiniLM-L6-v2 as sentence-transformers computes them.

    pip install sentence-transformers
    python make_minilm_oracle.py build/minilm minilm_oracle.json     # the model's folder first
"""
import sys

from sentence_transformers import SentenceTransformer

from make_tiny_bert import HARD, as_text, entry, write_oracle

EMBEDDED = [
    "The cat sat on the mat and watched the rain.",
    "A kitten was sitting on a rug, looking at the falling rain.",
    "The central bank raised its interest rate by a quarter of a point.",
    "Stars are born in cold clouds of gas and dust.",
    "Call me Ishmael.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Der Schnee fiel die ganze Nacht \u00fcber das stille Dorf.",
    "How do I reset a forgotten password?",
    "",
    " ".join(["Alice was beginning to get very tired of sitting by her sister on the bank,"] * 20),
]


def main(model, out):
    model = SentenceTransformer(model, device="cpu", local_files_only=True)
    tokenizer = model.tokenizer.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.max_seq_length)
    entries = [entry(text, tokenizer.encode(text).ids, model.encode(text).tolist(), 5) for text in EMBEDDED]
    entries += [entry(text, tokenizer.encode(as_text(text)).ids) for text in HARD]
    write_oracle(out, entries, 1e-7)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
