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
  say("devices  cpu\nCUDA     {}\n", info.cuda);
  return 0;
}

}  // namespace tanul::cli
