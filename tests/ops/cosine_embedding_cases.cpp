// SPDX-License-Identifier: Apache-2.0
// Cosine embedding loss: cases, the reference maths and error bounds.
#include <cmath>

#include "kernels/cosine_embedding/cosine_embedding.h"
#include "ops/cases.h"
#include "ops/loss_rules.h"

namespace tanul::test {

namespace {

OpCase make(const std::string& why, const Shape& x, float margin = 0,
            Reduction reduction = Reduction::mean, const Fill& a = {}, const Fill& b = {},
            const Fill& target = list({1, -1, -1, 1}), bool has_gradient_check = true) {
  return {"cosine_embedding " + why,
          OpKind::cosine_embedding_fwd,
          Params::of(CosineEmbeddingParams{{reduction, 0, 0}, margin, 0}),
          {{x, a}, {{x[0]}, target}, {x, b}},
          {0, 2},
          {},
          1,
          has_gradient_check};
}

struct Pair {
  double aa = 1e-12, bb = 1e-12, ab = 0, terms = 0;
  Pair(const Tensors& in, int64_t n) {
    const int64_t D = in[0].shape[1];
    for (int64_t d = n * D; d < (n + 1) * D; ++d) {
      aa += in[0][d] * in[0][d];
      bb += in[2][d] * in[2][d];
      ab += in[0][d] * in[2][d];
      terms += std::abs(in[0][d] * in[2][d]);
    }
  }
  double size() const { return std::sqrt(aa) * std::sqrt(bb); }
  double cos() const { return ab / size(); }
};

// d loss / d cos
double turn(const CosineEmbeddingParams& p, double t, double cos) {
  if (t == 1) return -1;
  if (t == -1) return cos > static_cast<double>(p.margin) ? 1 : 0;
  return kNoNumber;
}

Tensors forward(const Params& params, const Tensors& in, const RefContext&) {
  const CosineEmbeddingParams& p = params.as<CosineEmbeddingParams>();
  const int64_t N = in[0].shape[0];
  RefTensor each({N});
  for (int64_t n = 0; n < N; ++n) {
    const double cos = Pair(in, n).cos(), t = in[1][n];
    each[n] = t == 1    ? 1 - cos
              : t == -1 ? std::fmax(0, cos - static_cast<double>(p.margin))
                        : kNoNumber;
  }
  return reduced(params, each, N, static_cast<double>(N), 0, static_cast<double>(N));
}

Tensors backward(const Params& params, const Tensors& in, const RefContext&) {
  const CosineEmbeddingParams& p = params.as<CosineEmbeddingParams>();
  const int64_t N = in[0].shape[0], D = in[0].shape[1];
  Tensors out{RefTensor(in[0].shape), RefTensor(in[0].shape)};
  for (int64_t n = 0; n < N; ++n) {
    const Pair pair(in, n);
    const double scale =
        loss_scale(params, in[3], n, N, static_cast<double>(N)) * turn(p, in[1][n], pair.cos());
    for (int64_t i = n * D; i < (n + 1) * D; ++i) {
      out[0][i] = scale * (in[2][i] / pair.size() - pair.cos() * in[0][i] / pair.aa);
      out[1][i] = scale * (in[0][i] / pair.size() - pair.cos() * in[2][i] / pair.bb);
    }
  }
  for (size_t i = 0; i < 2; ++i) {
    if ((p.wanted >> i & 1) == 0) out[i] = RefTensor::absent();
  }
  return out;
}

// The error of the cosine: three sums of D products.
double cos_error(const Tensors& in, const Pair& pair) {
  const double D = static_cast<double>(in[0].shape[1]);
  return (D + 4) * kU * (pair.terms / pair.size() + std::abs(pair.cos()));
}

Bounds forward_bounds(const BoundArgs& args) {
  const int64_t N = args.in[0].shape[0];
  std::vector<double> errors;
  for (int64_t n = 0; n < N; ++n) errors.push_back(cos_error(args.in, Pair(args.in, n)) + 4 * kU);
  const RefTensor each =
      single_losses(OpKind::cosine_embedding_fwd, args.params, args.in, args.context);
  return reduced_bounds(args, each, errors);
}

Bounds backward_bounds(const BoundArgs& args) {
  const Tensors& in = args.in;
  const int64_t N = in[0].shape[0], D = in[0].shape[1];
  Bounds bounds(2);
  const double relative_error = (static_cast<double>(D) + 8) * kU;
  for (int64_t n = 0; n < N; ++n) {
    const Pair pair(in, n);
    const double scale = std::abs(loss_scale(args.params, in[3], n, N, static_cast<double>(N)));
    const auto bound = [&](double own, double other, double own_square) {
      return scale * (relative_error * (std::abs(other) / pair.size() +
                                        std::abs(pair.cos() * own) / own_square) +
                      cos_error(in, pair) * std::abs(own) / own_square) +
             kSmallest;
    };
    for (int64_t i = n * D; i < (n + 1) * D; ++i) {
      bounds[0].push_back(bound(in[0][i], in[2][i], pair.aa));
      bounds[1].push_back(bound(in[2][i], in[0][i], pair.bb));
    }
  }
  return bounds;
}

}  // namespace

std::vector<OpCase> cosine_embedding_cases() {
  const Fill some = list({1, 2, -1, 0.5, 3});
  return {
      make("of pairs", {7, 5}, 0.2f),
      make("of one pair of numbers: no way to turn", {1, 1}, 0, Reduction::mean, list({2}),
           list({3}), list({1}), false),
      make("sum", {6, 4}, 0.2f, Reduction::sum),
      make("none", {6, 4}, 0.2f, Reduction::none),
      make("batch mean", {6, 4}, -0.5f, Reduction::batch_mean),
      make("of several tiles", {301, 100}, 0.1f),
      make("of long vectors: a pair is a tile", {3, 9001}),
      make("of vectors of the size 1e4", {4, 3}, 0, Reduction::mean, {Fill::normal, 1e4, {}},
           {Fill::normal, 1e4, {}}),
      make("of zero vectors: finite", {4, 3}, 0, Reduction::none, list({0}), some, list({1, -1}),
           false),
      make("of equal vectors, margin 1", {4, 5}, 1, Reduction::none, some, some, list({1, -1}),
           false),
      make("of targets that are neither 1 nor -1: NaN", {4, 3}, 0, Reduction::none, {}, {},
           list({1, 0, -1, 2}), false),
  };
}

std::vector<RejectCase> cosine_embedding_rejections() {
  const OpKind fwd = OpKind::cosine_embedding_fwd;
  const Params plain = Params::of(CosineEmbeddingParams{});
  const In x{{4, 3}, {}}, target{{4}, {}};
  const std::string where = "cosine_embedding \"layer\": ";
  return {
      {where + "vectors are f32 [N, D], got f32 [4, 3, 2]",
       fwd,
       plain,
       {{{4, 3, 2}, {}}, target, {{4, 3, 2}, {}}}},
      {where + "both sides of the pairs have one shape, got [4, 3] and f32 [4, 5]",
       fwd,
       plain,
       {x, target, {{4, 5}, {}}}},
      {where + "targets are f32 [4], 1 or -1 for each pair, got i32 [4]",
       fwd,
       plain,
       {x, {{4}, {}, DType::i32}, x}},
      {where + "the margin lies in -1 to 1, got 2",
       fwd,
       Params::of(CosineEmbeddingParams{{}, 2, 0}),
       {x, target, x}},
      {"cosine_embedding_bwd \"layer\": the gradient of the loss is f32 [1], got f32 [4]",
       OpKind::cosine_embedding_bwd,
       plain,
       {x, target, x, {{4}, {}}}},
  };
}

std::vector<Rule> cosine_embedding_rules() {
  return {{OpKind::cosine_embedding_fwd, forward, forward_bounds},
          {OpKind::cosine_embedding_bwd, backward, backward_bounds}};
}

}  // namespace tanul::test
