"""The kinds of tokenizers beside byte-level BPE, made small or from a real vocabulary, for golden_tokenizer_pieces.py
and check_tokenizers.py. Every maker returns what HF `tokenizers` or `sentencepiece` loads."""
import gzip
import io
import json
import os

import sentencepiece as spm
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

MARK = "\u2581"
SPM = {  # kind: options of the SentencePiece trainer
    "spm-llama": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                      remove_extra_whitespaces=False),
    "spm-gemma": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False,
                      remove_extra_whitespaces=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
                      user_defined_symbols=["<start_of_turn>", 2 * MARK, 4 * MARK, "a b", "ircl", "\n\n"]),
    "spm-bpe": dict(model_type="bpe", normalization_rule_name="nmt_nfkc"),
    "spm-unigram": dict(model_type="unigram", normalization_rule_name="nmt_nfkc_cf"),
    "spm-unigram-bytes": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity",
                              remove_extra_whitespaces=False, user_defined_symbols=["<sep>", "ircl", "e s"]),
    "spm-siglip": dict(model_type="unigram", normalization_rule_name="nmt_nfkc", pad_id=0, eos_id=1, unk_id=2, bos_id=-1),
}


def train_spm(kind, lines, vocab):
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, vocab_size=vocab,
                                   hard_vocab_limit=False, character_coverage=0.995, num_threads=1,
                                   minloglevel=2, **SPM[kind])
    return out.getvalue()


def pieces_of(model):
    sp = spm.SentencePieceProcessor(model_proto=model)
    return [sp.id_to_piece(i) for i in range(len(sp))], [sp.get_score(i) for i in range(len(sp))]


def fields(data):
    """(number, value) of a protobuf message; bytes, or numbers of any width."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at += 1
            shift += 7
            if data[at - 1] < 128:
                return value
    while at < len(data):
        tag = varint()
        n = {1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        n = varint() if n is None else n
        at += n
        yield tag >> 3, data[at - n:at]


def charsmap_of(model):
    """normalizer_spec.precompiled_charsmap"""
    return dict(fields(dict(fields(model))[3])).get(2, b"")


def bpe_of(model, unk="<unk>"):
    """HF's BPE of a SentencePiece BPE model: a merge for every two pieces that join to a piece, best piece first."""
    pieces, _ = pieces_of(model)
    vocab = {p: i for i, p in enumerate(pieces)}
    merges = []
    for p, i in vocab.items():
        local = [(p[:k], p[k:]) for k in range(1, len(p)) if p[:k] in vocab and p[k:] in vocab]
        merges += [(i, a, b) for a, b in sorted(local, key=lambda x: (vocab[x[0]], vocab[x[1]]))]
    merges = [(a, b) for _, a, b in sorted(merges, key=lambda x: x[0])]
    return models.BPE(vocab, merges, unk_token=unk, fuse_unk=True, byte_fallback=True)


def specials(*contents, **how):
    return [AddedToken(c, normalized=False, special=True, **how) for c in contents]


def spaced_decoder(strip):
    parts = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(parts + ([decoders.Strip(" ", 1, 0)] if strip else []))


def llama(model):
    tok = Tokenizer(bpe_of(model))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tok.decoder = spaced_decoder(True)
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                       special_tokens=[("<s>", 1)])
    tok.add_special_tokens(specials("<unk>", "<s>", "</s>"))
    return tok


def llama_first(model):
    """LLaMA without `legacy`: only the beginning of the whole text gets the mark."""
    tok = llama(model)
    tok.normalizer = None
    tok.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="first", split=False)
    return tok


def phi3(model):
    tok = llama(model)
    tok.add_special_tokens(specials("<|user|>", "<|end|>", rstrip=True))
    tok.add_tokens([AddedToken("</word>", normalized=False, lstrip=True, rstrip=True)])
    return tok


def gemma(model):
    tok = Tokenizer(bpe_of(model))
    tok.normalizer = normalizers.Replace(" ", MARK)
    tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tok.decoder = spaced_decoder(False)
    tok.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    tok.add_special_tokens(specials("<unk>", "<bos>"))
    return tok


def old_metaspace(model):
    """BPE cut into words by the old notation of Metaspace."""
    tok = Tokenizer(bpe_of(model))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="always", split=True)
    tok.decoder = decoders.Metaspace(MARK, prepend_scheme="always", split=True)
    tok.add_special_tokens(specials("<unk>", "<s>", "</s>"))
    j = json.loads(tok.to_str())
    for part in ("pre_tokenizer", "decoder"):
        j[part] = {"type": "Metaspace", "replacement": MARK, "add_prefix_space": True}
    j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
    j["model"]["byte_fallback"] = False
    return Tokenizer.from_str(json.dumps(j))


def siglip(model):
    """T5's tokenizer with what SigLIP puts before it."""
    pieces, scores = pieces_of(model)
    tok = Tokenizer(models.Unigram(list(zip(pieces, scores)), unk_id=pieces.index("<unk>")))
    tok.normalizer = normalizers.Sequence([
        normalizers.Lowercase(), normalizers.Replace(Regex(r"[!\"#$%&'()*+,\-./:;=?@\[\\\]^_`{|}~]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(),
        normalizers.Precompiled(charsmap_of(model))])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="always", split=True)
    tok.decoder = decoders.Metaspace(MARK, prepend_scheme="always", split=True)
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tok.add_special_tokens(specials("<unk>", "</s>"))
    return tok


def siglip_folder(model, folder):
    """SentencePiece's file and the name of the class, which alone says what SigLIP does to a text before it."""
    from transformers import SiglipTokenizer
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "spiece.model"), "wb") as f:
        f.write(model)
    tok = SiglipTokenizer(os.path.join(folder, "spiece.model"))
    added = {tok.convert_tokens_to_ids(t): dict(content=t, lstrip=True, rstrip=True, normalized=False,
                                                single_word=False, special=True) for t in ("</s>", "<unk>")}
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "SiglipTokenizer", "do_lower_case": True, "eos_token": "</s>", "pad_token": "</s>",
                   "unk_token": "<unk>", "model_max_length": 64, "added_tokens_decoder": added}, f, indent=1)
    return tok


def unigram_bytes(model):
    """Unigram on whole texts, with bytes for what it lacks."""
    pieces, scores = pieces_of(model)
    tok = Tokenizer(models.Unigram(list(zip(pieces, scores)), unk_id=pieces.index("<unk>"), byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap_of(model))] if charsmap_of(model) else
                                          [normalizers.Strip(True, False)])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="first", split=False)
    tok.decoder = spaced_decoder(True)
    return tok


def clip(path):
    """CLIP's tokenizer from its published merges."""
    from golden_tokenizer import CLIP
    with gzip.open(path, "rt", encoding="utf-8") as f:
        lines = f.read().split("\n")
    merges = [tuple(m.split()) for m in lines[1:49152 - 256 - 2 + 1]]
    letters = [chr(c) for c in list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))]
    letters += [chr(256 + i) for i in range(256 - len(letters))]
    vocab = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    tok = Tokenizer(models.BPE({p: i for i, p in enumerate(vocab)}, merges, end_of_word_suffix="</w>",
                               unk_token="<|endoftext|>"))
    tok.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                           normalizers.Lowercase()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CLIP), "removed", invert=True),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.RobertaProcessing(("<|endoftext|>", len(vocab) - 1),
                                                      ("<|startoftext|>", len(vocab) - 2), False, False)
    tok.add_special_tokens(specials("<|startoftext|>", "<|endoftext|>"))
    return tok
