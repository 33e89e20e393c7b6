// JSON as other people's programs write it.
#ifndef DRT_FORMAT_JSON_H
#define DRT_FORMAT_JSON_H

#include <jansson.h>

// json_loadb, except that whole numbers of more than 18 digits become reals: beyond 64 bits it would refuse them, and
// transformers writes "no limit" as "model_max_length": 1000000000000000019884624838656.
json_t *drt_json_load(const char *text, size_t size, size_t flags, json_error_t *why);

#endif
