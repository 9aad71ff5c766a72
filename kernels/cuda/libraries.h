// SPDX-License-Identifier: Apache-2.0
// cuBLASLt and cuDNN, either of which may be absent: how an implementation that calls one of them is
// planned and launched.
//
// A library is asked while a plan is made (`supports`), once for each shape: handles, descriptors and the
// choice of an algorithm come into being there and live as long as the device is open. `workspace_bytes`
// and `launch` find what was prepared. So a launch creates nothing that lasts and can be recorded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/backend_abi.h"
#include "kernels/cuda/cublaslt_api.h"
#include "kernels/cuda/cudnn_api.h"

namespace tanul::cuda {

struct CudnnOps;
class Products;

// The tables of what was found, null where it was not.
struct LibraryTables {
  const cublaslt::Api* cublaslt = nullptr;
  const cudnn::Api* cudnn = nullptr;
};

// What the libraries prepared on one device. Made and destroyed while it is the thread's.
class Libraries {
 public:
  explicit Libraries(const LibraryTables& tables);
  ~Libraries();
  Libraries(const Libraries&) = delete;
  Libraries& operator=(const Libraries&) = delete;

  // By cuBLASLt; null: it was not found.
  Products* products() const { return products_.get(); }
  // By cuDNN; null: it was not found.
  CudnnOps* cudnn() const { return cudnn_.get(); }

 private:
  std::unique_ptr<Products> products_;
  std::unique_ptr<CudnnOps> cudnn_;
};

// Those of the device that the calling thread has entered; null where there is none.
Libraries* entered_libraries();

// What a library made of the arguments of a step.
struct Preparation {
  std::string refusal;  // it has no algorithm for them
  std::string failure;  // a call failed: "cublasLtCreate: CUBLAS_STATUS_NOT_INITIALIZED (…)"
  int64_t workspace_bytes = 0;

  // As `supports` answers; valid as long as the library keeps it.
  const char* why_not() const { return refusal.empty() ? nullptr : refusal.c_str(); }
};

// Workspaces of libraries begin at a multiple of 256 bytes, those of a step at one of 64.
constexpr int64_t kLibraryAlignment = 256;
inline int64_t with_alignment(int64_t bytes) {
  constexpr int64_t kStepAlignment = 64;
  return bytes > 0 ? bytes + kLibraryAlignment - kStepAlignment : 0;
}
inline void* aligned_workspace(const StepArgs& args) {
  const auto at = reinterpret_cast<uintptr_t>(args.workspace);
  return reinterpret_cast<void*>((at + kLibraryAlignment - 1) / kLibraryAlignment *
                                 kLibraryAlignment);
}

// The result of `workspace_bytes` for what was prepared: a failure is a negative status.
int64_t workspace_of(const Preparation& preparation);

}  // namespace tanul::cuda
