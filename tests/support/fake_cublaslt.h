// SPDX-License-Identifier: Apache-2.0
// A cuBLASLt that multiplies on the host, in double, on memory of a fake device. Inputs are rounded as the
// compute type allows. What the library would not forgive is reported to the device:
//   - no call with a handle, descriptor, layout or preference that was destroyed or never made
//   - an algorithm is used for the problem that it was chosen for
//   - pointers and workspace are aligned as was promised; the workspace, all of which is written, is as large
//     as was asked for
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/cublaslt_api.h"
#include "support/fake_library.h"

namespace tanul::test {

struct FakeCublasLtOptions {
  bool has_bias_gradient = true;  // has it algorithms that sum the operand b?
  bool has_algorithms = true;     // any?
};

class FakeCublasLt {
 public:
  explicit FakeCublasLt(LibraryHost& host, const FakeCublasLtOptions& options = {});
  ~FakeCublasLt();
  FakeCublasLt(const FakeCublasLt&) = delete;
  FakeCublasLt& operator=(const FakeCublasLt&) = delete;

  // Calls go to the one that was made active last.
  void make_active();
  static const cuda::cublaslt::Api& table();
  // What is still there: "cublasLtMatmulDesc_t".
  std::vector<std::string> leaks() const;

  FakeCublasLtOptions options;

 private:
  friend struct FakeCublasLtApi;

  struct Desc {
    int compute_type;
    int32_t trans_a = 0, trans_b = 0;
    uint32_t epilogue = 1;
    void* bias = nullptr;
  };
  struct Layout {
    uint64_t rows, columns;
    int64_t ld;
    auto operator<=>(const Layout&) const = default;
  };
  struct Preference {
    uint64_t workspace_bytes = 0;
    uint32_t reduction_schemes = 7;
    uint32_t alignment[4] = {256, 256, 256, 256};  // a, b, c, d
  };

  bool begin(const char* name, bool makes_or_frees);
  template <typename T>
  T* find(std::map<intptr_t, T>& all, void* handle, const char* call);
  // The numbers of a problem as one, which goes into the algorithm.
  static uint64_t problem_of(const Desc& desc, const Layout& a, const Layout& b, const Layout& d);

  LibraryHost& host_;
  FakeCublasLt* before_;
  intptr_t next_ = 0x1000;
  std::map<intptr_t, int> handles_;
  std::map<intptr_t, Desc> descs_;
  std::map<intptr_t, Layout> layouts_;
  std::map<intptr_t, Preference> preferences_;
};

}  // namespace tanul::test
