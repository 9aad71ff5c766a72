// SPDX-License-Identifier: Apache-2.0
// The table in kernels/activation/README.md is made of their definitions; the models that use them.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/format.h"
#include "graph/model.h"
#include "io/file.h"
#include "kernels/activation/definition.h"
#include "support/expect_error.h"
#include "tanul/model.h"
#include "tanul/recipe.h"

namespace tanul {
namespace {

// | `elu` | `alpha` (1) | x where x > 0, else alpha (e^x − 1) | Elu |
std::string table_row(const ActivationInfo& info) {
  std::string keys;
  for (int i = 0; i < info.param_count(); ++i) {
    const ActivationParam& param = info.def->params[i];
    keys +=
        fmt::format("{}`{}` ({})", i == 0 ? "" : ", ", param.name,
                    std::isinf(param.otherwise) ? "none" : fmt::format("{:.6g}", param.otherwise));
  }
  std::string formula;
  for (const char* c = info.def->formula; *c != 0; ++c) {
    formula += *c == '|' ? "\\|" : std::string(1, *c);
  }
  return fmt::format("| `{}` | {} | {} | {} |\n", info.name, keys, formula, info.def->onnx);
}

TEST(Recipe, TheDocumentationHasTheTableOfActivations) {
  std::string table = "| layer | keys (defaults) | y | ONNX |\n| --- | --- | --- | --- |\n";
  for (int i = 0; i < kActivations; ++i) table += table_row(activations()[i]);
  const std::string text = read_file(TANUL_SOURCE_DIR "/kernels/activation/README.md");
  EXPECT_NE(text.find(table), std::string::npos) << "kernels/activation/README.md should have:\n"
                                                 << table;
}

// Every kind is a layer of the model file, with its keys, and comes back the same from what is written out.
TEST(Recipe, EveryActivationIsALayer) {
  for (int i = 0; i < kActivations; ++i) {
    const ActivationInfo& info = activations()[i];
    SCOPED_TRACE(info.name);
    const Recipe recipe = parse_recipe(
        fmt::format("input = [4]\nlayers = [\"{}\"]\nloss = \"mean_squared_error\"", info.name),
        "m.toml");
    const Node& node = recipe.model.impl().graph.nodes[0];
    EXPECT_EQ(node.kind, info.forward);
    for (int k = 0; k < info.param_count(); ++k) {
      EXPECT_EQ(node.params.as<ActivationParams>().values[k], info.def->params[k].otherwise);
    }
    const Recipe again = parse_recipe(recipe.resolved_toml, "again.toml");
    EXPECT_EQ(again.resolved_toml, recipe.resolved_toml);
  }
}

TEST(Builder, ActivationsByName) {
  ModelBuilder m;
  const Var x = m.input({3, 4, 4});
  m.hardtanh(m.activation(m.leaky_relu(x, 0.2), "softplus", {2.0}), -2, 3);
  const auto refuses = [](const std::string& text, const std::function<void()>& call) {
    test::expect_error(Code::invalid_argument, text, call);
  };
  refuses("there is no activation \"reluu\"; did you mean \"relu\"?",
          [&] { m.activation(x, "reluu"); });
  refuses("relu \"relu1\": it has 0 parameters, got 1", [&] { m.activation(x, "relu", {1.0}); });
  refuses("hardtanh \"hardtanh2\": min must be below max, got 2 and 1",
          [&] { m.hardtanh(x, 2, 1); });
  const Model model = m.build();
  EXPECT_EQ(model.impl().descriptions.at("leaky_relu1"), "leaky_relu 0.2");
  EXPECT_EQ(model.impl().descriptions.at("softplus1"), "softplus 2 inf");
  EXPECT_EQ(model.impl().descriptions.at("hardtanh1"), "hardtanh -2 3");
}

// Weights in front of a rectifier start as he_normal; the gain is that of the activation.
TEST(Builder, InitialisersFollowTheActivation) {
  ModelBuilder m;
  Var x = m.input({6});
  x = m.leaky_relu(m.linear(x, {.out = 5}), 0.2);
  x = m.prelu(m.linear(x, {.out = 5}));
  x = m.selu(m.linear(x, {.out = 5}));
  x = m.gelu(m.linear(x, {.out = 5}));
  m.linear(x, {.out = 2});
  const Model model = m.build();
  std::map<std::string, ParameterInfo> by_name;
  for (const ParameterInfo& info : model.parameters()) by_name[info.name] = info;
  EXPECT_DOUBLE_EQ(by_name.at("linear1.weight").following_gain, std::sqrt(2 / 1.04));
  EXPECT_DOUBLE_EQ(by_name.at("linear2.weight").following_gain, std::sqrt(2 / 1.0625));
  EXPECT_DOUBLE_EQ(by_name.at("linear3.weight").following_gain, 0.75);
  EXPECT_DOUBLE_EQ(by_name.at("linear4.weight").following_gain, std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(by_name.at("linear5.weight").following_gain, 1);
  EXPECT_EQ(by_name.at("linear1.weight").init.kind, Init::Kind::he_normal);
  EXPECT_EQ(by_name.at("linear2.weight").init.kind, Init::Kind::he_normal);
  EXPECT_EQ(by_name.at("linear3.weight").init.kind, Init::Kind::lecun_normal);
  EXPECT_EQ(by_name.at("linear4.weight").init.kind, Init::Kind::he_normal);
  EXPECT_EQ(by_name.at("prelu1.weight").shape, Shape{1});
  EXPECT_TRUE(by_name.at("prelu1.weight").is_norm) << "slopes do not decay";
}

}  // namespace
}  // namespace tanul
