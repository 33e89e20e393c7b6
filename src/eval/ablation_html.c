// An ablation as one page: what is significant, the differences as a picture, the tables, the curves.
#include "eval/ablation_parts.h"
#include "eval/report_parts.h"

#include <math.h>
#include <stdlib.h>

static const char style[] = ".forest{padding:1rem 1.25rem}.forest .row{grid-template-columns:12rem 1fr}"
                            ".forest .lanes{background:none;border:0}"
                            ".forest .lane .zero{width:2px;height:100%;margin-left:-1px;top:0;background:var(--soft)}"
                            ".forest .scale{padding:.2rem 0}"
                            "@media(max-width:40rem){.forest .row{grid-template-columns:7rem 1fr}}\n";

// The largest distance from 0 that the picture must show, in points, as a round number.
static double reach_of(const drt_ablation_view *v) {
    static const double steps[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1};
    double most = 0;
    for (int r = 1; r < v->a->n_rows; r++) {
        drt_interval i = v->cell[r][v->n_tasks].change;
        double end = fabs(i.mean) + (isnan(i.half) ? 0 : fmin(i.half, 1.5 * fabs(i.mean) + 0.05));
        if (!isnan(end)) most = fmax(most, end);
    }
    int k = 0;
    while (k < 6 && steps[k] < most) k++;
    return steps[k];
}

static double place(double change, double reach) { return 50 + 50 * fmax(-1, fmin(1, change / reach)); }

static void put_forest(const drt_ablation_view *v, drt_text *out) {
    double reach = reach_of(v);
    drt_text_puts(out, "<h2>What each change costs or brings</h2>\n<p>Difference of the mean over tasks to ");
    drt_text_html(out, v->a->rows[0].name);
    drt_text_puts(out, ", in points, with its 95&nbsp;% interval. Filled: significant after Holm's correction.</p>\n"
                       "<div class=\"card forest\">\n");
    for (int r = 1; r < v->a->n_rows; r++) {
        const drt_ablation_cell *c = &v->cell[r][v->n_tasks];
        drt_text_puts(out, "<div class=\"row\"><b>");
        drt_text_html(out, v->a->rows[r].name);
        drt_text_puts(out, "</b><div class=\"lanes\"><div class=\"lane m\"><i class=\"zero\" style=\"left:50%\"></i>");
        if (!isnan(c->change.half)) {
            double low = place(c->change.mean - c->change.half, reach),
                   high = place(c->change.mean + c->change.half, reach);
            drt_text_printf(out, "<i class=\"bar\" style=\"left:%.1f%%;width:%.1f%%\"></i>", low, high - low);
        }
        if (!isnan(c->change.mean))
            drt_text_printf(out, "<i class=\"%s\" style=\"left:%.1f%%\"></i>",
                            drt_ablation_significant(c) ? "on" : "off", place(c->change.mean, reach));
        drt_text_puts(out, "</div></div></div>\n");
    }
    drt_text_puts(out, "<div class=\"row\"><b></b><div class=\"scale\">");
    for (int i = -2; i <= 2; i++) drt_text_printf(out, i ? "<span>%+g</span>" : "<span>%g</span>", 50 * i * reach);
    drt_text_puts(out, "</div></div>\n</div>\n");
}

static void put_table(const drt_ablation_view *v, int table, drt_text *out) {
    static const char *const titles[] = {"Accuracy by task", "Differences", "Puzzles, attention and cost"};
    int n = drt_ablation_columns(v, table);
    drt_text caption = {0};
    drt_ablation_caption(v, table, &caption);
    drt_text_printf(out, "<h2>%s</h2>\n<p>", titles[table]);
    drt_text_html(out, caption.bytes ? caption.bytes : "");
    drt_text_puts(out, ".</p>\n<div class=\"card wide\"><table><thead><tr><th></th>");
    for (int c = 0; c < n; c++) {
        drt_text_puts(out, "<th>");
        drt_text_html(out, drt_ablation_heading(v, table, c));
        drt_text_puts(out, "</th>");
    }
    drt_text_puts(out, "</tr></thead>\n<tbody>\n");
    for (int r = drt_ablation_first(table); r < v->a->n_rows; r++) {
        drt_text_puts(out, "<tr><th>");
        drt_text_html(out, v->a->rows[r].name);
        drt_text_puts(out, "</th>");
        for (int c = 0; c < n; c++) {
            bool mark = table == DRT_ABLATION_CHANGE && drt_ablation_significant(drt_ablation_cell_at(v, r, c));
            drt_text_puts(out, mark ? "<td class=\"best\">" : "<td>");
            drt_ablation_put(v, table, r, c, out);
            drt_text_puts(out, "</td>");
        }
        drt_text_puts(out, "</tr>\n");
    }
    drt_text_puts(out, "</tbody></table></div>\n");
    out->failed |= caption.failed;
    drt_text_free(&caption);
}

// The curves of the base and up to seven variations at a time, as many as there are colours.
static drt_status put_curves(const drt_ablation *a, drt_text *out, drt_error *err) {
    enum { COLOURS = 8 };
    drt_status status = DRT_OK;
    for (int from = 1; !status && (from == 1 || from < a->n_rows); from += COLOURS - 1) {
        drt_report_model model[COLOURS] = {{0}};
        drt_report_log *log[COLOURS] = {0};
        drt_report r = {.models = model};
        drt_text figures = {0};
        for (int k = 0; k < COLOURS && (!k || from + k - 1 < a->n_rows) && !status; k++) {
            const drt_ablation_row *row = &a->rows[k ? from + k - 1 : 0];
            int n = 0;
            for (int s = 0; s < a->n_seeds; s++) n += row->seed[s].n_logs;
            if (!(log[k] = calloc((size_t)n + 1, sizeof **log))) status = drt_fail(err, DRT_ENOMEM, "no memory");
            model[k] = (drt_report_model){.name = row->name, .logs = log[k]};
            for (int s = 0; s < a->n_seeds && !status; s++)
                for (int l = 0; l < row->seed[s].n_logs; l++) log[k][model[k].n_logs++] = row->seed[s].logs[l];
            r.n_models++;
        }
        if (!status) status = drt_report_curves(&r, &figures, err);
        if (!status && figures.size) {
            if (from == 1)
                drt_text_printf(out, "<h2>Training</h2>\n<p>Means over seeds%s.</p>\n",
                                a->n_rows > COLOURS ? "; the first curve of every chart is the base" : "");
            drt_text_puts(out, "<section class=\"charts\">\n");
            drt_text_add(out, figures.bytes, figures.size);
            drt_text_puts(out, "</section>\n");
        }
        drt_text_free(&figures);
        for (int k = 0; k < COLOURS; k++) free(log[k]);
    }
    return status;
}

drt_status drt_ablation_html(const drt_ablation *a, drt_text *out, drt_error *err) {
    drt_ablation_view *v;
    drt_text verdict = {0};
    drt_status status = drt_ablation_look(a, &v, err);
    if (status) return status;
    drt_report_page_begin(a->title, style, out);
    if (a->note) {
        drt_text_puts(out, "<p>");
        drt_text_html(out, a->note);
        drt_text_puts(out, "</p>\n");
    }
    drt_ablation_verdict(v, &verdict);
    drt_text_puts(out, "<p><b>");
    drt_text_html(out, verdict.bytes ? verdict.bytes : "");
    drt_text_puts(out, "</b></p>\n");
    out->failed |= verdict.failed;
    drt_text_free(&verdict);
    if (a->n_rows > 1) put_forest(v, out);
    for (int t = 0; t < DRT_ABLATION_TABLES; t++)
        if (drt_ablation_first(t) < a->n_rows) put_table(v, t, out);
    status = put_curves(a, out, err);
    if (a->command) {
        drt_text_puts(out, "<h2>Made by</h2>\n<pre class=\"card\">");
        drt_text_html(out, a->command);
        drt_text_puts(out, "\n</pre>\n");
    }
    drt_text_puts(out, "</main></body></html>\n");
    free(v);
    return status ? status : out->failed ? drt_fail(err, DRT_ENOMEM, "no memory for a report's page") : DRT_OK;
}
