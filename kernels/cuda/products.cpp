// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/products.h"

#include "kernels/cuda/last_error.h"

namespace tanul::cuda {

namespace {

using namespace cublaslt;

// Of all operands; see kernels/backend_abi.h and src/plan/pack.h.
constexpr uint32_t kOperandAlignment = 64;
// More than the algorithms of a Hopper GPU ask for.
constexpr uint64_t kMostWorkspaceBytes = uint64_t{32} << 20;

constexpr uint32_t kEpiloguesWithBias = kEpilogueBias | kEpilogueBiasGradientB;

const Preparation kNotPrepared{"", "cublasLtMatmul of a product that was not prepared", 0};

std::string text_of(const cublaslt::Api& api, const char* call, int status) {
  return std::string(call) + ": " + api.status_name(status) + " (" + api.status_text(status) + ")";
}

}  // namespace

Products::~Products() {
  for (auto& [shape, product] : products_) free(product);
  if (preference_ != nullptr) api_.destroy_preference(preference_);
  if (handle_ != nullptr) api_.destroy(handle_);
}

bool Products::is_good(int status, const char* call, Preparation& preparation) const {
  if (status != 0) preparation.failure = text_of(api_, call, status);
  return status == 0;
}

const Preparation& Products::prepare(const ProductShape& shape) {
  Product& product = products_[shape];
  if (product.is_ready || product.preparation.why_not() != nullptr) return product.preparation;
  free(product);  // what a failure left
  product.preparation = {};
  product.is_ready = open(product.preparation) && describe(shape, product) && choose(product);
  return product.preparation;
}

const Preparation& Products::find(const ProductShape& shape) const {
  const auto found = products_.find(shape);
  return found == products_.end() ? kNotPrepared : found->second.preparation;
}

// The handle, and what is asked of every algorithm.
bool Products::open(Preparation& preparation) {
  if (is_open_) return true;
  const auto set = [&](int attribute, const auto& value) {
    return is_good(api_.set_preference(preference_, attribute, &value, sizeof value),
                   "cublasLtMatmulPreferenceSetAttribute", preparation);
  };
  is_open_ =
      (handle_ != nullptr || is_good(api_.create(&handle_), "cublasLtCreate", preparation)) &&
      (preference_ != nullptr || is_good(api_.create_preference(&preference_),
                                         "cublasLtMatmulPreferenceCreate", preparation)) &&
      set(kPreferenceMaxWorkspaceBytes, kMostWorkspaceBytes) &&
      set(kPreferenceReductionSchemes, kReductionInWorkspace);
  for (int operand = kPreferenceAlignmentA; operand <= kPreferenceAlignmentD; ++operand) {
    is_open_ = is_open_ && set(operand, kOperandAlignment);
  }
  return is_open_;
}

bool Products::describe(const ProductShape& shape, Product& product) {
  const auto set = [&](int attribute, const auto& value) {
    return is_good(api_.set_desc(product.desc, attribute, &value, sizeof value),
                   "cublasLtMatmulDescSetAttribute", product.preparation);
  };
  const auto layout = [&](MatrixLayout& made, int64_t rows, int64_t columns) {
    return is_good(api_.create_layout(&made, kReal32, static_cast<uint64_t>(rows),
                                      static_cast<uint64_t>(columns), rows),
                   "cublasLtMatrixLayoutCreate", product.preparation);
  };
  // Where the pointer will be is not known yet; its alignment is.
  void* const placeholder = reinterpret_cast<void*>(uintptr_t{kOperandAlignment});
  const bool has_bias = (shape.epilogue & kEpiloguesWithBias) != 0;
  return is_good(api_.create_desc(&product.desc, shape.compute_type, kReal32),
                 "cublasLtMatmulDescCreate", product.preparation) &&
         (!shape.is_a_transposed || set(kDescTransA, int32_t{kOpTransposed})) &&
         (!shape.is_b_transposed || set(kDescTransB, int32_t{kOpTransposed})) &&
         set(kDescEpilogue, shape.epilogue) && (!has_bias || set(kDescBiasPointer, placeholder)) &&
         (shape.is_a_transposed ? layout(product.a, shape.depth, shape.rows)
                                : layout(product.a, shape.rows, shape.depth)) &&
         (shape.is_b_transposed ? layout(product.b, shape.columns, shape.depth)
                                : layout(product.b, shape.depth, shape.columns)) &&
         layout(product.d, shape.rows, shape.columns);
}

bool Products::choose(Product& product) {
  HeuristicResult best{};
  int found = 0;
  const int status = api_.heuristics(handle_, product.desc, product.a, product.b, product.d,
                                     product.d, preference_, 1, &best, &found);
  if (status == kStatusNotSupported || (status == 0 && (found == 0 || best.status != 0))) {
    product.preparation.refusal = "cuBLASLt has no algorithm for it";
    return false;
  }
  product.algorithm = best.algorithm;
  product.preparation.workspace_bytes = static_cast<int64_t>(best.workspace_bytes);
  return is_good(status, "cublasLtMatmulAlgoGetHeuristic", product.preparation);
}

void Products::free(Product& product) const {
  for (MatrixLayout* layout : {&product.a, &product.b, &product.d}) {
    if (*layout != nullptr) api_.destroy_layout(*layout);
    *layout = nullptr;
  }
  if (product.desc != nullptr) api_.destroy_desc(product.desc);
  product.desc = nullptr;
}

int Products::launch(const ProductShape& shape, const ProductOperands& operands,
                     const StepArgs& args, StreamHandle stream) const {
  const auto found = products_.find(shape);
  if (found == products_.end() || !found->second.is_ready) {
    keep_error("%s", kNotPrepared.failure.c_str());
    return kLibraryError;
  }
  const Product& product = found->second;
  const auto check = [&](int status, const char* call) {
    if (status == 0) return 0;
    keep_error("%s", text_of(api_, call, status).c_str());
    return kLibraryError;
  };
  if (operands.bias != nullptr) {
    // Layers of one shape share what was prepared.
    if (int e = check(
            api_.set_desc(product.desc, kDescBiasPointer, &operands.bias, sizeof operands.bias),
            "cublasLtMatmulDescSetAttribute")) {
      return e;
    }
  }
  const float one = 1, zero = 0;
  return check(api_.matmul(handle_, product.desc, &one, operands.a, product.a, operands.b,
                           product.b, &zero, operands.d, product.d, operands.d, product.d,
                           &product.algorithm, aligned_workspace(args),
                           static_cast<size_t>(product.preparation.workspace_bytes), stream),
               "cublasLtMatmul");
}

}  // namespace tanul::cuda
