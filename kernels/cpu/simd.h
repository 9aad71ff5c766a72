// SPDX-License-Identifier: Apache-2.0
// Vector primitives over contiguous floats, for one thread. The instruction set is picked at run
// time (Highway), all code for it lies in simd.cpp.
//
// Every element is computed by the same operations whatever its place: results depend neither on
// alignment nor on where a range was cut. Reductions have a fixed order that depends on n only.
// Pointers of one call are equal or do not overlap.
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"

namespace tanul::cpu {

// The instruction set in use: "AVX2", "AVX3" (AVX-512), "SSE4", …, for `tanul info`.
const char* simd_target();

void add(const float* a, const float* b, float* y, int64_t n);        // y = a + b
void accumulate(const float* x, float* y, int64_t n);                 // y += x
void multiply_add(float alpha, const float* x, float* y, int64_t n);  // y += alpha x, fused
void scale(float alpha, const float* x, float* y, int64_t n);         // y = alpha x
float sum(const float* x, int64_t n);
// y [rows, columns] = x, with rows ld_x and ld_y floats apart: for rows too short for memcpy
void copy_rows(const float* x, int64_t ld_x, int64_t rows, int64_t columns, float* y, int64_t ld_y);
void every_second(const float* x, float* y, int64_t n);  // y[i] = x[2 i], reads x[0 … 2 n - 2]
// y [columns, rows] = transpose of x [rows, columns], with rows ld_x and ld_y floats apart
void transpose(const float* x, int64_t ld_x, int64_t rows, int64_t columns, float* y, int64_t ld_y);

// e[i] = exp(x[i] - shift[i]), or exp(x[i] - *shift) where shift_step is 0. NaN stays NaN.
void exp_shifted(const float* x, const float* shift, int64_t shift_step, double* e, int64_t n);

// y = act(y + bias): the write-back of a convolution plane.
void bias_activation(float* y, float bias, int64_t n, ActivationKind activation);
// y[i] = act(y[i] + bias[i]), bias may be null: the write-back of a row of a linear layer.
void bias_row_activation(float* y, const float* bias, int64_t n, ActivationKind activation);

// y[i] = x[i] scale + shift
void affine_u8(const uint8_t* x, float* y, int64_t n, float scale, float shift);

struct SgdRates {
  float lr, momentum, dampening, weight_decay;
  bool nesterov, first_step;
  float grad_scale;
};
// See optim.h. g is multiplied by grad_scale first.
//   g = grad_scale g + weight_decay w;  v = first_step ? g : momentum v + (1 - dampening) g
//   w -= lr (nesterov ? g + momentum v : v);  v null: w -= lr g
void sgd_update(float* w, const float* g, float* v, int64_t n, const SgdRates& rates);
// The same for w and v [rows, columns] with rows `ld` floats apart, and g with rows ld_g apart.
void sgd_update_rows(float* w, float* v, int64_t ld, const float* g, int64_t ld_g, int64_t rows,
                     int64_t columns, const SgdRates& rates);
//   w *= decay_factor;  g = grad_scale g + l2 w;  m = beta1 m + (1 - beta1) g;
//   v = beta2 v + (1 - beta2) g^2;  w -= step_size m / (sqrt(v) inv_sqrt_correction2 + eps)
void adam_update(float* w, const float* g, float* m, float* v, int64_t n, float step_size,
                 float beta1, float beta2, float eps, float inv_sqrt_correction2,
                 float decay_factor, float l2, float grad_scale);

// One output row of a pooling layer whose windows lie inside the plane. `x` is the upper left
// element of the first window in a plane with rows of `ldx` floats; stride_w is 1 or 2.
struct PoolRow {
  const float* x;
  int64_t ldx;
  int32_t kernel_h, kernel_w, stride_w;
  int64_t count;  // windows in the row
};
// y[q] = maximum of window q; argmax[q] (may be null) = x_index + its offset from `x`: the first of
// equal ones, or the first NaN.
void max_pool_row(const PoolRow& row, int32_t x_index, float* y, int32_t* argmax);
// y[q] = sum of window q / divisor
void average_pool_row(const PoolRow& row, float divisor, float* y);

}  // namespace tanul::cpu
