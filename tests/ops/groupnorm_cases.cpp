// SPDX-License-Identifier: Apache-2.0
#include "kernels/groupnorm/groupnorm.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

struct Options {
  double eps = 1e-5;
  bool has_gamma = true;
  bool has_beta = true;
  Fill x = {};
  bool has_gradient_check = true;
};

OpCase make(const std::string& name, OpKind kind, const Shape& x, const Shape& affine, int groups,
            int axes, const Options& o) {
  GroupNormParams p{};
  p.eps = o.eps;
  p.groups = groups;
  p.axes = axes;
  OpCase op{name, kind, Params::of(p), {{x, o.x}}, {0}, {}, 1, o.has_gradient_check};
  if (o.has_gamma) op.differentiable.push_back(1);
  if (o.has_beta) op.differentiable.push_back(2);
  op.in.push_back(o.has_gamma ? In{affine, list({1.25, -0.75, 0.5})} : absent());
  op.in.push_back(o.has_beta ? In{affine, {Fill::normal, 0.5, {}}} : absent());
  return op;
}

OpCase layer(const std::string& why, const Shape& x, int axes, const Options& o = {}) {
  return make("layer norm " + why, OpKind::layer_norm_fwd, x, x.tail(x.rank() - axes), 0, axes, o);
}
OpCase rms(const std::string& why, const Shape& x, int axes, Options o = {}) {
  o.has_beta = false;
  return make("RMS norm " + why, OpKind::rms_norm_fwd, x, x.tail(x.rank() - axes), 0, axes, o);
}
OpCase group(const std::string& why, const Shape& x, int groups, const Options& o = {}) {
  return make("group norm " + why, OpKind::group_norm_fwd, x, {x[1]}, groups, 0, o);
}
OpCase instance(const std::string& why, const Shape& x, const Options& o = {}) {
  return make("instance norm " + why, OpKind::instance_norm_fwd, x, {x[1]}, 0, 0, o);
}

}  // namespace

std::vector<OpCase> groupnorm_cases() {
  const Options plain{.has_gamma = false, .has_beta = false};
  const Fill thousand = list({1000.25, 998.5, 1001.75, 999, 1002.5, 997.75, 1000});
  return {
      layer("over the last axis", {5, 7, 13}, 1),
      layer("over the last two", {3, 5, 7}, 2),
      layer("over C, H, W", {4, 3, 5, 4}, 3),
      layer("over vectors", {4, 17}, 1),
      layer("over two values", {6, 2}, 1),
      layer("without gamma and beta", {4, 17}, 1, plain),
      layer("without beta", {3, 19}, 1, {.has_beta = false}),
      layer("without gamma", {3, 19}, 1, {.has_gamma = false}),
      layer("of large eps", {4, 11}, 1, {.eps = 1e-2}),
      layer("of constant rows", {2, 6}, 1, {.x = list({0.75}), .has_gradient_check = false}),
      layer("of a mean 1000 times the spread", {3, 31}, 1, {.x = thousand}),
      layer("of rows longer than a tile", {3, 40000}, 1),
      layer("of many short rows: several blocks of rows", {9000, 6}, 1),
      layer("of several blocks of rows and columns", {70, 2500}, 1),
      rms("over the last axis", {5, 13}, 1),
      rms("over the last two", {3, 4, 5}, 2),
      rms("of one value", {5, 1}, 1),
      rms("without gamma, large eps", {4, 7}, 1, {.eps = 1e-2, .has_gamma = false}),
      rms("of zeros", {2, 6}, 1, {.x = list({0}), .has_gradient_check = false}),
      rms("of many rows", {3000, 12}, 1),
      group("of one group: all channels", {2, 6, 3, 5}, 1),
      group("of two groups", {3, 6, 4, 3}, 2),
      group("of as many groups as channels", {2, 5, 3, 4}, 5),
      group("of signals", {2, 9, 7}, 3),
      group("of volumes", {2, 4, 2, 3, 3}, 2),
      group("of dense features", {7, 12}, 3),
      group("without gamma and beta", {2, 4, 3, 3}, 2, plain),
      group("without beta", {2, 4, 3, 3}, 2, {.has_beta = false}),
      group("without gamma", {2, 4, 3, 3}, 2, {.has_gamma = false}),
      group("of more channels than a block has", {2, 150, 2, 2}, 2),
      group("of groups larger than a tile", {2, 8, 50, 50}, 1),
      group("of many small groups", {40, 64, 3, 3}, 32),
      group("of a mean 1000 times the spread", {2, 4, 3, 5}, 2, {.x = thousand}),
      group("of constant groups", {2, 4, 3}, 2, {.x = list({3}), .has_gradient_check = false}),
      instance("of images", {2, 5, 4, 3}),
      instance("of signals", {3, 4, 9}),
      instance("of volumes", {2, 3, 2, 4, 3}),
      instance("without gamma and beta", {2, 3, 5, 4}, plain),
      instance("of two values a channel", {3, 4, 2}),
  };
}

std::vector<RejectCase> groupnorm_rejections() {
  const auto params = [](double eps, int groups, int axes) {
    GroupNormParams p{};
    p.eps = eps;
    p.groups = groups;
    p.axes = axes;
    return Params::of(p);
  };
  const In x{{2, 6, 4, 5}, {}};
  return {
      {"layer_norm \"layer\": axes, the number of last axes that are normalised, lies in 1 to 3 "
       "for "
       "x [2, 6, 4, 5], got 4",
       OpKind::layer_norm_fwd,
       params(1e-5, 0, 4),
       {x, absent(), absent()}},
      {"layer_norm \"layer\": x is f32 [N, ...] with at least one element, got f32 [3]",
       OpKind::layer_norm_fwd,
       params(1e-5, 0, 1),
       {{{3}, {}}, absent(), absent()}},
      {"layer_norm \"layer\": x [4, 1] has groups of one value, which would all become 0",
       OpKind::layer_norm_fwd,
       params(1e-5, 0, 1),
       {{{4, 1}, {}}, absent(), absent()}},
      {"layer_norm \"layer\": gamma is f32 [4, 5], got f32 [5]",
       OpKind::layer_norm_fwd,
       params(1e-5, 0, 2),
       {x, {{5}, {}}, absent()}},
      {"layer_norm \"layer\": beta is f32 [5], got f32 [4]",
       OpKind::layer_norm_fwd,
       params(1e-5, 0, 1),
       {x, absent(), {{4}, {}}}},
      {"layer_norm \"layer\": eps is above 0, got -1",
       OpKind::layer_norm_fwd,
       params(-1, 0, 1),
       {x, absent(), absent()}},
      {"rms_norm \"layer\": there is no beta in RMS normalisation",
       OpKind::rms_norm_fwd,
       params(1e-5, 0, 1),
       {x, absent(), {{5}, {}}}},
      {"group_norm \"layer\": groups must divide the 6 channels of x [2, 6, 4, 5], got 4",
       OpKind::group_norm_fwd,
       params(1e-5, 4, 0),
       {x, absent(), absent()}},
      {"group_norm \"layer\": x [7, 6] has groups of one value, which would all become 0",
       OpKind::group_norm_fwd,
       params(1e-5, 6, 0),
       {{{7, 6}, {}}, absent(), absent()}},
      {"group_norm \"layer\": x is f32 [N, C, ...] with at least one element, got u8 [2, 6]",
       OpKind::group_norm_fwd,
       params(1e-5, 2, 0),
       {{{2, 6}, {}, DType::u8}, absent(), absent()}},
      {"instance_norm \"layer\": x is f32 [N, C, L], [N, C, H, W], ... with at least one element, "
       "got f32 [7, 6]",
       OpKind::instance_norm_fwd,
       params(1e-5, 0, 0),
       {{{7, 6}, {}}, absent(), absent()}},
      {"layer_norm_bwd \"layer\": inv_std is f32 [48], got f32 [2]",
       OpKind::layer_norm_bwd,
       params(1e-5, 0, 1),
       {x, x, absent(), {{48}, {}}, {{2}, {}}}},
      {"group_norm_bwd \"layer\": dy is f32 [2, 6, 4, 5], got f32 [7]",
       OpKind::group_norm_bwd,
       params(1e-5, 2, 0),
       {{{7}, {}}, x, absent(), {{4}, {}}, {{4}, {}}}},
  };
}

}  // namespace tanul::test
