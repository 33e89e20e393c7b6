// drt: a thin face on libdrt. One file per command; this one finds the command.
#include <stdio.h>

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    fputs("drt " DRT_VERSION "\n", stdout);
    return 0;
}
