// drt chat: one answer, or a conversation that streams.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "base/file.h"
#include "eval/order_picture.h"
#include "infer/chat.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "drt chat MODEL [--image F] [--prompt S]\n"
    "\n"
    "Talks with a model. With --prompt it answers once; without, it keeps up a conversation:\n"
    "\n"
    "  /image F   show the picture F with your next message\n"
    "  /reset     forget the conversation and its pictures\n"
    "  /quit      leave (so do an empty line and Ctrl-D); Ctrl-C stops an answer\n"
    "\n"
    "  --image F             a JPEG, PNG or WebP file, shown with the first message\n"
    "  --prompt S            what to say\n"
    "  --temperature T       0: always the likeliest word; default 0.2\n"
    "  --top-p P             draw from the likeliest words that together have probability P; default 1: from all\n"
    "  --max-new-tokens N    longest answer (default 512)\n"
    "  --seed S              the same seed gives the same answers (default 0)\n"
    "  --system S            instead of the template's system prompt\n"
    "  --order NAME          of the input: none; token_mixer: visual tokens beside the words they are like; gps: as\n"
    "                        the model has learned (default: as the model was trained)\n"
    "  --tau X, --side S     of token_mixer: least cosine (default 0.1); before (default) or after the word\n"
    "  --order-picture F     with --image and --prompt: an SVG of what the order moved where\n"
    "  --template NAME       how the conversation is written (default: as the folder says, else v1)\n"
    "  --dtype TYPE          of products: f32, bf16, f16 (weights stay f32), or auto (default), as the folder stores "
    "them\n"
    "  --adapter DIR         a PEFT folder of LoRA, as drt train and peft write them\n"
    "  --device NAME         cpu (default), or ref: slow and plain\n"
    "  --threads N           default: all cores\n"
    "\n"
    "  drt chat out/demo/direct/stage2/model --image out/demo/world/images/eval/000000.png \\\n"
    "      --prompt \"how many shapes are there?\"\n";

static volatile sig_atomic_t interrupted;
static void on_interrupt(int signal) { (void)signal, interrupted = 1; }

typedef struct {
    const char *model, *image, *prompt, *temperature, *top_p, *tokens, *seed, *system, *template, *device, *threads,
        *dtype, *order, *tau, *side, *drawing, *adapter;
    drt_token_mixer mixer;
    int keep;
    long long n_tokens, n_seed;
    const drt_template *how;
} asked;

static int parse(int argc, char **argv, asked *a, drt_generate_options *o) {
    *a = (asked){.temperature = "0.2", .top_p = "1", .tokens = "512", .seed = "0", .device = "cpu", .dtype = "auto"};
    const drt_option options[] = {
        {"--image", &a->image, NULL, false},
        {"--prompt", &a->prompt, NULL, false},
        {"--top-p", &a->top_p, NULL, false},
        {"--temperature", &a->temperature, NULL, false},
        {"--seed", &a->seed, NULL, false},
        {"--max-new-tokens", &a->tokens, NULL, false},
        {"--system", &a->system, NULL, false},
        {"--template", &a->template, NULL, false},
        {"--device", &a->device, NULL, false},
        {"--threads", &a->threads, NULL, false},
        {"--dtype", &a->dtype, NULL, false},
        {"--order", &a->order, NULL, false},
        {"--tau", &a->tau, NULL, false},
        {"--side", &a->side, NULL, false},
        {"--order-picture", &a->drawing, NULL, false},
        {"--adapter", &a->adapter, NULL, false},
    };
    int n_rest = 1,
        rc = drt_options_parse(argc, argv, options, sizeof options / sizeof *options, &a->model, &n_rest, help);
    if (rc) return rc;
    if (!drt_option_model("chat", n_rest)) return 2;
    bool ok = drt_cli_real("chat", "--temperature", a->temperature, 0, 100, &o->temperature) &&
              drt_cli_real("chat", "--top-p", a->top_p, 0, 1, &o->top_p) &&
              drt_option_number("chat", "--max-new-tokens", a->tokens, 1, 1 << 20, &a->n_tokens) &&
              drt_option_number("chat", "--seed", a->seed, 0, 1LL << 53, &a->n_seed) &&
              drt_cli_template("chat", a->template, &a->how) &&
              drt_cli_order("chat", a->order, a->tau, a->side, &a->mixer, &o->order) &&
              (a->keep = drt_cli_word("chat", "--dtype", a->dtype, drt_keep_names, DRT_KEEPS)) >= 0;
    if (ok && a->drawing && (!a->image || !a->prompt)) {
        fprintf(stderr, "drt chat: --order-picture draws what an order does to one question; give --image and --prompt "
                        "with it\n");
        return 2;
    }
    o->max_new_tokens = (int)a->n_tokens;
    o->seed = (uint64_t)a->n_seed;
    return ok ? 0 : 2;
}

// Prints what has come; stops where Ctrl-C asked for it.
static bool print(void *user, int index, const char *text, size_t size) {
    (void)index;
    if (size) {
        fwrite(text, 1, size, user);
        fflush(user);
    }
    return !interrupted;
}

// Answers one message on stdout; returns whether that went well.
static bool answer(drt_chat *c, const char *message, const drt_generate_options *o) {
    drt_error err = {0};
    drt_reply reply;
    interrupted = 0;
    drt_status status = drt_chat_say(c, message, o, &reply, &err);
    if (status) {
        fprintf(stderr, "drt chat: %s%s\n", err.text, drt_chat_turns(c) ? " (/reset starts anew)" : "");
        return false;
    }
    fputs(*reply.text ? "\n" : "(no answer)\n", stdout);
    fflush(stdout);
    drt_replies_free(&reply, 1);
    return true;
}

// A line that begins with '/'. False: leave.
static bool command(drt_chat *c, char *line) {
    static const char *const known[] = {"/image", "/reset", "/quit", "/help"};
    drt_error err = {0};
    char *rest = line + strcspn(line, " \t");
    if (*rest) *rest++ = 0;
    rest += strspn(rest, " \t");
    if (!strcmp(line, "/quit")) return false;
    if (!strcmp(line, "/reset")) drt_chat_reset(c), fputs("(a new conversation)\n", stderr);
    else if (!strcmp(line, "/help")) fputs("/image F shows a picture, /reset starts anew, /quit leaves\n", stderr);
    else if (strcmp(line, "/image")) {
        const char *near = drt_nearest(line, known, 4);
        fprintf(stderr, "there is no %s; did you mean %s?\n", line, near ? near : "/help");
    } else if (!*rest) fputs("/image wants a file\n", stderr);
    else if (drt_chat_image(c, rest, &err)) fprintf(stderr, "drt chat: %s\n", err.text);
    else fprintf(stderr, "(%s is shown with your next message)\n", rest);
    return true;
}

static void converse(drt_chat *c, const drt_generate_options *o) {
    char *line = NULL;
    size_t room = 0;
    bool person = isatty(STDIN_FILENO);
    // Without SA_RESTART, so that Ctrl-C at the prompt leaves.
    const struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    if (person) fputs("Type a message; /image F shows a picture, /help tells more.\n", stderr);
    for (;;) {
        if (person) fputs("> ", stderr);
        ssize_t n = getline(&line, &room, stdin);
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
        if (n <= 0) break;
        if (line[0] != '/') answer(c, line, o);
        else if (!command(c, line)) break;
    }
    free(line);
}

static drt_status draw_order(const asked *a, const drt_token_mixer *order, const drt_model *m, drt_tape *t,
                             drt_error *err) {
    const drt_order_question q = {a->how, a->system, a->prompt, a->image};
    drt_text svg = {0};
    if (!order) order = &m->config.order;
    if (order->order == DRT_INPUT_NONE)
        return drt_fail(err, DRT_ECONFIG,
                        "--order-picture: the rows stay as they are; give --order token_mixer or gps with it");
    drt_status status = drt_order_picture(m, t, order, &q, &svg, err);
    if (!status) status = drt_file_write(a->drawing, svg.bytes, svg.size, err);
    if (!status) fprintf(stderr, "written: %s\n", a->drawing);
    drt_text_free(&svg);
    return status;
}

int drt_cli_chat(int argc, char **argv) {
    asked a;
    drt_generate_options o = {.on_text = print, .user = stdout};
    drt_error err = {0};
    drt_device *dev = NULL;
    drt_tape *tape = NULL;
    drt_model *m = NULL;
    drt_chat *chat = NULL;
    int rc = parse(argc, argv, &a, &o);
    if (rc) return rc == 1 ? 0 : rc;
    if (!drt_cli_open("chat", a.device, a.threads, &dev, &tape)) return 2;
    const drt_model_options inference = {.keep = (drt_keep)a.keep, .adapter = a.adapter};
    drt_status status = drt_model_open(&m, a.model, &inference, &err);
    if (!status) status = drt_chat_new(&chat, m, tape, a.how, a.system, &err);
    if (!status && a.image) status = drt_chat_image(chat, a.image, &err);
    if (!status && a.drawing) status = draw_order(&a, o.order, m, tape, &err);
    if (status) fprintf(stderr, "drt chat: %s\n", err.text);
    else if (!a.prompt) converse(chat, &o);
    bool well = !status && (!a.prompt || answer(chat, a.prompt, &o));
    drt_chat_free(chat);
    drt_model_close(m);
    drt_cli_close(dev, tape);
    return well ? 0 : 1;
}
