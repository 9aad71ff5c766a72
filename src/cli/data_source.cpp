// SPDX-License-Identifier: Apache-2.0
#include "cli/data_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "cli/download.h"
#include "core/format.h"
#include "core/suggest.h"

namespace tanul::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kInstalledFolder = "/usr/share/datasets/";

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::string absolute(const std::string& path) {
  std::error_code error;
  const fs::path full = fs::weakly_canonical(path, error);
  return error ? path : full.string();
}

}  // namespace

std::string download_folder(const std::string& name) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && cache[0] == '/') return std::string(cache) + "/tanul/" + name;
  const char* home = std::getenv("HOME");
  if (home == nullptr || home[0] == '\0') {
    fail(Code::not_found, "neither HOME nor XDG_CACHE_HOME is set; say the folder (--to DIR)");
  }
  return std::string(home) + "/.cache/tanul/" + name;
}

std::string find_data_folder(const std::string& text) {
  if (text.empty()) {
    fail(Code::not_found,
         "no data: say --data FOLDER (or path in [data]); `tanul data get mnist` fetches MNIST, "
         "`apt-get install dataset-fashion-mnist` installs Fashion-MNIST (--data fashion-mnist)");
  }
  if (is_folder(text) || text.find('/') != std::string::npos) return absolute(text);
  for (const std::string& folder : {kInstalledFolder + text, download_folder(text)}) {
    if (is_folder(folder)) return folder;
  }
  std::vector<std::string> names;
  for (const RemoteDataset& known : remote_datasets()) names.push_back(known.name);
  if (std::find(names.begin(), names.end(), text) != names.end()) {
    fail(Code::not_found, "the data set {} is not here; `tanul data get {}` fetches it{}", text,
         text, text == "fashion-mnist" ? ", or apt-get install dataset-fashion-mnist" : "");
  }
  const std::string near = nearest(text, names);
  fail(Code::not_found, "{}: no such folder and no known data set{}", text,
       near.empty() ? fmt::format("; known are {}", fmt::join(names, ", "))
                    : fmt::format("; did you mean \"{}\"?", near));
}

Dataset load_parts(const std::string& folder, const Recipe& recipe) {
  Dataset data = load_dataset(folder);
  if (recipe.data.targets_are_samples) {
    for (DataView* part : {&data.train_part, &data.validation_part, &data.test_part}) {
      *part = part->reconstructing();
    }
  }
  const uint64_t seed = recipe.trainer.seed;
  double kept = 1;  // of the training part as it came
  if (data.test_part.empty() && recipe.data.test > 0) {
    auto [rest, part] = data.train_part.split(recipe.data.test, seed, recipe.data.stratified);
    data.train_part = rest;
    data.test_part = part;
    kept -= recipe.data.test;
  }
  if (data.validation_part.empty() && recipe.data.validation > 0) {
    data.split_validation(recipe.data.validation / kept, seed, recipe.data.stratified);
  }
  const Shape wanted = recipe.model.input_shape();
  const Shape got = data.train_part.sample_shape();
  if (got != wanted && !(wanted.rank() == 1 && wanted[0] == got.elems())) {
    fail(Code::invalid_argument, "{}: the samples are {}, but the input of model \"{}\" is {}",
         folder, got.str(), recipe.model.name(), wanted.str());
  }
  const Shape out = recipe.model.output_shape();
  if (recipe.data.targets_are_samples && out != got) {
    fail(
        Code::invalid_argument,
        "{}: the samples are {}, but model \"{}\" puts out {}; with targets = \"samples\" they are "
        "the same",
        folder, got.str(), recipe.model.name(), out.str());
  }
  if (data.train_part.has_labels() && data.classes() > out.elems()) {
    fail(Code::invalid_argument, "{}: {} classes, but model \"{}\" has {} outputs", folder,
         data.classes(), recipe.model.name(), out.elems());
  }
  return data;
}

}  // namespace tanul::cli
