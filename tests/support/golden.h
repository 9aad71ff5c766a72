// SPDX-License-Identifier: Apache-2.0
// Golden numbers: recorded results of PyTorch, scikit-learn and numpy, all computed in double from
// inputs that float holds exactly. A family is tests/golden/<name>.json (the index: one case a line)
// and <name>.safetensors (the tensors). The environment variable TANUL_GOLDEN_DIR names another
// folder of the same layout. A test walks the index, so a case is tested because it stands there.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/reference.h"

namespace tanul::test {

struct GoldenCase {
  std::string name;
  std::string op;
  nlohmann::json attrs;
  nlohmann::json values;  // numbers straight from the index; null where there are none
  // By role ("x", "w"; "y"; "dx"), as doubles; dtype is the file's (f32, f64, i64, u8).
  std::map<std::string, RefTensor> inputs, outputs, grads;
  RefTensor grad_output = RefTensor::absent();  // dy

  bool has_input(const std::string& role) const { return inputs.count(role) != 0; }
  const RefTensor& input(const std::string& role) const { return inputs.at(role); }
  // An attribute that is a list of whole numbers.
  std::vector<int64_t> list(const std::string& attr) const {
    return attrs.at(attr).get<std::vector<int64_t>>();
  }
};

// Where the committed families lie, or what TANUL_GOLDEN_DIR says.
std::string golden_folder();
// The folder of numbers that are not shipped with tanul, where there is one beside the project.
std::string unshipped_golden_folder();

// All cases of a family, in the order of its index. Throws where a file is missing or a tensor is.
std::vector<GoldenCase> load_golden(const std::string& family,
                                    const std::string& folder = golden_folder());

// A number of `values` or `attrs` as a double: "nan", "inf", "-inf" too; "undefined" is NaN.
double golden_number(const nlohmann::json& value);

}  // namespace tanul::test
