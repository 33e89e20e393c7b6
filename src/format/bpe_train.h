// Learns a byte-level BPE vocabulary from texts and writes it as a Hugging Face tokenizer folder.
//
//   static const char *const special[] = {"<unk>", "<s>", "</s>", "<image>"};
//   drt_bpe_train(texts, n, 4096, special, 4, "out/tokenizer", &err);
#ifndef DRT_FORMAT_BPE_TRAIN_H
#define DRT_FORMAT_BPE_TRAIN_H

#include "base/error.h"

// Ids: the special tokens 0 .. n_special-1, then the 256 bytes (in the order of their letters), then one per new piece
// until vocab_size is reached or no pair stands twice. Texts (UTF-8, NUL-terminated) are cut by the GPT-2 pattern;
// special tokens in them are left out of the counts. The most frequent pair is merged first; of equally frequent ones
// that with the smaller left id, then the smaller right id: the same texts give the same bytes, and the pieces that
// HF's BpeTrainer learns with min_frequency 2 and its ByteLevel alphabet.
// Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json into out_folder (made if missing), which
// AutoTokenizer loads with identical ids. "<s>", "</s>", "<unk>" and "<pad>", when among the special tokens, become
// BOS, EOS, UNK and PAD; BOS stands in front of a text, nothing behind it.
// DRT_EARG: vocab_size < 256 + n_special, a special token empty or given twice. DRT_EIO, DRT_ENOMEM.
drt_status drt_bpe_train(const char *const *texts, int n, int vocab_size, const char *const *special, int n_special,
                         const char *out_folder, drt_error *err);

#endif
