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

In targets_of(const Shape& shape, const Fill& fill) { return {shape, fill, DType::i32, true}; }

SoftmaxXentParams options(float smoothing, Reduction reduction = Reduction::mean) {
  return {{reduction, 0, 0}, smoothing};
}

OpCase make(const Loss& l) {
  SoftmaxXentParams params = options(l.smoothing);
  params.loss.has_ignore_index = l.has_ignore;
  params.loss.ignore_index = l.ignore;
  Fill targets = l.targets;
  if (targets.kind == Fill::labels && targets.scale == 0) targets.scale = static_cast<double>(l.C);
  return {"cross-entropy " + l.name,
          OpKind::softmax_xent_fwd,
          Params::of(params),
          {{Shape{l.N, l.C}, l.logits},
           targets_of({l.N}, targets),
           l.has_weights ? In{Shape{l.C}, {Fill::positive, 1, {}}} : absent()},
          {0},
          {},
          1,
          l.has_gradient_check};
}

// Against indices or probabilities (f32), with positions behind the classes, any reduction.
OpCase general(const std::string& name, const Shape& z, const In& target,
               const SoftmaxXentParams& params, const Fill& logits = {}, bool has_weights = false) {
  return {"cross-entropy " + name,
          OpKind::softmax_xent_fwd,
          Params::of(params),
          {{z, logits}, target, has_weights ? In{Shape{z[1]}, {Fill::positive, 1, {}}} : absent()},
          {0},
          {},
          1,
          true};
}

std::vector<OpCase> general_cases() {
  const Fill mixed = list({1e4, -1e4, 0, 3, 1e4, -1e4, 5});
  const Fill any_share{Fill::positive, 0.3, {}};  // need not add up to 1
  const Fill shares = list({0.5, 0.25, 0.125, 0, 0.125, 1, 0, 0, 0, 0});
  const auto labels = [](double C) { return Fill{Fill::labels, C, {}}; };
  SoftmaxXentParams ignoring = options(0.1f);
  ignoring.loss = {Reduction::mean, 1, 255};
  SoftmaxXentParams ignoring_none = ignoring;
  ignoring_none.loss.reduction = Reduction::none;
  const Fill some_255 = list({0, 3, 255, 2, 1, 255, 3});
  return {
      general("sum", {9, 4}, targets_of({9}, labels(4)), options(0, Reduction::sum)),
      general("none: one a sample", {9, 4}, targets_of({9}, labels(4)),
              options(0, Reduction::none)),
      general("none with weights and smoothing", {9, 4}, targets_of({9}, labels(4)),
              options(0.3f, Reduction::none), {}, true),
      general("batch mean with weights divides by N", {9, 4}, targets_of({9}, labels(4)),
              options(0, Reduction::batch_mean), {}, true),
      general("of sequences", {3, 5, 7}, targets_of({3, 7}, labels(5)), options(0)),
      general("of pixels", {2, 4, 3, 5}, targets_of({2, 3, 5}, labels(4)), options(0)),
      general("of pixels, weights and smoothing", {2, 4, 3, 5}, targets_of({2, 3, 5}, labels(4)),
              options(0.2f), {}, true),
      general("of pixels, some ignored", {2, 4, 3, 5}, targets_of({2, 3, 5}, some_255), ignoring,
              {}, true),
      general("of pixels, none", {2, 4, 3, 5}, targets_of({2, 3, 5}, some_255), ignoring_none, {},
              true),
      general("of pixels, batch mean", {3, 4, 3, 5}, targets_of({3, 3, 5}, labels(4)),
              options(0, Reduction::batch_mean)),
      general("of voxels", {2, 3, 2, 3, 4}, targets_of({2, 2, 3, 4}, labels(3)), options(0)),
      general("of more pixels than a block", {3, 5, 13, 11}, targets_of({3, 13, 11}, labels(5)),
              options(0)),
      general("of many classes and pixels: a block is a tile", {2, 300, 9, 9},
              targets_of({2, 9, 9}, labels(300)), options(0.1f)),
      general("of pixels around 1e4", {2, 7, 2, 3}, targets_of({2, 2, 3}, labels(7)), options(0),
              mixed),
      general("against probabilities", {12, 5}, {{12, 5}, shares}, options(0)),
      general("against probabilities, weighted and smoothed", {12, 5}, {{12, 5}, shares},
              options(0.2f), {}, true),
      general("against shares that are no distribution", {6, 5}, {{6, 5}, any_share}, options(0)),
      general("against probabilities, sum", {12, 5}, {{12, 5}, shares}, options(0, Reduction::sum)),
      general("against probabilities, none", {12, 5}, {{12, 5}, shares},
              options(0, Reduction::none)),
      general("against probabilities of pixels", {2, 3, 4, 5}, {{2, 3, 4, 5}, any_share},
              options(0)),
      general("against probabilities, several tiles", {400, 17}, {{400, 17}, any_share},
              options(0.1f)),
      general("against probabilities of more classes than a warp takes", {3, 2100},
              {{3, 2100}, any_share}, options(0.1f)),
      general("against probabilities of logits of plus and minus 1e4", {7, 5},
              {{7, 5}, list({0.2})}, options(0), mixed),
  };
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
  for (OpCase& general_case : general_cases()) cases.push_back(std::move(general_case));
  return cases;
}

std::vector<RejectCase> softmax_xent_rejections() {
  const OpKind fwd = OpKind::softmax_xent_fwd;
  const Params plain = Params::of(options(0));
  const In z{{4, 10}, {}};
  const In target = targets_of({4}, {Fill::labels, 10, {}});
  const std::string where = "softmax_cross_entropy \"layer\": ";
  return {
      {where + "logits are f32 [N, C, ...], got f32 [4]", fwd, plain, {{{4}, {}}, target}},
      {where + "logits are f32 [N, C, ...], got i32 [4, 10]",
       fwd,
       plain,
       {{{4, 10}, {}, DType::i32}, target}},
      {where + "logits need at least one element, got [4, 0]", fwd, plain, {{{4, 0}, {}}, target}},
      {where + "class indices are i32 [4] for x [4, 10], got i32 [5]",
       fwd,
       plain,
       {z, targets_of({5}, {})}},
      {where + "class indices are i32 [4, 3, 2] for x [4, 10, 3, 2], got i32 [4]",
       fwd,
       plain,
       {{{4, 10, 3, 2}, {}}, target}},
      {where + "target probabilities have the shape of the logits [4, 10], got [4]",
       fwd,
       plain,
       {z, {{4}, {}}}},
      {where + "class weights are f32 [10], one per class of x [4, 10], got f32 [4]",
       fwd,
       plain,
       {z, target, {{4}, {}}}},
      {where + "label_smoothing lies in 0 to 1, got 1.5",
       fwd,
       Params::of(options(1.5f)),
       {z, target, absent()}},
      {where + "there is no reduction 7",
       fwd,
       Params::of(options(0, static_cast<Reduction>(7))),
       {z, target, absent()}},
      {"softmax_xent_bwd \"layer\": the gradient of the loss is f32 [1], got f32 [2]",
       OpKind::softmax_xent_bwd,
       plain,
       {z, target, absent(), {{2}, {}}, {{4}, {}}}},
      {"softmax_xent_bwd \"layer\": the gradient of the loss is f32 [4], got f32 [1]",
       OpKind::softmax_xent_bwd,
       Params::of(options(0, Reduction::none)),
       {z, target, absent(), {{1}, {}}, {{4}, {}}}},
      {"softmax_xent_bwd \"layer\": the statistics of the forward step are f32 [4], got f32 [1]",
       OpKind::softmax_xent_bwd,
       plain,
       {z, target, absent(), {{1}, {}}, {{1}, {}}}},
  };
}

}  // namespace tanul::test
