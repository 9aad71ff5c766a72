// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/softmax_xent/softmax_xent.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

struct Loss {
  std::string name;
  int64_t N, C;
  float smoothing = 0;
  Fill logits = {};
  bool has_weights = false;
  Fill targets = {Fill::labels, 0, {}};  // scale 0: any class
  bool has_ignore = false;
  int ignore = 0;
  bool has_gradient_check = true;
};

In targets_of(int64_t N, const Fill& fill) { return {Shape{N}, fill, DType::i32, true}; }

OpCase make(const Loss& l) {
  const Params params = Params::of(SoftmaxXentParams{l.smoothing, l.ignore, l.has_ignore ? 1 : 0});
  Fill targets = l.targets;
  if (targets.kind == Fill::labels && targets.scale == 0) targets.scale = static_cast<double>(l.C);
  return {"cross-entropy " + l.name,
          OpKind::softmax_xent_fwd,
          params,
          {{Shape{l.N, l.C}, l.logits},
           targets_of(l.N, targets),
           l.has_weights ? In{Shape{l.C}, {Fill::positive, 1, {}}} : absent()},
          {0},
          {},
          1,
          l.has_gradient_check};
}

}  // namespace

std::vector<OpCase> softmax_xent_cases() {
  const Fill huge{Fill::normal, 1e4, {}};
  const Fill mixed = list({1e4, -1e4, 0, 3, 1e4, -1e4, 5});
  const Fill labels{Fill::labels, 0, {}};
  const Fill some_ignored = list({0, 3, 2, 3, 1, 3, 4});
  const std::vector<Loss> all = {
      {"of 64 samples, 10 classes", 64, 10},
      {"of batch 1", 1, 10},
      {"of two classes", 33, 2},
      {"of one class: the loss is 0", 5, 1},
      {"of 1000 classes", 17, 1000},
      {"of 5000 classes: a row is a tile", 24, 5000},
      {"of many samples: several tiles", 1001, 7},
      {"of equal logits: log C, ties go to the lowest class", 12, 6, 0, list({2.5}), false,
       list({0, 5, 0, 1, 3})},
      {"of logits around 1e4", 16, 10, 0, huge},
      {"of logits of plus and minus 1e4", 21, 7, 0, mixed},
      {"of the largest logits", 6, 4, 0, list({3e38, -3e38, 0, 1, 3e38}), false, labels, false, 0,
       false},
      {"with label smoothing", 20, 10, 0.1f},
      {"with full smoothing: the target does not matter", 9, 5, 1.0f},
      {"with smoothing of logits around 1e4", 16, 10, 0.1f, huge},
      {"with class weights", 30, 8, 0, {}, true},
      {"with class weights and smoothing", 30, 8, 0.2f, {}, true},
      {"with an ignored class index", 21, 5, 0, {}, false, some_ignored, true, 3},
      {"with ignore index -100", 14, 5, 0, {}, false, list({1, -100, 0, 4}), true, -100},
      {"with everything at once", 35, 5, 0.1f, {}, true, some_ignored, true, 3},
      {"of ignored samples only: NaN, and the gradient is 0",
       4,
       5,
       0,
       {},
       false,
       list({2}),
       true,
       2,
       false},
      {"of a target beyond the classes: NaN", 6, 5, 0, {}, false, list({1, 5, 2}), false, 0, false},
      {"of a negative target: NaN in its row",
       6,
       5,
       0.1f,
       {},
       true,
       list({1, -1, 2}),
       false,
       0,
       false},
      {"with NaN among the logits", 3, 4, 0, list({1, 2, 3, 4, NAN, 2, 1, 0, 5, 5, 5, 5}), false,
       labels, false, 0, false},
  };
  std::vector<OpCase> cases;
  for (const Loss& l : all) cases.push_back(make(l));
  return cases;
}

std::vector<RejectCase> softmax_xent_rejections() {
  const OpKind fwd = OpKind::softmax_xent_fwd;
  const auto with = [](float smoothing) { return Params::of(SoftmaxXentParams{smoothing, 0, 0}); };
  const In z{{4, 10}, {}};
  const In target = targets_of(4, {Fill::labels, 10, {}});
  return {
      {"softmax_cross_entropy \"layer\": logits are f32 [N, C], got f32 [4, 10, 1, 1]; flatten "
       "them first",
       fwd,
       with(0),
       {{{4, 10, 1, 1}, {}}, target, absent()}},
      {"softmax_cross_entropy \"layer\": logits are f32 [N, C], got i32 [4, 10]; flatten them "
       "first",
       fwd,
       with(0),
       {{{4, 10}, {}, DType::i32}, target, absent()}},
      {"softmax_cross_entropy \"layer\": logits need at least one sample and one class, got [4, 0]",
       fwd,
       with(0),
       {{{4, 0}, {}}, target, absent()}},
      {"softmax_cross_entropy \"layer\": targets are class indices i32 [4], one per row of the "
       "logits [4, "
       "10], "
       "got i32 [5]",
       fwd,
       with(0),
       {z, targets_of(5, {}), absent()}},
      {"softmax_cross_entropy \"layer\": targets are class indices i32 [4], one per row of the "
       "logits [4, "
       "10], "
       "got f32 [4]",
       fwd,
       with(0),
       {z, {{4}, {}}, absent()}},
      {"softmax_cross_entropy \"layer\": class weights are f32 [10], one per class of the logits "
       "[4, 10], "
       "got "
       "f32 [4]",
       fwd,
       with(0),
       {z, target, {{4}, {}}}},
      {"softmax_cross_entropy \"layer\": label_smoothing lies in 0 to 1, got 1.5",
       fwd,
       with(1.5f),
       {z, target, absent()}},
      {"softmax_xent_bwd \"layer\": the gradient of the loss is f32 [1], got f32 [2]",
       OpKind::softmax_xent_bwd,
       with(0),
       {z, target, absent(), {{2}, {}}, {{4}, {}}}},
      {"softmax_xent_bwd \"layer\": the statistics of the forward step are f32 [4], got f32 [1]",
       OpKind::softmax_xent_bwd,
       with(0),
       {z, target, absent(), {{1}, {}}, {{1}, {}}}},
  };
}

std::vector<Rule> softmax_xent_rules() { return {}; }

}  // namespace tanul::test
