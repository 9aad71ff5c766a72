// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/input_load/input_load.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

const Fill kBytes{Fill::labels, 256, {}};

// u8 samples where `bytes`, otherwise normal f32.
OpCase make(const std::string& why, const Shape& samples, bool bytes, const Fill& mean,
            const Fill& deviation) {
  const Shape channels{samples.rank() == 2 ? 1 : samples[1]};
  const In x = bytes ? In{samples, kBytes, DType::u8, true} : In{samples, {}};
  return {"input " + why,
          OpKind::input_load,
          {},
          {x, {channels, mean}, {channels, deviation}},
          {},
          {},
          1,
          false};
}

}  // namespace

std::vector<OpCase> input_load_cases() {
  const Fill one = list({1}), zero = list({0});
  const Fill means{Fill::positive, 0.5, {}}, deviations{Fill::positive, 0.3, {}};
  std::vector<double> every_byte;
  for (int i = 0; i < 256; ++i) every_byte.push_back(i);
  std::vector<OpCase> cases = {
      make("of grey images: MNIST", {5, 1, 28, 28}, true, list({0.1307}), list({0.3081})),
      make("of colour images", {3, 3, 9, 11}, true, means, deviations),
      make("of bytes, not normalised", {4, 2, 3, 3}, true, zero, one),
      make("of floats, not normalised: equal bits but for rounding", {4, 2, 3, 3}, false, zero,
           one),
      make("of float images", {3, 3, 9, 11}, false, means, deviations),
      make("of byte features", {7, 13}, true, list({0.5}), list({0.25})),
      make("of float features", {7, 13}, false, list({0.5}), list({0.25})),
      make("of signals", {3, 4, 50}, false, means, deviations),
      make("of volumes", {2, 3, 4, 5, 6}, true, means, deviations),
      make("of one element", {1, 1}, true, list({0.2}), list({0.7})),
      make("of several tiles", {90, 3, 15, 15}, true, means, deviations),
      make("of planes above a tile", {2, 2, 131, 129}, true, means, deviations),
      make("of many features: rows above a tile", {2, 20000}, true, list({0.4}), list({0.3})),
      make("of a small deviation", {2, 2, 6, 6}, true, means, list({1e-3})),
  };
  cases.push_back(make("of every byte", {1, 256}, true, list({0.3}), list({0.2})));
  cases.back().in[0].fill = list(every_byte);
  return cases;
}

std::vector<RejectCase> input_load_rejections() {
  const OpKind kind = OpKind::input_load;
  const In images{{4, 3, 8, 8}, kBytes, DType::u8, true};
  const In three{{3}, {}}, one{{1}, {}};
  return {
      {"input_load \"layer\": samples are u8 or f32, got i32",
       kind,
       {},
       {{{4, 3, 8, 8}, {}, DType::i32}, three, three}},
      {"input_load \"layer\": samples have 2 to 6 axes [N, C, ...] or [N, F], got [4]",
       kind,
       {},
       {{{4}, {}}, one, one}},
      {"input_load \"layer\": mean is f32 [3], one number per channel of the samples [4, 3, 8, 8], "
       "got f32 [1]",
       kind,
       {},
       {images, one, three}},
      {"input_load \"layer\": deviation is f32 [3], one number per channel of the samples "
       "[4, 3, 8, 8], got i32 [3]",
       kind,
       {},
       {images, three, {{3}, {}, DType::i32}}},
      {"input_load \"layer\": mean is f32 [1], one number per channel of the samples [4, 3], got "
       "f32 "
       "[3]",
       kind,
       {},
       {{{4, 3}, {}}, three, three}},
  };
}

namespace {

Tensors input_load(const Params&, const Tensors& in, const RefContext&) {
  const RefTensor& samples = in[0];
  RefTensor x(samples.shape);
  const int64_t channels = samples.shape.rank() == 2 ? 1 : samples.shape[1];
  const int64_t plane = samples.shape.elems_from(samples.shape.rank() == 2 ? 1 : 2);
  for (int64_t i = 0; i < x.elems(); ++i) {
    const int64_t c = i / plane % channels;
    const double value = samples.dtype == DType::u8 ? samples[i] / 255 : samples[i];
    x[i] = (value - in[1][c]) / in[2][c];
  }
  return {x};
}

Bounds input_load_bounds(const BoundArgs& args) {
  const Tensors& in = args.in;
  // v scale + shift: two rounded factors, a product and a sum: 4 u (|v scale| + |shift|).
  const RefTensor& samples = in[0];
  const bool is_flat = samples.shape.rank() == 2;
  const int64_t plane = samples.shape.elems_from(is_flat ? 1 : 2);
  std::vector<double> bound;
  for (int64_t i = 0; i < samples.elems(); ++i) {
    const int64_t c = is_flat ? 0 : i / plane % samples.shape[1];
    const double value = samples.dtype == DType::u8 ? samples[i] / 255 : std::abs(samples[i]);
    bound.push_back(4 * kU * (value + std::abs(in[1][c])) / std::abs(in[2][c]) + kSmallest);
  }
  return {bound};
}

}  // namespace

std::vector<Rule> input_load_rules() {
  return {{OpKind::input_load, input_load, input_load_bounds}};
}

}  // namespace tanul::test
