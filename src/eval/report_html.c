// A report as one page that needs nothing else: style, curves and pictures stand inside.
#include "eval/report_parts.h"
#include "eval/text_metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// <tag class="m mN extra">text</tag> in a model's colour.
static void put_named(const drt_report *r, int m, const char *tag, drt_text *out) {
    drt_text_printf(out, "<%s class=\"m m%d name\">", tag, m + 1);
    drt_text_html(out, r->models[m].name);
    drt_text_printf(out, "</%s>", tag);
}

static void put_gain(const char *over, double sighted, double other, drt_text *out) {
    if (isnan(sighted - other)) return;
    drt_text_printf(out, "<div><b>%+.1f</b> points over %s</div>", 100 * (sighted - other), over);
}

static void put_tiles(const drt_report *r, drt_text *out) {
    char number[16];
    drt_text_puts(out, "<section class=\"tiles\">\n");
    for (int m = 0; m < r->n_models; m++) {
        drt_report_task mean = drt_report_mean(&r->models[m]);
        drt_text_printf(out, "<div class=\"card tile\">");
        put_named(r, m, "span", out);
        drt_text_printf(out, "<div class=\"big\" style=\"color:var(--ink)\">%s<small> %% right</small></div>",
                        drt_report_percent(number, mean.sighted));
        put_gain("the prior", mean.sighted, mean.prior, out);
        put_gain("a black picture", mean.sighted, mean.blind, out);
        put_gain("a black picture, answers restricted", mean.sighted, mean.blind_restricted, out);
        drt_text_puts(out, "</div>\n");
    }
    drt_text_puts(out, "</section>\n");
}

// One model on one task: prior, blind and sighted on a line from 0 to 100.
static void put_lane(int m, const drt_report_task *t, drt_text *out) {
    double blind = isnan(t->blind_restricted) ? t->blind : t->blind_restricted;
    drt_text_printf(out, "<div class=\"lane m m%d\">", m + 1);
    if (!isnan(t->prior)) drt_text_printf(out, "<i class=\"prior\" style=\"left:%.1f%%\"></i>", 100 * t->prior);
    if (!isnan(blind - t->sighted))
        drt_text_printf(out, "<i class=\"bar\" style=\"left:%.1f%%;width:%.1f%%\"></i>", 100 * fmin(blind, t->sighted),
                        100 * fabs(t->sighted - blind));
    if (!isnan(blind)) drt_text_printf(out, "<i class=\"off\" style=\"left:%.1f%%\"></i>", 100 * blind);
    if (!isnan(t->sighted)) drt_text_printf(out, "<i class=\"on\" style=\"left:%.1f%%\"></i>", 100 * t->sighted);
    drt_text_puts(out, "</div>");
}

static void put_dots(const drt_report *r, const char **tasks, int n, drt_text *out) {
    drt_text_puts(out, "<h2>What the picture adds</h2>\n<p>Share of right answers with the picture and with it "
                       "blacked out, the answers then restricted to the task's own.</p>\n<div class=\"card dots\">\n"
                       "<div class=\"key\">"
                       "<span><span class=\"lane m m7\"><i class=\"on\"></i></span>with picture</span>"
                       "<span><span class=\"lane m m7\"><i class=\"off\"></i></span>blind</span><span><span "
                       "class=\"lane\"><i class=\"prior\"></i></span>most frequent answer</span>");
    for (int m = 0; m < r->n_models; m++) put_named(r, m, "span", out);
    drt_text_puts(out, "</div>\n");
    for (int t = 0; t < n; t++) {
        drt_text_puts(out, "<div class=\"row\"><b>");
        drt_text_html(out, tasks[t]);
        drt_text_puts(out, "</b><div class=\"lanes\">");
        for (int m = 0; m < r->n_models; m++) {
            drt_report_task result = drt_report_result(&r->models[m], tasks[t]);
            put_lane(m, &result, out);
        }
        drt_text_puts(out, "</div></div>\n");
    }
    drt_text_puts(out, "<div class=\"row\"><b></b><div class=\"scale\"><span>0</span><span>25</span><span>50</span>"
                       "<span>75</span><span>100</span></div></div>\n</div>\n");
}

// Whether model m is ahead of every other by more than the two intervals together.
static bool leads(const drt_report *r, int m, const char *task) {
    drt_report_task mine = drt_report_result(&r->models[m], task);
    for (int i = 0; i < r->n_models; i++) {
        drt_report_task other = drt_report_result(&r->models[i], task);
        double chance = hypot(drt_report_margin(mine.sighted, mine.n), drt_report_margin(other.sighted, other.n));
        if (i != m && !(mine.sighted - other.sighted > chance)) return false;
    }
    return r->n_models > 1;
}

static void put_task_row(const drt_report *r, const char *task, drt_text *out) {
    char a[16], b[16], c[16];
    drt_text_puts(out, task ? "<tr><th>" : "<tr class=\"mean\"><th>");
    drt_text_html(out, task ? task : "mean");
    for (int m = 0; m < r->n_models; m++) {
        drt_report_task t = task ? drt_report_result(&r->models[m], task) : drt_report_mean(&r->models[m]);
        double margin = task ? drt_report_margin(t.sighted, t.n) : NAN;
        if (!m) drt_text_printf(out, "</th><td class=\"n\">%lld</td>", (long long)t.n);
        if (!m) drt_text_printf(out, "<td>%s</td>", drt_report_percent(a, t.prior));
        drt_text_printf(out, "<td class=\"first%s\">%s", task && leads(r, m, task) ? " best" : "",
                        drt_report_percent(a, t.sighted));
        if (!isnan(margin)) drt_text_printf(out, " <small>±&#8239;%s</small>", drt_report_percent(a, margin));
        drt_text_printf(out, "</td><td>%s</td><td>%s</td>", drt_report_percent(b, t.blind),
                        drt_report_percent(c, t.blind_restricted));
    }
    drt_text_puts(out, "</tr>\n");
}

static void put_table(const drt_report *r, const char **tasks, int n, drt_text *out) {
    drt_text_puts(out, "<h2>Accuracy by task</h2>\n<p>Per cent, ± half a 95&nbsp;% interval. <i>Blind</i>: the picture "
                       "is black. <i>Restricted</i>: blind, answering only with the task's own answers. <i>Prior</i>: "
                       "always the most frequent answer. Bold: ahead by more than chance explains.</p>\n"
                       "<div class=\"card wide\"><table><thead><tr><th></th>"
                       "<th class=\"n\"></th><th></th>");
    for (int m = 0; m < r->n_models; m++) {
        drt_text_puts(out, "<th colspan=\"3\" class=\"first\">");
        put_named(r, m, "span", out);
        drt_text_puts(out, "</th>");
    }
    drt_text_puts(out, "</tr>\n<tr><th></th><th class=\"n\">questions</th><th>prior</th>");
    for (int m = 0; m < r->n_models; m++)
        drt_text_puts(out, "<th class=\"first\">sighted</th><th>blind</th><th>restricted</th>");
    drt_text_puts(out, "</tr></thead>\n<tbody>\n");
    for (int t = 0; t < n; t++) put_task_row(r, tasks[t], out);
    if (n > 1) put_task_row(r, NULL, out);
    drt_text_puts(out, "</tbody></table></div>\n");
}

// The number, and what stands beside it in brackets as a remark that does not break.
static void put_fact(const drt_report_model *model, int fact, drt_text *out) {
    drt_text cell = {0};
    drt_report_fact_cell(model, fact, &cell);
    size_t bracket = cell.bytes ? strcspn(cell.bytes, "(") : 0;
    drt_text_puts(out, "<td>");
    drt_text_add(out, cell.bytes ? cell.bytes : "", bracket);
    if (bracket < cell.size) drt_text_printf(out, "<small>%s</small>", cell.bytes + bracket);
    drt_text_puts(out, "</td>");
    out->failed |= cell.failed;
    drt_text_free(&cell);
}

static void put_facts(const drt_report *r, drt_text *out) {
    bool any = false;
    for (int f = 0; f < DRT_REPORT_FACTS; f++) any |= drt_report_fact_of(r, f).shown;
    if (!any) return;
    drt_text_puts(out, "<h2>Puzzles and attention</h2>\n<p>On pictures kept from training: how often the shuffled "
                       "image's permutation is named, how often a shuffled sentence is put wholly in order, and the "
                       "share of attention that answers spend on the picture. Per cent.</p>\n"
                       "<div class=\"card wide facts\"><table><thead><tr><th></th>");
    for (int m = 0; m < r->n_models; m++) {
        drt_text_puts(out, "<th>");
        put_named(r, m, "span", out);
        drt_text_puts(out, "</th>");
    }
    drt_text_puts(out, "</tr></thead>\n<tbody>\n");
    for (int f = 0; f < DRT_REPORT_FACTS; f++) {
        drt_report_fact fact = drt_report_fact_of(r, f);
        if (!fact.shown) continue;
        drt_text_printf(out, "<tr><th>%s</th>", fact.name);
        for (int m = 0; m < r->n_models; m++) put_fact(&r->models[m], f, out);
        drt_text_puts(out, "</tr>\n");
    }
    drt_text_puts(out, "</tbody></table></div>\n");
}

static const char *media_type(const unsigned char *bytes, size_t n) {
    if (n > 2 && bytes[0] == 0xff && bytes[1] == 0xd8) return "image/jpeg";
    if (n > 12 && !memcmp(bytes, "RIFF", 4)) return "image/webp";
    return "image/png";
}

void drt_report_picture(const char *attributes, const void *bytes, size_t n, drt_text *out) {
    drt_text_printf(out, "<img alt=\"\" %s src=\"data:%s;base64,", attributes, media_type(bytes, n));
    drt_text_base64(out, bytes, n);
    drt_text_puts(out, "\">");
}

static void put_example(const drt_report *r, const drt_report_example *e, drt_text *out) {
    drt_text_puts(out, "<article>");
    if (e->picture) drt_report_picture("loading=\"lazy\"", e->picture, e->picture_size, out);
    drt_text_puts(out, "<div><span class=\"task\">");
    drt_text_html(out, e->task ? e->task : "");
    drt_text_puts(out, "</span><p class=\"q\">");
    drt_text_html(out, e->question);
    drt_text_puts(out, "</p><dl><dt>right</dt><dd>");
    drt_text_html(out, e->answer);
    drt_text_puts(out, "</dd>");
    for (int m = 0; m < r->n_models; m++) {
        const char *given = e->answers[m];
        put_named(r, m, "dt", out);
        bool good = given && drt_answer_matches(given, e->answer);
        drt_text_printf(out, "<dd class=\"%s\">", !given ? "none" : good ? "good" : "bad");
        drt_text_html(out, given ? given : "–");
        drt_text_puts(out, "</dd>");
    }
    drt_text_puts(out, "</dl></div></article>\n");
}

static void put_commands(const drt_report *r, drt_text *out) {
    if (!r->n_commands) return;
    drt_text_puts(out, "<h2>Try it</h2>\n<pre class=\"card\">");
    for (int i = 0; i < r->n_commands; i++) {
        drt_text_html(out, r->commands[i]);
        drt_text_puts(out, "\n");
    }
    drt_text_puts(out, "</pre>\n");
}

void drt_report_page_begin(const char *title, const char *more, drt_text *out) {
    drt_text_puts(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                       "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    drt_text_html(out, title);
    drt_text_printf(out, "</title>\n<style>\n%s%s</style></head>\n<body><main>\n<h1>", drt_report_style, more);
    drt_text_html(out, title);
    drt_text_puts(out, "</h1>\n");
}

drt_status drt_report_html(const drt_report *r, drt_text *out, drt_error *err) {
    const char *tasks[DRT_REPORT_MOST_TASKS];
    int n = drt_report_task_names(r, tasks);
    drt_report_page_begin(r->title, "", out);
    if (r->note) {
        drt_text_puts(out, "<p>");
        drt_text_html(out, r->note);
        drt_text_puts(out, "</p>\n");
    }
    put_tiles(r, out);
    if (n) put_dots(r, tasks, n, out), put_table(r, tasks, n, out);
    put_facts(r, out);
    drt_text figures = {0};
    drt_status status = drt_report_curves(r, &figures, err);
    if (!status && figures.size) {
        drt_text_puts(out, "<h2>Training</h2>\n<section class=\"charts\">\n");
        drt_text_add(out, figures.bytes, figures.size);
        drt_text_puts(out, "</section>\n");
    }
    drt_text_free(&figures);
    if (r->n_examples) drt_text_puts(out, "<h2>Examples</h2>\n<section class=\"examples\">\n");
    for (int i = 0; i < r->n_examples; i++) put_example(r, &r->examples[i], out);
    if (r->n_examples) drt_text_puts(out, "</section>\n");
    put_commands(r, out);
    drt_text_puts(out, "</main></body></html>\n");
    return status ? status : out->failed ? drt_fail(err, DRT_ENOMEM, "no memory for a report's page") : DRT_OK;
}
