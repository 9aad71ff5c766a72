// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/libraries.h"

#include "kernels/cuda/cudnn_ops.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/last_error.h"
#include "kernels/cuda/products.h"

namespace tanul::cuda {

Libraries::Libraries(const LibraryTables& tables) {
  if (tables.cublaslt != nullptr) products_ = std::make_unique<Products>(*tables.cublaslt);
  if (tables.cudnn != nullptr) cudnn_ = std::make_unique<CudnnOps>(*tables.cudnn);
}

Libraries::~Libraries() = default;

Libraries* entered_libraries() {
  Device* device = entered_device();
  if (device == nullptr) return nullptr;
  if (device->libraries == nullptr) {
    device->libraries = std::make_unique<Libraries>(device->find_libraries());
  }
  return device->libraries.get();
}

int64_t workspace_of(const Preparation& preparation) {
  if (preparation.failure.empty()) return with_alignment(preparation.workspace_bytes);
  keep_error("%s", preparation.failure.c_str());
  return -kLibraryError;
}

}  // namespace tanul::cuda
