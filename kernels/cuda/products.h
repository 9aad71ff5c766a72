// SPDX-License-Identifier: Apache-2.0
// Matrix products of float32 by cuBLASLt, with what it can do to a sum before it is written.
//
//   d [rows, columns] = epilogue( op(a) op(b) )      op(a) [rows, depth], op(b) [depth, columns]
//
// Matrices are column-major here, as cuBLASLt likes them best: what is row-major [m, n] elsewhere is its
// transpose, [n, m]. Sums are float32; which format is multiplied says `compute_type`.
// Deterministic: the choice of an algorithm depends on shape, device and version of the library alone, and
// sums that are split are added in one go behind their parts, never as they come.
#pragma once

#include <compare>
#include <map>

#include "kernels/cuda/api.h"
#include "kernels/cuda/libraries.h"

namespace tanul::cuda {

struct ProductShape {
  int64_t rows, columns, depth;
  bool is_a_transposed, is_b_transposed;
  uint32_t epilogue;
  int compute_type;

  auto operator<=>(const ProductShape&) const = default;
};

struct ProductOperands {
  const float *a, *b;
  float* d;
  void* bias;  // read or written, as the epilogue says; null without
};

class Products {
 public:
  explicit Products(const cublaslt::Api& api) : api_(api) {}
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  // Asks for an algorithm where that was not done before, or failed.
  const Preparation& prepare(const ProductShape& shape);
  // What was prepared.
  const Preparation& find(const ProductShape& shape) const;
  int launch(const ProductShape& shape, const ProductOperands& operands, const StepArgs& args,
             StreamHandle stream) const;

 private:
  struct Product {
    Preparation preparation;
    bool is_ready = false;
    cublaslt::MatmulDesc desc = nullptr;
    cublaslt::MatrixLayout a = nullptr, b = nullptr, d = nullptr;
    cublaslt::Algorithm algorithm = {};
  };

  bool open(Preparation& preparation);
  bool describe(const ProductShape& shape, Product& product);
  bool choose(Product& product);
  void free(Product& product) const;
  bool is_good(int status, const char* call, Preparation& preparation) const;

  const cublaslt::Api& api_;
  bool is_open_ = false;
  cublaslt::Handle handle_ = nullptr;
  cublaslt::Preference preference_ = nullptr;
  std::map<ProductShape, Product> products_;
};

}  // namespace tanul::cuda
