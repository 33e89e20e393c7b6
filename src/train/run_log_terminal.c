#include "base/progress.h"
#include "base/text.h"
#include "train/run_log.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

// Characters, not bytes: what a line takes on the screen.
static int width(const char *s) {
    int n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

// What is cut last stands first.
static void put_rest(const drt_log_view *v, drt_text *line) {
    char left[24];
    if (v->step < v->total && v->seconds_left >= 0)
        drt_text_printf(line, ", %s left", drt_duration(left, v->seconds_left));
    for (int i = 0; i < v->n_losses; i++)
        drt_text_printf(line, " %s%s %.3f", i ? "· " : " ", v->names[i], v->losses[i]);
    if (v->tokens_per_second > 0) drt_text_printf(line, "  %.0f tokens/s", v->tokens_per_second);
    if (v->memory >= 1e9) drt_text_printf(line, "  %.2f GB", v->memory / 1e9);
    else if (v->memory > 0) drt_text_printf(line, "  %.0f MB", v->memory / 1e6);
}

static int columns_of(const drt_log_screen *screen) {
    struct winsize size;
    if (screen->columns > 0) return screen->columns;
    return !ioctl(fileno(screen->file), TIOCGWINSZ, &size) && size.ws_col > 0 ? size.ws_col : 100;
}

// Cuts the line to `columns` characters, so that a terminal never wraps it.
static void cut(drt_text *line, int columns) {
    if (width(line->bytes) <= columns) return;
    size_t at = 0;
    for (int n = 0; at < line->size; at++) {
        if (((unsigned char)line->bytes[at] & 0xc0) == 0x80) continue;
        if (n++ == columns - 1) break;
    }
    line->bytes[line->size = at] = 0;
    drt_text_puts(line, "…");
}

void drt_log_terminal(void *user, const drt_log_view *v) {
    enum { BAR = 16 };
    drt_log_screen *screen = user;
    bool terminal = isatty(fileno(screen->file)), last = v->step >= v->total;
    double now = drt_clock();
    if (screen->last > 0 && !last && now - screen->last < (terminal ? 0.1 : 10)) return;
    screen->last = now;
    drt_text line = {0};
    int full = v->total > 0 && v->step <= v->total ? (int)(BAR * v->step / v->total) : BAR;
    for (int i = 0; terminal && i < BAR; i++) drt_text_puts(&line, i < full ? "█" : "░");
    drt_text_printf(&line, "%sstep %lld/%lld", terminal ? " " : "", (long long)v->step, (long long)v->total);
    put_rest(v, &line);
    if (terminal && !line.failed) cut(&line, columns_of(screen));
    const char *end = terminal && !last ? "" : "\n";
    if (!line.failed) fprintf(screen->file, terminal ? "\r%s\033[K%s" : "%s%s", line.bytes, end);
    fflush(screen->file);
    drt_text_free(&line);
}
