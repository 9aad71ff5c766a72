// SPDX-License-Identifier: Apache-2.0
// What crosses between the engine and a backend: plain data only, so that a backend may live in a
// module of its own. A step is launched with pointers that were fixed when the plan was built; values
// that change from step to step are read from the StepBlock, which lies in device memory.
#pragma once

#include <cstdint>

#include "tanul/precision.h"

namespace tanul {

constexpr int kMaxOperandRank = 6;

// One tensor of a step, dense and row-major. An operand that is left out (no bias, an output that
// nobody reads) has rank -1. Data pointers are null while a plan is being made.
struct Operand {
  void* data;
  int64_t dims[kMaxOperandRank];
  int32_t rank;
  int32_t dtype;  // tanul::DType

  bool present() const { return rank >= 0; }
  int64_t elems() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// Written by the trainer before each step.
struct StepBlock {
  uint64_t seed;  // of the run; a step of several micro-batches makes one of it for each
  uint64_t step;  // training steps done so far: the first step sees 0
  float lr;       // learning rate of this step
  // Above 0: the momentum (SGD and its kin) or beta1 (Adam and its kin) of this step, in place of the
  // optimizer's own: for schedules that move it. 0: the optimizer's own.
  float momentum;
  // Of batches that gather_rows takes from a data set on the device: the place of the first sample in the
  // order of the epoch, and the epoch (from 0), on which the augmentation depends.
  int64_t first = 0;
  uint32_t epoch = 0;
};

struct StepArgs {
  const Operand* in;
  const Operand* out;
  int32_t in_count;
  int32_t out_count;
  const void* params;  // the op's parameter struct, see its header
  void* workspace;     // aligned to 64 bytes, content undefined
  int64_t workspace_bytes;
  const StepBlock* block;

  template <typename T>
  const T& params_as() const {
    return *static_cast<const T*>(params);
  }
};

// Where work is queued. The CPU's is a thread pool (kernels/cpu/parallel.h), CUDA's a stream.
struct Stream;

// One way to compute a step. Lists of these are ordered: the first that supports the arguments is
// taken, and one of them that fits every plan (fp32, deterministic) accepts whatever the op's `infer` accepts.
struct Implementation {
  const char* name;  // the algorithm: "im2col_gemm"
  // Null where the arguments are supported, otherwise the reason of the refusal. Looks at shapes,
  // types and parameters, never at data; on a device in a module also at the device that the thread
  // entered last. May prepare what a launch needs.
  const char* (*supports)(const StepArgs& args);
  // Scratch memory for one launch; `threads` workers will run it. Asked behind `supports`; below 0: what
  // had to be prepared failed, with this status, negated.
  int64_t (*workspace_bytes)(const StepArgs& args, int threads);
  // Does the work, or queues it. Does not allocate, synchronise, throw or print. 0 is success.
  int (*launch)(Stream* stream, const StepArgs& args);
  // Its terms exceed those of the formula, and its rounding errors with them: refused where
  // TrainerOptions::precise_convolutions asks for plain sums.
  bool is_less_precise = false;
  // The format in which it multiplies; sums are float32 in all of them, tensors in memory stay float32. Only
  // taken in a plan of this precision; fp32 fits every plan. Lists have what multiplies in another format
  // before what would also fit in fp32.
  Precision multiplies_in = Precision::fp32;
  // False: two launches with the same data may differ in their last bits (float atomics). Only taken with
  // TrainerOptions::deterministic = false.
  bool is_deterministic = true;
  // Of the code that runs on the device, see ModuleDeviceInfo: 80 is refused on sm_75. 0: runs anywhere.
  int32_t least_architecture = 0;
};

struct ImplementationList {
  const Implementation* items;
  int32_t count;
};

// Shorthands for implementations that accept everything or need no scratch.
inline const char* supports_all(const StepArgs&) { return nullptr; }
inline int64_t no_workspace(const StepArgs&, int) { return 0; }

}  // namespace tanul
