// SPDX-License-Identifier: Apache-2.0
// What `tanul train` shows while it works: a bar that redraws itself on a terminal, one plain line an
// epoch elsewhere.
#pragma once

#include <chrono>
#include <cstdint>

#include "tanul/fit.h"

namespace tanul::cli {

class ProgressLine {
 public:
  ProgressLine(int64_t epochs, bool is_classifier, bool is_quiet);

  void step(const Progress& progress);
  void epoch(const FitEpoch& epoch);
  // Ends a bar that stands half-way, before something else is printed.
  void leave();

 private:
  int64_t epochs_;
  bool is_classifier_;
  bool is_quiet_;
  bool is_terminal_;
  bool is_open_ = false;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace tanul::cli
