// SPDX-License-Identifier: Apache-2.0
// The layers of a model file: blocks are expanded, names given, and each layer made through
// ModelBuilder while its resolved line is written.
#pragma once

#include <string>
#include <vector>

#include "recipe/toml_tree.h"
#include "tanul/model.h"

namespace tanul::recipe {

struct Network {
  Model model;
  std::string name;
  Shape input;
  std::vector<std::string> layer_lines;  // each a TOML table: `{ relu = {}, name = "relu1" }`
  std::string loss_line;
};

// `root` is the whole model file; only its network part is read here.
Network build_network(const Source& source, const TomlNode& root, const Init& default_init);

}  // namespace tanul::recipe
