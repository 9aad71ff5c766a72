// SPDX-License-Identifier: Apache-2.0
// Pictures of the command line tool: PNG (libpng) and JPEG (libjpeg-turbo) into arrays and back, and
// onto the size and channels that a model wants.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tanul/tensor.h"

namespace tanul::cli {

// 8 bits a channel, rows from the top, channels interleaved: 1 (grey) or 3 (RGB).
struct Image {
  int64_t width = 0;
  int64_t height = 0;
  int64_t channels = 1;
  std::vector<uint8_t> pixels;  // [height, width, channels]
};

// Reads a PNG or JPEG file, told apart by content. Transparent pixels lie on white. Throws
// Error{not_found, io} and Error{format}: neither of both, corrupt, truncated, too large.
Image read_image(const std::string& path);

// Writes a PNG file, replacing it as a whole. Throws Error{io}.
void write_png(const std::string& path, const Image& image);

// The picture stretched to the model's input {C, H, W}: averaged over areas where it shrinks,
// bilinear where it grows. RGB becomes grey as 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); grey
// becomes RGB by repetition. `invert`: 255 - value. Writes C H W bytes.
// Throws Error{invalid_argument} for an input that is no picture.
void image_to_input(const Image& image, const Shape& input, bool invert, uint8_t* out);

}  // namespace tanul::cli
