// SPDX-License-Identifier: Apache-2.0
// The parts of a model file that are not layers: initialisers, optimizer, schedule, [data],
// [train]; each is read, checked, and written out again with every default.
#pragma once

#include <string>
#include <vector>

#include "recipe/reader.h"
#include "tanul/recipe.h"

namespace tanul::recipe {

// `what` names the place in messages: `conv2d "conv1": init`.
Init read_init(const Source& source, const TomlNode& node, const std::string& what);
std::string init_toml(const Init& init);

// [train] optimizer and schedule; null: the default. Every kind is a table of fields (fields.h).
Optimizer read_optimizer(const Source& source, const TomlNode* node);
std::string optimizer_toml(const Optimizer& optimizer);
std::vector<KeySet> optimizer_key_sets();
Schedule read_schedule(const Source& source, const TomlNode* node);
std::string schedule_toml(const Schedule& schedule);
std::vector<KeySet> schedule_key_sets();

// What [train] says, apart from what goes straight into TrainerOptions and FitOptions.
struct TrainSettings {
  TrainerOptions trainer;
  FitOptions fit;
  Init init;
  StartOptions start;
  std::vector<std::string> freeze;  // patterns of `from`
};
TrainSettings read_train(const Source& source, const TomlNode* table);
std::string train_toml(const TrainSettings& settings);

// The tables of [train]: init (LSUV is no initialiser of a layer), lookahead, groups, from.
void read_more(const Source& source, const TableReader& train, TrainSettings& settings);
std::string more_toml(const TrainSettings& settings);
std::string lsuv_toml(const StartOptions& start);
std::vector<KeySet> more_key_sets();

// Also sets TrainerOptions::augmentation, and normalization where the file gives numbers, or none is wanted.
struct DataSettings {
  DataOptions data;
  std::optional<Normalization> normalization;
  Augmentation augmentation;
};
DataSettings read_data(const Source& source, const TomlNode* table, const Shape& input);
std::string data_toml(const DataSettings& settings);

// Values as TOML; numbers are written by fmt, shortest text that reads back the same.
std::string bool_toml(bool value);
std::string list_toml(const std::vector<int64_t>& values);

}  // namespace tanul::recipe
