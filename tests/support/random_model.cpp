// SPDX-License-Identifier: Apache-2.0
#include "support/random_model.h"

namespace tanul::test {

Model random_model(uint32_t which) {
  Draw draw(which);
  ModelBuilder m("random");
  const int64_t size = 6 + 2 * draw.below(4);
  std::vector<Var> planes{m.input({1 + draw.below(3), size, size})};
  const int64_t layers = 3 + draw.below(18);
  for (int64_t i = 0; i < layers; ++i) {
    const Var x = planes[static_cast<size_t>(draw.below(static_cast<int64_t>(planes.size())))];
    Var y = x;
    switch (draw.below(10)) {
      case 0:
      case 1: y = m.conv2d(x, {.out = 1 + draw.below(5), .kernel = 3, .pad = 1}); break;
      case 2: y = m.relu(m.conv2d(x, {.out = 1 + draw.below(5), .kernel = 1})); break;
      case 3: y = m.relu(x); break;
      case 4: y = m.tanh(x); break;
      case 5: y = m.dropout(x, {.p = 0.3}); break;
      case 8: y = m.batch_norm(x); break;  // with and without a relu behind it
      case 6: y = m.max_pool2d(x, {.kernel = 3, .stride = 1, .pad = 1}); break;
      case 7: {
        const Var other =
            planes[static_cast<size_t>(draw.below(static_cast<int64_t>(planes.size())))];
        y = m.shape(x) == m.shape(other) ? m.add(x, other) : m.concat({x, other});
        break;
      }
      default: y = m.sigmoid(m.add(x, x)); break;
    }
    planes.push_back(y);
  }
  // Everything that was made is read by the end, so that no layer is idle.
  Var all = planes.size() > 14 ? planes.back() : m.concat({planes.begin() + 1, planes.end()});
  all = m.flatten(draw.below(2) == 0 ? all : m.avg_pool2d(all, {.kernel = 2}));
  m.softmax_cross_entropy(m.linear(all, {.out = 3}));
  return m.build();
}

}  // namespace tanul::test
