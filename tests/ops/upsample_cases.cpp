// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/upsample/upsample.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

struct Target {
  std::vector<int32_t> size;
  std::vector<double> scale;
};

Params resize(Resize mode, const Target& target, bool align_corners = false) {
  UpsampleParams p{};
  p.mode = mode;
  p.align_corners = align_corners;
  for (size_t i = 0; i < target.size.size(); ++i) p.out[i] = target.size[i];
  for (size_t i = 0; i < target.scale.size(); ++i) p.scale[i] = target.scale[i];
  return Params::of(p);
}

// Which elements one output is made of along one axis, and their weights.
struct Parts {
  std::vector<int64_t> at;
  std::vector<double> weight;
};

// The kernel of cubic convolution, a = -0.75.
double keys(double distance) {
  const double d = std::abs(distance), a = -0.75;
  if (d <= 1) return (a + 2) * d * d * d - (a + 3) * d * d + 1;
  if (d < 2) return a * (d * d * d - 5 * d * d + 8 * d - 4);
  return 0;
}

Parts parts_of(const UpsampleParams& p, int axis, int64_t i, int64_t in, int64_t out) {
  const double scale =
      p.scale[axis] > 0 ? p.scale[axis] : static_cast<double>(out) / static_cast<double>(in);
  const auto place = static_cast<double>(i), last = static_cast<double>(in - 1);
  const auto nearest = [&](double at) {  // whole numbers where the scale is a ratio of them
    const double shift = p.mode == Resize::nearest ? 0 : 0.5;
    if (p.scale[axis] > 0) at = std::floor((place + shift) / scale);
    return static_cast<int64_t>(std::min(at, last));
  };
  Parts parts;
  if (p.mode == Resize::nearest) return {{nearest(static_cast<double>(i * in / out))}, {1}};
  if (p.mode == Resize::nearest_exact) {
    return {{nearest(static_cast<double>((2 * i + 1) * in / (2 * out)))}, {1}};
  }
  double s = (place + 0.5) / scale - 0.5;
  if (p.align_corners != 0) s = out == 1 ? 0 : place * last / static_cast<double>(out - 1);
  if (p.mode == Resize::linear) {  // a triangle of width 2 round s
    s = std::min(std::max(s, 0.0), last);
    for (int64_t j = 0; j < in; ++j) {
      const double weight = 1 - std::abs(s - static_cast<double>(j));
      if (weight <= 0) continue;
      parts.at.push_back(j);
      parts.weight.push_back(weight);
    }
    return parts;
  }
  for (double j = std::floor(s) - 1; j <= std::floor(s) + 2; ++j) {
    parts.at.push_back(static_cast<int64_t>(std::min(std::max(j, 0.0), last)));
    parts.weight.push_back(keys(s - j));
  }
  return parts;
}

// Calls body(element of y, element of x, weight) for all pairs, the spatial axes taken as three.
template <typename Body>
void for_pairs(const UpsampleParams& p, const Shape& x, const Shape& y, const Body& body) {
  std::vector<Parts> tables[3];
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1};
  for (int axis = 0; axis < 3; ++axis) {
    const int own = axis - (5 - x.rank());
    if (own >= 0) {
      in[axis] = x[own + 2];
      out[axis] = y[own + 2];
    }
    for (int64_t i = 0; i < out[axis]; ++i) {
      tables[axis].push_back(own < 0 ? Parts{{0}, {1}} : parts_of(p, own, i, in[axis], out[axis]));
    }
  }
  for (int64_t i = 0; i < y.elems(); ++i) {
    const Parts& w = tables[2][static_cast<size_t>(i % out[2])];
    const Parts& h = tables[1][static_cast<size_t>(i / out[2] % out[1])];
    const Parts& d = tables[0][static_cast<size_t>(i / (out[2] * out[1]) % out[0])];
    const int64_t plane = i / (out[0] * out[1] * out[2]);
    for (size_t a = 0; a < d.at.size(); ++a) {
      for (size_t b = 0; b < h.at.size(); ++b) {
        for (size_t c = 0; c < w.at.size(); ++c) {
          body(i, ((plane * in[0] + d.at[a]) * in[1] + h.at[b]) * in[2] + w.at[c],
               d.weight[a] * h.weight[b] * w.weight[c]);
        }
      }
    }
  }
}

Shape resized(const UpsampleParams& p, const Shape& x) {
  Shape y = x;
  for (int i = 0; i + 2 < x.rank(); ++i) {
    y[i + 2] = p.out[i] != 0
                   ? p.out[i]
                   : static_cast<int64_t>(std::floor(p.scale[i] * static_cast<double>(x[i + 2])));
  }
  return y;
}

Tensors fwd(const Params& params, const Tensors& in, const RefContext&) {
  const UpsampleParams& p = params.as<UpsampleParams>();
  RefTensor y(resized(p, in[0].shape));
  for_pairs(p, in[0].shape, y.shape,
            [&](int64_t to, int64_t from, double weight) { y[to] += weight * in[0][from]; });
  return {y};
}

Shape shape_of_x(const UpsampleParams& p, const Shape& y) {
  Shape x = y;
  for (int i = 0; i < p.axes; ++i) x[i + 2] = p.in[i];
  return x;
}

Tensors bwd(const Params& params, const Tensors& in, const RefContext&) {
  const UpsampleParams& p = params.as<UpsampleParams>();
  RefTensor dx(shape_of_x(p, in[0].shape));
  for_pairs(p, dx.shape, in[0].shape,
            [&](int64_t from, int64_t to, double weight) { dx[to] += weight * in[0][from]; });
  return {dx};
}

bool is_nearest(const Params& params) {
  const Resize mode = params.as<UpsampleParams>().mode;
  return mode == Resize::nearest || mode == Resize::nearest_exact;
}

// 4 u T, T = Σ |weight x|, which is at most the largest neighbour where no weight is negative; the sum is
// made in double, so that its length and the rounding of the weights count by 2^-52.
std::vector<double> resized_bound(const RefTensor& want, const RefTensor& T, double n) {
  std::vector<double> bound;
  for (int64_t i = 0; i < want.elems(); ++i) {
    bound.push_back((4 * kU + (64 + n) * 0x1p-52) * T[i] + kSmallest);
  }
  return bound;
}

Bounds bounds_fwd(const BoundArgs& args) {
  const UpsampleParams& p = args.params.as<UpsampleParams>();
  const Tensors x = absolute(args.in);
  RefTensor T(args.want[0].shape);
  for_pairs(p, x[0].shape, T.shape, [&](int64_t to, int64_t from, double weight) {
    T[to] += std::abs(weight) * x[0][from];
  });
  if (is_nearest(args.params)) return {exact(T)};
  return {resized_bound(args.want[0], T, 64)};
}

Bounds bounds_bwd(const BoundArgs& args) {
  const UpsampleParams& p = args.params.as<UpsampleParams>();
  const Tensors dy = absolute(args.in);
  RefTensor T(args.want[0].shape);
  for_pairs(p, T.shape, dy[0].shape, [&](int64_t from, int64_t to, double weight) {
    T[to] += std::abs(weight) * dy[0][from];
  });
  return {resized_bound(args.want[0], T, static_cast<double>(dy[0].elems()))};
}

OpCase make(const std::string& why, const Shape& x, const Params& params) {
  return {"upsample " + why, OpKind::upsample_fwd, params, {{x, {}}}, {0}, {}, 1, true};
}

}  // namespace

std::vector<OpCase> upsample_cases() {
  std::vector<OpCase> cases;
  for (const auto& [name, mode] :
       {std::pair("nearest", Resize::nearest), std::pair("nearest_exact", Resize::nearest_exact),
        std::pair("linear", Resize::linear), std::pair("cubic", Resize::cubic)}) {
    for (bool corners : {false, true}) {
      if (corners && (mode == Resize::nearest || mode == Resize::nearest_exact)) continue;
      const auto add = [&, m = mode,
                        prefix = std::string(name) + (corners ? ", corners aligned, " : " ")](
                           const std::string& why, const Shape& x, const Target& target) {
        cases.push_back(make(prefix + why, x, resize(m, target, corners)));
      };
      add("to the same size", {2, 3, 4, 5}, {{4, 5}, {}});
      add("to twice the size", {2, 3, 4, 5}, {{8, 10}, {}});
      add("to a size that is no multiple", {1, 2, 5, 7}, {{8, 9}, {}});
      add("to a smaller one", {2, 2, 8, 7}, {{3, 4}, {}});
      add("to one element", {2, 3, 5, 6}, {{1, 1}, {}});
      add("of one element", {2, 3, 1, 1}, {{3, 4}, {}});
      add("of signals", {2, 3, 5}, {{12}, {}});
      add("of volumes", {1, 2, 3, 2, 4}, {{4, 5, 8}, {}});
      add("by a scale whose size is rounded down", {1, 2, 5, 6}, {{}, {1.75, 1.75}});
      add("by a scale below one", {1, 2, 9, 7}, {{}, {0.4, 0.7}});
      add("by a scale and to a size", {1, 2, 4, 5}, {{0, 7}, {3, 0}});
      add("of rows alone, far", {1, 1, 2, 3}, {{23, 3}, {}});
      add("of planes beyond a tile", {2, 2, 60, 50}, {{130, 90}, {}});
      add("of many small planes: several tiles", {60, 20, 2, 3}, {{4, 6}, {}});
    }
  }
  // 49 · (1 / 49) is below 1
  cases.push_back(make("nearest by a whole scale whose inverse is rounded", {1, 1, 3},
                       resize(Resize::nearest, {{}, {49}})));
  return cases;
}

std::vector<RejectCase> upsample_rejections() {
  const std::vector<In> x{{{2, 3, 4, 5}, {}}};
  const OpKind kind = OpKind::upsample_fwd;
  return {
      {"upsample \"layer\": x must be f32, got u8",
       kind,
       resize(Resize::nearest, {{4}, {}}),
       {{{2, 3, 4}, {}, DType::u8}}},
      {"upsample \"layer\": x has one to three spatial axes, [N, C, …], got [2, 3]",
       kind,
       resize(Resize::nearest, {{4}, {}}),
       {{{2, 3}, {}}}},
      {"upsample \"layer\": align_corners belongs to the modes linear and cubic", kind,
       resize(Resize::nearest, {{4, 4}, {}}, true), x},
      {"upsample \"layer\": spatial axis 1 of x [2, 3, 4, 5]: a size of at least 1 or a scale that "
       "leaves one is needed, got the scale 0.1",
       kind, resize(Resize::linear, {{4, 0}, {0, 0.1}}), x},
      {"upsample \"layer\": spatial axis 0 of x [2, 3, 4, 5]: a size of at least 1 or a scale that "
       "leaves one is needed, got the scale 0",
       kind, resize(Resize::linear, {{0, 4}, {}}), x},
      {"upsample \"layer\": spatial axis 1: the size is at least 1, got -2", kind,
       resize(Resize::linear, {{3, -2}, {}}), x},
  };
}

std::vector<Rule> upsample_rules() {
  return {
      {OpKind::upsample_fwd, fwd, bounds_fwd, is_nearest},
      {OpKind::upsample_bwd, bwd, bounds_bwd, is_nearest},
  };
}

}  // namespace tanul::test
