#include "cli/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted; // the signal

static void on_signal(int signal) {
    static const char line[] = "\nstopping as soon as what is done is saved; once more to leave at once\n";
    if (interrupted) _Exit(128 + signal);
    interrupted = signal;
    int was = errno; // of what the signal breaks into
    (void)!write(2, line, sizeof line - 1);
    errno = was;
}

void drt_interrupt_install(void) {
    const struct sigaction how = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &how, NULL);
    sigaction(SIGTERM, &how, NULL);
}

int drt_interrupt_status(drt_status status) {
    if (status == DRT_ESTOP && interrupted) return 128 + interrupted;
    return status ? 1 : 0;
}

static int asked_to_stop(void *user) {
    (void)user;
    return interrupted;
}

// In the place of the live line, which is drawn again below.
static void say(void *user, const char *line) { fprintf(user, isatty(fileno(user)) ? "\r\033[K%s\n" : "%s\n", line); }

drt_run_hooks drt_terminal_hooks(drt_log_screen *screen, drt_progress *progress) {
    *screen = (drt_log_screen){.file = stderr};
    *progress = (drt_progress){.report = drt_progress_terminal, .user = stderr, .what = "checking pictures"};
    return (drt_run_hooks){.progress = progress,
                           .watch = drt_log_terminal,
                           .watch_user = screen,
                           .say = say,
                           .say_user = stderr,
                           .stop = asked_to_stop};
}
