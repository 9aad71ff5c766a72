// SPDX-License-Identifier: Apache-2.0
#include "cli/json_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace tanul::cli {

namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string class_name(const std::vector<std::string>& names, int64_t c) {
  return c < static_cast<int64_t>(names.size()) ? names[static_cast<size_t>(c)] : std::to_string(c);
}

Json rows_of(const ConfusionMatrix& confusion) {
  Json rows = Json::array();
  for (int64_t truth = 0; truth < confusion.classes(); ++truth) {
    Json row = Json::array();
    for (int64_t p = 0; p < confusion.classes(); ++p) row.push_back(confusion.count(truth, p));
    rows.push_back(row);
  }
  return rows;
}

Json accuracy_of(const Evaluation& evaluation) {
  return evaluation.confusion.classes() > 0 ? Json(evaluation.accuracy) : Json(nullptr);
}

Json versions() {
  const SystemInfo info = system_info();
  return {{"tanul", info.version},
          {"build", info.build},
          {"blas", info.blas},
          {"cpu", info.cpu},
          {"isa", info.isa}};
}

Json shape_json(const Shape& shape) { return std::vector<int64_t>(shape.begin(), shape.end()); }

// What was asked for, and what the plan made of it.
Json precision_json(const Trainer& trainer) {
  const PlanInfo plan = trainer.plan();
  const std::optional<LossScale> scale = trainer.loss_scale();
  return {{"loss_scale", scale ? Json(scale->scale) : Json(nullptr)},
          {"steps_left_out", scale ? scale->left_out : 0},
          {"asked", precision_name(plan.precision)},
          {"products", plan.products},
          {"products_in_precision", plan.products_in_precision},
          {"deterministic", plan.is_deterministic},
          {"nondeterministic_steps", plan.nondeterministic_steps}};
}

}  // namespace

std::string json_string(const std::string& text) { return text_of(Json(text)); }
std::string json_list(const std::vector<std::string>& texts) { return text_of(Json(texts)); }

std::vector<std::string> list_of_json(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  std::vector<std::string> out;
  if (!json.is_array()) return out;
  for (const Json& item : json) {
    if (!item.is_string()) return {};
    out.push_back(item.get<std::string>());
  }
  return out;
}

std::string info_json(const SystemInfo& info) {
  Json json{{"version", info.version}, {"build", info.build}, {"cpu", info.cpu},  {"isa", info.isa},
            {"threads", info.threads}, {"blas", info.blas},   {"cuda", info.cuda}};
  Json device{{"name", "cpu"},
              {"description", info.cpu},
              {"precisions", info.precisions},
              {"usable", true}};
  json["cuda_versions"] = info.cuda_versions;
  json["devices"] = Json::array({device});
  for (const GpuInfo& gpu : info.gpus) {
    json["devices"].push_back({{"name", gpu.device},
                               {"description", gpu.name},
                               {"compute_capability", gpu.compute_capability},
                               {"memory_bytes", gpu.memory_bytes},
                               {"precisions", gpu.precisions},
                               {"usable", gpu.why_not.empty()},
                               {"why_not", gpu.why_not}});
  }
  return text_of(json, 2);
}

std::string epoch_json(const FitEpoch& e) {
  const bool has_validation = e.validation.has_value();
  const bool has_accuracy = has_validation && e.validation->confusion.classes() > 0;
  return text_of(
      {{"epoch", e.epoch},
       {"train_loss", e.train.loss},
       {"train_accuracy", e.train.accuracy},
       {"validation_loss", has_validation ? Json(e.validation->loss) : Json(nullptr)},
       {"validation_accuracy", has_accuracy ? Json(e.validation->accuracy) : Json(nullptr)},
       {"learning_rate", e.train.lr},
       {"images_per_s", e.train.images_per_s},
       {"seconds", e.train.seconds},
       {"is_best", e.is_best}});
}

double images_per_s(const FitResult& fit) {
  double samples = 0;
  double seconds = 0;
  for (const FitEpoch& epoch : fit.epochs) {
    samples += static_cast<double>(epoch.train.samples);
    seconds += epoch.train.seconds;
  }
  return seconds > 0 ? samples / seconds : 0;
}

std::string summary_json(const Summary& s) {
  const Trainer& trainer = *s.trainer;
  const TrainerOptions& options = trainer.options();
  Json json{{"model", s.model},
            {"test_loss", s.test != nullptr ? Json(s.test->loss) : Json(nullptr)},
            {"test_accuracy", s.test != nullptr ? accuracy_of(*s.test) : Json(nullptr)},
            {"test_samples", s.test != nullptr ? s.test->samples : 0},
            {"parameters", trainer.model().parameter_count()},
            {"peak_tensor_bytes", trainer.peak_tensor_bytes()},
            {"images_per_s", images_per_s(*s.fit)},
            {"seconds", s.seconds},
            {"epochs", s.fit->epochs.size()},
            {"best_epoch", s.fit->best_epoch},
            {"stopped_early", s.fit->stopped_early},
            {"batch", options.batch},
            {"seed", options.seed},
            {"threads", options.threads},
            {"device", trainer.device().str()},
            {"device_description", trainer.device_description()},
            {"precision", precision_json(trainer)},
            {"data",
             {{"name", s.dataset},
              {"path", s.data_folder},
              {"train", s.train_samples},
              {"validation", s.validation_samples}}},
            {"versions", versions()},
            {"classes", s.class_names}};
  json["confusion"] = s.test != nullptr ? rows_of(s.test->confusion) : Json(nullptr);
  return text_of(json, 2) + "\n";
}

namespace {

Json average_of(const ConfusionMatrix& m, Average how) {
  return {{"precision", m.precision(how)},
          {"recall", m.recall(how)},
          {"specificity", m.specificity(how)},
          {"f1", m.f1(how)},
          {"jaccard", m.jaccard(how)}};
}

Json class_metrics(const ConfusionMatrix& m, const ScoreMetrics* scores,
                   const std::vector<std::string>& class_names) {
  Json list = Json::array();
  const std::vector<ClassCounts> classes = m.class_counts();
  for (size_t c = 0; c < classes.size(); ++c) {
    const ClassCounts& k = classes[c];
    Json json{{"class", class_name(class_names, static_cast<int64_t>(c))},
              {"tp", static_cast<int64_t>(k.tp)},
              {"fp", static_cast<int64_t>(k.fp)},
              {"fn", static_cast<int64_t>(k.fn)},
              {"tn", static_cast<int64_t>(k.tn)},
              {"support", static_cast<int64_t>(k.support())},
              {"precision", k.precision()},
              {"recall", k.recall()},
              {"specificity", k.specificity()},
              {"f1", k.f1()},
              {"jaccard", k.jaccard()},
              {"type_i_rate", k.type_i_rate()},
              {"type_ii_rate", k.type_ii_rate()}};
    if (scores != nullptr && c < scores->auc.size()) {
      json["auc"] = scores->auc[c];
      json["average_precision"] = scores->average_precision[c];
    }
    list.push_back(json);
  }
  return list;
}

}  // namespace

std::string evaluation_json(const std::string& run, const std::string& data_folder,
                            const std::string& part, const Evaluation& e,
                            const ScoreMetrics* scores,
                            const std::vector<std::string>& class_names) {
  const ConfusionMatrix& m = e.confusion;
  Json json{{"run", run},           {"data", data_folder},        {"part", part},
            {"loss", e.loss},       {"accuracy", accuracy_of(e)}, {"samples", e.samples},
            {"seconds", e.seconds}, {"classes", class_names},     {"confusion", rows_of(m)}};
  if (m.classes() > 0) {
    json["balanced_accuracy"] = m.balanced_accuracy();
    json["matthews_correlation"] = m.matthews_correlation();
    json["cohen_kappa"] = m.cohen_kappa();
    json["micro"] = average_of(m, Average::micro);
    json["macro"] = average_of(m, Average::macro);
    json["weighted"] = average_of(m, Average::weighted);
    json["per_class"] = class_metrics(m, scores, class_names);
  }
  if (scores != nullptr) {
    json["top_5"] = scores->top_5;
    json["auc_one_vs_rest"] = scores->auc_macro;
    json["auc_one_vs_rest_weighted"] = scores->auc_weighted;
    json["mean_average_precision"] = scores->mean_average_precision;
    json["log_loss"] = scores->log_loss;
    json["brier"] = scores->brier;
    json["ece"] = scores->ece;
    json["mce"] = scores->mce;
  }
  return text_of(json, 2);
}

std::string lr_range_json(const LrRange& range, const std::string& model) {
  Json points = Json::array();
  for (const LrPoint& p : range.points) {
    points.push_back({{"lr", p.lr}, {"loss", p.loss}, {"smoothed", p.smoothed}});
  }
  return text_of({{"model", model},
                  {"proposed", range.proposed},
                  {"lowest", range.lowest},
                  {"diverged", range.diverged},
                  {"points", points}},
                 2);
}

std::string predictions_json(const std::vector<Prediction>& predictions,
                             const std::vector<std::string>& class_names, const std::string& score,
                             int64_t top) {
  Json list = Json::array();
  for (const Prediction& p : predictions) {
    Json json{{"image", p.image}};
    if (score.empty()) {
      json["values"] = p.values;
      list.push_back(json);
      continue;
    }
    json["class"] = class_name(class_names, p.order[0]);
    json["index"] = p.order[0];
    json[score] = p.values[static_cast<size_t>(p.order[0])];
    Json best = Json::array();
    const auto count = std::min(static_cast<size_t>(top), p.order.size());
    for (size_t i = 0; i < count; ++i) {
      best.push_back({{"class", class_name(class_names, p.order[i])},
                      {"index", p.order[i]},
                      {score, p.values[static_cast<size_t>(p.order[i])]}});
    }
    json["top"] = best;
    list.push_back(json);
  }
  return text_of(list, 2);
}

std::string dataset_json(const std::string& folder, const Dataset& data,
                         const DataView::Moments& moments) {
  const auto part_json = [&](const DataView& view) {
    Json json{{"samples", view.size()}};
    if (view.has_labels()) json["class_counts"] = view.class_counts(data.classes());
    return json;
  };
  return text_of({{"name", data.name},
                  {"path", folder},
                  {"sample_shape", shape_json(data.train().sample_shape())},
                  {"sample_type", dtype_name(data.train().sample_dtype())},
                  {"classes", data.class_names},
                  {"train", part_json(data.train())},
                  {"validation", part_json(data.validation())},
                  {"test", part_json(data.test())},
                  {"mean", moments.mean},
                  {"std", moments.deviation}},
                 2);
}

}  // namespace tanul::cli
