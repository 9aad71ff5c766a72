// SPDX-License-Identifier: Apache-2.0
// A model file: a network, its data and its training, in TOML. docs/MODEL.md describes every key.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tanul/export.h"
#include "tanul/fit.h"
#include "tanul/model.h"
#include "tanul/start.h"
#include "tanul/trainer.h"

namespace tanul {

struct DataOptions {
  std::string path;           // default folder of the data; --data goes before it
  bool normalize_fit = true;  // false: TrainerOptions::normalization, or none
  double validation = 0.1;    // share of the training part that is set aside
  double test = 0;            // share of the training part for testing, where there is no test part
  bool stratified = true;
  bool targets_are_samples = false;  // DataView::reconstructing: an autoencoder
};

// A model file, read and checked.
struct TANUL_API Recipe {
  Model model;
  DataOptions data;
  TrainerOptions trainer;
  FitOptions fit;
  StartOptions start;         // [train] init = "lsuv" and from: for start_weights
  std::string resolved_toml;  // the whole recipe with every default written out
};

// `overrides` are "key.path=value" texts, value in TOML ("train.epochs=3").
// Throws Error{not_found, format, invalid_argument}: file:line:column, the layer, the rule, and the
// nearest valid key.
TANUL_API Recipe load_recipe(const std::string& path,
                             const std::vector<std::string>& overrides = {});
TANUL_API Recipe parse_recipe(const std::string& toml, const std::string& file_name,
                              const std::vector<std::string>& overrides = {});

}  // namespace tanul
