// TensorBoard's event files, written without protobuf: scalars, histograms, pictures, text.
//
//   drt_event_file *f;
//   if (drt_event_file_open(&f, "run/tensorboard", 0, &err)) ...
//   drt_event_scalar(f, "loss/language", 1.25);
//   drt_event_picture(f, "samples/0", 336, 336, png, png_size);
//   if (drt_event_file_put(f, step, &err)) ...                   // one event: everything since the last call
//   drt_event_file_close(f);
//
// The format. A file is TFRecords: u64 length, u32 CRC of the length, the bytes, u32 CRC of the bytes; little-endian,
// CRC-32C, rotated right by 15 and 0xa282ead8 added. A record is a protobuf message Event {1 double wall_time, 2 int64
// step, 3 string file_version | 5 Summary summary | 7 SessionLog session_log}; Summary {1 repeated Value}, Value {1
// tag, 2 float simple_value, 4 Image, 5 HistogramProto, 8 TensorProto, 9 SummaryMetadata}. The first one says
// file_version "brain.Event:2". Names and numbers of fields:
// tensorboard/compat/proto/{event,summary,histogram,tensor}.proto.
#ifndef DRT_FORMAT_EVENT_FILE_H
#define DRT_FORMAT_EVENT_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct drt_event_file drt_event_file;

// A new file FOLDER/events.out.tfevents.TIME.HOST.PID.N (the folder is made). first: the step that comes next if this
// goes on with a run; TensorBoard then forgets what older files of the folder tell from that step on. 0: a new run.
drt_status drt_event_file_open(drt_event_file **out, const char *folder, int64_t first, drt_error *err);
void drt_event_file_close(drt_event_file *f); // NULL is allowed; what was not put is lost

void drt_event_scalar(drt_event_file *f, const char *tag, double value);
// Of n values, in up to 30 buckets of equal width; values that are not finite are left out.
void drt_event_histogram(drt_event_file *f, const char *tag, const double *values, int64_t n);
void drt_event_picture(drt_event_file *f, const char *tag, int width, int height, const void *png, size_t size);
void drt_event_text(drt_event_file *f, const char *tag, const char *markdown);
// Writes what was given since the last call as one event of `step`; nothing, nothing. After a failure (DRT_EIO,
// DRT_ENOMEM: reported once) the file takes nothing more: what is in it stays readable.
drt_status drt_event_file_put(drt_event_file *f, int64_t step, drt_error *err);

// CRC-32C (Castagnoli), as in TFRecords before it is masked.
uint32_t drt_crc32c(const void *bytes, size_t n);

#endif
