// SPDX-License-Identifier: Apache-2.0
// The commands of the tool: what main.cpp reads from the command line, and one function per command.
// Each returns the exit code and throws tanul::Error for everything that goes wrong.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tanul::cli {

// What replaces settings of a model file.
struct ModelArgs {
  std::string model;  // path of the TOML file
  std::optional<std::string> device;
  std::optional<int64_t> epochs;
  std::optional<int64_t> batch;
  std::optional<int64_t> seed;
  std::optional<int64_t> threads;
  std::optional<std::string> memory;
  std::vector<std::string> set;    // "key.path=value"
  std::vector<std::string> force;  // "conv2d_fwd:im2col_gemm"

  // All of them as overrides of a recipe.
  std::vector<std::string> overrides() const;
};

struct TrainArgs : ModelArgs {
  std::string data;
  std::string out;
  bool overwrite = false;
  bool quiet = false;
  bool stepwise = false;
};
int run_train(const TrainArgs& args);

struct EvalArgs {
  std::string run;
  std::string data;
  std::optional<std::string> device;
  std::optional<int64_t> threads;
  bool json = false;
};
int run_eval(const EvalArgs& args);

struct PredictArgs {
  std::string run;
  std::vector<std::string> images;
  bool invert = false;
  bool json = false;
  int64_t top = 3;
  std::optional<std::string> device;
  std::optional<int64_t> threads;
};
int run_predict(const PredictArgs& args);

struct PlanArgs : ModelArgs {
  bool why = false;
  bool steps = false;
  bool evaluation = false;
};
int run_plan(const PlanArgs& args);

struct LrFindArgs : ModelArgs {
  std::string data;
  std::string out;
  double from = 1e-7;
  double to = 10;
  int64_t steps = 100;
};
int run_lr_find(const LrFindArgs& args);

struct InfoArgs {
  bool json = false;
};
int run_info(const InfoArgs& args);

struct DataInfoArgs {
  std::string path;
  std::string picture;
  bool json = false;
};
int run_data_info(const DataInfoArgs& args);

struct DataGetArgs {
  std::string name;
  std::string to;
  bool replace = false;
};
int run_data_get(const DataGetArgs& args);

}  // namespace tanul::cli
