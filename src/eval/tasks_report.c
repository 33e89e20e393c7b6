// What an evaluation found, as a table and as JSON.
#include "eval/tasks.h"

static bool all_yes_no(const drt_eval_counts *c) { return c->n && c->yes_no == c->n; }

static void table_line(drt_text *out, const char *indent, const char *name, const drt_eval_counts *c, double prior) {
    drt_text_printf(out, "%s%-*s %9lld  %8.3f", indent, *indent ? 14 : 16, name, (long long)c->n, drt_eval_accuracy(c));
    if (c->restricted_n) drt_text_printf(out, "  %10.3f", drt_eval_restricted(c));
    else drt_text_puts(out, "           -");
    if (prior >= 0) drt_text_printf(out, "  %5.3f", prior);
    else drt_text_puts(out, "       ");
    if (all_yes_no(c)) {
        drt_pope_metrics p = drt_pope_summary(&c->pope);
        drt_text_printf(out, "  %9.3f  %6.3f  %5.3f  %8.3f", p.precision, p.recall, p.f1, p.yes_rate);
    }
    drt_text_puts(out, "\n");
}

typedef struct {
    const char *key, *what;
    double value;
} puzzle_line;
enum { PUZZLE_LINES = 4 };

static void puzzle_lines(const drt_puzzles *p, puzzle_line line[PUZZLE_LINES]) {
    const puzzle_line all[PUZZLE_LINES] = {
        {"image_order_accuracy", "permutation of a shuffled picture named", p->image_order},
        {"image_order_chance", "  by chance", p->image_order_chance},
        {"text_order_exact", "shuffled sentences wholly put in order", p->text_order},
        {"guided_mass", "attention of the answer on the picture", p->guided_mass},
    };
    for (int i = 0; i < PUZZLE_LINES; i++) line[i] = all[i];
}

void drt_eval_table(const drt_eval_result *r, const drt_puzzles *puzzles, drt_text *out) {
    drt_text_printf(out, "%-16s questions  accuracy  restricted  prior  precision  recall     F1  yes rate\n",
                    r->blind ? "blind" : "");
    for (int i = 0; i < r->tasks; i++) {
        const drt_eval_task *t = &r->task[i];
        table_line(out, "", t->name, &t->all, t->prior);
        for (int k = 0; k < t->categories && t->categories > 1; k++)
            table_line(out, "  ", t->category[k].name, &t->category[k].counts, -1);
    }
    const drt_alignment *a = &r->alignment;
    if (a->patches)
        drt_text_printf(out, "\nalignment accuracy %.3f over %lld patches of %lld pictures, mean cosine %.3f\n",
                        (double)a->right / (double)a->patches, (long long)a->patches, (long long)a->pictures,
                        a->cosine);
    puzzle_line line[PUZZLE_LINES];
    if (!puzzles) return;
    puzzle_lines(puzzles, line);
    drt_text_puts(out, "\n");
    for (int i = 0; i < PUZZLE_LINES; i++)
        if (line[i].value == line[i].value) drt_text_printf(out, "%-40s  %.3f\n", line[i].what, line[i].value);
}

static void counts_json(const drt_eval_counts *c, drt_text *out) {
    drt_text_printf(out, "\"questions\": %lld, \"accuracy\": %.6f, ", (long long)c->n, drt_eval_accuracy(c));
    if (c->restricted_n) drt_text_printf(out, "\"restricted\": %.6f", drt_eval_restricted(c));
    else drt_text_puts(out, "\"restricted\": null");
    if (!all_yes_no(c)) return;
    drt_pope_metrics p = drt_pope_summary(&c->pope);
    drt_text_printf(out,
                    ", \"yes_no\": {\"accuracy\": %.6f, \"precision\": %.6f, \"recall\": %.6f, \"f1\": %.6f, "
                    "\"yes_rate\": %.6f}",
                    p.accuracy, p.precision, p.recall, p.f1, p.yes_rate);
}

static void key_json(const char *key, const char *value, drt_text *out) {
    drt_text_printf(out, "\"%s\": ", key);
    if (value) drt_text_json(out, value);
    else drt_text_puts(out, "null");
}

static void item_json(const drt_eval_item *q, drt_text *out) {
    drt_text_puts(out, "{");
    key_json("question_id", q->id, out);
    drt_text_puts(out, ", ");
    key_json("image", q->image, out);
    drt_text_puts(out, ", ");
    key_json("text", q->text, out);
    drt_text_puts(out, ", ");
    key_json("answer", q->answer, out);
    drt_text_puts(out, ", ");
    key_json("reply", q->reply, out);
    drt_text_printf(out, ", \"right\": %s", q->right ? "true" : "false");
    if (*q->restricted) {
        drt_text_puts(out, ", ");
        key_json("restricted", q->restricted, out);
    }
    drt_text_puts(out, "}");
}

void drt_eval_json(const drt_eval_result *r, const drt_puzzles *puzzles, drt_text *out) {
    puzzle_line line[PUZZLE_LINES];
    drt_text_printf(out, "{\"blind\": %s, \"order\": \"%s\",", r->blind ? "true" : "false",
                    drt_input_order_names[r->order.order]);
    if (r->order.order == DRT_INPUT_TOKEN_MIXER)
        drt_text_printf(out, " \"tau\": %g, \"side\": \"%s\",", (double)r->order.tau,
                        drt_mixer_side_names[r->order.side]);
    drt_text_puts(out, "\n");
    const drt_alignment *a = &r->alignment;
    if (a->patches)
        drt_text_printf(
            out, "\"alignment\": {\"pictures\": %lld, \"patches\": %lld, \"accuracy\": %.6f, \"cosine\": %.6f},\n",
            (long long)a->pictures, (long long)a->patches, (double)a->right / (double)a->patches, a->cosine);
    if (puzzles) puzzle_lines(puzzles, line);
    for (int i = 0; puzzles && i < PUZZLE_LINES; i++) {
        if (line[i].value == line[i].value) drt_text_printf(out, "\"%s\": %.6f,\n", line[i].key, line[i].value);
        else drt_text_printf(out, "\"%s\": null,\n", line[i].key);
    }
    drt_text_puts(out, "\"tasks\": {");
    for (int i = 0; i < r->tasks; i++) {
        const drt_eval_task *t = &r->task[i];
        drt_text_puts(out, i ? ",\n" : "\n");
        drt_text_json(out, t->name);
        drt_text_puts(out, ": {");
        counts_json(&t->all, out);
        drt_text_printf(out, ", \"prior\": %.6f, \"prior_from\": \"%s\", \"seconds\": %.2f,\n \"categories\": {",
                        t->prior, t->prior_of_world ? "world.json" : "questions", t->seconds);
        for (int k = 0; k < t->categories; k++) {
            drt_text_puts(out, k ? ", " : "");
            drt_text_json(out, t->category[k].name);
            drt_text_puts(out, ": {");
            counts_json(&t->category[k].counts, out);
            drt_text_puts(out, "}");
        }
        drt_text_puts(out, "},\n \"items\": [");
        for (int64_t k = 0; k < t->all.n; k++) {
            drt_text_puts(out, k ? ",\n  " : "\n  ");
            item_json(&t->item[k], out);
        }
        drt_text_puts(out, "]}");
    }
    drt_text_puts(out, "}}\n");
}
