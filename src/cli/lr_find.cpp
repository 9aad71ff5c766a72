// SPDX-License-Identifier: Apache-2.0
// tanul lr-find: the learning-rate range test as a table and a plot, and as files.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cli/commands.h"
#include "cli/data_source.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/units.h"
#include "core/format.h"
#include "io/file.h"
#include "tanul/start.h"

namespace tanul::cli {

namespace {

// The part of the curve that is shown: losses far above the start say nothing more.
struct Frame {
  double low = 0, high = 0;    // loss
  double left = 0, right = 0;  // log10 of the rate
  double x(double lr) const { return right > left ? (std::log10(lr) - left) / (right - left) : 0; }
  double y(double loss) const {
    return high > low ? std::clamp((loss - low) / (high - low), 0.0, 1.0) : 0.5;
  }
};

Frame frame_of(const LrRange& range) {
  Frame f;
  const double first = range.points.front().smoothed;
  f.low = f.high = first;
  for (const LrPoint& p : range.points) {
    f.low = std::min(f.low, p.smoothed);
    f.high = std::max(f.high, p.smoothed);
  }
  f.high = std::min(f.high, first + 0.5 * std::max(first - f.low, 0.1 * std::fabs(first)));
  f.left = std::log10(range.points.front().lr);
  f.right = std::log10(range.points.back().lr);
  return f;
}

void say_table(const LrRange& range) {
  say("{:>12}  {:>10}  {:>10}\n", "rate", "loss", "smoothed");
  const size_t count = range.points.size();
  const size_t every = std::max<size_t>(1, count / 20);
  for (size_t i = 0; i < count; ++i) {
    const LrPoint& p = range.points[i];
    const bool is_proposed = p.lr == range.proposed;
    if (i % every != 0 && i + 1 != count && !is_proposed) continue;
    say("{:>12.3e}  {:>10.5g}  {:>10.5g}{}\n", p.lr, p.loss, p.smoothed,
        is_proposed ? "  <- steepest" : "");
  }
}

void say_plot(const LrRange& range) {
  constexpr int kWidth = 64, kHeight = 14;
  const Frame f = frame_of(range);
  std::vector<std::string> rows(kHeight, std::string(kWidth, ' '));
  const auto column = [&](double lr) {
    return static_cast<size_t>(std::lround(f.x(lr) * (kWidth - 1)));
  };
  if (range.proposed > 0) {
    for (std::string& row : rows) row[column(range.proposed)] = ':';
  }
  for (const LrPoint& p : range.points) {
    const auto row = static_cast<size_t>(std::lround((1 - f.y(p.smoothed)) * (kHeight - 1)));
    rows[row][column(p.lr)] = '*';
  }
  say("\n");
  for (size_t r = 0; r < rows.size(); ++r) {
    const double loss = f.high - (f.high - f.low) * static_cast<double>(r) / (kHeight - 1);
    rows[r].erase(rows[r].find_last_not_of(' ') + 1);
    say("{:>10.4g} |{}\n", loss, rows[r]);
  }
  say("{:>10} +{}\n{:>10}  {:<{}}{}\n", "", std::string(kWidth, '-'), "",
      fmt::format("{:.1e}", range.points.front().lr), kWidth - 7,
      fmt::format("{:.1e}", range.points.back().lr));
}

std::string svg_of(const LrRange& range, const std::string& model) {
  constexpr double kWidth = 640, kHeight = 400, kLeft = 70, kTop = 40, kRight = 20, kBottom = 50;
  const Frame f = frame_of(range);
  const auto px = [&](double lr) { return kLeft + f.x(lr) * (kWidth - kLeft - kRight); };
  const auto py = [&](double loss) { return kTop + (1 - f.y(loss)) * (kHeight - kTop - kBottom); };
  std::string name;
  for (const char c : model) {
    name += c == '<' ? std::string("&lt;") : c == '&' ? std::string("&amp;") : std::string(1, c);
  }
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" "
      "font-family=\"sans-serif\" "
      "font-size=\"12\">\n<rect width=\"{0:g}\" height=\"{1:g}\" fill=\"white\"/>\n"
      "<text x=\"{2:g}\" y=\"24\" font-size=\"15\">{3}: loss by learning rate</text>\n",
      kWidth, kHeight, kLeft, name);
  for (int i = 0; i <= 4; ++i) {
    const double loss = f.low + (f.high - f.low) * i / 4;
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{2:.1f}\" y2=\"{1:.1f}\" stroke=\"#ddd\"/>"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:.3g}</text>\n",
        kLeft, py(loss), kWidth - kRight, kLeft - 6, py(loss) + 4, loss);
  }
  for (double power = std::ceil(f.left); power <= f.right; ++power) {
    const double x = px(std::pow(10, power));
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#eee\"/>"
        "<text x=\"{0:.1f}\" y=\"{3:.1f}\" text-anchor=\"middle\">1e{4:g}</text>\n",
        x, kTop, kHeight - kBottom, kHeight - kBottom + 18, power);
  }
  const auto curve = [&](const char* color, double width, const auto& of) {
    std::string points;
    for (const LrPoint& p : range.points) {
      points += fmt::format("{:.1f},{:.1f} ", px(p.lr), py(of(p)));
    }
    svg +=
        fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{:g}\" points=\"{}\"/>\n",
                    color, width, points);
  };
  curve("#bbb", 1, [](const LrPoint& p) { return p.loss; });
  curve("#1f5fbf", 2, [](const LrPoint& p) { return p.smoothed; });
  if (range.proposed > 0) {
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#c33\" "
        "stroke-dasharray=\"4 3\"/><text x=\"{3:.1f}\" y=\"{4:.1f}\" "
        "fill=\"#c33\">{5:.2e}</text>\n",
        px(range.proposed), kTop, kHeight - kBottom, px(range.proposed) + 5, kTop + 12,
        range.proposed);
  }
  return svg + fmt::format(
                   "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">learning rate"
                   "</text>\n</svg>\n",
                   (kLeft + kWidth - kRight) / 2, kHeight - 10);
}

}  // namespace

int run_lr_find(const LrFindArgs& args) {
  std::vector<std::string> overrides = args.overrides();
  const Recipe recipe = load_recipe(args.model, overrides);
  const std::string folder = find_data_folder(args.data.empty() ? recipe.data.path : args.data);
  const Dataset data = load_parts(folder, recipe);
  Trainer trainer(recipe.model, recipe.trainer);
  start_weights(trainer, data.train(), recipe.start);
  LrRangeOptions options;
  options.from = args.from;
  options.to = args.to;
  options.steps = args.steps;
  const LrRange range = find_learning_rate(trainer, data.train(), options);
  if (range.points.empty()) {
    fail(Code::diverged, "the loss is not finite at the lowest rate, {:g}; try a lower --from",
         args.from);
  }
  say("{}", units_text(trainer.plan()));
  say_table(range);
  say_plot(range);
  say("\n");
  if (range.diverged) say("ended at {:.2e}: the loss ran away\n", range.points.back().lr);
  if (range.proposed > 0) {
    say("proposed rate: {:.2e} (the loss falls most steeply there; it is lowest at {:.2e})\n",
        range.proposed, range.lowest);
  } else {
    say("no rate is proposed: the loss did not fall; try a wider range or more --steps\n");
  }
  if (!args.out.empty()) {
    std::error_code error;
    std::filesystem::create_directories(args.out, error);
    if (error) fail(Code::io, "{}: {}", args.out, error.message());
    write_file_atomic(args.out + "/lr_find.json", lr_range_json(range, recipe.model.name()));
    write_file_atomic(args.out + "/lr_find.svg", svg_of(range, recipe.model.name()));
    say("{0}/lr_find.json · {0}/lr_find.svg\n", args.out);
  }
  return 0;
}

}  // namespace tanul::cli
