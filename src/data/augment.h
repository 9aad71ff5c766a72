// SPDX-License-Identifier: Apache-2.0
// Augmented images on their way into a batch. Allocates nothing; knows nothing of models or devices.
#pragma once

#include <cstdint>

#include "tanul/augment.h"
#include "tanul/data.h"

namespace tanul {

// Throws Error{invalid_argument} unless `augmentation` is off or fits samples of this shape; `where` begins
// the message.
void check_augmentation(const Augmentation& augmentation, const Shape& sample, const char* where);
// … and what moves with the samples does not have to be moved too: there is one input, and no target is a
// map.
void check_augmentation(const Augmentation& augmentation, const DataView& data, const char* where);

// DataView::gather_input(0, …) with each sample augmented; the samples are [C, H, W].
void gather_augmented(const DataView& data, const int64_t* positions, int64_t count,
                      const Augmentation& augmentation, uint64_t seed, uint32_t epoch, void* to);

}  // namespace tanul
