// SPDX-License-Identifier: Apache-2.0
// Devices that can train.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tanul/export.h"

namespace tanul {

enum class DeviceType { cpu, cuda };

struct TANUL_API Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  std::string str() const;  // "cpu", "cuda:0"
};

// A device by name: "auto" (the first GPU that can be used, else the CPU), "cpu", "cuda", "cuda:N".
// Throws Error{invalid_argument} for another name, Error{device} with the reason where it cannot be
// used. `why_not_gpu` receives the reason when "auto" chose the CPU.
TANUL_API Device find_device(const std::string& name, std::string* why_not_gpu = nullptr);

// A GPU that the CUDA backend finds.
struct GpuInfo {
  std::string device;              // "cuda:0"
  std::string name;                // "NVIDIA H100 80GB HBM3"
  std::string compute_capability;  // "9.0"
  int64_t memory_bytes = 0;
  // Formats that convolutions and linear layers can be multiplied in there (TrainerOptions::precision).
  std::vector<std::string> precisions;  // "fp32", "tf32", …
  std::string why_not;                  // empty: it can be used
};

// What this copy of the library and this machine are.
struct SystemInfo {
  std::string version;           // "0.1.0"
  std::string build;             // compiler, build type
  std::string cpu;               // model name
  std::vector<std::string> isa;  // instruction sets that kernels use here, best first: "AVX2"
  int threads = 0;               // processors this process may run on: the default of `threads`
  std::vector<std::string> precisions;  // of the CPU, as in GpuInfo
  std::string blas;                     // "OpenBLAS 0.3.21, pthreads, …"
  // What became of the CUDA backend, libtanul-cuda.so: "ok", or "not found", "cannot load", "mismatch" or
  // "no device", each followed by the reason.
  std::string cuda;
  std::string cuda_versions;  // "driver 13.0, runtime 13.0, …"; empty where it was not loaded
  std::vector<GpuInfo> gpus;
};
TANUL_API SystemInfo system_info();
TANUL_API const char* version();

}  // namespace tanul
