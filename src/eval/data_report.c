#include "eval/data_report.h"

#include "eval/report_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 24, LISTED = 200, SIDE = 150, BARS = 24 };

// "907 MB", "12.5 kB".
static char *size_text(char out[24], int64_t bytes) {
    double n = (double)bytes;
    if (n >= 1e6) snprintf(out, 24, "%.*f MB", n < 1e7, 1e-6 * n);
    else snprintf(out, 24, "%.*f kB", n < 1e4, 1e-3 * n);
    return out;
}

static int64_t data_bytes(const drt_data_check *c) {
    int64_t n = 0;
    for (int i = 0; i < c->index.sources.n; i++) n += (int64_t)c->index.sources.file[i].size;
    return n;
}

static const char *plural(int64_t n, const char *one, const char *many) { return n == 1 ? one : many; }

// ---- for a terminal ------------------------------------------------------------------------------------------------

void drt_data_table(const drt_data_check *c, int most, drt_text *out) {
    char time[24], size[24];
    drt_text_printf(out, "%s: %d samples, %lld pictures named %lld times; %s of them decoded in %s\n",
                    c->index.sources.path, c->index.n, (long long)c->pictures, (long long)c->uses,
                    size_text(size, c->bytes), drt_duration(time, c->picture_seconds));
    if (c->eval_questions)
        drt_text_printf(out, "against %lld evaluation questions with %lld pictures%s\n", (long long)c->eval_questions,
                        (long long)c->eval_pictures, c->eval_missing ? ", some of which are missing" : "");
    for (int kind = 0; kind < DRT_FIND_KINDS; kind++) {
        const drt_find_about *about = &drt_find_about_kind[kind];
        int shown = 0;
        if (!c->of[kind]) continue;
        drt_text_printf(out, "\n%s: %lld%s\n", about->title, (long long)c->of[kind],
                        about->quarantined ? ", in quarantine" : "");
        for (int64_t i = 0; i < c->n && shown < most; i++) {
            const drt_finding *f = &c->finding[i];
            if ((int)f->kind != kind) continue;
            shown++;
            drt_text_printf(out, "  sample %d%s", f->sample, *f->id ? " (id '" : "");
            drt_text_plain(out, f->id);
            drt_text_puts(out, *f->id ? "'): " : ": ");
            drt_text_plain(out, f->text);
            drt_text_puts(out, "\n");
        }
        if (c->of[kind] > shown) drt_text_printf(out, "  and %lld more\n", (long long)c->of[kind] - shown);
    }
    if (!c->n) drt_text_puts(out, "\nNothing is wrong.\n");
    else
        drt_text_printf(out, "\n%d %s of %d in quarantine.\n", c->quarantined,
                        plural(c->quarantined, "sample", "samples"), c->index.n);
}

// ---- for programs --------------------------------------------------------------------------------------------------

void drt_data_json(const drt_data_check *c, drt_text *out) {
    drt_text_puts(out, "{\"data\": ");
    drt_text_json(out, c->index.sources.path);
    drt_text_printf(out,
                    ", \"bytes\": %lld, \"samples\": %d, \"pictures\": %lld, \"named\": %lld, \"quarantined\": %d,\n"
                    " \"seconds\": {\"index\": %.3f, \"samples\": %.3f, \"pictures\": %.3f}, \"decoded\": {\"bytes\": "
                    "%lld, \"pixels\": %lld},\n"
                    " \"evaluation\": {\"questions\": %lld, \"pictures\": %lld, \"missing\": %lld},\n \"found\": {",
                    (long long)data_bytes(c), c->index.n, (long long)c->pictures, (long long)c->uses, c->quarantined,
                    c->index_seconds, c->text_seconds, c->picture_seconds, (long long)c->bytes, (long long)c->pixels,
                    (long long)c->eval_questions, (long long)c->eval_pictures, (long long)c->eval_missing);
    for (int k = 0; k < DRT_FIND_KINDS; k++)
        drt_text_printf(out, "%s\"%s\": %lld", k ? ", " : "", drt_find_about_kind[k].name, (long long)c->of[k]);
    drt_text_puts(out, "},\n \"findings\": [");
    for (int64_t i = 0; i < c->n; i++) {
        const drt_finding *f = &c->finding[i];
        const drt_find_about *about = &drt_find_about_kind[f->kind];
        drt_text_printf(out, "%s\n  {\"kind\": \"%s\", \"sample\": %d, \"id\": ", i ? "," : "", about->name, f->sample);
        drt_text_json(out, f->id);
        if (f->image >= 0) drt_text_printf(out, ", \"image\": %d", f->image);
        drt_text_printf(out, ", \"quarantined\": %s, \"why\": ", about->quarantined ? "true" : "false");
        drt_text_json(out, f->text);
        drt_text_puts(out, "}");
    }
    drt_text_puts(out, "\n ]}\n");
}

// ---- the page ------------------------------------------------------------------------------------------------------

static const char style[] =
    ".tile .big{font-size:2.1rem}.bad{color:var(--bad)}.warn{color:var(--c5)}\n"
    "details{margin:.8rem 0;padding:.2rem 1.25rem}summary{cursor:pointer;padding:.6rem 0;font-weight:600}"
    "summary small{font-weight:400;color:var(--soft)}summary b{float:right;font-variant-numeric:tabular-nums}\n"
    "details th,details td{text-align:left}td.why,th.why{white-space:normal;overflow-wrap:anywhere}"
    "td:first-child{color:var(--soft)}th:first-child{width:7rem}th:nth-child(2){width:11rem}\n"
    ".pairs{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));margin:.4rem 0 1rem}"
    ".pairs div{display:flex;gap:.4rem;align-items:flex-start;flex-wrap:wrap;font-size:.8rem;color:var(--soft)}"
    ".pairs img{border-radius:6px;max-width:48%;height:auto}.pairs span{flex-basis:100%;overflow-wrap:anywhere}\n"
    ".hist{display:flex;align-items:flex-end;gap:2px;height:9rem;padding:1rem 1.25rem 0}"
    ".hist i{flex:1;background:var(--c1);border-radius:3px 3px 0 0;min-height:1px}"
    ".ends{display:flex;justify-content:space-between;padding:.2rem 1.25rem .8rem;font-size:.85rem;"
    "color:var(--soft)}\n";

static void put_tile(drt_text *out, const char *number, const char *unit, const char *class, const char *below) {
    drt_text_printf(out,
                    "<div class=\"card tile\"><div class=\"big %s\" style=\"color:%s\">%s<small> %s</small></div>"
                    "<div>%s</div></div>\n",
                    class, *class ? "" : "var(--ink)", number, unit, below);
}

static void put_tiles(const drt_data_check *c, drt_text *out) {
    char number[32], below[160], time[24], size[24];
    double seconds = c->index_seconds + c->text_seconds;
    drt_text_puts(out, "<section class=\"tiles\">\n");
    snprintf(number, sizeof number, "%d", c->index.n);
    snprintf(below, sizeof below, "%s in %d %s, read in %s", size_text(size, data_bytes(c)), c->index.sources.n,
             plural(c->index.sources.n, "file", "files"), drt_duration(time, seconds));
    put_tile(out, number, "samples", "", below);
    snprintf(number, sizeof number, "%lld", (long long)c->pictures);
    snprintf(below, sizeof below, "named %lld times; %s, %.1f megapixels, decoded in %s", (long long)c->uses,
             size_text(size, c->bytes), 1e-6 * (double)c->pixels, drt_duration(time, c->picture_seconds));
    put_tile(out, number, "pictures", "", below);
    snprintf(number, sizeof number, "%d", c->quarantined);
    snprintf(below, sizeof below, "%.3f %% of all samples, which training leaves out",
             c->index.n ? 100.0 * c->quarantined / c->index.n : 0.0);
    put_tile(out, number, "in quarantine", c->quarantined ? "bad" : "", below);
    drt_text_puts(out, "</section>\n");
}

// Rows of a sample where a model was named, words where none was.
static int64_t length_of(const drt_data_check *c, int32_t i) { return c->rows ? c->rows[i] : c->index.fact[i].words; }

static void put_lengths(const drt_data_check *c, drt_text *out) {
    int64_t most = 0, bar[BARS] = {0}, highest = 1;
    for (int32_t i = 0; i < c->index.n; i++) most = length_of(c, i) > most ? length_of(c, i) : most;
    for (int32_t i = 0; i < c->index.n && most; i++) bar[(length_of(c, i) * BARS - 1) / most * (length_of(c, i) > 0)]++;
    for (int b = 0; b < BARS; b++) highest = bar[b] > highest ? bar[b] : highest;
    drt_text_printf(out, "<h2>Lengths</h2>\n<p>%s</p>\n<div class=\"card\"><div class=\"hist\">",
                    c->rows ? "Rows that a sample takes in the model, pictures included."
                            : "Words of a sample. With --model, rows as the model sees them.");
    for (int b = 0; b < BARS; b++)
        drt_text_printf(out, "<i style=\"height:%.1f%%\" title=\"%lld to %lld: %lld samples\"></i>",
                        100.0 * (double)bar[b] / (double)highest, (long long)(most * b / BARS),
                        (long long)(most * (b + 1) / BARS), (long long)bar[b]);
    drt_text_printf(out, "</div><div class=\"ends\"><span>0</span><span>%lld</span></div></div>\n", (long long)most);
}

// A picture of a sample, small, as a data URI; nothing where it cannot be read.
static void put_picture(const drt_data_check *c, int32_t sample, int32_t k, drt_text *out) {
    char name[DRT_RECORD_NAME];
    drt_record *r = NULL;
    drt_image image = {0}, small = {0};
    unsigned char *bytes = NULL;
    size_t size;
    drt_status bad = drt_index_record(&c->index, sample, c->images, k, &r, name, NULL);
    if (!bad) bad = k < r->n_images ? drt_record_image(r, k, &image, NULL) : DRT_EARG;
    int long_side = image.width > image.height ? image.width : image.height;
    if (!bad) {
        int w = (int)((int64_t)image.width * SIDE / long_side), h = (int)((int64_t)image.height * SIDE / long_side);
        bad = drt_image_resize_bicubic(&image, w ? w : 1, h ? h : 1, &small, NULL);
    }
    if (!bad) bad = drt_image_encode_jpeg(&small, 80, &bytes, &size, NULL);
    if (!bad) {
        char sides[48];
        snprintf(sides, sizeof sides, "width=\"%d\" height=\"%d\"", small.width, small.height);
        drt_report_picture(sides, bytes, size, out);
    }
    free(bytes);
    drt_image_free(&image), drt_image_free(&small);
    drt_record_free(r);
}

static void put_pairs(const drt_data_check *c, drt_find_kind kind, drt_text *out) {
    int shown = 0;
    drt_text_puts(out, "<div class=\"pairs\">\n");
    for (int64_t i = 0; i < c->n && shown < PAIRS; i++) {
        const drt_finding *f = &c->finding[i];
        if (f->kind != kind || f->other < 0) continue;
        shown++;
        drt_text_puts(out, "<div>");
        put_picture(c, f->other, f->other_image, out);
        put_picture(c, f->sample, f->image, out);
        drt_text_puts(out, "<span>");
        drt_text_html(out, f->text);
        drt_text_puts(out, "</span></div>\n");
    }
    drt_text_puts(out, "</div>\n");
}

static void put_kind(const drt_data_check *c, drt_find_kind kind, drt_text *out) {
    const drt_find_about *about = &drt_find_about_kind[kind];
    int shown = 0;
    drt_text_printf(out, "<details class=\"card\"%s><summary>%s <small>%s</small><b class=\"%s\">%lld</b></summary><p>",
                    c->of[kind] <= 20 ? " open" : "", about->title, about->quarantined ? "in quarantine" : "kept",
                    about->quarantined ? "bad" : "warn", (long long)c->of[kind]);
    drt_text_html(out, about->advice);
    drt_text_puts(out, "</p>\n");
    if (kind == DRT_FIND_SAME || kind == DRT_FIND_NEAR) put_pairs(c, kind, out);
    drt_text_puts(out,
                  "<div class=\"wide\"><table><thead><tr><th>sample</th><th>id</th><th class=\"why\">what</th></tr>"
                  "</thead><tbody>\n");
    for (int64_t i = 0; i < c->n && shown < LISTED; i++) {
        const drt_finding *f = &c->finding[i];
        if (f->kind != kind) continue;
        shown++;
        drt_text_printf(out, "<tr><td>%d</td><td>", f->sample);
        drt_text_html(out, f->id);
        drt_text_puts(out, "</td><td class=\"why\">");
        drt_text_html(out, f->text);
        drt_text_puts(out, "</td></tr>\n");
    }
    drt_text_puts(out, "</tbody></table></div>");
    if (c->of[kind] > shown)
        drt_text_printf(out, "<p>and %lld more; report.json has all.</p>", (long long)c->of[kind] - shown);
    drt_text_puts(out, "</details>\n");
}

void drt_data_html(const drt_data_check *c, drt_text *out) {
    drt_text title = {0};
    drt_text_printf(&title, "Data check: %s", c->index.sources.path);
    drt_report_page_begin(title.failed ? "Data check" : title.bytes, style, out);
    drt_text_free(&title);
    drt_text_printf(out, "<p>%s",
                    c->n ? "What is in quarantine is listed by name beside the data, and training leaves "
                           "it out."
                         : "Nothing is wrong.");
    if (c->eval_questions)
        drt_text_printf(out, " Compared with %lld evaluation questions and %lld pictures.",
                        (long long)c->eval_questions, (long long)c->eval_pictures);
    drt_text_puts(out, "</p>\n");
    put_tiles(c, out);
    for (int kind = 0; kind < DRT_FIND_KINDS; kind++)
        if (c->of[kind]) put_kind(c, (drt_find_kind)kind, out);
    put_lengths(c, out);
    drt_text_puts(out, "</main></body></html>\n");
}
