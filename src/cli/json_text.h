// SPDX-License-Identifier: Apache-2.0
// Everything that the tool writes as JSON. The one place that includes nlohmann-json (it is heavy).
// Numbers that are not finite become null, text that is no UTF-8 is repaired.
#pragma once

#include <string>
#include <vector>

#include "cli/class_scores.h"
#include "tanul/data.h"
#include "tanul/device.h"
#include "tanul/fit.h"
#include "tanul/start.h"
#include "tanul/trainer.h"

namespace tanul::cli {

std::string json_string(const std::string& text);  // with quotes; also a TOML basic string
std::string json_list(const std::vector<std::string>& texts);
// The inverse of json_list; empty where the text is something else.
std::vector<std::string> list_of_json(const std::string& text);

std::string info_json(const SystemInfo& info);

// One line of metrics.jsonl, without the line feed.
std::string epoch_json(const FitEpoch& epoch);

// What summary.json says.
struct Summary {
  std::string model;
  std::string dataset;
  std::string data_folder;
  std::vector<std::string> class_names;
  int64_t train_samples = 0;
  int64_t validation_samples = 0;
  const Evaluation* test = nullptr;  // none without a test part
  const FitResult* fit = nullptr;
  const Trainer* trainer = nullptr;
  double seconds = 0;
};
std::string summary_json(const Summary& summary);
// Images per second over all training steps of a run.
double images_per_s(const FitResult& fit);

std::string evaluation_json(const std::string& run, const std::string& data_folder,
                            const std::string& part, const Evaluation& evaluation,
                            const ScoreMetrics* scores,  // may be null
                            const std::vector<std::string>& class_names);

// One picture's outcome: values in the order of classes, and the classes by falling value.
struct Prediction {
  std::string image;
  std::vector<double> values;
  std::vector<int64_t> order;
};
// `score` names what a classifier gives each class ("probability"); empty: no classifier, all values.
std::string predictions_json(const std::vector<Prediction>& predictions,
                             const std::vector<std::string>& class_names, const std::string& score,
                             int64_t top);

std::string dataset_json(const std::string& folder, const Dataset& data,
                         const DataView::Moments& moments);

std::string lr_range_json(const LrRange& range, const std::string& model);

}  // namespace tanul::cli
