// SPDX-License-Identifier: Apache-2.0
#include "support/golden.h"

#include <cstdlib>
#include <limits>
#include <stdexcept>

#include "io/file.h"
#include "tanul/checkpoint.h"

namespace tanul::test {

namespace {

RefTensor to_ref_tensor(const Tensor& tensor) {
  RefTensor t(tensor.shape(), tensor.dtype());
  const Tensor values = tensor.to(DType::f64);
  for (int64_t i = 0; i < t.elems(); ++i) t[i] = values.data<double>()[i];
  return t;
}

}  // namespace

std::string golden_folder() {
  const char* given = std::getenv("TANUL_GOLDEN_DIR");
  return given != nullptr ? given : TANUL_SOURCE_DIR "/tests/golden";
}

std::string unshipped_golden_folder() {
  const char* given = std::getenv("TANUL_GOLDEN_DIR");
  return given != nullptr ? given : TANUL_SOURCE_DIR "/../shared/golden";
}

std::vector<GoldenCase> load_golden(const std::string& family, const std::string& folder) {
  const auto index = nlohmann::json::parse(read_file(folder + "/" + family + ".json"));
  const TensorFile file = read_safetensors(folder + "/" + family + ".safetensors");
  std::map<std::string, const Tensor*> by_name;
  for (const auto& [name, tensor] : file.tensors) by_name[name] = &tensor;
  std::vector<GoldenCase> cases;
  for (const nlohmann::json& item : index.at("cases")) {
    GoldenCase c;
    c.name = item.at("name");
    c.op = item.at("op");
    c.attrs = item.value("attrs", nlohmann::json::object());
    c.values = item.value("values", nlohmann::json());
    const auto tensor = [&](const std::string& name) {
      const auto found = by_name.find(name);
      if (found == by_name.end()) throw std::runtime_error(c.name + ": no tensor " + name);
      return to_ref_tensor(*found->second);
    };
    const auto read = [&](const char* key, std::map<std::string, RefTensor>& to) {
      if (!item.contains(key)) return;
      for (const auto& [role, name] : item.at(key).items()) to[role] = tensor(name);
    };
    read("inputs", c.inputs);
    read("outputs", c.outputs);
    read("grads", c.grads);
    if (item.contains("grad_output") && !item["grad_output"].is_null()) {
      c.grad_output = tensor(item["grad_output"]);
    }
    cases.push_back(std::move(c));
  }
  return cases;
}

double golden_number(const nlohmann::json& value) {
  if (value.is_number()) return value.get<double>();
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace tanul::test
