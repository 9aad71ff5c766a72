// SPDX-License-Identifier: Apache-2.0
#include "cli/report.h"

#include <algorithm>
#include <cmath>

#include "cli/output.h"

namespace tanul::cli {

namespace {

constexpr int64_t kMostClasses = 30;  // in a table

std::string class_name(const std::vector<std::string>& names, int64_t c) {
  return c < static_cast<int64_t>(names.size()) ? names[static_cast<size_t>(c)] : std::to_string(c);
}

}  // namespace

std::string result_line(const std::string& part, const Evaluation& e) {
  std::string line = fmt::format("{} loss {:.4f}", part, e.loss);
  if (e.confusion.classes() > 0) {
    line += fmt::format(" · accuracy {:.2f} % ({} of {})", 100 * e.accuracy,
                        with_commas(e.confusion.correct()), with_commas(e.confusion.total()));
  }
  return line;
}

bool say_confusions(const Evaluation& e, const std::vector<std::string>& class_names) {
  if (e.confusion.classes() == 0) return false;
  const auto name = [&](int64_t c) { return class_name(class_names, c); };
  std::string worst;
  for (const ConfusionMatrix::Confusion& confusion : e.confusion.worst(3)) {
    worst += fmt::format("{}{} taken for {}: {}", worst.empty() ? "" : " · ", name(confusion.truth),
                         name(confusion.prediction), with_commas(confusion.count));
  }
  if (!worst.empty()) say("{}\n", worst);
  if (e.confusion.classes() > kMostClasses) return false;
  const std::string table = e.confusion.table(class_names);
  const auto width = static_cast<int>(table.find('\n'));
  const int room = out_is_terminal() ? terminal_width() : 120;
  if (width > room) return false;
  say("\n{}\n", table);
  return true;
}

void say_class_metrics(const ConfusionMatrix& confusion, const ScoreMetrics* scores,
                       const std::vector<std::string>& class_names) {
  constexpr int kLabel = 16;
  say("{:<{}}  precision  recall      F1  support\n", "class", kLabel);
  const auto row = [&](const std::string& name, double precision, double recall, double f1,
                       int64_t support) {
    say("{:<{}.{}}     {:.4f}  {:.4f}  {:.4f}  {:>7}\n", name, kLabel, kLabel, precision, recall,
        f1, with_commas(support));
  };
  if (confusion.classes() <= kMostClasses) {
    for (int64_t c = 0; c < confusion.classes(); ++c) {
      row(class_name(class_names, c), confusion.precision(c), confusion.recall(c), confusion.f1(c),
          static_cast<int64_t>(confusion.support(c)));
    }
  }
  for (const Average how : {Average::macro, Average::weighted}) {
    row(how == Average::macro ? "macro average" : "weighted average", confusion.precision(how),
        confusion.recall(how), confusion.f1(how), confusion.total());
  }
  std::string line;
  const auto put = [&](const char* what, double value) {
    if (!std::isfinite(value)) return;
    line += fmt::format("{}{} {:.4f}", line.empty() ? "" : " · ", what, value);
  };
  put("balanced accuracy", confusion.balanced_accuracy());
  put("Matthews correlation", confusion.matthews_correlation());
  put("kappa", confusion.cohen_kappa());
  if (scores != nullptr) put("top-5", scores->top_5);
  say("\n{}\n", line);
  if (scores == nullptr) return;
  line.clear();
  put("AUC one against the rest", scores->auc_macro);
  put("mean average precision", scores->mean_average_precision);
  put("log loss", scores->log_loss);
  put("Brier", scores->brier);
  put("ECE", scores->ece);
  if (!line.empty()) say("{}\n", line);
}

}  // namespace tanul::cli
