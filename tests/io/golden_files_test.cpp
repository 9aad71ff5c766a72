// SPDX-License-Identifier: Apache-2.0
// Files written by other programs (numpy, safetensors for Python), with what they hold; development
// machines keep them beside the project. files.json: see the README there.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/file.h"
#include "tanul/checkpoint.h"
#include "tanul/data.h"

namespace tanul {
namespace {

void expect_holds(const Tensor& tensor, const nlohmann::json& expected, const std::string& where) {
  EXPECT_EQ(tensor.shape(), Shape(expected["shape"].get<std::vector<int64_t>>())) << where;
  std::string dtype = expected["dtype"];
  for (char& c : dtype) c = static_cast<char>(std::tolower(c));
  EXPECT_EQ(dtype_name(tensor.dtype()), dtype == "bool" ? "u8" : dtype) << where;
  if (tensor.dtype() == DType::f16 || tensor.dtype() == DType::bf16) return;
  const Tensor values = tensor.to(DType::f64);
  for (size_t i = 0; i < expected["first"].size(); ++i) {
    const nlohmann::json& value = expected["first"][i];
    const double number = value.is_boolean() ? value.get<bool>() : value.get<double>();
    EXPECT_EQ(values.data<double>()[i], number) << where << " element " << i;
  }
}

TEST(GoldenFiles, AreReadAsTheirWritersMeantThem) {
  const std::string folder = TANUL_SOURCE_DIR "/../shared/golden/";
  if (!std::filesystem::exists(folder + "files.json")) GTEST_SKIP() << "there is no " << folder;
  const auto index = nlohmann::json::parse(read_file(folder + "files.json"));
  int files = 0;
  for (const nlohmann::json& item : index["cases"]) {
    const std::string path = folder + item["file"].get<std::string>();
    SCOPED_TRACE(path);
    if (item["op"] == "read_idx") {
      expect_holds(read_idx(path), item["arrays"]["array"], "array");
      ++files;
    } else if (item["op"] == "read_safetensors") {
      const TensorFile file = read_safetensors(path);
      EXPECT_EQ(file.tensors.size(), item["arrays"].size());
      for (const auto& [name, expected] : item["arrays"].items()) {
        const Tensor* tensor = file.find(name);
        ASSERT_NE(tensor, nullptr) << name;
        expect_holds(*tensor, expected, name);
      }
      const auto metadata = item["attrs"].value("metadata", std::map<std::string, std::string>());
      EXPECT_EQ(file.metadata, metadata);
      ++files;
    }
  }
  EXPECT_EQ(files, 8);
}

}  // namespace
}  // namespace tanul
