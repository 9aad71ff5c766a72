// SPDX-License-Identifier: Apache-2.0
#include "tanul/tensor.h"

#include <gtest/gtest.h>

#include "core/philox.h"

namespace tanul {
namespace {

TEST(Shape, ElemsRefusesOverflow) {
  EXPECT_EQ((Shape{2, 3, 4}).elems(), 24);
  EXPECT_EQ(Shape{}.elems(), 1);
  const Shape huge{int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_THROW(huge.elems(), Error);
  EXPECT_THROW((Shape{2, -1}), Error);
}

TEST(Tensor, ConvertsWithClampingAndRounding) {
  const Tensor t = Tensor::from<float>({4}, {-3.f, 2.5f, 300.f, 7.4f});
  const Tensor u = t.to(DType::u8);
  EXPECT_EQ(u.data<uint8_t>()[0], 0);
  EXPECT_EQ(u.data<uint8_t>()[1], 2);
  EXPECT_EQ(u.data<uint8_t>()[2], 255);
  EXPECT_EQ(u.data<uint8_t>()[3], 7);
}

TEST(Tensor, WrongElementTypeIsAnError) {
  const Tensor t({2}, DType::u8);
  try {
    t.data<float>();
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "a tensor [2] of u8 was read as f32");
  }
}

// Known answers of Random123 (philox4x32, 10 rounds), kat_vectors.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, 0, 0),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffff, 0xffffffff),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

}  // namespace
}  // namespace tanul
