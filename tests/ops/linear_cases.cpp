// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/linear/linear.h"
#include "ops/cases.h"
#include "support/bounds.h"

namespace tanul::test {

namespace {

OpCase make(const std::string& name, int64_t N, int64_t C, int64_t K, bool has_bias = true,
            ActivationKind activation = ActivationKind::none) {
  const Params params = Params::of(LinearParams{has_bias ? 1 : 0, activation});
  OpCase op{"linear " + name, OpKind::linear_fwd, params, {}, {0, 1}, {}, 1, true};
  const bool is_relu = activation == ActivationKind::relu;
  const Fill x_fill = is_relu ? Fill{Fill::integers, 3, {}} : Fill{};
  const Fill w_fill = is_relu ? Fill{Fill::integers, 3, {}} : Fill{Fill::normal, 0.2, {}};
  const Fill b_fill = is_relu ? Fill{Fill::half_integers, 2, {}} : Fill{};
  op.in = {
      {Shape{N, C}, x_fill}, {Shape{K, C}, w_fill}, has_bias ? In{Shape{K}, b_fill} : absent()};
  if (has_bias) op.differentiable.push_back(2);
  op.has_gradient_check = !is_relu || has_bias;
  return op;
}

// Many rows and columns and a short sum: what the largest tiles of a matrix product take.
OpCase large(const std::string& name, int64_t N, int64_t C, int64_t K) {
  OpCase op = make("large: " + name, N, C, K);
  op.has_gradient_check = false;
  return op;
}

// linear_bwd_weights_sgd; momentum, dampening, weight decay, lr scale, nesterov
OpCase updated(const std::string& name, int64_t N, int64_t C, int64_t K, const SgdParams& sgd,
               bool has_bias = true) {
  OpCase op{"linear updated by SGD, " + name,
            OpKind::linear_bwd_weights_sgd,
            Params::of(LinearSgdParams{has_bias ? 1 : 0, sgd}),
            {},
            {},
            {{2, 0}},
            4,
            false};
  const Fill small{Fill::normal, 0.2, {}};
  // The velocity starts as NaN: step 0 must not read it.
  op.in = {{{N, C}, {}},
           {{N, K}, small},
           {{K, C}, small},
           sgd.momentum > 0 ? In{{K, C}, list({NAN})} : absent()};
  if (sgd.momentum > 0) op.mutates.emplace_back(3, 1);
  return op;
}

Tensors linear_fwd(const Params& params, const Tensors& in, const RefContext&) {
  const RefTensor& x = in[0];
  const RefTensor& w = in[1];
  const int64_t N = x.shape[0], C = x.shape[1], K = w.shape[0];
  RefTensor y({N, K});
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t k = 0; k < K; ++k) {
      double sum = 0;
      for (int64_t c = 0; c < C; ++c) sum += x[n * C + c] * w[k * C + c];
      if (is_present(in, 2)) sum += in[2][k];
      y[n * K + k] = activate(params.as<LinearParams>().activation, sum);
    }
  }
  return {y};
}

Tensors linear_bwd_data(const Params&, const Tensors& in, const RefContext&) {
  const RefTensor& dy = in[0];
  const RefTensor& w = in[1];
  const int64_t N = dy.shape[0], K = dy.shape[1], C = w.shape[1];
  RefTensor dx({N, C});
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t c = 0; c < C; ++c) dx[n * C + c] += dy[n * K + k] * w[k * C + c];
    }
  }
  return {dx};
}

Tensors linear_bwd_weights(const Params& params, const Tensors& in, const RefContext&) {
  const RefTensor& x = in[0];
  const RefTensor& dy = in[1];
  const int64_t N = dy.shape[0], K = dy.shape[1], C = x.shape[1];
  RefTensor dw({K, C}), db({K});
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t k = 0; k < K; ++k) {
      db[k] += dy[n * K + k];
      for (int64_t c = 0; c < C; ++c) dw[k * C + c] += dy[n * K + k] * x[n * C + c];
    }
  }
  if (params.as<LinearParams>().has_bias == 0) return {dw, RefTensor::absent()};
  return {dw, db};
}

// The two steps that it stands for.
Tensors linear_bwd_weights_sgd(const Params& params, const Tensors& in, const RefContext& context) {
  const LinearSgdParams& p = params.as<LinearSgdParams>();
  const Tensors gradients = linear_bwd_weights(
      Params::of(LinearParams{p.has_bias, ActivationKind::none}), {in[0], in[1]}, context);
  Tensors out =
      reference(OpKind::sgd_update, Params::of(p.sgd), {in[2], gradients[0], in[3]}, context);
  out.push_back(gradients[1]);
  return out;
}

double count(int64_t n) { return static_cast<double>(n); }

template <Precision kPrecision = Precision::fp32>
Bounds bounds_fwd(const BoundArgs& a) {
  LinearParams p = a.params.as<LinearParams>();
  const ActivationKind activation = p.activation;
  p.activation = ActivationKind::none;
  const auto sums = [&](const Tensors& in) { return linear_fwd(Params::of(p), in, a.context)[0]; };
  const double n = count(a.in[0].shape[1]) + 1;  // and the bias
  const RefTensor T = sums(absolute(a.in));
  return {through(activation, product_bound(kPrecision, T, n, a.in, sums), a.want[0])};
}
template <Precision kPrecision = Precision::fp32>
Bounds bounds_bwd_data(const BoundArgs& a) {
  const auto sums = [&](const Tensors& in) { return linear_bwd_data(a.params, in, a.context)[0]; };
  const RefTensor T = sums(absolute(a.in));
  return {product_bound(kPrecision, T, count(a.in[0].shape[1]), a.in, sums)};
}
template <Precision kPrecision = Precision::fp32>
Bounds bounds_bwd_weights(const BoundArgs& a) {
  const auto sums = [&](const Tensors& in) {
    return linear_bwd_weights(a.params, in, a.context)[0];
  };
  const Tensors T = linear_bwd_weights(a.params, absolute(a.in), a.context);
  const double n = count(a.in[0].shape[0]);
  return {product_bound(kPrecision, T[0], n, a.in, sums), rounded_sum_bound(kPrecision, T[1], n)};
}
// Those of the update, and the error of the gradient carried through it.
template <Precision kPrecision = Precision::fp32>
Bounds bounds_bwd_weights_sgd(const BoundArgs& a) {
  const LinearSgdParams& p = a.params.as<LinearSgdParams>();
  const Params gradient_params = Params::of(LinearParams{p.has_bias, ActivationKind::none});
  const Tensors xdy{a.in[0], a.in[1]};
  const RefTensor dw = linear_bwd_weights(gradient_params, xdy, a.context)[0];
  const Bounds errors = bounds_bwd_weights<kPrecision>({gradient_params, xdy, {dw}, a.context});
  const std::vector<double>& dw_error = errors[0];
  Bounds bounds = error_bounds(OpKind::sgd_update, Params::of(p.sgd), {a.in[2], dw, a.in[3]},
                               {a.want[0], a.want[1]}, a.context);
  const auto wide = [](float value) { return static_cast<double>(value); };
  const bool has_velocity = a.in[3].present;
  const double to_v = !has_velocity || a.context.step == 0 ? 1 : 1 - wide(p.sgd.dampening);
  const double to_step = p.sgd.nesterov != 0 ? 1 + wide(p.sgd.momentum) * to_v : to_v;
  const double to_w = wide(a.context.lr) * wide(p.sgd.lr_scale) * to_step;
  const double rounded = 1 + 16 * kU;  // what is carried is rounded too
  for (size_t i = 0; i < dw_error.size(); ++i) {
    bounds[0][i] += rounded * to_w * dw_error[i];
    if (has_velocity) bounds[1][i] += rounded * to_v * dw_error[i];
  }
  bounds.push_back(errors[1]);
  return bounds;
}

// The products of an implementation in another precision than fp32.
template <Precision kPrecision>
ImplementationRule products_in(OpKind kind, const char* implementation) {
  const auto keeps = [](const Params& params) {
    return keeps_integers(params.as<LinearParams>().activation);
  };
  switch (kind) {
    case OpKind::linear_fwd: return {implementation, bounds_fwd<kPrecision>, keeps};
    case OpKind::linear_bwd_data: return {implementation, bounds_bwd_data<kPrecision>, always};
    case OpKind::linear_bwd_weights:
      return {implementation, bounds_bwd_weights<kPrecision>, always};
    default: return {implementation, bounds_bwd_weights_sgd<kPrecision>};
  }
}

}  // namespace

std::vector<OpCase> linear_cases() {
  return {
      make("one element", 1, 1, 1),
      make("batch 1: a matrix and a vector", 1, 37, 21),
      make("one feature in", 5, 1, 9),
      make("one feature out", 19, 12, 1),
      make("batch 64, 84 to 10: LeNet's last layer", 64, 84, 10),
      make("400 to 120: LeNet's first", 16, 400, 120),
      make("800 to 500: Caffe LeNet ip1", 7, 800, 500),
      make("powers of two", 32, 64, 128),
      make("primes: every tail at once", 13, 127, 31),
      make("batch above the features", 257, 3, 5),
      make("long reduction over the batch", 1000, 4, 3),
      make("whole panels", 32, 256, 128),
      make("more rows than a block, more steps than a chain", 137, 300, 96),
      make("columns that do not fill vectors", 48, 67, 131),
      make("panels, fused ReLU, no bias", 40, 150, 90, false, ActivationKind::relu),
      make("no bias", 9, 14, 11, false),
      make("fused ReLU", 17, 30, 23, true, ActivationKind::relu),
      make("fused ReLU, no bias", 17, 30, 23, false, ActivationKind::relu),
      make("fused sigmoid", 6, 10, 9, true, ActivationKind::sigmoid),
      make("fused tanh", 6, 10, 9, true, ActivationKind::tanh),
      make("fused tanh, no bias", 33, 5, 40, false, ActivationKind::tanh),
      large("900 samples, 9 to 900 features", 900, 9, 900),
      large("900 samples, 900 to 9 features", 900, 900, 9),
      large("9 samples, 900 to 900 features", 9, 900, 900),
      make("samples as vectors: several chunks, several panels", 64, 300, 200),
      make("samples that do not fill vectors", 47, 131, 67),
      make("samples as vectors, fused ReLU, no bias", 33, 129, 64, false, ActivationKind::relu),
      make("more samples than a tile", 545, 20, 72),
      updated("one element", 1, 1, 1, {0.9f, 0, 0, 1, 0}),
      updated("few outputs, no velocity", 5, 30, 7, {0, 0, 0.01f, 1, 0}),
      updated("without bias", 9, 70, 20, {0.9f, 0, 0, 1, 0}, false),
      updated("whole panels, weight decay", 32, 128, 64, {0.9f, 0, 5e-4f, 1, 0}),
      updated("primes: every tail at once", 37, 131, 67, {0.9f, 0.3f, 0.01f, 0.5f, 0}),
      updated("several chunks of samples, Nesterov", 300, 96, 40, {0.8f, 0, 0.01f, 1, 1}),
      updated("several rectangles, rows a page apart", 20, 1024, 300, {0.9f, 0, 0, 1, 0}),
  };
}

std::vector<RejectCase> linear_rejections() {
  const OpKind fwd = OpKind::linear_fwd;
  const Params params = Params::of(LinearParams{1, ActivationKind::none});
  const In x{{4, 10}, {}}, w{{7, 10}, {}}, b{{7}, {}}, dy{{4, 7}, {}};
  const auto with_sgd = [](const SgdParams& sgd) { return Params::of(LinearSgdParams{1, sgd}); };
  return {
      {"linear \"layer\": x must be [N, C] (flatten it first), got [4, 10, 1, 1]",
       fwd,
       params,
       {{{4, 10, 1, 1}, {}}, w, b}},
      {"linear \"layer\": x must be f32, got u8", fwd, params, {{{4, 10}, {}, DType::u8}, w, b}},
      {"linear \"layer\": x must not be empty, got [0, 10]", fwd, params, {{{0, 10}, {}}, w, b}},
      {"linear \"layer\": w must be [K, C], got [7]", fwd, params, {x, b, b}},
      {"linear \"layer\": x has 10 features but w expects 9 (x [4, 10], w [7, 9]); check "
       "in_features",
       fwd,
       params,
       {x, {{7, 9}, {}}, b}},
      {"linear \"layer\": b must be [7], one value for each row of w, got [10]",
       fwd,
       params,
       {x, w, {{10}, {}}}},
      {"linear \"layer\": b must be f32, got i32", fwd, params, {x, w, {{7}, {}, DType::i32}}},
      {"linear_bwd_data \"layer\": dy has 6 features but w makes 7 (dy [4, 6], w [7, 10])",
       OpKind::linear_bwd_data,
       params,
       {{{4, 6}, {}}, w}},
      {"linear_bwd_weights \"layer\": x has 4 samples but dy has 5 (x [4, 10], dy [5, 7])",
       OpKind::linear_bwd_weights,
       params,
       {x, {{5, 7}, {}}}},
      {"linear_bwd_weights_sgd \"layer\": x has 4 samples but dy has 5 (x [4, 10], dy [5, 7])",
       OpKind::linear_bwd_weights_sgd,
       with_sgd({0.9f, 0, 0, 1, 0}),
       {{{4, 10}, {}}, {{5, 7}, {}}, w, w}},
      {"linear_bwd_weights_sgd \"layer\": w is f32 [K, C] = [7, 10], got f32 [10, 7]",
       OpKind::linear_bwd_weights_sgd,
       with_sgd({0.9f, 0, 0, 1, 0}),
       {x, dy, {{10, 7}, {}}, w}},
      {"linear_bwd_weights_sgd \"layer\": the velocity is f32 [K, C] = [7, 10], got f32 [7]",
       OpKind::linear_bwd_weights_sgd,
       with_sgd({0.9f, 0, 0, 1, 0}),
       {x, dy, w, b}},
      {"linear_bwd_weights_sgd \"layer\": momentum 0.9 needs a velocity",
       OpKind::linear_bwd_weights_sgd,
       with_sgd({0.9f, 0, 0, 1, 0}),
       {x, dy, w, absent()}},
      {"linear_bwd_weights_sgd \"layer\": weight_decay is at least 0, got -1",
       OpKind::linear_bwd_weights_sgd,
       with_sgd({0, 0, -1, 1, 0}),
       {x, dy, w, absent()}},
  };
}

std::vector<Rule> linear_rules() {
  const auto keeps = [](const Params& params) {
    return keeps_integers(params.as<LinearParams>().activation);
  };
  std::vector<Rule> rules = {
      {OpKind::linear_fwd, linear_fwd, bounds_fwd<>, keeps},
      {OpKind::linear_bwd_data, linear_bwd_data, bounds_bwd_data<>, always},
      {OpKind::linear_bwd_weights, linear_bwd_weights, bounds_bwd_weights<>, always},
      {OpKind::linear_bwd_weights_sgd, linear_bwd_weights_sgd, bounds_bwd_weights_sgd<>}};
  for (Rule& rule : rules) {
    const bool is_update = rule.kind == OpKind::linear_bwd_weights_sgd;
    const OpKind kind = rule.kind;
    rule.implementations = {
        products_in<Precision::tf32>(kind, is_update ? "gradient_and_update_tf32" : "mma_tf32"),
        products_in<Precision::bf16>(kind, is_update ? "gradient_and_update_bf16" : "mma_bf16"),
        products_in<Precision::fp16>(kind, is_update ? "gradient_and_update_fp16" : "mma_fp16"),
        products_in<Precision::tf32>(kind, "cublaslt_tf32"),
        products_in<Precision::bf16>(kind, "cublaslt_bf16"),
        products_in<Precision::fp16>(kind, "cublaslt_fp16")};
  }
  return rules;
}

}  // namespace tanul::test
