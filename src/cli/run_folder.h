// SPDX-License-Identifier: Apache-2.0
// The folder of a training run: config.toml, metrics.jsonl, summary.json, best.safetensors,
// last.safetensors. Whole files are written atomically; metrics grow line by line.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tanul/recipe.h"

namespace tanul::cli {

class RunFolder {
 public:
  // Makes the folder: `wanted`, or runs/<model>-<n> with the first free n where it is empty. A folder
  // with anything in it is refused, or with `overwrite` freed of a run's files (others stay).
  // Throws Error{exists, io}.
  RunFolder(const std::string& wanted, const std::string& model, bool overwrite);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, const std::string& content) const;
  // Appends a line to metrics.jsonl and hands it to the system.
  void append_metrics(const std::string& line);

 private:
  std::string path_;
  struct Stream;
  std::unique_ptr<Stream> metrics_;
};

// Refuses `wanted` as RunFolder would, without making anything.
void check_run_folder(const std::string& wanted, bool overwrite);

// A finished or running run, opened for evaluation and prediction.
struct OpenedRun {
  Recipe recipe;
  TensorFile weights;  // best.safetensors, else last.safetensors
  std::string weights_path;
  std::vector<std::string> class_names;  // may be empty
  std::unique_ptr<Trainer> make_trainer() const;
};
// Throws Error{not_found, format}.
OpenedRun open_run(const std::string& folder, const std::optional<std::string>& device,
                   const std::optional<int64_t>& threads);

}  // namespace tanul::cli
