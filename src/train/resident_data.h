// SPDX-License-Identifier: Apache-2.0
// A data set that lies on a device with memory of its own: uploaded once, after which a batch costs the
// device a gather (kernels/gather) and the host nothing. Known by its content: a set that was changed, or
// another part of it, is another one.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "graph/step_graph.h"
#include "tanul/data.h"

namespace tanul {

// 64 bits of all samples and targets in their order, of shapes and types. Good against accidents, not
// against malice.
uint64_t fingerprint(const DataView& data);

class ResidentData {
 public:
  // Copies all of `data`, in the order of the view. Throws Error{device, out_of_memory}.
  ResidentData(Backend& backend, const DataView& data, uint64_t fingerprint, int64_t id);

  static int64_t bytes_of(const DataView& data);

  int64_t id() const { return id_; }  // of all that a trainer had; from 1
  uint64_t fingerprint() const { return fingerprint_; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return memory_.bytes(); }
  const Shape& sample_shape() const { return sample_shape_; }  // of the first input

  // The order in which the steps that are queued next take the samples.
  void set_order(const std::vector<int64_t>& order);

  // Where a value of StepGraph::data_set lies.
  std::byte* address(const StepGraph::DataSet& values, ValueId value) const;

 private:
  Backend& backend_;
  const uint64_t fingerprint_;
  const int64_t id_;
  const int64_t size_;
  const Shape sample_shape_;
  DeviceMemory memory_;           // order, samples of each input, targets
  std::vector<int64_t> samples_;  // offsets
  std::vector<int64_t> targets_;
  std::vector<int32_t> order_;  // as it was copied last
};

}  // namespace tanul
