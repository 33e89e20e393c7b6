// WebP by libwebp, lossy and lossless; stills only.
#include "format/image_internal.h"

#include <webp/decode.h>

static drt_status refuse(VP8StatusCode code, size_t size, drt_error *err) {
    if (code == VP8_STATUS_NOT_ENOUGH_DATA)
        return drt_fail(err, DRT_EFORMAT, "byte %zu: the file is cut off here; copy it again", size);
    if (code == VP8_STATUS_OUT_OF_MEMORY) return drt_fail(err, DRT_ENOMEM, "no memory for the decoder");
    return drt_fail(err, DRT_EFORMAT, "damaged data (libwebp's status %d); copy the file again", (int)code);
}

drt_status drt_image_decode_webp(drt_image *image, const unsigned char *bytes, size_t size, int64_t most_pixels,
                                 drt_image_health *health, drt_error *err) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) return drt_fail(err, DRT_EFORMAT, "libwebp is older than its header");
    VP8StatusCode code = WebPGetFeatures(bytes, size, &config.input);
    health->cut_off = code == VP8_STATUS_NOT_ENOUGH_DATA;
    if (code != VP8_STATUS_OK) return refuse(code, size, err);
    if (config.input.has_animation)
        return drt_fail(err, DRT_EFORMAT, "an animation; only stills are read: extract a frame");
    int width = config.input.width, height = config.input.height;
    drt_status status = drt_image_check_size(width, height, most_pixels, err);
    if (!status) status = drt_image_new(image, width, height, err);
    if (status) return status;
    config.output.colorspace = MODE_RGB; // alpha is dropped, not blended
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image->rgb;
    config.output.u.RGBA.stride = 3 * width;
    config.output.u.RGBA.size = 3 * (size_t)width * (size_t)height;
    code = WebPDecode(bytes, size, &config);
    WebPFreeDecBuffer(&config.output);
    health->cut_off = code == VP8_STATUS_NOT_ENOUGH_DATA;
    return code == VP8_STATUS_OK ? DRT_OK : refuse(code, size, err);
}
