#!/usr/bin/env python3
"""Makes the golden files of tests/data/template_test.c: every chat template as LLaVA and Hugging Face write it.

  python3 tools/golden_templates.py [FOLDER]      FOLDER defaults to tests/golden/templates

Needs `tokenizers` and `transformers`. The texts are written here by separator style, as LLaVA's conversation.py does;
drt has a table of strings. Labels come from the lengths of tokenised prefixes, as in LLaVA's preprocess functions; drt
reads byte offsets. Where a chat template is published (llama_2, llama_3, chatml, gemma, phi3), it is spelled below
and `apply_chat_template` must give the same text.
"""
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

IMAGE = -200
POLITE = ("A chat between a curious {0} and an artificial intelligence assistant. The assistant gives helpful, "
          "detailed, and polite answers to the {0}'s questions.")
HELPFUL = ("You are a helpful language and vision assistant. You are able to understand the visual content that the "
           "user provides, and assist the user with a variety of tasks using natural language.")
SYSTEM = {
    "v0": POLITE.format("human"), "v1": POLITE.format("user"), "llama_2": HELPFUL, "llama_3": HELPFUL,
    "chatml": "You are a helpful assistant.", "gemma": "", "phi3": "You are a helpful AI assistant.",
    "mpt": ("A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest "
            "answers."),
}
SPECIAL = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>", "<start_of_turn>",
           "<end_of_turn>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
EOS = {"bytes": "</s>", "marks": "</s>", "nobos": "<|endoftext|>"}


class Paper:
    """A text in the making, and which of it is trained on. TWO and LLAMA_2 end answers with the tokenizer's EOS."""

    def __init__(self):
        self.text, self.learn = "", []

    def put(self, text):
        self.text += text

    def answer(self, text):
        self.learn.append((len(self.text), len(self.text) + len(text)))
        self.text += text


def single(p, system, turns, eos):  # v0: system###Human: Q###Assistant: A###
    p.put(system + "###" if system else "")
    for i, text in enumerate(turns):
        p.put(("Human: ", "Assistant:")[i % 2])
        if i % 2:
            p.answer(" " + text + "###")
        else:
            p.put(text + "###")


def two(p, system, turns, eos):  # v1: system USER: Q ASSISTANT: A</s>USER: ...
    p.put(system + " " if system else "")
    for i, text in enumerate(turns):
        p.put(("USER: ", "ASSISTANT:")[i % 2])
        if i % 2:
            p.answer(" " + text + eos)
        else:
            p.put(text + " ")


def llama_2(p, system, turns, eos):  # [INST] <<SYS>>...Q [/INST] A </s><s>[INST] Q [/INST]
    for i, text in enumerate(turns):
        if i % 2:
            p.answer(f" {text} {eos}")
            continue
        if i == 0 and system:
            text = f"<<SYS>>\n{system}\n<</SYS>>\n\n{text}"
        p.put(("<s>" if i else "") + f"[INST] {text} [/INST]")


def headed(heading, end, between, models_name="assistant"):
    """heading(role), text, end; `between` stands behind every end and is not trained on."""
    def write(p, system, turns, eos):
        if system:
            p.put(heading("system") + system + end + between)
        for i, text in enumerate(turns):
            p.put(heading((("user", models_name))[i % 2]))
            if i % 2:
                p.answer(text + end)
                p.put(between)
            else:
                p.put(text + end + between)
    return write


def gemma(p, system, turns, eos):  # no place for a system prompt: it goes before the first question, as in Gemma 3's
    first = system + "\n\n" + turns[0] if system else turns[0]
    headed("<start_of_turn>{}\n".format, "<end_of_turn>", "\n", "model")(p, "", [first] + turns[1:], eos)


STYLE = {
    "v0": single, "v1": two, "llama_2": llama_2, "gemma": gemma,
    "llama_3": headed("<|start_header_id|>{}<|end_header_id|>\n\n".format, "<|eot_id|>", ""),
    "chatml": headed("<|im_start|>{}\n".format, "<|im_end|>", "\n"),
    "phi3": headed("<|{}|>\n".format, "<|end|>", "\n"),
    "mpt": headed("<|im_start|>{}\n".format, "<|im_end|>", ""),
}
OPEN = {"v0": "Assistant:", "v1": "ASSISTANT:", "llama_2": "", "gemma": "<start_of_turn>model\n",
        "llama_3": "<|start_header_id|>assistant<|end_header_id|>\n\n", "chatml": "<|im_start|>assistant\n",
        "phi3": "<|assistant|>\n", "mpt": "<|im_start|>assistant\n"}
NEEDS_BOS = {"llama_2"}  # writes "<s>" itself: only for tokenizers that have it

# What Meta, Qwen, Google and Microsoft publish, without the checks of alternating roles.
LOOP = "{% for message in messages %}"
JINJA = {
    "llama_2": "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}"
               "{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}"
               "{% endif %}{% for message in rest %}{% if loop.index0 == 0 and system != false %}"
               "{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
               "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
               "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% else %}"
               "{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama_3": LOOP + "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
               "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
               "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
               "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "chatml": LOOP + "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
              "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set prefix = messages[0]['content'] + '\\n\\n' %}"
             "{% set rest = messages[1:] %}{% else %}{% set prefix = '' %}{% set rest = messages %}{% endif %}"
             "{% for message in rest %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}"
             "{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + "
             "(prefix if loop.first else '') + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
             "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    "phi3": LOOP + "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
}

CONVERSATIONS = [  # images, turns
    (0, ["What is two and two?", "four"]),
    (1, ["<image>\nWhat is the color of the ring?", "The ring is red."]),
    (1, ["Is it <image> red?", "Yes, it is.", "How many green circles?", "Three."]),
    (2, ["<image> left, <image>\nright: which is red?", "The left one.", "And the other?", "Blue"]),
    (0, ["Hello", "Hi! It's a café.", "And 1984?", "2 024\nover two lines", "Bye", "Bye!", "Again", "once more"]),
]
ROUGH = (0, ["  spaces stay \n", " and here  ", "x", "y "])  # not what a Jinja that trims would write


def texts():
    yield from SYSTEM.values()
    for _, turns in CONVERSATIONS + [ROUGH]:
        yield from turns
    yield "USER: ASSISTANT: Human: Assistant: ### [INST] <<SYS>>\n<</SYS>>\n\n [/INST] system\nuser\nassistant\nmodel\n"


def byte_level(bos, special, post):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(list(texts()) * 3, trainers.BpeTrainer(
        vocab_size=480, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    tok.post_processor = post(tok.token_to_id(bos))
    return tok


def word_mark():
    """LLaMA's kind, with Phi-3's added tokens, which swallow the white space behind them."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.pre_tokenizer = pre_tokenizers.Split(Regex("▁+[^▁\n]*|\n"), "isolated")
    tok.train_from_iterator([t for t in texts() if t.isascii()], trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
        initial_alphabet=[chr(c) for c in range(33, 127)] + ["▁", "\n"]))
    made = json.loads(tok.to_str())
    made["pre_tokenizer"] = None  # merges never cross words; the pre-tokenizer kept them from it in training
    made["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    tok = Tokenizer.from_str(json.dumps(made))
    tok.add_special_tokens([AddedToken(t, rstrip=True, normalized=False) for t in SPECIAL])
    return tok


def tokenizers_of():
    """name -> (tokenizer, tokenizer_config.json, ids in front of every text)"""
    bytes_ = byte_level("<s>", ["<unk>", "<s>", "</s>"] + SPECIAL, lambda bos: processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", bos)]))
    nobos = byte_level("<|endoftext|>", ["<|endoftext|>"] + SPECIAL, lambda bos: processors.ByteLevel())
    return {
        "bytes": (bytes_, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, [1]),
        "marks": (word_mark(), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                                "add_bos_token": False}, []),
        "nobos": (nobos, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, []),
    }


def clean(images, turns):
    if images != 1:
        return turns
    return [("<image>\n" + t.replace("<image>", "").strip()).strip() if "<image>" in t else t for t in turns]


def write(template, system, images, turns, is_open, eos):
    paper = Paper()
    turns = clean(images, turns)
    STYLE[template](paper, SYSTEM[template] if system is None else system, turns[:-1] if is_open else turns, eos)
    if is_open:
        paper.put(OPEN[template])
        paper.learn = []
    return paper


def encode(tok, front, images, text):
    ids = list(front)
    for i, chunk in enumerate(text.split("<image>") if images else [text]):
        ids += ([IMAGE] if i else []) + tok.encode(chunk, add_special_tokens=False).ids
    return ids


def check_jinja(template, system, turns, is_open, paper, images):
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>")
    system = SYSTEM[template] if system is None else system
    messages = [{"role": "system", "content": system}] if system else []
    turns = clean(images, turns)
    for i, text in enumerate(turns[:-1] if is_open else turns):
        messages.append({"role": ("user", "assistant")[i % 2], "content": text})
    want = fast.apply_chat_template(messages, chat_template=JINJA[template], tokenize=False,
                                    add_generation_prompt=is_open)
    assert want.removeprefix("<s>") == paper.text, (template, want, paper.text)


def cases(tokenizers):
    out, compared = [], 0
    for template in STYLE:
        for system in (None, "", "Be brief."):
            for at, (images, turns) in enumerate(CONVERSATIONS + [ROUGH]):
                for is_open in (False, True):
                    if is_open and (system is not None or at == len(CONVERSATIONS)) or system is not None and at % 2:
                        continue  # enough of those
                    paper = write(template, system, images, turns, is_open, "</s>")
                    if template in JINJA and at < len(CONVERSATIONS):
                        check_jinja(template, system, turns, is_open, paper, images)
                        compared += 1
                    one = {"template": template, "conversation": at, "open": is_open, "text": paper.text, "of": {}}
                    if system is not None:
                        one["system"] = system
                    for name, (tok, _, front) in tokenizers.items():
                        if template in NEEDS_BOS and name == "nobos":
                            continue
                        p = write(template, system, images, turns, is_open, EOS[name])
                        learn = [[len(encode(tok, front, images, p.text[:a])), len(encode(tok, front, images, p.text[:b]))]
                                 for a, b in p.learn]
                        one["of"][name] = {"ids": encode(tok, front, images, p.text), "learn": learn}
                    out.append(one)
    return out, compared


def save(folder, name, value, **how):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, **how)
        f.write("\n")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/golden/templates"
    tokenizers = tokenizers_of()
    for name, (tok, config, _) in tokenizers.items():
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        save(folder, f"{name}/tokenizer.json", json.loads(tok.to_str()), separators=(",", ":"))
        save(folder, f"{name}/tokenizer_config.json", config)
    made, compared = cases(tokenizers)
    save(folder, "cases.json", {
        "conversations": [{"images": n, "turns": t} for n, t in CONVERSATIONS + [ROUGH]], "cases": made},
        separators=(",", ":"))
    print(f"{len(made)} cases, {compared} of them as apply_chat_template writes them")


if __name__ == "__main__":
    main()
