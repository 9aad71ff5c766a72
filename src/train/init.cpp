// SPDX-License-Identifier: Apache-2.0
// Initial weights. Every number comes from its own counter, in double, and is rounded once.
#include "train/init.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <vector>

#include "core/format.h"
#include "core/philox.h"
#include "kernels/activation/definition.h"

namespace tanul {

Fans fans_of(const Shape& shape) {
  Fans fans;
  if (shape.rank() == 0) return fans;
  const auto receptive = static_cast<double>(shape.rank() > 2 ? shape.elems_from(2) : 1);
  fans.in = static_cast<double>(shape.rank() > 1 ? shape[1] : shape[0]) * receptive;
  fans.out = static_cast<double>(shape[0]) * receptive;
  return fans;
}

double gain_of(const std::string& activation, double slope) {
  if (activation == "leaky_relu" || activation == "prelu") return rectifier_gain(slope);
  if (const ActivationInfo* info = find_activation(activation.c_str())) {
    double defaults[kMaxActivationParams] = {};
    for (int i = 0; i < info->param_count(); ++i) defaults[i] = info->def->params[i].otherwise;
    return info->def->gain == nullptr ? 1 : info->def->gain(defaults);
  }
  for (const char* linear :
       {"linear", "conv", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
        "conv_transpose3d", "identity", "softmax", "log_softmax"}) {
    if (activation == linear) return 1;
  }
  fail(Code::not_found, "gain_of: there is no activation \"{}\"", activation);
}

namespace {

// Who draws the numbers 0 … n - 1 of a random stream, in parts.
struct Drawing {
  int64_t n;
  const Philox& random;
  const ForEach& for_each;
};

// put(i, number) for all i. Numbers 2i and 2i+1 come from one block: they are drawn together.
template <typename Draw, typename Put>
void draw_pairs(const Drawing& drawing, const Draw& draw, const Put& put) {
  constexpr int64_t kPart = 1 << 15;
  const int64_t n = drawing.n;
  drawing.for_each((n + kPart - 1) / kPart, [&](int64_t part) {
    const int64_t end = std::min(n, (part + 1) * kPart);
    for (int64_t i = part * kPart; i < end; i += 2) {
      const std::array<double, 2> pair = draw(static_cast<uint64_t>(i / 2));
      put(i, pair[0]);
      if (i + 1 < n) put(i + 1, pair[1]);
    }
  });
}

template <typename Put>
void draw_normal(const Drawing& drawing, const Put& put) {
  draw_pairs(
      drawing, [&](uint64_t pair) { return drawing.random.normal_pair(pair); }, put);
}

void fill_uniform(float* w, const Drawing& drawing, double low, double high) {
  // Rounding to float must not leave the interval.
  const auto least = static_cast<float>(low), most = static_cast<float>(high);
  draw_pairs(
      drawing, [&](uint64_t pair) { return drawing.random.uniform_pair(pair); },
      [&](int64_t i, double u) {
        w[i] = std::clamp(static_cast<float>(low + (high - low) * u), least, most);
      });
}

void fill_normal(float* w, const Drawing& drawing, double mean, double deviation) {
  draw_normal(drawing,
              [&](int64_t i, double z) { w[i] = static_cast<float>(mean + deviation * z); });
}

// Numbers beyond two deviations are drawn again, each from the same index of the next step.
void fill_truncated(float* w, const Drawing& drawing, double mean, double deviation) {
  draw_normal(drawing, [&](int64_t i, double z) {
    for (Philox again = drawing.random; std::fabs(z) > 2;) {
      ++again.step;
      z = again.normal(static_cast<uint64_t>(i));
    }
    w[i] = static_cast<float>(mean + deviation * z);
  });
}

// The rows of q [rows, columns], rows <= columns, made orthonormal one after the other (Gram-Schmidt,
// twice, which leaves rounding alone). A row that depends on those before it is drawn anew.
void orthonormalize(std::vector<double>& q, int64_t rows, int64_t columns, Philox random) {
  const auto row = [&](int64_t i) { return q.data() + i * columns; };
  for (int64_t i = 0; i < rows; ++i) {
    double* x = row(i);
    for (;;) {
      double before = 0;
      for (int64_t j = 0; j < columns; ++j) before += x[j] * x[j];
      for (int pass = 0; pass < 2; ++pass) {
        for (int64_t k = 0; k < i; ++k) {
          const double* y = row(k);
          double dot = 0;
          for (int64_t j = 0; j < columns; ++j) dot += x[j] * y[j];
          for (int64_t j = 0; j < columns; ++j) x[j] -= dot * y[j];
        }
      }
      double norm = 0;
      for (int64_t j = 0; j < columns; ++j) norm += x[j] * x[j];
      if (norm > 1e-20 * before) {
        for (int64_t j = 0; j < columns; ++j) x[j] /= std::sqrt(norm);
        break;
      }
      ++random.step;
      for (int64_t j = 0; j < columns; ++j) {
        x[j] = random.normal(static_cast<uint64_t>(i * columns + j));
      }
    }
  }
}

void fill_orthogonal(Tensor& weights, const Philox& random, double gain, const ForEach& for_each) {
  const int64_t K = weights.shape().rank() > 0 ? weights.shape()[0] : 1;
  const int64_t each = weights.elems() / K;
  const bool is_tall = K > each;
  const int64_t rows = std::min(K, each), columns = std::max(K, each);
  std::vector<double> q(static_cast<size_t>(rows * columns));
  draw_normal({rows * columns, random, for_each},
              [&](int64_t i, double z) { q[static_cast<size_t>(i)] = z; });
  orthonormalize(q, rows, columns, random);
  float* w = weights.data<float>();
  for (int64_t i = 0; i < K; ++i) {
    for (int64_t j = 0; j < each; ++j) {
      const int64_t at = is_tall ? j * columns + i : i * columns + j;
      w[i * each + j] = static_cast<float>(gain * q[static_cast<size_t>(at)]);
    }
  }
}

void fill_dirac(Tensor& weights, const std::string& name, int64_t groups) {
  const Shape& shape = weights.shape();
  if (shape.rank() < 3 || groups < 1 || shape[0] % groups != 0) {
    fail(Code::invalid_argument,
         "init of \"{}\": dirac wants filters [K, C/G, R, ...] with groups that divide K, got {} "
         "and "
         "{} groups",
         name, shape.str(), groups);
  }
  float* w = weights.data<float>();
  std::fill(w, w + weights.elems(), 0.0f);
  const int64_t each = shape[0] / groups;
  const int64_t taps = shape.elems_from(2);
  int64_t centre = 0;
  for (int i = 2; i < shape.rank(); ++i) centre = centre * shape[i] + shape[i] / 2;
  for (int64_t k = 0; k < shape[0]; ++k) {
    const int64_t channel = k % each;
    if (channel < shape[1]) w[(k * shape[1] + channel) * taps + centre] = 1;
  }
}

void check_deviation(const std::string& name, double deviation) {
  if (!(deviation >= 0) || !std::isfinite(deviation)) {
    fail(Code::invalid_argument,
         "init of \"{}\": the deviation must be finite and 0 or more, got {}", name, deviation);
  }
}

}  // namespace

std::string Init::str() const {
  const char* from = fan == Fan::in ? "in" : "out";
  const std::string scale = gain > 0 ? fmt::format("{:g}", gain) : "of the activation";
  switch (kind) {
    case Kind::automatic: return "automatic";
    case Kind::constant: return fmt::format("constant({:g})", a);
    case Kind::uniform: return fmt::format("uniform({:g}, {:g})", a, b);
    case Kind::normal: return fmt::format("normal(mean = {:g}, std = {:g})", a, b);
    case Kind::truncated_normal:
      return fmt::format("truncated_normal(mean = {:g}, std = {:g})", a, b);
    case Kind::glorot_uniform: return fmt::format("glorot_uniform(gain = {})", scale);
    case Kind::glorot_normal: return fmt::format("glorot_normal(gain = {})", scale);
    case Kind::he_uniform: return fmt::format("he_uniform(fan = {}, gain = {})", from, scale);
    case Kind::he_normal: return fmt::format("he_normal(fan = {}, gain = {})", from, scale);
    case Kind::lecun_normal: return "lecun_normal";
    case Kind::lecun_uniform: return "lecun_uniform";
    case Kind::torch_default: return "torch_default";
    case Kind::orthogonal: return fmt::format("orthogonal(gain = {})", scale);
    case Kind::dirac: return fmt::format("dirac(groups = {:g})", a);
    case Kind::whitening: return "whitening";
  }
  return "";
}

double spread_of(const Init& init, const Shape& shape, double following_gain) {
  const double gain = init.gain > 0 ? init.gain : following_gain;
  const Fans fans = fans_of(shape);
  const double fan = init.fan == Fan::in ? fans.in : fans.out;
  switch (init.kind) {
    case Init::Kind::normal:
    case Init::Kind::truncated_normal: return init.b;
    case Init::Kind::automatic:
    case Init::Kind::glorot_uniform: return gain * std::sqrt(6 / (fans.in + fans.out));
    case Init::Kind::glorot_normal: return gain * std::sqrt(2 / (fans.in + fans.out));
    case Init::Kind::he_uniform: return gain * std::sqrt(3 / fan);
    case Init::Kind::he_normal: return gain / std::sqrt(fan);
    case Init::Kind::lecun_normal:
    case Init::Kind::torch_default: return 1 / std::sqrt(fans.in);
    case Init::Kind::lecun_uniform: return std::sqrt(3 / fans.in);
    case Init::Kind::constant:
    case Init::Kind::uniform:
    case Init::Kind::orthogonal:
    case Init::Kind::dirac:
    case Init::Kind::whitening: return 0;
  }
  return 0;
}

void initialize(Tensor& weights, const Init& init, uint64_t seed, const std::string& name,
                double following_gain) {
  initialize(weights, init, seed, name, following_gain,
             [](int64_t count, const std::function<void(int64_t)>& body) {
               for (int64_t i = 0; i < count; ++i) body(i);
             });
}

void initialize(Tensor& weights, const Init& init, uint64_t seed, const std::string& name,
                double following_gain, const ForEach& for_each) {
  if (!(init.gain >= 0) || !std::isfinite(init.gain)) {
    fail(Code::invalid_argument, "init of \"{}\": the gain must be finite and 0 or more, got {}",
         name, init.gain);
  }
  float* w = weights.data<float>();
  const int64_t n = weights.elems();
  const Philox random{seed, philox_stream(name), 0};
  const Drawing drawing{n, random, for_each};
  const double gain = init.gain > 0 ? init.gain : following_gain;
  const double spread = spread_of(init, weights.shape(), following_gain);
  switch (init.kind) {
    case Init::Kind::constant:
      for (int64_t i = 0; i < n; ++i) w[i] = static_cast<float>(init.a);
      return;
    case Init::Kind::uniform:
      if (!(init.a <= init.b) || !std::isfinite(init.b - init.a)) {
        fail(Code::invalid_argument, "init of \"{}\": uniform wants low <= high, got {} and {}",
             name, init.a, init.b);
      }
      return fill_uniform(w, drawing, init.a, init.b);
    case Init::Kind::normal:
      check_deviation(name, init.b);
      return fill_normal(w, drawing, init.a, init.b);
    case Init::Kind::truncated_normal:
      check_deviation(name, init.b);
      return fill_truncated(w, drawing, init.a, init.b);
    case Init::Kind::automatic:
    case Init::Kind::glorot_uniform:
    case Init::Kind::he_uniform:
    case Init::Kind::lecun_uniform:
    case Init::Kind::torch_default: return fill_uniform(w, drawing, -spread, spread);
    case Init::Kind::glorot_normal:
    case Init::Kind::he_normal:
    case Init::Kind::lecun_normal: return fill_normal(w, drawing, 0, spread);
    case Init::Kind::orthogonal: return fill_orthogonal(weights, random, gain, for_each);
    case Init::Kind::whitening: return fill_orthogonal(weights, random, 1, for_each);
    case Init::Kind::dirac: return fill_dirac(weights, name, static_cast<int64_t>(init.a));
  }
}

}  // namespace tanul
