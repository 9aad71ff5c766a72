// SPDX-License-Identifier: Apache-2.0
// tanul info: what this copy of tanul and this machine are.
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/json_text.h"
#include "cli/output.h"

namespace tanul::cli {

int run_info(const InfoArgs& args) {
  const SystemInfo info = system_info();
  if (args.json) {
    say("{}\n", info_json(info));
    return 0;
  }
  say("tanul    {}\nbuild    {}\nCPU      {}\nISA      {}\nthreads  {}\nBLAS     {}\n",
      info.version, info.build, info.cpu, fmt::join(info.isa, ", "), info.threads, info.blas);
  say("CUDA     {}\n", info.cuda);
  if (!info.cuda_versions.empty()) say("         {}\n", info.cuda_versions);
  say("devices  cpu: products in {}\n", fmt::join(info.precisions, ", "));
  for (const GpuInfo& gpu : info.gpus) {
    say("         {}: {}, compute capability {}, {}, products in {}{}\n", gpu.device, gpu.name,
        gpu.compute_capability, mib(gpu.memory_bytes), fmt::join(gpu.precisions, ", "),
        gpu.why_not.empty() ? "" : " (not usable: " + gpu.why_not + ")");
  }
  return 0;
}

}  // namespace tanul::cli
