// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: layers that move, join and combine values.
#include "graph/builder.h"
#include "kernels/concat/concat.h"
#include "kernels/layout/reshape.h"

namespace tanul {

using namespace build;

Var ModelBuilder::flatten(Var x, const std::string& name) {
  checked_input(*impl_, "flatten", x);
  const std::string layer = take_name(*impl_, name, "flatten", "flatten");
  ReshapeParams p{};
  p.flatten = 1;
  p.rank = 2;
  return add_layer(*impl_, OpKind::reshape, layer, {x.id}, Params::of(p), "flatten");
}

Var ModelBuilder::add(Var a, Var b, const std::string& name) {
  checked_input(*impl_, "add", a);
  checked_input(*impl_, "add", b);
  const std::string layer = take_name(*impl_, name, "add", "add");
  return add_layer(*impl_, OpKind::add_fwd, layer, {a.id, b.id}, Params{}, "add");
}

Var ModelBuilder::concat(const std::vector<Var>& xs, int axis, const std::string& name) {
  const std::string layer = take_name(*impl_, name, "concat", "concat");
  std::vector<ValueId> in;
  for (Var x : xs) {
    checked_input(*impl_, "concat", x);
    in.push_back(x.id);
  }
  if (xs.empty() || xs.size() > kMaxConcatInputs) {
    fail(Code::invalid_argument, "{}: 1 to {} inputs are possible, got {}", quoted("concat", layer),
         kMaxConcatInputs, xs.size());
  }
  ConcatParams p{};
  p.axis = checked(quoted("concat", layer), "axis", axis, 0) + 1;  // N is axis 0 inside
  p.count = static_cast<int32_t>(xs.size());
  return add_layer(*impl_, OpKind::concat_fwd, layer, std::move(in), Params::of(p),
                   fmt::format("concat axis {}", axis));
}

}  // namespace tanul
