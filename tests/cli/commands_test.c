// The commands that make, show, compare and ask models, through the program `drt` itself (path in $DRT): what a user
// types in a row works, converting there and back loses no bit, and what cannot work ends with a status that is not 0
// and a message that says what to do.
#include "support/check.h"
#include "support/shell.h"

#include "base/file.h"
#include "format/image.h"
#include "format/weights.h"

#include <stdio.h>

#define PICTURE "tests/golden/images/2x3.png"
#define VERIFY "tests/golden/verify/"

typedef struct {
    const char *drt;
    char *folder;
} world;

// The command line after "drt", in which each @ stands for the world's folder; both streams. malloc'ed.
static char *drt(const world *w, int *rc, const char *line) {
    char whole[2000];
    size_t n = (size_t)snprintf(whole, sizeof whole, "%s ", w->drt);
    for (; *line; line++) {
        n += (size_t)snprintf(whole + n, sizeof whole - n, *line == '@' ? "%s" : "%.1s",
                              *line == '@' ? w->folder : line);
        check(n < sizeof whole);
    }
    return shell(rc, "%s 2>&1", whole);
}

// Runs it, wants this status, and all of the words, which stand between bars, in what it says.
static void says(const world *w, const char *line, int status, const char *words) {
    int rc;
    char *said = drt(w, &rc, line), *all = strdup(words), *rest = all;
    if (rc != status) fail_msg("drt %s: status %d, not %d: %s", line, rc, status, said);
    for (char *word; (word = strsep(&rest, "|"));)
        if (!strstr(said, word)) fail_msg("drt %s: \"%s\" lacks \"%s\"", line, said, word);
    free(all), free(said);
}

static int world_make(void **state) {
    static world w;
    *state = &w;
    w.drt = getenv("DRT");
    if (!w.drt) return 0;
    w.folder = test_folder("commands");
    says(&w, "assemble --vision models/tiny-clip --language models/tiny-llama --out @/start", 0,
         "<image> is id 3|read back and compared");
    return 0;
}

static int world_end(void **state) {
    const world *w = *state;
    drt_error err = {0};
    if (w->drt) check_ok(drt_remove_tree(w->folder, &err));
    free(w->folder);
    return 0;
}

static drt_weights *weights_of(const world *w, const char *name) {
    drt_error err = {0};
    drt_weights *st;
    char *path = drt_path_join(w->folder, name);
    check_ok(drt_weights_open(&st, path, &err));
    free(path);
    return st;
}

static void there_and_back(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    says(w, "inspect @/start --tensors", 0,
         "LLaVA|CLIP, 4 layers of 128|mlp2x_gelu, on hidden layer -2|<image> 3|faults     none|"
         "multi_modal_projector.linear_2.weight");
    says(w, "convert @/start @/original --layout llava", 0, "114 tensors as BF16, read back and compared");
    says(w, "inspect @/original --tensors", 0, "the original's layout|vision_tower|model.mm_projector.2.weight");
    says(w, "convert @/original @/back --layout hf", 0, "114 tensors as BF16");
    drt_weights *a = weights_of(w, "start"), *b = weights_of(w, "back");
    assert_int_equal(drt_weights_count(a), drt_weights_count(b));
    check(drt_weights_count(a) == 114);
    for (int i = 0; i < drt_weights_count(a); i++) {
        const drt_weight *x = drt_weights_at(a, i), *y = drt_weights_find(b, x->name);
        if (!y) fail_msg("no %s", x->name);
        check(x->dtype == y->dtype && x->ndim == y->ndim && x->size == y->size);
        assert_memory_equal(x->shape, y->shape, (size_t)x->ndim * sizeof *x->shape);
        assert_memory_equal(x->bytes, y->bytes, x->size);
    }
    drt_weights_close(a), drt_weights_close(b);
    says(w, "convert @/start @/wide --dtype f32", 0, "114 tensors as F32");
    says(w, "inspect @/wide", 0, "(114 F32)");
}

// The same token whatever computes it; and a conversation: an answer for each line up to /quit.
static void one_token(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    static const char ask[] = "chat @/start --image " PICTURE " --prompt 'Where is it?' --max-new-tokens 1 "
                              "--temperature 0 --threads 1";
    char line[300], *said[3];
    int rc;
    for (int i = 0; i < 3; i++) {
        snprintf(line, sizeof line, "%s%s", ask, i == 2 ? " --dtype f32" : i ? " --device ref" : "");
        said[i] = drt(w, &rc, line);
        if (rc || strcspn(said[i], "\n") + 1 != strlen(said[i]) || *said[i] == '\n')
            fail_msg("drt %s: status %d: \"%s\"", line, rc, said[i]);
        assert_string_equal(said[i], said[0]);
    }
    for (int i = 0; i < 3; i++) free(said[i]);
    char *talk = shell(&rc,
                       "printf 'What?\\n/imag x\\nWhere?\\n/quit\\nWho?\\n' | %s chat %s/start --max-new-tokens 1 "
                       "--threads 1 2>&1",
                       w->drt, w->folder);
    int lines = 0;
    for (const char *at = talk; (at = strchr(at, '\n')); at++) lines++;
    if (rc || lines != 3 || !strstr(talk, "there is no /imag; did you mean /image?"))
        fail_msg("status %d: %s", rc, talk);
    free(talk);
}

static void verified(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    says(w, "verify " VERIFY "model --golden " VERIFY "golden.safetensors --threads 1", 0,
         "greedy|All 15 stages agree");
    says(w, "verify " VERIFY "model --golden " VERIFY "golden.safetensors --json", 0, "\"stages\"");
    // bf16 weights are another model.
    says(w, "convert " VERIFY "model @/rounded --dtype bf16", 0, "as BF16");
    says(w, "verify @/rounded --golden " VERIFY "golden_bf16.safetensors --dtype auto", 0, "All 15 stages agree");
    says(w, "verify @/rounded --golden " VERIFY "golden.safetensors", 1,
         "The first stage that differs is vision.embedding, by ");
}

static void merged(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    says(w, "merge tests/golden/model/llava tests/golden/lora/llava @/merged --threads 1", 0,
         "34 layers merged, as F32; read back, logits ");
    says(w, "inspect @/merged", 1, "(80 F32)|faults     1\n|no tokenizer.json, tokenizer.model or spiece.model; copy");
}

static void asked(void **state) {
    const world *w = *state;
    drt_error err = {0};
    char *text, *path;
    if (!w->drt) skip();
    says(w, "shapes --out @/world --train 2 --eval 6", 0, "");
    says(w, "eval @/start --data @/world --limit 1 --max-new-tokens 1 --threads 1 --out @/answers.json", 0,
         "relation|restricted|written: ");
    path = drt_path_join(w->folder, "answers.json");
    check_ok(drt_file_read(&text, NULL, path, 0, &err));
    check(strstr(text, "\"relation\"") && strstr(text, "\"reply\": \""));
    free(text), free(path);
    says(w, "eval @/start --data @/world --tasks relatoin", 1, "did you mean 'relation'");
}

static void eval_says(const world *w, const char *line, const char *part) {
    drt_error err = {0};
    char *text, *path = drt_path_join(w->folder, "trained.json");
    says(w, line, 0, "written: ");
    check_ok(drt_file_read(&text, NULL, path, 0, &err));
    if (!strstr(text, part)) fail_msg("drt %s: %.200s lacks %s", line, text, part);
    free(text), free(path);
}

// What training leaves behind is asked as it was trained: in its input order, with its adapter.
static void trained(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
#define TRAIN "train model=@/start data.file=@/small/pretrain.json train.steps=1 train.batch=2 threads=1 "
#define EVAL " --data @/small --tasks exist --limit 1 --max-new-tokens 1 --threads 1 --free --out @/trained.json"
    says(w, "shapes --out @/small --train 2 --eval 2", 0, "");
    says(w, TRAIN "token_mixer.order=token_mixer token_mixer.tau=0.25 out=@/mixed", 0, "");
    eval_says(w, "eval @/mixed/model" EVAL, "\"order\": \"token_mixer\", \"tau\": 0.25, \"side\": \"before\"");
    eval_says(w, "eval @/mixed/model --order none" EVAL, "\"order\": \"none\"");
    eval_says(w, "eval @/start" EVAL, "\"order\": \"none\"");
    says(w,
         TRAIN "lora.targets=q_proj groups.projector=0 objectives.image_order=1 order.grid=2 order.bank=4 out=@/lora",
         0, "");
    says(w, "eval @/start --adapter @/lora/adapter --puzzles --passes 1" EVAL, 0,
         "permutation of a shuffled picture named");
    // A permuter is used by itself, can be left aside, and goes along; an adapter's is the adapter's.
    says(w, TRAIN "token_mixer.order=gps gps.layers=2 data.template=v1 out=@/permuted", 0, "");
    eval_says(w, "eval @/permuted/model" EVAL, "\"order\": \"gps\"");
    eval_says(w, "eval @/permuted/model --order none" EVAL, "\"order\": \"none\"");
    says(w, "convert @/permuted/model @/permuted/bf16 --dtype bf16", 0, "read back and compared");
    says(w, "inspect @/permuted/bf16", 0, "order      gps: 2 blocks of |assignment at temperature 0.1");
    says(w,
         "chat @/permuted/bf16 --image " PICTURE " --prompt x --max-new-tokens 1 --threads 1 --order-picture @/x.svg",
         0, "written: ");
    says(w, "eval @/start --order gps" EVAL, 1,
         "has no permuter (gps.safetensors); train it with token_mixer.order=gps");
    says(w,
         "train model=@/permuted/model data.file=@/small/pretrain.json train.steps=1 threads=1 token_mixer.order=gps "
         "out=@/x",
         1, "set gps.layers and gps.ffn as it was trained with");
    says(w, TRAIN "token_mixer.order=gps gps.layers=2 lora.targets=q_proj groups.projector=0 out=@/lora-gps", 0, "");
    eval_says(w, "eval @/start --adapter @/lora-gps/adapter" EVAL, "\"order\": \"gps\"");
    // What transformers computed without it is another model's.
    says(w,
         "train model=" VERIFY "model data.file=@/small/pretrain.json train.steps=3 train.batch=2 threads=1 lr=0.1 "
         "optimizer.schedule=constant lora.targets=q_proj groups.projector=0 out=@/turned",
         0, "");
    says(w, "verify " VERIFY "model --golden " VERIFY "golden.safetensors --adapter @/turned/adapter", 1,
         "The first stage that differs is vision.1, by ");
    says(w, "verify @/start --golden @/none --adapter @/none", 1, "/none/adapter_config.json: cannot open");
    says(w, "eval @/start --adapter @/none" EVAL, 1, "/none/adapter_config.json: cannot open");
    says(w, "eval @/start --tau 0.2" EVAL, 2, "--tau says how --order token_mixer works; give both");
    says(w, "chat @/start --image " PICTURE " --prompt x --order-picture @/x.svg", 1,
         "give --order token_mixer or gps with it");
}

// Labels of another vision tower are told from one's own, wherever they are given.
static void other_tower(const world *w) {
    static const char told[] = "/other.sea: these labels are of another vision tower";
    says(w, "new --config configs/tiny-clip.json --tokenizer models/tiny-clip --seed 9 --out @/clip", 0, "tokens");
    says(w, "sea-labels @/clip --words @/sea/words.txt --data @/sea/pretrain.json --out @/other.sea", 0, "12 pictures");
    says(w, "train configs/sea-1.yaml data.file=@/sea/pretrain.json sea.labels=@/other.sea out=@/not", 1, told);
    says(w, "words @/seen/model --image @/sea/images/eval/000000.jpg --labels @/other.sea", 1, told);
    says(w, "eval @/seen/model --data @/sea --tasks count --free --labels @/other.sea", 1, told);
}

// SEA from its labels to a drawing, as the README has it, on twelve pictures; labels that do not fit are refused.
static void aligned(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    drt_error err = {0};
    drt_image drawn;
    says(w, "shapes --out @/sea --train 12 --eval 6 --text 1 --seed 2", 0, "12 + 6 pictures");
    says(w,
         "sea-labels models/tiny-clip --words @/sea/words.txt --data @/sea/pretrain.json --negate false --out @/a.sea "
         "--scores @/a.svg",
         0, "35 words, 12 pictures|the cosine|written: ");
    says(w,
         "sea-labels models/tiny-clip --words @/sea/words.txt --data @/sea/eval/captions.json --images @/sea --negate "
         "false --out @/b.sea",
         0, "35 words, 6 pictures");
    says(w, "sea-labels models/tiny-clip --words @/sea/words.txt --data @/sea/pretrain.json --out @/c.sea", 0,
         "scores are -cosine|few patches have a word|--negate false");
    says(w,
         "train configs/sea-1.yaml data.file=@/sea/pretrain.json sea.labels=@/a.sea out=@/seen train.steps=2 "
         "train.batch=4",
         0, "2 steps");
    says(w,
         "train configs/sea-1.yaml data.file=@/sea/pretrain.json sea.labels=@/a.sea out=@/seen train.steps=2 "
         "train.batch=4 optimizer.lr=3e-3 --resume",
         0, "another recipe than this run's before: optimizer.lr: |, then 0.003|all 2 steps were done before");
    says(w, "train configs/sea-1.yaml data.file=@/sea/pretrain.json sea.labels=@/b.sea out=@/not", 1,
         "has no labels in|drt sea-labels");
    says(w, "train configs/sea-1.yaml data.file=@/sea/pretrain.json out=@/not", 1, "sea.labels|drt sea-labels");
    other_tower(w);
    says(w, "words @/seen/model --image @/sea/images/eval/000000.jpg --labels @/b.sea --out @/words.png", 0,
         "mean cosine|of 64 words are among|written: ");
    says(w, "eval @/seen/model --data @/sea --tasks count --free --max-new-tokens 1 --labels @/b.sea", 0,
         "alignment accuracy 0.");
    says(w, "eval @/seen/model --data @/sea --tasks count --free --labels @/a.sea", 1, "has no labels in");
    char *path = drt_path_join(w->folder, "words.png");
    check_ok(drt_image_read(&drawn, path, &err));
    check(drawn.width == drawn.height && drawn.width >= 8 * 60);
    drt_image_free(&drawn);
    free(path);
}

static void permuted(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    says(w, "gps --tokens 40 --width 32 --sets 2 --stop 60 --threads 1", 0,
         "step 1 of 1000|step 60 of 1000  accuracy 100.00 %|all rows right first at step ");
    says(w, "gps --tokens 8 --width 8 --steps 4 --hard assignment --gradient implicit", 0, "hard|over 4");
}

// Every command that drt lists tells what it is for.
static void help(void **state) {
    const world *w = *state;
    int rc, n = 0;
    char line[60], start[60], name[40];
    if (!w->drt) skip();
    char *list = drt(w, &rc, "--help");
    for (const char *at = list; (at = strstr(at, "\n  drt ")); n++) {
        check(sscanf(at += 7, "%39s", name) == 1);
        snprintf(line, sizeof line, "%s --help", name);
        snprintf(start, sizeof start, "drt %s|\n  --", name);
        says(w, line, 0, start);
    }
    check(n >= 13);
    free(list);
    says(w, "convret", 2, "no command 'convret'|drt convert");
}

static void refusals(void **state) {
    const world *w = *state;
    if (!w->drt) skip();
    static const struct {
        const char *line;
        int status;
        const char *words;
    } cases[] = {
        {"convert @/start", 2, "IN and OUT are wanted|drt convert --help"},
        {"convert @/start @/start", 2, "two folders"},
        {"convert @/start @/x --layuot hf", 2, "unknown option '--layuot'; did you mean --layout?"},
        {"convert @/start @/x --layout mix", 2, "there is no 'mix'; it can be: hf, llava"},
        {"convert @/start @/x --dtype bfloat16", 2,
         "there is no 'bfloat16'; did you mean bf16? It can be: f32, f16, bf16"},
        {"convert @/start @/x --dtype", 2, "--dtype wants a value"},
        {"convert @/start @/x --dtype --layout hf", 2, "--dtype wants a value"},
        {"convert models/tiny-llama Makefile", 1, "Makefile: cannot make folder: a file of that name is in the way"},
        {"eval @/mixed --data @/none", 1, "/mixed/config.json: there is none|one is in |/mixed/model"},
        {"eval @/start --data Makefile", 1, "Makefile: is a file; name the folder"},
        {"train --replay-batch", 2, "--replay-batch wants a file"},
        {"train --resme", 2, "Did you mean --resume?"},
        {"tokenizer --show models/tiny-llama <Makefile", 1, "line 1: no JSON|write a text in quotes"},
        {"convert @/none @/x", 1, "/none: there is no such folder; a model is a folder with config.json"},
        {"convert @ @/x", 1, "/config.json: "},
        {"convert models/tiny-llama @/start", 2, "/start is not empty; name a new folder"},
        {"assemble --vision models/tiny-clip --out @/x", 2, "--language is missing"},
        {"assemble --vision models/tiny-clip --language models/tiny-llama --out @/start", 2, "/start is not empty"},
        {"assemble --vision models/tiny-llama --language models/tiny-llama --out @/x", 1,
         "models/tiny-llama: has no vision tower; CLIP, SigLIP and LLaVA have one"},
        {"assemble --vision models/tiny-clip --language models/tiny-clip --out @/x", 1,
         "models/tiny-clip: has no decoder; give the folder of a language model"},
        {"assemble --vision models/tiny-clip --language models/tiny-llama --out @/x --projector mlp", 2,
         "--projector is linear, identity or mlpNx_gelu|'mlp'"},
        {"assemble --vision models/tiny-clip --language models/tiny-llama --out @/x --layer 9", 1,
         "vision_feature_layer is 9, outside [0, 4]"},
        {"inspect", 2, "PATH is wanted"},
        {"inspect @/none", 1, "there is no such folder or file"},
        {"inspect " PICTURE, 1, PICTURE},
        {"chat", 2, "which model? Give its folder first"},
        {"chat @/none --prompt x", 1, "/none: there is no such folder"},
        {"chat models/tiny-clip --prompt x", 1, "writes no text; use the folder of a LLaVA or of a decoder"},
        {"chat models/tiny-llama --image " PICTURE " --prompt x", 1, "has no vision tower|use a LLaVA model"},
        {"chat @/start --prompt x --image @/none.jpg", 1, "/none.jpg: cannot open"},
        {"chat @/start --prompt x --image Makefile", 1, "Makefile: not a picture|JPEG, PNG and WebP"},
        {"chat @/start --prompt x --temp 1", 2, "unknown option '--temp'; did you mean --temperature?"},
        {"chat @/start --prompt x --temperature hot", 2, "--temperature wants a number from 0 to 100, not 'hot'"},
        {"chat @/start --prompt x --template vicuna", 2, "there is no 'vicuna'; did you mean vicuna_v1? It can be: v1"},
        {"chat @/start --prompt x --device gpu", 2, "device 'gpu' is unknown; this build has: cpu"},
        {"chat @/start --prompt x --adapter @/none", 1, "/none/adapter_config.json: cannot open"},
        {"verify models/tiny-llama", 2, "--golden is missing"},
        {"verify --golden @/none", 2, "which model?"},
        {"verify @/start --golden @/none --dtype f64", 2, "there is no 'f64'; did you mean f32? It can be: f32, bf16, f16"},
        {"probe @/start --data @/none --dtype half", 2, "--dtype: there is no 'half'"},
        {"verify models/tiny-llama --golden @/none", 1, "/none: cannot open"},
        {"verify models/tiny-llama --golden models/tiny-llama/model.safetensors", 1, "golden_verify.py"},
        {"merge @/start @/none", 2, "MODEL, ADAPTER and OUT are wanted"},
        {"merge @/start @/none @/x", 1, "/none/adapter_config.json: cannot open"},
        {"merge @/start tests/golden/lora/llava @/x", 1,
         "tests/golden/lora/llava/adapter_model.safetensors: 'base_model.model.|made for another base"},
        {"chat @/start --prompt x --adapter tests/golden/lora/llava", 1, "made for another base"},
        {"merge @/start tests/golden/lora/llava @/start/", 2, "/start/ is not empty"},
        {"sea-labels @/start --words README.md --data x --out @/x", 1, "has no text tower|token_mixer"},
        {"sea-labels models/tiny-clip --words @/none --data x --out @/x", 1, "/none: cannot open"},
        {"sea-labels models/tiny-clip --words README.md --data x --out @/x", 1, "README.md:2: an empty line"},
        {"sea-labels models/tiny-clip --words /dev/null --data x --out @/x", 1,
         "/dev/null: no words; write one a line"},
        {"sea-labels models/tiny-clip --words x --data x --out @/x --negate no", 2, "it can be: auto, true, false"},
        {"words @/start --image " PICTURE, 2, "Give --words FILE or --labels FILE"},
        {"words @/start --image " PICTURE " --labels README.md", 1, "README.md: not a file of drt sea-labels"},
        {"words @/start --image " PICTURE " --words README.md", 1, "README.md:2: an empty line"},
        {"words models/tiny-clip --image " PICTURE " --words models/tiny-llama/config.json", 1, "use a LLaVA folder"},
        {"shapes --out @/x --train 3", 2, "--eval is missing"},
        {"shapes --out @/x --train 0 --eval 1", 2, "--train wants a whole number from 1 to 10000000, not '0'"},
        {"shapes --out @/x --tarin 1", 2, "unknown option '--tarin'; did you mean --train?"},
        {"ablate", 2, "which file?"},
        {"ablate @/none.yaml", 1, "/none.yaml: cannot open"},
        {"ablate configs/demo-llava-1.yaml", 1, "configs/demo-llava-1.yaml:2:1: 'task' is no key here"},
        {"ablate configs/ablate-directed.yaml sedes=1 out=@/ablate", 1,
         "override 'sedes=1': unknown key 'sedes'; did you mean seeds?"},
        {"ablate configs/ablate-directed.yaml trian.steps=1 out=@/ablate", 1,
         "unknown key 'trian.steps'; did you mean train.steps?"},
        {"eval @/start", 2, "--data is missing"},
        {"eval @/start --data @/none", 1, "holds no questions|drt shapes --out"},
        {"gps --tokens 9000000", 1, "4 sets of 9000000 tokens at width 2048 take about|GB are free; lower --tokens"},
        {"gps --tokens 0", 2, "--tokens wants a whole number from 1 to"},
        {"gps --hard argmin", 2, "there is no 'argmin'; did you mean argmax? It can be: argmax, assignment"},
        {"gps --gradient exact", 2, "there is no 'exact'; it can be: unrolled, implicit"},
        {"gps --dropout 1", 2, "--dropout wants a number from 0 to 0.99"},
        {"eval @/start --data @ --batch 0", 2, "--batch wants a whole number from 1 to 4096, not '0'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) says(w, cases[i].line, cases[i].status, cases[i].words);
    char *path = drt_path_join(w->folder, "x");
    check(!drt_file_exists(path)); // none of them left anything behind
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back), cmocka_unit_test(one_token), cmocka_unit_test(verified),
        cmocka_unit_test(merged),         cmocka_unit_test(asked),     cmocka_unit_test(trained),
        cmocka_unit_test(help),           cmocka_unit_test(refusals),  cmocka_unit_test(aligned),
        cmocka_unit_test(permuted),
    };
    return cmocka_run_group_tests(tests, world_make, world_end);
}
