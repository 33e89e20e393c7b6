// clang -fsanitize=fuzzer,address,undefined: any bytes are a picture or a refusal with a message, and what was decoded
// can be prepared. Seeds: tests/golden/images. Link with zlib besides the library's own needs.
#include "format/image_internal.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t room); // libFuzzer's own

// A changed byte spoils a PNG chunk's checksum, and libpng would look no further: mend the checksums (of three
// quarters of the inputs).
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed) {
    size = LLVMFuzzerMutate(bytes, size, room);
    if (size < 8 || memcmp(bytes, "\x89PNG", 4) || seed % 4 == 0) return size;
    for (size_t at = 8, length; at + 12 <= size; at += 12 + length) {
        const uint8_t *c = bytes + at;
        length = (size_t)c[0] << 24 | (size_t)c[1] << 16 | (size_t)c[2] << 8 | c[3];
        if (length > size - at - 12) break;
        uint32_t sum = (uint32_t)crc32(0, c + 4, (uInt)length + 4);
        for (int i = 0; i < 4; i++) bytes[at + 8 + length + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    drt_error err = {0};
    drt_image image, out;
    // Few pixels, so that the hours go into the parsers and not into large empty pictures.
    drt_image_health health;
    if (drt_image_decode_at_most(&image, bytes, size, "fuzz", 1 << 15, &health, &err)) {
        if (!err.text[0] || image.rgb) abort();
        return 0;
    }
    if (image.width < 1 || image.height < 1) abort();
    drt_preprocess how = drt_preprocess_clip;
    how.size = 14;
    // Not of long strips: one of 1 x 16384 pixels would be padded to 800 MB.
    how.aspect = size % 2 && image.width <= 1024 && image.height <= 1024 ? DRT_ASPECT_PAD : DRT_ASPECT_SQUARE;
    if (!drt_image_prepare(&image, &how, &out, &err)) {
        float rows[14 * 14 * 3];
        drt_image_patches(&out, &how, 14, rows);
        for (int i = 0; i < 14 * 14 * 3; i++)
            if (!(rows[i] > -3 && rows[i] < 3)) abort();
        drt_image_free(&out);
    } else if (!err.text[0] || out.rgb) {
        abort();
    }
    drt_image_free(&image);
    return 0;
}
