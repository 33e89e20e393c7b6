#include "eval/order_picture.h"

#include "infer/picture.h"
#include "infer/session.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 440, MARGIN = 16, LINE = 26, TOP = 60 };
static const double LETTER = 7.6; // mean width of a letter at 13 units

static const char style[] =
    "<style>.drt-order{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    ".drt-order .ground{fill:#fff}.drt-order text{fill:#57606a}.drt-order .title,.drt-order .word{fill:#1f2328}"
    ".drt-order .title{font-weight:600}.drt-order .word{font-weight:600}.drt-order .on{fill:#fff;font-weight:600}"
    ".drt-order .rest{fill:#8c959f}.drt-order .frame{fill:none;stroke:#8c959f}"
    "@media (prefers-color-scheme:dark){.drt-order .ground{fill:#0d1117}.drt-order text{fill:#9da7b3}"
    ".drt-order .title,.drt-order .word{fill:#e6edf3}.drt-order .on{fill:#fff}}</style>";

// The question as rows, and where they go.
typedef struct {
    const drt_model *m;
    const drt_token_mixer *order;
    int32_t rows, *token, *visual; // [rows]
    // TokenMixer
    drt_mixer_places at;
    int32_t *moved; // [rows] how many visual tokens a word has got
    int32_t *hue;   // [rows] of the colour of such a word
    // GPS
    drt_gps_places gps;
    int32_t *place; // [rows] the first place with this row; -1: none
    drt_text *out;
    double x, y; // where the next piece of the prompt stands
} drawing;

static drt_status read_question(const drt_model *m, const drt_order_question *q, drt_encoded *e, drt_error *err) {
    const drt_template *found;
    drt_text text = {0};
    drt_status status = drt_model_template(m, q->how, &found, err);
    if (status) return status;
    drt_template how = *found;
    if (q->system) how.system = q->system;
    drt_text_printf(&text, DRT_IMAGE_PLACEHOLDER "\n%s", q->message);
    const drt_turn turn = {true, text.bytes};
    status = text.failed ? drt_fail(err, DRT_ENOMEM, "no memory for a question")
                         : drt_conversation_prompt(&how, m->tokenizer, &turn, 1, 1, e, err);
    drt_text_free(&text);
    return status;
}

static drt_status permute(drawing *d, drt_tape *t, const drt_mixer_rows *rows, drt_tensor *seen, drt_error *err) {
    const drt_splice splice = {d->rows, d->token, d->visual};
    d->place = d->moved;
    drt_gps_arrange(t, d->m, NULL, rows, drt_splice_rows(t, d->m, &splice, seen), &d->gps);
    if (drt_tape_failed(t, err)) return drt_tape_failed(t, NULL);
    for (int32_t r = 0; r < d->rows; r++) d->place[r] = -1;
    for (int32_t p = d->rows; p-- > 0;) d->place[d->gps.from[p]] = p;
    return DRT_OK;
}

// Lays out the rows of the prompt and asks the order for their places.
static drt_status arrange(drawing *d, drt_tape *t, const drt_encoded *e, float *pixels, drt_error *err) {
    d->rows = (int32_t)drt_id_rows(d->m, e->id, e->n);
    drt_tape_begin(t, false);
    drt_tensor *seen = drt_visual_tokens(t, d->m, drt_picture_rows(d->m, pixels, 1), false);
    d->token = drt_tape_alloc(t, 4 * (int64_t)d->rows, sizeof *d->token);
    if (!d->token) return drt_tape_failed(t, err);
    d->visual = d->token + d->rows, d->moved = d->visual + d->rows, d->hue = d->moved + d->rows;
    drt_id_layout(d->m, e->id, e->n, 0, d->token, d->visual);
    const int32_t offsets[] = {0, d->rows}, prompt = d->rows;
    const drt_mixer_rows rows = {1, offsets, &prompt, d->token, d->visual};
    if (d->order->order == DRT_INPUT_GPS) return permute(d, t, &rows, seen, err);
    if (!drt_token_mixer_places(t, d->m, d->order, &rows, seen, &d->at)) return drt_tape_failed(t, err);
    for (int32_t r = 0; r < d->rows; r++)
        if (d->visual[r] >= 0 && d->at.match[r] != DRT_MIXER_UNMATCHED) d->moved[d->at.match[r]]++;
    // Neighbouring words get colours far apart: steps of the golden angle.
    for (int32_t r = 0, k = 0; r < d->rows; r++)
        if (d->moved[r]) d->hue[r] = k++ * 137 % 360;
    return DRT_OK;
}

// A word for people: its text without the space in front, line ends as a sign.
static void put_word(const drawing *d, int32_t id, drt_text *out) {
    drt_error ignored = {0};
    drt_text raw = {0};
    if (drt_tokenizer_decode(d->m->tokenizer, &id, 1, false, &raw, &ignored) || raw.failed) drt_text_puts(out, "?");
    const char *s = raw.bytes ? raw.bytes : "";
    while (*s == ' ') s++;
    for (; *s; s++) {
        if (*s == '\n') drt_text_puts(out, "↵");
        else if ((unsigned char)*s >= 0x20 && *s != 0x7f) drt_text_add(out, s, 1);
    }
    if (!out->size) drt_text_puts(out, "␣");
    drt_text_free(&raw);
}

static void draw_patches(const drawing *d) {
    const drt_tower *v = &d->m->config.vision;
    int side = v->image / v->patch;
    double cell = (double)SIDE / side;
    for (int32_t r = 0; r < d->rows; r++) {
        int patch = d->visual[r] - d->m->config.front, word = d->at.match[r];
        if (d->visual[r] < 0 || patch < 0) continue;
        drt_text_printf(d->out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" ",
                        MARGIN + patch % side * cell, TOP + patch / side * cell, cell, cell);
        if (word == DRT_MIXER_UNMATCHED) drt_text_puts(d->out, "fill=\"#000\" fill-opacity=\".45\">");
        else
            drt_text_printf(d->out, "fill=\"hsl(%d,85%%,50%%)\" fill-opacity=\".4\" stroke=\"hsl(%d,85%%,40%%)\">",
                            d->hue[word], d->hue[word]);
        drt_text name = {0};
        if (word != DRT_MIXER_UNMATCHED) put_word(d, d->token[word], &name);
        drt_text_puts(d->out, "<title>");
        drt_text_html(d->out, name.bytes ? name.bytes : "no word");
        drt_text_printf(d->out, ", cosine %.3f</title></rect>\n", d->at.cosine[r]);
        drt_text_free(&name);
    }
}

// One piece of the prompt, on the next line where it does not fit. hue < 0: none.
static void put_piece(drawing *d, const char *text, const char *kind, int hue) {
    int letters = 0;
    for (const char *s = text; *s; s++) letters += (*s & 0xc0) != 0x80;
    double width = LETTER * letters + 10;
    if (d->x + width > MARGIN + SIDE && d->x > MARGIN) d->x = MARGIN, d->y += LINE;
    if (hue >= 0)
        drt_text_printf(d->out,
                        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"20\" rx=\"4\" "
                        "fill=\"hsl(%d,85%%,32%%)\"/>",
                        d->x, d->y - 15, width - 4, hue);
    drt_text_printf(d->out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", kind, d->x + 3, d->y);
    drt_text_html(d->out, text);
    drt_text_puts(d->out, "</text>\n");
    d->x += width;
}

// The prompt as it is read: words, and ▦ n for n visual tokens one behind the other.
static void draw_prompt(drawing *d) {
    int32_t *from = malloc(((size_t)d->rows + 1) * sizeof *from);
    if (!from) {
        d->out->failed = true;
        return;
    }
    for (int32_t r = 0; r < d->rows; r++) from[d->at.to[r]] = r;
    for (int32_t i = 0; i < d->rows;) {
        int32_t r = from[i], n = 0;
        drt_text text = {0};
        if (d->visual[r] < 0) {
            put_word(d, d->token[r], &text);
            if (text.bytes) put_piece(d, text.bytes, d->moved[r] ? "word" : "text", -1);
            i++;
        } else {
            int32_t word = d->at.match[r];
            for (; i + n < d->rows && d->visual[from[i + n]] >= 0 && d->at.match[from[i + n]] == word; n++) {
            }
            drt_text_printf(&text, "▦ %d", n);
            if (text.bytes) put_piece(d, text.bytes, word < 0 ? "rest" : "on", word < 0 ? -1 : d->hue[word]);
            i += n;
        }
        d->out->failed |= text.failed;
        drt_text_free(&text);
    }
    free(from);
}

// ---- GPS: patches and pieces in the colour of their place, and the permutation as a matrix -------------------------

static int hue_of(const drawing *d, int32_t place) { return (int)(300.0 * place / d->rows); }

static void draw_places(const drawing *d) {
    int side = d->m->config.vision.image / d->m->config.vision.patch;
    double cell = (double)SIDE / side;
    for (int32_t r = 0; r < d->rows; r++) {
        int patch = d->visual[r] - d->m->config.front;
        if (d->visual[r] < 0 || patch < 0) continue;
        drt_text_printf(d->out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" ",
                        MARGIN + patch % side * cell, TOP + patch / side * cell, cell, cell);
        if (d->place[r] < 0)
            drt_text_puts(d->out, "fill=\"#000\" fill-opacity=\".45\"><title>nowhere</title></rect>\n");
        else
            drt_text_printf(d->out,
                            "fill=\"hsl(%d,85%%,50%%)\" fill-opacity=\".4\"><title>place %d, was %d</title></rect>\n",
                            hue_of(d, d->place[r]), d->place[r] + 1, r + 1);
    }
}

static void draw_permuted(drawing *d) {
    for (int32_t p = 0; p < d->rows;) {
        int32_t r = d->gps.from[p], n = 1;
        drt_text text = {0};
        if (d->visual[r] < 0) put_word(d, d->token[r], &text);
        else {
            while (p + n < d->rows && d->visual[d->gps.from[p + n]] >= 0) n++;
            drt_text_printf(&text, "▦ %d", n);
        }
        if (text.bytes)
            put_piece(d, text.bytes, d->visual[r] < 0 ? "word" : "on", d->visual[r] < 0 ? -1 : hue_of(d, p + n / 2));
        d->out->failed |= text.failed;
        drt_text_free(&text);
        p += n;
    }
}

// Row by row of the matrix, from above: which row of the prompt stands at this place. A share is how dark the dot is.
static void draw_matrix(drawing *d) {
    const double cell = (double)SIDE / d->rows, dot = cell < 3 ? 3 : cell;
    d->y += LINE;
    drt_text_printf(d->out, "<text x=\"%d\" y=\"%.1f\">places from above, the rows they show from the left</text>\n",
                    MARGIN, d->y);
    d->y += 10;
    drt_text_printf(d->out, "<rect class=\"frame\" x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\"/>\n", MARGIN, d->y,
                    SIDE, SIDE);
    for (int32_t p = 0; p < d->rows; p++) {
        int32_t r = d->gps.from[p];
        drt_text_printf(d->out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill-opacity=\"%.2f\" ",
                        MARGIN + (r + 0.5) * cell - dot / 2, d->y + (p + 0.5) * cell - dot / 2, dot, dot,
                        0.25 + 0.75 * (double)d->gps.share[p]);
        if (d->visual[r] < 0) drt_text_puts(d->out, "class=\"rest\"/>\n");
        else drt_text_printf(d->out, "fill=\"hsl(%d,85%%,50%%)\"/>\n", hue_of(d, p));
    }
    d->y += SIDE + MARGIN;
}

static void title_places(const drawing *d, drt_text *svg) {
    int32_t lost = 0;
    double share = 0;
    for (int32_t r = 0; r < d->rows; r++) lost += d->place[r] < 0, share += (double)d->gps.share[r];
    drt_text_printf(svg, "<text class=\"title\" x=\"%d\" y=\"27\">%lld of %lld places show another row</text>\n",
                    MARGIN, (long long)d->gps.moved, (long long)d->gps.movable);
    drt_text_printf(svg, "<text x=\"%d\" y=\"46\">", MARGIN);
    if (d->m->extra.permuter->how.hard) drt_text_printf(svg, "%d rows stand nowhere</text>\n", lost);
    else
        drt_text_printf(svg, "rows are mixed; the one that counts most is shown, %.0f %% on average</text>\n",
                        100 * share / d->rows);
}

static void title_words(const drawing *d, drt_text *svg) {
    int32_t visuals = 0, moved = 0;
    for (int32_t r = 0; r < d->rows; r++) visuals += d->visual[r] >= 0, moved += d->moved[r];
    drt_text_printf(svg,
                    "<text class=\"title\" x=\"%d\" y=\"27\">%d of %d visual tokens moved</text>\n"
                    "<text x=\"%d\" y=\"46\">%s the word that each is most like, cosine ≥ %g</text>\n",
                    MARGIN, moved, visuals, MARGIN, d->order->side == DRT_MIXER_BEFORE ? "in front of" : "behind",
                    (double)d->order->tau);
}

static void draw(drawing *d, const unsigned char *png, size_t size, drt_text *svg) {
    drt_text body = {0};
    bool gps = d->order->order == DRT_INPUT_GPS;
    d->out = &body;
    d->x = MARGIN, d->y = TOP + SIDE + 30;
    if (gps) draw_places(d), draw_permuted(d), draw_matrix(d);
    else draw_patches(d), draw_prompt(d);
    int width = SIDE + 2 * MARGIN, height = (int)d->y + MARGIN;
    drt_text_printf(svg,
                    "<svg class=\"drt-order\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
                    "height=\"%d\">%s\n<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n",
                    width, height, width, height, style, width, height);
    (gps ? title_places : title_words)(d, svg);
    drt_text_printf(svg, "<image x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" href=\"data:image/png;base64,", MARGIN,
                    TOP, SIDE, SIDE);
    drt_text_base64(svg, png, size);
    drt_text_puts(svg, "\"/>\n");
    drt_text_add(svg, body.bytes, body.size);
    drt_text_puts(svg, "</svg>\n");
    svg->failed |= body.failed;
    drt_text_free(&body);
}

// The picture as the model is shown it, as a file's bytes.
static drt_status prepared(const drt_model *m, const char *path, unsigned char **png, size_t *size, drt_error *err) {
    drt_image image = {0}, ready = {0};
    drt_status status = drt_image_read(&image, path, err);
    if (!status) status = drt_image_prepare(&image, &m->preprocess, &ready, err);
    if (!status) status = drt_image_encode_png(&ready, png, size, err);
    drt_image_free(&image);
    drt_image_free(&ready);
    return status;
}

drt_status drt_order_picture(const drt_model *m, drt_tape *t, const drt_token_mixer *order, const drt_order_question *q,
                             drt_text *svg, drt_error *err) {
    drawing d = {.m = m, .order = order};
    drt_encoded e = {0};
    unsigned char *png = NULL;
    size_t size = 0;
    if (m->config.kind != DRT_MODEL_LLAVA)
        return drt_fail(err, DRT_ECONFIG, "%s sees no pictures beside words; use a LLaVA folder",
                        m->folder ? m->folder : "the model");
    if (drt_gps_check(m, order, err)) return DRT_ECONFIG;
    float *pixels = malloc((size_t)drt_picture_size(m) * sizeof *pixels);
    drt_status status = pixels ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for a picture");
    if (!status) status = read_question(m, q, &e, err);
    if (!status) status = drt_picture_read(m, q->image, pixels, err);
    if (!status) status = prepared(m, q->image, &png, &size, err);
    if (!status) status = arrange(&d, t, &e, pixels, err);
    if (!status) draw(&d, png, size, svg);
    if (!status && svg->failed) status = drt_fail(err, DRT_ENOMEM, "no memory for a drawing");
    drt_encoded_free(&e);
    free(pixels), free(png);
    return status;
}
