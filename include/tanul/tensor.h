// SPDX-License-Identifier: Apache-2.0
// Element types, shapes and host tensors: what goes into the engine and what comes out of it.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "tanul/error.h"
#include "tanul/export.h"

namespace tanul {

enum class DType : int32_t { f32 = 0, f64, f16, bf16, u8, i8, i16, i32, i64 };

// Size of one element in bytes.
TANUL_API int64_t dtype_bytes(DType dtype);
// "f32", "u8", …
TANUL_API const char* dtype_name(DType dtype);

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::i8;
};
template <>
struct DTypeOf<int16_t> {
  static constexpr DType value = DType::i16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};

// The extents of a tensor, outermost first: {N, C, H, W}. At most kMaxRank extents, each >= 0; a
// rank of 0 is a scalar with one element.
class TANUL_API Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);        // throws Error{invalid_argument}
  explicit Shape(const std::vector<int64_t>& extents);  // throws Error{invalid_argument}

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return extents_[static_cast<size_t>(axis)]; }
  int64_t& operator[](int axis) { return extents_[static_cast<size_t>(axis)]; }
  const int64_t* begin() const { return extents_.data(); }
  const int64_t* end() const { return extents_.data() + rank_; }

  // Product of the extents (1 for a scalar). Throws Error{invalid_argument} where it exceeds 2^62.
  int64_t elems() const;
  // Product of the extents behind `axis`: the elements of one row, image, …
  int64_t elems_from(int axis) const;
  // The extents from `axis` on: the shape of one sample of a batch is tail(1).
  Shape tail(int axis) const;
  // "[64, 1, 28, 28]"
  std::string str() const;
  // "64x1x28x28"
  std::string str_x() const;

  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i) {
      if (a[i] != b[i]) return false;
    }
    return true;
  }
  friend bool operator!=(const Shape& a, const Shape& b) { return !(a == b); }

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

// A dense row-major tensor in host memory. Copies share the elements (like a shared_ptr); clone()
// makes an independent one. A default-constructed tensor is empty: no elements, rank 0.
class TANUL_API Tensor {
 public:
  Tensor() = default;
  // Zero-filled, aligned to 64 bytes. Throws Error{out_of_memory}.
  explicit Tensor(const Shape& shape, DType dtype = DType::f32);

  // A tensor that holds a copy of `values`; throws Error{invalid_argument} where their number is not
  // shape.elems().
  template <typename T>
  static Tensor from(const Shape& shape, const std::vector<T>& values) {
    Tensor t(shape, DTypeOf<T>::value);
    t.check_count(static_cast<int64_t>(values.size()));
    T* to = t.data<T>();
    for (const T& v : values) *to++ = v;
    return t;
  }

  bool empty() const { return storage_ == nullptr; }
  // Does another tensor hold the same elements?
  bool is_shared() const { return storage_.use_count() > 1; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  int64_t elems() const { return empty() ? 0 : shape_.elems(); }
  int64_t bytes() const { return elems() * dtype_bytes(dtype_); }

  // The elements; throws Error{invalid_argument} where T is not the element type.
  template <typename T>
  T* data() {
    check_dtype(DTypeOf<T>::value);
    return reinterpret_cast<T*>(storage_.get());
  }
  template <typename T>
  const T* data() const {
    check_dtype(DTypeOf<T>::value);
    return reinterpret_cast<const T*>(storage_.get());
  }
  void* raw() { return storage_.get(); }
  const void* raw() const { return storage_.get(); }

  Tensor clone() const;
  // The same elements under another shape of as many elements.
  Tensor reshaped(const Shape& shape) const;
  // The elements converted to `dtype` (values are rounded or clamped to its range).
  Tensor to(DType dtype) const;

 private:
  void check_dtype(DType wanted) const;
  void check_count(int64_t count) const;

  Shape shape_;
  DType dtype_ = DType::f32;
  std::shared_ptr<std::byte> storage_;
};

}  // namespace tanul
