// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/optim/averaging.h"
#include "ops/cases.h"
#include "ops/loss_scaled.h"

namespace tanul::test {

namespace {

double wide(float value) { return static_cast<double>(value); }

Tensors ema(const Params& params, const Tensors& in, const RefContext&) {
  const double decay = wide(params.as<EmaParams>().decay);
  RefTensor average = in[0];
  for (int64_t i = 0; i < average.elems(); ++i) {
    average[i] = decay * average[i] + (1 - decay) * in[1][i];
  }
  return {average};
}

Tensors lookahead(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<LookaheadParams>();
  RefTensor slow = in[0], w = in[1];
  if ((static_cast<int64_t>(context.step) + 1) % p.k != 0) return {slow, w};
  for (int64_t i = 0; i < w.elems(); ++i) {
    slow[i] += wide(p.alpha) * (w[i] - slow[i]);
    w[i] = slow[i];
  }
  return {slow, w};
}

Tensors accumulate_add(const Params& params, const Tensors& in, const RefContext&) {
  RefTensor sum = in[0];
  const double divisor = params.as<AccumulateParams>().is_sum != 0 ? 1 : in[2][1];
  for (int64_t i = 0; i < sum.elems(); ++i) {
    sum[i] = (in[3][0] == 0 ? 0 : sum[i]) + divisor * in[1][i];
  }
  return {sum};
}

Tensors accumulate_mean(const Params& params, const Tensors& in, const RefContext&) {
  RefTensor mean = in[0];
  const bool is_sum = params.as<AccumulateParams>().is_sum != 0;
  const double divisor = is_sum ? 1 : in[2][1], total = in[3][0];
  const double all = is_sum ? 1 : total + divisor;
  for (int64_t i = 0; i < mean.elems(); ++i) {
    const double sum = (total == 0 ? 0 : in[1][i]) + divisor * in[0][i];
    mean[i] = all == 0 ? 0 : sum / all;
  }
  return {mean};
}

Tensors accumulate_total(const Params& params, const Tensors& in, const RefContext&) {
  RefTensor total = in[0];
  total[0] = params.as<AccumulateTotalParams>().reset != 0 ? 0 : total[0] + in[1][1];
  return {total};
}

// Computed in double and rounded once; `terms` are what is added up.
std::vector<double> rounded(const RefTensor& want, const RefTensor& terms) {
  std::vector<double> bound;
  for (int64_t i = 0; i < want.elems(); ++i) {
    const double term = std::isnan(terms[i]) ? 0 : std::abs(terms[i]);
    bound.push_back(1.000001 * kU * std::abs(want[i]) + 0x1p-48 * term + kSmallest);
  }
  return bound;
}

Bounds ema_bounds(const BoundArgs& a) {
  return {rounded(a.want[0], ema(a.params, absolute(a.in), a.context)[0])};
}
Bounds lookahead_bounds(const BoundArgs& a) {
  const Tensors T = absolute(a.in);
  RefTensor terms = T[0];
  for (int64_t i = 0; i < terms.elems(); ++i) terms[i] += T[1][i];
  return {rounded(a.want[0], terms), rounded(a.want[1], terms)};
}
Bounds add_bounds(const BoundArgs& a) {
  return {rounded(a.want[0], accumulate_add(a.params, absolute(a.in), a.context)[0])};
}
Bounds mean_bounds(const BoundArgs& a) {
  return {rounded(a.want[0], accumulate_mean(a.params, absolute(a.in), a.context)[0])};
}

// Loss scaling (loss_scaled.h): the first two steps were left out; and all are.
const In kScaled{{4}, list({123, 0.125, 1, 2})};
const In kLeftOut{{4}, list({NAN, 0, 0, 2})};

OpCase ema_case(const std::string& why, float decay, const Shape& w, const In& clip = absent()) {
  return {"ema " + why,
          OpKind::ema_update,
          Params::of(EmaParams{decay}),
          {{w, {}}, {w, {}}, clip},
          {},
          {{0, 0}},
          4,
          false};
}
OpCase lookahead_case(const std::string& why, int k, float alpha, const Shape& w,
                      const In& clip = absent()) {
  return {"lookahead " + why,
          OpKind::lookahead_update,
          Params::of(LookaheadParams{k, alpha}),
          {{w, {}}, {w, {}}, clip},
          {},
          {{0, 0}, {1, 1}},
          7,
          false};
}
In stats_of(double divisor) { return {{4}, list({9, divisor, 2, 3})}; }
OpCase add_case(const std::string& why, const In& sum, double divisor, double total,
                bool is_sum = false) {
  return {"accumulate_add " + why,
          OpKind::accumulate_add,
          Params::of(AccumulateParams{is_sum ? 1 : 0}),
          {sum, {sum.shape, {}}, stats_of(divisor), {{1}, list({total})}},
          {},
          {{0, 0}},
          3,
          false};
}
OpCase mean_case(const std::string& why, const In& sum, double divisor, double total,
                 bool is_sum = false) {
  return {"accumulate_mean " + why,
          OpKind::accumulate_mean,
          Params::of(AccumulateParams{is_sum ? 1 : 0}),
          {{sum.shape, {}}, sum, stats_of(divisor), {{1}, list({total})}},
          {},
          {},
          1,
          false};
}
OpCase total_case(const std::string& why, bool is_reset) {
  return {"accumulate_total " + why,
          OpKind::accumulate_total,
          Params::of(AccumulateTotalParams{is_reset ? 1 : 0}),
          {{{1}, list({5})}, stats_of(2.5)},
          {},
          {{0, 0}},
          3,
          false};
}

}  // namespace

std::vector<OpCase> averaging_cases() {
  const In sums{{5, 7}, {}};
  const In unset{{5, 7}, list({NAN})};
  return {
      ema_case("of a matrix", 0.99f, {5, 7}),
      ema_case("that forgets at once", 0, {9}),
      ema_case("of one weight", 0.5f, {1}),
      ema_case("of several tiles", 0.999f, {3, 16000}),
      ema_case("with a scaled loss", 0.9f, {5, 7}, kScaled),
      ema_case("left out", 0.9f, {5, 7}, kLeftOut),
      lookahead_case("with a scaled loss: every third step that counts", 3, 0.5f, {5, 7}, kScaled),
      lookahead_case("left out", 1, 0.5f, {5, 7}, kLeftOut),
      lookahead_case("every third step", 3, 0.5f, {5, 7}),
      lookahead_case("every step, all the way", 1, 1, {9}),
      lookahead_case("of one weight", 2, 0.8f, {1}),
      lookahead_case("of several tiles", 2, 0.5f, {3, 16000}),
      add_case("to what is there", sums, 32, 96),
      add_case("the first: acc is not read", unset, 32, 0),
      add_case("nothing: all samples ignored", sums, 0, 96),
      add_case("with a weight that is no whole number", sums, 2.7, 0.3),
      add_case("of a loss that is a sum", sums, 32, 96, true),
      add_case("the first, of a loss that is a sum", unset, 32, 0, true),
      mean_case("of a loss that is a sum", sums, 32, 96, true),
      mean_case("of one, of a loss that is a sum", unset, 32, 0, true),
      add_case("of several tiles", {{3, 16000}, {}}, 3, 5),
      mean_case("of several micro-batches", sums, 32, 96),
      mean_case("of one: acc is not read", unset, 32, 0),
      mean_case("of a last one that counts for nothing", sums, 0, 96),
      mean_case("of nothing: 0", unset, 0, 0),
      mean_case("of several tiles", {{3, 16000}, {}}, 3, 5),
      total_case("adds", false),
      total_case("begins anew", true),
  };
}

std::vector<RejectCase> averaging_rejections() {
  const In w{{5, 7}, {}};
  const In other{{7, 5}, {}};
  const In one{{1}, {}};
  return {
      {"ema \"layer\": decay is at least 0 and below 1, got 1",
       OpKind::ema_update,
       Params::of(EmaParams{1}),
       {w, w}},
      {"ema \"layer\": w is f32 [5, 7], got f32 [7, 5]",
       OpKind::ema_update,
       Params::of(EmaParams{0.9f}),
       {w, other}},
      {"lookahead \"layer\": k is at least 1, got 0",
       OpKind::lookahead_update,
       Params::of(LookaheadParams{0, 0.5f}),
       {w, w}},
      {"lookahead \"layer\": alpha lies above 0 up to 1, got 0",
       OpKind::lookahead_update,
       Params::of(LookaheadParams{5, 0}),
       {w, w}},
      {"ema \"layer\": what the check of the gradients found is f32 [4], got f32 [1]",
       OpKind::ema_update,
       Params::of(EmaParams{0.9f}),
       {w, w, one}},
      {"lookahead \"layer\": what the check of the gradients found is f32 [4], got f32 [5, 7]",
       OpKind::lookahead_update,
       Params::of(LookaheadParams{5, 0.5f}),
       {w, w, w}},
      {"accumulate_add \"layer\": stats is f32 [4], got f32 [1]",
       OpKind::accumulate_add,
       {},
       {w, w, one, one}},
      {"accumulate_mean \"layer\": the accumulated gradient is f32 [5, 7], got f32 [7, 5]",
       OpKind::accumulate_mean,
       {},
       {w, other, {{4}, {}}, one}},
      {"accumulate_total \"layer\": the total divisor is f32 [1], got f32 [4]",
       OpKind::accumulate_total,
       {},
       {{{4}, {}}, {{4}, {}}}},
  };
}

std::vector<Rule> averaging_rules() {
  return {
      {OpKind::ema_update, loss_scaled<ema, 2, false>, loss_scaled_bounds<ema_bounds, 2>},
      {OpKind::lookahead_update, loss_scaled<lookahead, 2, false>,
       loss_scaled_bounds<lookahead_bounds, 2>},
      {OpKind::accumulate_add, accumulate_add, add_bounds},
      {OpKind::accumulate_mean, accumulate_mean, mean_bounds},
      {OpKind::accumulate_total, accumulate_total},
  };
}

}  // namespace tanul::test
