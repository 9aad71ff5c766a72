// SPDX-License-Identifier: Apache-2.0
// Copies with channels last (kernels/cuda/channels_last.h) against plain loops, bit for bit.
#include "kernels/cuda/channels_last.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "emulation/grid.h"
#include "kernels/cuda/mma.h"
#include "support/rounding.h"

namespace tanul::cuda::channels_last {
namespace {

// One word and one channel tile of each, edges, one position, more than a tile, more images and channels in
// the copy; odd numbers of channels there.
const Tiling kShapes[] = {{1, 2, 1, 1, 2},     {2, 3, 33, 2, 8},     {3, 64, 32, 3, 64},
                          {2, 65, 9, 8, 72},   {1, 130, 70, 1, 136}, {20, 24, 25, 24, 24},
                          {5, 200, 1, 8, 200}, {2, 5, 31, 4, 6},     {4, 1, 9, 4, 1},
                          {3, 65, 33, 3, 65},  {2, 63, 40, 2, 63}};

std::vector<float> draw(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (float& x : values) x = normal(random);
  // Ties to even and to the other side, the largest of fp16 and what is beyond it, its subnormal numbers.
  const float special[] = {1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1p-11f, 1 + 0x3p-11f, 65519,    65520,
                           -65536,      0x1p-25f,    0x3p-25f,     -0.0f,        HUGE_VALF};
  for (size_t i = 0; i < std::size(special) && i < values.size(); ++i) {
    values[i * 5 % values.size()] = special[i];
  }
  return values;
}

float of_bf16(uint32_t half) { return std::bit_cast<float>(half << 16); }

template <class Body>
void with_each_format(const Body& body) {
  body(Bf16(), test::round_to_bf16, of_bf16);
  body(Fp16(), test::round_to_fp16, emulation::from_fp16);
}

void run(const Tiling& cut, const std::function<void()>& kernel) {
  // Some blocks have no tile, or several.
  for (const uint32_t blocks : {cut.grid().x, 3u, cut.grid().x + 2}) {
    emulation::run_grid({blocks, 1, 1}, {kThreads, 1, 1}, kernel);
  }
}

constexpr uint16_t kGuard = 0x7fc1;  // no number

// The 16 bits of the copy in words as they are wide for `s`.
template <class Body>
void run_with_word(const Tiling& s, std::vector<uint16_t>& copy, const Body& body) {
  with_word(s, [&](auto word) {
    using Word = decltype(word);
    run(s, [&] { body(reinterpret_cast<Word*>(copy.data())); });
    return 0;
  });
}

TEST(ChannelsLast, CopiesAreRoundedAndPaddedWithZeros) {
  for (Tiling s : kShapes) {
    s.cut_to();
    const std::vector<float> x = draw(s.images * s.channels * s.positions);
    const int64_t elems = s.last_images * s.positions * s.last_channels;
    with_each_format([&](auto format, auto round, auto number) {
      std::vector<uint16_t> copy(static_cast<size_t>(elems) + 8, kGuard);
      run_with_word(s, copy, [&](auto* words) {
        to_channels_last_kernel<decltype(format)>(s, x.data(), words);
      });
      for (int64_t i = 0; i < elems; ++i) {
        const int64_t c = i % s.last_channels, p = i / s.last_channels % s.positions;
        const int64_t n = i / s.last_channels / s.positions;
        const bool is_there = n < s.images && c < s.channels;
        const float from =
            is_there ? x[static_cast<size_t>((n * s.channels + c) * s.positions + p)] : 0.0f;
        ASSERT_EQ(std::bit_cast<uint32_t>(number(copy[static_cast<size_t>(i)])),
                  std::bit_cast<uint32_t>(round(from)))
            << from << " at image " << n << ", position " << p << ", channel " << c;
      }
      for (size_t i = copy.size() - 8; i < copy.size(); ++i) ASSERT_EQ(copy[i], kGuard);
    });
  }
}

// What the format holds comes back with the same bits.
TEST(ChannelsLast, TheWayBackAddsABiasAndAppliesAnActivation) {
  for (Tiling s : kShapes) {
    s.cut_from();
    const std::vector<float> x = draw(s.last_images * s.positions * s.last_channels);
    const std::vector<float> b = draw(s.channels);
    with_each_format([&](auto format, auto round, auto) {
      std::vector<uint16_t> copy;
      for (const float value : x) {
        const float steps[2] = {value, 0};
        copy.push_back(static_cast<uint16_t>(decltype(format)::word(steps)));
      }
      for (const bool has_bias : {false, true}) {
        for (const auto activation : {ActivationKind::none, ActivationKind::relu}) {
          std::vector<float> y(static_cast<size_t>(s.images * s.channels * s.positions) + 8, NAN);
          const Finish finish{has_bias ? b.data() : nullptr, activation};
          run_with_word(s, copy, [&](auto* words) {
            using Word = std::remove_pointer_t<decltype(words)>;
            from_channels_last_kernel<decltype(format), Word>(s, words, y.data(), finish);
          });
          for (size_t i = 0; i + 8 < y.size(); ++i) {
            const auto at = static_cast<int64_t>(i);
            const int64_t p = at % s.positions, c = at / s.positions % s.channels;
            const int64_t n = at / s.positions / s.channels;
            float want = round(x[static_cast<size_t>((n * s.positions + p) * s.last_channels + c)]);
            if (has_bias) want += b[static_cast<size_t>(c)];
            if (activation == ActivationKind::relu && want < 0) want = 0;
            ASSERT_EQ(std::bit_cast<uint32_t>(y[i]), std::bit_cast<uint32_t>(want))
                << "image " << n << ", channel " << c << ", position " << p;
          }
          for (size_t i = y.size() - 8; i < y.size(); ++i) ASSERT_TRUE(std::isnan(y[i]));
        }
      }
    });
  }
}

}  // namespace
}  // namespace tanul::cuda::channels_last
