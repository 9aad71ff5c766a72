// SPDX-License-Identifier: Apache-2.0
#include "cli/report.h"

#include <algorithm>

#include "cli/output.h"

namespace tanul::cli {

std::string result_line(const std::string& part, const Evaluation& e) {
  std::string line = fmt::format("{} loss {:.4f}", part, e.loss);
  if (e.confusion.classes() > 0) {
    line += fmt::format(" · accuracy {:.2f} % ({} of {})", 100 * e.accuracy,
                        with_commas(e.confusion.correct()), with_commas(e.confusion.total()));
  }
  return line;
}

void say_confusions(const Evaluation& e, const std::vector<std::string>& class_names) {
  if (e.confusion.classes() == 0) return;
  const auto name = [&](int64_t c) {
    return c < static_cast<int64_t>(class_names.size()) ? class_names[static_cast<size_t>(c)]
                                                        : std::to_string(c);
  };
  std::string worst;
  for (const ConfusionMatrix::Confusion& confusion : e.confusion.worst(3)) {
    worst += fmt::format("{}{} taken for {}: {}", worst.empty() ? "" : " · ", name(confusion.truth),
                         name(confusion.prediction), with_commas(confusion.count));
  }
  if (!worst.empty()) say("{}\n", worst);
  constexpr int64_t kMostClasses = 30;
  if (e.confusion.classes() > kMostClasses) return;
  const std::string table = e.confusion.table(class_names);
  const auto width = static_cast<int>(table.find('\n'));
  const int room = out_is_terminal() ? terminal_width() : 120;
  if (width <= room) say("\n{}\n", table);
}

}  // namespace tanul::cli
