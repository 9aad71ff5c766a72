// SPDX-License-Identifier: Apache-2.0
// tanul data info: what a data set holds, in numbers and as a picture.
#include <algorithm>
#include <cmath>

#include "cli/commands.h"
#include "cli/data_source.h"
#include "cli/image.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "core/format.h"

namespace tanul::cli {

namespace {

constexpr int64_t kColumns = 12;    // samples of a class
constexpr int64_t kMostRows = 50;   // classes in the picture
constexpr int64_t kGap = 2;         // pixels between samples
constexpr int64_t kSmallSide = 48;  // smaller samples are enlarged by a whole factor

// One element of a sample as 0 … 255; f32 samples are stretched from low … high.
uint8_t level(const DataView& view, const void* sample, int64_t i, float low, float high) {
  if (view.sample_dtype() == DType::u8) return static_cast<const uint8_t*>(sample)[i];
  const float value = static_cast<const float*>(sample)[i];
  const float share = high > low ? (value - low) / (high - low) : 0;
  return static_cast<uint8_t>(std::clamp(share * 255 + 0.5f, 0.0f, 255.0f));
}

// A row for each class with its first samples.
Image sample_sheet(const Dataset& data) {
  const DataView& view = data.train();
  const Shape shape = view.sample_shape();
  if (shape.rank() != 3) {
    fail(Code::invalid_argument, "--picture: samples of {} are no pictures {{C, H, W}}",
         shape.str());
  }
  const int64_t rows = std::clamp<int64_t>(data.classes(), 1, kMostRows);
  std::vector<std::vector<int64_t>> picked(static_cast<size_t>(rows));
  for (int64_t i = 0; i < view.size(); ++i) {
    const int64_t row = view.has_labels() ? view.label(i) : 0;
    if (row < 0 || row >= rows) continue;
    auto& list = picked[static_cast<size_t>(row)];
    if (static_cast<int64_t>(list.size()) < kColumns) list.push_back(i);
  }
  float low = 0;
  float high = 0;
  if (view.sample_dtype() == DType::f32) {
    for (const auto& list : picked) {
      for (const int64_t i : list) {
        const auto* values = static_cast<const float*>(view.sample(i));
        const auto [least, most] = std::minmax_element(values, values + shape.elems());
        low = std::min(low, *least);
        high = std::max(high, *most);
      }
    }
  }
  const int64_t h = shape[1];
  const int64_t w = shape[2];
  const int64_t zoom = std::max<int64_t>(1, kSmallSide / std::max(h, w));
  Image sheet;
  sheet.channels = shape[0] == 3 ? 3 : 1;
  sheet.width = kColumns * (w * zoom + kGap) + kGap;
  sheet.height = rows * (h * zoom + kGap) + kGap;
  sheet.pixels.assign(static_cast<size_t>(sheet.width * sheet.height * sheet.channels), 128);
  for (int64_t r = 0; r < rows; ++r) {
    const auto& list = picked[static_cast<size_t>(r)];
    for (int64_t column = 0; column < static_cast<int64_t>(list.size()); ++column) {
      const void* sample = view.sample(list[static_cast<size_t>(column)]);
      const int64_t top = kGap + r * (h * zoom + kGap);
      const int64_t left = kGap + column * (w * zoom + kGap);
      for (int64_t y = 0; y < h * zoom; ++y) {
        for (int64_t x = 0; x < w * zoom; ++x) {
          for (int64_t c = 0; c < sheet.channels; ++c) {
            const int64_t from = (c * h + y / zoom) * w + x / zoom;
            const int64_t to = ((top + y) * sheet.width + left + x) * sheet.channels + c;
            sheet.pixels[static_cast<size_t>(to)] = level(view, sample, from, low, high);
          }
        }
      }
    }
  }
  return sheet;
}

std::string numbers_text(const std::vector<float>& values) {
  std::string text;
  for (const float value : values) text += fmt::format("{}{:.6f}", text.empty() ? "" : " ", value);
  return text;
}

}  // namespace

int run_data_info(const DataInfoArgs& args) {
  const std::string folder = find_data_folder(args.path);
  const Dataset data = load_dataset(folder);
  const DataView::Moments moments = data.train().channel_moments();
  if (!args.picture.empty()) write_png(args.picture, sample_sheet(data));
  if (args.json) {
    say("{}\n", dataset_json(folder, data, moments));
    return 0;
  }
  say("{} · {}\n", data.name, folder);
  say("{} train / {} validation / {} test · {} {} · {} classes\n", with_commas(data.train().size()),
      with_commas(data.validation().size()), with_commas(data.test().size()),
      data.train().sample_shape().str_x(), dtype_name(data.train().sample_dtype()), data.classes());
  say("training part: mean {}, standard deviation {}{}\n", numbers_text(moments.mean),
      numbers_text(moments.deviation),
      data.train().sample_dtype() == DType::u8 ? " (8 bits as 0 … 1)" : "");
  if (data.train().has_labels()) {
    const auto train = data.train().class_counts(data.classes());
    const auto test = data.test().empty() ? std::vector<int64_t>(train.size(), 0)
                                          : data.test().class_counts(data.classes());
    int64_t most = 1;
    size_t widest = 5;
    for (size_t c = 0; c < train.size(); ++c) {
      most = std::max(most, train[c]);
      widest = std::max(widest, data.class_names[c].size());
    }
    say("\n{:<{}}  {:>8}  {:>8}\n", "class", widest, "train", "test");
    constexpr int64_t kBar = 30;
    for (size_t c = 0; c < train.size(); ++c) {
      std::string bar;
      for (int64_t i = 0; i < (train[c] * kBar + most / 2) / most; ++i) bar += "█";
      say("{:<{}}  {:>8}  {:>8}  {}\n", data.class_names[c], widest, with_commas(train[c]),
          with_commas(test[c]), bar);
    }
  }
  if (!args.picture.empty()) {
    say("\n{}: a row for each class\n", args.picture);
  }
  return 0;
}

}  // namespace tanul::cli
