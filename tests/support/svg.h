// What every drawing must be.
#ifndef DRT_TESTS_SVG_H
#define DRT_TESTS_SVG_H

#include "base/text.h"

// Fails the test unless every element is closed in order and no number went wrong.
void check_svg(const drt_text *svg);

#endif
