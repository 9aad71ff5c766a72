// SPDX-License-Identifier: Apache-2.0
#include "cli/run_folder.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "cli/json_text.h"
#include "core/format.h"
#include "io/file.h"

namespace tanul::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFiles[] = {"config.toml", "metrics.jsonl", "summary.json",
                                  "best.safetensors", "last.safetensors"};

[[noreturn]] void fail_exists(const std::string& path) {
  fail(Code::exists, "{}: is there already and not empty; choose another --out, or --overwrite",
       path);
}

bool make_folder(const std::string& path) {
  std::error_code error;
  const bool is_new = fs::create_directories(path, error);
  if (error) fail(Code::io, "{}: the folder cannot be made: {}", path, error.message());
  return is_new;
}

}  // namespace

struct RunFolder::Stream {
  std::FILE* file = nullptr;
  ~Stream() {
    if (file != nullptr) std::fclose(file);
  }
};

void check_run_folder(const std::string& wanted, bool overwrite) {
  if (wanted.empty()) return;
  std::error_code ignored;
  if (!fs::exists(wanted, ignored)) return;
  if (!fs::is_directory(wanted, ignored)) {
    fail(Code::exists, "{}: is a file, a run needs a folder; choose another --out", wanted);
  }
  if (!overwrite && !fs::is_empty(wanted, ignored)) fail_exists(wanted);
}

RunFolder::RunFolder(const std::string& wanted, const std::string& model, bool overwrite)
    : path_(wanted), metrics_(std::make_unique<Stream>()) {
  check_run_folder(wanted, overwrite);
  if (wanted.empty()) {
    int number = 0;
    do {
      path_ = fmt::format("runs/{}-{}", model, ++number);
    } while (!make_folder(path_));
    return;
  }
  make_folder(path_);
  for (const char* name : kFiles) {
    std::error_code ignored;
    fs::remove(file(name), ignored);
  }
}

RunFolder::~RunFolder() = default;

void RunFolder::write(const std::string& name, const std::string& content) const {
  write_file_atomic(file(name), content);
}

void RunFolder::append_metrics(const std::string& line) {
  const std::string path = file("metrics.jsonl");
  if (metrics_->file == nullptr) metrics_->file = std::fopen(path.c_str(), "ae");
  const std::string text = line + "\n";
  if (metrics_->file == nullptr ||
      std::fwrite(text.data(), 1, text.size(), metrics_->file) != text.size() ||
      std::fflush(metrics_->file) != 0) {
    fail(Code::io, "{}: cannot be written: {}", path, std::strerror(errno));
  }
}

OpenedRun open_run(const std::string& folder, const std::optional<std::string>& device,
                   const std::optional<int64_t>& threads) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    fail(Code::not_found, "{}: no such run folder; `tanul train` makes one", folder);
  }
  if (!fs::exists(folder + "/config.toml", ignored)) {
    fail(Code::not_found, "{}: is no run folder, it has no config.toml", folder);
  }
  std::vector<std::string> overrides;
  if (device) overrides.push_back("train.device=" + json_string(*device));
  if (threads) overrides.push_back(fmt::format("train.threads={}", *threads));
  OpenedRun run;
  run.recipe = load_recipe(folder + "/config.toml", overrides);
  for (const char* name : {"best.safetensors", "last.safetensors"}) {
    run.weights_path = folder + "/" + name;
    if (fs::exists(run.weights_path, ignored)) break;
    run.weights_path.clear();
  }
  if (run.weights_path.empty()) {
    fail(Code::not_found, "{}: has no weights yet (best.safetensors, last.safetensors)", folder);
  }
  run.weights = read_safetensors(run.weights_path);
  const auto found = run.weights.metadata.find("classes");
  if (found != run.weights.metadata.end()) run.class_names = list_of_json(found->second);
  return run;
}

std::unique_ptr<Trainer> OpenedRun::make_trainer() const {
  auto trainer = std::make_unique<Trainer>(recipe.model, recipe.trainer);
  try {
    trainer->load_state(weights);
  } catch (const Error& e) {
    fail(e.code(), "{}: {}", weights_path, e.what());
  }
  return trainer;
}

}  // namespace tanul::cli
