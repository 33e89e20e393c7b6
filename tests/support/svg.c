#include "support/svg.h"

#include "support/check.h"

#include <stdio.h>

void check_svg(const drt_text *svg) {
    char open[64][16];
    int depth = 0;
    assert_false(svg->failed);
    assert_null(strstr(svg->bytes, "nan"));
    assert_null(strstr(svg->bytes, "inf"));
    for (const char *p = svg->bytes; (p = strchr(p, '<')); p++) {
        const char *end = strchr(p, '>');
        char name[16] = {0};
        assert_non_null(end);
        sscanf(p + 1 + (p[1] == '/'), "%15[a-z]", name);
        if (p[1] == '/') {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        } else if (end[-1] != '/') {
            assert_true(depth < 64);
            strcpy(open[depth++], name);
        }
    }
    assert_int_equal(depth, 0);
}
