// SPDX-License-Identifier: Apache-2.0
#include "core/philox.h"
#include "kernels/gather/gather.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

constexpr uint64_t kSeed = 77;

In order_of(int64_t count) {
  return {{count}, {Fill::labels, static_cast<double>(count), {}}, DType::i32, true};
}

Fill values_of(DType dtype) {
  if (dtype == DType::u8) return {Fill::labels, 256, {}};
  if (dtype == DType::i32) return {Fill::integers, 1e6, {}};
  return {};
}

// Rows as they are. The harness begins a batch at place 2 of the order.
OpCase plain(const std::string& why, const Shape& rows, DType dtype, int64_t batch) {
  return {"rows " + why,
          OpKind::gather_rows,
          Params::of(GatherParams{batch, 0, 0, 0, 0, 0}),
          {{rows, values_of(dtype), dtype, true}, order_of(rows[0])},
          {},
          {},
          1,
          false};
}

// Images of height x width pixels.
OpCase moved(const std::string& why, const Shape& rows, DType dtype, int64_t batch, int64_t height,
             int64_t width, int64_t crop, bool may_flip) {
  OpCase result = plain(why, rows, dtype, batch);
  result.params = Params::of(GatherParams{batch, height, width, crop, kSeed, may_flip ? 1 : 0});
  return result;
}

}  // namespace

std::vector<OpCase> gather_cases() {
  const DType u8 = DType::u8, f32 = DType::f32, i32 = DType::i32;
  return {
      plain("of whole words of bytes", {9, 1, 6, 6}, u8, 5),
      plain("of an odd number of bytes", {9, 3, 3, 5}, u8, 5),
      plain("of one byte", {12, 1}, u8, 10),
      plain("of floats", {8, 3, 5, 7}, f32, 4),
      plain("of class labels", {40}, i32, 32),
      plain("of label maps", {7, 6, 5}, i32, 3),
      plain("of values as targets", {11, 13}, f32, 6),
      plain("of one sample", {3, 4}, f32, 1),
      plain("of volumes", {5, 2, 3, 4, 5}, u8, 3),
      plain("longer than a block's part", {5, 70, 71}, u8, 3),
      plain("of many samples: several tiles", {3000, 8}, f32, 2998),
      moved("of grey images, shifted and mirrored", {40, 1, 9, 8}, u8, 30, 9, 8, 3, true),
      moved("of colour images of odd extents", {40, 3, 5, 7}, u8, 30, 5, 7, 2, true),
      moved("of float images", {40, 3, 6, 5}, f32, 30, 6, 5, 4, true),
      moved("shifted only", {40, 2, 6, 6}, u8, 30, 6, 6, 5, false),
      moved("mirrored only", {40, 2, 6, 19}, u8, 30, 6, 19, 0, true),
      moved("of images as flat vectors", {40, 48}, u8, 30, 4, 6, 1, true),
      moved("of images longer than a block's part", {6, 3, 33, 34}, u8, 4, 33, 34, 4, true),
      moved("of one pixel a row", {20, 2, 3, 1}, f32, 12, 3, 1, 0, true),
  };
}

std::vector<RejectCase> gather_rejections() {
  const OpKind kind = OpKind::gather_rows;
  const auto with = [](int64_t batch, int64_t height = 0, int64_t width = 0, int64_t crop = 0) {
    return Params::of(GatherParams{batch, height, width, crop, 1, 0});
  };
  const In rows{{8, 3, 4, 5}, values_of(DType::u8), DType::u8, true};
  return {
      {"gather_rows \"layer\": rows are u8, i32 or f32, got f64",
       kind,
       with(2),
       {{{8, 3}, {}, DType::f64, true}, order_of(8)}},
      {"gather_rows \"layer\": rows have 1 to 6 axes [S, ...], got [8, 1, 1, 1, 1, 1, 2]",
       kind,
       with(2),
       {{{8, 1, 1, 1, 1, 1, 2}, {}}, order_of(8)}},
      {"gather_rows \"layer\": order is i32 [8], one place for each of the rows [8, 3, 4, 5], got "
       "i32 [7]",
       kind,
       with(2),
       {rows, order_of(7)}},
      {"gather_rows \"layer\": a batch has 1 to 8 of the rows [8, 3, 4, 5], got 9",
       kind,
       with(9),
       {rows, order_of(8)}},
      {"gather_rows \"layer\": images are u8 or f32, got i32",
       kind,
       with(2, 4, 5),
       {{{8, 3, 4, 5}, {}, DType::i32, true}, order_of(8)}},
      {"gather_rows \"layer\": rows [8, 3, 4, 5] are no images of 4x7 pixels",
       kind,
       with(2, 4, 7),
       {rows, order_of(8)}},
      {"gather_rows \"layer\": a shift of up to 4 is at least 0 and below the extents of images "
       "4x5",
       kind,
       with(2, 4, 5, 4),
       {rows, order_of(8)}},
  };
}

namespace {

// Written from the text of the headers: a padded image of which a window is taken.
Tensors gather_rows(const Params& params, const Tensors& in, const RefContext& context) {
  const GatherParams& p = params.as<GatherParams>();
  Shape shape = in[0].shape;
  shape[0] = p.batch;
  RefTensor y(shape, in[0].dtype);
  const int64_t elems = shape.elems() / p.batch;
  const Philox random{p.seed, philox_stream("augment"), context.epoch};
  for (int64_t n = 0; n < p.batch; ++n) {
    const auto row = static_cast<int64_t>(in[1][context.first + n]);
    if (p.height == 0) {
      for (int64_t i = 0; i < elems; ++i) y[n * elems + i] = in[0][row * elems + i];
      continue;
    }
    const PhiloxBlock words = random.block(static_cast<uint64_t>(row));
    const double places = static_cast<double>(2 * p.crop + 1);
    const auto down = static_cast<int64_t>(words[0] * places * 0x1p-32) - p.crop;
    const auto right = static_cast<int64_t>(words[1] * places * 0x1p-32) - p.crop;
    const bool is_mirrored = p.may_flip != 0 && words[2] >= 0x80000000u;
    for (int64_t c = 0; c < elems / (p.height * p.width); ++c) {
      for (int64_t h = 0; h < p.height; ++h) {
        for (int64_t w = 0; w < p.width; ++w) {
          const int64_t from_h = h + down;
          const int64_t from_w = (is_mirrored ? p.width - 1 - w : w) + right;
          const bool is_seen = from_h >= 0 && from_h < p.height && from_w >= 0 && from_w < p.width;
          y[n * elems + (c * p.height + h) * p.width + w] =
              is_seen ? in[0][row * elems + (c * p.height + from_h) * p.width + from_w] : 0;
        }
      }
    }
  }
  return {y};
}

}  // namespace

std::vector<Rule> gather_rules() { return {{OpKind::gather_rows, gather_rows}}; }

}  // namespace tanul::test
