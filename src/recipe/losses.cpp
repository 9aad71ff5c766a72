// SPDX-License-Identifier: Apache-2.0
// Losses of a model file.
#include <limits>

#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

constexpr double kMost = std::numeric_limits<float>::max();

// One number for each class; empty where the key is left out.
std::vector<float> read_weights(const LossContext& l, const char* key) {
  std::vector<float> weights;
  std::string text;
  for (double weight : l.options.table().numbers(key, Range{0, kMost})) {
    weights.push_back(static_cast<float>(weight));
    text += fmt::format("{}{}", text.empty() ? "" : ", ", weights.back());
  }
  l.options.append(key, "[" + text + "]");
  return weights;
}

std::optional<int32_t> read_ignore_index(const LossContext& l) {
  if (!l.options.table().has("ignore_index")) return {};
  return static_cast<int32_t>(l.options.required_integer(
      "ignore_index", std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
}

Reduction read_reduction(const LossContext& l, Reduction otherwise = Reduction::mean) {
  std::vector<std::string> names{"mean", "sum", "none", "batch_mean"};
  std::swap(names[0], names[static_cast<size_t>(otherwise)]);  // the first is the default
  const std::string name = l.options.choice("reduction", names);
  if (name == "sum") return Reduction::sum;
  if (name == "none") return Reduction::none;
  return name == "mean" ? Reduction::mean : Reduction::batch_mean;
}

void make_softmax_cross_entropy(const LossContext& l) {
  SoftmaxCrossEntropyOptions o;
  o.label_smoothing = l.options.number("label_smoothing", 0, Range{0, 1});
  o.class_weights = read_weights(l, "class_weights");
  o.ignore_index = read_ignore_index(l);
  o.reduction = read_reduction(l);
  l.builder.softmax_cross_entropy(l.x, o);
}

void make_negative_log_likelihood(const LossContext& l) {
  NegativeLogLikelihoodOptions o;
  o.class_weights = read_weights(l, "class_weights");
  o.ignore_index = read_ignore_index(l);
  o.reduction = read_reduction(l);
  l.builder.negative_log_likelihood(l.x, o);
}

void make_multi_margin(const LossContext& l) {
  MultiMarginOptions o;
  o.p = static_cast<int>(l.options.integer("p", o.p, 1, 2));
  o.margin = l.options.number("margin", o.margin, Range{-kMost, kMost});
  o.class_weights = read_weights(l, "class_weights");
  o.reduction = read_reduction(l);
  l.builder.multi_margin(l.x, o);
}

void make_binary_cross_entropy(const LossContext& l) {
  BinaryCrossEntropyOptions o;
  o.from_probabilities = l.options.boolean("from_probabilities", o.from_probabilities);
  o.class_weights = read_weights(l, "class_weights");
  o.positive_weights = read_weights(l, "positive_weights");
  o.reduction = read_reduction(l);
  l.builder.binary_cross_entropy(l.x, o);
}

void make_focal(const LossContext& l) {
  FocalOptions o;
  const TomlNode* alpha = l.options.table().find("alpha");
  if (alpha != nullptr && alpha->kind == TomlNode::Kind::string && alpha->text == "none") {
    o.alpha.reset();
    l.options.append("alpha", quoted("none"));
  } else {
    o.alpha = l.options.number("alpha", *o.alpha, Range{0, 1});
  }
  o.gamma = l.options.number("gamma", o.gamma, Range{0, kMost});
  o.reduction = read_reduction(l);
  l.builder.focal(l.x, o);
}

void make_hinge(const LossContext& l) {
  HingeOptions o;
  o.squared = l.options.boolean("squared", o.squared);
  o.reduction = read_reduction(l);
  l.builder.hinge(l.x, o);
}

void make_mean_squared_error(const LossContext& l) {
  LossOptions o;
  o.reduction = read_reduction(l);
  l.builder.mean_squared_error(l.x, o);
}

void make_mean_absolute_error(const LossContext& l) {
  LossOptions o;
  o.reduction = read_reduction(l);
  l.builder.mean_absolute_error(l.x, o);
}

void make_smooth_l1(const LossContext& l) {
  SmoothL1Options o;
  o.beta = l.options.number("beta", o.beta, Range{0, kMost});
  o.reduction = read_reduction(l);
  l.builder.smooth_l1(l.x, o);
}

void make_huber(const LossContext& l) {
  HuberOptions o;
  o.delta = l.options.number("delta", o.delta, Range{0, kMost, true});
  o.reduction = read_reduction(l);
  l.builder.huber(l.x, o);
}

void make_kl_divergence(const LossContext& l) {
  KlDivergenceOptions o;
  o.log_target = l.options.boolean("log_target", o.log_target);
  o.reduction = read_reduction(l, o.reduction);
  l.builder.kl_divergence(l.x, o);
}

void make_poisson_nll(const LossContext& l) {
  PoissonNllOptions o;
  o.log_input = l.options.boolean("log_input", o.log_input);
  o.full = l.options.boolean("full", o.full);
  o.eps = l.options.number("eps", o.eps, Range{0, kMost});
  o.reduction = read_reduction(l);
  l.builder.poisson_nll(l.x, o);
}

}  // namespace

std::vector<LossKindInfo> all_losses() {
  return {
      {"softmax_cross_entropy",
       {"label_smoothing", "class_weights", "ignore_index", "reduction"},
       make_softmax_cross_entropy},
      {"binary_cross_entropy",
       {"from_probabilities", "class_weights", "positive_weights", "reduction"},
       make_binary_cross_entropy},
      {"focal", {"alpha", "gamma", "reduction"}, make_focal},
      {"negative_log_likelihood",
       {"class_weights", "ignore_index", "reduction"},
       make_negative_log_likelihood},
      {"kl_divergence", {"log_target", "reduction"}, make_kl_divergence},
      {"hinge", {"squared", "reduction"}, make_hinge},
      {"multi_margin", {"p", "margin", "class_weights", "reduction"}, make_multi_margin},
      {"mean_squared_error", {"reduction"}, make_mean_squared_error},
      {"mean_absolute_error", {"reduction"}, make_mean_absolute_error},
      {"smooth_l1", {"beta", "reduction"}, make_smooth_l1},
      {"huber", {"delta", "reduction"}, make_huber},
      {"poisson_nll", {"log_input", "full", "eps", "reduction"}, make_poisson_nll},
  };
}

}  // namespace tanul::recipe
