// SPDX-License-Identifier: Apache-2.0
// Losses of a model file.
#include <limits>

#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

void make_softmax_cross_entropy(const LossContext& l) {
  SoftmaxCrossEntropyOptions o;
  const TableReader& r = l.options.table();
  o.label_smoothing = l.options.number("label_smoothing", 0, Range{0, 1});
  std::string weights;
  for (double weight : r.numbers("class_weights", Range{0, std::numeric_limits<float>::max()})) {
    o.class_weights.push_back(static_cast<float>(weight));
    weights += fmt::format("{}{}", weights.empty() ? "" : ", ", o.class_weights.back());
  }
  l.options.append("class_weights", "[" + weights + "]");
  if (r.has("ignore_index")) {
    o.ignore_index = static_cast<int32_t>(l.options.required_integer(
        "ignore_index", std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
  }
  l.builder.softmax_cross_entropy(l.x, o);
}

void make_mean_squared_error(const LossContext& l) { l.builder.mean_squared_error(l.x); }

}  // namespace

std::vector<LossKindInfo> all_losses() {
  return {
      {"softmax_cross_entropy",
       {"label_smoothing", "class_weights", "ignore_index"},
       make_softmax_cross_entropy},
      {"mean_squared_error", {}, make_mean_squared_error},
  };
}

}  // namespace tanul::recipe
