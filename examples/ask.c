// Asks a model about a picture and prints the answer while it is written.
//
//   cc ask.c -o ask $(pkg-config --cflags --libs drt)
//   ./ask out/demo/direct/stage2/model "what color is the ring?" picture.jpg
#include <drt.h>

#include <stdio.h>
#include <stdlib.h>

static bool print(void *user, const char *text, size_t size) {
    fwrite(text, 1, size, user);
    fflush(user);
    return true;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: %s MODEL QUESTION [PICTURE]\n", argv[0]);
        return 2;
    }
    drt_error err = {0};
    drt_assistant *a;
    char *answer = NULL;
    drt_ask ask = {.text = argv[2], .image = argc > 3 ? argv[3] : NULL, .on_text = print, .user = stdout};
    drt_status status = drt_assistant_open(&a, argv[1], NULL, &err);
    if (!status) status = drt_assistant_ask(a, &ask, &answer, &err);
    if (status) fprintf(stderr, "%s\n", err.text);
    else putchar('\n');
    free(answer);
    drt_assistant_close(a);
    return status ? 1 : 0;
}
