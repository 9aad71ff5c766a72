// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/library_files.h"

#include <dlfcn.h>

namespace tanul::cuda {

namespace {

class LibraryFile {
 public:
  explicit LibraryFile(const char* name) : handle_(dlopen(name, RTLD_LAZY | RTLD_LOCAL)) {}

  template <typename Function>
  void find(Function& function, const char* symbol) {
    void* found = handle_ == nullptr ? nullptr : dlsym(handle_, symbol);
    function = reinterpret_cast<Function>(found);
    is_complete_ = is_complete_ && found != nullptr;
  }
  bool is_complete() const { return is_complete_; }

 private:
  void* handle_;
  bool is_complete_ = true;
};

}  // namespace

bool find_cublaslt(const char* name, cublaslt::Api& api) {
  LibraryFile file(name);
  file.find(api.property, "cublasLtGetProperty");
  file.find(api.status_name, "cublasLtGetStatusName");
  file.find(api.status_text, "cublasLtGetStatusString");
  file.find(api.create, "cublasLtCreate");
  file.find(api.destroy, "cublasLtDestroy");
  file.find(api.create_desc, "cublasLtMatmulDescCreate");
  file.find(api.destroy_desc, "cublasLtMatmulDescDestroy");
  file.find(api.set_desc, "cublasLtMatmulDescSetAttribute");
  file.find(api.create_layout, "cublasLtMatrixLayoutCreate");
  file.find(api.destroy_layout, "cublasLtMatrixLayoutDestroy");
  file.find(api.create_preference, "cublasLtMatmulPreferenceCreate");
  file.find(api.destroy_preference, "cublasLtMatmulPreferenceDestroy");
  file.find(api.set_preference, "cublasLtMatmulPreferenceSetAttribute");
  file.find(api.heuristics, "cublasLtMatmulAlgoGetHeuristic");
  file.find(api.matmul, "cublasLtMatmul");
  return file.is_complete();
}

bool find_cudnn(const char* name, cudnn::Api& api) {
  LibraryFile file(name);
  file.find(api.version, "cudnnGetVersion");
  file.find(api.status_name, "cudnnGetErrorString");
  file.find(api.create, "cudnnCreate");
  file.find(api.destroy, "cudnnDestroy");
  file.find(api.set_stream, "cudnnSetStream");
  file.find(api.create_descriptor, "cudnnBackendCreateDescriptor");
  file.find(api.destroy_descriptor, "cudnnBackendDestroyDescriptor");
  file.find(api.set, "cudnnBackendSetAttribute");
  file.find(api.finalize, "cudnnBackendFinalize");
  file.find(api.get, "cudnnBackendGetAttribute");
  file.find(api.execute, "cudnnBackendExecute");
  file.find(api.create_tensor, "cudnnCreateTensorDescriptor");
  file.find(api.destroy_tensor, "cudnnDestroyTensorDescriptor");
  file.find(api.set_tensor, "cudnnSetTensor4dDescriptor");
  file.find(api.softmax_forward, "cudnnSoftmaxForward");
  file.find(api.softmax_backward, "cudnnSoftmaxBackward");
  return file.is_complete();
}

}  // namespace tanul::cuda
