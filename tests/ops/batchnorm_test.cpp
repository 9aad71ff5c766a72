// SPDX-License-Identifier: Apache-2.0
// Batch norm that is computed again in the backward pass has the bits of the first time.
#include "kernels/batchnorm/batchnorm.h"

#include <gtest/gtest.h>

#include "core/philox.h"
#include "support/op_program.h"

namespace tanul::test {
namespace {

RefTensor random_tensor(const Shape& shape, const char* name, double scale, double shift) {
  RefTensor t(shape);
  const Philox random{5, philox_stream(name), 0};
  for (int64_t i = 0; i < t.elems(); ++i) {
    t[i] = shift + scale * random.normal(static_cast<uint64_t>(i));
  }
  return t;
}

TEST(BatchNorm, TheSecondTimeHasTheBitsOfTheFirst) {
  for (const Shape& shape : {Shape{16, 40}, Shape{3, 70, 7, 7}, Shape{2, 5, 3, 3, 3},
                             Shape{2, 3, 190, 181}, Shape{4, 17, 2}}) {
    for (ActivationKind activation : {ActivationKind::none, ActivationKind::relu}) {
      SCOPED_TRACE(shape.str());
      OpProgram program;
      const ValueId x = program.feed(random_tensor(shape, "x", 3, 100), "x");
      const ValueId gamma = program.feed(random_tensor({shape[1]}, "gamma", 0.5, 1), "gamma");
      const ValueId beta = program.feed(random_tensor({shape[1]}, "beta", 0.5, 0), "beta");
      BatchNormParams p{};
      p.eps = 1e-5;
      p.activation = activation;
      const Params params = Params::of(p);
      const auto first = program.add(OpKind::batchnorm_fwd, {x, gamma, beta}, params);
      const auto again =
          program.add(OpKind::batchnorm_eval_fwd, {x, gamma, beta, first[1], first[2]}, params);
      const auto got = program.run(0);
      EXPECT_EQ(got.at(first[0]).v, got.at(again[0]).v);
    }
  }
}

}  // namespace
}  // namespace tanul::test
