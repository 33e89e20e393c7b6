// A preview as a page, and the packed batch as a drawing.
#include "train/preview_parts.h"

#include "eval/report_parts.h"

#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 224, WIDE = 1000, LANE = 14, LEFT = 170 };

static const char style[] =
    ":root{--trained:#1a7f37;--visual:#0072b2;--directed:#8250df;--cut:#cf222e}\n"
    "@media(prefers-color-scheme:dark){:root{--trained:#3fb950;--visual:#58b4f0;--directed:#c297ff;--cut:#ff7b72}}\n"
    ".seen{padding:1rem 1.25rem;margin:1rem 0}.seen h3{margin:0 0 .5rem;font-size:1rem}.seen h4{margin:1rem 0 .3rem;"
    "font-size:.9rem;font-weight:600}.seen h4 small{font-weight:400;color:var(--soft)}\n"
    ".tokens{font:.85rem/1.9 ui-monospace,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere;white-space:pre-wrap}"
    ".tokens span{border-radius:3px;padding:.12em 0;box-shadow:inset 1px 0 var(--line)}\n"
    ".masked{color:var(--soft)}.trained{background:color-mix(in srgb,var(--trained) 22%,transparent);"
    "color:var(--trained)}.visual{background:color-mix(in srgb,var(--visual) 22%,transparent);color:var(--visual);"
    "padding:.12em .5em!important}.directed{background:color-mix(in srgb,var(--directed) 25%,transparent);"
    "color:var(--directed);padding:.12em .5em!important}.cut{color:var(--cut);text-decoration:line-through}\n"
    ".pics{display:flex;gap:.8rem;flex-wrap:wrap}.pics figure{padding:.3rem;font-size:.8rem;color:var(--soft)}"
    ".pics img{display:block;image-rendering:auto;border-radius:6px}.pics figcaption{padding:.3rem .2rem 0}"
    ".order{font:.7rem/1.3 ui-monospace,monospace;color:var(--soft);max-width:44rem;overflow-wrap:anywhere}\n"
    ".legend span{margin-right:.8rem}.batch svg{display:block;width:100%;height:auto}\n";

static const char *const classes[DRT_SEEN_KINDS] = {"masked", "trained", "visual", "directed", "cut"};

static void put_token(const drt_seen *s, drt_text *out) {
    drt_text_printf(out, "<span class=\"%s\" title=\"%s\">", classes[s->kind], drt_seen_names[s->kind]);
    if (s->picture) drt_text_printf(out, "picture, %d rows", s->rows);
    else if (s->kind == DRT_SEEN_DIRECTED) drt_text_puts(out, "directed token");
    else
        for (const char *c = s->text; *c; c++) {
            if (*c == '\n') drt_text_puts(out, "\xE2\x86\xB5<wbr>");
            else drt_text_html(out, (char[]){*c, 0});
        }
    drt_text_puts(out, "</span>");
}

static void put_picture(const drt_preview *p, const drt_seen_pass *pass, int k, const char *what, drt_text *out) {
    drt_image image = {0}, shown = {0};
    unsigned char *bytes = NULL;
    size_t size;
    drt_status bad = drt_preview_picture(p, pass, k, &image, NULL);
    int side = image.width < SIDE ? image.width : SIDE;
    if (!bad) bad = drt_image_resize_bicubic(&image, side, side, &shown, NULL);
    if (!bad) bad = drt_image_encode_png(&shown, &bytes, &size, NULL);
    if (!bad) {
        char sides[48];
        snprintf(sides, sizeof sides, "width=\"%d\" height=\"%d\"", SIDE, SIDE);
        drt_text_puts(out, "<figure class=\"card\">");
        drt_report_picture(sides, bytes, size, out);
        drt_text_printf(out, "<figcaption>%s</figcaption></figure>\n", what);
    }
    free(bytes);
    drt_image_free(&image), drt_image_free(&shown);
}

static void put_pictures(const drt_preview *p, const drt_seen_sample *s, drt_text *out) {
    drt_text_puts(out, "<div class=\"pics\">\n");
    for (int j = 0, intact = 0; j < s->passes; j++) {
        const drt_seen_pass *pass = &s->pass[j];
        bool shuffled = pass->kind == DRT_PASS_IMAGE_ORDER;
        if (!pass->patches || (!shuffled && intact++)) continue;
        for (int k = 0; k < pass->images; k++) {
            char what[64];
            snprintf(what, sizeof what, shuffled ? "shuffled, permutation %d" : "as the model sees it",
                     pass->permutation);
            put_picture(p, pass, k, what, out);
        }
    }
    drt_text_puts(out, "</div>\n");
}

static void put_order(const drt_preview *p, const drt_seen_pass *pass, drt_text *out) {
    int grid = drt_loader_pack(p->t.loader)->grid, cells = grid * grid;
    const int32_t *order = p->t.bank + (size_t)pass->permutation * (size_t)cells;
    drt_text_printf(out, "<p class=\"order\">permutation %d: cell i shows cell", pass->permutation);
    for (int i = 0; i < cells; i++) drt_text_printf(out, " %d", order[i]);
    drt_text_puts(out, "</p>\n");
}

static void put_sample(const drt_preview *p, const drt_seen_sample *s, drt_text *out) {
    drt_text_puts(out, "<section class=\"card seen\"><h3>");
    drt_text_html(out, s->name);
    drt_text_puts(out, "</h3>\n");
    for (int k = 0; k < s->images; k++) {
        drt_text_puts(out, "<div class=\"order\">");
        drt_text_html(out, s->picture[k]);
        drt_text_puts(out, "</div>\n");
    }
    put_pictures(p, s, out);
    for (int j = 0; j < s->passes; j++) {
        const drt_seen_pass *pass = &s->pass[j];
        drt_text_printf(out, "<h4>%s <small>%d rows, %d tokens trained on", drt_pass_titles[pass->kind], pass->rows,
                        pass->trained);
        if (pass->cut) drt_text_printf(out, ", %d rows cut off", pass->cut);
        drt_text_puts(out, "</small></h4>\n<div class=\"tokens\">");
        for (int i = 0; i < pass->n; i++) put_token(&pass->seen[i], out);
        drt_text_puts(out, "</div>\n");
        if (pass->permutation >= 0) put_order(p, pass, out);
    }
    drt_text_puts(out, "</section>\n");
}

// ---- the packed batch ----------------------------------------------------------------------------------------------

static const char *const fills[] = {"#9aa4af", "#2da44e", "#3a9bd9", "#8250df"};

// What a row of the batch is; `trained` [rows] says which are predicted and learnt.
static drt_seen_kind kind_of(const drt_batch *b, const uint8_t *trained, int32_t row) {
    if (b->visual[row] >= 0) return DRT_SEEN_VISUAL;
    if (b->token[row] < 0) return DRT_SEEN_DIRECTED;
    return trained[row] ? DRT_SEEN_TRAINED : DRT_SEEN_MASKED;
}

static void put_lane(const drt_batch *b, const uint8_t *trained, int sequence, double scale, int y, drt_text *svg) {
    int32_t from = b->offsets[sequence], end = b->offsets[sequence + 1];
    for (int32_t r = from; r < end;) {
        drt_seen_kind kind = kind_of(b, trained, r);
        int32_t first = r;
        while (r < end && kind_of(b, trained, r) == kind) r++;
        drt_text_printf(svg, "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\"/>",
                        LEFT + (first - from) * scale, y, (r - first) * scale, LANE - 3, fills[kind]);
    }
    drt_text_printf(svg, "<text x=\"%.1f\" y=\"%d\" fill=\"#808890\">%d</text>\n", LEFT + (end - from) * scale + 4,
                    y + LANE - 4, end - from);
}

static void put_batch(const drt_preview *p, int k, int first, double scale, int *y, drt_text *svg) {
    const drt_batch *b = p->data->batch[k];
    uint8_t *trained = calloc((size_t)b->rows + 1, 1);
    if (!trained) {
        svg->failed = true;
        return;
    }
    // The row that predicts a word is the one before it.
    for (int kind = 0; kind < DRT_PASS_KINDS; kind++)
        for (int64_t i = 0; i < b->words[kind].n; i++) trained[b->select[b->words[kind].at[i]] + 1] = 1;
    drt_text_printf(
        svg,
        "<text x=\"0\" y=\"%d\" font-weight=\"bold\" fill=\"#808890\">part %d of %d: %d sequences, %lld rows</text>\n",
        *y + LANE - 4, k + 1, p->data->n, b->sequences, (long long)b->rows);
    *y += LANE + 4;
    for (int i = 0, sequence = 0; i < b->samples && first + i < p->n; i++)
        for (int j = 0; j < p->sample[first + i].passes; j++, sequence++, *y += LANE) {
            if (!j)
                drt_text_printf(svg, "<text x=\"0\" y=\"%d\" fill=\"#808890\">sample %d</text>", *y + LANE - 4,
                                b->sample[i]);
            drt_text_printf(svg, "<text x=\"78\" y=\"%d\" fill=\"#808890\">%s</text>", *y + LANE - 4,
                            drt_pass_titles[p->sample[first + i].pass[j].kind]);
            put_lane(b, trained, sequence, scale, *y, svg);
        }
    free(trained);
    *y += LANE / 2;
}

void drt_preview_batch(const drt_preview *p, drt_text *svg) {
    int longest = 1, lanes = 0, y = 4;
    for (int k = 0; k < p->data->n; k++) {
        const drt_batch *b = p->data->batch[k];
        for (int s = 0; s < b->sequences; s++)
            if (b->offsets[s + 1] - b->offsets[s] > longest) longest = b->offsets[s + 1] - b->offsets[s];
        lanes += b->sequences;
    }
    int height = 8 + lanes * LANE + p->data->n * (LANE + 4 + LANE / 2) + LANE + 6;
    drt_text_printf(svg,
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
                    "font-family=\"sans-serif\" font-size=\"10\">\n",
                    WIDE, height, WIDE, height);
    for (int k = 0; k < 4; k++)
        drt_text_printf(svg,
                        "<rect x=\"%d\" y=\"%d\" width=\"10\" height=\"10\" fill=\"%s\"/><text x=\"%d\" y=\"%d\" "
                        "fill=\"#808890\">%s</text>\n",
                        LEFT + 90 * k, y, fills[k], LEFT + 90 * k + 14, y + 9, drt_seen_names[k]);
    y += LANE + 6;
    double scale = (WIDE - LEFT - 40.0) / longest;
    for (int k = 0, first = 0; k < p->data->n; first += p->data->batch[k++]->samples)
        put_batch(p, k, first, scale, &y, svg);
    drt_text_puts(svg, "</svg>\n");
}

void drt_preview_html(const drt_preview *p, int most, drt_text *out) {
    char title[64];
    snprintf(title, sizeof title, "What the model sees of step %lld", (long long)p->step);
    drt_report_page_begin(title, style, out);
    drt_text_puts(out, "<p>");
    drt_text_html(out, drt_dataset_path(drt_loader_dataset(p->t.loader)));
    drt_text_printf(out,
                    ": %d samples, %lld rows in %d packed %s; template %s, context %d.</p>\n<p class=\"legend "
                    "tokens\">",
                    p->n, (long long)p->data->rows, p->data->n, p->data->n == 1 ? "part" : "parts",
                    drt_loader_options(p->t.loader)->how->name, drt_loader_options(p->t.loader)->context);
    for (int k = 0; k < DRT_SEEN_KINDS; k++)
        drt_text_printf(out, "<span class=\"%s\">%s</span>", classes[k], drt_seen_names[k]);
    drt_text_puts(out, "</p>\n<h2>The packed batch</h2>\n<div class=\"card seen batch\">");
    drt_preview_batch(p, out);
    drt_text_puts(out, "</div>\n<h2>Samples</h2>\n");
    for (int i = 0; i < p->n && i < most; i++) put_sample(p, &p->sample[i], out);
    if (p->n > most) drt_text_printf(out, "<p>and %d more samples in this step.</p>\n", p->n - most);
    drt_text_puts(out, "</main></body></html>\n");
}
