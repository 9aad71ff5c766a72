// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "core/format.h"

namespace tanul::cli {

std::vector<std::string> ModelArgs::overrides() const {
  std::vector<std::string> all = set;
  const auto add = [&](const char* key, const std::optional<int64_t>& value) {
    if (value) all.push_back(fmt::format("train.{}={}", key, *value));
  };
  add("epochs", epochs);
  add("batch", batch);
  add("seed", seed);
  add("threads", threads);
  if (device) all.push_back("train.device=" + *device);
  if (memory) all.push_back("train.memory=" + *memory);
  for (const std::string& choice : force) {
    const size_t colon = choice.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == choice.size()) {
      fail(Code::invalid_argument,
           "--force {}: is written step:name, for instance conv2d_fwd:im2col_gemm", choice);
    }
    all.push_back("train.force." + choice.substr(0, colon) + "=" + choice.substr(colon + 1));
  }
  return all;
}

}  // namespace tanul::cli
