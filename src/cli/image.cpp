// SPDX-License-Identifier: Apache-2.0
#include "cli/image.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
// clang-format off: jpeglib.h needs stdio.h in front
#include <jerror.h>
#include <jpeglib.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/format.h"
#include "io/file.h"

namespace tanul::cli {

namespace {

constexpr int64_t kMostPixels = int64_t{1} << 26;

void check_size(const std::string& path, int64_t width, int64_t height) {
  if (width > 0 && height > 0 && width <= kMostPixels / height) return;
  fail(Code::format, "{}: a picture of {} x {} pixels; at most {} pixels are read", path, width,
       height, kMostPixels);
}

// --- PNG: libpng's simplified interface, which returns errors instead of jumping ---

Image decode_png(const std::string& path, const std::string& bytes) {
  png_image png;
  std::memset(&png, 0, sizeof png);
  png.version = PNG_IMAGE_VERSION;
  const auto free_png = [](png_image* p) { png_image_free(p); };
  const std::unique_ptr<png_image, decltype(free_png)> guard(&png, free_png);
  if (png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()) == 0) {
    fail(Code::format, "{}: corrupt PNG: {}", path, png.message);
  }
  check_size(path, png.width, png.height);
  const bool is_colour = (png.format & PNG_FORMAT_FLAG_COLOR) != 0;
  const bool has_alpha = (png.format & PNG_FORMAT_FLAG_ALPHA) != 0;
  png.format = is_colour ? (has_alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB)
                         : (has_alpha ? PNG_FORMAT_GA : PNG_FORMAT_GRAY);
  std::vector<uint8_t> raw(PNG_IMAGE_SIZE(png));
  if (png_image_finish_read(&png, nullptr, raw.data(), 0, nullptr) == 0) {
    fail(Code::format, "{}: corrupt PNG: {}", path, png.message);
  }
  Image image;
  image.width = png.width;
  image.height = png.height;
  image.channels = is_colour ? 3 : 1;
  if (!has_alpha) {
    image.pixels = std::move(raw);
    return image;
  }
  const auto channels = static_cast<size_t>(image.channels);
  const size_t count = raw.size() / (channels + 1);
  image.pixels.resize(count * channels);
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* from = raw.data() + i * (channels + 1);
    const int alpha = from[channels];
    for (size_t c = 0; c < channels; ++c) {
      image.pixels[i * channels + c] =
          static_cast<uint8_t>((from[c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
  return image;
}

// --- JPEG: libjpeg reports errors by a call that must not return, hence setjmp. Only decode_jpeg_c
// --- has the jump in its frame, and it holds nothing with a destructor.

struct JpegErrors {
  jpeg_error_mgr base;  // first, so that libjpeg's pointer can be cast
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

struct RawImage {
  unsigned char* pixels = nullptr;  // of malloc
  int64_t width = 0;
  int64_t height = 0;
  int channels = 0;
};

[[noreturn]] void on_jpeg_error(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message);
  longjmp(errors->jump, 1);
}

// libjpeg goes on after damage with a warning and grey areas; here damage is an error. Only stray
// bytes between markers, which cameras write, are let pass.
void on_jpeg_message(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code != JWRN_EXTRANEOUS_DATA) on_jpeg_error(info);
}

bool decode_jpeg_c(const unsigned char* bytes, unsigned long size, RawImage* out, char* message) {
  jpeg_decompress_struct jpeg;
  JpegErrors errors;
  std::memset(&jpeg, 0, sizeof jpeg);
  jpeg.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = on_jpeg_error;
  errors.base.emit_message = on_jpeg_message;
  errors.message[0] = 0;
  if (setjmp(errors.jump) != 0) {
    std::memcpy(message, errors.message, sizeof errors.message);
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, bytes, size);
  jpeg_read_header(&jpeg, TRUE);
  out->width = jpeg.image_width;
  out->height = jpeg.image_height;
  if (out->width > kMostPixels / std::max<int64_t>(out->height, 1)) {
    std::strcpy(message, "too large");
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  jpeg.out_color_space = jpeg.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(&jpeg);
  out->channels = jpeg.output_components;
  const size_t row_bytes = static_cast<size_t>(jpeg.output_width) * jpeg.output_components;
  out->pixels = static_cast<unsigned char*>(std::malloc(row_bytes * jpeg.output_height));
  if (out->pixels == nullptr) {
    std::strcpy(message, "out of memory");
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = out->pixels + row_bytes * jpeg.output_scanline;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return true;
}

Image decode_jpeg(const std::string& path, const std::string& bytes) {
  RawImage raw;
  char message[JMSG_LENGTH_MAX] = "";
  const bool is_good = decode_jpeg_c(reinterpret_cast<const unsigned char*>(bytes.data()),
                                     bytes.size(), &raw, message);
  const std::unique_ptr<unsigned char, decltype(&std::free)> guard(raw.pixels, &std::free);
  if (!is_good) fail(Code::format, "{}: corrupt JPEG: {}", path, message);
  Image image;
  image.width = raw.width;
  image.height = raw.height;
  image.channels = raw.channels;
  image.pixels.assign(raw.pixels, raw.pixels + raw.width * raw.height * raw.channels);
  return image;
}

// --- resampling, one axis at a time ---

// Where one output position reads: weights of inputs from `first` on, adding up to 1.
struct Taps {
  int64_t first = 0;
  std::vector<float> weights;
};

std::vector<Taps> taps_of(int64_t from, int64_t to) {
  std::vector<Taps> all(static_cast<size_t>(to));
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  for (int64_t i = 0; i < to; ++i) {
    Taps& taps = all[static_cast<size_t>(i)];
    if (scale >= 1) {  // the share of each input in the area [low, high)
      const double low = static_cast<double>(i) * scale;
      const double high = std::min(low + scale, static_cast<double>(from));
      taps.first = std::min(static_cast<int64_t>(low), from - 1);
      for (int64_t j = taps.first; j < from && static_cast<double>(j) < high; ++j) {
        const double share =
            std::min(high, static_cast<double>(j + 1)) - std::max(low, static_cast<double>(j));
        taps.weights.push_back(static_cast<float>(std::max(0.0, share) / (high - low)));
      }
    } else {  // between the two nearest centres
      const double centre = (static_cast<double>(i) + 0.5) * scale - 0.5;
      const double inside = std::clamp(centre, 0.0, static_cast<double>(from - 1));
      taps.first = std::min(static_cast<int64_t>(inside), std::max<int64_t>(from - 2, 0));
      const auto share = static_cast<float>(inside - static_cast<double>(taps.first));
      taps.weights = {1 - share};
      if (from > 1) taps.weights.push_back(share);
    }
  }
  return all;
}

// plane [height, width] -> [to_height, to_width]
std::vector<float> resample(const std::vector<float>& plane, int64_t height, int64_t width,
                            int64_t to_height, int64_t to_width) {
  const std::vector<Taps> columns = taps_of(width, to_width);
  const std::vector<Taps> rows = taps_of(height, to_height);
  std::vector<float> narrow(static_cast<size_t>(height * to_width));
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < to_width; ++x) {
      const Taps& taps = columns[static_cast<size_t>(x)];
      float sum = 0;
      for (size_t k = 0; k < taps.weights.size(); ++k) {
        sum += taps.weights[k] * plane[static_cast<size_t>(y * width + taps.first) + k];
      }
      narrow[static_cast<size_t>(y * to_width + x)] = sum;
    }
  }
  std::vector<float> out(static_cast<size_t>(to_height * to_width));
  for (int64_t y = 0; y < to_height; ++y) {
    const Taps& taps = rows[static_cast<size_t>(y)];
    for (int64_t x = 0; x < to_width; ++x) {
      float sum = 0;
      for (size_t k = 0; k < taps.weights.size(); ++k) {
        sum += taps.weights[k] *
               narrow[static_cast<size_t>((taps.first + static_cast<int64_t>(k)) * to_width + x)];
      }
      out[static_cast<size_t>(y * to_width + x)] = sum;
    }
  }
  return out;
}

// One channel of the picture, or its luma where `grey`.
std::vector<float> plane_of(const Image& image, int64_t channel, bool grey) {
  const auto pixels = static_cast<size_t>(image.width * image.height);
  const auto channels = static_cast<size_t>(image.channels);
  std::vector<float> plane(pixels);
  for (size_t i = 0; i < pixels; ++i) {
    const uint8_t* p = image.pixels.data() + i * channels;
    if (channels == 1) {
      plane[i] = p[0];
    } else if (grey) {
      plane[i] = 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
    } else {
      plane[i] = p[channel];
    }
  }
  return plane;
}

}  // namespace

Image read_image(const std::string& path) {
  const std::string bytes = read_file(path);
  if (bytes.compare(0, 8, "\x89PNG\r\n\x1a\n") == 0) return decode_png(path, bytes);
  if (bytes.compare(0, 3, "\xff\xd8\xff") == 0) return decode_jpeg(path, bytes);
  fail(Code::format, "{}: neither a PNG nor a JPEG picture (it begins with neither's mark)", path);
}

void write_png(const std::string& path, const Image& image) {
  png_image png;
  std::memset(&png, 0, sizeof png);
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = image.channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) ==
      0) {
    fail(Code::io, "{}: the picture cannot be made: {}", path, png.message);
  }
  bytes.resize(size);
  write_file_atomic(path, bytes);
}

void image_to_input(const Image& image, const Shape& input, bool invert, uint8_t* out) {
  if (input.rank() != 3 || (input[0] != 1 && input[0] != 3)) {
    fail(Code::invalid_argument,
         "the model's input is {}; pictures go into {{1, H, W}} (grey) or {{3, H, W}} (RGB)",
         input.str());
  }
  for (int64_t c = 0; c < input[0]; ++c) {
    const std::vector<float> plane =
        resample(plane_of(image, c, input[0] == 1), image.height, image.width, input[1], input[2]);
    for (const float value : plane) {
      const auto level = static_cast<uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f));
      *out++ = invert ? static_cast<uint8_t>(255 - level) : level;
    }
  }
}

}  // namespace tanul::cli
