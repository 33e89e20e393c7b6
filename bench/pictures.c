// Times `drt data check` on pictures against libjpeg-turbo that decodes the same files and does nothing else, on as
// many threads, the two in turn. One JSON line: pictures, mb, megapixels, threads, check_ms and decode_ms (medians),
// check_mb_per_s, ratio (of decoding to checking, in one round: 1 and above is as fast), ratio_from, ratio_to. Usage:
// build/bench/pictures [-t threads] [-n rounds] [-c: processor time] [FOLDER of *.jpg, in which nothing is written but
// data.jsonl]. Without a folder: 128 pictures of 640 x 480 are made.
#include "common/timing.h"

#include "base/file.h"
#include "base/rng.h"
#include "data/check.h"
#include "format/image.h"

#include <dirent.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// libjpeg's header needs stdio.h before it.
#include <jpeglib.h>

enum { OWN = 128, WIDTH = 640, HEIGHT = 480, QUALITY = 88, MOST_ROUNDS = 99 };

typedef struct {
    char *folder, *data; // data: JSON lines that name them
    char **path;         // [n]
    int n;
    double bytes, pixels;
} pictures;

static void must(drt_status status, const drt_error *err) {
    if (!status) return;
    fprintf(stderr, "bench: %s\n", err->text);
    exit(1);
}

// Waves of all lengths and some noise: as many coefficients as a photograph has.
static void make(const char *path, uint64_t seed) {
    enum { WAVES = 8 };
    drt_error err = {0};
    drt_image m;
    drt_rng r;
    unsigned char *bytes;
    size_t size;
    float along[WAVES], across[WAVES], high[WAVES][3], *row = bench_memory(3 * WIDTH * sizeof *row);
    must(drt_image_new(&m, WIDTH, HEIGHT, &err), &err);
    drt_rng_init(&r, seed, 0);
    for (int w = 0; w < WAVES; w++) {
        double length = 8 * pow(60, drt_rng_uniform(&r)), turn = 6.2832 * drt_rng_uniform(&r);
        along[w] = (float)(6.2832 / length * cos(turn)), across[w] = (float)(6.2832 / length * sin(turn));
        for (int c = 0; c < 3; c++) high[w][c] = (float)(12 + length / 12) * (float)drt_rng_uniform(&r);
    }
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < 3 * WIDTH; x++) row[x] = 120 + 24 * (float)drt_rng_uniform(&r);
        for (int w = 0; w < WAVES; w++)
            for (int x = 0; x < WIDTH; x++) {
                float v = sinf(along[w] * (float)x + across[w] * (float)y);
                for (int c = 0; c < 3; c++) row[3 * x + c] += high[w][c] * v;
            }
        for (int x = 0; x < 3 * WIDTH; x++)
            m.rgb[3 * WIDTH * y + x] = (uint8_t)(row[x] < 0 ? 0 : row[x] > 255 ? 255 : row[x]);
    }
    must(drt_image_encode_jpeg(&m, QUALITY, &bytes, &size, &err), &err);
    must(drt_file_write(path, bytes, size, &err), &err);
    drt_image_free(&m);
    free(bytes), free(row);
}

static char *make_all(void) {
    char name[60], *path;
    drt_error err = {0};
    snprintf(name, sizeof name, "build/bench/pictures-%ld", (long)getpid());
    must(drt_make_folders(name, &err), &err);
    for (int i = 0; i < OWN; i++) {
        char file[20];
        snprintf(file, sizeof file, "%03d.jpg", i);
        path = drt_path_join(name, file);
        make(path, (uint64_t)i);
        free(path);
    }
    return strdup(name);
}

static void list(pictures *p) {
    drt_error err = {0};
    drt_text lines = {0};
    DIR *d = opendir(p->folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".jpg")) continue;
        char **more = realloc(p->path, ((size_t)p->n + 1) * sizeof *more);
        if (!more) exit(1);
        p->path = more;
        p->path[p->n++] = drt_path_join(p->folder, e->d_name);
        drt_text_puts(&lines, "{\"image\": ");
        drt_text_json(&lines, e->d_name);
        drt_text_puts(&lines,
                      ", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\"}, {\"from\": \"gpt\", "
                      "\"value\": \"x\"}]}\n");
    }
    if (d) closedir(d);
    p->data = drt_path_join(p->folder, "data.jsonl");
    must(!p->n ? drt_fail(&err, DRT_EARG, "%s: no *.jpg there", p->folder)
               : drt_file_write(p->data, lines.bytes, lines.size, &err),
         &err);
    drt_text_free(&lines);
}

static void check(pictures *p) {
    drt_error err = {0};
    drt_data_check c;
    must(drt_data_check_run(&c, p->data, &(drt_data_check_options){0}, &err), &err);
    if (c.failed || c.pictures != p->n)
        must(drt_fail(&err, DRT_EDATA, "%lld pictures failed", (long long)c.failed), &err);
    p->bytes = (double)c.bytes, p->pixels = (double)c.pixels;
    drt_data_check_free(&c);
}

// As drt does it, to the same pixels; a fault ends the program, which is what libjpeg's own handler does.
static void decode(const char *path) {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    char *bytes;
    size_t size;
    drt_error err = {0};
    must(drt_file_read(&bytes, &size, path, 0, &err), &err);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, (unsigned char *)bytes, size);
    jpeg_read_header(&jpeg, TRUE);
    jpeg.out_color_space = JCS_RGB;
    jpeg_start_decompress(&jpeg);
    unsigned char *rgb = malloc((size_t)jpeg.output_height * jpeg.output_width * 3);
    while (rgb && jpeg.output_scanline < jpeg.output_height) {
        JSAMPROW row = rgb + (size_t)jpeg.output_scanline * jpeg.output_width * 3;
        jpeg_read_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_decompress(&jpeg);
    jpeg_destroy_decompress(&jpeg);
    free(rgb), free(bytes);
}

static void decode_all(const pictures *p) {
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < p->n; i++) decode(p->path[i]);
}

int main(int argc, char **argv) {
    int threads = omp_get_max_threads(), rounds = 7;
    bool cpu = false;
    double time[2][MOST_ROUNDS], ratio[MOST_ROUNDS];
    for (int o; (o = getopt(argc, argv, "t:n:c")) != -1;) {
        if (o == 't') threads = atoi(optarg);
        else if (o == 'n') rounds = atoi(optarg);
        else if (o == 'c') cpu = true;
        else return 2;
    }
    if (threads < 1 || rounds < 1 || rounds > MOST_ROUNDS) return 2;
    bool own = optind >= argc;
    pictures p = {.folder = own ? make_all() : strdup(argv[optind])};
    list(&p);
    omp_set_num_threads(threads);
    for (int i = -1; i < rounds; i++) { // the first fills the system's cache
        double start = bench_now(cpu);
        check(&p);
        double between = bench_now(cpu);
        decode_all(&p);
        double end = bench_now(cpu);
        if (i < 0) continue;
        time[0][i] = between - start, time[1][i] = end - between;
        ratio[i] = time[1][i] / time[0][i];
    }
    double checked = bench_summary(time[0], rounds).median, decoded = bench_summary(time[1], rounds).median;
    double middle = bench_summary(ratio, rounds).median; // sorts
    printf("{\"op\": \"check pictures\", \"pictures\": %d, \"mb\": %.1f, \"megapixels\": %.1f, \"threads\": %d, "
           "\"clock\": \"%s\", \"check_ms\": %.1f, \"decode_ms\": %.1f, \"check_mb_per_s\": %.1f, \"ratio\": %.3f, "
           "\"ratio_from\": %.3f, \"ratio_to\": %.3f}\n",
           p.n, 1e-6 * p.bytes, 1e-6 * p.pixels, threads, cpu ? "processor" : "wall", 1e3 * checked, 1e3 * decoded,
           1e-6 * p.bytes / checked, middle, ratio[0], ratio[rounds - 1]);
    if (own) drt_remove_tree(p.folder, NULL);
    for (int i = 0; i < p.n; i++) free(p.path[i]);
    free(p.path), free(p.folder), free(p.data);
    return 0;
}
