// A preview for a terminal.
#include "train/preview_parts.h"

// Masked is dim, trained green, visual blue, directed magenta, cut off red and struck through.
static const char *const ansi[DRT_SEEN_KINDS] = {"2", "32", "34", "35", "31;9"};

static void put_seen(const drt_seen *s, drt_text *out) {
    if (s->picture) drt_text_printf(out, "[picture: %d rows]", s->rows);
    else if (s->kind == DRT_SEEN_DIRECTED) drt_text_puts(out, "[directed token]");
    else drt_text_plain(out, s->text);
}

// A line for each run of one kind; tokens are parted by '|'.
static void put_pass(const drt_seen_pass *p, bool color, drt_text *out) {
    for (int i = 0; i < p->n;) {
        drt_seen_kind kind = p->seen[i].kind;
        drt_text_printf(out, "    %-8s  ", drt_seen_names[kind]);
        if (color) drt_text_printf(out, "\033[%sm", ansi[kind]);
        for (int from = i; i < p->n && p->seen[i].kind == kind; i++) {
            if (i > from) drt_text_puts(out, "|");
            put_seen(&p->seen[i], out);
        }
        drt_text_puts(out, color ? "\033[0m\n" : "\n");
    }
}

void drt_preview_text(const drt_preview *p, int most, bool color, drt_text *out) {
    for (int i = 0; i < p->n && i < most; i++) {
        const drt_seen_sample *s = &p->sample[i];
        drt_text_printf(out, "%s%s", i ? "\n" : "", color ? "\033[1m" : "");
        drt_text_plain(out, s->name);
        drt_text_puts(out, color ? "\033[0m\n" : "\n");
        for (int k = 0; k < s->images; k++) {
            drt_text_puts(out, "    picture   ");
            drt_text_plain(out, s->picture[k]);
            drt_text_puts(out, "\n");
        }
        for (int k = 0; k < s->passes; k++) {
            const drt_seen_pass *pass = &s->pass[k];
            drt_text_printf(out, "  %s: %d rows, %d tokens trained on", drt_pass_titles[pass->kind], pass->rows,
                            pass->trained);
            if (pass->cut) drt_text_printf(out, ", %d rows cut off", pass->cut);
            if (pass->permutation >= 0) drt_text_printf(out, ", permutation %d", pass->permutation);
            drt_text_puts(out, "\n");
            put_pass(pass, color, out);
        }
    }
    if (p->n > most) drt_text_printf(out, "\nand %d more samples in this step\n", p->n - most);
}
