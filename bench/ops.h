// SPDX-License-Identifier: Apache-2.0
// `tanul-bench ops`: every implementation of every step, on every device: is it right, how long does it
// take, and how near to the machine's ceilings is that?
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "kernels/backend_abi.h"

namespace tanul::bench {

struct OpsOptions {
  std::string device =
      "auto";             // auto: the CPU, and the first GPU; cpu; cuda, cuda:N: the CPU and this
  int threads = 0;        // of the CPU; 0: all processors
  std::string ops = "*";  // a pattern of step kinds
  std::vector<std::string> shapes;  // see op_shapes(); empty: all but "tiny"
  int64_t batch = 0;                // 0: what suits each network
  std::string precision = "all";    // of implementations: all, fp32, tf32, bf16, fp16
  int repeats = 5;
  double seconds = 120;  // of all steps; what finds no time is named
  bool with_roof = true;
  int most_copies = 1024;  // of a step's operands
  // Tests put wrong ones here; null: the device's own.
  std::function<const ImplementationList&(Backend& backend, OpKind kind)> implementations;
  std::function<void(const std::string& line)> progress;  // null: silent
};

// {machine …, devices: [{device, description, roof}], no_gpu?, cases: [{op, shapes, from, flops, bytes,
// results: [{device, implementation, precision, is_chosen, check, error, allowed, ms, …}], refused}], left_out, mismatches}.
// Results of a GPU are compared with the CPU's, those of the CPU with the last of its list, which every
// step has. Throws Error{device} where a device is asked for that cannot be used, Error{invalid_argument}.
nlohmann::ordered_json run_ops(const OpsOptions& options);

void print_ops(const nlohmann::ordered_json& result);
// Of the program: 1 where something is wrong, which goes to standard error.
int ops_status(const nlohmann::ordered_json& result);
// A chart of the shares of the roof, as SVG.
std::string ops_chart(const nlohmann::ordered_json& result);

}  // namespace tanul::bench
