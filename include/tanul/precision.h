// SPDX-License-Identifier: Apache-2.0
// The format in which products are computed.
#pragma once

#include <cstdint>

#include "tanul/export.h"

namespace tanul {

// Convolutions and linear layers, forward and backward, round the factors of their products to this format
// and add the products up in float32. Everything else is computed in float32, and all tensors (weights,
// activations, gradients, optimizer state) are float32 in memory. With the unit roundoff u of the format
// |sum' - sum| <= (2 u + u^2 + n 2^-24) sum |x_i y_i| over n products, to first order in 2^-24. Convolutions by
// cuDNN in bf16 and fp16 (cudnn_bf16, cudnn_fp16) round the sum as well: u |sum| more, and in fp16 a sum from
// 65520 on is infinite.
//
//        significand    u     largest   smallest normal
//   fp32   24 bits    2^-24   3.4e38       1.2e-38
//   tf32   11 bits    2^-11   3.4e38       1.2e-38
//   bf16    8 bits    2^-8    3.4e38       1.2e-38
//   fp16   11 bits    2^-11   65504        6.1e-5
//
// Factors are rounded to the nearest; where a library of the vendor cuts them off instead, u is twice that.
enum class Precision : int32_t { fp32, tf32, bf16, fp16 };
inline constexpr Precision kPrecisions[] = {Precision::fp32, Precision::tf32, Precision::bf16,
                                            Precision::fp16};

TANUL_API const char* precision_name(Precision precision);  // "bf16"

}  // namespace tanul
