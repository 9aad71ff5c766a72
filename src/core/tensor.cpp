// SPDX-License-Identifier: Apache-2.0
// Shapes and host tensors. Knows nothing of devices, graphs or files.
#include "tanul/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/format.h"

namespace tanul {

int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16: return 2;
    case DType::u8:
    case DType::i8: return 1;
  }
  return 0;
}

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::f64: return "f64";
    case DType::f16: return "f16";
    case DType::bf16: return "bf16";
    case DType::u8: return "u8";
    case DType::i8: return "i8";
    case DType::i16: return "i16";
    case DType::i32: return "i32";
    case DType::i64: return "i64";
  }
  return "?";
}

Shape::Shape(std::initializer_list<int64_t> extents) : Shape(std::vector<int64_t>(extents)) {}

Shape::Shape(const std::vector<int64_t>& extents) {
  if (extents.size() > kMaxRank) {
    fail(Code::invalid_argument, "a shape has at most {} extents, got {}", kMaxRank,
         extents.size());
  }
  for (int64_t extent : extents) {
    if (extent < 0) fail(Code::invalid_argument, "a shape's extents are 0 or more, got {}", extent);
    extents_[static_cast<size_t>(rank_++)] = extent;
  }
}

int64_t Shape::elems() const { return elems_from(0); }

int64_t Shape::elems_from(int axis) const {
  int64_t n = 1;
  for (int i = axis; i < rank_; ++i) {
    if (__builtin_mul_overflow(n, (*this)[i], &n) || n > (int64_t{1} << 62)) {
      fail(Code::invalid_argument, "a tensor of shape {} has more than 2^62 elements", str());
    }
  }
  return n;
}

Shape Shape::tail(int axis) const {
  Shape result;
  for (int i = axis; i < rank_; ++i) result[result.rank_++] = (*this)[i];
  return result;
}

std::string Shape::str() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string((*this)[i]);
  return text + "]";
}

std::string Shape::str_x() const {
  std::string text;
  for (int i = 0; i < rank_; ++i) text += (i ? "x" : "") + std::to_string((*this)[i]);
  return text;
}

Tensor::Tensor(const Shape& shape, DType dtype) : shape_(shape), dtype_(dtype) {
  const int64_t bytes = shape.elems() * dtype_bytes(dtype);
  const auto rounded = static_cast<size_t>((std::max<int64_t>(bytes, 1) + 63) / 64 * 64);
  void* memory = std::aligned_alloc(64, rounded);
  if (memory == nullptr) {
    fail(Code::out_of_memory, "no memory for a tensor {} of {} bytes", shape.str(), bytes);
  }
  std::memset(memory, 0, rounded);
  storage_ = std::shared_ptr<std::byte>(static_cast<std::byte*>(memory), std::free);
}

Tensor Tensor::clone() const {
  if (empty()) return {};
  Tensor copy(shape_, dtype_);
  std::memcpy(copy.raw(), raw(), static_cast<size_t>(bytes()));
  return copy;
}

Tensor Tensor::reshaped(const Shape& shape) const {
  if (shape.elems() != elems()) {
    fail(Code::invalid_argument, "a tensor {} of {} elements cannot be seen as {} of {}",
         shape_.str(), elems(), shape.str(), shape.elems());
  }
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

void Tensor::check_dtype(DType wanted) const {
  if (!empty() && dtype_ != wanted) {
    fail(Code::invalid_argument, "a tensor {} of {} was read as {}", shape_.str(),
         dtype_name(dtype_), dtype_name(wanted));
  }
}

void Tensor::check_count(int64_t count) const {
  if (count != elems()) {
    fail(Code::invalid_argument, "a tensor {} has {} elements, got {} values", shape_.str(),
         elems(), count);
  }
}

namespace {

template <typename Function>
void with_type(DType dtype, Function function) {
  switch (dtype) {
    case DType::f32: return function(float{});
    case DType::f64: return function(double{});
    case DType::u8: return function(uint8_t{});
    case DType::i8: return function(int8_t{});
    case DType::i16: return function(int16_t{});
    case DType::i32: return function(int32_t{});
    case DType::i64: return function(int64_t{});
    case DType::f16:
    case DType::bf16: break;
  }
  fail(Code::unsupported, "tensors of {} cannot be converted on the host", dtype_name(dtype));
}

template <typename To, typename From>
To convert(From value) {
  if constexpr (std::is_floating_point_v<To>) {
    return static_cast<To>(value);
  } else if constexpr (std::is_floating_point_v<From>) {
    if (std::isnan(value)) return 0;
    const double rounded = std::nearbyint(static_cast<double>(value));
    constexpr auto low = static_cast<double>(std::numeric_limits<To>::min());
    constexpr auto high = static_cast<double>(std::numeric_limits<To>::max());
    if (rounded <= low) return std::numeric_limits<To>::min();
    if (rounded >= high) return std::numeric_limits<To>::max();
    return static_cast<To>(rounded);
  } else {
    constexpr int64_t low = std::numeric_limits<To>::min();
    constexpr int64_t high = std::numeric_limits<To>::max();
    return static_cast<To>(std::clamp(static_cast<int64_t>(value), low, high));
  }
}

}  // namespace

Tensor Tensor::to(DType dtype) const {
  if (empty()) return {};
  if (dtype == dtype_) return clone();
  Tensor result(shape_, dtype);
  const int64_t n = elems();
  with_type(dtype_, [&](auto from_tag) {
    with_type(dtype, [&](auto to_tag) {
      using From = decltype(from_tag);
      using To = decltype(to_tag);
      const From* from = data<From>();
      To* to = result.data<To>();
      for (int64_t i = 0; i < n; ++i) to[i] = convert<To>(from[i]);
    });
  });
  return result;
}

}  // namespace tanul
