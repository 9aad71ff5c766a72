// SPDX-License-Identifier: Apache-2.0
// A cuDNN whose graphs are single convolutions or single poolings, which it computes on the host, in double, on
// memory of a fake device, of float32 or of 16 bits with channels last, to which it rounds its results. Its
// heuristics put engines in front that break a promise each: one rounds its inputs to TF32, one adds in another
// order in every run, one is less precise, and one turns out not to fit; whoever takes a wrong one has wrong
// results. What the library would not forgive is reported to the device:
//   - no call with a handle or descriptor that was destroyed or never made
//   - attributes are set before a descriptor is finalized and read behind, with the type that they have; an
//     object is finalized with all that it needs
//   - a graph has one operation, and the tensors of a convolution have one type
//   - tensors are aligned as was promised; all of the workspace that a plan asked for is written
//   - softmax is asked for with a descriptor that was set, and lies over no operand but dx over dy
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/cudnn_api.h"
#include "support/fake_library.h"

namespace tanul::test {

struct FakeCudnnOptions {
  bool has_engines = true;   // any that keeps its promises?
  bool takes_device = true;  // cudnnCreate knows driver and GPU
};

class FakeCudnn {
 public:
  explicit FakeCudnn(LibraryHost& host);
  ~FakeCudnn();
  FakeCudnn(const FakeCudnn&) = delete;
  FakeCudnn& operator=(const FakeCudnn&) = delete;

  // Calls go to the one that was made active last.
  void make_active();
  static const cuda::cudnn::Api& table();
  // What is still there: "cudnnHandle_t".
  std::vector<std::string> leaks() const;

  FakeCudnnOptions options;

 private:
  friend struct FakeCudnnApi;

  struct Attribute {
    cuda::cudnn::Type type;
    int64_t count;
    std::vector<std::byte> bytes;
  };
  struct Object {
    cuda::cudnn::Kind kind;
    bool is_finalized = false;
    std::map<cuda::cudnn::Name, Attribute> attributes;
    int engine = -1;              // of a configuration or engine that the heuristics gave
    intptr_t graph = 0;           // that it is for
    int64_t workspace_bytes = 0;  // of a plan
  };

  bool begin(const char* name, bool makes_or_frees);
  Object* find(void* descriptor, const char* call);
  template <typename T>
  std::vector<T> values(const Object& object, cuda::cudnn::Name name) const;
  Object& child(const Object& object, cuda::cudnn::Name name);

  LibraryHost& host_;
  FakeCudnn* before_;
  intptr_t next_ = 0x2000;
  int64_t runs_ = 0;
  std::map<intptr_t, void*> handles_;  // and the stream of each
  std::map<intptr_t, Object> objects_;
  std::map<intptr_t, std::array<int64_t, 4>> tensors_;  // of softmax: extents, 0: not set
};

}  // namespace tanul::test
