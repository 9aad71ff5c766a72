// SPDX-License-Identifier: Apache-2.0
// The quickest of several implementations of a step, measured on the device it is planned for: each runs on
// scratch memory, and the first of the list that is within 5 % of the best is taken, so that noise does not
// decide. Times are kept, for this process and in a file, and with them the choice: all implementations
// give the same result but for rounding, and a run that is repeated must not round otherwise. A file that
// cannot be read or written is no error: then it is measured again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "kernels/backend_abi.h"
#include "kernels/op_kind.h"

namespace tanul {

// $XDG_CACHE_HOME/tanul, else ~/.cache/tanul; empty where neither is known.
std::string tuning_folder();

class Tuner {
 public:
  // `folder` empty: nothing outlives the process.
  Tuner(Backend& backend, std::string folder);

  // In the order of their list.
  using Candidates = std::vector<const Implementation*>;

  struct Choice {
    const Implementation* implementation = nullptr;
    std::string why;  // "0.41 ms, winograd 0.52 ms"; empty where nothing could be measured
    Candidates idle;  // that did not run
  };
  // Among those that support `args` (without data), at least two, of all that the plan allows. Throws
  // Error{device}.
  Choice choose(OpKind kind, const StepArgs& args, const Candidates& allowed,
                const Candidates& supporting);
  // What choose() has said before, in this run or another one. So those that were slower need not be asked whether
  // they support `args`: a library may take long to find out.
  std::optional<Choice> recall(OpKind kind, const StepArgs& args, const Candidates& allowed) const;

  // Writes what was measured since, where something was.
  void save() noexcept;

 private:
  // Milliseconds of all that the plan allows, by name; negative where it did not run.
  using Times = std::vector<std::pair<std::string, double>>;

  bool measure(const StepArgs& args, const Candidates& allowed, const Candidates& supporting,
               Times& times);
  double milliseconds_of(const Implementation& implementation, const StepArgs& args);
  std::string header() const;
  std::map<std::string, Times> read_times() const;

  Backend& backend_;
  const std::string identity_;
  const std::string path_;              // empty: none
  std::map<std::string, Times> times_;  // by kind, shapes, parameters and what the plan allows
  bool has_news_ = false;
  std::set<std::string> replaced_;  // keys that were measured again
};

}  // namespace tanul
