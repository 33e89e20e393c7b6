// Shards of WebDataset: tar files in which the entries of one sample stand together and have names that agree up to the
// first dot behind the last slash, the sample's key:
//   a/0001.json              LLaVA's schema; "image" is not needed and its names do not count
//   a/0001.txt, .caption     or a caption alone
//   a/0001.jpg, .0.png ...   its pictures (jpg, jpeg, png, webp), in the order of the shard
// Other entries, folders, and names that begin with a dot are passed over. Read through libarchive (ustar, pax, GNU);
// shards must not be compressed, so that a sample can be read from the middle.
#ifndef DRT_DATA_TAR_H
#define DRT_DATA_TAR_H

#include "data/index.h"

// Adds the facts of a shard's samples to x; pictures are stepped over. DRT_EFORMAT: damaged, or it ends too early.
drt_status drt_tar_index(drt_index *x, int file, drt_error *err);
// Sample i, as drt_index_record; pictures that are not asked for are stepped over.
drt_status drt_tar_record(const drt_index *x, int32_t i, int picture, drt_record **out, char name[DRT_RECORD_NAME],
                          drt_error *err);

#endif
