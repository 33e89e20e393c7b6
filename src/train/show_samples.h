// What a model in training answers to the first samples of a dataset, for TensorBoard: the picture as the model sees
// it, what was asked, what was expected, and the answer (greedy, up to 64 tokens).
//
//   drt_show_samples(&training, dataset, 4, step, first, events);
#ifndef DRT_TRAIN_SHOW_SAMPLES_H
#define DRT_TRAIN_SHOW_SAMPLES_H

#include "format/event_file.h"
#include "train/training.h"

// Adds "samples/I" (picture, where `pictures`) and "samples/I/answer" (text) of the first n samples; of several answers
// in a conversation the first. What goes wrong with one stands in the place of its answer. A model without a decoder
// answers nothing: then nothing is added. Starts a step of the training's tape.
void drt_show_samples(const drt_training *t, const drt_dataset *d, int n, int64_t step, bool pictures,
                      drt_event_file *events);

#endif
